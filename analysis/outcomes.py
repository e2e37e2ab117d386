"""What an analyser can answer, and what becomes of a conversation with each answer: `decide`.

An analyser answers each text with an `Answer`; `decide` turns that and the number of attempts into
an `Outcome`; the store carries the outcome out. Nothing here knows a clock, a table or a socket.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple, assert_never

from analysis.language import UNKNOWN_LANGUAGE
from analysis.urgency import Urgency

UNKNOWN_CLUSTER = "unknown"
MAX_CLUSTERS = 5
MAX_RETRY_SECONDS = 60.0
_MOST_JITTER = 0.5
LONGEST_RETRY_SECONDS = MAX_RETRY_SECONDS * (1 + _MOST_JITTER)
LONGEST_REQUEUE_SECONDS = 3600.0
"""No outcome has a longer delay."""
TICKS_PER_USD = 10_000_000_000


# --- answers: what an analyser says of one text ---------------------------------------------------


@dataclass(frozen=True, slots=True)
class Analysis:
    """A usable result.

    `sentiment_score` lies in -1..+1, `confidence` in 0..1; `clusters` holds 1 to 5 different
    snake_case names. `details` is the analyser's whole answer as JSON-ready values, for debugging.
    Costs are in ticks (`TICKS_PER_USD`). `language` is an ISO 639-1 code, or `und` where it is not
    known.
    """

    sentiment_score: float
    clusters: tuple[str, ...]
    confidence: float
    reasoning: str
    details: Mapping[str, object] = field(default_factory=dict)
    cost_usd_ticks: int = 0
    language: str = UNKNOWN_LANGUAGE
    urgency: Urgency = Urgency.NONE


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


# --- outcomes: what becomes of a conversation -----------------------------------------------------


@dataclass(frozen=True, slots=True)
class Complete:
    """Equal texts are answered from this analysis by its `fingerprint`, never if that is None.
    `notes` is for the readers of the insight, as JSON-ready values."""

    analysis: Analysis
    fingerprint: str | None = None
    notes: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Retry:
    """Back to pending with the attempt spent, not to be claimed for `delay` seconds. With `alone`
    it shares no call with others from then on."""

    error: str
    delay: float
    alone: bool = False


@dataclass(frozen=True, slots=True)
class Fail:
    error: str


@dataclass(frozen=True, slots=True)
class Requeue:
    """Back to pending as if it had never been claimed: waiting is not failing. Not to be claimed
    for `delay` seconds, so that others have their turn; an error of before goes with it."""

    delay: float = 0.0


Outcome = Complete | Retry | Fail | Requeue


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
    """What an answer leads to: the one table.

    `attempts` counts the one just made, from 1. After an unusable answer the text is asked again,
    up to `max_attempts` attempts in all, then gets the fallback insight. After a failure it is
    retried up to `max_attempts` times, after 1, 2, 4 ... seconds, then fails. During an `outage`
    a failure costs no attempt, and a text that was refused is requeued for `probe_delay` seconds,
    since others may fare better. `jitter` in 0..1 stretches a delay by up to a half, so that
    conversations that failed together do not come back together. A call that was `packed` ends no
    conversation but by a good answer: another of its texts may have spoiled it, so the text is
    asked again, alone where a text could be at fault.
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
                return Requeue()
            if packed or attempts <= max_attempts:
                delay = min(2.0 ** (attempts - 1), MAX_RETRY_SECONDS) * (1 + _MOST_JITTER * jitter)
                return Retry(answer.reason, delay, alone=packed and attempts > 1)
            return Fail(answer.reason)
        case Refused(doubtful=True) if outage:
            return Requeue(probe_delay)
        case Refused():
            return Retry(answer.reason, delay=0.0, alone=True) if packed else Fail(answer.reason)
        case NotNow() | Blocked():
            return Requeue()
        case _:
            assert_never(answer)


def fallback(answer: Unusable) -> Analysis:
    """The insight of a conversation for which there was no usable answer."""
    return Analysis(
        sentiment_score=0.0,
        clusters=(UNKNOWN_CLUSTER,),
        confidence=0.0,
        reasoning=f"No usable analysis: {answer.reason}",
        details={**answer.details, "fallback": True},
        cost_usd_ticks=answer.cost_usd_ticks,
    )
