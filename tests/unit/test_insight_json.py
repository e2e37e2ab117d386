"""An insight as it is written: all that may be in it, and the same bytes whoever writes them."""

import json
from datetime import UTC, datetime
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from pydantic_core import to_json

from analysis.handling import OPEN, Handling, HandlingState
from analysis.labels import LastWord, Values
from analysis.priority import Facts, Weights, priority
from api.insight_answers import insight_item, insight_json, insights_json
from models import now_micros
from store.insights import InsightPage
from store.listed import Labelled, ListedInsight
from tests.support.factories import insight_filter

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
MOMENTS = st.datetimes(datetime(1970, 1, 1), datetime(2260, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001
NAMES = st.lists(TEXTS, max_size=3).map(tuple)
SCORES = st.floats(-1, 1)
VALUES = st.builds(Values, SCORES, NAMES, SCORES)
NOTES = st.fixed_dictionaries(
    {}, optional={"reused_from": TEXTS, "suspected_injection": st.lists(TEXTS, max_size=3)}
)
MICROS = st.none() | st.integers(0, 2**52)
INSIGHTS = st.builds(
    ListedInsight,
    conversation_id=TEXTS,
    timestamp=MOMENTS,
    text=TEXTS,
    author=st.none() | TEXTS,
    sentiment_score=SCORES,
    clusters=NAMES,
    confidence=SCORES,
    reasoning=TEXTS,
    notes=NOTES,
    version=st.integers(1, 2**31),
    labelled=st.none()
    | st.builds(Labelled, st.sampled_from(LastWord), TEXTS, MOMENTS, st.none() | TEXTS, VALUES),
    handling=st.just(OPEN)
    | st.builds(Handling, st.sampled_from(HandlingState), TEXTS, MICROS, MICROS),
)


@given(insight=INSIGHTS)
def test_it_is_written_as_all_else_is(insight: Any) -> None:
    written = insight_json(insight)
    assert written == to_json(insight_item(insight))
    assert json.loads(written)["text"] == insight.text


@given(insight=INSIGHTS)
def test_so_is_one_whose_place_is_explained(insight: Any) -> None:
    facts = Facts(0, -0.9, 0.9, "now", suspected=False, repeats=2, reach=0.5, rising=1)
    explained = priority(facts, Weights(), now_micros())
    page = InsightPage([insight], 1, 0, None, [explained])
    written = b"".join(insights_json(page, insight_filter()))
    (item,) = json.loads(written)["insights"]
    assert item == json.loads(to_json({**insight_item(insight), "priority": explained}))
