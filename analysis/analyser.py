"""What the worker asks of an analyser, whichever it is."""

from collections.abc import Callable, Sequence
from typing import Protocol

from analysis.outcomes import Reply


class Throttle:
    """How much an analyser takes: `concurrency` calls at once, each with `pack_size` texts at most.
    This one knows no limit in time and no price; others override what they limit."""

    def __init__(self, *, concurrency: int = 1, pack_size: int = 1) -> None:
        self.concurrency = concurrency
        self.pack_size = pack_size

    @property
    def calls_at_once(self) -> int:
        """Calls that may be sent in one go after a rest."""
        return self.concurrency

    @property
    def call_limit_per_second(self) -> float | None:
        """What is kept to now; None where nothing limits calls."""
        return None

    @property
    def call_interval(self) -> float:
        """Seconds between calls when as many are made as are allowed; 0.0 without a limit."""
        return 0.0

    @property
    def gather_seconds(self) -> float:
        """How long after one call the next one waits for more conversations to share it, where few
        wait; 0.0 where each goes at once."""
        return 0.0

    @property
    def is_crowded(self) -> bool:
        """Whether as many calls have left as may, so that the next one waits for its turn."""
        return False

    def highest_cost(self, texts: Sequence[str]) -> int | None:
        """What a call with these may cost at most, in ticks; None where calls are not paid for."""
        return None

    def pause_left(self) -> float:
        """Seconds until a call makes sense again; 0.0 when it does now."""
        return 0.0

    def assume_window_used(self) -> None:
        """Another process has made calls in the last seconds: they count to the limit."""


class Analyser(Protocol):
    """One implementation calls Grok, one works offline."""

    name: str
    model: str

    @property
    def notice(self) -> str | None:
        """What people should know of its answers; None where there is nothing to tell."""
        ...

    @property
    def throttle(self) -> Throttle: ...

    @property
    def reuse_key(self) -> str:
        """Two analyses of one text may differ where this does: model, prompt, topics."""
        ...

    async def analyse(
        self,
        texts: Sequence[str],
        *,
        request_id: str | None = None,
        on_sent: Callable[[], None] = lambda: None,
    ) -> Reply:
        """Raises only for bugs: a failure is an answer too. `on_sent` hears when the call leaves,
        which may be well after it was asked for; `request_id` names it to the other side."""
        ...

    async def aclose(self) -> None: ...
