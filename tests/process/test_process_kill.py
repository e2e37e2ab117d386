"""`kill -9` at any moment loses nothing that was acknowledged and leaves nothing stuck."""

import asyncio
import os
import random
import time
from collections import Counter
from collections.abc import Iterator
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import httpx
import pytest

from config import load_settings
from tests.fakes.grok.process import RunningGrok, grok_process
from tests.support.service_process import ServiceProcess, grok_settings, look, steer, until
from tools.rebuild_derived import rebuild

pytestmark = pytest.mark.slow

SEED = 20250120
KILLS = {"at work": 11, "at start": 3, "at an acknowledgement": 3, "at a write": 13}
STORMS = 4 if os.environ.get("LONG_DRILLS") else 1
"""How often over."""
CLIENTS = 5
DIED = "the worker died while analysing this"


@pytest.fixture
def grok() -> Iterator[RunningGrok]:
    faults = "server_error,garbage,rate_per_second,drop,cloudflare"
    latency = ("--latency", "0.3", "--latency-sigma", "0.5")
    with grok_process(*latency, "--fault-rate", "0.2", "--faults", faults, "--seed", "1") as grok:
        yield grok


class Clients:
    """Post all the time, and remember what they were told."""

    def __init__(self, service: ServiceProcess) -> None:
        self.service = service
        self.stopping = False
        # Text by id, as acknowledged.
        self.acknowledged: dict[str, str] = {}
        # Id by idempotency key, as acknowledged.
        self.keys: dict[str, str] = {}
        # The texts of each request that got no answer and was not sent again.
        self.unanswered: list[list[str]] = []
        self.posted_again = 0
        self.odd_answers: list[str] = []
        self.news = asyncio.Event()

    async def run(self, client_number: int) -> None:
        draw = random.Random(f"{SEED} {client_number}")
        async with httpx.AsyncClient(base_url=self.service.client.base_url, timeout=20) as client:
            for number in count():
                if self.stopping:
                    return
                size = draw.choice([1, 1, 1, 3])
                texts = [f"storm {client_number}-{number}-{n}: it is late" for n in range(size)]
                with_keys = draw.random() < 0.4
                await self._hand_in(client, texts, with_keys)
                await asyncio.sleep(draw.uniform(0.04, 0.12))

    async def _hand_in(self, client: httpx.AsyncClient, texts: list[str], with_keys: bool) -> None:
        keys = [f"key of {text}" for text in texts] if with_keys else []
        response = None
        while response is None:
            try:
                response = await self._send(client, texts, keys)
            except httpx.ConnectError:  # between two lives of the service: nothing was sent
                await asyncio.sleep(0.08)
            except httpx.TransportError:
                if not keys:
                    self.unanswered.append(texts)
                    return
                self.posted_again += 1
        if response.status_code != 202:
            self.odd_answers.append(f"{response.status_code} {response.text}")
            return
        body = response.json()
        ids = body["conversation_ids"] if len(texts) > 1 else [body["conversation_id"]]
        assert len(ids) == len(texts)
        self.acknowledged.update(zip(ids, texts, strict=True))
        self.keys.update(zip(keys, ids, strict=False))
        self.news.set()

    async def _send(
        self, client: httpx.AsyncClient, texts: list[str], keys: list[str]
    ) -> httpx.Response:
        if len(texts) == 1:
            headers = {"Idempotency-Key": keys[0]} if keys else {}
            return await client.post(
                "/api/v1/conversations", json={"text": texts[0]}, headers=headers
            )
        items: list[dict[str, Any]] = [{"text": text} for text in texts]
        for item, key in zip(items, keys, strict=False):
            item["idempotency_key"] = key
        return await client.post("/api/v1/conversations/batch", json={"conversations": items})


async def _kill_again_and_again(service: ServiceProcess, clients: Clients) -> None:
    draw = random.Random(SEED)
    moments = [moment for moment, times in KILLS.items() for _ in range(times * STORMS)]
    draw.shuffle(moments)
    for moment in moments:
        service.launch()
        if moment == "at start":
            await asyncio.sleep(draw.uniform(0.02, 0.6))
            await service.kill()
            continue
        await service.ready()
        match moment:
            case "at work":
                await asyncio.sleep(draw.uniform(0.05, 2.0))
            case "at an acknowledgement":
                clients.news.clear()
                await asyncio.wait_for(clients.news.wait(), 10)
            case "at a write":
                # The second in which the last one may have called is over, and answers come in.
                await asyncio.sleep(draw.uniform(1.4, 1.8))
                await asyncio.to_thread(_next_write, service.database_file)
                await asyncio.sleep(draw.uniform(0, 0.004))
        await service.kill()


def _next_write(database_file: Path) -> None:
    """Return in the middle of a transaction: as soon as SQLite's log grows."""
    log = database_file.with_name(f"{database_file.name}-wal")
    before = log.stat().st_mtime_ns
    deadline = time.monotonic() + 10
    while log.stat().st_mtime_ns == before and time.monotonic() < deadline:
        time.sleep(0.0002)


