"""What an analysis is, and every judgement about one that needs no I/O.

An analyser answers each text with an `Answer`; `decide` turns that and the number of attempts into
an `Outcome`; the store carries the outcome out. Nothing here knows a clock, a table or a socket.
"""

import hashlib
import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple, Protocol, assert_never

UNKNOWN_CLUSTER = "unknown"
MAX_CLUSTERS = 5
MAX_CLUSTER_LENGTH = 64
MAX_REASONING_LENGTH = 1000
MAX_RETRY_SECONDS = 60.0


# --- answers: what an analyser says of one text ---------------------------------------------------


@dataclass(frozen=True, slots=True)
class Analysis:
    """A usable result.

    `sentiment_score` lies in -1..+1, `confidence` in 0..1; `clusters` holds 1 to 5 different
    snake_case names. `details` is the analyser's whole answer as JSON-ready values, for debugging.
    1 USD is 10,000,000,000 ticks.
    """

    sentiment_score: float
    clusters: tuple[str, ...]
    confidence: float
    reasoning: str
    details: Mapping[str, object] = field(default_factory=dict)
    cost_usd_ticks: int = 0


@dataclass(frozen=True, slots=True)
class Unusable:
    """The analyser answered, but not in a shape that can be used. Asking again may help."""

    reason: str
    details: Mapping[str, object] = field(default_factory=dict)
    cost_usd_ticks: int = 0


@dataclass(frozen=True, slots=True)
class TransientFailure:
    """No answer: the other side or the way to it is in trouble (5xx, timeout, connection)."""

    reason: str


@dataclass(frozen=True, slots=True)
class Refused:
    """This text will not be analysed, however often it is sent. `doubtful` where that may be no
    fault of the text's."""

    reason: str
    doubtful: bool = False


@dataclass(frozen=True, slots=True)
class NotNow:
    """Nothing is wrong with the text; the analyser takes no calls for the moment."""

    reason: str


@dataclass(frozen=True, slots=True)
class Blocked:
    """Nothing is wrong with the text; no call can succeed until a person acts."""

    reason: str


Answer = Analysis | Unusable | TransientFailure | Refused | NotNow | Blocked


class CallOutcome(StrEnum):
    """How a call ended, in the words of the ledger."""

    UNDER_WAY = "under_way"
    ANSWERED = "answered"
    UNUSABLE = "unusable"  # for one of its texts at least
    REFUSED = "refused"
    RATE_LIMITED = "rate_limited"
    BLOCKED = "blocked"
    FAILED = "failed"  # the other side's fault: 5xx and the like
    TIMEOUT = "timeout"
    CONNECTION_ERROR = "connection_error"
    CUT_OFF = "cut_off"  # we stopped or died meanwhile: nobody knows what it cost


@dataclass(frozen=True, slots=True)
class Call:
    """One call to a model, for the ledger. `model` is the one that answered, None if none did.

    `completion_tokens` has the reasoning ones, which are billed alike. `cost_usd_ticks` None means
    that it may have been billed without our being told: xAI charges for texts that it refuses, and
    for answers that never arrived.
    """

    outcome: CallOutcome
    model: str | None = None
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    cost_usd_ticks: int | None = 0
    seconds: float = 0.0


class Reply(NamedTuple):
    """One answer for each text, in order; `call` is None where no call was sent."""

    answers: Sequence[Answer]
    call: Call | None = None


class Sighting(NamedTuple):
    """Clusters that an analysis gave to a text by this author, written on this day (since
    1970-01-01, UTC)."""

    clusters: Sequence[str]
    author: str | None = None
    day: int = 0


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


# --- outcomes: what becomes of a conversation -----------------------------------------------------


@dataclass(frozen=True, slots=True)
class Complete:
    """`fingerprint` lets equal texts be answered from this analysis, None never does. `notes` is
    what a reader of the insight should know besides."""

    analysis: Analysis
    fingerprint: str | None = None
    notes: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Retry:
    """Back to pending with the attempt spent, not to be claimed for `delay` seconds, and then,
    where `alone`, not to share a call with others."""

    error: str
    delay: float
    alone: bool = False


@dataclass(frozen=True, slots=True)
class Fail:
    error: str


@dataclass(frozen=True, slots=True)
class PutBack:
    """Back to pending as if it had never been claimed: waiting is not failing. Not to be claimed
    for `delay` seconds, so that others have their turn."""

    delay: float = 0.0


Outcome = Complete | Retry | Fail | PutBack


