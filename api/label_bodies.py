"""The bodies that give labels and make rules, and what is checked of their topics."""

from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Self

from pydantic import (
    AfterValidator,
    ConfigDict,
    Field,
    StrictBool,
    StringConstraints,
    model_validator,
)

from analysis.outcomes import MAX_CLUSTERS, UNKNOWN_CLUSTER
from analysis.parsing import snake_case
from analysis.sentiment import Sentiment
from analysis.words import parse_search
from api.patch_bodies import IfNamed
from api.services import Services
from errors import InvalidInput, inside
from schemas import MAX_SEARCH_LENGTH, FilterName, Language, PersonName, Shape, storable

MAX_REASON_LENGTH = 1000


def topics_named(names: Iterable[str], parts: Services, *, field: str) -> tuple[str, ...]:
    """The topics that a person means, as those of analyses are named: in snake_case, and one that
    is another form of a listed one under that one's name. Raises InvalidInput for a name without
    letters, or outside a closed list."""
    found: dict[str, None] = {}
    for name in names:
        topic = snake_case(name)
        topic = parts.topics.listed(topic) or topic
        if not topic:
            raise InvalidInput(f"{field}: {name!r} has no letters or digits")
        closed = parts.settings.clusters_mode == "closed"
        if closed and parts.topics.listed(topic) is None and topic != UNKNOWN_CLUSTER:
            raise InvalidInput(f"{field}: {topic!r} is not in CLUSTERS, which is a closed list")
        found[topic] = None
    return tuple(found)


def _check_clusters(names: list[str]) -> list[str]:
    if not 1 <= len(names) <= MAX_CLUSTERS:
        raise ValueError(f"must be 1 to {MAX_CLUSTERS} names")
    return names


Reason = Annotated[str, StringConstraints(max_length=MAX_REASON_LENGTH), AfterValidator(storable)]


def check_no_contradiction(named: Mapping[str, Any]) -> None:
    """What a rule sets, with its topics as they are named. Raises InvalidInput where one of them is
    both taken away and given, or taken away twice: which of the two is meant nobody can know."""
    before, after = named.get("replace_cluster", (None, None))
    if before is not None and before == after:
        raise InvalidInput(f"set.replace_cluster: both are the topic {before!r}")
    removed, added = named.get("remove_cluster"), named.get("add_cluster")
    for topic, others in ((before, (after, added, removed)), (removed, (after, added))):
        if topic is not None and topic in others:
            raise InvalidInput(f"set: says two things of the topic {topic!r}, which cannot both be")


class LabelSet(Shape):
    """What somebody says in place of the model. `sentiment` is 0.6, 0 or -0.6 as a score; what is
    not named stays as it would be otherwise."""

    sentiment: Sentiment | None = None
    sentiment_score: float | None = Field(None, strict=True, ge=-1, le=1)
    clusters: Annotated[list[FilterName], AfterValidator(_check_clusters)] | None = Field(
        None, json_schema_extra={"minItems": 1, "maxItems": MAX_CLUSTERS}
    )

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if self.sentiment is not None and self.sentiment_score is not None:
            raise InvalidInput("sentiment: must not be there beside sentiment_score")
        if (self.sentiment, self.sentiment_score, self.clusters) == (None, None, None):
            raise InvalidInput("sentiment or clusters: at least one of them is needed")
        return self

    def named(self, parts: Services) -> dict[str, Any]:
        """What is said, by the names of the API. Raises InvalidInput."""
        names = {"sentiment", "sentiment_score", "clusters"}
        said = self.model_dump(mode="json", include=names, exclude_none=True)
        if self.clusters is not None:
            said["clusters"] = topics_named(self.clusters, parts, field="clusters")
        return said


class LabelIn(LabelSet):
    by: PersonName
    reason: Reason | None = None


class RuleFilter(Shape):
    """Which new insights a rule is for, as the filters of lists mean it; at least one of these."""

    model_config = ConfigDict(extra="forbid")

    q: Annotated[str, Field(max_length=MAX_SEARCH_LENGTH)] | None = None
    cluster: FilterName | None = None
    sentiment: Sentiment | None = None
    author: FilterName | None = None
    min_confidence: float | None = Field(None, strict=True, ge=0, le=1)
    language: Language | None = None

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if not self.named():
            raise InvalidInput("filter: must not be empty, since then it would mean everything")
        if self.q is not None:
            with inside("filter"):
                parse_search(self.q)
        return self

    def named(self) -> dict[str, Any]:
        return self.model_dump(mode="json", exclude_none=True)


class RuleSet(Shape):
    """What a rule says: of the mood, and one change of the model's topics."""

    model_config = ConfigDict(extra="forbid")

    sentiment: Sentiment | None = None
    add_cluster: FilterName | None = None
    remove_cluster: FilterName | None = None
    replace_cluster: tuple[FilterName, FilterName] | None = Field(None, description="From, to.")

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if not self.model_dump(exclude_none=True):
            raise InvalidInput("set: must not be empty")
        return self


class RuleIn(Shape):
    name: PersonName
    filter: RuleFilter
    set: RuleSet
    enabled: StrictBool = True


class RulePatch(Shape):
    """What is named is changed; `filter` and `set` as a whole."""

    name: IfNamed[PersonName] = None
    filter: IfNamed[RuleFilter] = None
    set: IfNamed[RuleSet] = None
    enabled: IfNamed[StrictBool] = None
