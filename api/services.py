"""The parts of a running service that handlers reach. `assembly.py` builds them."""

import asyncio
from dataclasses import dataclass, field

from starlette.requests import Request

from analysis.analyser import Analyser
from analysis.topics import Topics
from api.bodies import SMALL_BODY
from api.byte_budget import ByteBudget
from api.cached_value import CachedValue
from api.event_stream import InsightStream
from api.fair_turns import FairTurns
from api.inbound_limits import InboundLimits
from batch_processor import Worker
from config import Settings
from database import Database
from notices.web_client import WebClient
from rate_limiter import Window
from runtime.metrics import Metrics
from store.alert_rules import AlertRuleStore
from store.alert_trials import TrialStore
from store.alerts import AlertStore
from store.authors import AuthorStore
from store.conversations import ConversationStore
from store.deliveries import DeliveryStore
from store.endpoints import EndpointStore
from store.figures import FigureStore
from store.handling import HandlingStore
from store.insights import InsightStore
from store.label_history import LabelStore
from store.plans.requests import PlanStore
from store.priority import PriorityStore
from store.reports import ReportStore
from store.rules import RuleStore
from store.summaries import SummaryStore
from store.trends import TrendStore
from store.versions import VersionStore
from worker.alerts import AlertWorker
from worker.backups import BackupKeeper
from worker.calls import CallRunner
from worker.courier import Courier
from worker.heartbeat import Heartbeat
from worker.plans import PlanWorker
from worker.stalls import StallWatch


@dataclass(frozen=True, slots=True)
class Services:
    """The workers are None in a replica that only serves the API, `backups` where there is no
    folder for any, `heartbeat` on SQLite. `call_window` is that of the calls to Grok.

    `large_reads` bounds how many pages are made at once, `costly_reads` how many of those that may
    take seconds to find: so nobody else's page waits for them. Plans may take longer still, and are
    previewed one by one, which leaves a thread to searches. The budgets bound the bodies that are
    read and stored at once, in bytes of JSON: parsed, it takes up to 30 times as much.
    """

    settings: Settings
    topics: Topics
    metrics: Metrics
    database: Database
    conversations: ConversationStore
    insights: InsightStore
    handling: HandlingStore
    priorities: PriorityStore
    plans: PlanStore
    labels: LabelStore
    rules: RuleStore
    alert_rules: AlertRuleStore
    alert_trials: TrialStore
    alerts: AlertStore
    endpoints: EndpointStore
    deliveries: DeliveryStore
    web_client: WebClient
    summaries: SummaryStore
    reports: ReportStore
    authors: AuthorStore
    trends: TrendStore
    stream: InsightStream
    figures: FigureStore
    versions: VersionStore
    analyser: Analyser
    call_runner: CallRunner
    worker: Worker | None
    stall_watch: StallWatch | None
    plan_worker: PlanWorker | None
    alert_worker: AlertWorker | None
    courier: Courier | None
    backups: BackupKeeper | None
    inbound_limits: InboundLimits | None
    heartbeat: Heartbeat | None
    call_window: Window
    large_reads: FairTurns = field(default_factory=lambda: FairTurns(4))
    costly_reads: FairTurns = field(default_factory=lambda: FairTurns(4))
    plan_previews: FairTurns = field(default_factory=lambda: FairTurns(1))
    large_answers: asyncio.Lock = field(default_factory=asyncio.Lock)
    small_bodies: ByteBudget = field(default_factory=lambda: ByteBudget(500_000))
    large_bodies: ByteBudget = field(default_factory=lambda: ByteBudget(2_100_000))

    def budget_of(self, body: bytes) -> ByteBudget:
        return self.small_bodies if len(body) <= SMALL_BODY else self.large_bodies

    database_check: CachedValue[str] = field(default_factory=CachedValue)
    worker_check: CachedValue[str] = field(default_factory=CachedValue)
    disk_check: CachedValue[str] = field(default_factory=CachedValue)
    metrics_text: CachedValue[bytes] = field(default_factory=CachedValue)

    def wake_worker(self) -> None:
        """Something may wait for the worker."""
        if self.worker is not None:
            self.worker.wake()

    def stop_claiming(self) -> None:
        """From now on leave what waits to other processes. What is under way goes on."""
        for part in (self.worker, self.plan_worker, self.alert_worker, self.courier):
            if part is not None:
                part.stop_claiming()

    def wake_plan_worker(self) -> None:
        """A plan may wait to be walked."""
        if self.plan_worker is not None:
            self.plan_worker.wake()

    def wake_alerts(self) -> None:
        """A rule has changed."""
        if self.alert_worker is not None:
            self.alert_worker.wake()

    def wake_courier(self) -> None:
        """A message may wait to be sent."""
        if self.courier is not None:
            self.courier.wake()


def services(request: Request) -> Services:
    found = request.app.state.services
    assert isinstance(found, Services)
    return found
