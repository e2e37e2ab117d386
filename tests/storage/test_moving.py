"""Moving between the two databases: whoever asks the service is told the same as before."""

import asyncio
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import Table, func, select, text

from database import Database
from errors import StartRefused
from models import Lane, insights
from store import derived, moving
from store.conversations import ConversationStore
from store.moving import MoveRefused, move
from store.replicas import ReplicaStore
from tests.conftest import StartApp
from tests.support.factories import (
    NOON,
    insert_insight,
    insert_insights,
    is_known_to_the_planner,
    new_conversations,
    run_sql,
    scalar,
)
from tests.support.http_helpers import ScriptedAnalyser, eventually
from tests.support.newest_schema import copy_where_new
from tests.support.stored import refused
from tools import move as command

PERIOD = {"start_time": "2025-01-18T00:00:00Z", "end_time": "2025-01-21T00:00:00Z"}
PATHS: list[tuple[str, dict[str, Any]]] = [
    ("insights", {**PERIOD, "limit": 200}),
    ("insights", {**PERIOD, "q": "refun* parcel", "labelled": "person"}),
    ("insights", {**PERIOD, "cluster": "billing_problems", "handling": "answered"}),
    ("insights/summary", {**PERIOD, "interval": "hour"}),
    ("insights/summary", {**PERIOD, "interval": "day", "sentiment": "negative"}),
    ("insights/export", {**PERIOD, "format": "csv"}),
    ("insights/export", {**PERIOD, "format": "ndjson"}),
    ("trends", {"as_of": "2025-01-20T12:00:00Z", "window": "1h"}),
    ("authors", PERIOD),
    ("rules", {}),
    ("conversations/failed", {}),
]


def database_file(url: str) -> Path:
    return Path(url.partition(":///")[2])


async def _fill(client: httpx.AsyncClient, database: Database) -> list[str]:
    """300 conversations, some of which people and rules have had a say in; ids of interest."""
    ids = await insert_insights(
        database,
        [
            {
                "timestamp": NOON - timedelta(minutes=7 * place),
                "text": f"Parcel {place} is late \u2026 refund!" if place % 3 else "ok",
                "author": f"customer{place % 9}" if place % 4 else None,
                "sentiment_score": (place % 21 - 10) / 10,
                "clusters": ["delivery_problems", "billing_problems"][: place % 2 + 1],
                "confidence": place % 10 / 10,
            }
            for place in range(300)
        ],
    )
    for place in (3, 9, 30):
        path = f"/api/v1/conversations/{ids[place]}"
        body: dict[str, Any] = {"sentiment": "negative", "clusters": ["pricing"], "by": "ana"}
        assert (await client.put(f"{path}/labels", json=body)).status_code == 200
        body = {"state": "answered", "by": "ben", "note": "called"}
        assert (await client.post(f"{path}/handling", json=body)).status_code == 200
    rule = {"name": "vip", "filter": {"author": "customer3"}, "set": {"add_cluster": "vip"}}
    assert (await client.post("/api/v1/rules", json=rule)).status_code == 201
    plan = {
        "kind": "label",
        "filter": {"author": "customer5"},
        "set": {"sentiment": "neutral"},
        "by": "ana",
    }
    made = (await client.post("/api/v1/plans", json=plan)).json()["plan_id"]
    assert (await client.post(f"/api/v1/plans/{made}/apply")).status_code == 202

    async def is_applied() -> bool:
        return bool((await client.get(f"/api/v1/plans/{made}")).json()["state"] == "applied")

    await eventually(is_applied)
    await ConversationStore(database).accept(new_conversations(2), lane=Lane.BULK)
    # The newest insight is gone, but its number is not given again.
    gone = await insert_insight(database, timestamp=NOON)
    assert (await client.delete(f"/api/v1/conversations/{gone}")).status_code == 204
    return [ids[3], ids[100], made]


async def _answers(client: httpx.AsyncClient, ids: list[str]) -> dict[str, str]:
    """All that the service tells of what is stored, by what was asked."""
    paths = [*PATHS, (f"plans/{ids[2]}", {})]
    for id_ in ids[:2]:
        path = f"conversations/{id_}"
        paths += [(path, {}), (f"{path}/labels", {}), (f"{path}/handling", {})]
    answers = {}
    for path, parameters in paths:
        response = await client.get(f"/api/v1/{path}", params=parameters)
        assert response.status_code == 200, response.text
        answers[f"{path} {parameters}"] = response.text
    stats = (await client.get("/api/v1/stats")).json()
    answers["stats"] = str([stats[name] for name in ("counts", "spending", "reuse", "fallback")])
    return answers


