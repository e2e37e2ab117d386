"""What the worker asks of an analyser, whichever it is."""

from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

from analysis.outcomes import Reply, Sighting


class Analyser(Protocol):
    """What the worker asks. One implementation calls Grok, one works offline."""

    name: str
    model: str
    concurrency: int
    """Calls that may be under way at once."""
    pack_size: int
    """Texts that one call takes at most."""
    import_rest: float
    """Seconds by which a call for the bulk lane puts off the next one while batches and live posts
    come in: for what shares the process with them."""

    @property
    def answering_model(self) -> str | None:
        """The model that answered last, where it is known."""
        ...

    @property
    def reuse_key(self) -> str:
        """Two analyses of one text may differ where this does: model, prompt, topics."""
        ...

    @property
    def calls_at_once(self) -> int:
        """Calls that may be sent in one go after a rest."""
        ...

    @property
    def call_limit_per_second(self) -> float | None:
        """What is kept to now; None where nothing limits calls."""
        ...

    @property
    def call_interval(self) -> float:
        """Seconds between calls when as many are made as are allowed; 0.0 without a limit."""
        ...

    def pause_left(self) -> float:
        """Seconds until a call makes sense again; 0.0 when it does now."""
        ...

    def highest_cost(self, texts: Sequence[str]) -> int | None:
        """What a call with these may cost at most, in ticks; None where calls are not paid for."""
        ...

    def assume_window_used(self) -> None:
        """Another process has made calls in the last seconds: they count to the limit."""
        ...

    def remember(self, recent: Iterable[Sighting]) -> None:
        """The clusters of analyses just made or, after a restart, of those before it: so that
        topics keep their names."""
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
