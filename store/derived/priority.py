"""The key by which conversations are ordered for answering, kept in `insights.priority`.

It changes with whatever it is made of: labels, handling, and how often its author has complained
before, which other conversations of that author change. Null is what nobody is to answer: what is
answered, ignored, or an account's of one's own.

The weights are those that `applied_settings` holds, so that all processes go by the same ones.
"""

import json
from collections.abc import Collection, Iterable, Mapping, Sequence, Set
from functools import lru_cache
from typing import Any, NamedTuple

from sqlalchemy import Connection, Text, bindparam, cast, func, literal_column, select, text

from analysis.handling import WAITING
from analysis.priority import FORTNIGHT, MOST_REPEATS, Facts, Weights, key
from analysis.sentiment import NEGATIVE_BELOW
from backends.sqlite_driver import execute
from models import insights
from store.applied_settings import applied, note_applied
from store.bulk_insert import ManyChanges
from store.insight_row import SUSPECTED, InsightRow, read_notes
from store.statements import Prepared, among
from tables.people import applied_settings

SETTING = "PRIORITY"
_MOST_AT_ONCE = 2_000
"""Keys that are found anew where they change, which takes 40 ms. Where one post changes those of
more, all are made anew in the background."""


class Post(NamedTuple):
    """Who wrote when, in microseconds."""

    author: str
    timestamp: int


class Applied(NamedTuple):
    """The weights of new keys, and of all insights from the id `below` on: those below it are still
    to get theirs."""

    weights: Weights
    below: int


def read_applied(connection: Connection) -> Applied | None:
    """None in a database that no service has worked with."""
    stored = applied(SETTING, connection)
    return stored and Applied(Weights(**stored["weights"]), stored["below"])


def read_weights(connection: Connection) -> Weights:
    found = _APPLIED.run(connection, {})
    return weights_of(found[0][0] if found else None)


@lru_cache(maxsize=4)
def weights_of(stored: str | None) -> Weights:
    """From the setting as it is stored, JSON as a text; None where there is none yet."""
    return Weights() if stored is None else Weights(**json.loads(stored)["weights"])


def _write_applied(connection: Connection, weights: Weights, below: int) -> None:
    note_applied(SETTING, {"weights": weights._asdict(), "below": below}, connection)


def take_up(connection: Connection, weights: Weights) -> None:
    """New keys go by these weights, and all that are there are to be made anew where they have gone
    by others."""
    found = read_applied(connection)
    if found is None or found.weights != weights:
        _start_anew(connection, weights)


def catch_up(connection: Connection, count: int) -> bool:
    """Make the keys of the next `count` insights anew, the newest first; whether more are left.
    Nobody else may change insights meanwhile."""
    found = read_applied(connection)
    if found is None or found.below <= 1:
        return False
    values = {"below": found.below, "limit": count}
    ids = connection.scalars(_NEXT, values).all()
    refresh(connection, ids)
    _write_applied(connection, found.weights, ids[-1] if ids else 0)
    return bool(ids)


def doubt(connection: Connection) -> None:
    """All keys are to be made anew, in the background, from the newest insight down."""
    _start_anew(connection, read_weights(connection))


def _start_anew(connection: Connection, weights: Weights) -> None:
    newest = connection.scalar(_NEWEST_ID) or 0
    _write_applied(connection, weights, newest + 1)


# --- new ones -------------------------------------------------------------------------------------


