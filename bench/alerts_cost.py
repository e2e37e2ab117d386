"""What it costs to judge fifty rules, and to try one, on a database with many insights."""

import asyncio
import time
from datetime import timedelta
from typing import Any

from sqlalchemy import Connection

from bench import many_insights
from bench.report import Report, Samples
from bench.servers import Servers
from database import Database
from models import to_micros
from store.alert_counts import AlertCounter
from store.alert_evidence import EvidenceReader
from store.alert_judging import AlertJudge
from store.alert_rules import MAX_RULES, AlertRuleStore
from store.alert_trials import TrialStore
from store.alerts import AlertStore
from store.derived import day_cache
from store.derived.word_counts import MatchCounter
from store.insights import InsightStore

_MINUTES = 30
_FILTERS: list[dict[str, Any]] = [
    {},
    {"sentiment": "negative"},
    {"cluster": "topic_03"},
    {"language": "de"},
    {"cluster": "topic_05", "language": "de"},
    {"q": "parcel"},
    {"author": "customer7"},
    {"min_confidence": 0.8},
    {"urgency": "now"},
    {"cluster": "topic_01", "sentiment": "negative"},
]
_KINDS = ["rising", "count", "share", "rising", "count"]


def run(report: Report, servers: Servers) -> None:
    for size in servers.sizes:
        file = servers.folder.parent / f"many-{size}.db"
        url = f"sqlite+aiosqlite:///{file}"
        many_insights.build_once(url, size)
        asyncio.run(_measure(report, url, size))


async def _measure(report: Report, url: str, size: int) -> None:
    async with Database(url) as database:
        rules = AlertRuleStore(database)
        for old in await rules.all():
            await rules.delete(old.id)
        for number in range(MAX_RULES):
            await rules.create(_rule(number))
        matches = MatchCounter()
        insights = InsightStore(database, matches)
        evidence = EvidenceReader(insights)
        judge = AlertJudge(AlertCounter(matches), evidence)
        store = AlertStore(database, judge)
        moment = many_insights.END - timedelta(minutes=_MINUTES + 1)
        taken = []
        for minute in range(_MINUTES):
            await database.write(_as_if_one_came)
            started = time.process_time()
            await store.judge({}, now=to_micros(moment + timedelta(minutes=minute)))
            taken.append((time.process_time() - started) * 1000)
        name = f"{MAX_RULES} rules, {size:,} insights"
        report.add("alerts", f"the first minute, {name}", Samples(taken[:1]), "ms")
        report.add("alerts", f"a minute, {name}", Samples(taken[1:]), "ms", below=50)
        trials = TrialStore(database, insights, evidence, judge)
        first, second = (await rules.all())[-2:]
        for rule in (second, first):
            started = time.process_time()
            await trials.run(rule, now=to_micros(many_insights.END))
            spent = Samples([(time.process_time() - started) * 1000])
            report.add("alerts", f"a trial of kind {rule.kind}, {size:,} insights", spent, "ms")


def _as_if_one_came(connection: Connection) -> None:
    """The day that is judged has changed since the minute before, as it has in a busy service."""
    day_cache.bump_day_version(connection, [to_micros(many_insights.END) - 1])


def _rule(number: int) -> dict[str, Any]:
    kind = _KINDS[number % len(_KINDS)]
    named = _FILTERS[number // len(_KINDS)]
    if kind == "share":
        named = {name: value for name, value in named.items() if name != "sentiment"}
    return {
        "name": f"rule {number}",
        "kind": kind,
        "filter": named,
        "window": "6h" if number % 2 else "1h",
        "above": {"rising": 3.7, "count": 100_000.0, "share": 0.99}[kind],
        "at_least": None,
        "hold": 1,
        "clear": 3,
        "cooldown_seconds": 14_400,
        "quiet": None,
        "to": [],
        "texts": False,
        "enabled": True,
    }
