"""The bodies that ask for plans."""

from collections.abc import Mapping
from typing import Any, NamedTuple, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from analysis.handling import HandlingState
from analysis.words import parse_search
from api.label_bodies import LabelSet
from api.services import Services
from errors import InvalidInput, inside
from models import now_micros
from schemas import (
    CLAIM_MINUTES,
    NOT_KNOWN,
    Conditions,
    HandlingIn,
    PersonName,
    Search,
    Shape,
    Time,
    explain,
)
from store.plans.plan import PlanKind

Part = TypeVar("Part", bound=BaseModel)


class PlanFilter(Conditions):
    """The conditions of a search; a name that is none of them is refused, since without it more
    would be meant."""

    model_config = ConfigDict(extra="forbid")

    min_confidence: float | None = Field(None, strict=True, ge=0, le=1)
    start_time: Time | None = None
    end_time: Time | None = None
    q: Search | None = None

    @model_validator(mode="after")
    def _can_be_asked(self) -> Self:
        if self.start_time and self.end_time and self.start_time > self.end_time:
            raise InvalidInput("filter: start_time must not be after end_time")
        if self.q is not None:
            with inside("filter"):
                parse_search(self.q)
        return self

    def named(self) -> dict[str, Any]:
        """The conditions as JSON, without those that say nothing."""
        return self.model_dump(mode="json", exclude_none=True)


class PlanIn(Shape):
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

    def checked_set(self, parts: Services) -> Mapping[str, Any] | None:
        """`set`, as the kind takes it. Raises InvalidInput."""
        given = self.set or {}
        match self.kind:
            case PlanKind.LABEL:
                label = _as_set(LabelSet, given)
                with inside("set"):
                    return label.named(parts)
            case PlanKind.HANDLING:
                handling = _as_set(HandlingIn, given, by=self.by)
                with inside("set"):
                    handling.to_change(now_micros())
                what = handling.model_dump(mode="json", exclude_none=True, exclude={"by"})
                claims = handling.state is HandlingState.CLAIMED
                return {"minutes": CLAIM_MINUTES, **what} if claims else what
        return None


def _as_set(shape: type[Part], given: dict[str, Any], **beside: Any) -> Part:
    """`set`, whose shape `kind` decides, with what is asked for `beside` it. A name that is none of
    its own is refused, since less would be changed than is meant. Raises InvalidInput."""
    for name in sorted(given.keys() - (shape.model_fields.keys() - beside.keys())):
        raise InvalidInput(f"set.{name}: {NOT_KNOWN}")
    try:
        with inside("set"):
            return shape.model_validate({**given, **beside})
    except ValidationError as error:
        errors = error.errors(include_url=False, include_input=False)
        raise InvalidInput(
            explain([{**one, "loc": ("set", *one["loc"])} for one in errors])
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


class PlansQuery(BaseModel):
    limit: int = Field(20, ge=1, le=100)