def complete_rows(
    connection: Connection,
    rows: Sequence[dict[str, Any]],
    rising: Set[str],
    weights: Weights | None = None,
    around: Sequence[Sequence[Any]] | None = None,
) -> set[Post]:
    """Fill in `repeats`, `rising` and `priority` of insights that are about to be written. Nobody
    else may write insights meanwhile; `add` is to follow, with what is returned: the posts behind
    which stored ones of the same author wait. Mostly there are none. `around` is what
    `AROUND_AS_JSON` found of the `posts_that_count`, where the caller has asked."""
    if weights is None:
        weights = read_weights(connection)
    counted = [row for row in rows if not row["own"]]
    if around is None:
        around = _of_posts(connection, _AROUND_POSTS, posts_that_count(rows))
    before: dict[Post, int] = {}
    behind: set[Post] = set()
    for author, timestamp, count, is_followed in around:
        post = Post(author, timestamp)
        before[post] = count
        if is_followed:
            behind.add(post)
    unhappy: dict[str, list[int]] = {}
    for row in counted:
        if row["author"] is not None and row["sentiment_score"] < NEGATIVE_BELOW:
            unhappy.setdefault(row["author"], []).append(row["timestamp"])
    for row in rows:
        row |= {"repeats": 0, "rising": 0, "priority": None}
    for row in counted:
        post = Post(row["author"], row["timestamp"])
        also = sum(
            0 < post.timestamp - other <= FORTNIGHT for other in unhappy.get(post.author, ())
        )
        row["repeats"] = min(before.get(post, 0) + also, MOST_REPEATS)
        row["rising"] = int(not rising.isdisjoint(row["clusters"]))
        notes = row["notes"] or {}
        row["priority"] = key(_facts(row, suspected=SUSPECTED in notes), weights)
    return behind


def posts_that_count(rows: Iterable[Mapping[str, Any]]) -> set[Post]:
    """Of rows of insights, those on which keys depend."""
    return {
        Post(row["author"], row["timestamp"])
        for row in rows
        if row["author"] is not None and not row["own"]
    }


def _facts(row: Mapping[str, Any], *, suspected: bool) -> Facts:
    return Facts(suspected=suspected, **{name: row[name] for name in _OF_ROW})


_OF_ROW = tuple(name for name in Facts._fields if name != "suspected")


class _PostStatement:
    """Reads `{posts}`: the table `post` with the columns `author` and `timestamp`."""

    def __init__(self, statement: str) -> None:
        self.on_sqlite = statement.format(
            posts="(SELECT value ->> 0 AS author, value ->> 1 AS timestamp FROM json_each(?)) post"
        )
        self.text_on_postgresql = statement.format(
            posts="unnest(CAST(:authors AS text[]), CAST(:timestamps AS bigint[]))"
            " AS post (author, timestamp)"
        )
        self.on_postgresql = text(self.text_on_postgresql)


def _of_posts(
    connection: Connection, statement: _PostStatement, posts: Collection[Post]
) -> Sequence[Sequence[Any]]:
    if not posts:
        return []
    if connection.dialect.name == "sqlite":
        given = (json.dumps(list(posts)),)
        return execute(connection, statement.on_sqlite, given).fetchall()
    return connection.execute(statement.on_postgresql, as_arrays(posts)).all()


def as_arrays(posts: Collection[Post]) -> dict[str, list[Any]]:
    """The parameters of a statement about these on PostgreSQL."""
    return {
        "authors": [post.author for post in posts],
        "timestamps": [post.timestamp for post in posts],
    }


_AROUND_POSTS = _PostStatement(
    f"""
SELECT post.author, post.timestamp, (
    SELECT count(*) FROM (
        SELECT 1 FROM insights
        WHERE insights.author = post.author AND insights.timestamp < post.timestamp
        AND insights.timestamp >= post.timestamp - {FORTNIGHT}
        AND sentiment_score < {NEGATIVE_BELOW} AND own = 0 LIMIT {MOST_REPEATS}
    ) AS few
), EXISTS (
    SELECT 1 FROM insights
    WHERE insights.author = post.author AND insights.timestamp > post.timestamp
    AND insights.timestamp <= post.timestamp + {FORTNIGHT}
) FROM {{posts}}
"""  # noqa: S608  numbers of ours
)
"""How many unhappy ones are stored that count as repeats for each of the posts; and whether any are
for which it would count."""

AROUND_AS_JSON = f"""
SELECT CAST(json_agg(json_build_array(author, timestamp, count, is_followed)) AS text)
FROM ({_AROUND_POSTS.text_on_postgresql}) AS around (author, timestamp, count, is_followed)
"""  # noqa: S608  a statement of ours
"""The same on PostgreSQL in one value, which is null where there is nothing."""


