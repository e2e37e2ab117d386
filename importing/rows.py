"""From a record to what is sent for it, or to the reason why nothing can be.

A row's idempotency key follows from its content, so that loading it again stores nothing:

- with an id: the id and the text. The same tweet exported again, with other counts beside it, is
  the same; two files that number their rows 1, 2, 3 do not get in each other's way;
- without: author, time and text;
- with neither an id nor both of author and time nothing tells two equal rows apart ("thanks!", by
  anybody): they are kept, and the key has the row's content and how often it came before.

A key begins with the id or the time. Files are mostly in the order of those, so that the keys of a
batch lie side by side in the service's index: storing it costs half of what hashes alone would.
"""

import hashlib
import json
import re
from collections import Counter
from dataclasses import dataclass
from typing import Any

from analysis.senders import is_outbound
from importing import text_repair
from importing.cells import unmarked
from importing.columns import Reading
from importing.dates import is_clock
from importing.duplicates import Duplicates
from importing.errors import RowRejected
from importing.ids import thread_of
from importing.records import Record
from importing.values import IN_PIECES, author_of, plain, text_in_pieces, text_of

LINE_COLUMN, REASON_COLUMN = "import_line", "import_reason"
"""In a file of rejected rows, in front of the row's own columns."""


_DAY_ALONE = len("20 September 2025")
_CUT_ENTITY = re.compile(r"&(?:amp|lt|gt|quot|#\d+)$")


@dataclass(slots=True)
class Row:
    """`time` is ISO 8601 in UTC. `raw_data` is what goes along, None where there is nothing."""

    record: Record
    text: str
    author: str | None
    time: str | None
    id: str | None
    parent: str | None
    thread: str | None
    inbound: bool | None
    raw_data: dict[str, Any] | None


class RowReader:
    """Reads the records of one file. `mended` counts texts and names by what was undone in them."""

    def __init__(
        self, reading: Reading, *, mend: bool, use_ids: bool, max_text: int | None
    ) -> None:
        columns = reading.columns
        self._columns, self._ids, self._dates = columns, reading.ids, reading.dates
        self._id = columns.id if use_ids else None
        self._aside = {
            columns.text, columns.author, columns.time, columns.clock, LINE_COLUMN, REASON_COLUMN
        }  # fmt: skip
        self._is_export = reading.is_export_csv
        # Our own texts were mended before they were stored.
        self._mend = mend and not columns.is_export
        self.max_text = max_text
        self.mended: Counter[str] = Counter()

    def read(self, record: Record) -> Row:
        """Raises RowRejected."""
        columns = self._columns
        fields = self._fields(record)
        text, given, mends = self._text(fields)
        author, as_given = (
            self._author(fields.get(columns.author)) if columns.author else (None, "")
        )
        time = self._dates.read(self._time(fields)) if columns.time else None
        raw_data = {
            name: value
            for name, value in fields.items()
            if name not in self._aside and value not in ("", None)
        }
        if mends:
            self.mended.update(mends)
            raw_data[columns.text] = given
        if columns.author and author != as_given:
            raw_data[columns.author] = as_given
        if columns.author and isinstance(person := fields.get(columns.author), dict | list):
            raw_data[columns.author] = person
        row = Row(record, text, author, time, None, None, None, None, raw_data or None)
        if self._id:
            row.id = self._ids.read(fields.get(self._id))
            if columns.parent:
                row.parent = self._parent(fields.get(columns.parent))
        if columns.thread:
            row.thread = thread_of(fields.get(columns.thread))
        if columns.inbound:
            row.inbound = _truth(fields.get(columns.inbound))
            if row.inbound is False and not is_outbound(raw_data):
                row.raw_data = {**raw_data, "inbound": False}  # as the service knows it
        return row

    def text_of(self, record: Record) -> str:
        """Raises RowRejected."""
        return self._text(self._fields(record))[0]

    def _fields(self, record: Record) -> dict[str, Any]:
        """Raises RowRejected."""
        if record.problem:
            raise RowRejected(record.problem)
        fields = self._storable(record.fields)
        if self._is_export:
            return {name: unmarked(value) for name, value in fields.items()}
        return fields

    def _text(self, fields: dict[str, Any]) -> tuple[str, str, list[str]]:
        """As it was meant, as it was given, and what was undone. Raises RowRejected."""
        columns, mends = self._columns, list[str]()
        given = text_of(fields.get(columns.text))
        if given is None:
            raise RowRejected("the text is not text")
        text = given
        if given.startswith(IN_PIECES) and self._mend and (together := text_in_pieces(given)):
            text, mends = together, [text_repair.PIECES]
        for name in columns.whole:
            whole = text_of(fields.get(name)) or ""
            if len(whole) > len(text):
                text, mends = whole, [text_repair.CUT_OFF]
        if self._mend:
            text, more = text_repair.mend(text)
            mends += more
        if not columns.is_export:  # what the service has taken, it takes again
            text = text.strip()
        if not text.strip():
            raise RowRejected("the text is empty")
        if not columns.is_export:
            _check(text)
        if self.max_text is not None and len(text) > self.max_text:
            raise RowRejected(f"text: must be at most {self.max_text} characters")
        return text, given, mends

    def _author(self, value: Any) -> tuple[str | None, str | None]:
        """As the author is called, and as that was given."""
        if self._columns.is_export:  # whose authors are names already, whatever they look like
            name = None if value is None else str(value) or None
            return name, name
        name = author_of(value)
        if name is None or not self._mend:
            return name, name
        mended, mends = text_repair.mend(name)
        self.mended.update(mends)
        return mended.strip() or None, name

    def _time(self, fields: dict[str, Any]) -> str:
        value = plain(fields.get(self._columns.time or ""))
        if self._columns.clock and is_clock(clock := plain(fields.get(self._columns.clock))):
            day = value.removesuffix(" 00:00:00")  # as a workbook has days
            return f"{day} {clock}" if len(day) <= _DAY_ALONE else value
        return value

    def _parent(self, value: object) -> str | None:
        """A link that cannot be read is none: the row itself is good."""
        try:
            parent = self._ids.read(value)
        except RowRejected:
            return None
        return None if parent in ("0", "-1") else parent

    def _storable(self, fields: dict[str, Any]) -> dict[str, Any]:
        try:
            together = "".join(fields.values())
        except TypeError:  # JSON, where values are of all kinds
            together = _in_json(fields)
            if "\\u0000" in together:
                together += "\x00"
        if not text_repair.storable(together)[1]:
            return fields
        self.mended[text_repair.UNREADABLE] += 1
        return {text_repair.storable(name)[0]: _storable(value) for name, value in fields.items()}


