"""What clients send: conversations, handling and the queries of GET, and how a mistake is told to a
person. Other bodies are in `api/..._bodies.py`, answers in `api/answers.py`."""

import hashlib
import json
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    Field,
    GetCoreSchemaHandler,
    PlainSerializer,
    StringConstraints,
    ValidationInfo,
    WithJsonSchema,
    model_validator,
    with_config,
)
from pydantic_core import CoreSchema, PydanticKnownError, core_schema, to_json

from analysis.handling import HandlingChange, HandlingState
from analysis.labels import LastWord
from analysis.language import check_language
from analysis.senders import followers_of, is_outbound
from analysis.sentiment import Sentiment
from analysis.urgency import Urgency
from analysis.words import parse_search
from errors import InvalidInput
from models import Lane, format_time, to_micros, utc_now
from store.conversations import NewConversation
from store.filters import InsightFilter
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
_FLAT = {str, int, bool, type(None)}

built_late = with_config(defer_build=True)
"""Of a typed dict that a route answers with: what checks it is built when it is first needed."""


class Shape(BaseModel, defer_build=True):
    """Of a body or an answer, built late too: a tenth of the time of a start. Queries are not:
    pydantic warns of their fields' names, which FastAPI hides only while it makes a route."""


_NAMED_BY_JSON = {
    "model_type": "Input should be an object",
    "is_instance_of": "Input should be an object",
    "list_type": "Input should be a valid array",
}
"""Also where the JSON has become Python before it was found wrong."""
NOT_KNOWN = "is not known here"


# --- times ----------------------------------------------------------------------------------------


def parse_time(value: object) -> datetime:
    """ISO 8601 text as an aware time in UTC; without an offset it is UTC. Raises ValueError."""
    if isinstance(value, datetime):
        return value
    if not isinstance(value, str):
        raise ValueError("must be an ISO 8601 time in quotes, such as 2025-01-20T10:00:00Z")
    try:
        moment = datetime.fromisoformat(value.strip().upper())
        if moment.tzinfo is UTC:
            return moment
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


_TIME_SCHEMA = WithJsonSchema({"type": "string", "format": "date-time"})
Time = Annotated[AwareDatetime, BeforeValidator(parse_time), _TIME_SCHEMA]
QueryTime = Annotated[AwareDatetime, BeforeValidator(_parse_query_time), _TIME_SCHEMA]
ShownTime = Annotated[datetime, PlainSerializer(format_time, return_type=str), _TIME_SCHEMA]


# --- requests -------------------------------------------------------------------------------------


def storable(value: str) -> str:
    if "\x00" in value:
        raise ValueError("must not contain the NUL character")
    return value


def _limited(text: str, info: ValidationInfo) -> str:
    """The upper limit is a setting: the caller passes it to pydantic as the context."""
    longest = info.context and info.context["max_text_length"]
    if longest and len(text) > longest:
        raise PydanticKnownError("string_too_long", {"max_length": longest})
    return storable(text)


def check_idempotency_key(key: str) -> str:
    """1 to 255 printable characters. Raises ValueError."""
    if not key.isprintable() or not 1 <= len(key) <= MAX_IDEMPOTENCY_KEY:
        raise ValueError(f"must be 1 to {MAX_IDEMPOTENCY_KEY} printable characters")
    return key


def _check_raw_data(value: dict[str, Any]) -> dict[str, Any]:
    """Level by level, since calling a function for each value would take ten times as long."""
    if _FLAT.issuperset(map(type, value.values())):  # as most are: a third of the time
        return value
    level: list[Any] = [value]
    for _ in range(MAX_RAW_DATA_LEVELS):
        deeper: list[Any] = []
        for container in level:
            for child in container.values() if isinstance(container, dict) else container:
                kind = type(child)  # the parser makes no others
                if kind is dict or kind is list:
                    deeper.append(child)
                elif kind is float and not math.isfinite(child):
                    raise ValueError("numbers must be finite")
        if not deeper:
            return value
        level = deeper
    raise ValueError(f"must be at most {MAX_RAW_DATA_LEVELS} levels deep")


