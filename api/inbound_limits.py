"""How much the API takes in a second: in all, of each key, and of those without one."""

import math
from collections import OrderedDict
from collections.abc import Callable, Sequence

from api.connections import network_of
from config import ApiKey
from errors import RateLimited
from rate_limiter import SlidingWindow, Window

ROWS_PER_SECOND = 10_000
"""Of batches, for each key, or for all clients together where there are no keys."""
STRANGER_REQUESTS_PER_SECOND = 10
"""Without a valid key, for each address."""
OPEN_REQUESTS_PER_SECOND = 100
"""By anybody, of what needs no key; more of them are held."""
_MOST_STRANGERS = 10_000
"""Addresses that are remembered, at 1 kB each."""


class InboundLimits:
    """Methods raise RateLimited, and count nothing then.

    Where several keys are set none gets more than half of the requests, so that no client keeps
    the others out.
    """

    def __init__(
        self,
        requests: int,
        keys: Sequence[ApiKey],
        *,
        build: Callable[[str, int], Window],
    ) -> None:
        """`requests` pass in any second. `build` makes a window of one second from its name and the
        number that passes in it."""
        digests = {key.sha256 for key in keys}
        self._all = build("inbound", requests)
        self._shares: dict[str, Window] = {}
        if len(digests) > 1:
            half = max(1, requests // 2)
            self._shares = {each: build(f"inbound:{each[:16]}", half) for each in digests}
        self._rows = {each: build(f"rows:{each[:16]}", ROWS_PER_SECOND) for each in digests or {""}}
        self._open = SlidingWindow(OPEN_REQUESTS_PER_SECOND, 1.0)
        self._strangers: OrderedDict[str, SlidingWindow] = OrderedDict()

    async def request(self, key: ApiKey | None) -> None:
        """One by the holder of `key`; None where the API is open."""
        share = self._shares.get(key.sha256) if key else None
        for window in (share, self._all) if share else (self._all,):
            _refuse(await window.try_pass(), "Too many requests in this second.")

    async def passes_openly(self) -> bool:
        """Whether one more of what needs no key is not too many."""
        return not await self._open.try_pass()

    async def rows(self, key: ApiKey | None, count: int) -> None:
        """A batch of `count` rows, at most `ROWS_PER_SECOND`."""
        wait = await self._rows[key.sha256 if key else ""].try_pass(count)
        _refuse(wait, f"Too many rows in this second: batches may bring {ROWS_PER_SECOND}.")

    async def stranger(self, address: str) -> None:
        """One without a valid key, from this address."""
        network = network_of(address)
        window = self._strangers.pop(network, None)
        if window is None:
            window = SlidingWindow(STRANGER_REQUESTS_PER_SECOND, 1.0)
            if len(self._strangers) >= _MOST_STRANGERS:
                self._strangers.popitem(last=False)
        self._strangers[network] = window
        _refuse(await window.try_pass(), "Too many requests without a valid API key.")


def _refuse(wait: float, details: str) -> None:
    if wait:
        raise RateLimited(details, retry_after=max(1, math.ceil(wait)))
