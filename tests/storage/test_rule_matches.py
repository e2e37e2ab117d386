"""A rule's plan means what the rule would say something of if it were written now."""

import random
from functools import partial
from typing import Any

import pytest

from analysis.labels import PERSON, Labelling, Values
from analysis.rules import Post, Rule, RuleBook
from analysis.sentiment import Sentiment
from analysis.words import words_of
from database import Database
from models import now_micros
from store import labels
from store.insights import InsightStore
from store.plans.plan import PlanKind
from store.plans.rule_matches import RuleMatches
from store.rules import rule_filter
from tests.support.factories import NOON
from tests.support.plans import (
    MINUTE,
    applied,
    insert,
    insight_list,
    label,
    made,
    make_rule,
    scores,
)

TOPICS = ["billing", "delivery", "grüße"]
NEUTRAL = Labelling(sentiment_score=0.0)
GIVEN = [
    (PERSON, Labelling(sentiment_score=0.6)),
    (PERSON, Labelling(clusters=("praise",))),
    (7, Labelling(sentiment_score=-0.6)),
    (8, Labelling(add_cluster="billing")),
]


def random_row(draw: random.Random, place: int) -> dict[str, Any]:
    return {
        # Several at one moment, so that pages end amid them.
        "timestamp": NOON - (place // 3) * MINUTE,
        "text": draw.choice(["late parcel", "late refund", "thanks a lot"]),
        "author": draw.choice(["ana", "ben", None]),
        "sentiment_score": draw.choice([-0.5, 0.0, 0.1, 0.5]),
        "clusters": draw.sample(TOPICS, k=draw.choice([1, 2])),
        "confidence": draw.choice([0.3, 0.5, 0.62, 1.0]),
        "language": draw.choice(["en", "fr"]),
    }


def random_filter(draw: random.Random) -> dict[str, Any]:
    every: list[dict[str, Any]] = [
        {"q": draw.choice(["late", '"late parcel"', "par*"])},
        {"cluster": draw.choice([*TOPICS, "absent"])},
        {"sentiment": draw.choice(list(Sentiment)).value},
        {"author": "ana"},
        {"min_confidence": draw.choice([0.5, 0.6])},
        {"language": "en"},
    ]
    found: dict[str, Any] = {}
    for some in draw.sample(every, k=draw.choice([1, 2, 3])):
        found |= some
    return found


async def give(database: Database, ids: list[str], giver: int, labelling: Labelling) -> None:
    await database.write(
        lambda connection: labels.give(connection, ids, giver, labelling, name="x", at=now_micros())
    )


async def walk(database: Database, selection: RuleMatches) -> list[str]:
    found: list[str] = []
    position = None
    while some := await database.read(partial(selection.next, position, 7, 2**62)):
        found += [each.conversation_id for each in some]
        position = some[-1].position
    return found


@pytest.mark.parametrize("seed", range(3))
async def test_it_means_what_the_rule_means_of_new_posts_whoever_has_labelled_them(
    database: Database, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("store.plans.rule_matches._LOOKED_AT", 4)
    draw = random.Random(seed)
    rows = [random_row(draw, place) for place in range(90)]
    ids = await insert(database, rows)
    for giver, labelling in GIVEN:
        await give(database, draw.sample(ids, k=18), giver, labelling)
    sizes = 0
    for _ in range(25):
        named = random_filter(draw)
        book = RuleBook([Rule(1, "rule", rule_filter(named), NEUTRAL)])
        expected = {
            id_
            for id_, row in zip(ids, rows, strict=True)
            if book.labels(
                Post(
                    words_of(row["text"]),
                    row["author"],
                    row["language"],
                    Values(row["sentiment_score"], tuple(row["clusters"]), row["confidence"]),
                ),
                0,
            )
        }
        selection = RuleMatches(InsightStore(database), named)
        assert await database.read(selection.count) == len(expected), named
        walked = await walk(database, selection)
        assert len(walked) == len(expected), named
        assert set(walked) == expected, named
        still = await database.read(partial(selection.still, ids, 2**62))
        if "q" not in named:  # texts are those of candidates already
            assert set(still) == expected, named
        sizes += len(expected)
    assert sizes > 100


@pytest.mark.parametrize(
    ("narrowing", "places"),
    [
        ({}, [0, 1, 2]),
        ({"labelled": "model"}, [0]),
        ({"labelled": "rule"}, [1]),
        ({"labelled": "person"}, [2]),
        ({"start_time": (NOON - MINUTE).isoformat()}, [0, 1]),
        ({"handling": "open", "language": "en"}, []),
    ],
)
async def test_a_plan_narrows_a_rule_by_who_has_the_last_word_and_when(
    database: Database, narrowing: dict[str, Any], places: list[int]
) -> None:
    ids = await insight_list(database, -0.5, -0.5, -0.5, 0.5)
    await give(database, [ids[1]], 9, NEUTRAL)
    await give(database, [ids[2]], PERSON, NEUTRAL)
    rule_id = await make_rule(database, {"sentiment": "negative"}, {"add_cluster": "angry"})
    plan = await made(
        database, kind=PlanKind.RULE, set=None, by=None, rule_id=rule_id, filter=narrowing
    )
    assert plan.matched == len(places)
    if places:
        assert {each.conversation_id for each in plan.sample} == {ids[place] for place in places}
        plan = await applied(database, plan)
        assert (plan.changed, plan.skipped) == (len(places), 0)


async def test_what_an_older_rule_or_a_person_has_made_of_a_post_does_not_hide_it_from_a_rule(
    database: Database,
) -> None:
    """Its word counts beside theirs, as if it had been there when the post was written."""
    ids = await insight_list(database, -0.5, -0.6)
    older = await make_rule(database, {"sentiment": "negative"}, {"sentiment": "neutral"})
    asked: dict[str, Any] = {"kind": PlanKind.RULE, "set": None, "by": None, "filter": {}}
    await applied(database, await made(database, **asked, rule_id=older))
    await label(database, ids[1], 0.9)
    newer = await make_rule(database, {"sentiment": "negative"}, {"sentiment": "positive"})

    plan = await made(database, **asked, rule_id=newer)
    assert plan.matched == 2
    assert (await applied(database, plan)).changed == 2
    assert await scores(database) == {ids[0]: 0.6, ids[1]: 0.9}
    happy = await make_rule(database, {"sentiment": "positive"}, {"sentiment": "negative"})
    assert (await made(database, **asked, rule_id=happy)).matched == 0
