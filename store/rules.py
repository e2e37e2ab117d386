"""Rules: made, changed and deleted, and read by the transactions that write new insights.

Whoever changes a rule and whoever writes insights take turns (`derived.take_turn`). So an insight
that is written after a rule was made has met it, and one that is there when a plan for the rule is
made has not been missed by both.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from secrets import randbits
from typing import Any

from sqlalchemy import Connection, Row, bindparam, func, insert, null, select, update

from analysis.labels import labelling_of
from analysis.rules import Rule, RuleBook, RuleFilter
from analysis.sentiment import Sentiment
from analysis.words import parse_search
from database import Database
from errors import InvalidInput, NotFound
from models import from_micros, now_micros
from store import derived
from tables.people import labels, rules

MAX_RULES = 200


@dataclass(frozen=True, slots=True)
class StoredRule:
    """`filter` and `set` are by the names of the API. `labelled` is of how many conversations it
    says something now."""

    id: str
    number: int
    name: str
    filter: Mapping[str, Any]
    set: Mapping[str, Any]
    enabled: bool
    created_at: datetime
    labelled: int


def no_such_rule(rule_id: str) -> NotFound:
    return NotFound(f"There is no rule {rule_id!r}.")


class RuleStore:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def all(self) -> Sequence[StoredRule]:
        """The newest first: it wins."""
        return await self._database.read(
            lambda connection: [_to_rule(row) for row in connection.execute(_ALL)]
        )

    async def find(self, rule_id: str) -> StoredRule:
        """Raises NotFound, also for a deleted one."""
        return await self._database.read(partial(_find, rule_id))

    async def create(
        self, name: str, filter_: Mapping[str, Any], set_: Mapping[str, Any], *, enabled: bool
    ) -> StoredRule:
        """Raises InvalidInput where there are `MAX_RULES` already."""
        values = {"name": name, "filter": filter_, "set": set_, "enabled": enabled}
        return await self._database.write(partial(_create, values))

    async def change(self, rule_id: str, **values: Any) -> StoredRule:
        """Give it another `name`, `filter`, `set` or `enabled`. Raises NotFound."""
        return await self._database.write(partial(_change, rule_id, values))

    async def delete(self, rule_id: str) -> StoredRule:
        """It acts no longer; what it has set stays. As it was is returned. Raises NotFound."""
        return await self._database.write(partial(_delete, rule_id))


_ACTIVE = rules.c.deleted_at.is_(null())
_LABELLED = (
    select(func.count()).where(labels.c.giver == rules.c.number).scalar_subquery().label("labelled")
)
_SHOWN = select(rules, _LABELLED).where(_ACTIVE)
_FIND = _SHOWN.where(rules.c.id == bindparam("rule_id"))
_ALL = _SHOWN.order_by(rules.c.number.desc())
_COUNT = select(func.count()).where(_ACTIVE)
_REVISION = select(func.max(rules.c.revision))


def _find(rule_id: str, connection: Connection) -> StoredRule:
    row = connection.execute(_FIND, {"rule_id": rule_id}).one_or_none()
    if row is None:
        raise no_such_rule(rule_id)
    return _to_rule(row)


def _create(values: Mapping[str, Any], connection: Connection) -> StoredRule:
    derived.take_turn(connection)
    if (connection.scalar(_COUNT) or 0) >= MAX_RULES:
        raise InvalidInput(f"There are {MAX_RULES} rules already, which is the most.")
    rule_id = f"rule_{randbits(32):08x}"
    connection.execute(
        insert(rules).values(
            id=rule_id, created_at=now_micros(), revision=_next_revision(connection), **values
        )
    )
    return _find(rule_id, connection)


def _change(rule_id: str, values: Mapping[str, Any], connection: Connection) -> StoredRule:
    derived.take_turn(connection)
    found = _find(rule_id, connection)
    if not values:
        return found
    _write(found.number, values, connection)
    return _find(rule_id, connection)


def _delete(rule_id: str, connection: Connection) -> StoredRule:
    derived.take_turn(connection)
    found = _find(rule_id, connection)
    _write(found.number, {"deleted_at": now_micros()}, connection)
    return found


def _write(number: int, values: Mapping[str, Any], connection: Connection) -> None:
    revision = _next_revision(connection)
    changed = update(rules).where(rules.c.number == number).values(revision=revision, **values)
    connection.execute(changed)


def _next_revision(connection: Connection) -> int:
    return (connection.scalar(_REVISION) or 0) + 1


def _to_rule(row: Row[*tuple[Any, ...]]) -> StoredRule:
    return StoredRule(
        row.id,
        row.number,
        row.name,
        row.filter,
        row.set,
        row.enabled,
        from_micros(row.created_at),
        row.labelled,
    )


# --- for those who write insights -----------------------------------------------------------------

_ENABLED = select(rules.c.number, rules.c.name, rules.c.filter, rules.c.set).where(
    _ACTIVE, rules.c.enabled
)


class RuleReader:
    """Keeps what it has read until a rule is changed, by whichever process."""

    def __init__(self) -> None:
        self._revision = 0
        self._book = RuleBook()

    def read(self, revision: int, connection: Connection) -> RuleBook:
        """The enabled rules, in a transaction that has taken its turn to write insights. `revision`
        is the highest of all rules, 0 where there is none."""
        if revision != self._revision:
            self._book = RuleBook(
                Rule(number, name, rule_filter(named), labelling_of(set_))
                for number, name, named, set_ in connection.execute(_ENABLED)
            )
            self._revision = revision
        return self._book


def rule_filter(named: Mapping[str, Any]) -> RuleFilter:
    """From the names of the API, as they are stored."""
    given = dict(named)
    if "q" in given:
        given["words"] = parse_search(given.pop("q"))
    if "sentiment" in given:
        given["sentiment"] = Sentiment(given["sentiment"])
    return RuleFilter(**given)
