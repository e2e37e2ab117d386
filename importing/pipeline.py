"""From an opened file to the conversations to be sent.

The first records decide which form and columns the file has. Then each row becomes an item, a
duplicate or a rejected row, and is counted as what it became.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, tzinfo
from itertools import chain
from typing import Any

from importing import json_files
from importing.broken_rows import BrokenRows
from importing.columns import (
    NO_COLUMN,
    Columns,
    Reading,
    like_a_time,
    listed,
    recognise,
    zone_in,
)
from importing.dates import SPREADSHEET_DAY_0, Dates, Order, are_swapped
from importing.delimited import Delimited
from importing.duplicates import Duplicates
from importing.errors import ImportFailed, RowRejected
from importing.files import Source
from importing.ids import Ids
from importing.records import Record, SkippedLines
from importing.reply_threads import Threads
from importing.report import Tally
from importing.rows import Item, Row, RowReader, identify, to_item
from importing.values import plain
from importing.workbooks import Sheet

HEAD_RECORDS = 1000
HEAD_SIZE = 16 * 1024 * 1024  # characters
MAX_TEXT = 10_000
"""The service's default; where it differs, the service says so."""
_DELIMITER_NAMES = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}


@dataclass(frozen=True, slots=True)
class Options:
    """The user's choices. `columns` has a column's name or number by what it holds: `text`, ..."""

    columns: Mapping[str, str | None] = field(default_factory=dict)
    delimiter: str | None = None
    header: bool = True
    lines: bool = False
    dates: Order | None = None
    ignore_ids: bool = False
    mend: bool = True
    conversations: bool = False
    max_text: int | None = None
    skip_lines: int | None = None
    records: str | None = None
    sheet: str | None = None


