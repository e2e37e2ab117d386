"""Labels: the one way in which anything but an analysis changes what is served of an insight.

Whoever gives a label or takes one back, for one conversation or for many, ends in `_write`: the
transaction that changes `labels` also writes what comes of it to `insights`, to the log, and to all
that is derived. Up to `MOST_AT_ONCE` conversations in a transaction keep live posts waiting for no
longer than a batch does.
"""

from collections.abc import Collection, Iterable, Mapping
from typing import Any, NamedTuple

from sqlalchemy import Connection, Text, bindparam, cast, delete, select

from analysis.labels import (
    PERSON,
    Effective,
    Label,
    Labelling,
    LastWord,
    Values,
    effective,
)
from models import conversations, insights
from store import derived
from store.bulk_insert import ManyChanges, ManyRows
from store.derived import priority
from store.insight_row import COLUMNS, InsightRow, read_clusters, to_row
from store.statements import Prepared, among
from tables.people import label_log, labels

MOST_AT_ONCE = 500


class LabelChange(NamedTuple):
    """What one giver's word, given or taken back, does to one conversation.

    `label_before` and `label_after` are that giver's own label; `before` and `after` are the values
    that are served, with who has the last word on them.
    """

    conversation_id: str
    label_before: Label | None
    label_after: Label | None
    before: Effective
    after: Effective


class PutBack(NamedTuple):
    """A giver's label as it is expected to be, and as it is to be again."""

    expected: Label | None
    label: Label | None


def give(
    connection: Connection,
    ids: Collection[str],
    giver: int,
    labelling: Labelling,
    *,
    name: str,
    at: int,
    reason: str | None = None,
) -> list[LabelChange]:
    """Give labels to up to `MOST_AT_ONCE` conversations, in place of what this giver said of them.

    `giver` is `analysis.labels.PERSON` or the number of a rule, `name` the person's or the rule's,
    `at` in microseconds since 1970-01-01 UTC. What changes is returned, in the order of the ids;
    conversations that are gone or not completed are not in it, nor are those of which the giver
    says the same as before, `at` set aside.
    """
    found = _lock(connection, ids)
    return _write(
        connection, giver, found, _given(found, labelling, name, at, reason), name, at, reason
    )


def preview(
    connection: Connection,
    ids: Collection[str],
    giver: int,
    labelling: Labelling | None,
    *,
    name: str,
    at: int,
    reason: str | None = None,
) -> list[LabelChange]:
    """What `give` would change, or, without a labelling, `take_back`; nothing is written."""
    found = _read(connection, ids)
    wanted = (
        dict.fromkeys(found) if labelling is None else _given(found, labelling, name, at, reason)
    )
    return _changes(giver, found, wanted)


def take_back(
    connection: Connection,
    ids: Collection[str],
    giver: int,
    *,
    by: str,
    at: int,
    reason: str | None = None,
) -> list[LabelChange]:
    """Take back what a giver said of up to `MOST_AT_ONCE` conversations. `by` and `reason` are for
    the log. What changes is returned, as `give` does."""
    found = _lock(connection, ids)
    return _write(connection, giver, found, dict.fromkeys(found), by, at, reason)


def put_back(
    connection: Connection,
    wanted: Mapping[str, PutBack],
    giver: int,
    *,
    by: str,
    at: int,
    reason: str | None = None,
) -> list[LabelChange]:
    """Make a giver's labels of up to `MOST_AT_ONCE` conversations again what they were. Those of
    which the giver's label is not the expected one are left alone: somebody has changed it since.
    """
    found = _lock(connection, list(wanted))
    asked = {
        id_: wanted[id_].label
        for id_, row in found.items()
        if row.labels.get(giver) == wanted[id_].expected
    }
    return _write(connection, giver, found, asked, by, at, reason)


# --- what there is --------------------------------------------------------------------------------


class _Found(NamedTuple):
    """A completed conversation's insight as it is, the model's own values, and all labels."""

    row: InsightRow
    model: Values
    labels: dict[int, Label]
    kept: priority.Kept


_LOCK = (
    select(conversations.c.id)
    .where(conversations.c.id.in_(bindparam("ids", expanding=True)))
    .order_by(conversations.c.id)  # everybody locks in one order
    .with_for_update()
)


def _lock(connection: Connection, ids: Collection[str]) -> dict[str, _Found]:
    assert len(ids) <= MOST_AT_ONCE
    if connection.dialect.name != "sqlite":  # where nobody else writes
        connection.execute(_LOCK, {"ids": list(ids)})
        derived.take_turn(connection)  # also for the order of the log's ids
    return _read(connection, ids)


_READ = Prepared(
    select(
        insights.c.conversation_id,
        insights.c.model_sentiment_score,
        cast(insights.c.model_clusters, Text),
        insights.c.model_confidence,
        *COLUMNS,
        *priority.KEPT,
    ).where(among(insights.c.conversation_id, "ids"))
)
_READ_LABELS = Prepared(
    select(
        labels.c.conversation_id,
        labels.c.giver,
        labels.c.sentiment_score,
        cast(labels.c.clusters, Text),
        labels.c.name,
        labels.c.at,
        labels.c.reason,
    ).where(among(labels.c.conversation_id, "ids"))
)


