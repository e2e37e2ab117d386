"""What is kept beside an insight so that reading is fast.

    rollups.py         sums by hour and day, written; rollup_query.py reads them
    word_index.py      which insights hold which words, with the terms that terms.py names
    word_counts.py     exact totals and the newest of insights that hold words
    day_cache.py       answers cached by day, until a day changes
    priority.py        the key by which conversations are ordered for answering
    status_counts.py   conversations counted by status and lane

Every transaction that writes, changes or erases insights calls `add`, `replace` or `subtract`.
`rebuild` makes all of it anew; `ensure` does so where an earlier version of this code made it.
"""

import hashlib
import json
from collections.abc import Collection, Iterator, Sequence, Set
from contextlib import contextmanager

import structlog
from sqlalchemy import (
    Connection,
    bindparam,
    delete,
    exists,
    insert,
    select,
    text,
    tuple_,
)

from backends.sqlite_driver import execute
from database import Database
from models import (
    conversations,
    derived_data,
    insight_clusters,
    insight_rollups,
    insights,
)
from store.bulk_insert import ManyRows, send_waiting
from store.derived import day_cache, priority, rollups, status_counts, word_index
from store.derived.word_index import Words
from store.filters import COUNTS
from store.insight_row import COLUMNS, InsightRow, to_row

log = structlog.get_logger(__name__)

_ROWS_AT_A_TIME = 5000

_CLUSTERS = ManyRows(insight_clusters, replacing=True)
_FORGET_CLUSTERS = delete(insight_clusters).where(
    tuple_(*insight_clusters.primary_key).in_(bindparam("keys", expanding=True))
)
# Of several columns at once SQLite searches for the first alone, or goes through the whole table.
_FORGET_CLUSTERS_ON_SQLITE = """
DELETE FROM insight_clusters WHERE insight_id IN (SELECT value ->> 2 FROM json_each(?1))
AND (+cluster, +insight_id) IN (SELECT value ->> 0, value ->> 2 FROM json_each(?1))
"""

_IN_ORDER = text("SELECT pg_advisory_xact_lock(:key)")
_ORDER_LOCK = 0x1A51_6876  # any number that no other advisory lock of ours has


def take_turn(connection: Connection) -> None:
    """Call this before insights are written, changed or erased, and after their conversations are
    locked: until the transaction ends no other writes any. So ids become visible in the order in
    which they are given, and a reader that has seen one has seen all below it; and what is counted
    over insights is right when it is written. On SQLite writes run one at a time anyway."""
    if connection.dialect.name == "postgresql":
        connection.execute(_IN_ORDER, {"key": _ORDER_LOCK})


def add(
    connection: Connection,
    written: Sequence[InsightRow],
    words: Words | None = None,
    behind: Set[priority.Post] | None = None,
) -> None:
    """Take in insights that are being written in this transaction. Those of own accounts count in
    nothing, but are found by their author and words. The caller may have `words`, those of the
    texts, and `behind`, as `priority.complete_rows` returns it."""
    _write_clusters(connection, _counted(written))
    _add_but_clusters(connection, written, words)
    if behind is None or behind:
        send_waiting(connection)  # the keys of others are made of what is stored
    priority.add(connection, _counted(written), behind)


def _counted(rows: Sequence[InsightRow]) -> Sequence[InsightRow]:
    return [each for each in rows if not each.own]


def _write_clusters(connection: Connection, written: Sequence[InsightRow]) -> None:
    rows = [
        (cluster, each.timestamp, each.id, each.sentiment_score, each.confidence)
        for each in written
        for cluster in each.clusters
    ]
    _CLUSTERS.insert(connection, rows)


def _add_but_clusters(
    connection: Connection, added: Sequence[InsightRow], words: Words | None = None
) -> None:
    word_index.add(connection, added, words)
    rollups.add(connection, _counted(added))
    day_cache.bump_day_version(connection, (insight.timestamp for insight in added))


def subtract(connection: Connection, conversation_ids: Collection[str]) -> None:
    """Take out the insights of conversations that are being erased in this transaction, which must
    have locked their rows."""
    _subtract(connection, _read(connection, conversation_ids))


