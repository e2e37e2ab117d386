"""What alerts, and the messages about them, have of conversations that are erased: their ids, and
words that stood out in them and others."""

from collections.abc import Collection, Iterable, Mapping
from typing import Any, NamedTuple

from sqlalchemy import Connection, bindparam, func, literal_column, or_, select, update

from analysis.fingerprint import as_analysed
from analysis.micros import DAY
from analysis.words import words_of
from models import conversations
from store import derived
from store.alert_evidence import LOOKED_AT
from store.alert_turn import wait_for_turn
from store.statements import among
from store.told_texts import lock_endpoints
from tables.alerts import alerts, deliveries

_REACH = 2 * DAY
"""Microseconds. Its posts are no further before an alert opened: the widest window is a day."""

_SPAN = select(
    func.min(conversations.c.timestamp),
    func.max(conversations.c.timestamp),
    func.min(conversations.c.created_at),
).where(conversations.c.id.in_(bindparam("ids", expanding=True)))
_AROUND = select(alerts.c.id, alerts.c.evidence).where(
    or_(alerts.c.opened_at.is_(None), alerts.c.opened_at <= bindparam("newest")),
    or_(alerts.c.state != literal_column("'closed'"), alerts.c.closed_at >= bindparam("oldest")),
)
_TOLD = (
    select(deliveries.c.id, deliveries.c.endpoint_id, deliveries.c.data)
    .where(among(deliveries.c.alert_id, "ids"))
    .order_by(deliveries.c.id)
)
_TEXTS = select(conversations.c.id, conversations.c.text).where(
    conversations.c.id.in_(bindparam("ids", expanding=True))
)
_OF_ALERT = (
    update(alerts).where(alerts.c.id == bindparam("of_id")).values(evidence=bindparam("less"))
)
_OF_DELIVERY = (
    update(deliveries).where(deliveries.c.id == bindparam("of_id")).values(data=bindparam("less"))
)

Evidence = Mapping[str, Any]


class _Less(NamedTuple):
    """What is to be written, by the ids of rows."""

    alerts: Mapping[str, Evidence]
    deliveries: Mapping[int, Mapping[str, Any]]
    endpoints: Collection[str]


def forget_evidence(ids: Collection[str], connection: Connection) -> None:
    """Of conversations that are about to be deleted. A word that a post beside them has as well
    stays, where the alert names that post."""
    oldest, newest, came = connection.execute(_SPAN, {"ids": list(ids)}).one()
    # A post may say that it is of a later time than that at which it was told of.
    around = {"oldest": min(oldest, came), "newest": newest + _REACH}
    less = _read(ids, around, connection)
    if not less.alerts and not less.deliveries:
        return
    if connection.dialect.name != "sqlite":
        # Whoever judges writes the evidence that it has read.
        wait_for_turn(connection)
        derived.take_turn(connection)  # before endpoints, as whoever deletes one
        lock_endpoints(less.endpoints, connection)
        less = _read(ids, around, connection)
    for statement, rows in ((_OF_ALERT, less.alerts), (_OF_DELIVERY, less.deliveries)):
        if rows:
            connection.execute(
                statement, [{"of_id": id_, "less": each} for id_, each in rows.items()]
            )


def _read(ids: Collection[str], around: Mapping[str, int], connection: Connection) -> _Less:
    of_alerts = {
        row.id: row.evidence
        for row in connection.execute(_AROUND, around)
        if isinstance(row.evidence, Mapping)
    }
    told = connection.execute(_TOLD, {"ids": list(of_alerts)}).all() if of_alerts else ()
    rows = {row.id: row for row in told}
    every = [*of_alerts.values(), *(_evidence(row.data) for row in rows.values())]
    listed = {word for each in every for word in each.get("words") or ()}
    erased = _Erased(ids, listed, connection)
    erased.read_left(every, connection)
    return _Less(
        {id_: less for id_, each in of_alerts.items() if (less := erased.without(each)) != each},
        {
            id_: {**row.data, "evidence": less}
            for id_, row in rows.items()
            if (less := erased.without(_evidence(row.data))) != _evidence(row.data)
        },
        {row.endpoint_id for row in rows.values()},
    )


def _evidence(data: Mapping[str, Any]) -> Evidence:
    found = data.get("evidence")
    return found if isinstance(found, Mapping) else {}


class _Erased:
    """Conversations by their ids, and which of the `listed` words they have."""

    def __init__(
        self, ids: Collection[str], listed: Collection[str], connection: Connection
    ) -> None:
        self._ids = set(ids)
        self._listed = listed
        self._words = set().union(*self._words_by_id(ids, connection).values())
        self._left: Mapping[str, Collection[str]] = {}

    def read_left(self, every: Iterable[Evidence], connection: Connection) -> None:
        """The words of other posts that are named where there are words of the erased ones."""
        left = {
            id_
            for each in every
            if not self._words.isdisjoint(each.get("words") or ())
            for id_ in each.get("conversations") or ()
        }
        self._left = self._words_by_id(left - self._ids, connection)

    def without(self, evidence: Evidence) -> Evidence:
        words, named = evidence.get("words") or [], evidence.get("conversations") or []
        left = [id_ for id_ in named if id_ not in self._ids]
        known = set().union(*(self._left.get(id_, ()) for id_ in left))
        less: dict[str, Any] = {
            "words": [word for word in words if word not in self._words or word in known],
            "conversations": left,
        }
        less = {name: each for name, each in less.items() if name in evidence}
        if len(left) == len(named):
            return {**evidence, **less}
        link = str(evidence.get("link"))
        if link.removeprefix("/dashboard?open=") in self._ids:
            less["link"] = "/dashboard"
        return {**{name: each for name, each in evidence.items() if name != "texts"}, **less}

    def _words_by_id(
        self, ids: Collection[str], connection: Connection
    ) -> Mapping[str, Collection[str]]:
        if not self._listed or not ids:
            return {}
        return {
            row.id: set(words_of(as_analysed(row.text[:LOOKED_AT]))).intersection(self._listed)
            for row in connection.execute(_TEXTS, {"ids": list(ids)})
        }
