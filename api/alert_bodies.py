"""The bodies that make and change alert rules, and what is asked of alerts."""

import re
from collections.abc import Mapping
from functools import cache
from typing import Annotated, Any, Self
from zoneinfo import ZoneInfo, available_timezones

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StrictBool, model_validator

from analysis.alerts import AlertState, RuleKind
from analysis.words import parse_search
from api.patch_bodies import IfNamed
from errors import InvalidInput, inside
from schemas import Conditions, PersonName, Search, Shape
from store.trends import Window

MAX_COOLDOWN_DAYS = 30
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


class AlertFilter(Conditions):
    """Which posts a rule looks at, as the filters of lists mean it; empty is all."""

    model_config = ConfigDict(extra="forbid")

    min_confidence: float | None = Field(None, strict=True, ge=0, le=1)
    q: Search | None = None

    @model_validator(mode="after")
    def _can_be_searched(self) -> Self:
        if self.q is not None:
            with inside("filter"):
                parse_search(self.q)
        return self

    def named(self) -> dict[str, Any]:
        return self.model_dump(mode="json", exclude_none=True)


def _check_clock(text: str) -> str:
    if not re.fullmatch(r"([01]\d|2[0-3]):[0-5]\d", text):
        raise ValueError("must be a time such as 22:00")
    return text


@cache
def _zones() -> frozenset[str]:
    """Kept, since finding them walks through the folder of zones."""
    return frozenset(available_timezones())


def _check_zone(name: str) -> str:
    if name not in _zones():
        raise ValueError("must be a time zone such as Europe/Berlin")
    ZoneInfo(name)
    return name


Clock = Annotated[str, AfterValidator(_check_clock)]


class Quiet(Shape):
    """From when to when, on the clocks of a zone, nobody is told; over midnight where `to` is not
    later."""

    model_config = ConfigDict(extra="forbid")

    start: Clock = Field(alias="from")
    stop: Clock = Field(alias="to")
    zone: Annotated[str, AfterValidator(_check_zone)] = "UTC"

    @model_validator(mode="after")
    def _ends(self) -> Self:
        if self.start == self.stop:
            raise InvalidInput("quiet: from and to must not be the same")
        return self


def parse_duration(text: str) -> int:
    """`90s`, `15m`, `4h` or `2d` in seconds. Raises ValueError."""
    found = re.fullmatch(r"(\d{1,7})([smhd])", text)
    seconds = int(found[1]) * _UNITS[found[2]] if found else -1
    if not 0 <= seconds <= MAX_COOLDOWN_DAYS * _UNITS["d"]:
        raise ValueError(f"must be a time such as 30m or 4h, at most {MAX_COOLDOWN_DAYS}d")
    return seconds


def shown_duration(seconds: int) -> str:
    unit = next(unit for unit in "dhms" if not seconds % _UNITS[unit] and (seconds or unit == "s"))
    return f"{seconds // _UNITS[unit]}{unit}"


def _check_duration(text: str) -> str:
    parse_duration(text)
    return text


_Limit = Annotated[float, Field(strict=True, gt=0, le=1_000_000_000)]
_Posts = Annotated[int, Field(strict=True, ge=1, le=1_000_000_000)]
_Judgements = Annotated[int, Field(strict=True, ge=1, le=1440)]
_Cooldown = Annotated[str, AfterValidator(_check_duration)]
_EndpointIds = Annotated[list[Annotated[str, Field(max_length=100)]], Field(max_length=20)]


class AlertRuleFields(Shape):
    """`above` is for `rising` the trend's score, for `share` the share of negative ones, for
    `count` a number, for `single` the negative score that one post must reach. `hold` judgements
    must breach before an alert opens, `clear` be calm before it closes. Without `to`, all endpoints
    that take alerts are told."""

    filter: AlertFilter = Field(default_factory=AlertFilter)
    window: Window | None = Field(None, description="Default `1h`; for `single` `24h`.")
    above: _Limit | None = None
    at_least: _Posts | None = None
    hold: _Judgements = 1
    clear: _Judgements = 3
    cooldown: _Cooldown = "4h"
    quiet: Quiet | None = None
    to: _EndpointIds = Field(default_factory=list)
    texts: StrictBool = False
    enabled: StrictBool = True

    def to_columns(self, kind: RuleKind, named: Mapping[str, Any]) -> dict[str, Any]:
        """`named` is the filter as it is stored. Raises InvalidInput."""
        self._check(kind)
        return {
            "kind": kind.value,
            "filter": dict(named),
            "window": None if kind is RuleKind.MACHINE else self._window(kind).value,
            "above": self.above,
            "at_least": self.at_least,
            "hold": self.hold,
            "clear": self.clear,
            "cooldown_seconds": parse_duration(self.cooldown),
            "quiet": None if self.quiet is None else self.quiet.model_dump(by_alias=True),
            "to": list(dict.fromkeys(self.to)),
            "texts": self.texts,
            "enabled": self.enabled,
        }

    def _window(self, kind: RuleKind) -> Window:
        usual = Window.ONE_DAY if kind is RuleKind.SINGLE else Window.ONE_HOUR
        return self.window or usual

    def _check(self, kind: RuleKind) -> None:
        named = self.filter.named()
        match kind:
            case RuleKind.MACHINE:
                for name, value in (("filter", named), ("above", self.above)):
                    if value:
                        raise InvalidInput(f"{name}: rules of kind machine have none")
                if self.window is not None or self.at_least is not None:
                    name = "at_least" if self.window is None else "window"
                    raise InvalidInput(f"{name}: rules of kind machine have none")
            case RuleKind.COUNT if self.above is None:
                raise InvalidInput("above: a rule of kind count needs the number to be reached")
            case RuleKind.SHARE if self.above is None or self.above > 1:
                raise InvalidInput("above: must be a share from 0 to 1, such as 0.5")
            case RuleKind.SHARE if "sentiment" in named:
                raise InvalidInput("filter.sentiment: a share of negative ones is of all moods")
            case RuleKind.SINGLE if self.above is not None and self.above > 1:
                raise InvalidInput("above: must be a score from 0 to 1, such as 0.8")


class AlertRuleIn(AlertRuleFields):
    name: PersonName
    kind: RuleKind


class AlertRulePatch(Shape):
    """What is named is changed; `filter` and `quiet` as a whole. A null takes `window`, `above`,
    `at_least` or `quiet` back to what it is where nobody names it."""

    name: IfNamed[PersonName] = None
    kind: IfNamed[RuleKind] = Field(None, description="Cannot be changed.")
    filter: IfNamed[AlertFilter] = None
    window: Window | None = None
    above: _Limit | None = None
    at_least: _Posts | None = None
    hold: IfNamed[_Judgements] = None
    clear: IfNamed[_Judgements] = None
    cooldown: IfNamed[_Cooldown] = None
    quiet: Quiet | None = None
    to: IfNamed[_EndpointIds] = None
    texts: IfNamed[StrictBool] = None
    enabled: IfNamed[StrictBool] = None


class AlertsQuery(BaseModel):
    state: AlertState | None = None
    limit: int = Field(100, ge=1, le=1000)
    cursor: str | None = None


class AcknowledgeIn(Shape):
    by: PersonName


class MuteIn(Shape):
    hours: float = Field(strict=True, ge=0, le=24 * 90, description="0 ends it.")
