"""Endpoints over HTTP: how they are made, what is refused and how that is told, what was sent."""

import hashlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from standardwebhooks import Webhook

from tests.conftest import StartApp
from tests.fakes.receiver.server import FakeReceiver, Reply
from tests.support.http_helpers import assert_error, eventually

ENDPOINTS = "/api/v1/endpoints"
# A public address by its number, so that no test asks a name server.
URL = "https://93.184.215.14/hook"


@pytest.fixture
async def receiver() -> AsyncIterator[FakeReceiver]:
    async with FakeReceiver() as receiver:
        yield receiver


@pytest.fixture
async def sending(start_app: StartApp) -> AsyncIterator[httpx.AsyncClient]:
    """A service that may send to this host."""
    async with start_app(webhook_private_hosts="127.0.0.1") as running:
        yield running.client


async def make(client: httpx.AsyncClient, **body: Any) -> dict[str, Any]:
    answer = await client.post(
        ENDPOINTS, json={"name": "team", "kind": "standard", "url": URL, **body}
    )
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


async def deliveries(client: httpx.AsyncClient, id_: str, **query: Any) -> list[dict[str, Any]]:
    answer = await client.get(f"{ENDPOINTS}/{id_}/deliveries", params=query)
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["deliveries"]
    return found


async def test_an_endpoint_is_made_shown_changed_and_deleted(client: httpx.AsyncClient) -> None:
    made = await make(client, events=["report", "alert", "report"])
    secret = made.pop("secret")
    one = f"{ENDPOINTS}/{made['endpoint_id']}"

    assert secret.startswith("whsec_")
    assert made == {
        "endpoint_id": made["endpoint_id"],
        "name": "team",
        "kind": "standard",
        "url": URL,
        "to": None,
        "events": ["report", "alert"],
        "enabled": True,
        "disabled_reason": None,
        "failing_since": None,
        "created_at": made["created_at"],
    }
    # The secret is never shown again.
    assert (await client.get(one)).json() == made
    assert (await client.get(ENDPOINTS)).json() == {"endpoints": [made]}

    changed = {"name": "others", "url": f"{URL}/2", "events": ["machine"]}
    answer = await client.patch(one, json=changed)
    assert answer.json() == made | changed
    assert (await client.patch(one, json={})).json() == made | changed

    assert (await client.delete(one)).status_code == 204
    for gone in (client.get(one), client.delete(one), client.get(f"{one}/deliveries")):
        assert_error(await gone, 404, "not_found")


async def test_one_that_a_rule_names_is_not_deleted(client: httpx.AsyncClient) -> None:
    made = await make(client)
    rule = {"name": "many", "kind": "count", "above": 3, "to": [made["endpoint_id"]]}
    assert (await client.post("/api/v1/alert-rules", json=rule)).status_code == 201
    refused = await client.delete(f"{ENDPOINTS}/{made['endpoint_id']}")
    assert_error(refused, 409, "conflict", "many")


@pytest.mark.parametrize("kind", ["slack", "teams", "discord"])
async def test_a_chat_has_no_secret_and_takes_all_events(
    client: httpx.AsyncClient, kind: str
) -> None:
    made = await make(client, kind=kind)

    assert (made["secret"], made["events"]) == (None, ["alert", "report", "machine"])
    assert_error(
        await client.post(f"{ENDPOINTS}/{made['endpoint_id']}/rotate"), 409, "conflict", "secret"
    )