class Pipeline:
    """`names` are the columns of a delimited file or a sheet, None for JSON."""

    def __init__(
        self,
        source: Source,
        options: Options,
        *,
        tally: Tally,
        reject: Callable[[Record, str], None],
    ) -> None:
        """Read the first records. `reject` is called with each row that cannot be sent, and why.

        Raises ImportFailed where the file has no text, or where its columns are in doubt.
        """
        self.source, self.options, self.tally, self._reject = source, options, tally, reject
        self.skipped = SkippedLines()
        self.names: Sequence[str] | None = None
        self.delimiter = ","
        self._day_0 = SPREADSHEET_DAY_0
        known_as = ""
        records: Iterator[Record]
        wanted = {name for name in options.columns.values() if name and not name.isdecimal()}
        of_table: dict[str, Any] = {
            "header": options.header,
            "skip_lines": options.skip_lines,
            "wanted": wanted - {NO_COLUMN},
            "skipped": self.skipped,
        }
        if source.workbook is not None:
            sheet = Sheet(source, sheet=options.sheet, **of_table)
            self.names, self._day_0 = sheet.names, sheet.day_0
            records = iter(sheet)
        elif options.lines:
            records = (Record(n, {"text": line.rstrip()}) for n, line in enumerate(source.lines, 1))
        elif json_files.looks_like_json(source.head):
            records = json_files.read(source, self.skipped, options.records)
        else:
            delimited = Delimited(source, delimiter=options.delimiter, **of_table)
            self.names, self.delimiter = delimited.names, delimited.delimiter
            known_as = delimited.known_as
            records = iter(delimited)
        head = _first_of(records)
        self.records: Iterator[Record] = chain(head, records)
        self.reading = self._understand(head)
        self.known_as = known_as or self.reading.columns.known_as
        max_text = options.max_text or (MAX_TEXT if options.conversations else None)
        self.reader = RowReader(
            self.reading, mend=options.mend, use_ids=not options.ignore_ids, max_text=max_text
        )
        time = self.reading.columns.time
        if self.names is not None and source.workbook is None and time:
            broken = BrokenRows(
                self.names,
                self.reading.columns.text,
                time,
                self.reading.dates,
                self.reader.mended,
            )
            self.records = broken.put_together(self.records)
        self._duplicates = Duplicates()
        self._threads = Threads(max_text=max_text or MAX_TEXT) if options.conversations else None
        self.links = self._threads.links if self._threads else None

    def close(self) -> None:
        self._duplicates.close()
        if self._threads:
            self._threads.close()

    @property
    def ids_shared(self) -> int:
        return self._duplicates.ids_shared

    # --- what it is ---------------------------------------------------------------------------

    def _understand(self, head: list[Record]) -> Reading:
        good = [record.fields for record in head if not record.problem]
        name, options = self.source.name, self.options
        if self.names is None and not good:
            raise ImportFailed(f"{name}: holds no JSON object")
        names = self.names or list(dict.fromkeys(chain.from_iterable(good)))
        self.columns_there = names
        filled = {
            name for fields in good for name, value in fields.items() if value not in ("", None)
        }
        columns = recognise(name, names, options.columns, filled=filled)
        ids, dates = Ids(), Dates(options.dates, _zone_of(name, columns.time), self._day_0)
        if columns.id and not options.ignore_ids:
            for fields in good:
                ids.learn(fields.get(columns.id))
            if ids.ruined:
                raise ImportFailed(
                    f"{name}: most ids in {columns.id} lost their digits in {ids.cause} (such as"
                    f" {ids.example}), so that they tell no tweet from another. Take the file as it"
                    " was before that, or load it with --ignore-ids: rows are then told apart by"
                    " author, time and text"
                )
        self._foreign = next(
            filter(None, (_foreign_in(fields.get(columns.text)) for fields in good)), ""
        )
        values = [plain(fields.get(columns.time)) for fields in good] if columns.time else []
        self._example = next(filter(None, values), "")
        for value in values:
            dates.learn(value)
        if undecided := next((value for value in values if dates.undecided(value)), None):
            raise ImportFailed(
                f"{name}: {undecided} in {columns.time} is two days, and the first rows do not"
                " tell which. Say --dates dmy (day first), mdy (month first) or ymd (year first)"
            )
        if self.source.workbook is not None and not options.dates and are_swapped(values):
            raise ImportFailed(
                f"{name}: in {columns.time} no day above 12 is a date, and no other is a text: a"
                " spreadsheet in another language has swapped day and month where it could. Take"
                " the file as it was before that; if the dates are right, say --dates dmy or mdy"
                " for the texts"
            )
        if columns.time is None and not options.columns.get("time"):
            self._ask_for_the_time(columns, good)
        if options.conversations:
            _check_links(name, columns, good, ignore_ids=options.ignore_ids)
        return Reading(columns, ids, dates, columns.is_export and self.names is not None)

    def _ask_for_the_time(self, columns: Columns, good: list[dict[str, Any]]) -> None:
        """Raises ImportFailed where a column plainly holds the times, under a name of its own.

        Rows that all get the time of their loading look like a wave of posts today.
        """
        taken = {columns.text, columns.author, columns.id, *columns.whole}
        dates = Dates(self.options.dates)
        for name in self.columns_there:
            if name in taken:
                continue
            values = list(filter(None, (plain(fields.get(name)) for fields in good)))
            if like_a_time(name, values, dates):
                raise ImportFailed(
                    f"{self.source.name}: no column is known as the time, and {name} looks like it"
                    f" ({values[0][:40]}). Say --time-column with its name; or --time-column"
                    f" {NO_COLUMN}, and each row gets the time at which it is loaded"
                )

    def plan(self) -> Iterator[str]:
        """What was understood, for people."""
        columns, dates = self.reading.columns, self.reading.dates
        form = "a text in each line" if self.options.lines else "JSON"
        if self.source.workbook is not None:
            form = "a sheet"
        elif self.names is not None:
            form = f"CSV with {_DELIMITER_NAMES.get(self.delimiter, repr(self.delimiter))}"
        known_as = f": {self.known_as}" if self.known_as else ""
        yield f"{self.source.name} ({form}, {self.source.encoding}){known_as}"
        if self.source.is_guess and self._foreign:
            yield f"  reads as   {self._foreign}"
            yield "             If that is wrong, say which encoding it is: --encoding cp1252, ..."
        yield f"  text       {columns.text}"
        yield f"  author     {columns.author or 'none'}"
        if columns.time is None:
            yield "  timestamp  none: each row gets the time at which it is loaded"
        else:
            order = f", {dates.describe()}" if dates.describe() else ""
            clock = f" and {columns.clock}" if columns.clock else ""
            yield f"  timestamp  {columns.time}{clock}{order}{self._shown_example()}"
        if columns.id and self.options.ignore_ids:
            yield f"  id         {columns.id} is not used"
        else:
            yield f"  id         {columns.id or 'none'}"
        if self.options.conversations:
            yield f"  thread     {columns.thread or columns.parent}"
        taken = {columns.text, columns.author, columns.time, columns.clock}
        others = [name for name in self.names or () if name not in taken]
        if others:
            yield f"  raw_data   {listed(others, 30)}"

    def _shown_example(self) -> str:
        if not self._example:
            return ""
        try:
            return f" ({self._example} is {self.reading.dates.read(self._example)})"
        except RowRejected:
            return ""

    # --- what comes out -----------------------------------------------------------------------

    def items(self) -> Iterator[Item]:
        """The conversations to be sent, one a row, or one a thread. Raises ImportFailed."""
        for record in self.records:
            self.tally.read += 1
            try:
                row = self.reader.read(record)
                if item := self._take(row):
                    yield item
            except RowRejected as rejected:
                self._reject(record, str(rejected))
        if self._threads:
            yield from self._threads.items()

    def _take(self, row: Row) -> Item | None:
        """Raises RowRejected."""
        within = (row.thread or "") if self._threads else ""
        digest = identify(row, self._duplicates, within=within)
        if digest is None:
            self.tally.duplicates += 1
        elif self._threads:
            self._threads.add(row, digest)
        else:
            return to_item(row, digest)
        return None