@pytest.mark.slow(longest=True)
@pytest.mark.timeout(600)
async def test_a_storm_of_kills_loses_nothing_and_leaves_nothing_stuck(
    tmp_path: Path, grok: RunningGrok
) -> None:
    settings = grok_settings(
        grok, grok_rate_limit=200, grok_concurrency=20, grok_pack_size=3, batch_size=20
    )
    async with ServiceProcess(tmp_path, **settings) as service:
        clients = Clients(service)
        async with asyncio.TaskGroup() as group:
            for number in range(CLIENTS):
                group.create_task(clients.run(number))
            await _kill_again_and_again(service, clients)
            await steer(grok, "defaults", fault_rate=0, latency=0.02)
            await service.start()
            clients.stopping = True
        await until(
            lambda: not service.count("status IN ('pending', 'processing')"),
            within=60,
            what="everything in a final state",
        )
        answers_again = {
            key: (
                await service.client.post(
                    "/api/v1/conversations",
                    json={"text": clients.acknowledged[id_]},
                    headers={"Idempotency-Key": key},
                )
            ).json()
            for key, id_ in list(clients.keys.items())[::10]
        }
        counters = await look(grok, "counters")

    rows = {
        row[0]: row[1:]
        for row in service.query(
            "SELECT id, text, status, last_error, deaths, idempotency_key FROM conversations"
        )
    }
    insights = service.query("SELECT conversation_id, text FROM insights")
    figures = Counter(status for _, status, *_ in rows.values())
    told = {
        "kills": sum(KILLS.values()) * STORMS,
        "acknowledged": len(clients.acknowledged),
        "with a key": len(clients.keys),
        "posted again": clients.posted_again,
        "never answered": len(clients.unanswered),
        "stored": len(rows),
        **figures,
        "failed by the kills": sum(row[2] == DIED for row in rows.values()),
        "insights": len(insights),
        "calls": counters["calls"],
    }
    print(f"\n{told}")

    # The storm was one.
    assert len(clients.acknowledged) > 200, told
    assert clients.posted_again > 0, told
    assert figures["completed"] > 100, told
    assert told["failed by the kills"] == 0, told  # no text was at fault
    assert any(row[3] > 1 for row in rows.values()), told
    assert counters["calls"] > counters["by_status"]["200"] > 100, told

    # What clients were told is so.
    assert clients.odd_answers == []
    assert {id_: rows[id_][0] for id_ in clients.acknowledged if id_ in rows} == (
        clients.acknowledged
    ), told
    stored = Counter(row[0] for row in rows.values())
    assert [text for text, times in stored.items() if times > 1] == []
    unknown = stored.keys() - set(clients.acknowledged.values())
    for texts in clients.unanswered:
        assert len(unknown & set(texts)) in (0, len(texts)), f"half a batch: {texts}"
        unknown -= set(texts)
    assert unknown == set()
    assert {row[4]: id_ for id_, row in rows.items() if row[4]} == clients.keys
    for key, answer in answers_again.items():
        assert answer["conversation_id"] == clients.keys[key], (key, answer)

    # Each conversation has come to one end.
    assert figures.keys() <= {"completed", "failed"}, told
    insight_ids = Counter(id_ for id_, _ in insights)
    assert [id_ for id_, times in insight_ids.items() if times > 1] == []
    assert insight_ids.keys() == {id_ for id_, row in rows.items() if row[1] == "completed"}
    assert all(rows[id_][0] == text for id_, text in insights)
    for _text, status, last_error, _deaths, _key in rows.values():
        assert (last_error is not None) == (status == "failed")
    assert service.query("PRAGMA integrity_check") == [("ok",)]
    assert service.query("PRAGMA foreign_key_check") == []

    # What is kept counted is what counting gives.
    url = f"sqlite+aiosqlite:///{service.database_file}"
    assert not await rebuild(load_settings(database_url=url, _env_file=None))


async def test_a_conversation_in_flight_at_three_deaths_fails_and_can_be_retried(
    tmp_path: Path, grok: RunningGrok
) -> None:
    await steer(grok, "defaults", fault_rate=0, latency=0)
    await steer(grok, "when_text", needle="poison", reply="hang", times=3)

    async def poison_was_sent(times: int) -> bool:
        return bool((await look(grok, "texts"))["sent"].get("poison", 0) == times)

    async with ServiceProcess(tmp_path, **grok_settings(grok)) as service:
        service.launch()
        await service.ready()
        poison = await service.post("poison")
        for death in (1, 2, 3):
            await until(partial(poison_was_sent, death), within=30, what=f"try {death}")
            await service.kill()
            assert service.query("SELECT status FROM conversations") == [("processing",)]
            await service.start()

        failed = await until(
            lambda: service.query("SELECT id, last_error FROM conversations WHERE status='failed'"),
            within=30,
            what="failed after its third death",
        )
        assert failed == [(poison, DIED)]
        good = await service.post("good")
        await until(
            lambda: service.count(f"id = '{good}' AND status = 'completed'"),
            within=30,
            what="work goes on",
        )
        response = await service.client.post(f"/api/v1/conversations/{poison}/retry")
        assert response.status_code == 202, response.text
        await until(
            lambda: service.count("status = 'completed' AND deaths = 0") == 2,
            within=30,
            what="completed after a retry",
        )
    assert (await look(grok, "texts"))["sent"] == {"poison": 4, "good": 1}
