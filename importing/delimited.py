"""CSV and its relatives, as they really are.

Python's `csv` does the splitting. Around it: which delimiter it is, lone CRs in texts that nobody
quoted, and quotes that open and do not close, which would swallow all rows up to the next one.
"""

import csv
import re
from collections import deque
from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress

from importing.columns import MAX_COLUMNS, recognise_export, recognise_headerless, recognised
from importing.errors import ImportFailed
from importing.files import HEAD_BYTES, HEAD_LINES, MAX_LINE, Source
from importing.quotes import cells_of_one, cells_with_quotes_within, literal_cells
from importing.records import Record, SkippedLines
from importing.text_repair import storable

DELIMITERS = ",;\t|"
MAX_RECORD_LINES = 2000
MAX_EXPORT_LINES = 50_000
_LOOKED_AT = 64 * 1024  # characters of a line, to find out the delimiter
_CR = "\ud800"
"""Stands for a lone CR while `csv` reads, to which it would be a line's end. No decoded text has
it: it is half a character, and not one of those that stand for broken bytes."""
_LONE_CR = re.compile(r"\r(?!\n)")
_IS_FORMULA = re.compile(r'="[^"]+"').fullmatch
"""As some programs write what a spreadsheet shall leave as it is: `="0123"`."""
_LINE_END = re.compile(rf"\s*[\r\n{_CR}]\s*")
_BLANK = "\r\n \t\xa0\"',;|" + _CR


