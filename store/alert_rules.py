"""Alert rules: made, changed and deleted."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, time
from functools import partial
from secrets import randbits
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import Connection, Row, bindparam, delete, func, insert, select, update

from analysis.alerts import AlertState, Policy, RuleKind
from analysis.micros import SECOND
from analysis.quiet_hours import QuietHours
from database import Database
from errors import InvalidInput, NotFound
from models import from_micros, insights, now_micros
from store import derived
from store.alert_turn import wait_for_turn
from store.trends import Window
from tables.alerts import alert_rules, alerts, endpoints

MAX_RULES = 50
BUILT_IN = "arul_built_in"
"""Of the machine's alerts where nobody has made a rule for them; it is not listed."""


@dataclass(frozen=True, slots=True)
class AlertRule:
    """`filter` and `quiet` are by the names of the API; `window` and `above` are None where the
    kind has none. Without `to`, whatever endpoint takes alerts is told."""

    id: str
    name: str
    kind: RuleKind
    filter: Mapping[str, Any]
    window: Window | None
    above: float | None
    at_least: int | None
    hold: int
    clear: int
    cooldown_seconds: int
    quiet: Mapping[str, str] | None
    to: Sequence[str]
    texts: bool
    enabled: bool
    created_at: datetime
    judged_at: int | None = None
    judged_id: int | None = None

    @property
    def width(self) -> int:
        """Of the window, in microseconds, where the kind has one."""
        assert self.window is not None
        return self.window.width

    @property
    def policy(self) -> Policy:
        return Policy(
            hold=self.hold,
            clear=self.clear,
            cooldown=self.cooldown_seconds * SECOND,
            quiet=None if self.quiet is None else quiet_hours(self.quiet),
        )


ToColumns = Callable[[AlertRule], Mapping[str, Any]]
"""What is to be written of a rule as it stands in that transaction, so that of two changes at one
moment none takes back the other."""


def quiet_hours(named: Mapping[str, str]) -> QuietHours:
    """From the names of the API. Raises ValueError, and KeyError for a zone that is none."""
    start, stop = (time.fromisoformat(named[name]) for name in ("from", "to"))
    return QuietHours(start, stop, ZoneInfo(named["zone"]))


def no_such_alert_rule(rule_id: str) -> NotFound:
    return NotFound(f"There is no alert rule {rule_id!r}.")


class AlertRuleStore:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def all(self) -> Sequence[AlertRule]:
        """The newest first."""
        return await self._database.read(lambda connection: rules_in(connection, _ALL))

    async def find(self, rule_id: str) -> AlertRule:
        """Raises NotFound."""
        return await self._database.read(partial(_find, rule_id))

    async def create(self, values: Mapping[str, Any]) -> AlertRule:
        """`values` are the columns. Raises InvalidInput where there are `MAX_RULES` already, and
        for an endpoint in `to` that does not exist."""
        return await self._database.write(partial(_create, values))

    async def change(self, rule_id: str, to_columns: ToColumns) -> AlertRule:
        """Its open alerts are closed, and nothing is told of that, where it then looks at something
        else or at nothing. Raises NotFound, InvalidInput as `create` does, and what `to_columns`
        does."""
        return await self._database.write(partial(_change, rule_id, to_columns))

    async def delete(self, rule_id: str) -> None:
        """With its alerts. Raises NotFound."""
        await self._database.write(partial(_delete, rule_id))


_LISTED = alert_rules.c.id != BUILT_IN
_ALL = (
    select(alert_rules)
    .where(_LISTED)
    .order_by(alert_rules.c.created_at.desc(), alert_rules.c.id.desc())
)
_ONE = select(alert_rules).where(_LISTED, alert_rules.c.id == bindparam("rule_id"))
_COUNT = select(func.count()).select_from(alert_rules).where(_LISTED)
_NEWEST_INSIGHT = select(func.max(insights.c.id))
_LOOKS_AT = frozenset({"filter", "kind", "window", "above", "at_least"})


def rules_in(connection: Connection, statement: Any) -> Sequence[AlertRule]:
    return [_to_rule(row) for row in connection.execute(statement)]


def _find(rule_id: str, connection: Connection) -> AlertRule:
    row = connection.execute(_ONE, {"rule_id": rule_id}).one_or_none()
    if row is None:
        raise no_such_alert_rule(rule_id)
    return _to_rule(row)


def _create(values: Mapping[str, Any], connection: Connection) -> AlertRule:
    wait_for_turn(connection)
    derived.take_turn(connection)  # so that the count is right when the row is written
    if (connection.scalar(_COUNT) or 0) >= MAX_RULES:
        raise InvalidInput(f"There are {MAX_RULES} alert rules already, which is the most.")
    _check_endpoints(values["to"], connection)
    if values["kind"] == RuleKind.MACHINE:
        # It takes the place of the built-in one, which nobody judges from now on.
        connection.execute(_CLOSE, {"of_rule": BUILT_IN, "now": now_micros()})
    rule_id = f"arul_{randbits(32):08x}"
    connection.execute(
        insert(alert_rules).values(
            **values,
            id=rule_id,
            created_at=now_micros(),
            # What was there before is not news.
            judged_id=connection.scalar(_NEWEST_INSIGHT) or 0,
        )
    )
    return _find(rule_id, connection)


def _check_endpoints(ids: Collection[str], connection: Connection) -> None:
    known = set(connection.scalars(select(endpoints.c.id)))
    for id_ in sorted(ids):
        if id_ not in known:
            raise InvalidInput(f"to: there is no endpoint {id_!r}")


def _change(rule_id: str, to_columns: ToColumns, connection: Connection) -> AlertRule:
    wait_for_turn(connection)
    # So that meanwhile nobody else changes it, or deletes the endpoints that it names.
    derived.take_turn(connection)
    before = _find(rule_id, connection)
    values = to_columns(before)
    if "to" in values:
        _check_endpoints(set(values["to"]) - set(before.to), connection)
    connection.execute(update(alert_rules).where(alert_rules.c.id == rule_id).values(**values))
    after = _find(rule_id, connection)
    if not after.enabled or any(
        getattr(before, each) != getattr(after, each) for each in _LOOKS_AT
    ):
        connection.execute(_CLOSE, {"of_rule": rule_id, "now": now_micros()})
    if after.enabled and not before.enabled:
        newest = connection.scalar(_NEWEST_INSIGHT) or 0
        of_rule = update(alert_rules).where(alert_rules.c.id == rule_id)
        connection.execute(of_rule.values(judged_id=newest))
    return after


_CLOSE = (
    update(alerts)
    .where(alerts.c.rule_id == bindparam("of_rule"), alerts.c.state != AlertState.CLOSED.value)
    .values(state=AlertState.CLOSED.value, closed_at=bindparam("now"), streak=0, put_off_until=None)
)


def _delete(rule_id: str, connection: Connection) -> None:
    wait_for_turn(connection)
    if not connection.execute(
        delete(alert_rules).where(_LISTED, alert_rules.c.id == rule_id)
    ).rowcount:
        raise no_such_alert_rule(rule_id)


_WINDOWS = {window.value: window for window in Window}


def _to_rule(row: Row[*tuple[Any, ...]]) -> AlertRule:
    values = row._asdict()
    window = values["window"]
    return AlertRule(
        **{
            **values,
            "kind": RuleKind(values["kind"]),
            "window": None if window is None else _WINDOWS[window],
            "created_at": from_micros(values["created_at"]),
        }
    )
