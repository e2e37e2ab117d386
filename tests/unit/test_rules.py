"""What rules match, and what labels come of them."""

import random
from typing import Any

import pytest

from analysis.labels import PERSON, Label, Labelling, LastWord, Values, effective, labelling_of
from analysis.rules import Post, Rule, RuleBook, RuleFilter
from analysis.sentiment import Sentiment
from analysis.words import parse_search, words_of

MODEL = Values(-0.5, ("late", "app"), 0.7)
NEUTRAL = Labelling(sentiment_score=0.0)


def post(text: str = "the War Zone is late", **fields: Any) -> Post:
    return Post(words_of(text), **{"author": "ann", "language": "en", "values": MODEL, **fields})


def rule(number: int = 1, q: str | None = None, **fields: Any) -> Rule:
    words = parse_search(q) if q else ()
    return Rule(number, f"rule {number}", RuleFilter(words, **fields), NEUTRAL)


def matches(asked: Rule, given: Post) -> bool:
    return asked.number in RuleBook([asked]).labels(given, at=0)


@pytest.mark.parametrize(
    ("q", "text", "expected"),
    [
        ("war", "War!", True),
        ("war", "warm", False),
        ("zone war", "war in the zone", True),
        ('"war zone"', "war-zone", True),
        ('"war zone"', "zone war", False),
        ('"war zone"', "a war, zoned", False),
        ("refun*", "I want refunds", True),
        ("refun*", "unrefunded", False),
        ("refun* war", "refund", False),
        ("café", "CAFE", True),
        ("don't", "I don't", True),
        ("don't", "t don", False),
    ],
)
def test_words_match_as_in_a_search(q: str, text: str, expected: bool) -> None:
    assert matches(rule(q=q), post(text)) is expected


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"cluster": "app"}, True),
        ({"cluster": "ap"}, False),
        ({"sentiment": Sentiment.NEGATIVE}, True),
        ({"sentiment": Sentiment.NEUTRAL}, False),
        ({"author": "ann"}, True),
        ({"author": "Ann"}, False),
        ({"min_confidence": 0.7}, True),
        ({"min_confidence": 0.71}, False),
        ({"language": "en"}, True),
        ({"language": "de"}, False),
        ({"q": "war", "author": "bob"}, False),
        ({"q": "war", "author": "ann", "cluster": "late", "language": "en"}, True),
    ],
)
def test_all_conditions_must_hold(fields: dict[str, Any], expected: bool) -> None:
    assert matches(rule(**fields), post()) is expected


def test_a_post_without_an_author_matches_no_author() -> None:
    assert not matches(rule(author="ann"), post(author=None))


def test_many_rules_find_what_each_would_alone() -> None:
    chance = random.Random(3)
    words = ["war", "zone", "refund", "late", "app", "crash"]

    def any_rule(number: int) -> Rule:
        def sometimes(*values: Any) -> Any:
            return chance.choice(values) if chance.random() < 0.4 else None

        return rule(
            number,
            q=sometimes("war", "refu*", '"late app"', "zone crash", "cra*"),
            cluster=sometimes("late", "price"),
            sentiment=sometimes(*Sentiment),
            author=sometimes("ann", "bob"),
            min_confidence=sometimes(0.5, 0.9),
            language=sometimes("en", "de"),
        )

    rules = [any_rule(number) for number in range(1, 200)]
    book = RuleBook(rules)
    for _ in range(100):
        values = Values(chance.uniform(-1, 1), (chance.choice(["late", "price"]),), chance.random())
        given = post(
            " ".join(chance.choices(words, k=4)),
            author=chance.choice(["ann", None]),
            values=values,
        )
        expected = {each.number for each in rules if matches(each, given)}
        assert set(book.labels(given, at=0)) == expected


# --- what a rule says -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ({"add_cluster": "games"}, ("late", "app", "games")),
        ({"add_cluster": "app"}, None),
        ({"remove_cluster": "late"}, ("app",)),
        ({"remove_cluster": "price"}, None),
        ({"replace_cluster": ["late", "delay"]}, ("delay", "app")),
        ({"replace_cluster": ["late", "app"]}, ("app",)),
        ({"replace_cluster": ["price", "app"]}, None),
    ],
)
def test_topics_are_edited_from_those_of_the_model(
    said: dict[str, Any], expected: tuple[str, ...] | None
) -> None:
    label = labelling_of(said).label(MODEL, "r", 1)
    assert label == (expected and Label(None, expected, "r", 1))


def test_there_are_one_to_five_topics_whatever_is_edited() -> None:
    five = MODEL._replace(clusters=("a", "b", "c", "d", "e"))
    assert labelling_of({"add_cluster": "f"}).label(five, "r", 1) == Label(
        None, ("a", "b", "c", "d", "f"), "r", 1
    )
    one = MODEL._replace(clusters=("a",))
    removed = labelling_of({"remove_cluster": "a"}).label(one, "r", 1)
    assert removed == Label(None, ("unknown",), "r", 1)
    unknown = MODEL._replace(clusters=("unknown",))
    added = labelling_of({"add_cluster": "a"}).label(unknown, "r", 1)
    assert added == Label(None, ("a",), "r", 1)


# --- what comes of it -----------------------------------------------------------------------------

MOOD = Label(0.6, None, "mood", 1)
TOPICS = Label(None, ("games",), "topics", 2)


@pytest.mark.parametrize(
    ("labels", "expected", "last_word"),
    [
        ({}, MODEL, LastWord.MODEL),
        ({2: MOOD}, MODEL._replace(sentiment_score=0.6), LastWord.RULE),
        ({2: MOOD, 5: TOPICS}, Values(0.6, ("games",), 0.7), LastWord.RULE),
        (
            {2: MOOD, 5: MOOD._replace(sentiment_score=-1.0)},
            Values(-1.0, MODEL.clusters, 0.7),
            "rule",
        ),
        ({PERSON: TOPICS, 5: MOOD}, Values(0.6, ("games",), 1.0), LastWord.PERSON),
        (
            {PERSON: MOOD, 5: MOOD._replace(sentiment_score=-1.0)},
            Values(0.6, MODEL.clusters, 1.0),
            "person",
        ),
    ],
)
def test_a_person_then_the_newest_rule_then_the_model_has_the_last_word(
    labels: dict[int, Label], expected: Values, last_word: str
) -> None:
    what = effective(MODEL, labels)
    assert (what.values, what.last_word) == (expected, last_word)
    if labels:
        assert what.label == labels[PERSON if PERSON in labels else max(labels)]
