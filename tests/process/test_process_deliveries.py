"""`kill -9` amid deliveries loses no message and gives none a second id; SIGTERM charges none."""

import asyncio
import signal
from collections import defaultdict
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.fakes.receiver.server import HANG, FakeReceiver
from tests.support.http_helpers import eventually
from tests.support.service_process import ServiceProcess

pytestmark = pytest.mark.slow

ENDPOINTS = "/api/v1/endpoints"
KILLS = 3
RECEIVERS = 5


async def make_endpoint(service: ServiceProcess, url: str) -> str:
    body = {"name": url.rpartition("/")[2], "kind": "standard", "url": url}
    answer = await service.client.post(ENDPOINTS, json=body)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["endpoint_id"])


async def all_deliveries(service: ServiceProcess, endpoint_id: str) -> list[dict[str, Any]]:
    path = f"{ENDPOINTS}/{endpoint_id}/deliveries"
    answer = await service.client.get(path, params={"limit": 1000})
    found: list[dict[str, Any]] = answer.json()["deliveries"]
    return found


async def test_kills_amid_deliveries_lose_none_and_double_none(tmp_path: Path) -> None:
    acknowledged: dict[str, int] = defaultdict(int)
    unanswered: dict[str, int] = defaultdict(int)
    async with (
        FakeReceiver(latency=0.02) as receiver,
        ServiceProcess(tmp_path, webhook_private_hosts="127.0.0.1") as service,
    ):
        await service.start()
        ids = [await make_endpoint(service, receiver.url(f"/{n}")) for n in range(RECEIVERS)]
        stopping = False

        async def ask(endpoint_id: str) -> None:
            while not stopping:
                try:
                    answer = await service.client.post(f"{ENDPOINTS}/{endpoint_id}/test")
                except httpx.ConnectError:
                    await asyncio.sleep(0.05)
                except httpx.TransportError:
                    unanswered[endpoint_id] += 1
                else:
                    acknowledged[endpoint_id] += answer.status_code == 202
                await asyncio.sleep(0.03)

        asking = [asyncio.create_task(ask(each)) for each in ids]
        for _ in range(KILLS):
            before = len(receiver.received)

            async def is_amid(before: int = before) -> bool:
                return len(receiver.received) > before + 20 and receiver.under_way > 0

            await eventually(is_amid, within=30)
            await service.kill()
            await service.start()
        stopping = True
        await asyncio.gather(*asking)

        async def all_told() -> bool:
            found = [await all_deliveries(service, each) for each in ids]
            return all(each["state"] == "delivered" for some in found for each in some)

        await eventually(all_told, within=60)
        deliveries = {each: await all_deliveries(service, each) for each in ids}

    for number, endpoint_id in enumerate(ids):
        received = [each for each in receiver.received if each.path == f"/{number}"]
        told = defaultdict(list)
        for each in received:
            told[each.headers["webhook-id"]].append(each.body)
        listed = {each["message_id"] for each in deliveries[endpoint_id]}
        assert told.keys() == listed
        least = acknowledged[endpoint_id]
        assert least <= len(listed) <= least + unanswered[endpoint_id]
        # A kill makes at most one of them be told once more, under its id and with its words.
        assert len(received) <= len(listed) + KILLS
        assert all(len(set(bodies)) == 1 for bodies in told.values())
        assert len({bodies[0] for bodies in told.values()}) == len(listed)
        assert all(each["attempts"] == 1 for each in deliveries[endpoint_id])
    assert len(receiver.received) > KILLS * 20


async def test_a_stop_ends_within_its_grace_though_a_receiver_hangs(tmp_path: Path) -> None:
    async with (
        FakeReceiver() as receiver,
        ServiceProcess(tmp_path, shutdown_grace=1, webhook_private_hosts="127.0.0.1") as service,
    ):
        receiver.script("/0", HANG)
        await service.start()
        endpoint_id = await make_endpoint(service, receiver.url("/0"))
        await service.client.post(f"{ENDPOINTS}/{endpoint_id}/test")
        await eventually(lambda: receiver.under_way == 1, within=30)

        service.send(signal.SIGTERM)
        await service.ended(within=30)
        assert not [line for line in service.log.splitlines() if '"level":"error"' in line]

        await service.start()
        await eventually(lambda: len(receiver.received) == 2, within=30)

        async def arrived() -> list[dict[str, Any]]:
            found = await all_deliveries(service, endpoint_id)
            return [each for each in found if each["state"] == "delivered"]

        (delivery,) = await eventually(arrived, within=30)
    # What the stop cut off was charged to nobody.
    assert delivery["attempts"] == 1
    first, second = receiver.received
    assert first.headers["webhook-id"] == second.headers["webhook-id"]