async def test_a_mailbox_is_an_endpoint(client: httpx.AsyncClient) -> None:
    made = await make(client, kind="email", url=None, to=" team@example.com ")
    one = f"{ENDPOINTS}/{made['endpoint_id']}"

    assert (made["to"], made["url"], made["secret"]) == ("team@example.com", None, None)
    changed = await client.patch(one, json={"to": "others@example.com"})
    assert changed.json()["to"] == "others@example.com"
    assert_error(await client.patch(one, json={"url": URL}), 400, "invalid_schema", "url")


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ({"name": None}, "name"),
        ({"name": " "}, "name"),
        ({"name": "x" * 101}, "name"),
        ({"kind": "pager"}, "kind"),
        ({"url": None}, "Missing required field: url"),
        ({"url": 7}, "url"),
        ({"url": "http://example.com/"}, "url: must begin with https://"),
        ({"url": "https://localhost/"}, "url: must lead to the public internet"),
        ({"url": "https://10.0.0.1/"}, "WEBHOOK_PRIVATE_HOSTS"),
        ({"url": "https://user:pw@example.com/"}, "url: must have no user name"),
        ({"url": "https://example.com/\x00"}, "url"),
        ({"url": "https://example.com/" + "x" * 2000}, "url: must be at most 2000"),
        ({"to": "a@example.com"}, "to"),
        ({"kind": "email"}, "url"),
        ({"kind": "email", "url": None}, "Missing required field: to"),
        ({"kind": "email", "url": None, "to": "nobody"}, "to"),
        ({"kind": "email", "url": None, "to": "a@b.de\r\nBcc: c@d.de"}, "to"),
        ({"kind": "email", "url": None, "to": "a@b.de, c@d.de"}, "to"),
        ({"events": []}, "events: must hold at least 1"),
        ({"events": ["alerts"]}, "events[0]"),
        ({"events": "alert"}, "events"),
        ({"enabled": "perhaps"}, "enabled"),
    ],
)
async def test_what_cannot_be_an_endpoint_is_refused_by_its_field(
    client: httpx.AsyncClient, body: dict[str, Any], named: str
) -> None:
    given = {"name": "team", "kind": "standard", "url": URL, **body}

    assert_error(await client.post(ENDPOINTS, json=given), 400, "invalid_schema", named)
    assert (await client.get(ENDPOINTS)).json() == {"endpoints": []}


async def test_a_change_is_checked_like_a_new_one(client: httpx.AsyncClient) -> None:
    made = await make(client)
    one = f"{ENDPOINTS}/{made['endpoint_id']}"

    for body, named in (
        ({"url": "https://127.0.0.1/"}, "url"),
        ({"to": "a@b.de"}, "to"),
        ({"kind": "slack"}, "kind"),
        ({"events": []}, "events"),
        *(({name: None}, f"{name}: must not be null") for name in ("name", "url", "events")),
    ):
        assert_error(await client.patch(one, json=body), 400, "invalid_schema", named)
    assert (await client.patch(one, json={"kind": "standard"})).status_code == 200
    assert_error(await client.patch(f"{ENDPOINTS}/endp_00000000", json={}), 404, "not_found")


async def test_there_are_at_most_twenty_endpoints(client: httpx.AsyncClient) -> None:
    made = [await make(client) for _ in range(20)]
    body = {"name": "team", "kind": "standard", "url": URL}

    refused = await client.post(ENDPOINTS, json=body)
    assert_error(refused, 400, "invalid_schema", "20 endpoints")
    await client.delete(f"{ENDPOINTS}/{made[0]['endpoint_id']}")
    assert (await client.post(ENDPOINTS, json=body)).status_code == 201


async def test_a_test_arrives_and_is_listed(
    sending: httpx.AsyncClient, receiver: FakeReceiver
) -> None:
    made = await make(sending, url=receiver.url("/hook"))
    id_ = made["endpoint_id"]

    accepted = await sending.post(f"{ENDPOINTS}/{id_}/test")
    assert accepted.status_code == 202
    (received,) = await eventually(lambda: receiver.received)
    assert Webhook(made["secret"]).verify(received.body, dict(received.headers))["type"] == "test"

    async def delivered() -> bool:
        return bool(await deliveries(sending, id_, state="delivered"))

    await eventually(delivered)
    (delivery,) = await deliveries(sending, id_)
    assert delivery == {
        "delivery_id": accepted.json()["delivery_id"],
        "message_id": received.headers["webhook-id"],
        "type": "test",
        "alert_id": None,
        "state": "delivered",
        "attempts": 1,
        "created_at": delivery["created_at"],
        "next_at": None,
        "last_at": delivery["last_at"],
        "last_status": 200,
        "last_error": None,
    }


async def test_what_failed_is_shown_and_can_be_sent_once_more(
    sending: httpx.AsyncClient, receiver: FakeReceiver
) -> None:
    receiver.script("/", *[Reply(500, b"out of order")] * 3)
    id_ = (await make(sending, url=receiver.url("/")))["endpoint_id"]
    one = f"{ENDPOINTS}/{id_}"

    async def has_failed(tries: int) -> bool:
        found = await deliveries(sending, id_, state="failed")
        return len(found) == 1 and len(receiver.received) == tries

    await sending.post(f"{one}/test")
    await eventually(lambda: has_failed(1))
    (delivery,) = await deliveries(sending, id_)
    assert delivery["last_status"] == 500
    assert delivery["last_error"] == "answered 500: out of order"
    assert (await sending.get(one)).json()["failing_since"] is None  # a test alone

    again = await sending.post(f"{one}/deliveries/{delivery['delivery_id']}/retry")
    assert (again.status_code, again.json()) == (202, {"status": "accepted", "retried": 1})
    await eventually(lambda: has_failed(2))

    now = datetime.now(UTC)
    hour = {"from": (now - timedelta(hours=1)).isoformat(), "to": now.isoformat()}
    again = await sending.post(f"{one}/deliveries/retry", json=hour)
    assert (again.status_code, again.json()) == (202, {"status": "accepted", "retried": 1})
    await eventually(lambda: has_failed(3))

    await sending.post(f"{one}/deliveries/{delivery['delivery_id']}/retry")

    async def delivered() -> bool:
        return bool(await deliveries(sending, id_, state="delivered"))

    await eventually(delivered)
    assert len({each.headers["webhook-id"] for each in receiver.received}) == 1
    assert (await sending.get(one)).json()["failing_since"] is None
    over = await sending.post(f"{one}/deliveries/{delivery['delivery_id']}/retry")
    assert_error(over, 409, "conflict", "delivered")


