"""Erasing what is too old, in small steps, beside everything else."""

import asyncio
from collections.abc import Collection
from datetime import datetime, timedelta
from functools import partial

import pytest
from sqlalchemy import Connection, Select, insert, select

from analysis.outcomes import Complete, Fail
from database import Database
from errors import NotFound, Unavailable
from models import Lane, conversations
from store import derived
from store.conversations import ConversationStore
from store.erasure import ErasureStore
from store.insights import InsightStore
from store.own_posts import OwnPostStore
from store.queue import WorkQueue
from tables.people import handling_log, label_log
from tests.conftest import StartApp
from tests.support.factories import (
    NOON,
    accept,
    analysis,
    claim_all,
    insert_insights,
    insight_filter,
    new_conversation,
    of_another_process,
)
from tests.support.http_helpers import captured_log, eventually, list_all, submit
from tests.support.plans import walk_store
from worker.housekeeper import ROWS_PER_STEP, Housekeeper

DAY = timedelta(days=1)
LIMIT = timedelta(days=30)


def housekeeper(
    database: Database, retention: timedelta | None = LIMIT, *, own: Collection[str] = ()
) -> Housekeeper:
    return Housekeeper(
        ErasureStore(database),
        walk_store(database),
        own_posts=OwnPostStore(database, own),
        retention=retention,
        now=lambda: NOON,
        pause_seconds=0,
    )


async def listed(database: Database) -> list[str]:
    wanted = insight_filter(start_time=NOON - 400 * DAY)
    page = await InsightStore(database).page(wanted, limit=1000, cursor=None)
    assert page.total_count == len(page.insights)
    return [insight.conversation_id for insight in page.insights]


async def test_what_is_older_is_erased_and_nothing_else(database: Database) -> None:
    micro = timedelta(microseconds=1)
    ages = [400 * DAY, 30 * DAY + micro, 30 * DAY, 29 * DAY, timedelta(0)]
    ids = await insert_insights(database, [{"timestamp": NOON - age} for age in ages])
    await housekeeper(database).tidy_up()
    assert await listed(database) == ids[2:][::-1]
    assert not await derived.rebuild(database)


async def test_own_posts_are_erased_as_well_and_so_are_failed_ones(database: Database) -> None:
    old = NOON - 40 * DAY
    gone = await insert_insights(database, [{"timestamp": old, "own": 1}])
    gone += [await accept(database, new_conversation(timestamp=old))]
    stays = await insert_insights(database, [{"timestamp": NOON, "own": 1}])
    stays += [await accept(database, new_conversation(timestamp=NOON))]
    claimed = await claim_all(database)
    await WorkQueue(database).settle([(each, Fail("refused")) for each in claimed])
    await housekeeper(database).tidy_up()
    store = ConversationStore(database)
    assert [(await store.find(id_)).id for id_ in stays] == stays
    for id_ in gone:
        with pytest.raises(NotFound):
            await store.find(id_)
    assert not await derived.rebuild(database)


async def test_without_a_limit_nothing_is_erased(database: Database) -> None:
    ids = await insert_insights(database, [{"timestamp": NOON - 300 * DAY}])
    await housekeeper(database, retention=None).tidy_up()
    assert await listed(database) == ids


async def test_many_are_erased_some_at_a_time(database: Database) -> None:
    count = 2 * ROWS_PER_STEP + 7
    await insert_insights(database, [{"timestamp": NOON - 40 * DAY}] * count)
    (kept,) = await insert_insights(database, [{"timestamp": NOON}])
    with captured_log() as log:
        await housekeeper(database).tidy_up()
    assert await listed(database) == [kept]
    assert [line["conversations"] for line in log.named("retention_erased")] == [count]
    assert not await derived.rebuild(database)


async def test_what_waits_is_erased_and_what_is_being_analysed_comes_later(
    database: Database,
) -> None:
    old = NOON - 40 * DAY
    claimed_id = await accept(database, new_conversation(timestamp=old))
    (claimed,) = await claim_all(database)
    waiting = await accept(database, new_conversation(timestamp=old))
    await housekeeper(database).tidy_up()
    store = ConversationStore(database)
    with pytest.raises(NotFound):
        await store.find(waiting)
    assert (await store.find(claimed_id)).id == claimed_id
    settled = await WorkQueue(database).settle([(claimed, Complete(analysis()))])
    assert settled.done == {claimed}
    await housekeeper(database).tidy_up()
    with pytest.raises(NotFound):
        await store.find(claimed_id)
    assert not await derived.rebuild(database)


async def test_two_that_tidy_up_at_once_do_not_count_twice(
    database: Database,
) -> None:
    async with of_another_process(database) as other:
        await insert_insights(database, [{"timestamp": NOON - 40 * DAY}] * 250)
        async with asyncio.timeout(30):
            await asyncio.gather(*(housekeeper(each).tidy_up() for each in (database, other)))
        assert await listed(database) == []
        assert not await derived.rebuild(database)


