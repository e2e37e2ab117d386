"""Of what is erased nothing stays in alerts, nor in what was told of them."""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from sqlalchemy import update

from database import Database
from models import to_micros
from store import alerts
from store.alert_singles import SingleStore
from store.erasure import ErasureStore
from tables.alerts import alerts as alert_table
from tables.alerts import deliveries
from tests.support.alerts import (
    alert_store,
    all_alerts,
    fill,
    judge_at,
    make_endpoint,
    make_rule,
    messages,
)
from tests.support.factories import NOON, run_sql

WORDS = ["outage", "explosion"]


async def alerted(database: Database) -> Sequence[str]:
    """An alert about 26 posts, of which it names the three newest; the oldest first. Two words
    stand out: all have one of them, the 20 oldest both."""
    await make_endpoint(database)
    await make_rule(database, texts=True)
    await fill(database, 60, before=NOON - timedelta(hours=2), text="all is as it always was")
    early = NOON - timedelta(minutes=5)
    ids = [
        *[await _post(database, f"explosion outage {n}", early) for n in range(20)],
        *[await _post(database, f"outage number {n}", NOON) for n in range(6)],
    ]
    await judge_at(alert_store(database))
    shown = await evidence(database)
    assert [word for word in shown["words"] if word in WORDS] == WORDS
    assert shown["conversations"] == ids[:-4:-1]
    return ids


async def _post(database: Database, text: str, before: datetime) -> str:
    (id_,) = await fill(database, 1, before=before, text=text, author=text)
    return id_


async def evidence(database: Database) -> Mapping[str, Any]:
    """Of the only alert; the same as what is told of it, which may have texts beside."""
    (listed,) = await all_alerts(alert_store(database))
    ((_, told),) = await messages(database)
    assert {**told["evidence"], "texts": 0} == {**listed.alert.evidence, "texts": 0}
    return listed.alert.evidence


async def told_texts(database: Database) -> Any:
    ((_, told),) = await messages(database)
    return told["evidence"].get("texts")


async def test_an_erased_post_is_named_no_more(database: Database) -> None:
    """The word that the other ones have as well stays."""
    ids = await alerted(database)
    assert len(await told_texts(database)) == 3

    await ErasureStore(database).erase(ids[-1])

    shown = await evidence(database)
    assert shown["conversations"] == [ids[-2], ids[-3]]
    assert [word for word in shown["words"] if word in WORDS] == WORDS
    assert await told_texts(database) is None


async def test_words_go_with_the_last_named_post_that_has_them(database: Database) -> None:
    ids = await alerted(database)

    for id_ in ids[-3:]:
        await ErasureStore(database).erase(id_)

    shown = await evidence(database)
    assert shown["conversations"] == []
    assert [word for word in shown["words"] if word in WORDS] == ["explosion"]


async def test_words_of_a_post_that_is_not_named_go_as_well(database: Database) -> None:
    ids = await alerted(database)

    await ErasureStore(database).erase(ids[0])

    shown = await evidence(database)
    assert shown["conversations"] == ids[:-4:-1]
    assert [word for word in shown["words"] if word in WORDS] == ["outage"]


async def test_erasing_what_is_old_leaves_nothing_either(database: Database) -> None:
    await alerted(database)

    erasure = ErasureStore(database)
    while await erasure.erase_older_than(NOON + timedelta(days=1), limit=3):
        pass

    shown = await evidence(database)
    assert (shown["words"], shown["conversations"], shown["count"]) == ([], [], 26)


async def test_what_is_erased_elsewhere_in_time_changes_no_alert(database: Database) -> None:
    """Whether it is of before all posts of the alert, or of after its end."""
    await alerted(database)
    store = alert_store(database)
    await judge_at(store, NOON + timedelta(hours=3))
    (before,) = await all_alerts(store)
    assert before.alert.closed_at is not None

    for days in (-9, 9):
        id_ = await _post(database, "explosion outage", NOON + timedelta(days=days))
        await ErasureStore(database).erase(id_)

    assert await all_alerts(store) == [before]


async def test_no_link_leads_to_an_erased_post(database: Database) -> None:
    await make_endpoint(database)
    await make_rule(database, "single", window="24h")
    await fill(database, 1)
    singles, noon = SingleStore(database), to_micros(NOON)
    await singles.judge(sum_up=True, now=noon)
    (id_,) = await fill(database, 1, urgency="now", sentiment_score=-0.9)
    await singles.judge(sum_up=False, now=noon)
    assert (await evidence(database))["link"] == f"/dashboard?open={id_}"

    await ErasureStore(database).erase(id_)

    shown = await evidence(database)
    assert (shown["conversations"], shown["link"]) == ([], "/dashboard")


async def test_what_is_erased_while_somebody_judges_is_not_told(database: Database) -> None:
    await make_endpoint(database)
    await make_rule(database, texts=True)
    ids = await fill(database, 6)
    store, noon = alert_store(database), to_micros(NOON)
    looked = await database.read(partial(store._look, {}, noon))
    await ErasureStore(database).erase(ids[-1])

    await database.write(partial(alerts._write, looked, noon))
    assert await all_alerts(store) == []

    assert await judge_at(store) == 1
    assert (await evidence(database))["conversations"] == ids[-2:-5:-1]


async def test_who_judges_and_who_erases_wait_for_each_other(
    database: Database, replicas: list[Database]
) -> None:
    """On PostgreSQL none of them is the victim of a deadlock, and nothing comes back."""
    ids = await alerted(database)
    stores = [alert_store(each) for each in replicas]

    await asyncio.gather(
        *(ErasureStore(replicas[n % 4]).erase(id_) for n, id_ in enumerate(ids)),
        *(judge_at(store, NOON + timedelta(minutes=1 + n)) for n, store in enumerate(stores)),
    )

    (listed,) = await all_alerts(stores[0])
    assert listed.alert.evidence["conversations"] == []
    assert not set(WORDS) & set(listed.alert.evidence["words"])


async def test_odd_evidence_stops_no_erasure(database: Database) -> None:
    ids = await alerted(database)
    await run_sql(database, update(alert_table).values(evidence="none"))
    await run_sql(database, update(deliveries).values(data={"evidence": "none"}))
    await ErasureStore(database).erase(ids[-1])