def add(
    connection: Connection, added: Iterable[InsightRow], behind: Set[Post] | None = None
) -> None:
    """Of insights that `complete_rows` has filled in, and that are written: those of the same
    authors that came after them have been waiting behind unhappy ones. `behind` is what it has
    returned, None where that is not at hand."""
    if behind is None or behind:
        moved = _posts(filter(_is_unhappy, added))
        refresh(connection, [], moved if behind is None else moved & behind)


# --- whatever changes -----------------------------------------------------------------------------


class Kept(NamedTuple):
    """What neither labels nor handling change of what an insight's own key is made of; `notes` as
    they are stored."""

    repeats: int
    reach: float
    rising: int
    notes: str | None


def key_of(insight: InsightRow, kept: Kept, weights: Weights) -> int | None:
    """Of an insight that is about to get other values, which `replace` is then to be told of."""
    if insight.own or insight.handling not in WAITING:
        return None
    suspected = SUSPECTED in read_notes(kept.notes)
    repeats, reach, rising, _ = kept
    _, timestamp, _, _, score, confidence, _, _, urgency, *_ = insight
    facts = Facts(timestamp, score, confidence, urgency, suspected, repeats, reach, rising)
    return key(facts, weights)


def replace(
    connection: Connection, before: Sequence[InsightRow], after: Sequence[InsightRow]
) -> None:
    """Of insights that have other values by now, and their own keys by `key_of`."""
    pairs = zip(before, after, strict=True)
    moved = [new for old, new in pairs if _is_unhappy(old) != _is_unhappy(new)]
    refresh(connection, [], _posts(moved))


def subtract(connection: Connection, gone: Sequence[InsightRow]) -> None:
    """Of insights that are being erased, or are to count in nothing."""
    unhappy = _posts(filter(_is_unhappy, gone))
    refresh(connection, [], unhappy, without=[insight.id for insight in gone])


def _is_unhappy(insight: InsightRow) -> bool:
    return insight.sentiment_score < NEGATIVE_BELOW


def _posts(rows: Iterable[InsightRow]) -> set[Post]:
    """Those whose author is known."""
    return {Post(row.author, row.timestamp) for row in rows if row.author is not None}


def refresh(
    connection: Connection,
    ids: Collection[int],
    moved: Collection[Post] = (),
    *,
    without: Collection[int] = (),
) -> None:
    """Find anew the keys of these insights, and of all for which unhappy posts that `moved` count,
    or where these are very many, have `catch_up` do it. Insights `without` which all is to be are
    left out. Nobody else may change insights meanwhile."""
    behind = waiting_behind(connection, moved)
    if behind is None:
        doubt(connection)
    affected = set(ids).union(behind or ()).difference(without)
    if not affected:
        return
    weights = read_weights(connection)
    changes = []
    values = {"ids": sorted(affected), "without": without}
    for row in _STATE.run(connection, values):
        id_, own, handling, repeats, priority, counted, notes = row[:7]
        timestamp, score, confidence, urgency, reach, rising = row[7:]
        new = None
        if handling in WAITING and not own:
            suspected = SUSPECTED in read_notes(notes)
            new = key(
                Facts(timestamp, score, confidence, urgency, suspected, counted, reach, rising),
                weights,
            )
        if (new, counted) != (priority, repeats):
            changes.append((id_, counted, new))
    _CHANGE.update(connection, changes)


def waiting_behind(connection: Connection, posts: Collection[Post]) -> set[int] | None:
    """Insights whose repeats these posts may have changed, None where they are too many. Beside as
    many other unhappy ones as are counted at most, a post makes no difference: so an author of very
    many unhappy ones is no burden."""
    found = _of_posts(connection, _AFTER_POSTS, posts)
    return None if len(found) > _MOST_AT_ONCE else {id_ for (id_,) in found}


