"""A sliding window that replicas share through Redis. Same face as `rate_limiter.SlidingWindow`."""

import time
from collections.abc import Callable
from random import getrandbits

import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError

from rate_limiter import Window

log = structlog.get_logger(__name__)

ANSWER_SECONDS = 0.25
_RETRY_SECONDS = 1.0
_ASK_AGAIN_SECONDS = 0.5
"""How many replicas there are."""
_NOTICED_SECONDS = _RETRY_SECONDS + 2 * ANSWER_SECONDS
"""For so long after Redis is back a replica may not have noticed, and pass by itself: until it asks
again, and has connected and heard the answer."""

# A log of passes by Redis's own clock, so that the replicas' clocks do not matter.
# Gives 0 for a pass, else the microseconds until enough passes have left the window. A Redis that
# is new, or was emptied, knows nothing of passes before: nobody passes for the time in ARGV[5].
_SCRIPT = """
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local per = tonumber(ARGV[2])
local rest = tonumber(ARGV[5])
if rest > 0 then
  local since = redis.call('GET', KEYS[2])
  if not since then
    redis.call('SET', KEYS[2], now)
    since = now
  end
  if now < since + rest then
    return since + rest - now
  end
end
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - per)
local count = tonumber(ARGV[4])
local too_many = redis.call('ZCARD', KEYS[1]) + count - tonumber(ARGV[1])
if too_many <= 0 then
  for number = 1, count do
    redis.call('ZADD', KEYS[1], now, now .. ':' .. ARGV[3] .. ':' .. number)
  end
  redis.call('PEXPIRE', KEYS[1], math.ceil(per / 1000) + 1000)
  return 0
end
local last = redis.call('ZRANGE', KEYS[1], too_many - 1, too_many - 1, 'WITHSCORES')
return math.max(1, last[2] + per - now)
"""


class RedisWindow:
    """While Redis does not answer, `otherwise` decides, with the part of one of `replicas`, and
    nobody passes while their number is not known; without one everybody passes."""

    def __init__(
        self,
        redis: Redis,
        *,
        name: str,
        calls: int,
        per: float,
        otherwise: Window | None,
        replicas: Callable[[], int | None] = lambda: 1,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._script = redis.register_script(_SCRIPT)
        self._key = f"insights:window:{name}"
        self._keys = [self._key, f"{self._key}:since"]
        self._calls = calls
        self._per_micros = int(per * 1_000_000)
        self._otherwise = otherwise
        self._replicas = replicas
        self._clock = clock
        self._away_until = 0.0
        self._away = False
        self._back_at = 0.0

    def limit(self, calls: int, per: float) -> None:
        self._calls = calls
        self._per_micros = int(per * 1_000_000)

    def put_off(self, passed_at: float) -> None:
        """Redis counts by its own clock: to ask it once more would take longer than it saves."""

    @property
    def counts_all(self) -> bool:
        return not self._away and self._clock() >= self._back_at

    def fill(self) -> None:
        """Redis remembers the passes of others; without it they have to be guessed."""
        if self._otherwise:
            self._otherwise.fill()

    async def try_pass(self, count: int = 1) -> float:
        """With a count of 0, nobody passes, and it is known again whether Redis is there."""
        if self._clock() >= self._away_until:
            try:
                wait = await self._script(keys=self._keys, args=self._arguments(count))
            except (RedisError, OSError, TimeoutError) as error:
                self._away_until = self._clock() + _RETRY_SECONDS
                if not self._away:
                    log.warning("redis_away", window=self._key, cause=repr(error))
                    self._away = True
                    self._take_part()
                    self.fill()  # with what passed through Redis a moment ago
            else:
                return max(int(wait) / 1_000_000, self._since_back())
        if self._otherwise is None:
            return 0.0
        calls = self._take_part()
        if not calls:
            return _ASK_AGAIN_SECONDS
        return await self._otherwise.try_pass(min(count, calls))

    def _arguments(self, count: int) -> list[int | str]:
        rest = 0 if self._otherwise is None else int(self._rest() * 1_000_000)
        return [self._calls, self._per_micros, f"{getrandbits(64):x}", count, rest]

    def _rest(self) -> float:
        """Seconds after which no second has passes in it that Redis does not know."""
        return self._per_micros / 1_000_000 + _NOTICED_SECONDS

    def _take_part(self) -> int:
        """Give `otherwise` what one of the replicas may do, and return its calls; 0 where it is not
        known how many there are."""
        if self._otherwise is None:
            return self._calls
        if (replicas := self._replicas()) is None:
            return 0
        calls = max(1, self._calls // replicas)
        per = self._per_micros / 1_000_000 * max(1.0, replicas / self._calls)
        self._otherwise.limit(calls, per)
        return calls

    def _since_back(self) -> float:
        """Seconds for which nobody passes, as Redis does not know who passed while it was away, and
        others may not have noticed that it is back."""
        if self._away:
            self._away = False
            log.info("redis_back", window=self._key)
            if self._otherwise is None:
                return 0.0
            self._back_at = self._clock() + self._rest()
        return max(0.0, self._back_at - self._clock())


def connect(url: str, *, answer_seconds: float = ANSWER_SECONDS) -> Redis:
    """Opens no connection yet; close with `aclose()`. It counts as away after `answer_seconds`."""
    return Redis.from_url(url, socket_timeout=answer_seconds, socket_connect_timeout=answer_seconds)
