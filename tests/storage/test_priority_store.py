"""The order for answering on both databases: after whatever happened, as if counted anew."""

import random
from collections.abc import Callable, Coroutine, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import pytest
from sqlalchemy import func, select

from analysis.handling import HandlingChange, HandlingState
from analysis.labels import PERSON, Labelling
from analysis.outcomes import Complete
from analysis.priority import Facts, Weights, key
from analysis.urgency import Urgency
from database import Database
from models import Lane, insights, now_micros, to_micros
from store import labels
from store.conversations import ConversationStore
from store.derived import priority
from store.erasure import ErasureStore
from store.handling import change_many
from store.own_posts import OwnPostStore
from store.queue import WorkQueue
from tests.support.factories import (
    NOON,
    analysis,
    claim_all,
    insert_insights,
    new_conversation,
)

AUTHORS = ["ann", "ben", None]
FORTNIGHT = timedelta(days=14)


class Rows:
    """Insights as they are stored, and what their priority should be by counting by hand."""

    def __init__(self, rows: Sequence[Any], weights: Weights) -> None:
        self.rows = {row.conversation_id: row for row in rows}
        self.weights = weights

    def repeats(self, row: Any) -> int:
        earlier = [
            other
            for other in self.rows.values()
            if other.author == row.author is not None
            and other.sentiment_score < -0.1
            and not other.own
            and 0 < row.timestamp - other.timestamp <= FORTNIGHT / timedelta(microseconds=1)
        ]
        return min(len(earlier), 3)

    def key(self, row: Any) -> int | None:
        if row.own or row.handling in ("answered", "ignored"):
            return None
        suspected = "suspected_injection" in (row.notes or {})
        facts = Facts(
            row.timestamp,
            row.sentiment_score,
            row.confidence,
            row.urgency,
            suspected,
            self.repeats(row),
            row.reach,
            row.rising,
        )
        return key(facts, self.weights)

    def check(self) -> None:
        for row in self.rows.values():
            if not row.own:
                assert row.repeats == self.repeats(row), row.conversation_id
            assert row.priority == self.key(row), row.conversation_id


class Desk:
    """Everything that changes the order, on some posts of three authors."""

    def __init__(self, database: Database, chance: random.Random) -> None:
        self.database = database
        self.chance = chance
        self.weights = Weights()
        self.ids: list[str] = []
        self.own: list[str] = []
        self.queue = WorkQueue(database)

    async def stored(self) -> Rows:
        found = await self.database.read(
            lambda connection: connection.execute(select(insights)).all()
        )
        return Rows(found, self.weights)

    def _moment(self) -> datetime:
        """So that many are just inside or just outside of a fortnight, and some are equal."""
        days, seconds = self.chance.choice([0, 0, 7, 14, -14]), self.chance.choice([0, 0, 0, 1])
        return NOON + timedelta(days=days, seconds=seconds)

    async def post(self) -> None:
        items = [
            new_conversation(
                author=self.chance.choice(AUTHORS),
                timestamp=self._moment(),
                followers=self.chance.choice([None, 0, 999, 10**7]),
            )
            for _ in range(self.chance.randint(1, 4))
        ]
        self.queue.writer.rising = frozenset(self.chance.choice([[], ["late"]]))
        self.ids += await ConversationStore(self.database, own_authors=self.own).accept(
            items, lane=Lane.LIVE
        )
        await self.queue.settle(
            [(claimed, self._outcome()) for claimed in await claim_all(self.database)]
        )

    def _outcome(self) -> Complete:
        found = analysis(
            self.chance.choice([-1.0, -0.65, -0.1, 0.0, 0.7]),
            clusters=tuple(self.chance.choice([["late"], ["price", "late"], ["price"]])),
            confidence=self.chance.choice([0.0, 0.5, 0.9]),
            urgency=self.chance.choice(list(Urgency)),
        )
        notes = self.chance.choice([{}, {}, {"suspected_injection": ["role"]}])
        return Complete(found, notes=notes)

    def _some(self) -> list[str]:
        return self.chance.sample(self.ids, min(len(self.ids), self.chance.randint(1, 3)))

    async def label(self) -> None:
        labelling = Labelling(sentiment_score=self.chance.choice([-0.6, 0.0, 0.6]))
        give = partial(labels.give, giver=PERSON, labelling=labelling, name="ana", at=1)
        await self.database.write(partial(give, ids=self._some()))

    async def take_back(self) -> None:
        take = partial(labels.take_back, giver=PERSON, by="ana", at=2)
        await self.database.write(partial(take, ids=self._some()))

    async def handle(self) -> None:
        state = self.chance.choice(list(HandlingState))
        holds = state in (HandlingState.CLAIMED, HandlingState.SNOOZED)
        until = now_micros() + 60_000_000 if holds else None
        change = HandlingChange(state, "ana", until, take_over=True)
        handle = partial(change_many, change=change, key_name="", now=now_micros())
        await self.database.write(partial(handle, ids=self._some()))

    async def erase(self) -> None:
        for id_ in self._some():
            await ErasureStore(self.database).erase(id_)
            self.ids.remove(id_)

    async def other_accounts(self) -> None:
        self.own = [] if self.own else [self.chance.choice(["ann", "ben"])]
        store, after = OwnPostStore(self.database, self.own), ""
        while (after := await store.step(after) or "") != "":
            pass

    async def other_weights(self) -> None:
        self.weights = self.chance.choice(
            [Weights(), Weights(repeat=50), Weights(negative=0, hours=-0.5), Weights(rising=7.25)]
        )
        await self.database.write(partial(priority.take_up, weights=self.weights))
        while await self.database.write(partial(priority.catch_up, count=3)):
            pass


