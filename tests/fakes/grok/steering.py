"""How a fake Grok is told to behave: its options, a script, rules by text, random faults, a rate.

No I/O: `server.py` asks it which reply a request gets, and how long that takes.
"""

from __future__ import annotations

import math
import random
from bisect import insort
from collections import deque
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, cast

from tests.fakes.grok.answer import CODES, Codes
from tests.fakes.grok.faults import replies_named
from tests.fakes.grok.obedience import WAYS
from tests.fakes.grok.replies import Reply

GOOD_KEY = "xai-" + "Fake0Key9x" * 8


def _codes(value: Any) -> Codes:
    if value not in CODES:
        raise ValueError(f"codes are one of {sorted(CODES)}, not {value!r}")
    return cast(Codes, value)


def _way(value: Any) -> str | None:
    if value is None or value == "any" or value in WAYS:
        return cast(str | None, value)
    raise ValueError(f"obey is one of {sorted(WAYS)}, any or null, not {value!r}")


def _number_or_none(value: Any) -> int | None:
    return None if value is None else int(value)


# What may be set from outside: the names of attributes, and what reads their values from JSON.
OPTIONS: dict[str, Callable[[Any], Any]] = {
    "latency": float,
    "latency_sigma": float,
    "jitter": float,
    "strict_rate": _number_or_none,
    "limit_requests": _number_or_none,
    "fault_rate": float,
    "faults": replies_named,
    "obey": _way,
    "bill_abandoned": bool,
    "default": Reply.named,
    "codes": _codes,
    "unknown_model_status": int,
    "key": str,
    "seed": int,
}


@dataclass(slots=True)
class _Rule:
    needle: str
    reply: Reply
    # None has no end.
    times: int | None


class Steering:
    """Every option is an attribute that may be changed at any time."""

    def __init__(
        self,
        *,
        latency: float = 0.0,
        latency_sigma: float = 0.0,
        jitter: float = 0.0,
        strict_rate: int | None = None,
        limit_requests: int | None = None,
        fault_rate: float = 0.0,
        faults: tuple[Reply, ...] = (),
        obey: str | None = None,
        bill_abandoned: bool = False,
        seed: int = 0,
        codes: Codes = "slug",
        unknown_model_status: int = 400,
        key: str = GOOD_KEY,
    ) -> None:
        """`latency` is in seconds and holds for 200s: constant, or the median of a log-normal
        distribution when `latency_sigma` is above 0. `jitter`, in seconds, is the most by which
        the way delays a request before it counts as arrived. `strict_rate` admits that many
        requests in any trailing second. `limit_requests` is the number that a good answer's headers
        tell as the limit of a minute, None the model's own. `fault_rate` is the share (0 to 1) of
        requests answered with one of `faults`. `seed` fixes all draws. `obey` is how to do what
        texts order (`obedience.py`), None never to. `bill_abandoned` also charges for answers
        whose client left before they came, as the real one does.
        """
        self.latency = latency
        self.latency_sigma = latency_sigma
        self.jitter = jitter
        self.strict_rate = strict_rate
        self.limit_requests = limit_requests
        self.fault_rate = fault_rate
        self.faults = faults
        self.obey = obey
        self.bill_abandoned = bill_abandoned
        self.default = Reply.ok()
        self.codes: Codes = codes
        self.unknown_model_status = unknown_model_status
        self.key = key
        self.seed = seed
        self.forget()

    @property
    def seed(self) -> int:
        return self._seed

    @seed.setter
    def seed(self, seed: int) -> None:
        self._seed = seed
        self._latency_draw = random.Random(f"latency {seed}")
        self._jitter_draw = random.Random(f"jitter {seed}")
        self._fault_draw = random.Random(f"faults {seed}")

    def configure(self, options: Mapping[str, Any]) -> None:
        """Set options from JSON, replies by name (`Reply.named`). Raises ValueError or TypeError,
        and then nothing is set."""
        if unknown := options.keys() - OPTIONS.keys():
            raise ValueError(f"no such options: {sorted(unknown)}")
        values = {name: OPTIONS[name](value) for name, value in options.items()}
        for name, value in values.items():
            setattr(self, name, value)

    def script(self, *replies: Reply) -> None:
        """Answer the next requests with these, one each, in this order."""
        self._script.extend(replies)

    def when_text(self, needle: str, reply: Reply, *, times: int | None = None) -> None:
        """Answer requests that carry a text containing `needle` with this, at most `times` times;
        None has no end."""
        self._rules.append(_Rule(needle, reply, times))

    def forget(self) -> None:
        """Forget every rule, every scripted reply and who passed lately; options stay."""
        self._script: deque[Reply] = deque()
        self._rules: list[_Rule] = []
        self._admitted: list[float] = []

    def next_reply(self, texts: Collection[str]) -> Reply:
        """That of the first text rule that matches, else the next scripted one, else a random
        fault, else the default."""
        for rule in self._rules:
            if rule.times != 0 and any(rule.needle in text for text in texts):
                rule.times = None if rule.times is None else rule.times - 1
                return rule.reply
        if self._script:
            return self._script.popleft()
        if self.faults and self._fault_draw.random() < self.fault_rate:
            return self._fault_draw.choice(self.faults)
        return self.default

    def admits(self, arrived: float) -> bool:
        """Whether `strict_rate` lets a request of this moment (time.monotonic()) pass."""
        if self.strict_rate is None:
            return True
        # Bodies can be read in another order than requests arrived, so the list is kept sorted.
        self._admitted = [past for past in self._admitted if past > arrived - 1.0]
        if len(self._admitted) >= self.strict_rate:
            return False
        insort(self._admitted, arrived)
        return True

    def draw_latency(self) -> float:
        """Seconds for a 200."""
        if self.latency_sigma <= 0.0 or self.latency <= 0.0:
            return self.latency
        return self._latency_draw.lognormvariate(math.log(self.latency), self.latency_sigma)

    def draw_jitter(self) -> float:
        """Seconds that the way takes."""
        return self._jitter_draw.uniform(0.0, self.jitter) if self.jitter > 0.0 else 0.0
