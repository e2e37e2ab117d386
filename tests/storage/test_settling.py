"""Writing down what came of claimed conversations, on both databases."""

import asyncio
import threading
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, event, func, select

from analysis.outcomes import Call, CallOutcome, Complete, Fail, Outcome, Requeue, Retry
from analysis.topics import Topics
from analysis.urgency import Urgency
from backends.sqlite_driver import execute
from database import Database
from models import (
    Lane,
    Status,
    daily_usage,
    from_micros,
    insight_clusters,
    insights,
    now_micros,
    to_micros,
)
from store import derived
from store.conversations import ConversationStore
from store.ledger import CallReceipt, Ledger, usage_in_all
from store.queue import NOT_STORED, WorkQueue
from tests.support.factories import (
    NOON,
    accept,
    analysis,
    claim_all,
    claim_one,
    insert_insight,
    new_conversation,
    new_conversations,
    scalar,
)
from tests.support.ledger_rows import reserve
from tests.support.stored import counts, row_of, settled_ids

# --- settle ---------------------------------------------------------------------------------------


async def test_complete_writes_the_insight_with_all_that_it_says(
    database: Database, queue: WorkQueue
) -> None:
    item = new_conversation("Where is it?", author="ann", timestamp=NOON, followers=999)
    id_ = await accept(database, item)
    result = analysis(
        -0.25,
        clusters=("b", "a"),
        confidence=0.5,
        reasoning="Because.",
        details={"model": "grok", "usage": {"tokens": 7}, "content": "🙂"},
        cost_usd_ticks=123_456_789_012,
        language="en",
        urgency=Urgency.SOON,
    )
    before = now_micros()
    notes = {"suspected_injection": ["override"]}
    completed = Complete(result, fingerprint="f" * 32, notes=notes)
    assert await settled_ids(queue, [(await claim_one(database), completed)]) == {id_}
    insight, clusters = await database.read(
        lambda connection: (
            connection.execute(select(insights)).mappings().one(),
            connection.execute(select(insight_clusters)).all(),
        )
    )
    assert before <= insight["created_at"] <= now_micros()
    assert dict(insight) == {
        "id": insight["id"],
        "conversation_id": id_,
        "timestamp": (await row_of(database, id_)).timestamp,
        "text": "Where is it?",
        "author": "ann",
        "sentiment_score": -0.25,
        "clusters": ["b", "a"],
        "confidence": 0.5,
        "reasoning": "Because.",
        "grok_analysis": {"model": "grok", "usage": {"tokens": 7}, "content": "🙂"},
        "cost_usd_ticks": 123_456_789_012,
        "created_at": insight["created_at"],
        "fingerprint": "f" * 32,
        "notes": notes,
        "sentiment": -1,
        "version": 1,
        "language": "en",
        "urgency": "soon",
        "labelled": "model",
        "label": None,
        "model_sentiment_score": None,
        "model_clusters": None,
        "model_confidence": None,
        "own": 0,
        "handling": "open",
        "handling_by": None,
        "handling_at": None,
        "handling_until": None,
        "repeats": 0,
        "reach": 0.5,
        "rising": 0,
        # 40 x 0.125 and 5 x 0.5, and nothing for the urgency of a text that is suspected.
        "priority": round(7.5 * 3_600_000_000) - to_micros(NOON),
    }
    assert from_micros(insight["timestamp"]) == NOON
    assert sorted(clusters) == [
        (name, insight["timestamp"], insight["id"], -0.25, 0.5) for name in "ab"
    ]


@pytest.mark.parametrize(
    ("outcome", "expected"),
    [
        (Complete(analysis()), {"status": "completed", "attempts": 1, "last_error": None}),
        (Retry("503", 0.0), {"status": "pending", "attempts": 1, "last_error": "503"}),
        (Fail("refused"), {"status": "failed", "attempts": 1, "last_error": "refused"}),
        (Requeue(), {"status": "pending", "attempts": 0, "last_error": None}),
    ],
)
async def test_each_outcome_leaves_its_state_and_no_lease(
    database: Database, queue: WorkQueue, outcome: Outcome, expected: dict[str, Any]
) -> None:
    id_ = await accept(database)
    assert await settled_ids(queue, [(await claim_one(database), outcome)]) == {id_}
    row = await row_of(database, id_)
    assert {name: getattr(row, name) for name in expected} == expected
    assert (row.lease_token, row.leased_until, row.deaths) == (None, None, 0)
    completed = isinstance(outcome, Complete)
    assert await counts(database) == ((1, 1) if completed else (0, 0))


