"""The index of words: which insights hold which words, newest first.

Beside its words an insight has the terms of its figures (`store/derived/terms.py`), so that the
index alone finds what is negative and holds a word. Its key says both when and which: the second,
and the insight's id. So the newest matches, and those in a time range, come out of the index by
themselves, also where a word is in every third text.

    SQLite       FTS5 without content, `rowid` is the key. A word that is erased stays in the files
                 until the parts of the index that it was in are merged: `sweep` does that.
    PostgreSQL   a `tsvector` for each insight, under a GIN index.
"""

from collections.abc import Iterable, Mapping, Sequence
from enum import Enum
from functools import lru_cache
from operator import itemgetter
from typing import Any, NamedTuple, cast

from sqlalchemy import (
    BigInteger,
    ColumnClause,
    ColumnElement,
    Connection,
    TableClause,
    column,
    literal_column,
    table,
    text,
)

from analysis.micros import SECOND
from analysis.words import Phrase, words_of
from backends.sqlite_driver import execute
from store.bulk_insert import SqliteInsert, send
from store.derived.day_cache import Days
from store.derived.terms import Figures, Group, figures_of, of_own, terms_of, terms_of_figures
from store.filters import Span
from store.insight_row import InsightRow

_DAY = 86_400
_FIRST_DAY = -49_711  # in 1833; all before it share a second, as do those after 2106
_FIRST_SECOND = _FIRST_DAY * _DAY
_LAST_SECOND = (1 << 33) - 1
_ID_BITS = 30
ID_MASK = (1 << _ID_BITS) - 1
"""More insights than this would need another key."""
_KEYS_OF_A_DAY = literal_column(str(_DAY << _ID_BITS), BigInteger)

_PAGES_PER_STEP = 64
"""A step of merging holds the writer for some 4 ms."""
_PAGES_BETWEEN = 4
_PAGES_FOR_EACH = 4
"""To merge for each that was written: an index of a million insights has some four levels."""
_ROWS_OF_A_PAGE = 25