class _AsParsed:
    """An object that the parser has made is taken as it is: a copy of one with many keys would take
    as long as parsing it, in one go."""

    def __get_pydantic_core_schema__(
        self, source: type[Any], handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        parsed = core_schema.is_instance_schema(dict)
        return core_schema.json_or_python_schema(handler(source), parsed)


FilterName = Annotated[str, Field(max_length=MAX_AUTHOR_LENGTH), AfterValidator(storable)]
"""Of an author or a topic: nothing that is stored has a longer one."""
Text = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1), AfterValidator(_limited)
]

_SORTED = json.JSONEncoder(sort_keys=True)


def hash_of(content: Any) -> str:
    """The same for the same content, however the JSON was spelled."""
    return hashlib.sha256(_SORTED.encode(content).encode()).hexdigest()


class ConversationIn(Shape):
    """One conversation as a client hands it in. Unknown fields are ignored."""

    text: Text
    # PostgreSQL's index on it takes 2,700 bytes at most.
    author: (
        Annotated[str, StringConstraints(max_length=MAX_AUTHOR_LENGTH), AfterValidator(storable)]
        | None
    ) = None
    timestamp: Time | None = Field(None, description="Default: now. Without an offset it is UTC.")
    raw_data: Annotated[dict[str, Any], _AsParsed(), AfterValidator(_check_raw_data)] | None = None

    def to_new(
        self,
        idempotency_key: str | None,
        *,
        write: Callable[[Any], bytes] = to_json,
        hash_: Callable[[Any], str] = hash_of,
    ) -> NewConversation:
        """`write` gives the JSON of an object, and `hash_` what `hash_of` does. An author that is
        blank, as forms and spreadsheets send it, is none."""
        body_hash = None if idempotency_key is None else hash_(self._content())
        raw_data = self.raw_data
        return NewConversation(
            self.text,
            None if self.author is None or not self.author.strip() else self.author,
            self.timestamp,
            None if raw_data is None else write(raw_data).decode(),
            idempotency_key,
            body_hash,
            raw_data is not None and is_outbound(raw_data),
            None if raw_data is None else followers_of(raw_data),
        )

    def _content(self) -> list[Any]:
        timestamp = None if self.timestamp is None else format_time(self.timestamp)
        return [self.text, self.author, timestamp, self.raw_data]


class BatchItemIn(ConversationIn):
    idempotency_key: Annotated[str, AfterValidator(check_idempotency_key)] | None = None


class BatchIn(Shape):
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


