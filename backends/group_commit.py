"""Group commit: callers that wait at the same moment share one transaction.

While one commit runs, the next items gather; no item waits on purpose. A lone caller pays for one
commit, a hundred at once pay for one or two together.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

from errors import ServiceError

Item = TypeVar("Item")
Result = TypeVar("Result")


class GroupCommit(Generic[Item, Result]):
    """`commit` stores a group in one transaction and tells each item's result, or its own error.

    If `commit` raises a ServiceError, all of the group get it. If it raises anything else, the
    items are tried again one by one, so that one that the database rejects does not fail the rest.
    `weigh` tells an item's size; a group weighs at most `max_weight`, or is one item.
    """

    def __init__(
        self,
        commit: Callable[[Sequence[Item]], Awaitable[Sequence[Result | ServiceError]]],
        *,
        weigh: Callable[[Item], int],
        max_weight: int,
    ) -> None:
        self._commit = commit
        self._weigh = weigh
        self._max_weight = max_weight
        self._waiting: deque[tuple[Item, asyncio.Future[Result]]] = deque()
        self._task: asyncio.Task[None] | None = None

    async def submit(self, item: Item) -> Result:
        """Return the item's result once it is committed; raise its error otherwise."""
        future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, future))
        if self._task is None:
            self._task = asyncio.create_task(self._drain())
        return await future

    async def drained(self) -> None:
        """Wait until all that was submitted has its answer."""
        while self._task is not None:
            await asyncio.wait([self._task])

    async def _drain(self) -> None:
        try:
            while self._waiting:
                if group := self._next_group():
                    await self._commit_group(group)
        finally:
            self._task = None

    def _next_group(self) -> list[tuple[Item, asyncio.Future[Result]]]:
        """The next items that fit, without those whose callers have been cancelled meanwhile."""
        group: list[tuple[Item, asyncio.Future[Result]]] = []
        weight = 0
        while self._waiting:
            item, future = self._waiting[0]
            weight += self._weigh(item)
            if group and weight > self._max_weight:
                break
            self._waiting.popleft()
            if not future.cancelled():
                group.append((item, future))
        return group

    async def _commit_group(self, group: list[tuple[Item, asyncio.Future[Result]]]) -> None:
        try:
            results: Sequence[Result | BaseException] = await self._commit(
                [item for item, _ in group]
            )
        except ServiceError as error:
            results = [error] * len(group)
        except Exception as error:
            if len(group) > 1:
                for member in group:
                    await self._commit_group([member])
                return
            results = [error]
        for (_, future), result in zip(group, results, strict=True):
            if future.done():  # the caller has gone
                continue
            if isinstance(result, BaseException):
                future.set_exception(result)
            else:
                future.set_result(result)
