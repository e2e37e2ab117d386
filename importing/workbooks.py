"""Excel workbooks: the rows of one sheet. openpyxl reads them, row by row.

What has to fit into memory (the table of shared texts) and what is streamed (the sheet) are bounded
by the sizes that the archive declares, beyond which zipfile reads nothing.
"""

import re
import warnings
import zipfile
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from itertools import chain, islice
from typing import Any, BinaryIO

from importing.columns import MAX_COLUMNS, listed
from importing.delimited import different, find_header
from importing.errors import ImportFailed
from importing.files import HEAD_LINES, Source
from importing.records import Record, SkippedLines

_SHEETS = "xl/worksheets/"
MAX_IN_MEMORY = 64 * 1024 * 1024
MAX_SHEET = 1024 * 1024 * 1024
MAX_ROWS = 1_048_576
"""As many as Excel has."""
MAX_MERGED = 100_000
_FIRST_OF_16_DIGITS = 1e15
_CHUNK = 1024 * 1024
_MERGED = re.compile(
    rb'<(?:\w+:)?mergeCell [^<>]{0,99}?\bref="([A-Z]{1,3})(\d{1,7}):[A-Z]{1,3}(\d{1,7})"'
)
_LONGEST_MERGED = 200


class Sheet:
    """The records of a sheet. `names` are its columns, all different; `day_0` is the day that the
    workbook's numbers of days count from. Raises ImportFailed."""

    def __init__(
        self,
        source: Source,
        *,
        sheet: str | None,
        header: bool,
        skip_lines: int | None,
        wanted: Collection[str],
        skipped: SkippedLines,
    ) -> None:
        assert source.workbook is not None
        self._skipped = skipped
        with _damage_told(source.name):
            chosen = _open(source.name, source.workbook, sheet)
            self.day_0: datetime = chosen.parent.epoch.replace(tzinfo=UTC)
            merged = _merged_cells(source.name, chosen)
        rows = _filled(_rows_of(source.name, chosen), merged)
        head = list(islice(rows, (skip_lines or 0) + HEAD_LINES))
        start = skip_lines or 0
        if skip_lines is None and header:
            start = find_header([[[cell.strip() for cell in cells]] for _, cells in head], wanted)
        skipped.preamble = start
        while start < len(head) and not any(head[start][1]):
            start += 1
        if start == len(head):
            raise ImportFailed(f"{source.name}: is empty")
        _, cells = head[start]
        self.names = [f"column_{number}" for number in range(1, len(cells) + 1)]
        if header:
            self.names = different([cell.strip() for cell in cells])
            start += 1
        self._rows = chain(head[start:], rows)

    def __iter__(self) -> Iterator[Record]:
        for number, cells in self._rows:
            if not any(cells):
                self._skipped.blank += 1
                continue
            surplus = cells[len(self.names) :]
            problem = "more cells than columns" if surplus else ""
            yield Record(number, dict(zip(self.names, cells, strict=False)), problem, surplus)


@contextmanager
def _damage_told(name: str) -> Iterator[None]:
    """As ImportFailed."""
    try:
        yield
    except ImportFailed:
        raise
    except Exception as error:
        # openpyxl lets out whatever a damaged file leads to: KeyError, TypeError, ParseError, ...
        raise ImportFailed(f"{name}: is a damaged Excel workbook: {error}") from None


def _open(name: str, file: BinaryIO, sheet: str | None) -> Any:
    """openpyxl's sheet. `sheet` is needed where several have rows. Raises ImportFailed."""
    try:
        import openpyxl
    except ImportError:
        raise ImportFailed(
            f"{name}: to read Excel workbooks, install openpyxl (pip install openpyxl), or save it"
            " as CSV (UTF-8)"
        ) from None
    # It warns of styles and of what else it leaves out, none of which is text.
    warnings.filterwarnings("ignore", category=UserWarning, module="openpyxl")
    file.seek(0)
    _check_sizes(name, file)
    workbook = openpyxl.load_workbook(file, read_only=True, data_only=True, keep_links=False)
    chosen = _choose(name, workbook, sheet)
    chosen.reset_dimensions()
    return chosen


def _rows_of(name: str, sheet: Any) -> Iterator[tuple[int, list[str]]]:
    """Each row's number, counted from 1, and its cells as text. Raises ImportFailed."""
    with _damage_told(name):
        # Without `max_col`: with it each row has as many cells as that, blank or not.
        rows = sheet.iter_rows(max_row=MAX_ROWS, values_only=True)
        for number, cells in enumerate(rows, start=1):
            if len(cells) > MAX_COLUMNS and any(cell is not None for cell in cells[MAX_COLUMNS:]):
                raise ImportFailed(f"{name}: has more than {MAX_COLUMNS:,} columns")
            yield number, [_text_of(cell) for cell in _without_blank_end(cells)]


