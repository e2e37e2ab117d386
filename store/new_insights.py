"""New insights: written with what rules say of them, in the transaction that completes them."""

from collections.abc import Mapping, Set
from typing import Any, NamedTuple

from sqlalchemy import Connection, insert

from analysis.labels import Effective, Label, LastWord, Values, effective
from analysis.outcomes import Complete
from analysis.rules import Post, RuleBook
from analysis.senders import reach
from analysis.words import words_of
from models import insights
from store import derived
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


_INSERT = insert(insights).returning(insights.c.id, insights.c.conversation_id)


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
        book = self._rules.read(connection)
        _add(completed, book, self.rising, self.version, now, connection)


def _add(
    completed: Mapping[str, tuple[HeldRow, Complete]],
    book: RuleBook,
    rising: Set[str],
    version: int,
    now: int,
    connection: Connection,
) -> None:
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
                "version": version,
                "fingerprint": outcome.fingerprint,
                "notes": dict(outcome.notes) or None,
                "language": analysis.language,
                "urgency": analysis.urgency.value,
            }
        )
    priority.complete_rows(connection, rows, rising)
    ids = {id_: insight_id for insight_id, id_ in connection.execute(_INSERT, rows)}
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
    )
    write_labels(
        connection,
        [(id_, giver, label) for id_, given in labels.items() for giver, label in given.items()],
    )
    write_log(connection, changes)