_APPLIED = Prepared(
    select(cast(applied_settings.c.value, Text)).where(applied_settings.c.name == SETTING)
)
_DAY = FORTNIGHT // 14
_AFTER_POSTS = _PostStatement(
    f"""
WITH post AS MATERIALIZED (SELECT author, timestamp FROM {{posts}}),
bounded AS MATERIALIZED (
    SELECT post.author, post.timestamp, COALESCE((
        SELECT earlier.timestamp FROM insights AS earlier
        WHERE earlier.author = post.author AND earlier.timestamp < post.timestamp
        AND earlier.timestamp > post.timestamp - {FORTNIGHT}
        AND earlier.sentiment_score < {NEGATIVE_BELOW} AND earlier.own = 0
        AND (earlier.author, earlier.timestamp) NOT IN (SELECT author, timestamp FROM post)
        ORDER BY earlier.timestamp DESC LIMIT 1 OFFSET {MOST_REPEATS - 1}
    ) + {FORTNIGHT}, post.timestamp) AS low
    FROM post
)
SELECT insights.id FROM bounded CROSS JOIN insights
WHERE insights.author = bounded.author AND insights.timestamp > bounded.low
AND insights.timestamp <= CASE WHEN bounded.low > bounded.timestamp + {FORTNIGHT - _DAY}
    THEN bounded.timestamp + {FORTNIGHT}
    ELSE COALESCE((
        SELECT later.timestamp FROM insights AS later
        WHERE later.author = bounded.author AND later.timestamp > bounded.timestamp
        AND later.timestamp <= bounded.timestamp + {FORTNIGHT}
        AND later.sentiment_score < {NEGATIVE_BELOW} AND later.own = 0
        ORDER BY later.timestamp LIMIT 1 OFFSET {MOST_REPEATS - 1}
    ), bounded.timestamp + {FORTNIGHT}) END
LIMIT {_MOST_AT_ONCE + 1}
"""  # noqa: S608  numbers of ours
)
"""What comes after a post makes no difference to an insight behind as many unhappy ones as are
counted, be they later than the post or earlier, while they are in the insight's own fortnight. With
earlier ones of the last day there is so little left that the later ones need not be looked for.

Of several posts that change at once, the last one before an insight finds it: none of those in
between changes, and no earlier one that changes is counted on."""

_COLUMNS = insights.c
KEPT = (_COLUMNS.repeats, _COLUMNS.reach, _COLUMNS.rising, cast(_COLUMNS.notes, Text))
"""The columns of `Kept`."""
_NEWEST_ID = select(func.max(_COLUMNS.id))
_NEXT = (
    select(_COLUMNS.id)
    .where(_COLUMNS.id < bindparam("below"))
    .order_by(_COLUMNS.id.desc())
    .limit(bindparam("limit"))
)
_EARLIER = insights.alias("earlier")
_FEW_EARLIER = (
    select(literal_column("1"))
    .where(
        _EARLIER.c.author == _COLUMNS.author,
        _EARLIER.c.timestamp < _COLUMNS.timestamp,
        _EARLIER.c.timestamp >= _COLUMNS.timestamp - FORTNIGHT,
        _EARLIER.c.sentiment_score < literal_column(str(NEGATIVE_BELOW)),  # as the index has it
        _EARLIER.c.own == literal_column("0"),
        ~among(_EARLIER.c.id, "without"),
    )
    .limit(MOST_REPEATS)
    .correlate(insights)
    .subquery("few")
)
_STATE = Prepared(
    select(
        _COLUMNS.id,
        _COLUMNS.own,
        _COLUMNS.handling,
        _COLUMNS.repeats,
        _COLUMNS.priority,
        select(func.count()).select_from(_FEW_EARLIER).scalar_subquery(),
        cast(_COLUMNS.notes, Text),
        _COLUMNS.timestamp,
        _COLUMNS.sentiment_score,
        _COLUMNS.confidence,
        _COLUMNS.urgency,
        _COLUMNS.reach,
        _COLUMNS.rising,
    ).where(among(_COLUMNS.id, "ids"))
)
_CHANGE = ManyChanges(insights, ("repeats", "priority"))
