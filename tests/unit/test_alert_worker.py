"""When alert rules are judged, and when the courier is woken."""

import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import pytest

from errors import Unavailable
from tests.support.http_helpers import eventually
from worker import alerts
from worker.alerts import AlertWorker


class Judged:
    """What was judged, in order, and how many messages each judgement makes."""

    def __init__(self, **messages: int) -> None:
        self.told: list[str] = []
        self._messages = messages

    def _note(self, what: str) -> int:
        self.told.append(what)
        return self._messages.get(what, 0)

    async def rules(self, _troubles: Mapping[str, str]) -> int:
        return self._note("rules")

    async def singles(self, *, sum_up: bool) -> int:
        return self._note("sum" if sum_up else "singles")

    async def reports(self) -> int:
        return self._note("reports")

    def on_message(self) -> None:
        self.told.append("sent")


@asynccontextmanager
async def running(judged: Judged, rules: Callable[..., Any]) -> AsyncIterator[AlertWorker]:
    async def troubles() -> Mapping[str, str]:
        return {}

    parts: list[Any] = [
        SimpleNamespace(judge=rules),
        SimpleNamespace(judge=judged.singles),
        SimpleNamespace(troubles=troubles),
    ]
    worker = AlertWorker(
        *parts, polls=False, every_minute=judged.reports, on_message=judged.on_message
    )
    worker.start()
    try:
        yield worker
    finally:
        await worker.stop()


def next_minutes(monkeypatch: pytest.MonkeyPatch, *seconds_from_now: float) -> None:
    """When the minutes end, each as seen at the end of the one before."""
    left = list(seconds_from_now)
    monkeypatch.setattr(alerts, "_next_minute", lambda: time.time() + left.pop(0))


async def has_been_told(judged: Judged, *what: str) -> None:
    async def as_expected() -> bool:
        return judged.told == list(what)

    await eventually(as_expected, within=20)


async def test_rules_are_judged_at_the_start_and_not_only_at_the_next_minute(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A service that is killed once a minute would never get so far."""
    next_minutes(monkeypatch, 3600)
    judged = Judged(rules=1)
    async with running(judged, judged.rules):
        await has_been_told(judged, "rules", "sent")


async def test_a_start_on_which_the_database_is_away_ends_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def away(_troubles: Mapping[str, str]) -> int:
        raise Unavailable("the database is locked")

    next_minutes(monkeypatch, 3600)
    judged = Judged()
    async with running(judged, away) as worker:
        worker.wake()
        await has_been_told(judged, "singles")


async def test_what_a_minute_brings_is_handed_on_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    next_minutes(monkeypatch, 0, 3600)
    judged = Judged(sum=1, rules=2, reports=1)
    async with running(judged, judged.rules):
        minute = ["sum", "rules", "sent", "reports", "sent"]
        await has_been_told(judged, "rules", "sent", *minute)
