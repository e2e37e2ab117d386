"""Alert rules and their judging, with defaults for all that a test does not speak of."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import insert, select

from database import Database
from models import to_micros
from store.alert_counts import AlertCounter
from store.alert_evidence import EvidenceReader
from store.alert_judging import AlertJudge
from store.alert_rules import AlertRule, AlertRuleStore
from store.alert_trials import TrialStore
from store.alerts import AlertStore, ListedAlert
from store.derived.word_counts import MatchCounter
from store.insights import InsightStore
from tables.alerts import deliveries, endpoints
from tests.support.factories import NOON, insert_insights

ENDPOINT = "ep_00000000"


async def make_endpoint(database: Database, id_: str = ENDPOINT, **values: Any) -> str:
    row = {
        "id": id_,
        "name": "ops",
        "kind": "standard",
        "target": "https://example.com/hook",
        "secret": "whsec_AAAA",
        "events": ["alert", "report", "machine"],
        "created_at": 0,
        **values,
    }
    await database.write(lambda connection: connection.execute(insert(endpoints), row).rowcount)
    return id_


async def make_rule(database: Database, kind: str = "count", **values: Any) -> AlertRule:
    columns: dict[str, Any] = {
        "name": f"a rule of kind {kind}",
        "kind": kind,
        "filter": {},
        "window": None if kind == "machine" else "1h",
        "above": {"count": 5.0, "share": 0.5, "single": 0.8}.get(kind),
        "at_least": None,
        "hold": 1,
        "clear": 1,
        "cooldown_seconds": 0,
        "quiet": None,
        "to": [],
        "texts": False,
        "enabled": True,
        **values,
    }
    return await AlertRuleStore(database).create(columns)


def alert_judge(database: Database) -> AlertJudge:
    matches = MatchCounter()
    return AlertJudge(AlertCounter(matches), EvidenceReader(InsightStore(database, matches)))


def alert_store(database: Database) -> AlertStore:
    return AlertStore(database, alert_judge(database))


def trial_store(database: Database, **values: Any) -> TrialStore:
    insights = InsightStore(database)
    return TrialStore(database, insights, EvidenceReader(insights), alert_judge(database), **values)


async def judge_at(
    store: AlertStore, moment: datetime = NOON, troubles: Mapping[str, str] | None = None
) -> int:
    return await store.judge(troubles or {}, now=to_micros(moment))


async def all_alerts(store: AlertStore) -> Sequence[ListedAlert]:
    return (await store.page(None, limit=100, cursor=None)).alerts


async def messages(database: Database) -> Sequence[tuple[str, Mapping[str, Any]]]:
    """What waits to be delivered, by type."""
    asked = select(deliveries.c.type, deliveries.c.data).order_by(deliveries.c.id)
    found = await database.read(lambda connection: connection.execute(asked).all())
    return [(type_, data) for type_, data in found]


def posts(count: int, *, before: datetime = NOON, **values: Any) -> list[dict[str, Any]]:
    """One a second, the last a second before a moment, each by somebody else."""
    return [
        {
            "timestamp": before - timedelta(seconds=count - number),
            "author": f"author {number}",
            "text": f"Parcel number {number} is late",
            **values,
        }
        for number in range(count)
    ]


async def fill(database: Database, count: int, **values: Any) -> list[str]:
    return await insert_insights(database, posts(count, **values))


@asynccontextmanager
async def advisory_lock_held(database: Database, key: int) -> AsyncIterator[None]:
    """On PostgreSQL: as if another process held it."""
    import asyncpg

    url = database.url.render_as_string(hide_password=False).replace("+asyncpg", "")
    connection = await asyncpg.connect(url)
    try:
        await connection.execute("SELECT pg_advisory_lock($1)", key)
        yield
    finally:
        await connection.close()
