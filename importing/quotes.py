"""Quotes that are not as RFC 4180 has them, where there is one way to read them.

Programs that only put quotes around a text leave those within it as they are (`"she said "no""`),
files with tabs mostly know no quotes at all, and a spreadsheet in which a CSV was opened as one
column saves whole rows as one cell.
"""

import csv
import re
from contextlib import suppress
from functools import lru_cache

_IN_QUOTES = re.compile(r'"(?:[^"]|"")*+"').fullmatch


def cells_with_quotes_within(line: str, delimiter: str, number: int) -> list[str] | None:
    """The cells where a quote ends one only before a delimiter or the line's end; None where they
    are not just this `number`, so that a delimiter may stand in a text."""
    for pattern in _patterns(delimiter):
        cells = _cells(line.rstrip("\r\n"), pattern)
        if cells is not None and len(cells) == number:
            return cells
    return None


@lru_cache(8)
def _patterns(delimiter: str) -> tuple[re.Pattern[str], ...]:
    """One cell each. A pair of quotes is first taken for one of the text, then for one of the text
    and one that ends the cell."""
    end = rf"{re.escape(delimiter)}|\Z"
    plain = rf'(?P<plain>(?!")[^{re.escape(delimiter)}]*+)'
    return tuple(
        re.compile(rf'(?:"(?P<quoted>(?:{pair}[^"]++|"(?!{end}))*+)"|{plain})(?={end})')
        for pair in ('""|', "")
    )


def _cells(line: str, pattern: re.Pattern[str]) -> list[str] | None:
    cells, at = list[str](), 0
    while (found := pattern.match(line, at)) is not None:
        quoted = found["quoted"]
        cells.append(found["plain"] if quoted is None else quoted.replace('""', '"'))
        if found.end() == len(line):
            return cells
        at = found.end() + 1
    return None


def literal_cells(line: str, delimiter: str) -> list[str]:
    """The cells where quotes tell nothing, but those around a whole cell."""
    cells = line.rstrip("\r\n").split(delimiter)
    return [cell[1:-1].replace('""', '"') if _IN_QUOTES(cell) else cell for cell in cells]


def cells_of_one(cell: str, delimiter: str, number: int) -> list[str] | None:
    """The cells of a row that stands in one; None where it holds no such row, but a text."""
    with suppress(csv.Error, StopIteration):
        cells = next(csv.reader([cell], delimiter=delimiter, strict=True))
        # A text of two columns, of which one is missing, may have a comma.
        if len(cells) == number and (number > 2 or '"' in cell):
            return cells
    return None
