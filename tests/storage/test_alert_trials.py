"""What a rule would have sent, found beside all else that the service does."""

import asyncio
import threading
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
from sqlalchemy import text

from database import Database
from errors import Unavailable
from models import to_micros
from store import alert_looks, alert_trials
from store.alert_rules import AlertRule
from tests.support.alerts import fill, make_rule, trial_store
from tests.support.factories import NOON, scalar


class Held:
    """Computing that goes on until it is let go."""

    def __init__(self) -> None:
        self.at_once = 0
        self.most = 0
        self.seconds = 2.0
        self.has_begun = threading.Event()
        self.goes_on = threading.Event()

    def breaches(self, _rule: AlertRule, _count: int) -> bool:
        self.at_once += 1
        self.most = max(self.most, self.at_once)
        self.has_begun.set()
        self.goes_on.wait(self.seconds)
        self.at_once -= 1
        return False


@pytest.fixture
async def held(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Held]:
    held = Held()
    monkeypatch.setattr(alert_looks, "count_breaches", held.breaches)
    yield held
    held.goes_on.set()


@pytest.mark.parametrize("kind", ["count", "share", "rising"])
@pytest.mark.parametrize("minutes", [0, 0.5, 5.5, 14])
async def test_what_came_since_the_last_step_is_tried_as_it_is_judged_now(
    database: Database, minutes: float, kind: str
) -> None:
    now = NOON + timedelta(minutes=minutes)
    rule = await make_rule(database, kind, window="15m", at_least=5)
    await fill(database, 30, before=now)
    trial = await trial_store(database).run(rule, now=to_micros(now))
    assert (trial.messages, trial.alerts_count, trial.stop) == (1, 1, to_micros(now))
    assert trial.alerts[0].opened_at <= to_micros(now)


@pytest.mark.parametrize("kind", ["count", "share", "rising"])
@pytest.mark.parametrize("named", [{}, {"q": "parcel"}, {"cluster": "late"}])
async def test_what_never_counts_is_not_tried_either(
    database: Database, kind: str, named: dict[str, str]
) -> None:
    """Beside too few that count, which are a crowd."""
    rule = await make_rule(database, kind, at_least=5, filter=named)
    before = NOON - timedelta(days=2)
    await fill(database, 4, before=before, clusters=["late"])
    suspected = {"suspected_injection": ["ignore_instructions"]}
    await fill(database, 30, before=before, clusters=["late"], notes=suspected)
    trial = await trial_store(database).run(rule, now=to_micros(NOON))
    assert (trial.messages, trial.alerts_count) == (0, 0)
    await fill(database, 1, before=before, clusters=["late"], author="one more")
    trial = await trial_store(database).run(rule, now=to_micros(NOON))
    assert trial.alerts_count == 1


@pytest.mark.parametrize("kind", ["count", "share", "rising"])
async def test_own_posts_are_not_tried_either(database: Database, kind: str) -> None:
    rule = await make_rule(database, kind, at_least=5, filter={"author": "we"})
    await fill(database, 30, before=NOON - timedelta(days=2), author="we", own=1)
    trial = await trial_store(database).run(rule, now=to_micros(NOON))
    assert (trial.messages, trial.alerts_count) == (0, 0)


@pytest.mark.parametrize("kind", ["count", "share", "rising", "single"])
async def test_a_trial_names_what_no_post_has_ever_had(database: Database, kind: str) -> None:
    rare = NOON - timedelta(days=400)
    await fill(database, 1, before=rare, clusters=["late"], author="ana")
    for named, warnings in (
        ({}, []),
        ({"cluster": "late", "author": "ana"}, []),
        ({"cluster": "layt"}, ["No post has ever had the topic 'layt'."]),
        ({"cluster": "late", "author": "anna"}, ["No post is by 'anna'."]),
    ):
        rule = await make_rule(database, kind, filter=named)
        trial = await trial_store(database).run(rule, now=to_micros(NOON))
        assert trial.warnings == warnings


async def test_trials_run_one_at_a_time_and_hold_up_no_costly_read(
    database: Database, held: Held
) -> None:
    rule = await make_rule(database)
    trials = trial_store(database)
    running = [asyncio.create_task(trials.run(rule)) for _ in range(3)]
    await asyncio.to_thread(held.has_begun.wait)
    assert await database.read(
        lambda connection: connection.scalar(text("SELECT count(*) FROM alert_rules")), costly=True
    )
    assert held.at_once, "the read waited for the trial"
    held.goes_on.set()
    assert {trial.alerts_count for trial in await asyncio.gather(*running)} == {0}
    assert held.most == 1


async def test_a_trial_that_takes_too_long_says_so_and_the_next_one_has_its_turn(
    database: Database, held: Held
) -> None:
    rule = await make_rule(database)
    trials = trial_store(database, seconds=1.0)
    held.seconds = 0.01
    with pytest.raises(Unavailable, match="more than 1 s"):
        await trials.run(rule)
    held.goes_on.set()
    assert (await trials.run(rule)).alerts_count == 0


async def test_one_that_has_waited_too_long_for_others_says_so(
    database: Database, held: Held
) -> None:
    rule = await make_rule(database)
    trials = trial_store(database, seconds=0.05)
    held.seconds = 0.5
    first = asyncio.create_task(trials.run(rule))
    await asyncio.to_thread(held.has_begun.wait)
    with pytest.raises(Unavailable, match="Other rules") as caught:
        await trials.run(rule)
    assert caught.value.retry_after == 1
    held.goes_on.set()
    with pytest.raises(Unavailable):
        await first


async def test_a_trial_reads_the_evidence_of_what_breaches(database: Database) -> None:
    rule = await make_rule(database)
    await fill(database, 6, author="one and the same")
    trial = await trial_store(database).run(rule, now=to_micros(NOON))
    assert (trial.messages, trial.held_back_count) == (0, 1)
    assert await scalar(database, text("SELECT count(*) FROM alerts")) == 0


@pytest.mark.parametrize(("most", "looked_at"), [(3, 3), (5, 5), (100, 5)])
async def test_a_trial_of_single_posts_says_from_when_it_has_looked_at_all(
    database: Database, monkeypatch: pytest.MonkeyPatch, most: int, looked_at: int
) -> None:
    monkeypatch.setattr(alert_trials, "_MOST_POSTS", most)
    await fill(database, 5, urgency="now", sentiment_score=-0.9)
    rule = await make_rule(database, "single", window="24h")
    trial = await trial_store(database).run(rule, now=to_micros(NOON))
    assert trial.alerts_count == trial.messages == looked_at
    oldest = NOON - timedelta(seconds=3) if most == 3 else NOON - timedelta(days=30)
    assert trial.start == to_micros(oldest)
