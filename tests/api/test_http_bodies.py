"""Bodies as other programs send them: each is taken, or refused in a sentence that tells its sender
what to change, and then nothing of it is stored."""

import asyncio
import base64
import gzip
import json
import re
import zlib
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import httpx
import pytest
import pytest_asyncio

from config import Settings
from main import create_app
from tests.conftest import StartApp
from tests.support.http_helpers import (
    CONVERSATIONS,
    STATS,
    assert_error,
    on_shared_loop,
    served,
    service,
)
from tests.support.paths import SHARED

BATCH = f"{CONVERSATIONS}/batch"
JSON = {"Content-Type": "application/json"}
ONE = {"text": "My parcel is late — again 📦", "author": "maple"}
CASES = SHARED / "cases" / "request_bodies.json"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[httpx.AsyncClient]:
    async with service(tmp_path_factory.mktemp("shared"), worker_enabled=False) as client:
        yield client


async def _stored(client: httpx.AsyncClient) -> int:
    counts = (await client.get(STATS)).json()["counts"]
    return sum(sum(lanes.values()) for lanes in counts.values())


async def _refused(client: httpx.AsyncClient, path: str, body: bytes, **headers: str) -> str:
    """The sentence; nothing was stored."""
    before = await _stored(client)
    sent = {**JSON, **{name.replace("_", "-"): value for name, value in headers.items()}}
    response = await client.post(path, content=body, headers=sent)
    assert await _stored(client) == before
    return assert_error(response, 400, "invalid_schema")


@pytest.mark.parametrize("path", [CONVERSATIONS, BATCH])
@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "zstd", "GZIP", "gzip, gzip", "x"])
@on_shared_loop
async def test_a_compressed_body_is_told_to_come_unpacked(
    shared: httpx.AsyncClient, path: str, encoding: str
) -> None:
    body = gzip.compress(json.dumps(ONE).encode())

    assert "Content-Encoding" in await _refused(shared, path, body, Content_Encoding=encoding)


@on_shared_loop
async def test_a_body_that_says_it_is_as_it_is_is_taken(shared: httpx.AsyncClient) -> None:
    headers = {**JSON, "Content-Encoding": "identity"}

    response = await shared.post(CONVERSATIONS, content=json.dumps(ONE), headers=headers)

    assert response.status_code == 202


@on_shared_loop
async def test_what_is_compressed_and_does_not_say_so_is_known_by_its_beginning(
    shared: httpx.AsyncClient,
) -> None:
    packed = json.dumps(ONE).encode()

    assert "gzip" in await _refused(shared, CONVERSATIONS, gzip.compress(packed))
    assert "UTF-8" in await _refused(shared, CONVERSATIONS, zlib.compress(packed))


@pytest.mark.parametrize(
    ("path", "body"), [(CONVERSATIONS, ONE), (BATCH, {"conversations": [ONE]})]
)
@on_shared_loop
async def test_a_byte_order_mark_is_skipped(
    shared: httpx.AsyncClient, path: str, body: Any
) -> None:
    sent = json.dumps(body).encode("utf-8-sig")

    response = await shared.post(path, content=sent, headers=JSON)

    assert response.status_code == 202, response.text
    first = response.json().get("conversation_ids", [response.json().get("conversation_id")])[0]
    assert (await shared.get(f"{CONVERSATIONS}/{first}")).json()["text"] == ONE["text"]


@pytest.mark.parametrize("path", [CONVERSATIONS, BATCH])
@pytest.mark.parametrize(
    "encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be"]
)
@on_shared_loop
async def test_json_in_wide_characters_is_told_to_be_utf_8(
    shared: httpx.AsyncClient, path: str, encoding: str
) -> None:
    sentence = await _refused(shared, path, json.dumps(ONE).encode(encoding))

    assert "UTF-8, not in UTF-16 or UTF-32" in sentence


@pytest.mark.parametrize("encoding", ["latin-1", "cp1252", "shift-jis", "gbk"])
@on_shared_loop
async def test_json_in_an_old_encoding_is_told_which_byte_is_none_of_utf_8(
    shared: httpx.AsyncClient, encoding: str
) -> None:
    text = "日本" if encoding in ("shift-jis", "gbk") else "büro"
    body = json.dumps({"text": text}, ensure_ascii=False).encode(encoding)

    sentence = await _refused(shared, CONVERSATIONS, body)

    assert "UTF-8" in sentence
    assert "byte 1" in sentence


@pytest.mark.parametrize("charset", ["iso-8859-1", "utf-16", "windows-1252", "none"])
@on_shared_loop
async def test_another_charset_is_refused_even_where_the_bytes_would_pass(
    shared: httpx.AsyncClient, charset: str
) -> None:
    kind = f"application/json; charset={charset}"

    assert "charset" in await _refused(shared, CONVERSATIONS, b'{"text": "a"}', Content_Type=kind)