def decide(
    answer: Answer,
    attempts: int,
    *,
    max_attempts: int,
    jitter: float,
    packed: bool = False,
    outage: bool = False,
    probe_delay: float = 0.0,
) -> Outcome:
    """The one table of what an answer leads to.

    `attempts` counts the one just made, from 1. Unusable answers are asked for `max_attempts` times
    in all, then the fallback insight stands in. Failures are retried `max_attempts` times, after
    1, 2, 4 ... seconds, then the conversation fails, unless there is an `outage`, which is nobody's
    failure; a text that was refused then is put back for `probe_delay` seconds, since others may
    fare better. `jitter` in 0..1 stretches a delay by up to a half, so that conversations that
    failed together do not come back together. What came of a call that was `packed` with other
    texts may be their fault, so it ends nothing: the text is asked again, alone if it could have
    been one of them that spoiled the call.
    """
    match answer:
        case Analysis():
            return Complete(answer)
        case Unusable():
            if packed:
                return Retry(answer.reason, delay=0.0, alone=True)
            if attempts < max_attempts:
                return Retry(answer.reason, delay=0.0)
            return Complete(fallback(answer))
        case TransientFailure():
            if outage:
                return PutBack()
            if packed or attempts <= max_attempts:
                delay = min(2.0 ** (attempts - 1), MAX_RETRY_SECONDS) * (1 + jitter / 2)
                return Retry(answer.reason, delay, alone=packed and attempts > 1)
            return Fail(answer.reason)
        case Refused(doubtful=True) if outage:
            return PutBack(probe_delay)
        case Refused():
            return Retry(answer.reason, delay=0.0, alone=True) if packed else Fail(answer.reason)
        case NotNow() | Blocked():
            return PutBack()
        case _:
            assert_never(answer)


def fallback(answer: Unusable) -> Analysis:
    """The insight of a conversation that no usable answer could be had for."""
    return Analysis(
        sentiment_score=0.0,
        clusters=(UNKNOWN_CLUSTER,),
        confidence=0.0,
        reasoning=f"No usable analysis: {answer.reason}",
        details={**answer.details, "fallback": True},
        cost_usd_ticks=answer.cost_usd_ticks,
    )


# --- texts that are the same ----------------------------------------------------------------------

_HANDLE_OR_URL = re.compile(r"(?<!\w)@\w+|(?:https?://|www\.)\S+", re.IGNORECASE)
_FINGERPRINT_VERSION = "2"
"""Raised with every change to what an analyser sees of a text."""


def as_analysed(text: str) -> str:
    """The text as an analyser sees it: nothing that texts with one fingerprint may differ in can
    decide what an answer says of all of them. Handles are `@user`, links `URL`."""
    text = unicodedata.normalize("NFC", text)
    text = _HANDLE_OR_URL.sub(lambda found: "@user" if found[0][0] == "@" else "URL", text)
    return " ".join(text.split())


def fingerprint(text: str, reuse_key: str) -> str:
    """32 hex digits, equal for texts that differ in @handles, URLs, white space and Unicode form
    (NFC) only, and that are analysed in the same way."""
    text = _HANDLE_OR_URL.sub(" ", unicodedata.normalize("NFC", text))
    key = f"{_FINGERPRINT_VERSION}\0{reuse_key}\0{' '.join(text.split())}"
    return hashlib.sha256(key.encode("utf-8", "replace")).hexdigest()[:32]


# --- names of clusters ----------------------------------------------------------------------------


def normalise_clusters(names: Sequence[object]) -> tuple[str, ...]:
    """snake_case, no doubles, at most 5, in the order given; `("unknown",)` when none is left."""
    kept: dict[str, None] = {}
    for name in names:
        snake = snake_case(name) if isinstance(name, str) else ""
        if snake:
            kept[snake] = None
    return tuple(kept)[:MAX_CLUSTERS] or (UNKNOWN_CLUSTER,)


def snake_case(name: str) -> str:
    """`Late Delivery!`, `lateDelivery` and `late-delivery` are all `late_delivery`."""
    name = unicodedata.normalize("NFKC", name)
    name = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name)
    name = re.sub(r"[\W_]+", "_", name.casefold())
    return name.strip("_")[:MAX_CLUSTER_LENGTH].rstrip("_")


def storable(text: str) -> str:
    """Without what no database takes: NUL and lone surrogates."""
    return text.replace("\x00", "").encode("utf-8", "replace").decode("utf-8")