async def test_outcomes_of_all_kinds_are_settled_in_one_call(
    database: Database, queue: WorkQueue, store: ConversationStore
) -> None:
    outcomes: list[Outcome] = [
        Complete(analysis(0.5, clusters=("a", "b"))),
        Fail("refused"),
        Requeue(),
        Retry("503", 0.0),
        Complete(analysis(-0.5, clusters=("c",))),
        Requeue(),
        Retry("502", 60.0),
    ] * 3
    ids = await store.accept(new_conversations(len(outcomes)), lane=Lane.BULK)
    claimed = await claim_all(database)
    assert await settled_ids(queue, list(zip(claimed, outcomes, strict=True))) == set(ids)
    for id_, outcome in zip(ids, outcomes, strict=True):
        found = await store.find(id_)
        match outcome:
            case Complete(expected):
                assert found.status is Status.COMPLETED
                assert found.insight is not None
                assert found.insight.sentiment_score == expected.sentiment_score
                assert found.insight.clusters == expected.clusters
            case Fail(error):
                assert (found.status, found.last_error) == (Status.FAILED, error)
            case Retry(error):
                assert (found.status, found.last_error) == (Status.PENDING, error)
                assert found.attempts == 1
            case Requeue():
                assert (found.status, found.attempts) == (Status.PENDING, 0)
    assert await counts(database) == (6, 9)


async def test_settling_nothing_changes_nothing(database: Database, queue: WorkQueue) -> None:
    await accept(database)
    assert await settled_ids(queue, []) == set()
    assert await counts(database) == (0, 0)


async def test_completing_clears_the_error_of_an_earlier_attempt(
    database: Database, queue: WorkQueue
) -> None:
    id_ = await accept(database)
    await queue.settle([(await claim_one(database), Retry("503", 0.0))])
    claimed = await claim_one(database)
    assert claimed.attempts == 2
    await queue.settle([(claimed, Complete(analysis()))])
    row = await row_of(database, id_)
    assert (row.status, row.attempts, row.last_error) == ("completed", 2, None)


async def test_five_hundred_results_are_settled_in_one_call(
    database: Database, queue: WorkQueue, store: ConversationStore
) -> None:
    ids = await store.accept(new_conversations(500), lane=Lane.BULK)
    results = [
        (item, Complete(analysis(clusters=("a", "b")))) for item in await claim_all(database)
    ]
    assert await settled_ids(queue, results) == set(ids)
    assert await counts(database) == (500, 1000)


async def test_ten_results_take_as_few_statements_as_one(
    monkeypatch: pytest.MonkeyPatch, database: Database, queue: WorkQueue
) -> None:
    """Rules and weights are read once, and nothing is looked for behind the newest posts. On
    PostgreSQL two are left for the time in which all other processes wait."""
    seen: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        seen.append(statement)

    def note_and_execute(connection: Any, statement: str, parameters: Any = ()) -> Any:
        if database.is_sqlite:  # on PostgreSQL `note` sees it
            seen.append(statement)
        return execute(connection, statement, parameters)

    for module in ("bulk_insert", "new_insights", "versions"):
        monkeypatch.setattr(f"store.{module}.execute", note_and_execute)
    told: list[list[str]] = []
    ledger = Ledger(database)
    for count in (1, 1, 10):  # the first also looks for what is rising
        posts = [new_conversation("late", author=f"customer{n}") for n in range(count)]
        await ConversationStore(database).accept(posts, lane=Lane.LIVE)
        claimed = await claim_all(database)
        reserved = await reserve(ledger, 9)
        receipt = CallReceipt(reserved, Call(CallOutcome.ANSWERED, cost_usd_ticks=1))
        results = [(one, Complete(analysis(sentiment_score=-0.9))) for one in claimed]
        seen.clear()
        event.listen(Engine, "before_cursor_execute", note)
        try:
            await queue.settle(results, receipt)
        finally:
            event.remove(Engine, "before_cursor_execute", note)
        told.append(seen.copy())
        seen.clear()
    assert len(told[1]) == len(told[2])
    assert sum("FROM rules" in statement for statement in told[2]) == 1
    assert sum("FROM applied_settings" in statement for statement in told[2]) == 1
    assert not [statement for statement in told[2] if "CROSS JOIN insights" in statement]
    turns = ["pg_advisory_xact_lock" in statement for statement in told[2]]
    assert turns[-3:] == [not database.is_sqlite, False, False]


