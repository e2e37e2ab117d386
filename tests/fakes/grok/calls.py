"""The Grok client as its tests use it: asked one text or several, with a clock moved by hand, or
before a server that says just what it is told to."""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from analysis.outcomes import Call
from analysis.topics import Topics
from grok.prompt import Prompt
from grok_client import GrokClient
from rate_limiter import CallLimiter, LearnedRate, SlidingWindow
from tests.fakes.grok.judgement import judge
from tests.fakes.grok.models import DEFAULT_MODEL
from tests.support import clock
from tests.support.tcp import serving

BLAME = "My parcel is late and broken"
PRAISE = "Thanks, I love it"
CLUSTERS = ("delivery_problems", "product_issues", "praise")
PROMPT = Prompt(model=DEFAULT_MODEL, temperature=0.3, topics=Topics(CLUSTERS))
UUIDS = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)

MakeClient = Callable[..., GrokClient]


async def ask(client: GrokClient, text: str = BLAME) -> Any:
    (answer,) = (await client.analyse([text])).answers
    return answer


async def ask_together(client: GrokClient, *texts: str) -> list[Any]:
    """In one call."""
    return list((await client.analyse(texts)).answers)


async def called(client: GrokClient, *texts: str) -> Call:
    """What became of one call with these, which must have been sent."""
    call = (await client.analyse(texts or [BLAME])).call
    assert call is not None
    return call


class Clock(clock.Clock):
    def limiter(self, rate: int = 1000, **overrides: Any) -> CallLimiter:
        return CallLimiter(
            SlidingWindow(rate, 1.0, clock=self),
            LearnedRate(rate, clock=self),
            **{"clock": self, "sleep": self.sleep, **overrides},
        )


@asynccontextmanager
async def answering(*answers: bytes) -> AsyncIterator[str]:
    """The base URL of a server that gives each request the next of these bytes and hangs up."""
    left = list(answers)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(left.pop(0))
        await writer.drain()

    async with serving(serve) as port:
        yield f"http://127.0.0.1:{port}/v1"


def completion(usage: object, *, model: object = DEFAULT_MODEL, headers: str = "") -> bytes:
    """A whole HTTP answer: a completion with the right result for one text."""
    right = {name: value for name, value in judge(BLAME, "").items() if name != "id"}
    message = {"content": json.dumps(right)}
    body = {"id": "1", "model": model, "choices": [{"message": message, "finish_reason": "stop"}]}
    data = json.dumps({**body, "usage": usage}).encode()
    head = f"HTTP/1.1 200 OK\r\n{headers}Content-Length: {len(data)}\r\n\r\n"
    return head.encode() + data
