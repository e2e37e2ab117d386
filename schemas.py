"""What clients send: the shapes of bodies and queries, and how a mistake is told to a person. What
they are answered is in `api/answers.py`."""

import hashlib
import json
import math
import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any, NamedTuple, Self, TypeVar

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    StringConstraints,
    ValidationError,
    ValidationInfo,
    WithJsonSchema,
    model_validator,
)
from pydantic_core import PydanticKnownError, to_json

from analysis.handling import HandlingChange, HandlingState
from analysis.sentiment import Sentiment
from analysis.words import parse_search
from errors import InvalidInput
from models import Lane, to_micros
from store.conversations import NewConversation
from store.filters import InsightFilter
from store.plans.plan import PlanKind
from store.summaries import Interval
from store.trends import Window

MAX_BATCH = 1000
MAX_LIVE_BATCH = 10
MAX_IDEMPOTENCY_KEY = 255
MAX_AUTHOR_LENGTH = 500
MAX_SEARCH_LENGTH = 1000
MAX_RAW_DATA_LEVELS = 64
MAX_NAME_LENGTH = 100
MAX_NOTE_LENGTH = 2000
CLAIM_MINUTES = 15
MAX_CLAIM_MINUTES = 480
MAX_SNOOZE_MINUTES = 90 * 24 * 60
_MINUTE = 60_000_000


# --- times ----------------------------------------------------------------------------------------


def parse_time(value: object) -> datetime:
    """ISO 8601 text as an aware time in UTC; without an offset it is UTC. Raises ValueError."""
    if isinstance(value, datetime):
        return value
    if not isinstance(value, str):
        raise ValueError("must be an ISO 8601 time in quotes, such as 2025-01-20T10:00:00Z")
    try:
        moment = datetime.fromisoformat(value.strip().upper())
        if moment.tzinfo is None:
            return moment.replace(tzinfo=UTC)
        return moment.astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError("must be an ISO 8601 time, such as 2025-01-20T10:00:00Z") from None


def _parse_query_time(value: object) -> datetime:
    """Also with the `+` of an offset turned into a blank, as an unescaped one in a URL is."""
    if isinstance(value, str):
        value = re.sub(r"([Tt ][\d:.,]+) (\d\d(?::?\d\d)?)$", r"\1+\2", value)
    return parse_time(value)


def format_time(moment: datetime) -> str:
    """`2025-01-20T10:00:00Z`, with a fraction only where there is one; as `to_json` writes it."""
    return moment.isoformat().replace("+00:00", "Z")


_TIME_SCHEMA = WithJsonSchema({"type": "string", "format": "date-time"})
Time = Annotated[AwareDatetime, BeforeValidator(parse_time), _TIME_SCHEMA]
QueryTime = Annotated[AwareDatetime, BeforeValidator(_parse_query_time), _TIME_SCHEMA]
ShownTime = Annotated[datetime, PlainSerializer(format_time, return_type=str), _TIME_SCHEMA]


# --- requests -------------------------------------------------------------------------------------


def _storable(value: str) -> str:
    if "\x00" in value:
        raise ValueError("must not contain the NUL character")
    return value


def _limited(text: str, info: ValidationInfo) -> str:
    """The upper limit is a setting: the caller passes it to pydantic as the context."""
    longest = info.context and info.context["max_text_length"]
    if longest and len(text) > longest:
        raise PydanticKnownError("string_too_long", {"max_length": longest})
    return text


def check_idempotency_key(key: str) -> str:
    """1 to 255 printable characters. Raises ValueError."""
    if not key.isprintable() or not 1 <= len(key) <= MAX_IDEMPOTENCY_KEY:
        raise ValueError(f"must be 1 to {MAX_IDEMPOTENCY_KEY} printable characters")
    return key


def _check_raw_data(value: dict[str, Any]) -> dict[str, Any]:
    _check_json(value, level=1)
    return value


def _check_json(value: object, *, level: int) -> None:
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError("numbers must be finite")
    if isinstance(value, dict | list):
        if level > MAX_RAW_DATA_LEVELS:
            raise ValueError(f"must be at most {MAX_RAW_DATA_LEVELS} levels deep")
        for child in value.values() if isinstance(value, dict) else value:
            _check_json(child, level=level + 1)


