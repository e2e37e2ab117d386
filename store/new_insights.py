"""New insights: written with what rules say of them, in the transaction that completes them."""

import json
from collections.abc import Collection, Mapping, Sequence, Set
from functools import lru_cache
from operator import itemgetter
from typing import Any, NamedTuple

from sqlalchemy import Connection, text

from analysis.labels import Effective, Label, LastWord, Values, effective
from analysis.outcomes import Complete
from analysis.priority import Weights
from analysis.rules import Post, RuleBook
from analysis.senders import reach
from analysis.words import words_of
from backends.sqlite_driver import execute
from models import insights
from store import derived
from store.bulk_insert import ManyRows, SqliteInsert
from store.derived import priority
from store.insight_row import InsightRow
from store.labels import LogEntry, insight_columns, write_labels, write_log
from store.rules import RuleReader


class HeldRow(NamedTuple):
    """What a conversation's row passes on to its insight."""

    text: str
    author: str | None
    timestamp: int
    own: int
    followers: int | None

    def columns(self) -> dict[str, Any]:
        """Of the insight."""
        values = self._asdict()
        values["reach"] = reach(values.pop("followers"))
        return values


# Of all that a new insight is written with; the other columns have their defaults.
_PLAIN = (
    *("conversation_id", "timestamp", "text", "author", "own", "reach"),
    *("sentiment_score", "confidence", "labelled", "model_sentiment_score", "model_confidence"),
    *("reasoning", "cost_usd_ticks", "created_at", "version", "fingerprint"),
    *("language", "urgency", "repeats", "rising", "priority"),
)
_JSON = ("clusters", "model_clusters", "label", "grok_analysis", "notes")
_INSERT_ON_SQLITE = SqliteInsert("insights", (*_PLAIN, *_JSON), "RETURNING conversation_id, id")
_INSERT_ON_POSTGRESQL = ManyRows(insights, ("id", *_PLAIN, *_JSON))
_plain_of = itemgetter(*_PLAIN)
_json_of = itemgetter(*_JSON)

_READ_SETTINGS = f"""
SELECT (SELECT max(revision) FROM rules), (
    SELECT CAST(value AS text) FROM applied_settings WHERE name = '{priority.SETTING}'
)
"""  # noqa: S608  a name of ours
"""Once for each transaction, since other processes change them."""
_READ_ALL = text(
    f"""
{_READ_SETTINGS}, ARRAY(
    SELECT nextval(pg_get_serial_sequence('insights', 'id'))
    FROM generate_series(1, CAST(:count AS integer))
), ({priority.AROUND_AS_JSON})
"""  # noqa: S608  statements of ours
)
"""On PostgreSQL, all that is to be known before as many insights as `count` are written."""


class _Read(NamedTuple):
    """What is read once it is our turn. `ids` are for the new insights, and `around` is as
    `priority.complete_rows` takes it; on SQLite these are None."""

    rules_revision: int | None
    weights: str | None
    ids: Sequence[int] | None = None
    around: Sequence[Sequence[Any]] | None = None


def _read(connection: Connection, rows: Collection[HeldRow]) -> _Read:
    if connection.dialect.name == "sqlite":
        return _Read(*execute(connection, _READ_SETTINGS).fetchall()[0])
    posts = priority.posts_that_count([row._asdict() for row in rows])
    values = {"count": len(rows), **priority.as_arrays(posts)}
    revision, weights, ids, around = connection.execute(_READ_ALL, values).one()
    return _Read(revision, weights, ids, json.loads(around or "[]"))


def _insert(
    connection: Connection, rows: Sequence[Mapping[str, Any]], ids: Sequence[int] | None
) -> dict[str, int]:
    """The ids of the insights, by those of their conversations."""
    if ids is None:
        written = [(*_plain_of(row), *map(_as_json, _json_of(row))) for row in rows]
        return {each[0]: each[1] for each in _INSERT_ON_SQLITE.returned(connection, written)}
    _INSERT_ON_POSTGRESQL.insert(
        connection,
        [(id_, *_plain_of(row), *_json_of(row)) for id_, row in zip(ids, rows, strict=True)],
    )
    return {row["conversation_id"]: id_ for id_, row in zip(ids, rows, strict=True)}


def _as_json(value: Any) -> str | None:
    """As SQLAlchemy writes it, so that what is put back is the same text."""
    if not value:
        return None if value is None else json.dumps(value)
    return _names_as_json(tuple(value)) if isinstance(value, list) else json.dumps(value)


@lru_cache(maxsize=4096)
def _names_as_json(names: tuple[str, ...]) -> str:
    """Cached, since few different lists make up most rows."""
    return json.dumps(names)


class InsightWriter:
    def __init__(self) -> None:
        self.version = 1
        """Row of `analysis_versions` that new insights bear."""
        self.rising: Set[str] = frozenset()
        """Topics that are rising at present."""
        self._rules = RuleReader()

    def add(
        self,
        completed: Mapping[str, tuple[HeldRow, Complete]],
        now: int,
        connection: Connection,
    ) -> None:
        """Write the insights of conversations, by their ids. Their rows must be locked."""
        derived.take_turn(connection)
        read = _read(connection, [held for held, _ in completed.values()])
        asked = _Asked(
            self._rules.read(read.rules_revision or 0, connection),
            priority.weights_of(read.weights),
            self.rising,
            self.version,
            read,
        )
        _add(completed, asked, now, connection)


class _Asked(NamedTuple):
    """What new insights are written by."""

    book: RuleBook
    weights: Weights
    rising: Set[str]
    version: int
    read: _Read


def _add(
    completed: Mapping[str, tuple[HeldRow, Complete]],
    asked: _Asked,
    now: int,
    connection: Connection,
) -> None:
    book = asked.book
    words: dict[str, list[str]] = {}
    labels: dict[str, Mapping[int, Label]] = {}
    changes: list[LogEntry] = []
    rows: list[dict[str, Any]] = []
    for id_, (held, outcome) in completed.items():
        analysis = outcome.analysis
        model = Values(analysis.sentiment_score, tuple(analysis.clusters), analysis.confidence)
        served = Effective(model, LastWord.MODEL, None)
        if book:
            words[id_] = words_of(held.text)
            labels[id_] = book.labels(Post(words[id_], held.author, analysis.language, model), now)
            served = effective(model, labels[id_])
            if served.label is not None:
                by = served.label.name
                changes.append(LogEntry(id_, now, by, model, served.values, None))
        rows.append(
            {
                "conversation_id": id_,
                **held.columns(),
                **insight_columns(model, served),
                "reasoning": analysis.reasoning,
                "grok_analysis": dict(analysis.details),
                "cost_usd_ticks": analysis.cost_usd_ticks,
                "created_at": now,
                "version": asked.version,
                "fingerprint": outcome.fingerprint,
                "notes": dict(outcome.notes) or None,
                "language": analysis.language,
                "urgency": analysis.urgency.value,
            }
        )
    behind = priority.complete_rows(
        connection, rows, asked.rising, asked.weights, asked.read.around
    )
    ids = _insert(connection, rows, asked.read.ids)
    derived.add(
        connection,
        [
            InsightRow(
                id=ids[row["conversation_id"]],
                **{name: row[name] for name in InsightRow._fields if name in row},
            )
            for row in rows
        ],
        {ids[id_]: found for id_, found in words.items()},
        behind,
    )
    write_labels(
        connection,
        [(id_, giver, label) for id_, given in labels.items() for giver, label in given.items()],
    )
    write_log(connection, changes)