async def test_what_cannot_be_retried_is_told(client: httpx.AsyncClient) -> None:
    one = f"{ENDPOINTS}/{(await make(client))['endpoint_id']}"

    for id_ in ("1", "0", "x", "-1", "9" * 30, "1.5"):
        missing = await client.post(f"{one}/deliveries/{id_}/retry")
        assert_error(missing, 404, "not_found")
    for body, named in (
        ({}, "from"),
        ({"from": "2026-01-01T00:00:00Z"}, "to"),
        ({"from": "yesterday", "to": "2026-01-01T00:00:00Z"}, "from"),
        ({"from": "2026-01-02T00:00:00Z", "to": "2026-01-01T00:00:00Z"}, "from"),
    ):
        refused = await client.post(f"{one}/deliveries/retry", json=body)
        assert_error(refused, 400, "invalid_schema", named)
    for query, named in (({"state": "lost"}, "state"), ({"cursor": "x"}, "cursor")):
        refused = await client.get(f"{one}/deliveries", params=query)
        assert_error(refused, 400, "invalid_schema", named)


async def test_a_disabled_endpoint_is_sent_nothing_until_it_is_enabled(
    sending: httpx.AsyncClient, receiver: FakeReceiver
) -> None:
    one = f"{ENDPOINTS}/{(await make(sending, url=receiver.url('/')))['endpoint_id']}"

    disabled = (await sending.patch(one, json={"enabled": False})).json()
    assert (disabled["enabled"], disabled["disabled_reason"]) == (False, "somebody disabled it")
    assert_error(await sending.post(f"{one}/test"), 409, "conflict", "enable")
    hour = {"from": "2026-01-01T00:00:00Z", "to": "2036-01-01T00:00:00Z"}
    refused = await sending.post(f"{one}/deliveries/retry", json=hour)
    assert_error(refused, 409, "conflict", "enable")

    enabled = await sending.post(f"{one}/enable")
    assert (enabled.status_code, enabled.json()["enabled"]) == (200, True)
    assert enabled.json()["disabled_reason"] is None
    assert (await sending.post(f"{one}/test")).status_code == 202
    await eventually(lambda: receiver.received)


async def test_a_rotated_secret_is_shown_once_and_signs_beside_the_old_one(
    sending: httpx.AsyncClient, receiver: FakeReceiver
) -> None:
    made = await make(sending, url=receiver.url("/"))
    one = f"{ENDPOINTS}/{made['endpoint_id']}"

    rotated = await sending.post(f"{one}/rotate")
    assert rotated.status_code == 200
    assert rotated.json()["secret"] not in (None, made["secret"])
    assert "secret" not in (await sending.get(one)).json()
    await sending.post(f"{one}/test")
    (received,) = await eventually(lambda: receiver.received)
    for secret in (made["secret"], rotated.json()["secret"]):
        Webhook(secret).verify(received.body, dict(received.headers))


async def test_only_admins_see_endpoints_and_what_receivers_said(start_app: StartApp) -> None:
    keys = {"reader": "read", "writer": "write", "boss": "admin"}
    settings = ",".join(
        f"{name}:{scope}:{hashlib.sha256(name.encode()).hexdigest()}"
        for name, scope in keys.items()
    )
    async with start_app(api_keys=settings) as running:
        for path in (ENDPOINTS, f"{ENDPOINTS}/endp_00000000/deliveries"):
            for name in ("reader", "writer"):
                headers = {"Authorization": f"Bearer {name}"}
                assert_error(await running.client.get(path, headers=headers), 403, "forbidden")
        headers = {"Authorization": "Bearer boss"}
        assert (await running.client.get(ENDPOINTS, headers=headers)).status_code == 200