Storable = Annotated[str, AfterValidator(_storable)]
Text = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1),
    AfterValidator(_limited),
    AfterValidator(_storable),
]


_SORTED = json.JSONEncoder(sort_keys=True)


class ConversationIn(BaseModel):
    """One conversation as a client hands it in. Unknown fields are ignored."""

    text: Text
    # PostgreSQL's index on it takes 2,700 bytes at most.
    author: (
        Annotated[str, StringConstraints(max_length=MAX_AUTHOR_LENGTH), AfterValidator(_storable)]
        | None
    ) = None
    timestamp: Time | None = Field(None, description="Default: now. Without an offset it is UTC.")
    raw_data: Annotated[dict[str, Any], AfterValidator(_check_raw_data)] | None = None

    def to_new(self, idempotency_key: str | None) -> NewConversation:
        body_hash = self._hash() if idempotency_key is not None else None
        raw_data = None if self.raw_data is None else to_json(self.raw_data).decode()
        return NewConversation(
            self.text, self.author, self.timestamp, raw_data, idempotency_key, body_hash
        )

    def _hash(self) -> str:
        """The same for the same content, however the JSON was spelled."""
        timestamp = None if self.timestamp is None else format_time(self.timestamp)
        content = _SORTED.encode([self.text, self.author, timestamp, self.raw_data])
        return hashlib.sha256(content.encode()).hexdigest()


class BatchItemIn(ConversationIn):
    idempotency_key: Annotated[str, AfterValidator(check_idempotency_key)] | None = None


class BatchIn(BaseModel):
    conversations: list[BatchItemIn] = Field(min_length=1, max_length=MAX_BATCH)
    lane: Lane = Field(Lane.BULK, description=f"`live` takes at most {MAX_LIVE_BATCH}.")

    @model_validator(mode="after")
    def _few_go_first(self) -> Self:
        if self.lane is Lane.LIVE and len(self.conversations) > MAX_LIVE_BATCH:
            raise InvalidInput(
                f"conversations: the live lane takes at most {MAX_LIVE_BATCH} in a batch"
            )
        return self


def _printable(name: str) -> str:
    name = name.strip()
    if not name.isprintable() or not 1 <= len(name) <= MAX_NAME_LENGTH:
        raise ValueError(f"must be 1 to {MAX_NAME_LENGTH} printable characters")
    return name


PersonName = Annotated[str, AfterValidator(_printable)]
"""Of somebody of the team: a name, not a proof."""


class HandlingIn(BaseModel):
    """What somebody does about a conversation. A claim holds for some `minutes`, a snooze for some
    or `until` a time; nothing else has an end."""

    state: HandlingState
    by: PersonName = Field(json_schema_extra={"minLength": 1, "maxLength": MAX_NAME_LENGTH})
    minutes: int | None = Field(
        None,
        ge=1,
        le=MAX_SNOOZE_MINUTES,
        description=f"Of a claim at most {MAX_CLAIM_MINUTES}, by default {CLAIM_MINUTES}.",
    )
    until: Time | None = Field(None, description="Of a snooze, in place of `minutes`.")
    take_over: bool = Field(False, description="Claim it even where another one holds it.")
    note: (
        Annotated[str, StringConstraints(max_length=MAX_NOTE_LENGTH), AfterValidator(_storable)]
        | None
    ) = None

    def to_change(self, now: int) -> HandlingChange:
        """`now` is in microseconds. Raises InvalidInput."""
        return HandlingChange(self.state, self.by, self._until(now), self.take_over, self.note)

    def _until(self, now: int) -> int | None:
        if self.until is not None and self.state is not HandlingState.SNOOZED:
            raise InvalidInput(f"until: is for snoozes, and this is {self.state}")
        match self.state:
            case HandlingState.CLAIMED:
                minutes = CLAIM_MINUTES if self.minutes is None else self.minutes
                if minutes > MAX_CLAIM_MINUTES:
                    raise InvalidInput(f"minutes: of a claim must be at most {MAX_CLAIM_MINUTES}")
                return now + minutes * _MINUTE
            case HandlingState.SNOOZED if (self.minutes is None) == (self.until is None):
                raise InvalidInput("until: a snooze needs either until or minutes")
            case HandlingState.SNOOZED:
                until = now + (self.minutes or 0) * _MINUTE
                if self.until is not None:
                    until = to_micros(self.until)
                if not now < until <= now + MAX_SNOOZE_MINUTES * _MINUTE:
                    raise InvalidInput("until: must be in the future, by at most 90 days")
                return until
            case _ if self.minutes is not None:
                raise InvalidInput(f"minutes: are for claims and snoozes, and this is {self.state}")
        return None