async def test_every_answer_is_the_same_on_the_other_side_and_back_again(
    start_app: StartApp, sqlite_url: str, fresh_postgres_url: str, tmp_path: Path
) -> None:
    back = f"sqlite+aiosqlite:///{tmp_path}/back.db"
    told = []
    ids: list[str] = []
    newest = []
    for url, source in (
        (sqlite_url, None),
        (fresh_postgres_url, sqlite_url),
        (back, fresh_postgres_url),
    ):
        if source is not None:
            assert await asyncio.to_thread(command.main, [source, url]) == 0
            assert url != fresh_postgres_url or await is_known_to_the_planner(url)
        async with start_app(database_url=url, analyser=_IdleAnalyser()) as running:
            database: Database = running.app.state.services.database
            if source is None:
                ids = await _fill(running.client, database)
            told.append(await _answers(running.client, ids))
            if source is not None:
                assert not await derived.rebuild(database)
            newest.append(await scalar(database, select(func.max(insights.c.id))))

    assert told[1] == told[0]
    assert told[2] == told[0]
    assert newest == [300, 300, 300]
    async with Database(back) as database:
        await insert_insight(database)
        assert await scalar(database, select(func.max(insights.c.id))) == 302


class _IdleAnalyser(ScriptedAnalyser):
    """Never has a slot, so that nothing changes."""

    def __init__(self) -> None:
        super().__init__(concurrency=0)


async def test_a_target_with_anything_in_it_is_refused(
    sqlite_url: str, fresh_postgres_url: str
) -> None:
    copy_where_new(sqlite_url)
    async with Database(fresh_postgres_url) as target:
        await insert_insight(target)
    with pytest.raises(MoveRefused, match="the target has rows in conversations, "):
        await move(Database(sqlite_url), Database(fresh_postgres_url))


@pytest.fixture(params=["sqlite", "postgres"])
def target(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite+aiosqlite:///{tmp_path}/target.db"
    return str(request.getfixturevalue("fresh_postgres_url"))


async def test_a_target_in_which_a_move_has_ended_early_starts_no_service(
    target: str, sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Database(sqlite_url) as source:
        await insert_insight(source)
    copy = moving._copy

    async def copy_the_first(table: Table, *databases: Database) -> None:
        await copy(table, *databases)
        if table.name == "conversations":
            raise KeyboardInterrupt

    monkeypatch.setattr(moving, "_copy", copy_the_first)
    with pytest.raises(KeyboardInterrupt):
        await move(Database(sqlite_url), Database(target))
    monkeypatch.undo()
    await refused(target, "has not come to its end: make it anew")
    with pytest.raises(StartRefused, match="make it anew"):
        await move(Database(sqlite_url), Database(target))


async def test_a_source_is_not_made_upgraded_or_taken_from_a_service(
    sqlite_url: str, tmp_path: Path
) -> None:
    file, target = database_file(sqlite_url), f"sqlite+aiosqlite:///{tmp_path}/target.db"
    with pytest.raises(MoveRefused, match="there is no file"):
        await move(Database(sqlite_url), Database(target))
    assert not file.exists()
    copy_where_new(sqlite_url)
    with pytest.raises(MoveRefused, match="the same"):
        await move(Database(sqlite_url), Database(sqlite_url))
    async with Database(sqlite_url) as running:
        with pytest.raises(StartRefused, match="PostgreSQL"):
            await move(Database(sqlite_url), Database(target))
        await run_sql(running, text("UPDATE alembic_version SET version_num = '0005'"))
    with pytest.raises(StartRefused, match="its schema is 0005"):
        await move(Database(sqlite_url), Database(target))
    assert not list(tmp_path.glob("target.db*"))  # noqa: ASYNC240  a test waits


async def test_replicas_at_work_are_not_moved_from(
    fresh_postgres_url: str, sqlite_url: str
) -> None:
    async with Database(fresh_postgres_url) as database:
        await derived.ensure(database)
        replica = ReplicaStore(database, analyses=False)
        await replica.beat()
        with pytest.raises(MoveRefused, match="1 replica is at work: stop the service first"):
            await move(Database(fresh_postgres_url), Database(sqlite_url))
        await replica.leave()
    await move(Database(fresh_postgres_url), Database(sqlite_url))


async def test_replicas_at_work_are_not_moved_to(fresh_postgres_url: str, sqlite_url: str) -> None:
    copy_where_new(sqlite_url)
    async with Database(fresh_postgres_url) as database:
        await derived.ensure(database)
        replica = ReplicaStore(database, analyses=False)
        await replica.beat()
        with pytest.raises(MoveRefused, match="1 replica is at work"):
            await move(Database(sqlite_url), Database(fresh_postgres_url))
        await replica.leave()


def test_the_command_says_what_it_needs(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["one"]) == 1
    assert "usage: python -m tools.move" in capsys.readouterr().err
    assert command.main(["mysql://one", "sqlite+aiosqlite:///two.db"]) == 1
    assert "must start with" in capsys.readouterr().err