def _read(connection: Connection, conversation_ids: Collection[str]) -> Sequence[InsightRow]:
    found = connection.execute(_OF_CONVERSATIONS, {"ids": list(conversation_ids)})
    return list(map(to_row, found))


def _subtract(connection: Connection, erased: Sequence[InsightRow]) -> None:
    if not erased:
        return
    counted = _counted(erased)
    word_index.subtract(connection, erased)
    rollups.subtract(connection, counted)
    day_cache.bump_day_version(connection, (insight.timestamp for insight in erased))
    priority.subtract(connection, counted)


def replace(
    connection: Connection, before: Sequence[InsightRow], after: Sequence[InsightRow]
) -> None:
    """Take in other values of insights, whose conversations this transaction has locked: of the
    same ones, in the same order, with the same texts and times."""
    pairs = [(old, new) for old, new in zip(before, after, strict=True) if old != new]
    if not pairs:
        return
    later = connection.info.get(_COUNTED_LATER)
    if later is None:
        _count_anew(connection, pairs)
    else:
        later += pairs
        if len(later) >= _COUNTED_AT_ONCE:
            _count_anew(connection, later)
            later.clear()
    pairs = [(old, new) for old, new in pairs if not new.own]
    if not pairs:
        return
    before, after = [old for old, _ in pairs], [new for _, new in pairs]
    gone = [
        (cluster, old.timestamp, old.id)
        for old, new in pairs
        for cluster in old.clusters
        if cluster not in new.clusters
    ]
    if gone and connection.dialect.name == "sqlite":
        execute(connection, _FORGET_CLUSTERS_ON_SQLITE, (json.dumps(gone),))
    elif gone:
        connection.execute(_FORGET_CLUSTERS, {"keys": gone})
    _write_clusters(connection, [new for old, new in pairs if _in_clusters(old, new)])
    priority.replace(connection, before, after)


_COUNTED_LATER = "pairs of insights that are to be counted anew"
_COUNTED_AT_ONCE = 64
"""Takes some 2 ms, which somebody may wait for."""


@contextmanager
def counted_together(connection: Connection) -> Iterator[None]:
    """What is given to `replace` inside is counted and indexed by words some dozens at a time, the
    last ones at the end: neighbours share rows of the rollups, and pages of both. Who reads these
    inside may not see it yet."""
    info = connection.info
    pairs: list[tuple[InsightRow, InsightRow]] = []
    info[_COUNTED_LATER] = pairs
    try:
        yield
        if pairs:
            _count_anew(connection, pairs)
    finally:
        del info[_COUNTED_LATER]


def _count_anew(connection: Connection, pairs: Sequence[tuple[InsightRow, InsightRow]]) -> None:
    before, after = [old for old, _ in pairs], [new for _, new in pairs]
    word_index.replace(connection, before, after)
    day_cache.bump_day_version(connection, (insight.timestamp for insight in after))
    rollups.replace(connection, _counted(before), _counted(after))


def _in_clusters(old: InsightRow, new: InsightRow) -> bool:
    """Whether anything is other by now of what `insight_clusters` holds."""
    held = old.clusters, old.sentiment_score, old.confidence
    return held != (new.clusters, new.sentiment_score, new.confidence)


def take_out(connection: Connection, conversation_ids: Collection[str]) -> None:
    """Count the insights of these conversations in nothing, since they are to be an own account's.
    Their rows must be locked, and not be marked so yet."""
    found = _read(connection, conversation_ids)
    _subtract(connection, found)
    connection.execute(_FORGET_ALL_CLUSTERS, {"ids": list(conversation_ids)})
    word_index.add(connection, [row._replace(own=1) for row in found])


def take_in(connection: Connection, conversation_ids: Collection[str]) -> None:
    """Count the insights of these conversations, which were marked as an own account's until this
    transaction locked and changed their rows."""
    added = _read(connection, conversation_ids)
    word_index.subtract(connection, [row._replace(own=1) for row in added])
    add(connection, added)
    priority.refresh(connection, [insight.id for insight in added])


