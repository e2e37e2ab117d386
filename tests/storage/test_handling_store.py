"""Handling on both databases: one holder at a time, a whole history, and what ends a snooze."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from sqlalchemy import func, select

from analysis.handling import OPEN, Handling, HandlingChange, HandlingState
from database import Database
from errors import Conflict, NotFound
from models import Lane, insights, now_micros, to_micros
from store.conversations import ConversationStore
from store.derived.word_counts import MatchCounter
from store.erasure import ErasureStore
from store.handling import (
    WROTE_AGAIN,
    Handled,
    HandlingStore,
    change_many,
    put_back_many,
)
from store.handling_figures import HandlingCounter
from store.summaries import Interval, SummaryStore
from tables.people import handling_log
from tests.support.factories import (
    NOON,
    accept,
    insert_insight,
    insert_insights,
    insight_filter,
    new_conversation,
    of_another_process,
    scalar,
)

MINUTE = 60_000_000


def asking(state: HandlingState, by: str = "ana", **details: Any) -> HandlingChange:
    if state in (HandlingState.CLAIMED, HandlingState.SNOOZED):
        details = {"until": now_micros() + 15 * MINUTE, **details}
    return HandlingChange(state, by, **details)


async def handled(
    database: Database, id_: str, state: HandlingState, by: str = "ana", **details: Any
) -> Handling:
    change = asking(state, by, **details)
    return await HandlingStore(database).change(id_, change, key_name="desk", now=now_micros())


async def stored(database: Database, id_: str) -> Handling:
    columns = insights.c
    row = select(
        columns.handling, columns.handling_by, columns.handling_at, columns.handling_until
    ).where(columns.conversation_id == id_)
    found = await database.read(lambda connection: connection.execute(row).one())
    return Handling(HandlingState(found[0]), *found[1:])


async def states_in_history(database: Database, id_: str) -> Sequence[str]:
    return [entry.state for entry in (await HandlingStore(database).find(id_)).history]


async def test_each_change_is_recorded_with_who_made_it_and_by_which_key(
    database: Database,
) -> None:
    id_ = await insert_insight(database)
    await handled(database, id_, HandlingState.CLAIMED, note="on it")
    after = await handled(database, id_, HandlingState.ANSWERED, "ben")

    record = await HandlingStore(database).find(id_)

    assert record.handling == after == await stored(database, id_)
    assert (after.state, after.by, after.until) == (HandlingState.ANSWERED, "ben", None)
    assert [(e.state, e.by, e.key_name, e.note) for e in record.history] == [
        (HandlingState.CLAIMED, "ana", "desk", "on it"),
        (HandlingState.ANSWERED, "ben", "desk", None),
    ]
    assert record.history[0].until is not None


async def test_what_is_open_again_is_as_if_nobody_had_touched_it(database: Database) -> None:
    id_ = await insert_insight(database)
    await handled(database, id_, HandlingState.IGNORED)

    assert await handled(database, id_, HandlingState.OPEN, "ben") == OPEN
    assert await stored(database, id_) == OPEN
    assert await states_in_history(database, id_) == ["ignored", "open"]


async def test_what_another_holds_can_only_be_claimed_by_taking_over(database: Database) -> None:
    id_ = await insert_insight(database)
    held = await handled(database, id_, HandlingState.CLAIMED, "ben")

    with pytest.raises(Conflict, match=r"^claimed by ben until \d\d:\d\d UTC$"):
        await handled(database, id_, HandlingState.CLAIMED, "ana")
    assert await stored(database, id_) == held

    taken = await handled(database, id_, HandlingState.CLAIMED, "ana", take_over=True)
    assert (taken.by, await states_in_history(database, id_)) == ("ana", ["claimed", "claimed"])


async def test_who_holds_it_may_claim_it_for_longer(database: Database) -> None:
    id_ = await insert_insight(database)
    first = await handled(database, id_, HandlingState.CLAIMED)
    longer = now_micros() + 60 * MINUTE

    assert (await handled(database, id_, HandlingState.CLAIMED, until=longer)).until == longer
    assert first.until is not None
    assert first.until < longer


async def test_a_claim_that_has_run_out_holds_nobody_back(database: Database) -> None:
    id_ = await insert_insight(database)
    await handled(database, id_, HandlingState.CLAIMED, "ben", until=now_micros() - 1)

    assert (await HandlingStore(database).find(id_)).handling == OPEN
    assert (await handled(database, id_, HandlingState.CLAIMED, "ana")).by == "ana"


async def test_what_has_run_out_is_put_back_to_open_and_nothing_else_is(
    database: Database,
) -> None:
    ids = await insert_insights(database, [{}] * 4)
    for id_, state in zip(ids[:2], (HandlingState.CLAIMED, HandlingState.SNOOZED), strict=True):
        await handled(database, id_, state, until=now_micros() - 1)
    held = await handled(database, ids[2], HandlingState.SNOOZED)
    answered = await handled(database, ids[3], HandlingState.ANSWERED)

    await HandlingStore(database).end_leases()

    assert [await stored(database, id_) for id_ in ids] == [OPEN, OPEN, held, answered]
    assert await states_in_history(database, ids[0]) == ["claimed"]  # nobody did anything


async def test_only_one_of_many_who_claim_at_once_has_it(database: Database) -> None:
    ids = await insert_insights(database, [{}] * 30)
    async with of_another_process(database) as other:
        for id_ in ids:
            claims = [
                handled(each, id_, HandlingState.CLAIMED, by)
                for each, by in ((database, "ana"), (other, "ben"), (database, "cem"))
            ]
            answers = await asyncio.gather(*claims, return_exceptions=True)
            (had,) = [answer for answer in answers if isinstance(answer, Handling)]
            assert [type(answer) for answer in answers].count(Conflict) == 2
            assert await stored(database, id_) == had
            (entry,) = (await HandlingStore(database).find(id_)).history
            assert entry.by == had.by


async def test_only_what_is_completed_can_be_handled(database: Database) -> None:
    pending = await accept(database)

    for id_, error in ((pending, Conflict), ("conv_00000000", NotFound)):
        with pytest.raises(error):
            await handled(database, id_, HandlingState.CLAIMED)
        with pytest.raises(error):
            await HandlingStore(database).find(id_)


async def test_the_history_is_erased_with_its_conversation(database: Database) -> None:
    id_ = await insert_insight(database)
    await handled(database, id_, HandlingState.ANSWERED)
    await ErasureStore(database).erase(id_)

    assert await scalar(database, select(func.count()).select_from(handling_log)) == 0


# --- reopening ------------------------------------------------------------------------------------


async def test_a_snooze_ends_when_its_author_writes_again(database: Database) -> None:
    id_ = await insert_insight(database, author="ann")
    await handled(database, id_, HandlingState.SNOOZED)

    await accept(database, new_conversation(author="ann"))

    assert await stored(database, id_) == OPEN
    last = (await HandlingStore(database).find(id_)).history[-1]
    assert (last.state, last.by, last.note) == (HandlingState.OPEN, None, WROTE_AGAIN)


@pytest.mark.parametrize("author", ["Ann", "bob", None])
async def test_nobody_else_ends_a_snooze(database: Database, author: str | None) -> None:
    snoozed = await insert_insights(database, [{"author": "ann"}, {"author": None}])
    before = [await handled(database, id_, HandlingState.SNOOZED) for id_ in snoozed]

    await accept(database, new_conversation(author=author))

    assert [await stored(database, id_) for id_ in snoozed] == before


@pytest.mark.parametrize(
    "state", [HandlingState.CLAIMED, HandlingState.ANSWERED, HandlingState.IGNORED]
)
async def test_nothing_but_a_snooze_ends_when_its_author_writes_again(
    database: Database, state: HandlingState
) -> None:
    id_ = await insert_insight(database, author="ann")
    before = await handled(database, id_, state)

    await accept(database, new_conversation(author="ann"))

    assert await stored(database, id_) == before


async def test_one_batch_ends_more_snoozes_than_are_changed_at_a_time(database: Database) -> None:
    ids = await insert_insights(database, [{"author": "ann"}] * 501)
    change = partial(change_many, change=asking(HandlingState.SNOOZED), key_name="", now=1)
    for some in (ids[:500], ids[500:]):
        await database.write(partial(change, ids=some))

    await accept(database, new_conversation(author="ann"))

    snoozed = select(func.count()).where(insights.c.handling == "snoozed")
    assert await scalar(database, snoozed) == 0


async def test_what_is_sent_a_second_time_ends_no_snooze(database: Database) -> None:
    store = ConversationStore(database)
    item = new_conversation(author="ann", idempotency_key="once", body_hash="0" * 64)
    await store.accept([item], lane=Lane.LIVE)
    id_ = await insert_insight(database, author="ann")
    before = await handled(database, id_, HandlingState.SNOOZED)

    await store.accept([item], lane=Lane.LIVE)

    assert await stored(database, id_) == before


# --- many at once ---------------------------------------------------------------------------------


async def test_many_are_changed_at_once_but_for_those_that_another_holds(
    database: Database,
) -> None:
    ids = await insert_insights(database, [{}] * 4)
    held = await handled(database, ids[0], HandlingState.CLAIMED, "ben")
    ignored = await handled(database, ids[1], HandlingState.IGNORED)
    now, claim = now_micros(), asking(HandlingState.CLAIMED)

    def work(connection: Any) -> Any:
        return change_many(connection, [*ids, "conv_00000000"], claim, key_name="desk", now=now)

    done = await database.write(work)

    after = claim.handling(now)
    assert done == {
        ids[1]: Handled(ignored, after),
        ids[2]: Handled(OPEN, after),
        ids[3]: Handled(OPEN, after),
    }
    assert [await stored(database, id_) for id_ in ids] == [held, after, after, after]


async def test_putting_back_leaves_alone_what_was_changed_since(database: Database) -> None:
    ids = await insert_insights(database, [{}] * 3)
    first = await handled(database, ids[0], HandlingState.SNOOZED, "ben")
    now = now_micros()
    ignoring = asking(HandlingState.IGNORED)
    done = await database.write(
        lambda connection: change_many(connection, ids, ignoring, key_name="", now=now)
    )
    later = await handled(database, ids[1], HandlingState.ANSWERED, "cem")

    back = await database.write(
        lambda connection: put_back_many(connection, done, by="ana", key_name="", now=now + 1)
    )

    assert set(back) == {ids[0], ids[2]}
    assert [await stored(database, id_) for id_ in ids] == [first, later, OPEN]


@pytest.mark.parametrize(
    "filters", [{}, {"author": "ana"}, {"cluster": "praise", "language": "en"}]
)
async def test_where_nothing_is_open_after_all_no_oldest_is_told(
    database: Database, filters: dict[str, str]
) -> None:
    """Even if whoever counted says otherwise."""
    counter = HandlingCounter(MatchCounter(), goal_seconds=3600)
    wanted = insight_filter(**filters)
    figures = await database.read(partial(counter.figures, wanted, 1))
    assert (figures.counts[HandlingState.OPEN], figures.oldest_open) == (1, None)


@pytest.mark.parametrize("minutes", [[10], [10, 20], [-4, 10, 20]])
async def test_an_answer_before_its_posts_time_took_no_time(
    database: Database, minutes: list[int]
) -> None:
    """Such as one to a post whose clock was ahead, by minutes."""
    for ahead in minutes:
        timestamp = NOON + timedelta(minutes=ahead)
        id_ = await insert_insight(database, timestamp=timestamp)
        change = HandlingChange(HandlingState.ANSWERED, "ana")
        await HandlingStore(database).change(id_, change, key_name="", now=to_micros(NOON))

    summary = await SummaryStore(database).summary(insight_filter(), Interval.DAY)

    assert summary.handling.median_answer_seconds == 0.0
    assert summary.handling.answered_in_goal == 1.0