async def test_whatever_happens_the_order_is_that_of_counting_anew(database: Database) -> None:
    desk = Desk(database, random.Random(20250120))
    happens: list[tuple[Callable[[], Coroutine[Any, Any, None]], int]] = [
        (desk.post, 4),
        (desk.label, 3),
        (desk.take_back, 2),
        (desk.handle, 3),
        (desk.erase, 1),
        (desk.other_accounts, 1),
        (desk.other_weights, 1),
    ]
    works, often = zip(*happens, strict=True)
    await desk.post()
    for work in desk.chance.choices(works, often, k=120):
        await work()
        (await desk.stored()).check()
        if len(desk.ids) < 5:
            await desk.post()


@pytest.mark.parametrize("count", [1, 3, 4])
async def test_who_complained_before_is_counted_up_to_three_times(
    database: Database, count: int
) -> None:
    times = [NOON - timedelta(days=day) for day in range(count + 1)]
    await insert_insights(database, [{"author": "ann", "timestamp": at} for at in times])
    await database.write(partial(priority.take_up, weights=Weights()))
    while await database.write(partial(priority.catch_up, count=2)):
        pass

    repeats = select(insights.c.repeats).where(insights.c.timestamp == to_micros(NOON))
    assert await database.read(lambda connection: connection.scalar(repeats)) == min(count, 3)


async def _made_anew(database: Database) -> None:
    await database.write(partial(priority.take_up, weights=Weights()))
    while await database.write(partial(priority.catch_up, count=100)):
        pass


async def _stored(database: Database) -> Rows:
    return Rows(
        await database.read(lambda connection: connection.execute(select(insights)).all()),
        Weights(),
    )


async def test_many_of_one_author_may_change_at_once(database: Database) -> None:
    chance = random.Random(7)
    ids = await insert_insights(
        database,
        [
            {
                "author": "ann",
                "timestamp": NOON + timedelta(hours=chance.randrange(0, 40 * 24, 6)),
                "sentiment_score": chance.choice([-0.6, 0.0]),
            }
            for _ in range(60)
        ],
    )
    await _made_anew(database)
    for score in [0.0, *[-0.6, 0.0, 0.0, 0.0] * 6, -0.6]:
        give = partial(labels.give, giver=PERSON, name="ana", at=1)
        some = chance.sample(ids, chance.choice([1, 4, 20]))
        labelling = Labelling(sentiment_score=score)
        await database.write(partial(give, ids=some, labelling=labelling))
        (await _stored(database)).check()


async def test_all_that_come_before_a_post_may_turn_unhappy_at_once(database: Database) -> None:
    times = [NOON + timedelta(hours=hour) for hour in range(8)]
    *earlier, _last = await insert_insights(
        database, [{"author": "ann", "timestamp": at, "sentiment_score": 0.0} for at in times]
    )
    await _made_anew(database)
    unhappy = Labelling(sentiment_score=-0.6)
    give = partial(labels.give, giver=PERSON, labelling=unhappy, name="ana", at=1)
    await database.write(partial(give, ids=earlier))
    (await _stored(database)).check()


@pytest.mark.parametrize("unhappy", ["before", "after"])
async def test_an_author_of_very_many_is_no_burden(database: Database, unhappy: str) -> None:
    """Whichever way a walk goes, and so on whichever side of it the unhappy ones are."""
    times = [NOON + timedelta(minutes=minute) for minute in range(2000)]
    post = times[1000]
    await insert_insights(
        database,
        [
            {
                "author": "ann",
                "timestamp": at,
                "sentiment_score": -0.6 if (at < post) == (unhappy == "before") else 0.0,
            }
            for at in times
        ],
    )
    changed = [priority.Post("ann", to_micros(post))]
    found = await database.read(partial(priority.waiting_behind, posts=changed))
    assert found is not None
    assert len(found) <= 3


@pytest.mark.parametrize(("behind", "at_once"), [(2000, True), (2001, False)])
async def test_very_many_keys_that_one_post_changes_are_made_anew_in_the_background(
    database: Database, behind: int, at_once: bool
) -> None:
    times = [NOON + timedelta(minutes=minute) for minute in range(behind + 1)]
    first, *_ = await insert_insights(
        database,
        [
            {"author": "ann", "timestamp": at, "sentiment_score": 0.0 if number else -0.6}
            for number, at in enumerate(times)
        ],
    )
    await _made_anew(database)
    assert await _repeats(database) == behind
    happy = Labelling(sentiment_score=0.5)
    give = partial(labels.give, giver=PERSON, labelling=happy, name="ana", at=1)
    await database.write(partial(give, ids=[first]))
    assert await _repeats(database) == (0 if at_once else behind)
    while await database.write(partial(priority.catch_up, count=500)):
        pass
    assert await _repeats(database) == 0


async def _repeats(database: Database) -> int:
    """Of all insights."""
    found = select(func.sum(insights.c.repeats))
    return int(await database.read(lambda connection: connection.scalar(found)) or 0)