class TimeRange(BaseModel):
    start_time: QueryTime
    end_time: QueryTime


Part = TypeVar("Part", bound=BaseModel)


class Conditions(BaseModel):
    """Which insights, whenever they were; what all that selects insights has in common."""

    min_confidence: float | None = Field(None, ge=0, le=1)
    sentiment: Sentiment | None = None
    cluster: Storable | None = None
    author: Storable | None = None


class InsightConditions(TimeRange, Conditions):
    """Which insights; what list, summary and export have in common."""

    def to_filter(self) -> InsightFilter:
        """Raises InvalidInput."""
        if self.start_time > self.end_time:
            raise InvalidInput("start_time must not be after end_time")
        return InsightFilter(
            start_time=self.start_time,
            end_time=self.end_time,
            min_confidence=self.min_confidence,
            sentiment=self.sentiment,
            cluster=self.cluster,
            author=self.author,
        )


_Search = Annotated[
    str,
    Field(
        max_length=MAX_SEARCH_LENGTH,
        description="Words that the text must hold; "
        '`"a phrase"` in quotes; `refun*` for a beginning.',
    ),
]


class SearchConditions(InsightConditions):
    q: _Search | None = None

    def to_filter(self) -> InsightFilter:
        wanted = super().to_filter()
        return wanted if self.q is None else replace(wanted, words=parse_search(self.q))


class InsightQuery(SearchConditions):
    limit: int = Field(100, ge=1, le=1000)
    cursor: str | None = None


class SummaryQuery(InsightConditions):
    interval: Interval = Interval.HOUR


# --- plans ----------------------------------------------------------------------------------------


class PlanFilter(Conditions):
    """The conditions of a search; a name that is none of them is refused, since without it more
    would be meant."""

    model_config = ConfigDict(extra="forbid")

    start_time: Time | None = None
    end_time: Time | None = None
    q: _Search | None = None

    @model_validator(mode="after")
    def _can_be_asked(self) -> Self:
        if self.start_time and self.end_time and self.start_time > self.end_time:
            raise InvalidInput("filter: start_time must not be after end_time")
        if self.q is not None:
            parse_search(self.q)
        return self

    def named(self) -> dict[str, Any]:
        """The conditions as JSON, without those that say nothing."""
        return self.model_dump(mode="json", exclude_none=True)


class PlanIn(BaseModel):
    """A change of many rows. `label` and `handling` need `set` and `by`, `rule` needs `rule_id`;
    `unlabel` takes back the labels of people, or with `rule_id` those of a rule."""

    model_config = ConfigDict(extra="forbid")

    kind: PlanKind
    filter: PlanFilter = Field(default_factory=PlanFilter)
    set: dict[str, Any] | None = Field(
        None,
        description="Of `label`: `sentiment` or `sentiment_score`, and/or `clusters`. Of"
        " `handling`: `state`, with `minutes` or `until` where it ends by itself, and `note`.",
    )
    by: PersonName | None = None
    rule_id: str | None = None

    @model_validator(mode="after")
    def _has_what_its_kind_needs(self) -> Self:
        needed = _NEEDED_OF_PLANS[self.kind]
        for name, value in (("set", self.set), ("by", self.by), ("rule_id", self.rule_id)):
            if value is None and name in needed.must:
                raise InvalidInput(f"{name}: a plan of kind {self.kind} needs it")
            if value is not None and name not in needed.must | needed.may:
                raise InvalidInput(f"{name}: a plan of kind {self.kind} has none")
        if self.kind is PlanKind.RETRY:
            for name in sorted(self.filter.named().keys() - _CONDITIONS_OF_RETRIES):
                raise InvalidInput(f"filter.{name}: what failed has none")
        return self

    def checked_set(self, now: int) -> dict[str, Any] | None:
        """`set`, as the kind takes it; `now` is in microseconds. Raises InvalidInput."""
        match self.kind:
            case PlanKind.LABEL:
                labels = _part_of(PlanLabels, "set", self.set or {})
                if not labels.model_fields_set:
                    raise InvalidInput("set: must have a sentiment, a sentiment_score or clusters")
                if labels.sentiment is not None and labels.sentiment_score is not None:
                    raise InvalidInput("set: must have either sentiment or sentiment_score")
                return labels.model_dump(mode="json", exclude_none=True)
            case PlanKind.HANDLING:
                handling = _part_of(HandlingIn, "set", {**(self.set or {}), "by": self.by})
                handling.to_change(now)
                what = handling.model_dump(mode="json", exclude_none=True, exclude={"by"})
                claims = handling.state is HandlingState.CLAIMED
                return {"minutes": CLAIM_MINUTES, **what} if claims else what
        return self.set


