"""CSV and its relatives, as they really are.

Python's `csv` does the splitting. Around it: which delimiter it is, lone CRs in texts that nobody
quoted, and quotes that open and do not close, which would swallow all rows up to the next one.
"""

import csv
import re
from collections import deque
from collections.abc import Iterator, Sequence

from importing.columns import recognise_headerless
from importing.files import MAX_LINE, Source
from importing.records import PassedOver, Record
from importing.stops import GivenUp

DELIMITERS = ",;\t|"
MAX_RECORD_LINES = 2000
_CR = "\ufdd0"
"""Stands for a lone CR while `csv` reads, to which it would be a line's end. No text has it:
Unicode sets it aside for use inside a program."""
_LONE_CR = re.compile(r"\r(?!\n)")
_BLANK = "\r\n \t\xa0\"',;|" + _CR


class Delimited:
    """The records of a delimited file. `names` are its columns, all different."""

    def __init__(
        self, source: Source, *, delimiter: str | None, header: bool, passed_over: PassedOver
    ) -> None:
        csv.field_size_limit(MAX_LINE)
        self._lines = source.lines
        self._again: deque[str] = deque()
        self._line = 0
        self._has_lone_crs = False
        self._passed_over = passed_over
        self.delimiter = delimiter or sniff(source.head)
        first = self._first_line(choose=delimiter is None)
        if first is None:
            raise GivenUp(f"{source.name}: is empty")
        cells = self._split([first], strict=False) or [""]
        self._header: list[str] = []
        self.known_as = ""
        if known := recognise_headerless(cells):
            self.known_as, names = known
            self.names = list(names)
        elif header:
            self._header, self.names = cells, _different([cell.strip() for cell in cells])
        else:
            self.names = [f"column_{number}" for number in range(1, len(cells) + 1)]
        if not self._header:
            self._again.append(first)
            self._line -= 1
        self._name_surplus(source.head)

    def _first_line(self, *, choose: bool) -> str | None:
        """Blank lines and a spreadsheet's `sep=;` may come before it."""
        while (line := self._next_line()) is not None:
            if found := re.fullmatch(r"\"?sep=(.)\"?\s*", line):
                if choose:
                    self.delimiter = found[1]
            elif line.strip(_BLANK):
                return line
        return None

    def _name_surplus(self, head: Sequence[str]) -> None:
        """Where all rows have some more cells than the header, as a delimiter at each line's end
        makes them, these are columns too."""
        rows = [cells for line in head[1:] if any(cells := _cells(line, self.delimiter))]
        counts = {len(cells) for cells in rows}
        if len(counts) == 1 and not any("".join(cells[len(self.names) :]) for cells in rows):
            numbers = range(len(self.names) + 1, counts.pop() + 1)
            self.names += [f"column_{number}" for number in numbers]

    def __iter__(self) -> Iterator[Record]:
        while (line := self._next_line()) is not None:
            if not line.strip(_BLANK):
                self._passed_over.blank += 1
                continue
            number = self._line
            if len(line) >= MAX_LINE and not line.endswith(("\n", "\r")):
                self._skip_rest_of_line()
                yield Record(number, {}, f"the line has more than {MAX_LINE:,} characters")
                continue
            yield from self._record(number, line)

    def _record(self, number: int, line: str) -> Iterator[Record]:
        if '"' not in line:
            yield from self._good(number, line.rstrip("\r\n").split(self.delimiter))
            return
        lines = [line]
        cells = self._split(lines, strict=False, more=True)
        if len(lines) > 1 and self._split(lines, strict=True) is None:
            # Somewhere a quote was lost. This line is given up, and the others are read afresh.
            self._again.extendleft(reversed(lines[1:]))
            self._line -= len(lines) - 1
            cells = self._split([line], strict=False)
            yield self._to_record(number, cells or [], "a quote opens here that is never closed")
        elif cells is None:
            yield Record(number, {}, "it cannot be split into cells")
        else:
            if len(cells) > len(self.names):
                # Some programs write \" for a quote within quotes.
                cells = self._split(lines, strict=True, backslash=True) or cells
            yield from self._good(number, cells)

    def _good(self, number: int, cells: list[str]) -> Iterator[Record]:
        if cells == self._header:
            self._passed_over.headers += 1
        else:
            yield self._to_record(number, cells)

    def _to_record(self, number: int, cells: list[str], problem: str = "") -> Record:
        if self._has_lone_crs:
            cells = [cell.replace(_CR, "\r") for cell in cells]
        surplus = cells[len(self.names) :]
        if surplus:  # a delimiter outside quotes has moved everything
            problem = problem or (
                f"more cells than columns: {len(cells)}, not {len(self.names)};"
                " there may be a delimiter in a text without quotes"
            )
        return Record(number, dict(zip(self.names, cells, strict=False)), problem, surplus)

    def _split(
        self, lines: list[str], *, strict: bool, more: bool = False, backslash: bool = False
    ) -> list[str] | None:
        """The cells of the record that these lines are; with `more`, lines are added as needed.

        None where it is not well formed.
        """

        def feed() -> Iterator[str]:
            yield from list(lines)
            size = 0
            while more and len(lines) < MAX_RECORD_LINES and size < MAX_LINE:
                if (line := self._next_line()) is None:
                    return
                size += len(line)
                lines.append(line)
                yield line

        reader = csv.reader(
            feed(),
            delimiter=self.delimiter,
            strict=strict,
            escapechar="\\" if backslash else None,
        )
        try:
            cells = next(reader)
        except (csv.Error, StopIteration):
            return None
        return cells

    def _next_line(self) -> str | None:
        self._line += 1
        if self._again:
            return self._again.popleft()
        line = next(self._lines, None)
        if line is not None and "\r" in line:
            end = "\n" if line.endswith("\r") else ""
            line, count = _LONE_CR.subn(_CR, line[:-1] + end if end else line)
            self._has_lone_crs = self._has_lone_crs or count > 0
        return line

    def _skip_rest_of_line(self) -> None:
        for line in self._lines:
            if line.endswith(("\n", "\r")):
                return


def sniff(head: Sequence[str]) -> str:
    """The delimiter that makes the most columns of the first lines, and the same number of each."""
    rows = [line for line in head if line.strip(_BLANK)][:10]

    def columns(delimiter: str) -> tuple[int, int]:
        counts = [len(_cells(line, delimiter)) for line in rows]
        return (counts[0] if counts else 0, sum(count == counts[0] for count in counts))

    return max(DELIMITERS, key=columns)


def _cells(line: str, delimiter: str) -> list[str]:
    cells = next(csv.reader([line.replace("\r", "")], delimiter=delimiter), [])
    return [cell.strip() for cell in cells]


def _different(names: list[str]) -> list[str]:
    seen: set[str] = set()
    different = []
    for number, name in enumerate(names, start=1):
        unique = name if name and name not in seen else f"column_{number}"
        seen.add(unique)
        different.append(unique)
    return different