class Delimited:
    """The records of a delimited file. `names` are its columns, all different."""

    def __init__(
        self,
        source: Source,
        *,
        delimiter: str | None,
        header: bool,
        skipped: SkippedLines,
        skip_lines: int | None = None,
        wanted: Collection[str] = (),
    ) -> None:
        """`wanted` are columns that the user has named. Raises ImportFailed."""
        csv.field_size_limit(MAX_LINE)
        self._lines = source.lines
        self._again: deque[str] = deque()
        self._line = 0
        self._has_lone_crs = False
        self._skipped = skipped
        self._most_lines = MAX_RECORD_LINES
        for _ in range(skip_lines or 0):
            self._next_line()
        skipped.preamble = self._line
        head = _records(self._look_ahead(), delimiter or DELIMITERS)
        if skip_lines is None and header:
            self._pass_over_preamble(head, delimiter, wanted)
        self.delimiter = delimiter or sniff(head)
        first = self._first_line(choose=delimiter is None)
        if first is None:
            raise ImportFailed(f"{source.name}: is empty")
        if first.count(self.delimiter) >= MAX_COLUMNS:
            raise ImportFailed(f"{source.name}: has more than {MAX_COLUMNS:,} columns")
        self._skips_blanks = False
        lines, cells = self._first_record(first)
        if len(cells) > 1 and all(cell.startswith(" ") for cell in cells[1:]):
            # `id, text, author`: what follows the blank may be in quotes.
            self._skips_blanks = True
            cells = self._split(lines, strict=False) or cells
        self._header: list[str] = []
        self.known_as = ""
        if known := recognise_headerless(cells):
            self.known_as, names = known
            self.names = list(names)
        elif header:
            self._header, self.names = cells, different([_name(cell) for cell in cells])
            if recognise_export(self.names):
                # Its quotes are in order, and each text may have a line for each character.
                self._most_lines = MAX_EXPORT_LINES
        else:
            self.names = [f"column_{number}" for number in range(1, len(cells) + 1)]
        if not self._header:
            self._put_back(lines)
        self._header_folded = list(map(_as_header, self._header))
        self._name_surplus(head)

    def _look_ahead(self) -> list[str]:
        """The next lines, which are still to be read afterwards."""
        head: list[str] = []
        size, start = 0, self._line
        while len(head) < HEAD_LINES and size < HEAD_BYTES and (line := self._next_line()):
            head.append(line)
            size += len(line)
        self._again.extend(head)
        self._line = start
        return head

    def _pass_over_preamble(
        self, head: list[str], delimiter: str | None, wanted: Collection[str]
    ) -> None:
        """Lines of a report's own before its header are no rows. `head`, the first records, loses
        them, too."""
        delimiters = delimiter or DELIMITERS
        start = find_header([[_cells(line, each) for each in delimiters] for line in head], wanted)
        lines = sum(map(_count_lines, head[:start]))
        for _ in range(lines):
            self._next_line()
        del head[:start]
        self._skipped.preamble += lines

    def _first_line(self, *, choose: bool) -> str | None:
        """Blank lines and a spreadsheet's `sep=;` may come before it."""
        while (line := self._next_line()) is not None:
            if found := re.fullmatch(r"\"?sep=(.)\"?\s*", line):
                if choose:
                    self.delimiter = found[1]
            elif line.strip(_BLANK):
                return line
        return None

    def _first_record(self, first: str) -> tuple[list[str], list[str]]:
        """The lines and the cells of the record that begins with this line: a name in a header may
        go over several. Where a quote is never closed, it is this line alone."""
        lines = [first]
        cells = self._split(lines, strict=True, more=True, most_lines=HEAD_LINES)
        if cells is None:
            self._put_back(lines[1:])
            lines, cells = [first], self._split([first], strict=False)
        return lines, cells or [""]

    def _put_back(self, lines: Sequence[str]) -> None:
        """To be read again."""
        self._again.extendleft(reversed(lines))
        self._line -= len(lines)

    def _name_surplus(self, head: Sequence[str]) -> None:
        """Where all rows have some more cells than the header, as a delimiter at each line's end
        makes them, these are columns too."""
        rows = [cells for line in head[1:] if any(cells := _cells(line, self.delimiter))]
        counts = {len(cells) for cells in rows}
        if len(counts) != 1 or (most := counts.pop()) > MAX_COLUMNS:
            return
        if not any("".join(cells[len(self.names) :]) for cells in rows):
            numbers = range(len(self.names) + 1, most + 1)
            self.names += [f"column_{number}" for number in numbers]

    def __iter__(self) -> Iterator[Record]:
        while (line := self._next_line()) is not None:
            if not line.strip(_BLANK):
                self._skipped.blank += 1
                continue
            number = self._line
            if len(line) >= MAX_LINE and not line.endswith(("\n", "\r")):
                self._skip_rest_of_line()
                yield Record(number, {}, f"the line has more than {MAX_LINE:,} characters")
            elif record := self._record(number, line):
                yield record

    def _record(self, number: int, line: str) -> Record | None:
        """None where it is the header again."""
        if '"' not in line:
            if len(line) > MAX_COLUMNS and line.count(self.delimiter) >= MAX_COLUMNS:
                return Record(number, {}, f"more cells than columns: over {MAX_COLUMNS:,}")
            plain = line.rstrip("\r\n").split(self.delimiter)
            if self._skips_blanks:
                plain = [cell.lstrip(" ") for cell in plain]
            return self._good(number, plain)
        if (cells := self._whole(line)) and len(cells) <= len(self.names):
            return self._good(number, cells)
        if '\\"' in line:  # some programs write it for a quote within quotes
            cells = self._split([line], strict=True, backslash=True)
            if cells and len(cells) <= len(self.names):
                return self._good(number, cells)
        lines = [line]
        cells = self._split(lines, strict=False, more=True)
        is_well_formed = self._split(lines, strict=True) is not None
        if self._is_without_quotes(lines, is_well_formed=is_well_formed):
            self._put_back(lines[1:])
            return self._good(number, literal_cells(line, self.delimiter))
        if not is_well_formed:
            # Those after it are read again: a quote that is missing has swallowed them.
            self._put_back(lines[1:])
            if cells := cells_with_quotes_within(line, self.delimiter, len(self.names)):
                return self._good(number, cells)
            is_open = len(lines) > 1 or line.count('"') % 2
            problem = "a quote opens here that is never closed"
            return self._to_record(
                number,
                literal_cells(line, self.delimiter),  # to be mended, with all quotes
                problem if is_open else "its quotes are not in order",
            )
        if cells is None:
            return Record(number, {}, "it cannot be split into cells")
        if len(cells) > len(self.names):
            cells = self._split(lines, strict=True, backslash=True) or cells
        return self._good(number, cells)

    def _is_without_quotes(self, lines: Sequence[str], *, is_well_formed: bool) -> bool:
        """Whether a file with tabs knows no quotes: then each line is a row of its own, though one
        begins a cell with a quote and a later one ends a cell with it."""
        if self.delimiter != "\t" or (is_well_formed and len(lines) == 1):
            return False
        rows = lines if is_well_formed else lines[:1]
        return all(line.count("\t") == len(self.names) - 1 for line in rows)

    def _good(self, number: int, cells: list[str]) -> Record | None:
        if len(cells) == 1 < len(self.names) and self.delimiter in cells[0]:
            cells = cells_of_one(cells[0], self.delimiter, len(self.names)) or cells
        cells = [cell[2:-1] if _IS_FORMULA(cell) else cell for cell in cells]
        if self._is_header(cells):
            self._skipped.headers += 1
            return None
        return self._to_record(number, cells)

    def _is_header(self, cells: list[str]) -> bool:
        """Also as another file begins that was put behind this one."""
        if cells == self._header:
            return True
        folded = self._header_folded
        # Of one column a row may say by chance what its header does.
        if len(cells) != len(folded) or len(folded) < 2 or _as_header(cells[0]) != folded[0]:
            return False
        return list(map(_as_header, cells)) == folded

    def _to_record(self, number: int, cells: list[str], problem: str = "") -> Record:
        if self._has_lone_crs:
            cells = [cell.replace(_CR, "\r") for cell in cells]
        surplus = cells[len(self.names) : MAX_COLUMNS]
        if surplus:  # a delimiter outside quotes has moved everything
            problem = problem or (
                f"more cells than columns: {len(cells)}, not {len(self.names)};"
                " there may be a delimiter in a text without quotes"
            )
        return Record(number, dict(zip(self.names, cells, strict=False)), problem, surplus)

    def _whole(self, line: str) -> list[str] | None:
        """The cells of a record that is well formed and ends with its line, as nearly all are."""
        try:
            return next(
                csv.reader(
                    (line,),
                    delimiter=self.delimiter,
                    strict=True,
                    skipinitialspace=self._skips_blanks,
                )
            )
        except csv.Error:
            return None

    def _split(
        self,
        lines: list[str],
        *,
        strict: bool,
        more: bool = False,
        most_lines: int | None = None,
        backslash: bool = False,
    ) -> list[str] | None:
        """The cells of the record that these lines are; with `more`, lines are added as needed, up
        to `most_lines`, or as many as a record of this file may have.

        None where it is not well formed.
        """

        def feed() -> Iterator[str]:
            yield from list(lines)
            size = 0
            while more and len(lines) < (most_lines or self._most_lines) and size < MAX_LINE:
                if (line := self._next_line()) is None:
                    return
                size += len(line)
                lines.append(line)
                yield line

        reader = csv.reader(
            feed(),
            delimiter=self.delimiter,
            strict=strict,
            skipinitialspace=self._skips_blanks,
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


def _as_header(cell: str) -> str:
    return cell.strip("\ufeff \r\n").casefold()


def _records(lines: Sequence[str], delimiters: str) -> list[str]:
    """The first lines, those of one record together."""
    records: list[str] = []
    start = 0
    while start < len(lines):
        end = start + max(_lines_of_record(lines[start:], each) for each in delimiters)
        records.append("".join(lines[start:end]))
        start = end
    return records


def _lines_of_record(lines: Sequence[str], delimiter: str) -> int:
    """How many the first record has; 1 where its quotes are not in order."""
    if '"' in lines[0]:
        reader = csv.reader(lines, delimiter=delimiter, strict=True)
        with suppress(csv.Error):
            next(reader)
            return reader.line_num
    return 1


def _count_lines(record: str) -> int:
    return record.count("\n") + (not record.endswith("\n"))


def _name(cell: str) -> str:
    """A column's name on one line, of signs that can be stored."""
    return storable(_LINE_END.sub(" ", cell.strip()))[0]


def sniff(head: Sequence[str]) -> str:
    """The delimiter that makes the most columns of the first records, and the same number of
    each."""
    rows = [line for line in head if line.strip(_BLANK)][:10]

    def columns(delimiter: str) -> tuple[int, int]:
        counts = [len(_cells(line, delimiter)) for line in rows]
        return (counts[0] if counts else 0, sum(count == counts[0] for count in counts))

    return max(DELIMITERS, key=columns)


def _cells(line: str, delimiter: str) -> list[str]:
    line = line[:_LOOKED_AT].replace("\r", "")
    with suppress(csv.Error):
        return [cell.strip() for cell in next(csv.reader([line], delimiter=delimiter), [])]
    return []


def find_header(lines: Sequence[Sequence[Sequence[str]]], wanted: Collection[str]) -> int:
    """Which of the first lines is the header: how many come before it.

    Each line is given in all the ways in which it may be split. It is the first, but where a later
    one is a header plainly: it names the text and another of what a tweet has, and more than the
    first does; or it has the columns that are `wanted`.
    """

    def score(ways: Sequence[Sequence[str]]) -> int:
        if wanted:
            return max((all(name in cells for name in wanted) for cells in ways), default=0)
        return max((recognised(cells) for cells in ways if len(cells) > 1), default=0)

    scores = [score(ways) for ways in lines]
    best = max(scores, default=0)
    first = next((number for number, ways in enumerate(lines) if any(map(any, ways))), 0)
    if not scores or best <= scores[first] or (best < 2 and not wanted):
        return 0
    return scores.index(best)


def different(names: list[str]) -> list[str]:
    seen: set[str] = set()
    different = []
    for number, name in enumerate(names, start=1):
        unique = name if name and name not in seen else f"column_{number}"
        seen.add(unique)
        different.append(unique)
    return different
