"""How much is looked at for the evidence of a breach, and how often."""

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import insert

from database import Database
from models import to_micros
from store.alert_evidence import EvidenceReader
from tables.alerts import alerts
from tests.support.alerts import (
    alert_store,
    all_alerts,
    fill,
    judge_at,
    make_endpoint,
    make_rule,
)
from tests.support.factories import NOON

MINUTE = timedelta(minutes=1)


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """One for each time that evidence is read."""
    seen: list[Any] = []
    read = EvidenceReader.read

    def noted(self: EvidenceReader, *args: Any, **named: Any) -> Any:
        seen.append(args)
        return read(self, *args, **named)

    monkeypatch.setattr(EvidenceReader, "read", noted)
    return seen


async def test_what_is_held_back_is_looked_at_again_where_its_posts_are_others(
    database: Database, reads: list[Any]
) -> None:
    await make_endpoint(database)
    await make_rule(database)
    await fill(database, 6, author="one and the same")
    store = alert_store(database)
    for minute in range(3):
        assert await judge_at(store, NOON + minute * MINUTE) == 0
    assert len(reads) == 1
    (listed,) = await all_alerts(store)
    assert (listed.alert.held_back, listed.alert.evidence["count"]) == ("fewer than 3 authors", 6)
    await fill(database, 3, before=NOON + 3 * MINUTE)
    assert await judge_at(store, NOON + 3 * MINUTE) == 1
    assert len(reads) == 2


async def test_as_many_other_posts_are_looked_at(database: Database, reads: list[Any]) -> None:
    await make_endpoint(database)
    await make_rule(database, window="15m")
    await fill(database, 6, author="one and the same")
    store = alert_store(database)
    assert await judge_at(store) == 0
    later = NOON + 20 * MINUTE
    await fill(database, 6, before=later)
    assert await judge_at(store, later) == 1
    assert len(reads) == 2


async def test_what_quiet_hours_put_off_is_looked_at_again_when_they_end(
    database: Database, reads: list[Any]
) -> None:
    await make_endpoint(database)
    await make_rule(database, quiet={"from": "11:00", "to": "12:05", "zone": "UTC"})
    await fill(database, 6)
    store = alert_store(database)
    for minute in range(5):
        assert await judge_at(store, NOON + minute * MINUTE) == 0
    assert len(reads) == 1
    assert await judge_at(store, NOON + 5 * MINUTE) == 1
    assert len(reads) == 2


async def test_what_is_muted_is_looked_at_again_where_it_becomes_worse(
    database: Database, reads: list[Any]
) -> None:
    await make_endpoint(database)
    rule = await make_rule(database)
    await make_muted(database, rule.id)
    await fill(database, 6)
    store = alert_store(database)
    for minute in range(3):
        assert await judge_at(store, NOON + minute * MINUTE) == 0
    assert len(reads) == 1
    await fill(database, 3, before=NOON + 3 * MINUTE)
    assert await judge_at(store, NOON + 3 * MINUTE) == 0
    assert len(reads) == 2


async def make_muted(database: Database, rule_id: str) -> None:
    """One that is open, of six posts, and of which nobody wants to hear."""
    noon = to_micros(NOON)
    row = {"id": "alrt_00000000", "rule_id": rule_id, "key": "", "state": "open", "peak": 5.0}
    row |= {"opened_at": noon, "muted_until": noon + 3_600_000_000, "evidence": {}}
    await database.write(lambda connection: connection.execute(insert(alerts), row).rowcount)


@pytest.mark.parametrize(
    ("others", "words"),
    [(60, ["internet", "no", "since"]), (6, ["internet", "morning", "no", "since", "this"])],
)
async def test_where_nothing_came_before_words_stand_out_beside_what_comes_meanwhile(
    database: Database, others: int, words: list[str]
) -> None:
    """Beside too little they are those of most posts."""
    await make_rule(database, filter={"cluster": "outage"})
    await fill(database, others, text="my parcel is late this morning", clusters=["parcels"])
    await fill(database, 12, text="no internet since this morning", clusters=["outage"])
    store = alert_store(database)
    await judge_at(store)
    (listed,) = await all_alerts(store)
    assert sorted(listed.alert.evidence["words"]) == words


async def test_of_a_long_text_the_beginning_is_looked_at(database: Database) -> None:
    await make_rule(database)
    await fill(database, 60, before=NOON - timedelta(hours=2), text="all is as it always was")
    await fill(database, 40, text=f"outage {'filler ' * 200} explosion")
    store = alert_store(database)
    await judge_at(store)
    (listed,) = await all_alerts(store)
    assert "outage" in listed.alert.evidence["words"]
    assert "explosion" not in listed.alert.evidence["words"]