def _merged_cells(name: str, sheet: Any) -> dict[int, list[tuple[int, int]]]:
    """By the row in which they begin, the column of each merged cell that goes over several rows,
    counted from 0, and its last row. They stand behind all rows, so that the sheet is gone through
    for them; openpyxl, where it streams, passes over them. Raises ImportFailed."""
    from openpyxl.utils import column_index_from_string

    merged: dict[int, list[tuple[int, int]]] = {}
    count, rest = 0, b""
    with sheet._get_source() as xml:
        while chunk := xml.read(_CHUNK):
            rest += chunk
            end = 0
            for found in _MERGED.finditer(rest):
                column, first, last = found.groups()
                end = found.end()
                if int(last) > int(first):
                    place = column_index_from_string(column.decode()) - 1
                    merged.setdefault(int(first), []).append((place, int(last)))
                    count += 1
            if count > MAX_MERGED:
                raise ImportFailed(
                    f"{name}: has more than {MAX_MERGED:,} merged cells: unmerge them, or save it"
                    " as CSV (UTF-8)"
                )
            rest = rest[max(end, len(rest) - _LONGEST_MERGED) :]
    return merged


def _filled(
    rows: Iterator[tuple[int, list[str]]], merged: Mapping[int, list[tuple[int, int]]]
) -> Iterator[tuple[int, list[str]]]:
    """What stands in a merged cell holds for each row beside it, though the sheet has it once. A
    row with nothing of its own is none."""
    held: dict[int, tuple[int, str]] = {}  # by its column, the last row and what it says
    for number, cells in rows:
        if held and any(cells):
            held = {place: each for place, each in held.items() if each[0] >= number}
            for place, (_, value) in held.items():
                cells += [""] * (place + 1 - len(cells))
                cells[place] = cells[place] or value
        for place, last in merged.get(number, ()):
            if place < len(cells):
                held[place] = last, cells[place]
        yield number, cells


def _check_sizes(name: str, file: BinaryIO) -> None:
    with zipfile.ZipFile(file) as archive:
        for part in archive.infolist():
            most = MAX_SHEET if part.filename.startswith(_SHEETS) else MAX_IN_MEMORY
            if part.file_size > most and not part.filename.startswith("xl/media/"):
                raise ImportFailed(
                    f"{name}: {part.filename} within it is larger than {most // 1024 // 1024} MiB:"
                    " save it as CSV (UTF-8)"
                )
    file.seek(0)


def _choose(name: str, workbook: Any, wanted: str | None) -> Any:
    """The sheet that is asked for, else the only one with rows. Raises ImportFailed."""
    sheets = {each.title: each for each in workbook.worksheets}
    if wanted is not None:
        if wanted in sheets:
            return sheets[wanted]
        raise ImportFailed(f"{name}: there is no sheet {wanted}; there are: {listed(sheets)}")
    with_rows = [title for title, each in sheets.items() if _has_rows(each)]
    if not with_rows:
        raise ImportFailed(f"{name}: is empty")
    if len(with_rows) > 1:
        raise ImportFailed(
            f"{name}: several of its sheets have rows ({listed(with_rows)}): say --sheet NAME"
        )
    return sheets[with_rows[0]]


def _has_rows(sheet: Any) -> bool:
    """More than a header or a title."""
    sheet.reset_dimensions()
    rows = islice(sheet.iter_rows(max_col=50, values_only=True), 200)
    return sum(any(cell is not None for cell in cells) for cells in rows) > 1


def _without_blank_end(cells: tuple[Any, ...]) -> tuple[Any, ...]:
    end = len(cells)
    while end and cells[end - 1] is None:
        end -= 1
    return cells[:end]


def _text_of(cell: Any) -> str:
    if cell is None:
        return ""
    if isinstance(cell, datetime):
        # Days with fractions, as Excel keeps times, miss a second by microseconds.
        rounded = cell + timedelta(microseconds=500)
        return rounded.replace(microsecond=rounded.microsecond // 1000 * 1000).isoformat(" ")
    if isinstance(cell, float) and cell.is_integer():
        # Excel keeps 15 digits: those beyond are nobody's, so the number shows that they are lost.
        return str(int(cell)) if abs(cell) < _FIRST_OF_16_DIGITS else f"{cell:.14e}"
    if isinstance(cell, str) and "_x" in cell:
        from openpyxl.utils.escape import unescape  # whoever is here has it

        return str(unescape(cell))  # `_x000D_`, as workbooks write control characters
    return str(cell)