_OF_CONVERSATIONS = select(*COLUMNS).where(
    insights.c.conversation_id.in_(bindparam("ids", expanding=True))
)
_FORGET_ALL_CLUSTERS = delete(insight_clusters).where(
    insight_clusters.c.insight_id.in_(
        select(insights.c.id).where(
            insights.c.conversation_id.in_(bindparam("ids", expanding=True))
        )
    )
)


# --- rebuilding -----------------------------------------------------------------------------------

VERSION = 5
"""Raise this with every change to what is kept, even if only to what a word is."""


_HAS_ROWS = select(exists(select(conversations.c.id)))


async def ensure(database: Database) -> None:
    """Rebuild where nothing is kept yet, or another `VERSION` made it."""
    if database.is_sqlite and await database.read(_is_new):
        await database.write(_ensure)  # of no rows at all
    elif await database.read(_version) != VERSION:
        await database.rework(_ensure)


def _is_new(connection: Connection) -> bool:
    return _version(connection) is None and not connection.scalar(_HAS_ROWS)


def _ensure(connection: Connection) -> None:
    _keep_others_out(connection)
    before = _version(connection)
    if before != VERSION:  # no other replica was faster
        log.info("derived_data_is_rebuilt", before=before, after=VERSION)
        _rebuild(connection)


async def rebuild(database: Database) -> bool:
    """As `remake`. Returns whether the rollups or status counts had been wrong."""
    return await database.rework(_rebuild_and_compare)


async def remake(database: Database) -> None:
    """Make all anew, in one transaction of some thirty seconds for a million insights; other
    writers wait meanwhile, or meet Unavailable."""
    await database.rework(_remake)


def _remake(connection: Connection) -> None:
    _keep_others_out(connection)
    _rebuild(connection)


def _rebuild_and_compare(connection: Connection) -> bool:
    _keep_others_out(connection)
    before = _fingerprint(connection)
    _rebuild(connection)
    return _fingerprint(connection) != before


def _keep_others_out(connection: Connection) -> None:
    if connection.dialect.name == "postgresql":  # settling and erasing wait
        connection.execute(text("LOCK TABLE conversations IN EXCLUSIVE MODE"))


def _rebuild(connection: Connection) -> None:
    for table in (insight_rollups, derived_data):
        connection.execute(delete(table))
    status_counts.recount(connection)
    word_index.clear(connection)
    day_cache.bump_all_day_versions(connection)
    priority.doubt(connection)
    for rows in _chunks(connection):
        _add_but_clusters(connection, rows)
    connection.execute(insert(derived_data), {"version": VERSION})


def _version(connection: Connection) -> int | None:
    version: int | None = connection.scalar(select(derived_data.c.version))
    return version


def _chunks(connection: Connection) -> Iterator[Sequence[InsightRow]]:
    """All insights. Those that count come by time, so that few rollup rows are written twice."""
    for statement in (_NEXT_THAT_COUNT, _NEXT_OF_OWN):
        after = {"timestamp": -(2**63), "id": 0}
        while rows := [to_row(row) for row in connection.execute(statement, after)]:
            yield rows
            after = {"timestamp": rows[-1].timestamp, "id": rows[-1].id}


# Apart, since the index by time has none of own accounts: without it each part would be found by
# sorting the whole table.
_NEXT_THAT_COUNT = (
    select(*COLUMNS)
    .where(
        COUNTS,
        tuple_(insights.c.timestamp, insights.c.id)
        > tuple_(bindparam("timestamp"), bindparam("id")),
    )
    .order_by(insights.c.timestamp, insights.c.id)
    .limit(_ROWS_AT_A_TIME)
)
_NEXT_OF_OWN = (
    select(*COLUMNS)
    .where(~COUNTS, insights.c.id > bindparam("id"))
    .order_by(insights.c.id)
    .limit(_ROWS_AT_A_TIME)
)


def _fingerprint(connection: Connection) -> str:
    digest = hashlib.sha256()
    ordered = select(insight_rollups).order_by(*insight_rollups.primary_key)
    for row in connection.execute(ordered):
        digest.update(repr(tuple(row)).encode())
    digest.update(repr(status_counts.counted(connection)).encode())
    return digest.hexdigest()
