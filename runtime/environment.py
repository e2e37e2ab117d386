"""What the surroundings say: a file `.env`, in whatever encoding.

It may exist before anybody thinks of this service, so it is read with patience: what can be
understood is heeded, and what cannot is told in one line.
"""

import codecs
import os
from collections.abc import Collection
from difflib import get_close_matches
from io import StringIO
from pathlib import Path

from dotenv import dotenv_values
from dotenv.parser import parse_stream

from errors import StartRefused
from runtime.variables import plain


def read_env_file(path: str | Path | None, names: Collection[str]) -> dict[str, str]:
    """The values in a dotenv file of the variables `names`, in lower case, that the process's own
    environment does not set; empty where there is no such file.

    Raises StartRefused, with one line that names the file, where it cannot be read.
    """
    values = _values_in(path)
    set_already = {name.lower() for name, value in os.environ.items() if plain(value)}
    return {name: values[name] for name in names if name in values and name not in set_already}


def misspelt_settings(path: str | Path | None, names: Collection[str]) -> list[tuple[str, str]]:
    """What the environment or the dotenv file sets that is none of `names`, but nearly: each with
    the one that may be meant, in upper case. Short names are like too many others."""
    found = {name.lower() for name in (*os.environ, *_values_in(path))}
    unknown = sorted(name for name in found - set(names) if len(name) >= _LEAST_LENGTH)
    near = ((name, get_close_matches(name, names, 1, _LIKENESS)) for name in unknown)
    return [(name.upper(), meant[0].upper()) for name, meant in near if meant]


_LEAST_LENGTH = 6
_LIKENESS = 0.89
"""`API_KEY` is like `API_KEYS` by 0.93, `DATABASE_USER` like `DATABASE_URL` by 0.88."""


def _values_in(path: str | Path | None) -> dict[str, str]:
    """By names in lower case, without those that are empty."""
    file = None if path is None else Path(path)
    if file is None or not file.exists() or file.is_dir():
        return {}
    try:
        text = _decode(file.read_bytes())
    except OSError as error:
        raise StartRefused(f"{file}: cannot be read ({error.strerror})") from None
    except ValueError:
        raise StartRefused(f"{file}: is no text; save it as UTF-8") from None
    for binding in parse_stream(StringIO(text)):
        if binding.error:
            statement = binding.original.string
            line = binding.original.line + len(statement) - len(statement.lstrip("\n"))
            raise StartRefused(f"{file}: line {line} is not NAME=value")
    values = dotenv_values(stream=StringIO(text))
    return {plain(name).lower(): value for name, value in values.items() if value}


def _decode(data: bytes) -> str:
    """Editors on Windows write UTF-16 and the code page 1252 as well, also behind the mark of
    UTF-8. Raises ValueError."""
    data = data.removeprefix(codecs.BOM_UTF8)
    encodings = ["utf-8", "cp1252"]
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        encodings = ["utf-16"]
    elif b"\0" in data[:2]:
        encodings = ["utf-16-be" if data[0] == 0 else "utf-16-le"]
    for encoding in encodings:
        try:
            text = data.decode(encoding)
        except UnicodeDecodeError:
            continue
        if "\0" not in text:
            return text
    raise ValueError("no encoding fits")
