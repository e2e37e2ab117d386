"""An insight as it is written: all that may be in it, and the same bytes whoever writes them."""

import json
from datetime import UTC, datetime
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from pydantic_core import to_json

from analysis.handling import OPEN, Handling, HandlingState
from analysis.labels import LastWord, Values
from api.insight_answers import insight_item, insight_json
from store.listed import Labelled, ListedInsight

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
MOMENTS = st.datetimes(datetime(1970, 1, 1), datetime(2260, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001
NAMES = st.lists(TEXTS, max_size=3).map(tuple)
SCORES = st.integers(-10_000, 10_000).map(lambda number: number / 10_000)
VALUES = st.builds(Values, SCORES, NAMES, SCORES)
NOTES = st.dictionaries(
    TEXTS,
    st.recursive(st.none() | st.booleans() | TEXTS | SCORES | st.integers(0, 2**53), st.lists),
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
