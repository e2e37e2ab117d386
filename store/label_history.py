"""Labels of one conversation: given by a person, taken back, and told with their history."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any

from sqlalchemy import Connection, Row, bindparam, func, select

from analysis.labels import PERSON, Label, Labelling, Values
from database import Database
from models import from_micros, insights, now_micros
from store import labels
from store.histories import history_in, last_lines
from store.listed import ListedInsight, find_listed
from store.lookup import no_insight
from tables.people import label_log

_EVENTS_AT_A_TIME = 200


@dataclass(frozen=True, slots=True)
class LabelEntry:
    """One line of the log: what was served before and after, and who did it: a person, a rule, or
    whoever took a label back."""

    at: datetime
    by: str
    before: Values
    after: Values
    reason: str | None


@dataclass(frozen=True, slots=True)
class LabelRecord:
    """`person` is a person's label as it is now; `log` is what `last_lines` gives."""

    effective: Values
    model: Values
    person: Label | None
    log: Sequence[LabelEntry]


class LabelStore:
    """Methods that name a conversation raise NotFound, and Conflict where it is not completed."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def label(
        self, conversation_id: str, labelling: Labelling, *, by: str, reason: str | None
    ) -> ListedInsight:
        """What a person says of it, in place of what people said before."""
        return await self._database.write(partial(_give, conversation_id, labelling, by, reason))

    async def take_back(self, conversation_id: str, *, by: str) -> None:
        """Of a person, if there is one; `by` is for the log."""
        await self._database.write(partial(_take_back, conversation_id, by))

    async def record(self, conversation_id: str) -> LabelRecord:
        return await self._database.read(partial(_record, conversation_id))

    async def newest_event(self) -> int:
        """The id; 0 where there is none yet."""
        return await self._database.read(lambda connection: connection.scalar(_NEWEST) or 0)

    async def events_since(self, id_: int) -> Sequence[tuple[int, ListedInsight | None]]:
        """Insights whose labels were changed after the event with this id, as they are now, each
        with its own last event's. Of more than `_EVENTS_AT_A_TIME` changes only the newest: a plan
        makes thousands a second. None beside the newest event of all, where that is another."""
        return await self._database.read(partial(_events_since, id_))


def _give(
    id_: str, labelling: Labelling, by: str, reason: str | None, connection: Connection
) -> ListedInsight:
    labels.give(connection, [id_], PERSON, labelling, name=by, at=now_micros(), reason=reason)
    given = find_listed(id_, connection)
    if given is None:
        raise no_insight(id_, "has labels", connection)
    return given


def _take_back(id_: str, by: str, connection: Connection) -> None:
    taken = labels.take_back(connection, [id_], PERSON, by=by, at=now_micros())
    if not taken and labels.said_of(connection, id_) is None:
        raise no_insight(id_, "has labels", connection)


_LOG = history_in(label_log)
_NEWEST = select(func.max(label_log.c.id))
_EVENTS = (
    select(label_log.c.id, label_log.c.conversation_id)
    .join(insights, insights.c.conversation_id == label_log.c.conversation_id)
    .where(
        label_log.c.id > bindparam("id"),
        label_log.c.at > insights.c.created_at,  # else its labels came with it
    )
    .order_by(label_log.c.id.desc())
    .limit(_EVENTS_AT_A_TIME)
)


def _record(id_: str, connection: Connection) -> LabelRecord:
    found = labels.said_of(connection, id_)
    if found is None:
        raise no_insight(id_, "has labels", connection)
    log = last_lines(_LOG, id_, connection)
    return LabelRecord(*found, list(map(_entry, log)))


def _entry(row: Row[*tuple[Any, ...]]) -> LabelEntry:
    before, after = (
        Values(each["sentiment_score"], tuple(each["clusters"]), each["confidence"])
        for each in (row.before, row.after)
    )
    return LabelEntry(from_micros(row.at), row.by, before, after, row.reason)


def _events_since(id_: int, connection: Connection) -> Sequence[tuple[int, ListedInsight | None]]:
    last: dict[str, int] = {}
    for number, conversation_id in connection.execute(_EVENTS, {"id": id_}):
        last.setdefault(conversation_id, number)
    found = [(number, find_listed(each, connection)) for each, number in last.items()]
    events = [(number, each) for number, each in reversed(found) if each is not None]
    newest = connection.scalar(_NEWEST) or 0
    # Else labels that come with insights would be looked through again each time.
    return [*events, (newest, None)] if newest != (events[-1][0] if events else id_) else events