async def test_a_settling_gives_way_to_a_post_and_is_then_carried_out_once(
    monkeypatch: pytest.MonkeyPatch, opened: Database
) -> None:
    begun = threading.Event()
    order: list[str] = []
    tries = 0

    def hold_up(connection: Any, statement: str, parameters: Any = ()) -> Any:
        nonlocal tries
        tries += 1
        begun.set()
        while tries == 1:
            execute(connection, "SELECT 1")
        return execute(connection, statement, parameters)

    queue, store = WorkQueue(opened), ConversationStore(opened)
    (id_,) = await store.accept(new_conversations(1), lane=Lane.LIVE)
    claimed = await claim_all(opened)
    reserved = await reserve(Ledger(opened), 9)
    receipt = CallReceipt(reserved, Call(CallOutcome.ANSWERED, cost_usd_ticks=4))
    monkeypatch.setattr("store.versions.execute", hold_up)

    async def settle() -> None:
        await queue.settle([(claimed[0], Complete(analysis()))], receipt)
        order.append("settled")

    async with asyncio.timeout(30):
        settling = asyncio.create_task(settle())
        assert await asyncio.to_thread(begun.wait, 10)
        await store.accept(new_conversations(1), lane=Lane.LIVE)
        order.append("accepted")
        await settling
    assert (order, tries) == (["accepted", "settled"], 2)
    assert await scalar(opened, select(insights.c.conversation_id)) == id_
    assert await scalar(opened, select(func.sum(daily_usage.c.cost_usd_ticks))) == 4


async def test_calls_that_end_at_once_are_settled_together_each_with_its_own_answer(
    database: Database, queue: WorkQueue, store: ConversationStore
) -> None:
    ids = await store.accept(new_conversations(40), lane=Lane.BULK)
    claimed = await claim_all(database)
    await store.erase(ids[7])
    answers = await asyncio.gather(
        *(settled_ids(queue, [(item, Complete(analysis()))]) for item in claimed)
    )
    assert answers == [{id_} if id_ != ids[7] else set() for id_ in ids]
    assert await counts(database) == (39, 39)


async def test_a_result_that_the_database_chokes_on_spoils_no_other(
    database: Database, queue: WorkQueue, store: ConversationStore
) -> None:
    ids = await store.accept(new_conversations(3), lane=Lane.BULK)
    first, second, third = await claim_all(database)
    choking = analysis(reasoning="a \ud800 lone surrogate")
    before, choked, after = await asyncio.gather(
        queue.settle([(first, Complete(analysis()))]),
        queue.settle([(second, Complete(choking))]),
        queue.settle([(third, Complete(analysis()))]),
    )
    assert before == ({first}, {}, None)
    assert after == ({third}, {}, None)
    assert (choked.done, set(choked.rejected)) == (set(), {second})
    assert [((found := await store.find(id_)).status, found.last_error) for id_ in ids] == [
        ("completed", None),
        ("failed", NOT_STORED),
        ("completed", None),
    ]


