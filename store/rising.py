"""Which topics are rising at present, looked up once a minute for all that is analysed in it."""

import time
from collections.abc import Set

from database import Database
from errors import Unavailable
from models import utc_now
from runtime.turns import give_back_right_of_way
from store.trends import TrendStore, Window

_KEPT_SECONDS = 60.0


class RisingTopics:
    def __init__(self, database: Database) -> None:
        self._trends = TrendStore(database)
        self._names: Set[str] = frozenset()
        self._kept_until = 0.0

    async def names(self) -> Set[str]:
        """As of a minute ago at most; longer where the database does not answer."""
        if time.monotonic() > self._kept_until:
            self._kept_until = time.monotonic() + _KEPT_SECONDS
            give_back_right_of_way()  # the settlement that asks has it, and would wait for itself
            try:
                found = await self._trends.trends(Window.ONE_HOUR, as_of=utc_now())
            except Unavailable:
                return self._names
            self._names = frozenset(
                trend.cluster for trend in found if trend.verdict.direction in ("rising", "new")
            )
        return self._names
