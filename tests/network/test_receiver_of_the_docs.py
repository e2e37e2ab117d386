"""The receiver that docs/alerts.md shows is run as it stands there."""

import asyncio
import os
import re
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest

from analysis.deliveries import Answered
from notices import standard
from notices.signing import new_secret, signed_headers
from notices.web_client import WebClient
from tests.support.http_helpers import eventually
from tests.support.outbox import a_message
from tests.support.paths import ROOT
from tests.support.servers import free_port

SECRET, ANOTHER = new_secret(), new_secret()


@pytest.fixture
async def receiver(tmp_path: Path) -> AsyncIterator[tuple[str, Path]]:
    """Its URL, and the file in which it says what it took."""
    page = (ROOT / "docs" / "alerts.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    program, said = tmp_path / "receiver.py", tmp_path / "said"
    program.write_text(code)
    port = free_port()
    with said.open("w") as output:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, str(program)),
            env={**os.environ, "SECRET": SECRET, "PORT": str(port)},
            stdout=output,
            stderr=asyncio.subprocess.DEVNULL,
        )
    url = f"http://127.0.0.1:{port}/"

    async def listens() -> bool:
        async with httpx.AsyncClient(timeout=30) as client:
            try:
                return (await client.get(url)).status_code == 501
            except httpx.ConnectError:
                return False

    await eventually(listens, within=30)
    yield url, said
    process.kill()
    await process.wait()


async def test_it_takes_what_is_signed_and_each_message_once(receiver: tuple[str, Path]) -> None:
    url, said = receiver
    web = WebClient(private_hosts=["127.0.0.1"])
    message, now = a_message(), datetime.now(UTC)
    body = standard.body(message, now)

    async def post(secrets: list[str], at: datetime, what: bytes = body) -> int:
        answer = await web.post(url, what, signed_headers(secrets, message.id, body, at))
        assert isinstance(answer, Answered)
        return answer.status

    assert await post([ANOTHER], now) == 401
    assert await post([SECRET], now - timedelta(minutes=6)) == 401
    assert await post([SECRET], now, body.replace(b"late", b"soon")) == 401
    assert said.read_text() == ""
    assert await post([ANOTHER, SECRET], now) == 204
    assert await post([SECRET], now + timedelta(seconds=1)) == 204
    assert said.read_text() == f"machine {message.data}\n"
