"""The bytes of one answer: at the bound, and one more."""

import gzip

import httpx
import pytest

from grok.transport import MAX_ANSWER_BYTES, TooMuch, send


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
async def test_an_answer_has_so_many_bytes(packed: bool) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        content = b"x" * int(request.url.params["size"])
        if packed:
            content = gzip.compress(content, compresslevel=1)
        headers = {"content-encoding": "gzip"} if packed else {}
        return httpx.Response(200, headers=headers, stream=httpx.ByteStream(content))

    async def received(size: int) -> int:
        request = httpx.Request("GET", f"https://grok.test/?size={size}")
        return len((await send(httpx.MockTransport(answer), request)).content)

    assert await received(MAX_ANSWER_BYTES) == MAX_ANSWER_BYTES
    with pytest.raises(TooMuch):
        await received(MAX_ANSWER_BYTES + 1)