async def test_retrying_and_erasing_the_old_at_once_do_not_lock_each_other_out(
    database: Database,
) -> None:
    await ConversationStore(database).accept(
        [new_conversation(timestamp=NOON - 40 * DAY)] * 100, lane=Lane.LIVE
    )
    async with asyncio.timeout(30):
        await asyncio.gather(
            housekeeper(database).tidy_up(),
            *(ConversationStore(database).retry_failed() for _ in range(10)),
        )


@pytest.mark.parametrize(
    ("trouble", "told"),
    [
        (Unavailable("The database is locked by another process."), "housekeeping_waits"),
        (RuntimeError("a bug"), "housekeeping_failed"),
    ],
    ids=lambda value: type(value).__name__,
)
async def test_it_goes_on_after_a_round_that_went_wrong(
    database: Database, trouble: Exception, told: str
) -> None:
    class Troubled(ErasureStore):
        """Goes wrong the first time."""

        rounds = 0

        async def erase_older_than(self, moment: datetime, *, limit: int) -> int:
            self.rounds += 1
            if self.rounds == 1:
                raise trouble
            return await super().erase_older_than(moment, limit=limit)

    await insert_insights(database, [{"timestamp": NOON - 40 * DAY}])
    keeper = Housekeeper(
        Troubled(database),
        walk_store(database),
        own_posts=OwnPostStore(database, ()),
        retention=LIMIT,
        now=lambda: NOON,
        round_seconds=0.01,
    )

    async def is_gone() -> bool:
        return await listed(database) == []

    with captured_log() as log:
        keeper.start()
        await eventually(is_gone)
        await keeper.stop()
    assert len(log.named(told)) == 1


async def test_the_service_erases_what_is_too_old_by_its_own_time(start_app: StartApp) -> None:
    """Also what is handed in today: its age is that of its timestamp."""
    async with start_app() as running:
        await submit(running.client, "old", timestamp="2025-01-20T10:00:00Z")
        kept = await submit(running.client, "new")
        await eventually(lambda: _count(running.client, 2))
    async with start_app(retention_days=30) as running:
        await eventually(lambda: _count(running.client, 1))
        assert [each["conversation_id"] for each in await list_all(running.client)] == [kept]


async def _count(client: object, count: int) -> bool:
    return len(await list_all(client)) == count  # type: ignore[arg-type]


async def test_the_logs_of_labels_and_handling_go_with_their_conversation(
    database: Database,
) -> None:
    ids = await insert_insights(database, [{"timestamp": NOON - age * DAY} for age in (40, 1)])
    for id_ in ids:
        for log in ("label_log", "handling_log"):
            await database.write(partial(_write_log, log, id_))
    await housekeeper(database).tidy_up()
    for table in (label_log, handling_log):
        statement = select(table.c.conversation_id)
        left = await database.read(partial(_all, statement))
        assert left == ids[1:]


def _all(statement: Select[tuple[str]], connection: Connection) -> list[str]:
    return list(connection.scalars(statement))


def _write_log(name: str, conversation_id: str, connection: Connection) -> None:
    values: dict[str, object] = {"conversation_id": conversation_id, "at": 0, "by": "ana"}
    if name == "label_log":
        connection.execute(insert(label_log), values | {"before": {}, "after": {}})
    else:
        connection.execute(insert(handling_log), values | {"state": "open", "key_name": ""})


OWN = select(conversations.c.own).order_by(conversations.c.created_at)


async def marks(database: Database) -> list[int]:
    return await database.read(lambda connection: list(connection.scalars(OWN)))


async def test_what_another_process_marked_by_the_accounts_of_before_is_marked_anew(
    database: Database,
) -> None:
    await accept(database, new_conversation(author="shop"))
    new, old = (housekeeper(database, None, own=own) for own in (["shop"], ()))
    await new.tidy_up()
    assert await marks(database) == [1]
    await old.tidy_up()
    assert await marks(database) == [0]
    await new.tidy_up()
    assert await marks(database) == [1]


async def test_what_another_process_accepted_by_the_accounts_of_before_is_marked_soon(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    new = housekeeper(database, None, own=["shop"])
    await new.tidy_up()
    await accept(database, new_conversation(author="shop"))  # which knows of no own accounts
    step, asked = new._own_posts.step, []

    async def failing_once(after: str) -> str | None:
        asked.append(after)
        if len(asked) == 1:
            raise Unavailable("not now")
        return await step(after)

    monkeypatch.setattr(new._own_posts, "step", failing_once)
    await new.tidy_up()
    assert not asked  # the other may still be there
    with pytest.raises(Unavailable):
        await new.tidy_up()
    for _ in range(5):
        await new.tidy_up()
    assert await marks(database) == [1]
    assert len(asked) == 2
