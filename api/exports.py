"""Insights as files: CSV for spreadsheets, NDJSON for programs."""

import csv
import io
import re
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

from api.insight_answers import insight_json
from models import format_time
from store.listed import ListedInsight

COLUMNS = (
    "conversation_id",
    "timestamp",
    "author",
    "text",
    "sentiment_score",
    "clusters",
    "confidence",
    "reasoning",
    "language",
    "urgency",
    "version",
    "labelled",
    "labelled_by",
    "handling",
    "handling_by",
    "link",
)

BOM = b"\xef\xbb\xbf"
"""The byte order mark by which a spreadsheet recognises UTF-8 in a CSV."""

# The places in a cell where a spreadsheet would read a formula: its begin, and, for a spreadsheet
# that splits at `;` or tab and ignores our quotes, the begin of each such part. Quotes and
# apostrophes before the sign count, so that our mark differs from an apostrophe of the author's.
_FORMULA = re.compile(
    "^(?=[\"']*[=+\\-@＝＋－＠\t\r\n])|(?<=[;\t\r\n])(?=[\"']*[=+\\-@＝＋－＠])"  # noqa: RUF001
)


_DELIMITERS = {"comma": ",", "semicolon": ";"}
"""A spreadsheet splits a CSV at the sign that its language has in lists: where numbers have a
comma, that is a semicolon."""


class Format(NamedTuple):
    """`head` stands before the first insight; `lines` renders some, which with `originals` say
    where they were written."""

    media_type: str
    originals: bool
    head: bytes
    lines: Callable[[Sequence[ListedInsight]], bytes]


def _csv_lines(delimiter: str, insights: Sequence[ListedInsight]) -> bytes:
    """As RFC 4180 has it, all cells in quotes; clusters are separated by `;`."""
    rows = (
        (
            insight.conversation_id,
            format_time(insight.timestamp),
            _cell(insight.author or ""),
            _cell(insight.text),
            insight.sentiment_score,
            ";".join(insight.clusters),
            insight.confidence,
            _cell(insight.reasoning),
            insight.language,
            insight.urgency,
            insight.version,
            insight.labelled.by.value if insight.labelled else "",
            _cell(insight.labelled.name) if insight.labelled else "",
            insight.handling.state.value,
            _cell(insight.handling.by or ""),
            _cell(insight.original or ""),
        )
        for insight in insights
    )
    written = io.StringIO()
    csv.writer(written, delimiter=delimiter, quoting=csv.QUOTE_ALL).writerows(rows)
    return written.getvalue().encode()


def _cell(text: str) -> str:
    """What a spreadsheet would run as a formula is text after an apostrophe.

    `importing/cells.py` takes these apostrophes out again, and no others.
    """
    return _FORMULA.sub("'", text)


def _ndjson_lines(insights: Sequence[ListedInsight]) -> bytes:
    return b"".join(insight_json(insight) + b"\n" for insight in insights)


CSV = {
    name: Format(
        "text/csv; charset=utf-8",
        True,
        f"{delimiter.join(COLUMNS)}\r\n".encode(),
        partial(_csv_lines, delimiter),
    )
    for name, delimiter in _DELIMITERS.items()
}
NDJSON = Format("application/x-ndjson", False, b"", _ndjson_lines)