def _read(connection: Connection, ids: Collection[str]) -> dict[str, _Found]:
    """In the order of the ids."""
    given: dict[str, dict[int, Label]] = {id_: {} for id_ in ids}
    for id_, giver, score, clusters, *rest in _READ_LABELS.run(connection, {"ids": ids}):
        topics = None if clusters is None else read_clusters(clusters)
        given[id_][giver] = Label(score, topics, *rest)
    found: dict[str, _Found] = {}
    for id_, score, topics, confidence, *values in _READ.run(connection, {"ids": ids}):
        of_row, kept = values[: len(COLUMNS)], values[len(COLUMNS) :]
        row = to_row(of_row)
        model = Values(row.sentiment_score, tuple(row.clusters), row.confidence)
        if row.labelled != LastWord.MODEL:
            model = Values(score, read_clusters(topics), confidence)
        found[id_] = _Found(row, model, given[id_], priority.Kept._make(kept))
    return {id_: found[id_] for id_ in given if id_ in found}


# --- what changes ---------------------------------------------------------------------------------


def _given(
    found: Mapping[str, _Found], labelling: Labelling, name: str, at: int, reason: str | None
) -> dict[str, Label | None]:
    return {id_: labelling.label(each.model, name, at, reason) for id_, each in found.items()}


def _changes(
    giver: int, found: Mapping[str, _Found], wanted: Mapping[str, Label | None]
) -> list[LabelChange]:
    changes = []
    for id_, label in wanted.items():
        model, given = found[id_].model, found[id_].labels
        before = given.get(giver)
        if _says(label) != _says(before):
            others = {other: each for other, each in given.items() if other != giver}
            after = others if label is None else others | {giver: label}
            changes.append(
                LabelChange(id_, before, label, effective(model, given), effective(model, after))
            )
    return changes


def _says(label: Label | None) -> object:
    """Without the time: two labels that differ in nothing else say the same."""
    return None if label is None else (*label[:3], label.reason)


class Said(NamedTuple):
    """The effective values, the model's own, and a person's label."""

    effective: Values
    model: Values
    person: Label | None


def said_of(connection: Connection, conversation_id: str) -> Said | None:
    """None where there is no insight."""
    found = _read(connection, [conversation_id]).get(conversation_id)
    if found is None:
        return None
    values = effective(found.model, found.labels).values
    return Said(values, found.model, found.labels.get(PERSON))


def insight_columns(model: Values, what: Effective) -> dict[str, Any]:
    """The columns of `insights` that hold what comes of labels."""
    values, last_word, label = what
    of_model = last_word is LastWord.MODEL
    return {
        "sentiment_score": values.sentiment_score,
        "clusters": list(values.clusters),
        "confidence": values.confidence,
        "labelled": last_word.value,
        "label": None
        if label is None
        else {"name": label.name, "at": label.at, "reason": label.reason},
        "model_sentiment_score": None if of_model else model.sentiment_score,
        "model_clusters": None if of_model else list(model.clusters),
        "model_confidence": None if of_model else model.confidence,
    }


_COLUMNS = (
    *("sentiment_score", "clusters", "confidence", "labelled", "label"),
    *("model_sentiment_score", "model_clusters", "model_confidence"),
    "priority",
)
_CHANGE = ManyChanges(insights, _COLUMNS)
_LABELS = ManyRows(labels, replacing=True)
_LOG = ManyRows(label_log)
_FORGET = Prepared(
    delete(labels).where(
        labels.c.giver == bindparam("giver"), among(labels.c.conversation_id, "ids")
    )
)


def _write(
    connection: Connection,
    giver: int,
    found: Mapping[str, _Found],
    wanted: Mapping[str, Label | None],
    by: str,
    at: int,
    reason: str | None,
) -> list[LabelChange]:
    changes = _changes(giver, found, wanted)
    if not changes:
        return []
    forgotten = [each.conversation_id for each in changes if each.label_after is None]
    if forgotten:
        _FORGET.run(connection, {"giver": giver, "ids": forgotten})
    write_labels(
        connection,
        [
            (each.conversation_id, giver, each.label_after)
            for each in changes
            if each.label_after is not None
        ],
    )
    write_log(
        connection,
        [
            LogEntry(each.conversation_id, at, by, each.before.values, each.after.values, reason)
            for each in changes
        ],
    )
    changed = [(found[each.conversation_id], each) for each in changes if each.before != each.after]
    after = [with_values(each.row, change.after) for each, change in changed]
    weights = priority.read_weights(connection)
    _CHANGE.update(
        connection,
        [
            (
                new.id,
                *insight_columns(each.model, change.after).values(),
                priority.key_of(new, each.kept, weights),
            )
            for (each, change), new in zip(changed, after, strict=True)
        ],
    )
    derived.replace(connection, [each.row for each, _ in changed], after)
    return changes


def with_values(row: InsightRow, what: Effective) -> InsightRow:
    score, clusters, confidence = what.values
    return row._replace(
        sentiment_score=score,
        clusters=clusters,
        confidence=confidence,
        labelled=what.last_word.value,
    )


# --- rows -----------------------------------------------------------------------------------------


class LogEntry(NamedTuple):
    """`at` is in microseconds; `before` and `after` are the values that are served."""

    conversation_id: str
    at: int
    by: str
    before: Values
    after: Values
    reason: str | None


def write_labels(connection: Connection, given: Iterable[tuple[str, int, Label]]) -> None:
    """Labels of conversations by givers, in place of what they said before."""
    _LABELS.insert(
        connection,
        [(id_, giver, *label) for id_, giver, label in given],
    )


def write_log(connection: Connection, entries: Iterable[LogEntry]) -> None:
    _LOG.insert(
        connection,
        [
            (
                entry.conversation_id,
                entry.at,
                entry.by,
                entry.before._asdict(),
                entry.after._asdict(),
                entry.reason,
            )
            for entry in entries
        ],
    )
