"""Who says what of a conversation, and what comes of it. Pure.

The model's own values, the labels of rules and a person's label make the *effective* values, which
are served and counted: for mood and topics each a person has the last word, else the newest rule,
else the model.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple

from analysis.outcomes import MAX_CLUSTERS, UNKNOWN_CLUSTER
from analysis.sentiment import Sentiment

PERSON = 0
"""The giver of a person's label. A rule's labels are given by its number, which is higher."""

SURE = 1.0
"""Confidence of what a person says."""


SCORES: Mapping[Sentiment, float] = {
    Sentiment.POSITIVE: 0.6,
    Sentiment.NEUTRAL: 0.0,
    Sentiment.NEGATIVE: -0.6,
}
"""What is meant by a person or rule that names a sentiment."""


class LastWord(StrEnum):
    PERSON = "person"
    RULE = "rule"
    MODEL = "model"


class Values(NamedTuple):
    """As an `Analysis` has them."""

    sentiment_score: float
    clusters: tuple[str, ...]
    confidence: float


class Label(NamedTuple):
    """What one giver says of one conversation. None leaves it to the next one who has a say; at
    least one of score and clusters is there.

    `name` is the person's or the rule's; `at` is in microseconds since 1970-01-01 UTC.
    """

    sentiment_score: float | None
    clusters: tuple[str, ...] | None
    name: str
    at: int
    reason: str | None = None


def label_to_json(label: Label | None) -> dict[str, Any] | None:
    return None if label is None else label._asdict() | {"clusters": _listed(label.clusters)}


def label_from_json(stored: Mapping[str, Any] | None) -> Label | None:
    if stored is None:
        return None
    clusters = stored["clusters"]
    return Label(**{**stored, "clusters": None if clusters is None else tuple(clusters)})


def _listed(clusters: Sequence[str] | None) -> list[str] | None:
    return None if clusters is None else list(clusters)


@dataclass(frozen=True, slots=True)
class Labelling:
    """What a giver wants of every conversation that is meant. None changes nothing.

    `clusters` are all that there are to be; the other three edit the model's. Names are snake_case.
    """

    sentiment_score: float | None = None
    clusters: tuple[str, ...] | None = None
    add_cluster: str | None = None
    remove_cluster: str | None = None
    replace_cluster: tuple[str, str] | None = None

    def label(self, model: Values, name: str, at: int, reason: str | None = None) -> Label | None:
        """For a conversation of which the model said `model`; None where nothing is to be said.
        An edit that changes none of its topics says nothing of them."""
        clusters = self.clusters
        if clusters is None:
            edited = self._edited(model.clusters)
            clusters = None if edited == model.clusters else edited
        if clusters is None and self.sentiment_score is None:
            return None
        return Label(self.sentiment_score, clusters, name, at, reason)

    def _edited(self, clusters: tuple[str, ...]) -> tuple[str, ...]:
        names = list(clusters)
        if self.remove_cluster in names:
            names.remove(self.remove_cluster)
        if self.replace_cluster is not None and self.replace_cluster[0] in names:
            names[names.index(self.replace_cluster[0])] = self.replace_cluster[1]
        if self.add_cluster is not None and self.add_cluster not in names:
            # It is among them also where there are as many as there may be.
            names = [*names[: MAX_CLUSTERS - 1], self.add_cluster]
        if len(names) > 1 and UNKNOWN_CLUSTER in names:
            names.remove(UNKNOWN_CLUSTER)
        return tuple(dict.fromkeys(names)) or (UNKNOWN_CLUSTER,)


def labelling_of(named: Mapping[str, Any]) -> Labelling:
    """From what a person, a rule or a plan sets, by the names of the API."""
    given = dict(named)
    if "sentiment" in given:
        given["sentiment_score"] = SCORES[Sentiment(given.pop("sentiment"))]
    for name in ("clusters", "replace_cluster"):
        if name in given:
            given[name] = tuple(given[name])
    return Labelling(**given)


class Effective(NamedTuple):
    """`label` is that of who has the last word, None where it is the model."""

    values: Values
    last_word: LastWord
    label: Label | None


def effective(model: Values, labels: Mapping[int, Label]) -> Effective:
    """What comes of the model's values and the labels of each giver."""
    if not labels:
        return Effective(model, LastWord.MODEL, None)
    # A person first, then rules, the newest first.
    givers = sorted(labels, key=lambda giver: (giver != PERSON, -giver))
    ranked = [labels[giver] for giver in givers]
    scores = (each.sentiment_score for each in ranked if each.sentiment_score is not None)
    clusters = (each.clusters for each in ranked if each.clusters is not None)
    by_person = givers[0] == PERSON
    values = Values(
        next(scores, model.sentiment_score),
        next(clusters, model.clusters),
        SURE if by_person else model.confidence,
    )
    return Effective(values, LastWord.PERSON if by_person else LastWord.RULE, ranked[0])
