"""The rows that could not be taken, in a file like their own, to be mended and loaded again.

Two columns come first, the line and the reason; they are passed over when the file is loaded.
The file is written in the end and never over another one that somebody may be mending.
"""

import csv
import hashlib
import io
import json
import os
import shutil
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from importing.records import Record
from importing.rows import LINE_COLUMN, REASON_COLUMN

_OWN = (LINE_COLUMN, REASON_COLUMN)


class RejectedRows:
    """Kept in a temporary file until `write`. `names` is None for JSON."""

    def __init__(self, path: Path, names: Sequence[str] | None, delimiter: str = ",") -> None:
        self._path, self._names = path, None if names is None else _others(names)
        self._bytes: Any = tempfile.TemporaryFile()  # noqa: SIM115  # `close` ends it
        self._file = io.TextIOWrapper(
            self._bytes, encoding="utf-8", errors="surrogateescape", newline=""
        )
        self._csv = csv.writer(self._file, delimiter=delimiter, lineterminator="\n")
        self.count = 0
        if self._names is not None:
            self._csv.writerow([*_OWN, *self._names])

    def add(self, record: Record, reason: str) -> None:
        self.count += 1
        if self._names is None:
            fields = {name: value for name, value in record.fields.items() if name not in _OWN}
            row = {LINE_COLUMN: record.line, REASON_COLUMN: reason, **fields}
            self._file.write(json.dumps(row) + "\n")
            return
        cells = [record.fields.get(name, "") for name in self._names]
        self._csv.writerow([record.line, reason, *cells, *record.surplus])

    def write(self) -> Path | None:
        """Where they are now; None where there are none. Raises OSError."""
        if not self.count:
            return None
        self._file.flush()
        for number in range(1, 1000):
            path = self._path if number == 1 else _numbered(self._path, number)
            if self._is_in(path):
                return path
            with suppress(FileExistsError):
                self._create(path)
                return path
        raise OSError("there are 1,000 files of rejected rows already")

    def _create(self, path: Path) -> None:
        """Whole or not at all, readable by its owner only, never over or through what is there.

        Raises FileExistsError.
        """
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".rejected-") as partial:
            self._bytes.seek(0)
            shutil.copyfileobj(self._bytes, partial)
            partial.flush()
            try:
                os.link(partial.name, path)
            except FileExistsError:
                raise
            except OSError:  # a file system without links
                self._bytes.seek(0)
                with open(path, "xb", opener=_for_owner) as file:
                    shutil.copyfileobj(self._bytes, file)

    def _is_in(self, path: Path) -> bool:
        """Whether that file holds these very rows."""
        self._bytes.seek(0)
        try:
            with open(path, "rb", opener=_no_link) as file:
                there = hashlib.file_digest(file, "sha256").digest()
        except OSError:
            return False
        return there == hashlib.file_digest(self._bytes, "sha256").digest()

    def close(self) -> None:
        with suppress(OSError):  # no room for the rows that are to go anyway
            self._file.close()


_NO_LINK: int = getattr(os, "O_NOFOLLOW", 0)  # not on Windows


def _for_owner(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)  # through no link, as it must be new


def _no_link(path: str, flags: int) -> int:
    # Without waiting for somebody to write, where it is a pipe.
    return os.open(path, flags | _NO_LINK | getattr(os, "O_NONBLOCK", 0))


def _numbered(path: Path, number: int) -> Path:
    return path.with_name(f"{path.stem}-{number}{path.suffix}")


def _others(names: Sequence[str]) -> list[str]:
    return [name for name in names if name not in _OWN]


def default_path(source: str, *, is_json: bool) -> Path:
    ending = "ndjson" if is_json else "csv"
    if source == "-":
        return Path(f"stdin.rejected.{ending}")
    return Path(f"{source}.rejected.{ending}")