class HandlingIn(Shape):
    """What somebody does. A claim holds for some `minutes`, a snooze so long or `until` a time."""

    state: HandlingState
    by: PersonName = Field(json_schema_extra={"minLength": 1, "maxLength": MAX_NAME_LENGTH})
    minutes: int | None = Field(
        None,
        strict=True,
        ge=1,
        le=MAX_SNOOZE_MINUTES,
        description=f"Of a claim at most {MAX_CLAIM_MINUTES}, by default {CLAIM_MINUTES}.",
    )
    until: Time | None = Field(None, description="Of a snooze, in place of `minutes`.")
    take_over: bool = Field(False, strict=True, description="Claim it even where another holds it.")
    note: (
        Annotated[str, StringConstraints(max_length=MAX_NOTE_LENGTH), AfterValidator(storable)]
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


Language = Annotated[str, AfterValidator(check_language)]


class Conditions(BaseModel):
    """Which insights, whenever they were; what all that selects insights has in common."""

    min_confidence: float | None = Field(None, ge=0, le=1)
    sentiment: Sentiment | None = None
    cluster: FilterName | None = None
    author: FilterName | None = None
    language: Language | None = Field(
        None, description="An ISO 639-1 code, or `und` where it is not known."
    )
    urgency: Urgency | None = None
    labelled: LastWord | None = Field(None, description="Who has the last word on the labels.")
    handling: HandlingState | None = Field(
        None, description="Claims and snoozes that have run out are open."
    )


class InsightConditions(TimeRange, Conditions):
    """Which insights; what list, summary and export have in common."""

    def to_filter(self) -> InsightFilter:
        """Raises InvalidInput."""
        if self.start_time > self.end_time:
            raise InvalidInput("start_time must not be after end_time")
        asked = {name: getattr(self, name) for name in Conditions.model_fields}
        return InsightFilter(self.start_time, self.end_time, **asked)


Search = Annotated[
    str,
    Field(
        max_length=MAX_SEARCH_LENGTH,
        description="Words that the text must hold; "
        '`"a phrase"` in quotes; `refun*` for a beginning.',
    ),
]


class SearchConditions(InsightConditions):
    q: Search | None = None

    def to_filter(self) -> InsightFilter:
        wanted = super().to_filter()
        return wanted if self.q is None else replace(wanted, words=parse_search(self.q))


class Order(StrEnum):
    NEWEST = "newest"
    PRIORITY = "priority"


_LEFT_OUT = "May be left out where the order is `priority`: then it is the last `PRIORITY_HOURS`."


class InsightQuery(SearchConditions):
    start_time: QueryTime = Field(default_factory=utc_now, description=_LEFT_OUT)
    end_time: QueryTime = Field(default_factory=utc_now, description=_LEFT_OUT)
    order: Order = Field(
        Order.NEWEST, description="`priority`: what is open, whom to answer first at the top."
    )
    limit: int = Field(100, ge=1, le=1000)
    cursor: str | None = None

    @model_validator(mode="after")
    def _as_the_order_needs(self) -> Self:
        if self.order is Order.NEWEST:
            for name in TimeRange.model_fields:
                if name not in self.model_fields_set:
                    raise InvalidInput(f"Missing required field: {name}")
        elif self.handling not in (None, HandlingState.OPEN):
            raise InvalidInput("handling: what has the order priority is open")
        return self

    def in_window(self, window: timedelta) -> "InsightQuery":
        """With its times, also where they were left out, and with what its order asks for."""
        if self.order is Order.NEWEST:
            return self
        found: dict[str, Any] = {"handling": HandlingState.OPEN}
        if "start_time" not in self.model_fields_set:
            window = min(window, self.end_time - datetime.min.replace(tzinfo=UTC))
            found["start_time"] = self.end_time - window
        return self.model_copy(update=found)


class SummaryQuery(InsightConditions):
    interval: Interval = Interval.HOUR


class ExportFormat(StrEnum):
    CSV = "csv"
    NDJSON = "ndjson"


class ExportQuery(SearchConditions):
    order: Literal["newest"] = "newest"
    format: ExportFormat = ExportFormat.CSV
    bom: bool = Field(False, description="Begin a CSV with a byte order mark, as Excel needs it.")
    delimiter: Literal["comma", "semicolon"] = Field(
        "comma", description="Of a CSV. Excel needs a semicolon where numbers have a comma."
    )


_Beginning = Annotated[str, Field(min_length=1, max_length=100)]  # checked first, as a text


class AuthorsQuery(BaseModel):
    prefix: Annotated[_Beginning, AfterValidator(storable)] | None = Field(
        None,
        description="How names begin, whatever case and Unicode form; a leading `@` is ignored.",
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
        case "too_short" | "too_long" if place == "conversations":
            problem = f"must hold 1 to {MAX_BATCH} conversations"
        case "too_short":
            problem = f"must hold at least {error['ctx']['min_length']}"
        case "too_long":
            problem = f"must hold at most {error['ctx']['max_length']}"
        case "extra_forbidden":
            problem = NOT_KNOWN
        case _:
            problem = _NAMED_BY_JSON.get(error["type"], error["msg"]).removeprefix("Value error, ")
    return f"{place or 'The body'}: {problem}"
