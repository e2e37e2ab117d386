"""What people wrote stays in the outbox no longer than it is needed, and goes when it is erased."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from analysis.deliveries import Delivered, Disabled, GivenUp, TryAgain
from analysis.messages import Message, MessageType
from analysis.report_times import Period, ReportTime
from database import Database
from store.dispatch import DispatchStore
from store.endpoints import EndpointStore
from store.erasure import ErasureStore
from store.reports import ReportStore
from tests.storage.test_dispatch import ALERT, claim, try_all
from tests.support.alerts import fill
from tests.support.factories import NOON
from tests.support.outbox import (
    a_message,
    add_endpoint,
    delivery_store,
    enqueue_for,
    report_store,
    rows,
)

EVIDENCE = {"count": 3, "conversations": ["conv_1"], "texts": ["a", "b"]}
GONE = Disabled("answered 410", 410, "it answered 410")


def opened() -> Message:
    return a_message(MessageType.ALERT_OPENED, ALERT, evidence=EVIDENCE)


async def evidence(database: Database) -> dict[str, Any]:
    return dict((await rows(database))[0].data["evidence"])


async def a_report(database: Database) -> Message:
    data = await report_store(database).told(Period.DAY, NOON.date())
    return Message("msg_report", MessageType.REPORT, data)


@pytest.mark.parametrize("outcome", [Delivered(200), GivenUp("answered 400", 400), GONE])
async def test_texts_are_not_kept_once_a_delivery_is_over(
    database: Database, outcome: Delivered | GivenUp | Disabled
) -> None:
    endpoint = await add_endpoint(database)
    await enqueue_for(database, endpoint, message=opened())
    await try_all(database, outcome)
    assert "texts" not in await evidence(database)


async def test_texts_go_when_the_end_is_told_in_their_place(database: Database) -> None:
    endpoint = await add_endpoint(database)
    await enqueue_for(database, endpoint, message=opened())
    closed = a_message(MessageType.ALERT_CLOSED, ALERT)
    await enqueue_for(database, endpoint, message=closed)
    assert "texts" not in await evidence(database)


async def test_texts_on_their_way_go_when_the_end_is_told_in_their_place(
    database: Database,
) -> None:
    endpoint = await add_endpoint(database)
    await enqueue_for(database, endpoint, message=opened())
    (claimed,) = await claim(database)
    await enqueue_for(database, endpoint, message=a_message(MessageType.ALERT_CLOSED, ALERT))
    await DispatchStore(database).settle(claimed, TryAgain(300.0, "answered 500", 500))
    assert (await rows(database))[0].state == "dropped"
    assert "texts" not in await evidence(database)


async def test_texts_for_an_endpoint_that_is_disabled_go(database: Database) -> None:
    endpoint = await add_endpoint(database)
    await enqueue_for(database, endpoint, message=opened())
    await EndpointStore(database).change(endpoint.id, enabled=False)
    assert "texts" not in await evidence(database)


async def test_of_a_report_that_was_sent_its_period_is_kept(database: Database) -> None:
    await fill(database, 2)
    endpoint = await add_endpoint(database)
    await enqueue_for(database, endpoint, message=await a_report(database))
    await try_all(database, Delivered(200))
    (row,) = await rows(database)
    assert row.data.keys() == {"period", "ending", "link"}


@pytest.mark.parametrize("one_by_one", [True, False])
async def test_a_report_that_failed_is_made_anew_where_it_is_asked_for_once_more(
    database: Database, *, one_by_one: bool
) -> None:
    ids = await fill(database, 2)
    endpoint = await add_endpoint(database)
    await enqueue_for(database, endpoint, message=await a_report(database))
    await EndpointStore(database).change(endpoint.id, enabled=False)
    (row,) = await rows(database)
    assert "lines" not in row.data
    await EndpointStore(database).enable(endpoint.id)
    await ErasureStore(database).erase(ids[0])
    if one_by_one:
        await delivery_store(database).retry(endpoint.id, row.id)
    else:
        now = datetime.now(UTC)
        retried = delivery_store(database).retry_between(endpoint.id, NOON, now)
        assert await retried == 1
    (claimed,) = await claim(database)
    (told,) = claimed.messages
    assert told.data == (await a_report(database)).data
    assert [each["conversation_id"] for each in told.data["summary"]["oldest_unanswered"]] == ids[
        1:
    ]


async def test_an_erased_conversation_is_not_sent(database: Database) -> None:
    ids = await fill(database, 3)
    endpoint = await add_endpoint(database)
    for id_ in ids[:2]:
        named = {**EVIDENCE, "conversations": [id_]}
        message = a_message(MessageType.ALERT_OPENED, f"alrt_{id_}"[:13], evidence=named)
        await enqueue_for(database, endpoint, message=message)
    await enqueue_for(database, endpoint, message=await a_report(database))
    assert await ErasureStore(database).erase(ids[0])
    first, second, report = await rows(database)
    assert [each.state for each in (first, second, report)] == ["pending"] * 3
    assert "texts" not in first.data["evidence"]
    assert second.data["evidence"]["texts"] == ["a", "b"]
    for part in ("markdown", "html", "lines"):
        assert "number 0 is late" not in report.data[part]
        assert "number 1 is late" in report.data[part]
    shown = [each["conversation_id"] for each in report.data["summary"]["oldest_unanswered"]]
    assert shown == ids[1:]


async def test_an_erased_example_of_what_rose_is_not_sent(database: Database) -> None:
    ids = await fill(database, 40, clusters=["late"])
    endpoint = await add_endpoint(database)
    report = await a_report(database)
    await enqueue_for(database, endpoint, message=report)
    assert ids[-1] in report.data["summary"]["rising"][0]["examples"]
    assert await ErasureStore(database).erase(ids[-1])
    (row,) = await rows(database)
    assert ids[-1] not in str(row.data)
    assert ids[-2] in row.data["lines"]


@pytest.mark.parametrize("once_more", [False, True])
async def test_what_is_erased_while_a_report_is_made_is_not_in_it(
    database: Database, monkeypatch: pytest.MonkeyPatch, *, once_more: bool
) -> None:
    ids = await fill(database, 40, clusters=["late"])
    endpoint = await add_endpoint(database)
    if once_more:
        await enqueue_for(database, endpoint, message=await a_report(database))
        await EndpointStore(database).change(endpoint.id, enabled=False)
        await EndpointStore(database).enable(endpoint.id)
    make = ReportStore.report

    async def erase_meanwhile(store: ReportStore, *asked: Any) -> Any:
        made = await make(store, *asked)
        for id_ in (ids[0], ids[-1]):
            assert await ErasureStore(database).erase(id_)
        return made

    monkeypatch.setattr(ReportStore, "report", erase_meanwhile)
    if once_more:
        ((id_, *_),) = await rows(database)
        await delivery_store(database).retry(endpoint.id, id_)
    else:
        later = NOON + timedelta(days=1)
        assert await report_store(database).send_due(ReportTime.parse("11:00"), later) == 1
    (row,) = await rows(database)
    assert not any(id_ in str(row.data) for id_ in (ids[0], ids[-1]))
    assert ids[1] in row.data["lines"]
