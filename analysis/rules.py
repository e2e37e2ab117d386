"""Rules: labels that are given to every new insight that matches. Pure.

Matching 200 rules must cost next to nothing, for it is part of every insight that is written. So
each rule is looked up by one thing that a match must have, and only then compared.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from analysis.labels import Label, Labelling, Values
from analysis.sentiment import Sentiment, sentiment_of
from analysis.words import Phrase


class RuleFilter(NamedTuple):
    """As the filters of lists mean it. None is "any". All of `words` must be in the text."""

    words: Sequence[Phrase] = ()
    cluster: str | None = None
    sentiment: Sentiment | None = None
    author: str | None = None
    min_confidence: float | None = None
    language: str | None = None


class Rule(NamedTuple):
    """The rule with the highest number is the newest."""

    number: int
    name: str
    filter: RuleFilter
    labelling: Labelling


class Post(NamedTuple):
    """A new insight as rules see it: `words` are those of its text, in order; `values` are the
    model's own."""

    words: Sequence[str]
    author: str | None
    language: str
    values: Values


class RuleBook:
    """The rules that are enabled."""

    def __init__(self, rules: Iterable[Rule] = ()) -> None:
        # By what a match must have.
        self._by_word: defaultdict[str, list[Rule]] = defaultdict(list)
        # The beginnings of one length together.
        self._by_beginning: defaultdict[int, defaultdict[str, list[Rule]]] = defaultdict(
            lambda: defaultdict(list)
        )
        self._by_cluster: defaultdict[str, list[Rule]] = defaultdict(list)
        self._by_author: defaultdict[str, list[Rule]] = defaultdict(list)
        self._others: list[Rule] = []
        self._needles: dict[int, list[str]] = {}
        for rule in rules:
            self._needles[rule.number] = [_needle(phrase) for phrase in rule.filter.words]
            self._place_of(rule).append(rule)
        # What all beginnings begin with, so that most texts are compared with nothing longer.
        self._least = min(self._by_beginning, default=0)
        self._heads = {
            beginning[: self._least] for each in self._by_beginning.values() for beginning in each
        }

    def __bool__(self) -> bool:
        return bool(self._needles)

    def _place_of(self, rule: Rule) -> list[Rule]:
        wanted = rule.filter
        if wanted.words:
            # The longest is likely to be in the fewest texts.
            word = max((word for phrase in wanted.words for word in phrase), key=len)
            if word.endswith("*"):
                return self._by_beginning[len(word) - 1][word[:-1]]
            return self._by_word[word]
        if wanted.author is not None:
            return self._by_author[wanted.author]
        if wanted.cluster is not None:
            return self._by_cluster[wanted.cluster]
        return self._others

    def labels(self, post: Post, at: int) -> Mapping[int, Label]:
        """What the rules say of it, by their numbers; `at` is in microseconds."""
        found: dict[int, Label] = {}
        text = ""
        for rule in self._candidates(post):
            if not _figures_match(rule.filter, post):
                continue
            if rule.filter.words:
                text = text or f" {' '.join(post.words)} "
                if not all(needle in text for needle in self._needles[rule.number]):
                    continue
            label = rule.labelling.label(post.values, rule.name, at)
            if label is not None:
                found[rule.number] = label
        return found

    def _candidates(self, post: Post) -> Iterator[Rule]:
        yield from self._others
        if not self._by_word.keys().isdisjoint(post.words):
            for word in self._by_word.keys() & set(post.words):
                yield from self._by_word[word]
        least = self._least
        if least and not self._heads.isdisjoint([word[:least] for word in post.words]):
            for length, by_beginning in self._by_beginning.items():
                for beginning in by_beginning.keys() & {word[:length] for word in post.words}:
                    yield from by_beginning[beginning]
        for cluster in post.values.clusters:
            yield from self._by_cluster.get(cluster, ())
        if post.author is not None:
            yield from self._by_author.get(post.author, ())


def _figures_match(wanted: RuleFilter, post: Post) -> bool:
    _, cluster, sentiment, author, min_confidence, language = wanted
    score, clusters, confidence = post.values
    return (
        (author is None or author == post.author)
        and (language is None or language == post.language)
        and (cluster is None or cluster in clusters)
        and (sentiment is None or sentiment is sentiment_of(score))
        and (min_confidence is None or confidence >= min_confidence)
    )


def hold(words: Sequence[str], phrases: Iterable[Phrase]) -> bool:
    """Whether a text with these words, in order, holds all the phrases."""
    text = f" {' '.join(words)} "
    return all(_needle(phrase) in text for phrase in phrases)


def _needle(phrase: Phrase) -> str:
    """What the words of a text, with a blank before and after each, hold where the phrase is in the
    text."""
    words = " ".join(phrase)
    return f" {words[:-1]}" if words.endswith("*") else f" {words} "