_LOST = frozenset(
    "#NAME? #REF! #VALUE! #DIV/0! #NULL! #NUM! #ERROR! #SPILL! #CALC! #WERT! #BEZUG! #ZAHL!"
    " #NOM? #VALEUR! #NOMBRE! #¿NOMBRE? #¡VALOR! #¡REF! #NOME? #VALOR! #NAAM? #WAARDE!"
    " #ИМЯ? #ЗНАЧ!".split()
)
"""What Excel and Google Sheets show in the place of a text that begins with `=`, `+` or `-`."""


def _check(text: str) -> None:
    """Raises RowRejected."""
    if text in _LOST:
        raise RowRejected(f"the text was lost in a spreadsheet, which shows {text}")
    if not (text.isascii() and text.isprintable()) and text_repair.is_blank(text):
        raise RowRejected("the text is empty but for signs that nobody can see")
    if "&" in text and _CUT_ENTITY.search(text):
        raise RowRejected("the text breaks off in an HTML entity: something has split it at a ;")


def _in_json(fields: dict[str, Any]) -> str:
    """Raises RowRejected."""
    try:
        return _JSON.encode(fields)
    except ValueError:
        raise RowRejected("holds numbers that are none (NaN, Infinity)") from None


def _storable(value: Any) -> Any:
    if isinstance(value, str):
        return text_repair.storable(value)[0]
    if isinstance(value, list):
        return [_storable(each) for each in value]
    if isinstance(value, dict):
        return {text_repair.storable(name)[0]: _storable(each) for name, each in value.items()}
    return value


_TRUTHS = {
    **dict.fromkeys("true 1 yes wahr vrai verdadero vero inbound incoming".split(), True),
    **dict.fromkeys("false 0 no falsch faux falso outbound outgoing".split(), False),
}


def _truth(value: object) -> bool | None:
    """Also as a spreadsheet in another language writes it."""
    return _TRUTHS.get(str(value).strip().lower())


# --- what is sent ---------------------------------------------------------------------------------

_JSON = json.JSONEncoder(ensure_ascii=False, allow_nan=False)


@dataclass(slots=True)
class Item:
    """One conversation to be sent: its JSON, and the records that it is made of. `outbound` is what
    the service takes for the company's own, whoever wrote it."""

    json: bytes
    records: list[Record]
    text_length: int
    time: str | None
    author: str | None = None
    outbound: bool = False


def identify(row: Row, duplicates: Duplicates, *, within: str = "") -> bytes | None:
    """What the row's key is made of; None where the same row came before in this import.

    One thread's message is not another's: `within` is the thread, where threads are put together.
    """
    if row.id is not None:
        digest = digest_of("id", row.id, row.text)
        return digest if duplicates.is_new_with_id(f"{within}/{row.id}", digest) else None
    if row.author is not None and row.time is not None:
        digest = digest_of("said", row.author, row.time, row.text)
        return digest if duplicates.is_new(digest) else None
    digest = digest_of("row", row.text, row.author, row.time, row.raw_data)
    return digest_of("nth", digest.hex(), duplicates.times_before(digest))


def to_item(row: Row, digest: bytes) -> Item:
    """The row as a conversation of its own. Raises RowRejected."""
    key = make_key(row.id or row.time, digest)
    return make_item(
        [row.record], key, row.text, author=row.author, time=row.time, raw_data=row.raw_data
    )


def make_key(first: str | None, digest: bytes) -> str:
    return f"import:{first or ''}:{digest.hex()}"


def make_item(
    records: list[Record],
    key: str,
    text: str,
    *,
    author: str | None,
    time: str | None,
    raw_data: dict[str, Any] | None,
) -> Item:
    """Raises RowRejected where it cannot be told in JSON."""
    body: dict[str, Any] = {"text": text, "idempotency_key": key}
    if author is not None:
        body["author"] = author
    if time is not None:
        body["timestamp"] = time
    if raw_data:
        body["raw_data"] = raw_data
    encoded = _in_json(body).encode()
    outbound = bool(raw_data) and is_outbound(raw_data or {})
    return Item(encoded, records, len(text), time, author, outbound)


def digest_of(*content: object) -> bytes:
    joined = "\0".join(_text_of(each) for each in content)
    return hashlib.sha256(joined.encode()).digest()[:20]


def _text_of(value: object) -> str:
    """Unlike that of any other value; texts hold no NUL."""
    return value if isinstance(value, str) else "\0" + json.dumps(value, sort_keys=True)