@pytest.mark.parametrize(
    "kind",
    [
        'application/json; charset="UTF-8"',
        "application/json; CHARSET=utf8",
        "application/json; profile=x; charset=us-ascii",
        "application/json; version=1",
        "application/json;",
    ],
)
@on_shared_loop
async def test_every_way_to_say_utf_8_is_taken(shared: httpx.AsyncClient, kind: str) -> None:
    response = await shared.post(
        CONVERSATIONS, content=b'{"text": "a"}', headers={"Content-Type": kind}
    )

    assert response.status_code == 202, response.text


@on_shared_loop
async def test_a_form_is_told_that_it_is_one(shared: httpx.AsyncClient) -> None:
    before = await _stored(shared)
    for form in (
        await shared.post(CONVERSATIONS, data={"text": "a"}),
        await shared.post(CONVERSATIONS, files={"text": b"a"}),
    ):
        assert "form" in assert_error(form, 400, "invalid_schema", "application/json")
    assert await _stored(shared) == before


@pytest.mark.parametrize(
    ("body", "place"),
    [
        (r'{"text":"late again \ud83d"}', "text: "),
        (r'{"text":"\ud83d"}', "text: "),
        (r'{"text":"é😀é\uD83Dx"}', "text: "),
        (r'{"text":"\udce9 lone trail"}', "text: "),
        (r'{"text":"\ud83d\ud83d"}', "text: "),
        (r'{"text":"\ud83d\u0041"}', "text: "),
        (r'{"text":"😀\ud83d"}', "text: "),
        ('\n{"author":"é",\n\n"text":"a\\ud83d"}', "text: "),
        (r'{"text":"a","author":"\ud83d"}', "author: "),
        (r'{"text":"a","raw_data":{"bio":"cut \ud83d"}}', "raw_data: "),
        (r'{"text":"a","raw_data":{"x":[1,{"y":"\ud83d"}]}}', "raw_data: "),
        (r'{"text":"a","raw_data":{"k\ud83d":1}}', "raw_data: "),
        (r'{"text":"a","unknown":"\ud83d"}', "The body: "),
    ],
)
@on_shared_loop
async def test_half_an_emoji_is_named_by_its_field_and_in_a_batch_by_its_item(
    shared: httpx.AsyncClient, body: str, place: str
) -> None:
    single = await _refused(shared, CONVERSATIONS, body.encode())
    batch = f'{{"conversations":[{{"text":"fine"}},{body},{{"text":"fine"}}]}}'
    in_batch = await _refused(shared, BATCH, batch.encode())

    assert single.startswith(place)
    item = "conversations[1]"
    assert in_batch.startswith(f"{item}: " if place == "The body: " else f"{item}.{place}")
    assert "half of a character" in single
    assert "half of a character" in in_batch


@pytest.mark.parametrize("levels", [65, 199, 201, 250, 900, 1_100, 10_000])
@pytest.mark.parametrize("unit", ['{"a":', "[", '[{"a":'])
@on_shared_loop
async def test_raw_data_that_is_too_deep_is_told_as_such_whoever_stops_first(
    shared: httpx.AsyncClient, unit: str, levels: int
) -> None:
    opened = unit * levels
    closed = "".join("]" if sign == "[" else "}" for sign in reversed(opened) if sign in "[{")
    item = f'{{"text":"a","raw_data":{{"x":{opened}1{closed}}}}}'
    batch = f'{{"conversations":[{{"text":"fine"}},{item}]}}'

    single = await _refused(shared, CONVERSATIONS, item.encode())
    in_batch = await _refused(shared, BATCH, batch.encode())

    assert single == "raw_data: must be at most 64 levels deep"
    assert in_batch == f"conversations[1].{single}"


@on_shared_loop
async def test_depth_and_halves_at_the_end_of_the_largest_body_are_told_at_once(
    shared: httpx.AsyncClient,
) -> None:
    filler = "\n" * 1_000_000 + ",".join(['{"text":"a"}'] * 50_000)
    for end in (r'{"text":"\ud83d"}', '{"text":"a","raw_data":' + "[" * 1000):
        body = f'{{"conversations":[{filler},{end}]}}'.encode()
        sentence = await _refused(shared, BATCH, body)
        assert sentence.startswith("conversations[50000]."), sentence


@pytest.mark.parametrize(
    ("value", "count"), [("0", 200_000), ("{}", 100_000), ('"\\\\\\","', 200_000), ("[[]]", 67_000)]
)
@on_shared_loop
async def test_a_body_of_too_many_values_is_refused_before_it_is_read(
    shared: httpx.AsyncClient, value: str, count: int
) -> None:
    values = ",".join([value] * count)
    for path in (CONVERSATIONS, BATCH):
        sentence = await _refused(shared, path, f'{{"text":"a","raw_data":{{"x":[{values}'.encode())
        assert sentence == "The body holds too many values: 200,000 are read at most."


