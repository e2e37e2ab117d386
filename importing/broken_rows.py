"""Rows that a line break in their text, without quotes, has cut into several.

Programs that put no quotes around a text write such rows, and half of each would be taken for the
whole. What is cut is put together again where nothing else could be meant: the row ends in its
text, what follows has no time of its own, and together they have all cells, a time among them.
"""

from collections import Counter
from collections.abc import Iterator, Sequence

from importing.dates import Dates
from importing.errors import RowRejected
from importing.records import Record

CUT = "had been cut by a line break without quotes"
_MOST_LINES = 200
"""Of one row: so many are in memory until it is known whether they are one."""


class BrokenRows:
    """Of a delimited file with the columns `names`, of which one is the `text` and one the `time`.

    `mended` counts the rows that were put together.
    """

    def __init__(
        self, names: Sequence[str], text: str, time: str, dates: Dates, mended: Counter[str]
    ) -> None:
        self._names, self._time, self._dates, self._mended = names, time, dates, mended
        self._cells = names.index(text) + 1
        """So many has a row that ends in its text."""

    def put_together(self, records: Iterator[Record]) -> Iterator[Record]:
        text_is_last = self._cells == len(self._names)
        cut: list[Record] = []  # a row that ends in its text, and what may be the rest of it
        for record in records:
            if cut and self._may_be_rest(record, cut):
                cut.append(record)
                if not text_is_last and _cells_of(cut) == len(self._names):
                    yield from self._whole(cut)
                    cut = []
                continue
            # Where the text comes last, what stands behind the last row may be a sum or a remark.
            if len(cut) > 1 and text_is_last and self._has_time(record):
                cut = list(self._whole(cut))
            yield from cut
            cut = []
            if len(record.fields) == self._cells and not record.problem:
                cut = [record]
            else:
                yield record
        yield from cut

    def _may_be_rest(self, record: Record, cut: Sequence[Record]) -> bool:
        return (
            len(cut) < _MOST_LINES
            and len(record.fields) < len(self._names)
            and not record.problem
            and _cells_of([*cut, record]) <= len(self._names)
            and not self._has_time(record)
        )

    def _has_time(self, record: Record) -> bool:
        try:
            return self._dates.read(record.fields.get(self._time) or "") is not None
        except RowRejected:
            return False

    def _whole(self, cut: Sequence[Record]) -> Sequence[Record]:
        """One row of them, or all of them where they are none."""
        if _cells_of(cut) != len(self._names):
            return cut
        cells, line = list(cut[0].fields.values()), cut[0].line
        for record in cut[1:]:
            first, *others = record.fields.values()
            # Blank lines have been passed over.
            cells[-1] += ("\n\n" if record.line > line + 1 else "\n") + first
            cells += others
            line = record.line
        whole = Record(cut[0].line, dict(zip(self._names, cells, strict=True)))
        if not self._has_time(whole):
            return cut
        self._mended[CUT] += 1
        return [whole]


def _cells_of(cut: Sequence[Record]) -> int:
    """Of the row that they are together."""
    return sum(len(record.fields) - 1 for record in cut) + 1