def second_key(timestamp: int) -> int:
    """The lowest key of the second that `timestamp` is in."""
    second = min(max(timestamp // SECOND - _FIRST_SECOND, 0), _LAST_SECOND)
    return second << _ID_BITS


def last_key(timestamp: int) -> int:
    """The highest key of the second that `timestamp` is in."""
    return second_key(timestamp) | ID_MASK


def first_of_second(key: int) -> int:
    return key & ~ID_MASK


def time_of(key: int) -> int:
    """The beginning of the second that a key is of, in microseconds."""
    return ((key >> _ID_BITS) + _FIRST_SECOND) * SECOND


def distinguishable_days(days: Days) -> Days:
    """Days that the index key can represent."""
    first = max(days.first, _FIRST_DAY + 1)
    return Days(first, max(first, min(days.stop, _FIRST_DAY + _LAST_SECOND // _DAY)))


def full_seconds(span: Span) -> tuple[int, int]:
    """The lowest and the highest key of the seconds that are in the time range from beginning to
    end; the lowest is above the highest where there is no such second."""
    low, high = second_key(span.start), last_key(span.stop - 1)
    if span.start % SECOND or low >> _ID_BITS in (0, _LAST_SECOND):
        low += 1 << _ID_BITS
    if span.stop % SECOND or high >> _ID_BITS in (0, _LAST_SECOND):
        high -= 1 << _ID_BITS
    return low, high


Words = Mapping[int, Sequence[str]]
"""The words of texts, by the insight's id."""


def add(connection: Connection, insights: Iterable[InsightRow], words: Words | None = None) -> None:
    """Index insights that are being written in this transaction."""
    rows = _rows(connection, insights, words)
    if not rows:
        return
    if connection.dialect.name == "sqlite":
        _ADD_ON_SQLITE.run(connection, rows)
        _merge_a_little(connection, len(rows))
    else:
        keys, terms = map(list, zip(*rows, strict=True))
        send(connection, _ADD, {"keys": keys, "terms": terms})


def subtract(connection: Connection, insights: Iterable[InsightRow]) -> None:
    """Take insights out of the index that are being erased in this transaction."""
    rows = _rows(connection, insights)
    if not rows:
        return
    if connection.dialect.name == "sqlite":
        _CHANGE_ON_SQLITE.run(connection, [(key, "delete", terms) for key, terms in rows])
        _merge_a_little(connection, len(rows))
    else:
        connection.execute(_SUBTRACT, [{"key": key} for key, _ in rows])


def replace(
    connection: Connection, before: Sequence[InsightRow], after: Sequence[InsightRow]
) -> None:
    """Index insights by other terms: the same ones, with the same texts and times.

    FTS5 keeps a list of keys for each term, and, as it is set up here, nothing else. So it is told
    of the terms that come and go, and the words are left as they are.
    """
    if connection.dialect.name != "sqlite":
        rows = _rows(connection, after)
        connection.execute(_REPLACE, [{"key": key, "terms": terms} for key, terms in rows])
        return
    changes: list[tuple[int, str | None, str]] = []
    for old, new in zip(before, after, strict=True):
        key = _key(new)
        moved = old.clusters != new.clusters
        figures = figures_of(old, clusters=moved), figures_of(new, clusters=moved)
        gone, come = _other_terms(*figures, new.own)
        changes += [(key, "delete", gone), (key, None, come)]
    changes.sort(key=itemgetter(0))
    _CHANGE_ON_SQLITE.run(connection, changes)
    _merge_a_little(connection, len(after))


@lru_cache(maxsize=4096)
def _other_terms(before: Figures, after: Figures, own: int) -> tuple[str, str]:
    """Those that go and those that come, as FTS5 takes them. Cached, since few different figures
    make up most insights."""
    signed = of_own if own else list
    old, new = signed(terms_of_figures(before)), signed(terms_of_figures(after))
    return (
        _for_fts([term for term in old if term not in new]),
        _for_fts([term for term in new if term not in old]),
    )


def _key(insight: InsightRow) -> int:
    return second_key(insight.timestamp) | insight.id & ID_MASK


def _rows(
    connection: Connection, insights: Iterable[InsightRow], words: Words | None = None
) -> list[tuple[int, str]]:
    """Keys, and terms as the index takes them. Without the order FTS5 writes a part for each."""
    as_index_takes = _for_fts if connection.dialect.name == "sqlite" else _for_tsvector
    found = []
    for each in insights:
        of_text = words[each.id] if words else words_of(each.text)
        found.append((_key(each), as_index_takes(_signed(each, [*of_text, *terms_of(each)]))))
    return sorted(found)


def _signed(insight: InsightRow, terms: list[str]) -> list[str]:
    return of_own(terms) if insight.own else terms


def _for_fts(terms: Sequence[str]) -> str:
    return " ".join(terms)


def _for_tsvector(terms: Sequence[str]) -> str:
    """Terms are letters and digits, so that none needs escaping."""
    places: dict[str, list[str]] = {}
    for place, term in enumerate(terms, start=1):
        places.setdefault(term, []).append(str(place))
    return " ".join(f"'{term}':{','.join(found)}" for term, found in places.items())


def expression(
    dialect: str, phrases: Sequence[Phrase], groups: Sequence[Group], absent: Sequence[str] = ()
) -> str:
    """A search for all phrases and one term of each group, but none that is `absent`, as the
    database's index takes it."""
    if dialect == "sqlite":
        parts = [
            f'"{" ".join(phrase).rstrip("*")}"{"*" if phrase[-1].endswith("*") else ""}'
            for phrase in phrases
        ]
        parts += map(_one_of_for_fts, groups)
        found = " AND ".join(parts)
        return f"({found}) NOT {_one_of_for_fts(absent)}" if absent else found
    parts = [" <-> ".join(map(_for_tsquery, phrase)) for phrase in phrases]
    parts += [" | ".join(f"'{term}'" for term in group) for group in groups]
    return " & ".join([*(f"({part})" for part in parts), *(f"!'{term}'" for term in absent)])


def of_anyone(
    dialect: str, phrases: Sequence[Phrase], groups: Sequence[Group], absent: Sequence[str] = ()
) -> str:
    """As `expression`, for the insights of own accounts as well."""
    usual = expression(dialect, phrases, groups, absent)
    own = expression(
        dialect, [tuple(of_own(each)) for each in phrases], [*map(of_own, groups)], of_own(absent)
    )
    return f"({usual}) {'OR' if dialect == 'sqlite' else '|'} ({own})"


def _one_of_for_fts(terms: Group) -> str:
    return "(" + " OR ".join(f'"{term}"' for term in terms) + ")"


def _for_tsquery(word: str) -> str:
    return f"'{word[:-1]}':*" if word.endswith("*") else f"'{word}'"


class AccessPath(Enum):
    """How PostgreSQL finds matches. Its planner often misjudges how many there are, so the caller,
    which has counted them, chooses; `EITHER` leaves it to the planner, which may use both. FTS5
    searches by words and key at once."""

    BY_WORDS = "words"
    BY_KEY = "key"
    EITHER = "either"


class Index(NamedTuple):
    """What statements name of the index: its table and key, the condition that `:q` matches, and
    the day of a key."""

    table: TableClause
    key: ColumnElement[int]
    matching: ColumnElement[bool]
    day: ColumnElement[int]

    def between(self, low: Any, high: Any) -> ColumnElement[bool]:
        return self.key.between(low, high)


@lru_cache
def index(dialect: str, path: AccessPath) -> Index:
    name: ColumnClause[int] = column("rowid" if dialect == "sqlite" else "key", BigInteger)
    found = table("insight_terms", name)
    key: ColumnElement[int] = found.c[name.name]
    match = "insight_terms MATCH :q"
    if dialect != "sqlite":
        match = "insight_terms.terms @@ CAST(:q AS tsquery)"
        if path is AccessPath.BY_KEY:
            match = f"({match}) IS TRUE"  # which GIN does not answer
        elif path is AccessPath.BY_WORDS:
            key = key + literal_column("0")  # which the key's index does not know
    day = key // _KEYS_OF_A_DAY + _FIRST_DAY
    return Index(found, key, cast("ColumnElement[bool]", text(match)), day)


def keys_of_day(day: ColumnElement[int]) -> tuple[ColumnElement[int], ColumnElement[int]]:
    """The first and the last key of a day that keys can represent."""
    first = (day - _FIRST_DAY) * _KEYS_OF_A_DAY
    return first, first + _KEYS_OF_A_DAY - 1


def id_of(key: ColumnElement[int]) -> ColumnElement[int]:
    return key.op("&")(literal_column(str(ID_MASK)))


_ADD_ON_SQLITE = SqliteInsert("insight_terms", ["rowid", "terms"])
_CHANGE_ON_SQLITE = SqliteInsert("insight_terms", ["rowid", "insight_terms", "terms"])
"""Adds terms to a key where the second column is null, and takes them away where it is `delete`."""
_ADD = """
INSERT INTO insight_terms (key, terms) SELECT key, CAST(terms AS tsvector)
FROM unnest(CAST(:keys AS bigint[]), CAST(:terms AS text[])) AS new (key, terms)
"""
_REPLACE = text("UPDATE insight_terms SET terms = CAST(:terms AS tsvector) WHERE key = :key")
_MERGE = "INSERT INTO insight_terms (insight_terms, rank) VALUES ('merge', ?)"
_SUBTRACT = text("DELETE FROM insight_terms WHERE key = :key")


def clear(connection: Connection) -> None:
    """Empty the index, so that it can be built anew."""
    if connection.dialect.name == "sqlite":
        connection.execute(text("INSERT INTO insight_terms (insight_terms) VALUES ('delete-all')"))
    else:
        connection.execute(text("DELETE FROM insight_terms"))


# --- merging ------------------------------------------------------------------------------------


class MergesDue:
    """How much of the index is to be merged, by what was written since the last time.

    Each transaction adds a part to the index, and a search looks into all parts. FTS5 by itself
    merges 64 pages a level after every 64 that were written, which holds the writer for 15-30 ms at
    a million insights; the same work by 16 pages takes 1 ms each time.
    """

    def __init__(self) -> None:
        self._written = 0

    def pages(self, rows: int) -> int:
        """To merge now, after one more transaction of so many rows; 0 for none."""
        self._written += 1 + rows // _ROWS_OF_A_PAGE
        if self._written < _PAGES_BETWEEN:
            return 0
        written, self._written = self._written, 0
        return written * _PAGES_FOR_EACH


_due = MergesDue()


def _merge_a_little(connection: Connection, rows: int) -> None:
    if pages := _due.pages(rows):
        execute(connection, _MERGE, (pages,))


# --- sweeping -------------------------------------------------------------------------------------


def note_erased(connection: Connection) -> None:
    """For a transaction that erases insights: the index is to be swept."""
    if connection.dialect.name == "sqlite":
        connection.execute(text("INSERT INTO words_to_sweep DEFAULT VALUES"))


def sweep(connection: Connection) -> bool:
    """Merge a little more of the index, if something was erased; whether more is left to merge.

    A round of merging may miss what is erased while it is under way; the next one has it.
    """
    if connection.dialect.name != "sqlite":
        return False  # PostgreSQL's own vacuum does it
    if not connection.scalar(text("SELECT count(*) FROM words_to_sweep")):
        return False
    if _merge(connection, _PAGES_PER_STEP):
        return True
    connection.execute(text("DELETE FROM words_to_sweep WHERE in_round"))
    if connection.execute(text("UPDATE words_to_sweep SET in_round = 1")).rowcount == 0:
        return False
    if _merge(connection, -_PAGES_PER_STEP):
        return True
    connection.execute(text("DELETE FROM words_to_sweep"))  # the index is in one part already
    return False


def _merge(connection: Connection, pages: int) -> bool:
    """Whether there was something to merge: more than one change, by FTS5's documentation. A
    negative number of pages begins with all parts of the index, a positive one goes on."""
    driver = connection.connection.dbapi_connection
    assert driver is not None
    before: int = driver.total_changes
    execute(connection, _MERGE, (pages,))
    return bool(driver.total_changes - before > 1)
