"""Builds what the settings ask for: the whole service, and for `evaluate.py` an analyser alone.

Without I/O, but that certificates are read. Opening and closing is the lifespan's, in `main.py`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING

import structlog

from analysis.analyser import Analyser
from analysis.offline.analyser import OfflineAnalyser
from analysis.outcomes import TICKS_PER_USD, Outcome
from analysis.report_times import ReportTime
from analysis.topics import Topics
from api.event_stream import InsightStream
from api.handling import handling_changes
from api.inbound_limits import InboundLimits
from api.labels import label_changes
from api.services import Services
from batch_processor import Worker
from config import Settings
from database import Database
from grok.prompt import PROMPT_VERSION
from models import utc_now
from notices.web_client import WebClient
from rate_limiter import CallLimiter, LearnedRate, SlidingWindow, Window
from runtime.disks import folders_written_to
from runtime.mail_server import MailServer
from runtime.metrics import Metrics
from store.alert_counts import AlertCounter
from store.alert_evidence import EvidenceReader
from store.alert_judging import AlertJudge
from store.alert_rules import AlertRuleStore
from store.alert_singles import SingleStore
from store.alert_trials import TrialStore
from store.alerts import AlertStore
from store.authors import AuthorStore
from store.conversations import ConversationStore
from store.deliveries import DeliveryStore
from store.derived.word_counts import MatchCounter
from store.dispatch import DispatchStore
from store.endpoints import EndpointStore
from store.erasure import ErasureStore
from store.figures import FigureStore
from store.frequent_words import FrequentWords
from store.handling import HandlingStore
from store.insights import InsightStore
from store.label_history import LabelStore
from store.ledger import Ledger
from store.own_posts import OwnPostStore
from store.planner_statistics import PlannerStatistics
from store.plans.requests import PlanStore
from store.plans.walks import WalkStore
from store.priority import KEYS_PER_STEP, PriorityStore
from store.queue import Claimed, WorkQueue
from store.replicas import ReplicaStore
from store.reports import ReportStore
from store.rules import RuleStore
from store.summaries import SummaryStore
from store.trends import TrendStore
from store.versions import Asked, VersionStore
from worker.alerts import AlertWorker
from worker.backups import BackupKeeper
from worker.calls import CallRunner
from worker.courier import Courier, Sender
from worker.heartbeat import Heartbeat
from worker.housekeeper import ROWS_PER_STEP, Housekeeper
from worker.machine import MachineWatch
from worker.plans import PlanWorker
from worker.stalls import StallWatch
from worker.statistics import StatisticsKeeper

if TYPE_CHECKING:
    from redis.asyncio import Redis

    from backends.hints import Hints
    from notices.mail import MailClient
    from runtime.proxies import Proxy

log = structlog.get_logger(__name__)

# What hints between replicas are about: posts that wait, insights that are new.
CONVERSATIONS = "conversations"
INSIGHTS = "insights"


@dataclass(frozen=True, slots=True)
class Assembly:
    """A whole service. `housekeeper` is None in a replica that only serves the API, `hints`
    on SQLite, which has no replicas, and `statistics` on both."""

    services: Services
    queue: WorkQueue
    asked: Asked
    housekeeper: Housekeeper | None
    statistics: StatisticsKeeper | None
    hints: "Hints | None"
    redis: "Redis | None"

    def stop_claiming(self) -> None:
        """From now on leave what waits, and what is to be tidied up, to other processes."""
        self.services.stop_claiming()
        for part in (self.housekeeper, self.statistics):
            if part is not None:
                part.stop_claiming()


def assemble(settings: Settings, *, analyser: Analyser | None = None) -> Assembly:
    """`analyser` takes the place of the one that the settings ask for. Raises StartRefused."""
    metrics = Metrics()
    redis = _connect_redis(settings)
    database = Database(
        settings.database_url,
        lock_patience=settings.lock_patience,
        connections=settings.database_pool,
    )
    hints, heartbeat = _build_replica(settings, database)
    queue = WorkQueue(database)
    topics = _build_topics(settings)
    window = _build_window(
        redis,
        "grok",
        settings.grok_rate_limit,
        fail_open=False,
        replicas=(lambda: heartbeat.counted) if heartbeat else (lambda: 1),
    )
    analyser = analyser or build_analyser(settings, topics, window=window)
    budget = settings.grok_daily_budget_usd
    ledger = Ledger(
        database, daily_budget_ticks=None if budget is None else int(budget * TICKS_PER_USD)
    )
    call_runner = CallRunner(
        analyser,
        topics,
        ledger,
        max_attempts=settings.grok_max_attempts,
        on_sent=metrics.call_sent,
        on_call=metrics.call_ended,
    )
    matches = MatchCounter()
    insights = InsightStore(database, matches)
    handling = HandlingStore(database)
    priorities = PriorityStore(database, matches)
    labels = LabelStore(database)
    stream = InsightStream(insights, [handling_changes(handling), label_changes(labels)])

    def on_settled(claimed: Claimed, outcome: Outcome) -> None:
        metrics.settled(claimed, outcome)
        stream.wake()
        if alert_worker is not None:
            alert_worker.wake()
        if hints:
            hints.give(INSIGHTS)

    def on_commit(rows: int) -> None:
        metrics.committed(rows)
        if hints and rows:
            hints.give(CONVERSATIONS)

    worker = stall_watch = plan_worker = housekeeper = courier = alert_worker = None
    figures, backups = FigureStore(database), _build_backups(settings, database)
    summaries = SummaryStore(database, matches, goal_seconds=settings.answer_goal * 3600)
    reports = ReportStore(database, summaries, insights)
    evidence = EvidenceReader(insights)
    alerts = AlertStore(database, AlertJudge(AlertCounter(matches), evidence))
    judge_of_trials = AlertJudge(AlertCounter(matches), evidence)  # in threads of their own
    deliveries = DeliveryStore(database, reports.told)
    web_client = WebClient(private_hosts=settings.webhook_private_hosts)
    if settings.worker_enabled:
        worker = Worker(
            queue,
            ledger,
            analyser,
            call_runner,
            batch_size=settings.batch_size,
            poll_interval=settings.poll_interval,
            reuse_window=timedelta(seconds=settings.reuse_window),
            call_seconds=2 * settings.grok_timeout,
            alone=database.is_sqlite,
            on_settled=on_settled,
        )
        progress_of = worker
        stall_watch = StallWatch(
            figures,
            call_runner,
            analyser,
            seconds_since_progress=lambda: progress_of.seconds_since_progress,
        )
        walks = WalkStore(database, insights)
        plan_worker = PlanWorker(walks, yields=database.is_sqlite, on_step=worker.wake)
        courier = _build_courier(settings, database, web_client)
        alert_worker = AlertWorker(
            alerts,
            SingleStore(database),
            MachineWatch(
                call_runner,
                stall_watch,
                folders=folders_written_to(settings.database_url, settings.backup_dir),
                backups=backups,
            ),
            polls=not database.is_sqlite,
            every_minute=partial(_send_report, reports, settings.report_at),
            on_message=courier.wake,
        )
        days = settings.retention_days
        housekeeper = Housekeeper(
            ErasureStore(database),
            walks,
            own_posts=OwnPostStore(database, settings.own_authors),
            steps=(
                partial(priorities.catch_up, limit=KEYS_PER_STEP),
                handling.end_leases,
                partial(ledger.forget, older_than_days=settings.ledger_days, limit=ROWS_PER_STEP),
                partial(deliveries.prune, limit=ROWS_PER_STEP),
                partial(alerts.prune, limit=ROWS_PER_STEP),
                FrequentWords(database, matches).step,
            ),
            retention=None if days is None else timedelta(days=days),
        )
    services = Services(
        settings=settings,
        topics=topics,
        metrics=metrics,
        database=database,
        conversations=ConversationStore(
            database, own_authors=settings.own_authors, on_commit=on_commit
        ),
        insights=insights,
        handling=handling,
        priorities=priorities,
        plans=PlanStore(database, insights),
        labels=labels,
        rules=RuleStore(database),
        alert_rules=AlertRuleStore(database),
        alert_trials=TrialStore(database, insights, evidence, judge_of_trials),
        alerts=alerts,
        endpoints=EndpointStore(database),
        deliveries=deliveries,
        web_client=web_client,
        summaries=summaries,
        reports=reports,
        authors=AuthorStore(database),
        trends=TrendStore(database),
        stream=stream,
        figures=figures,
        versions=VersionStore(database),
        analyser=analyser,
        call_runner=call_runner,
        worker=worker,
        stall_watch=stall_watch,
        plan_worker=plan_worker,
        alert_worker=alert_worker,
        courier=courier,
        backups=backups,
        inbound_limits=_build_inbound_limits(settings, redis),
        heartbeat=heartbeat,
        call_window=window,
    )
    asked = _asked(settings, analyser)
    keeps_statistics = settings.worker_enabled and not database.is_sqlite
    statistics = StatisticsKeeper(PlannerStatistics(database)) if keeps_statistics else None
    return Assembly(services, queue, asked, housekeeper, statistics, hints, redis)


def build_analyser(
    settings: Settings, topics: Topics | None = None, *, window: Window | None = None
) -> Analyser:
    """`topics` and `window`, the limit on calls, are shared with others where they are given.

    Raises StartRefused.
    """
    topics = topics or _build_topics(settings)
    if not settings.uses_grok:
        return OfflineAnalyser(large=settings.uses_large_model, topics=topics)
    assert settings.grok_key is not None
    from grok_client import GrokClient  # with httpx 60 ms that no offline start needs
    from runtime.proxies import trusted_certificates

    return GrokClient(
        key=settings.grok_key.get_secret_value(),
        base_url=settings.grok_base_url,
        model=settings.grok_model,
        limiter=CallLimiter(
            window or SlidingWindow(settings.grok_rate_limit, 1.0),
            LearnedRate(settings.grok_rate_limit),
        ),
        concurrency=settings.grok_concurrency,
        timeout=settings.grok_timeout,
        temperature=settings.grok_temperature,
        topics=topics,
        pack_size=settings.grok_pack_size,
        proxy=_find_proxy(settings),
        certificates=trusted_certificates(),
    )


def _build_topics(settings: Settings) -> Topics:
    return Topics(settings.clusters, closed=settings.clusters_mode == "closed")


def _asked(settings: Settings, analyser: Analyser) -> Asked:
    return Asked(
        analyser.name,
        analyser.model,
        PROMPT_VERSION if settings.uses_grok else "",
        settings.grok_temperature if settings.uses_grok else None,
        settings.clusters_mode,
        settings.clusters,
    )


def _find_proxy(settings: Settings) -> "Proxy | None":
    """For the calls to Grok: the setting's, else the environment's."""
    from runtime.proxies import Proxy, choose_proxy

    if settings.grok_proxy:
        proxy: Proxy | None = Proxy(settings.grok_proxy, "GROK_PROXY")
    else:
        proxy, skipped = choose_proxy(settings.grok_base_url)
        for sentence in skipped:
            log.warning("proxy_skipped", reason=sentence)
    if proxy:
        log.info("grok_proxy", proxy=str(proxy))
    return proxy


def _connect_redis(settings: Settings) -> "Redis | None":
    if settings.redis_url is None:
        return None
    from backends.redis import connect  # 6 MB that few need

    return connect(settings.redis_url)


def _build_replica(
    settings: Settings, database: Database
) -> "tuple[Hints, Heartbeat] | tuple[None, None]":
    if database.is_sqlite:
        return None, None
    from backends.hints import Hints  # the parts of SQLAlchemy that SQLite can spare

    replicas = ReplicaStore(database, analyses=settings.worker_enabled)
    return Hints(database.url), Heartbeat(replicas)


def _build_window(
    redis: "Redis | None",
    name: str,
    calls: int,
    *,
    fail_open: bool,
    replicas: Callable[[], int | None] = lambda: 1,
) -> Window:
    """`calls` in a second, shared where there is Redis. When it goes away, each of `replicas` keeps
    to its part by itself, or with `fail_open` lets everybody pass."""
    window = SlidingWindow(calls, 1.0)
    if redis is None:
        return window
    from backends.redis import RedisWindow

    otherwise = None if fail_open else window
    return RedisWindow(
        redis, name=name, calls=calls, per=1.0, otherwise=otherwise, replicas=replicas
    )


async def _send_report(reports: ReportStore, at: ReportTime | None) -> int:
    return 0 if at is None else await reports.send_due(at, utc_now())


def _build_backups(settings: Settings, database: Database) -> BackupKeeper | None:
    if settings.backup_dir is None:
        return None
    return BackupKeeper(
        database,
        settings.backup_dir,
        every=timedelta(hours=settings.backup_every),
        keep=settings.backup_keep,
    )


def _build_courier(settings: Settings, database: Database, web_client: WebClient) -> Courier:
    sender = Sender(web_client, _build_mail_client(settings), public_url=settings.public_url)
    return Courier(DispatchStore(database), sender, alone=database.is_sqlite)


def _build_mail_client(settings: Settings) -> "MailClient | None":
    if settings.smtp_url is None:
        return None
    from notices.mail import MailClient  # 10 ms that few need

    server = MailServer.parse(settings.smtp_url)
    return MailClient(server, private_hosts=settings.webhook_private_hosts)


def _build_inbound_limits(settings: Settings, redis: "Redis | None") -> InboundLimits | None:
    if not settings.inbound_rate_limit:
        return None

    def build(name: str, count: int) -> Window:
        return _build_window(redis, name, count, fail_open=True)

    return InboundLimits(settings.inbound_rate_limit, settings.api_keys, build=build)
