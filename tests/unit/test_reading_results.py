"""The fields of one result: numbers, types, languages; and whatever else a model may write."""

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.outcomes import MAX_CLUSTERS, Analysis, Unusable
from analysis.parsing import MAX_REASONING_LENGTH, parse_results
from tests.support.model_answers import answer, as_read, entry, reason_of

# --- parse_results --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value", "kept"),
    [
        ("sentiment_score", 1.1, 1.0),
        ("sentiment_score", -1.0001, -1.0),
        ("sentiment_score", 1, 1.0),
        ("sentiment_score", 0, 0.0),
        ("sentiment_score", "-0.7", -0.7),
        ("sentiment_score", "+.7", 0.7),
        ("sentiment_score", "\u22120.7", -0.7),
        ("confidence", " 90% ", 0.9),
        ("confidence", "0.9", 0.9),
        ("confidence", 1.1, 1.0),
        ("confidence", -0.1, 0.0),
        ("confidence", 0.333, 0.333),
    ],
)
def test_numbers_are_read_and_clamped_where_little_is_wrong_with_them(
    name: str, value: float, kept: float
) -> None:
    result = parse_results(answer(entry(**{name: value})), ["a"])["a"]
    assert getattr(result, name) == kept
    assert type(getattr(result, name)) is float


@pytest.mark.parametrize("name", ["sentiment_score", "confidence"])
@pytest.mark.parametrize(
    "value",
    [
        *("NaN", "Infinity", "-Infinity", "true", "false", "null", "[]", "{}", "9" * 400),
        *('"high"', '""', '"1e5"', '"0.5 of 1"', '"5/10"', '"0,5"', '"--1"', '"%"'),
    ],
)
def test_what_is_no_finite_number_is_unusable(name: str, value: str) -> None:
    content = answer(entry(**{name: "HERE"})).replace('"HERE"', value)
    assert reason_of(parse_results(content, ["a"])["a"]) == (
        "the answer's sentiment_score or confidence is not a number"
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("sentiment_score", value) for value in (3, -20, 1e308, 1.11, "-35", "150%")),
        *(("confidence", value) for value in (35, 85, "35", -0.11, 1.2, "135%")),
    ],
)
def test_what_is_on_another_scale_is_asked_again_and_never_clamped(name: str, value: Any) -> None:
    assert reason_of(parse_results(answer(entry(**{name: value})), ["a"])["a"]) == (
        "the answer's sentiment_score or confidence is on another scale"
    )


def test_a_number_too_long_for_python_is_unusable() -> None:
    content = answer(entry(confidence="HERE")).replace('"HERE"', "9" * 5000)
    assert isinstance(parse_results(content, ["a"])["a"], Unusable)


@pytest.mark.parametrize("name", ["sentiment_score", "confidence", "clusters"])
def test_a_result_without_a_needed_field_is_unusable(name: str) -> None:
    incomplete = entry()
    del incomplete[name]
    assert isinstance(parse_results(answer(incomplete), ["a"])["a"], Unusable)


@pytest.mark.parametrize(
    "overrides",
    [
        {"clusters": None},
        {"clusters": 7},
        {"clusters": {"delivery_problems": 1}},
        {"reasoning": [1]},
        {"reasoning": 1},
    ],
)
def test_a_field_of_the_wrong_type_is_unusable(overrides: dict[str, object]) -> None:
    assert reason_of(parse_results(answer(entry(**overrides)), ["a"])["a"]) == (
        "the answer's clusters or reasoning have the wrong type"
    )


def test_a_result_without_reasoning_is_still_a_result() -> None:
    brief = entry()
    del brief["reasoning"]
    found = parse_results(answer(brief), ["a"])["a"]
    assert isinstance(found, Analysis)
    assert (found.sentiment_score, found.reasoning) == (-0.5, "")


def test_reasoning_is_cut_and_rid_of_what_no_database_takes() -> None:
    result = parse_results(answer(entry(reasoning="a\x00b\ud800c" + "z" * 5000)), ["a"])["a"]
    assert isinstance(result, Analysis)
    assert result.reasoning.startswith("ab?cz")
    assert len(result.reasoning) == MAX_REASONING_LENGTH


def test_clusters_of_a_result_are_normalised_and_at_most_five() -> None:
    nine = ["Late Delivery!", "lateDelivery", *(f"topic {number}" for number in range(7))]
    result = parse_results(answer(entry(clusters=nine)), ["a"])["a"]
    assert isinstance(result, Analysis)
    assert result.clusters == ("late_delivery", "topic_0", "topic_1", "topic_2", "topic_3")


