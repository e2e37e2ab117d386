"""A worker on a real database, for tests: what goes in, what comes out, and what it did."""

import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from sqlalchemy import Connection, text

from analysis.analyser import Analyser
from analysis.outcomes import Outcome, Sighting
from analysis.topics import Topics
from batch_processor import Worker
from database import Database
from models import Lane
from store.conversations import ConversationStore, NewConversation
from store.ledger import Ledger
from store.lookup import StoredConversation
from store.queue import Claimed, WorkQueue
from tests.support.http_helpers import PATIENCE, eventually
from worker.calls import CallRunner
from worker.schedule import WorkerTimings

FOR_EVER = 60.0
"""A poll interval that no test lives to see the end of."""


class SeenTopics(Topics):
    """Keeps what it was told as well."""

    def __init__(self) -> None:
        super().__init__(())
        self.learned: list[Sighting] = []

    def learn(self, sighting: Sighting) -> None:
        self.learned.append(sighting)
        super().learn(sighting)


class WorkerHarness:
    """A database, what puts conversations into it, and what looks at them."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.conversations = ConversationStore(database)
        self.queue = WorkQueue(database)
        self.ledger = Ledger(database)
        self.settled: list[tuple[Claimed, Outcome]] = []
        self.timings = WorkerTimings()
        """Of the workers that are made from now on."""

    call_runner: CallRunner
    topics: SeenTopics
    """Of the last worker that was made."""

    async def add(self, *texts: str, lane: Lane = Lane.LIVE) -> list[str]:
        return await self.conversations.accept([NewConversation(one) for one in texts], lane=lane)

    async def find(self, id_: str) -> StoredConversation:
        return await self.conversations.find(id_)

    async def until(self, id_: str, status: str, *, within: float = PATIENCE) -> StoredConversation:
        seen: list[StoredConversation] = []

        async def has_status() -> bool:
            seen[:] = [await self.find(id_)]
            return seen[0].status == status

        await eventually(has_status, within=within, what=f"{id_} {status}")
        return seen[0]

    async def run(self, statement: str, **parameters: Any) -> list[Any]:
        def work(connection: Connection) -> list[Any]:
            result = connection.execute(text(statement), parameters)
            return list(result) if result.returns_rows else []

        return await self.database.write(work)

    async def count(self, status: str) -> int:
        statement = "SELECT count(*) FROM conversations WHERE status = :status"
        return int((await self.run(statement, status=status))[0][0])

    async def until_attempted(self, id_: str, attempts: int) -> None:
        """Wait until the conversation is pending again after so many attempts."""

        async def is_pending_again() -> bool:
            found = await self.find(id_)
            return (found.status, found.attempts) == ("pending", attempts)

        await eventually(is_pending_again, what=f"{id_} pending after {attempts}")

    async def all_completed(self, count: int, *, within: float = PATIENCE) -> None:
        async def are_completed() -> bool:
            return await self.count("completed") == count

        await eventually(are_completed, within=within)

    async def due_in(self, id_: str) -> float:
        """Seconds until the conversation may be claimed again."""
        found = await self.run("SELECT not_before FROM conversations WHERE id = :id", id=id_)
        return float(found[0][0]) / 1e6 - time.time()

    async def make_due(self) -> None:
        await self.run("UPDATE conversations SET not_before = 0")

    async def details(self, id_: str) -> dict[str, Any]:
        """The analyser's whole answer, as it is kept."""
        found = await self.run(
            "SELECT grok_analysis FROM insights WHERE conversation_id = :id", id=id_
        )
        return dict(json.loads(found[0][0]))

    def worker(self, analyser: Analyser, **overrides: Any) -> Worker:
        budget = overrides.pop("daily_budget_ticks", None)
        ledger = Ledger(self.database, daily_budget_ticks=budget)
        self.topics = SeenTopics()
        call_runner = CallRunner(
            analyser,
            self.topics,
            ledger,
            max_attempts=overrides.pop("max_attempts", 3),
            jitter=overrides.pop("jitter", lambda: 0.0),
            timings=self.timings,
        )
        self.call_runner = call_runner
        settings = {
            "batch_size": 10,
            "poll_interval": FOR_EVER,
            "alone": True,
            "on_settled": lambda claimed, outcome: self.settled.append((claimed, outcome)),
            "timings": self.timings,
        }
        return Worker(self.queue, ledger, analyser, call_runner, **{**settings, **overrides})

    @asynccontextmanager
    async def working(self, analyser: Analyser, **overrides: Any) -> AsyncIterator[Worker]:
        worker = self.worker(analyser, **overrides)
        worker.start()
        try:
            yield worker
        finally:
            await worker.stop(0)
            await self.queue.drained()