async def test_of_one_call_only_what_the_database_rejects_is_lost(
    database: Database, queue: WorkQueue
) -> None:
    """Neither its neighbours, nor what the call cost, nor the counts and words kept beside them."""
    await ConversationStore(database).accept(new_conversations(3), lane=Lane.LIVE)
    first, second, third = await claim_all(database)
    ledger = Ledger(database)
    reserved = await reserve(ledger, 100, conversations=3)
    call = Call(CallOutcome.ANSWERED, model="m", cost_usd_ticks=7)
    choking = analysis(reasoning="a \ud800 lone surrogate")
    outcomes = [Complete(analysis()), Complete(choking), Complete(analysis())]
    settled = await queue.settle(
        list(zip([first, second, third], outcomes, strict=True)), CallReceipt(reserved, call)
    )
    assert (settled.done, set(settled.rejected)) == ({first, third}, {second})
    assert settled.receipt_error is None
    usage = await database.read(usage_in_all)
    assert (usage.calls, usage.conversations, usage.cost_usd_ticks) == (1, 2, 7)
    assert await counts(database) == (2, 2)
    assert not await derived.rebuild(database), "what is kept beside the insights is as a recount"


async def test_a_receipt_that_the_database_rejects_costs_no_result(
    database: Database, queue: WorkQueue
) -> None:
    await accept(database)
    claimed = await claim_one(database)
    reserved = await reserve(Ledger(database), 100)
    call = Call(CallOutcome.ANSWERED, model="m", cost_usd_ticks=2**80)
    settled = await queue.settle([(claimed, Complete(analysis()))], CallReceipt(reserved, call))
    assert settled.done == {claimed}
    assert settled.receipt_error is not None


async def test_a_rejected_result_of_a_claim_that_is_lost_fails_nobody(
    database: Database, queue: WorkQueue, store: ConversationStore
) -> None:
    id_ = await accept(database)
    claimed = await claim_one(database)
    await store.erase(id_)
    choking = analysis(reasoning="a \ud800 lone surrogate")
    assert await queue.settle([(claimed, Complete(choking))]) == (set(), {}, None)


async def test_drained_waits_for_results_that_are_being_written(
    database: Database, queue: WorkQueue
) -> None:
    id_ = await accept(database)
    claimed = await claim_one(database)
    settling = asyncio.create_task(settled_ids(queue, [(claimed, Complete(analysis()))]))
    await asyncio.sleep(0)
    await asyncio.wait_for(queue.drained(), 10)
    assert (await row_of(database, id_)).status == "completed"
    assert await asyncio.wait_for(settling, 1) == {id_}


# --- all together ---------------------------------------------------------------------------------


async def test_an_earlier_analysis_has_its_language_and_urgency(
    database: Database, queue: WorkQueue
) -> None:
    await accept(database)
    result = analysis(language="de", urgency=Urgency.NOW)
    await queue.settle([(await claim_one(database), Complete(result, fingerprint="f" * 32))])
    found = await queue.analysed_before({"f" * 32}, within=timedelta(hours=1))
    assert found["f" * 32].analysis == result


async def test_who_led_to_a_topic_on_which_days_is_remembered_over_a_restart(
    database: Database,
) -> None:
    """Though there are more analyses of late than are looked at."""
    day = timedelta(days=1)
    topic = {"clusters": ["gift_cards"], "fingerprint": "1" * 32}
    for number, author in enumerate(["ann", "ben", "cem", "ann"]):
        await insert_insight(database, timestamp=NOON + number * day, author=author, **topic)
    flagged = {**topic, "clusters": ["scam"], "notes": {"suspected_injection": ["override"]}}
    for number, author in enumerate(["ann", "ben", "cem"]):
        await insert_insight(database, timestamp=NOON + number * day, author=author, **flagged)

    recent = await WorkQueue(database).recent_sightings(1)
    assert recent == []
    recent = await WorkQueue(database).recent_sightings(4)
    topics = Topics(["praise"])
    for sighting in recent:
        topics.learn(sighting)

    first = to_micros(NOON) // 86_400_000_000
    assert {(each.author, each.day - first) for each in recent} == {
        ("ann", 0),
        ("ben", 1),
        ("cem", 2),
        ("ann", 3),
    }
    assert topics.in_use() == ("gift_cards",)
