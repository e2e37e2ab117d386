"""Cancelling the work for a client that has disconnected.

An ASGI server reports a disconnect only through `receive`, which the handler of a GET never calls.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.requests import ClientDisconnect, Request

_PATIENCE_SECONDS = 0.1
"""Requests that take no longer, which is nearly all, are not watched."""


@asynccontextmanager
async def stopped_when_gone(request: Request) -> AsyncIterator[None]:
    """Cancel the awaiting block once the client has disconnected; raises ClientDisconnect then.

    For requests whose body, where they have one, is read, and not around a response that watches
    the client itself.
    """
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None
    gone = False
    watching: asyncio.Task[None] | None = None

    async def watch() -> None:
        nonlocal gone
        while (await request.receive())["type"] != "http.disconnect":
            pass
        gone = True
        task.cancel()

    def begin() -> None:
        nonlocal watching
        watching = loop.create_task(watch())

    patience = loop.call_later(_PATIENCE_SECONDS, begin)
    try:
        yield
    except asyncio.CancelledError:
        if not gone or task.uncancel() > 0:  # somebody else wants it to end as well
            raise
        raise ClientDisconnect from None
    finally:
        patience.cancel()
        if watching is not None:
            watching.cancel()