def _foreign_in(value: Any) -> str:
    """Some words of a text with a letter in them that ASCII has not; empty where it has none."""
    words = str(value).split()
    first = next((place for place, word in enumerate(words) if not word.isascii()), None)
    return "" if first is None else " ".join(words[max(0, first - 3) : first + 5])[:70]


def _first_of(records: Iterator[Record]) -> list[Record]:
    """As many as it takes to understand a file; fewer where they are large."""
    head: list[Record] = []
    size = 0
    while len(head) < HEAD_RECORDS and size < HEAD_SIZE and (record := next(records, None)):
        head.append(record)
        size += sum(map(_size_of, record.fields.values()))
    return head


def _size_of(value: Any) -> int:
    try:
        return len(value) if isinstance(value, str) else len(json.dumps(value))
    except RecursionError:
        return HEAD_SIZE


def _zone_of(name: str, time: str | None) -> tzinfo:
    """That which the column's own name tells. Raises ImportFailed."""
    try:
        return zone_in(time or "") or UTC
    except RowRejected as rejected:
        raise ImportFailed(
            f"{name}: {rejected}: write the offset into the header, as in Date (+05:30)"
        ) from None


def _check_links(
    name: str, columns: Columns, good: list[dict[str, Any]], *, ignore_ids: bool
) -> None:
    """Raises ImportFailed where nothing tells which messages belong together."""
    column = columns.thread or (None if ignore_ids or not columns.id else columns.parent)
    if column is None:
        raise ImportFailed(
            f"{name}: --conversations needs a column for the thread, or one for the id and one for"
            " what is replied to; name them with --thread-column, --id-column and --parent-column"
        )
    links = Ids()
    for fields in good:
        links.learn(fields.get(column))
    if links.ruined:
        raise ImportFailed(
            f"{name}: most values in {column} lost their digits in {links.cause} (such as"
            f" {links.example}), so that they tell no thread from another. Take the file as it was"
            " before that, or load it without --conversations"
        )
