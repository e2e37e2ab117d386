"""The parts of a running service, as handlers reach them. `main.py` puts them together."""

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from starlette.requests import Request

from analysis.outcomes import Analyser
from analysis.topics import Topics
from api.byte_budget import ByteBudget
from api.event_stream import InsightStream
from api.inbound_limits import InboundLimits
from api.kept import Kept
from api.keys import ApiKeys
from batch_processor import Worker
from config import Settings
from database import Database
from runtime.metrics import Metrics
from schemas import Bodies
from store.conversations import ConversationStore
from store.insights import InsightStore
from store.ledger import Ledger
from store.operations import FigureStore
from store.queue import WorkQueue
from store.summaries import SummaryStore
from store.trends import WindowStore
from worker.calls import CallRunner
from worker.retention import Housekeeper

if TYPE_CHECKING:
    from redis.asyncio import Redis

SMALL_BODY = 65_536


@dataclass(frozen=True, slots=True)
class Services:
    """`worker` and `housekeeper` are None in a replica that only serves the API.

    `large_reads` bounds how many pages are made at once, `costly_reads` how many of those that may
    take seconds to find: so nobody else's page waits for them. The budgets bound the bodies that
    are read and stored at once, in bytes of JSON: parsed, it takes up to 30 times as much.
    """

    settings: Settings
    bodies: Bodies
    topics: Topics
    api_keys: ApiKeys
    metrics: Metrics
    database: Database
    conversations: ConversationStore
    insights: InsightStore
    summaries: SummaryStore
    windows: WindowStore
    stream: InsightStream
    figures: FigureStore
    queue: WorkQueue
    analyser: Analyser
    ledger: Ledger
    call_runner: CallRunner
    worker: Worker | None
    housekeeper: Housekeeper | None
    inbound_limits: InboundLimits | None
    redis: "Redis | None"
    large_reads: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(4))
    costly_reads: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(4))
    small_bodies: ByteBudget = field(default_factory=lambda: ByteBudget(500_000))
    large_bodies: ByteBudget = field(default_factory=lambda: ByteBudget(2_100_000))

    def budget_of(self, body: bytes) -> ByteBudget:
        return self.small_bodies if len(body) <= SMALL_BODY else self.large_bodies

    database_check: Kept[str] = field(default_factory=Kept)
    worker_check: Kept[str] = field(default_factory=Kept)
    metrics_text: Kept[bytes] = field(default_factory=Kept)

    def wake_worker(self, *, importing: bool = False) -> None:
        """Something may wait for the worker; with `importing`, something that can wait."""
        if self.worker is not None:
            if importing:
                self.worker.note_import()
            self.worker.wake()


def services(request: Request) -> Services:
    found = request.app.state.services
    assert isinstance(found, Services)
    return found