@pytest.mark.parametrize(
    ("written", "language", "urgency"),
    [
        ({"language": "de", "urgency": "soon"}, "de", "soon"),
        ({"Language": " DE ", "urgency": "Now"}, "de", "now"),
        ({"language": "pt-BR", "urgency": "none"}, "pt", "none"),
        ({"language": "zh_Hans"}, "zh", "none"),
        ({"language": "und", "urgency": "soon"}, "und", "soon"),
        ({"urgency": "now"}, "und", "now"),
        ({"language": "zz", "urgency": "urgent"}, "und", "none"),
        ({"language": "German", "urgency": 2}, "und", "none"),
        ({"language": ["de"], "urgency": {"level": "now"}}, "und", "none"),
        ({"language": None, "urgency": None}, "und", "none"),
        ({}, "und", "none"),
    ],
)
def test_a_language_or_urgency_that_is_none_spoils_no_result(
    written: dict[str, Any], language: str, urgency: str
) -> None:
    result = parse_results(answer(entry(**written)), ["a"])["a"]
    assert isinstance(result, Analysis)
    assert (result.language, result.urgency) == (language, urgency)
    assert result.sentiment_score == -0.5


def test_the_details_hold_language_and_urgency_as_they_were_written() -> None:
    written = {"language": "pt-BR", "urgency": "very"}
    result = parse_results(answer(entry(**written)), ["a"])["a"]
    assert result == as_read(written=written, language="pt")


def test_the_details_hold_what_was_written_of_this_id_and_of_no_other() -> None:
    odd = {"clusters": ["Late Delivery!"], "sentiment_score": -1.05, "reasoning": "a\x00b"}
    content = answer(entry("a", **odd, note="of a"), entry("b", reasoning="of b"))
    results = parse_results(content, ["a", "b"])
    assert results["a"].details == {"result": {**odd, "confidence": 0.8}}
    assert results["b"] == as_read(reasoning="of b")


@pytest.mark.parametrize("odd", ["NaN", "1e9999", "-Infinity", "7", "null", '{"a": NaN}'])
def test_the_details_are_json_for_every_database(odd: str) -> None:
    content = answer(entry(clusters=["late", "HERE"], note="HERE")).replace('"HERE"', odd)
    (result,) = parse_results(content, ["a"]).values()
    assert isinstance(result, Analysis)
    assert "late" in json.dumps(result.details, allow_nan=False)


@pytest.mark.parametrize(
    "content",
    [
        "[" * 100_000,
        '{"results":' * 50_000,
        "[" * 900 + "]" * 900,
        '{"results": [' + "[" * 100_000,
        json.dumps({"results": [[[entry()]]]}),
        json.dumps({"a": {"b": {"c": {"results": [entry()]}}}}),
        json.dumps({"a": {"results": [entry()]}, "b": {"results": [entry()]}}),
        json.dumps({"results": [{"id": {"id": "a"}}]}),
    ],
    ids=lambda content: content[:20],
)
def test_nested_garbage_is_unusable(content: str) -> None:
    assert isinstance(parse_results(content, ["a"])["a"], Unusable)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda children: st.lists(children) | st.dictionaries(st.text(), children),
    max_leaves=10,
)
odd_entries = st.dictionaries(
    st.sampled_from(["id", "sentiment_score", "clusters", "confidence", "reasoning"]),
    json_values | st.sampled_from(["a", "b"]),
)
odd_answers = st.builds(
    lambda before, entries, after: before + json.dumps({"results": entries}) + after,
    st.text(max_size=20),
    st.lists(odd_entries | json_values, max_size=4),
    st.text(max_size=20),
)
json_pieces = st.lists(
    st.sampled_from(['{"', '"}', "{", "}", "[", "]", ",", ":", "results", "\n", "```json", "1e999"])
).map("".join)


@given(st.text() | odd_answers | json_pieces)
def test_whatever_a_model_writes_every_id_gets_a_sound_result_or_a_reason(content: str) -> None:
    results = parse_results(content, ["a", "b"])
    assert list(results) == ["a", "b"]
    for result in results.values():
        if isinstance(result, Unusable):
            assert result.reason
        else:
            assert -1.0 <= result.sentiment_score <= 1.0
            assert 0.0 <= result.confidence <= 1.0
            assert 1 <= len(result.clusters) <= MAX_CLUSTERS
            result.reasoning.encode()
            assert "\x00" not in result.reasoning


@given(
    st.floats(-1, 1),
    st.floats(0, 1),
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=1000),
)
def test_a_sound_result_comes_through_as_it_is(
    score: float, confidence: float, reasoning: str
) -> None:
    content = answer(entry(sentiment_score=score, confidence=confidence, reasoning=reasoning))
    assert parse_results(content, ["a"]) == {
        "a": as_read(score, confidence=confidence, reasoning=reasoning)
    }


# --- clusters -------------------------------------------------------------------------------------


def test_infinity_is_no_score() -> None:
    """`json` reads it, though JSON has no such number."""
    assert math.isinf(json.loads("Infinity"))
    content = answer(entry()).replace("-0.5", "Infinity")
    assert isinstance(parse_results(content, ["a"])["a"], Unusable)
