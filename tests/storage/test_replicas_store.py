"""What processes on one PostgreSQL know of each other."""

import time

import pytest
from sqlalchemy import update

import models
from database import Database
from models import SCHEMA_REVISION, now_micros
from store.replicas import GONE_MICROS, ReplicaStore
from tables.replicas import replicas


@pytest.fixture
def database_url(postgres_url: str) -> str:
    return postgres_url


async def test_those_that_analyse_count_until_they_leave_or_fall_silent(
    database: Database,
) -> None:
    first, second = (ReplicaStore(database, analyses=True) for _ in range(2))
    api = ReplicaStore(database, analyses=False)
    assert [(await each.beat()).analysing for each in (first, second, api)] == [1, 2, 2]
    assert (await api.beat()).revision == SCHEMA_REVISION

    await second.leave()
    assert (await api.beat()).analysing == 1

    silent = update(replicas).values(seen_at=now_micros() - GONE_MICROS - 1_000_000)
    await database.write(lambda connection: connection.execute(silent).rowcount)
    assert (await api.beat()).analysing == 0


async def test_the_clock_is_the_databases_however_wrong_the_machines_is(
    monkeypatch: pytest.MonkeyPatch, database: Database
) -> None:
    true = time.time_ns() // 1000
    wrong = time.time_ns
    monkeypatch.setattr(time, "time_ns", lambda: wrong() + 200 * 10**9)
    assert now_micros() - true > 199_000_000

    beat = await ReplicaStore(database, analyses=True).beat()

    assert abs(now_micros() - true) < 60_000_000
    assert beat.clock_ahead == pytest.approx(-200, abs=60)
    models.follow_own_clock()
    assert now_micros() - true > 199_000_000