@on_shared_loop
async def test_as_many_values_as_may_be_are_taken_and_what_stands_in_texts_is_none(
    shared: httpx.AsyncClient,
) -> None:
    raw = {"a": [{}] * 99_000, "b": ',[{"' * 100_000}

    response = await shared.post(CONVERSATIONS, json={"text": "a", "raw_data": raw})

    assert response.status_code == 202
    shown = await shared.get(f"{CONVERSATIONS}/{response.json()['conversation_id']}")
    assert shown.json()["raw_data"] == raw


@on_shared_loop
async def test_only_conversations_come_in_large_bodies(shared: httpx.AsyncClient) -> None:
    """A list of two hundred thousand mistakes would take a second to tell."""
    document = (await shared.get("/openapi.json")).json()
    ids = {"conversation_id": "conv", "rule_id": "rule", "endpoint_id": "endp", "alert_id": "alrt"}
    operations = [
        (method, re.sub(r"{(\w+)}", lambda name: f"{ids[name[1]]}_00000000", path))
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
        if "requestBody" in operation and path not in (CONVERSATIONS, BATCH)
    ]
    assert len(operations) > 10
    for method, path in operations:
        for size, status in ((65_536, 400), (65_537, 413)):
            body = b"[%s]" % (b" " * (size - 2))
            path = path.replace("alert-rules/rule", "alert-rules/arul")
            answer = await shared.request(method, path, content=body, headers=JSON)
            assert answer.status_code == status, (method, path, answer.text)
            assert_error(answer, status, "payload_too_large" if status == 413 else "invalid_schema")


def _cases() -> list[dict[str, Any]]:
    return list(json.loads(CASES.read_text())["cases"]) if CASES.exists() else []


@pytest.mark.skipif(not CASES.exists(), reason="the cases from the field are not here")
@pytest.mark.parametrize("case", _cases(), ids=lambda case: case["name"])
@on_shared_loop
async def test_bodies_from_the_field_are_taken_or_told_what_to_change(
    shared: httpx.AsyncClient, case: dict[str, Any]
) -> None:
    body = base64.b64decode(case["base64"]) if "base64" in case else case["text"].encode()

    response = await shared.post(case["path"], content=body, headers=case.get("headers") or JSON)

    if response.status_code != 202:
        sentence = assert_error(response, 400, "invalid_schema")
        words = ("Content-Encoding", "byte order mark", "conversations[1].text", "raw_data")
        assert any(word in sentence for word in words), sentence


# --- their size -----------------------------------------------------------------------------------


async def test_a_body_at_the_limit_is_taken_and_one_byte_more_is_not(start_app: StartApp) -> None:
    async with start_app(max_body_bytes=100) as running:
        body = json.dumps({"text": "a"}).ljust(100)

        taken = await running.client.post(CONVERSATIONS, content=body, headers=JSON)
        refused = await running.client.post(CONVERSATIONS, content=body + " ", headers=JSON)

    assert taken.status_code == 202, taken.text
    assert_error(refused, 413, "payload_too_large", "100")


async def test_a_streamed_body_is_refused_without_reading_it_whole(start_app: StartApp) -> None:
    sent = 0

    async def chunks() -> AsyncIterator[bytes]:
        nonlocal sent
        for _ in range(1000):
            sent += 1
            yield b" " * 100

    async with start_app(max_body_bytes=1000) as running:
        response = await running.client.post(CONVERSATIONS, content=chunks(), headers=JSON)

    assert_error(response, 413, "payload_too_large")
    assert 10 <= sent <= 15


async def test_a_streamed_body_within_the_limit_is_taken(start_app: StartApp) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for part in (b'{"te', b'xt": ', b'"a"}'):
            yield part

    async with start_app(max_body_bytes=13) as running:
        response = await running.client.post(CONVERSATIONS, content=chunks(), headers=JSON)

    assert response.status_code == 202, response.text


@pytest.fixture
def address(make_settings: Callable[..., Settings]) -> Iterator[str]:
    """A service with a small body limit, on a real socket."""
    with served(create_app(make_settings(max_body_bytes=1000))) as address:
        yield address


async def _raw(address: str, head: str, body: bytes, *, times: int = 1) -> bytes:
    """What a server answers to a client that never ends its body."""
    host, port = address.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        async with asyncio.timeout(5):
            writer.write(head.replace("\n", "\r\n").encode())
            for _ in range(times):
                writer.write(body)
            return await reader.readuntil(b"}")
    finally:
        writer.close()


async def test_too_large_a_length_is_refused_before_the_body_has_come(address: str) -> None:
    head = f"""POST {CONVERSATIONS} HTTP/1.1
Host: test
Content-Type: application/json
Content-Length: 1000000000

"""
    answer = await _raw(address, head, b'{"text": "')

    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b'"error":"payload_too_large"' in answer


async def test_an_endless_chunked_body_is_refused_while_it_comes(address: str) -> None:
    head = f"""POST {CONVERSATIONS} HTTP/1.1
Host: test
Content-Type: application/json
Transfer-Encoding: chunked

"""
    answer = await _raw(address, head, b"64\r\n" + b" " * 100 + b"\r\n", times=12)

    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b'"error":"payload_too_large"' in answer