def _part_of(shape: type[Part], name: str, given: dict[str, Any]) -> Part:
    """A part of a body whose shape another part decides. Raises InvalidInput."""
    try:
        return shape.model_validate(given)
    except ValidationError as error:
        errors = error.errors(include_url=False, include_input=False)
        raise InvalidInput(
            explain([{**one, "loc": (name, *one["loc"])} for one in errors])
        ) from None


class _Needed(NamedTuple):
    must: frozenset[str]
    may: frozenset[str]


_NEEDED_OF_PLANS = {
    PlanKind.LABEL: _Needed(frozenset({"set", "by"}), frozenset()),
    PlanKind.RULE: _Needed(frozenset({"rule_id"}), frozenset({"by"})),
    PlanKind.UNLABEL: _Needed(frozenset(), frozenset({"by", "rule_id"})),
    PlanKind.HANDLING: _Needed(frozenset({"set", "by"}), frozenset()),
    PlanKind.RETRY: _Needed(frozenset(), frozenset({"by"})),
}
_CONDITIONS_OF_RETRIES = {"author", "start_time", "end_time"}


class PlanLabels(BaseModel):
    """What a plan of kind `label` sets."""

    model_config = ConfigDict(extra="forbid")

    sentiment: Sentiment | None = None
    sentiment_score: float | None = Field(None, ge=-1, le=1)
    clusters: list[Storable] | None = Field(None, min_length=1, max_length=5)


class PlansQuery(BaseModel):
    limit: int = Field(20, ge=1, le=100)


class ExportFormat(StrEnum):
    CSV = "csv"
    NDJSON = "ndjson"


class ExportQuery(SearchConditions):
    format: ExportFormat = ExportFormat.CSV
    bom: bool = Field(False, description="Begin a CSV with a byte order mark, as Excel needs it.")


_Beginning = Annotated[str, Field(min_length=1, max_length=100)]  # checked first, as a text


class AuthorsQuery(BaseModel):
    prefix: Annotated[_Beginning, AfterValidator(_storable)] | None = Field(
        None, description="How names begin, whatever the case; a leading `@` is ignored."
    )
    start_time: QueryTime | None = None
    end_time: QueryTime | None = None
    limit: int = Field(20, ge=1, le=100)


class TrendsQuery(BaseModel):
    window: Window = Window.ONE_HOUR
    as_of: QueryTime | None = Field(None, description="Default: now.")


class FailedQuery(BaseModel):
    limit: int = Field(100, ge=1, le=1000)
    cursor: str | None = None


def explain(errors: Sequence[Any]) -> str:
    """The first of pydantic's errors, as one would say it to a person."""
    error = errors[0]
    place = ""
    for part in error["loc"]:
        place += f"[{part}]" if isinstance(part, int) else f".{part}" if place else str(part)
    match error["type"]:
        case "missing" if "." not in place:
            return f"Missing required field: {place}"
        case "missing":
            problem = "missing required field"
        case "string_too_short":
            problem = "must not be empty"
        case "string_too_long":
            problem = f"must be at most {error['ctx']['max_length']} characters"
        case "too_short" | "too_long":
            problem = f"must hold 1 to {MAX_BATCH} conversations"
        case _:
            problem = error["msg"].removeprefix("Value error, ")
    return f"{place or 'The body'}: {problem}"
