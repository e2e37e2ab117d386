"""Reports: a period beside the one before it and the same one a week earlier; sent once each."""

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta
from functools import partial
from typing import Any
from urllib.parse import urlencode

from sqlalchemy import Connection, bindparam, func, insert, literal_column, select
from sqlalchemy.exc import IntegrityError

from analysis.fingerprint import as_analysed
from analysis.handling import HandlingState
from analysis.messages import Event, Message, MessageType
from analysis.micros import DAY
from analysis.outcomes import TICKS_PER_USD
from analysis.report import to_html, to_lines, to_markdown
from analysis.report_times import Period, ReportTime
from analysis.trend_score import judge
from database import Database
from models import daily_usage, format_time, insights, now_micros
from store.alert_changes import shown_time
from store.filters import COUNTS, InsightFilter, span_values, within
from store.handling import HandlingStore
from store.insights import InsightStore
from store.outbox import enqueue, subscribers
from store.summaries import Aggregate, Interval, Summary, SummaryStore
from store.told_texts import without_erased
from tables.alerts import reports_sent

_TOPICS, _RISING, _OLDEST, _EXAMPLES = 10, 5, 5, 3
_TEXT_LENGTH = 280


class ReportStore:
    def __init__(self, database: Database, summaries: SummaryStore, insights: InsightStore) -> None:
        self._database = database
        self._summaries = summaries
        self._insights = insights
        self._handling = HandlingStore(database)

    async def report(self, period: Period, ending: date) -> Mapping[str, Any]:
        """Of the days up to and with `ending`, in UTC, by the names of the API."""
        await self._handling.end_leases()
        wanted = _filter(period, ending)
        now = await self._summaries.summary(wanted, Interval.DAY)
        # Of a week both are the same one, which tells nothing twice.
        backs = dict.fromkeys((timedelta(days=period.days), timedelta(days=7)))
        earlier = [
            await self._summaries.summary(_filter(period, ending - back), Interval.DAY)
            for back in backs
        ]
        before, week_earlier = earlier[0], earlier[-1]
        rest = await self._database.read(partial(self._rest, wanted, now, earlier))
        handling = now.handling
        return {
            "period": period.value,
            "ending": ending.isoformat(),
            "start_time": shown_time(wanted.span.start),
            "end_time": shown_time(wanted.span.stop - 1),
            "is_over": wanted.span.stop <= now_micros(),
            "totals": _totals(now.totals),
            "before": _totals(before.totals),
            "week_earlier": _totals(week_earlier.totals),
            "topics": _topics(now, before, week_earlier),
            **rest,
            "answers": {
                "answered": handling.counts[HandlingState.ANSWERED],
                "open": handling.counts[HandlingState.OPEN],
                "answered_in_goal": handling.answered_in_goal,
                "median_answer_seconds": handling.median_answer_seconds,
            },
            "link": _page_link(wanted),
        }

    async def told(self, period: Period, ending: date) -> Mapping[str, Any]:
        """The data of a message with it."""
        return _told(await self.report(period, ending))

    def _rest(
        self,
        wanted: InsightFilter,
        now: Summary,
        earlier: Sequence[Summary],
        connection: Connection,
    ) -> Mapping[str, Any]:
        rising = _rising(now, earlier)[:_RISING]
        for each in rising:
            of_topic = InsightFilter(wanted.start_time, wanted.end_time, cluster=each["cluster"])
            found = self._insights.newest(of_topic, _EXAMPLES, connection)
            each["examples"] = [post.conversation_id for post in found]
        days = range(wanted.span.start // DAY, wanted.span.stop // DAY)
        return {
            "rising": rising,
            "oldest_unanswered": _oldest_unanswered(wanted, connection),
            "spending": {
                "cost_usd": _spent(days.start, days.stop, connection),
                "before_usd": _spent(days.start - len(days), days.start, connection),
            },
        }

    async def send_due(self, at: ReportTime, now: datetime) -> int:
        """Send the report whose time has come, once, whatever restarts, and as soon as there is who
        takes it; how many messages that makes."""
        ending = at.due(now)
        if ending is None:
            return 0
        if not await self._database.read(partial(_is_awaited, at.period, ending)):
            return 0
        report = await self.report(at.period, ending)
        return await self._database.write(partial(_send, at.period, ending, report))


def _is_awaited(period: Period, ending: date, connection: Connection) -> bool:
    columns = reports_sent.c
    sent = select(columns.sent_at).where(
        columns.period == period.value, columns.ending == ending.isoformat()
    )
    return connection.scalar(sent) is None and bool(subscribers(connection, Event.REPORT))


def _send(period: Period, ending: date, report: Mapping[str, Any], connection: Connection) -> int:
    if not (takers := subscribers(connection, Event.REPORT)):
        return 0  # since it was asked for
    row = {"period": period.value, "ending": ending.isoformat(), "sent_at": now_micros()}
    try:
        with connection.begin_nested():
            connection.execute(insert(reports_sent), row)
    except IntegrityError:
        return 0  # another process has sent it
    id_ = f"msg_report_{period.value}_{ending.isoformat()}"
    message = Message(id_, MessageType.REPORT, without_erased(_told(report), connection))
    return len(enqueue(connection, message, endpoints=takers))


def _told(report: Mapping[str, Any]) -> Mapping[str, Any]:
    """What leaves the service says of people as little as alerts do."""
    posts = [
        {**each, "author": None, "text": as_analysed(each["text"])}
        for each in report["oldest_unanswered"]
    ]
    report = {**report, "oldest_unanswered": posts}
    return {
        "period": report["period"],
        "ending": report["ending"],
        "markdown": to_markdown(report),
        "html": to_html(report),
        "lines": to_lines(report),
        "summary": report,
        "link": report["link"],
    }


def _page_link(wanted: InsightFilter) -> str:
    """The page's figures of the same time: unlike an address of the API, it asks for a key where
    there are some."""
    times = {"start_time": wanted.start_time, "end_time": wanted.end_time}
    shown = {name: format_time(each) for name, each in times.items()}
    return f"/dashboard?{urlencode({'page': 'figures', **shown})}"


def _filter(period: Period, ending: date) -> InsightFilter:
    stop = datetime.combine(ending + timedelta(days=1), time(), UTC)
    return InsightFilter(stop - timedelta(days=period.days), stop - timedelta(microseconds=1))


def _totals(totals: Aggregate) -> Mapping[str, Any]:
    return {
        "count": totals.count,
        "positive": totals.positive,
        "neutral": totals.neutral,
        "negative": totals.negative,
        "negative_share": round(totals.negative / totals.count, 4) if totals.count else None,
        "average_sentiment": totals.average_sentiment,
    }


def _topics(now: Summary, before: Summary, week_earlier: Summary) -> Sequence[Mapping[str, Any]]:
    counts = [_counts(each) for each in (before, week_earlier)]
    return [
        {
            "cluster": name,
            "count": each.count,
            "negative": each.negative,
            "average_sentiment": each.average_sentiment,
            "before": counts[0].get(name, 0),
            "week_earlier": counts[1].get(name, 0),
        }
        for name, each in now.clusters[:_TOPICS]
    ]


def _counts(summary: Summary) -> Mapping[str, int]:
    return {name: each.count for name, each in summary.clusters}


def _rising(now: Summary, earlier: Sequence[Summary]) -> list[dict[str, Any]]:
    """By the statistic of trends, beside these periods, the first of which it must exceed as well:
    one long ago may have little in it. Those with nothing tell nothing, unless all are such. The
    strongest first."""
    periods = [each for each in earlier if each.totals.count] or earlier
    counts = [_counts(each) for each in periods]
    before = _counts(earlier[0])
    found = []
    for name, each in now.clusters:
        if each.count <= before.get(name, 0):
            continue
        verdict = judge(each.count, [those.get(name, 0) for those in counts])
        if verdict is not None and verdict.direction != "falling":
            found.append(
                {
                    "cluster": name,
                    "count": each.count,
                    "expected": round(verdict.expected, 1),
                    "score": round(verdict.score, 2),
                }
            )
    return sorted(found, key=lambda each: (-float(str(each["score"])), str(each["cluster"])))


_OLDEST_OPEN = (
    select(insights.c.timestamp, insights.c.id)
    .where(*within("range", insights.c.timestamp), COUNTS, insights.c.handling == "open")
    .order_by(insights.c.timestamp, insights.c.id)
    .limit(_OLDEST)
    .with_hint(insights, "INDEXED BY idx_insight_timestamp", "sqlite")
).subquery("oldest")
_OLDEST_POSTS = (
    select(insights.c.conversation_id, insights.c.timestamp, insights.c.author, insights.c.text)
    .join_from(_OLDEST_OPEN, insights, insights.c.id == _OLDEST_OPEN.c.id)
    .order_by(_OLDEST_OPEN.c.timestamp, literal_column("oldest.id"))
)


def _oldest_unanswered(
    wanted: InsightFilter, connection: Connection
) -> Sequence[Mapping[str, Any]]:
    rows = connection.execute(_OLDEST_POSTS, span_values("range", wanted.span))
    return [
        {
            "conversation_id": row.conversation_id,
            "timestamp": shown_time(row.timestamp),
            "author": row.author,
            "text": row.text[:_TEXT_LENGTH],
        }
        for row in rows
    ]


_SPENT = select(func.sum(daily_usage.c.cost_usd_ticks)).where(
    daily_usage.c.day >= bindparam("first"), daily_usage.c.day < bindparam("stop")
)


def _spent(first: int, stop: int, connection: Connection) -> float:
    ticks = connection.scalar(_SPENT, {"first": first, "stop": stop}) or 0
    return round(int(ticks) / TICKS_PER_USD, 6)


def yesterday(now: datetime) -> date:
    """In UTC."""
    return now.astimezone(UTC).date() - timedelta(days=1)
