"""Judgements without I/O: what an answer leads to, and how a model's text is read."""

import json
import math
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis import (
    MAX_CLUSTER_LENGTH,
    MAX_CLUSTERS,
    MAX_REASONING_LENGTH,
    Analysis,
    Answer,
    Complete,
    Fail,
    NotNow,
    Outcome,
    PutBack,
    Refused,
    Retry,
    TransientFailure,
    Unusable,
    decide,
    fallback,
    normalise_clusters,
    parse_results,
)
from tests.factories import analysis

# --- decide ---------------------------------------------------------------------------------------

GOOD = analysis()
UNUSABLE = Unusable("it is not JSON")
DOWN = TransientFailure("503")

DECISIONS: list[tuple[Answer, int, Outcome]] = [
    (GOOD, 1, Complete(GOOD)),
    (GOOD, 99, Complete(GOOD)),
    (UNUSABLE, 1, Retry("it is not JSON", delay=0.0)),
    (UNUSABLE, 2, Retry("it is not JSON", delay=0.0)),
    (UNUSABLE, 3, Complete(fallback(UNUSABLE))),
    (UNUSABLE, 4, Complete(fallback(UNUSABLE))),
    (DOWN, 1, Retry("503", delay=1.0)),
    (DOWN, 2, Retry("503", delay=2.0)),
    (DOWN, 3, Retry("503", delay=4.0)),
    (DOWN, 4, Fail("503")),
    (DOWN, 5, Fail("503")),
    (Refused("against the rules"), 1, Fail("against the rules")),
    (NotNow("breaker open"), 1, PutBack()),
    (NotNow("breaker open"), 99, PutBack()),
]


@pytest.mark.parametrize(("answer", "attempts", "outcome"), DECISIONS)
def test_each_answer_leads_to_its_outcome(answer: Answer, attempts: int, outcome: Outcome) -> None:
    assert decide(answer, attempts, max_attempts=3, jitter=0.0) == outcome


def test_a_single_attempt_goes_straight_to_the_fallback() -> None:
    assert decide(UNUSABLE, 1, max_attempts=1, jitter=0.0) == Complete(fallback(UNUSABLE))


@pytest.mark.parametrize(("jitter", "delay"), [(0.0, 2.0), (0.5, 2.5), (1.0, 3.0)])
def test_jitter_stretches_a_delay_by_up_to_a_half(jitter: float, delay: float) -> None:
    assert decide(DOWN, 2, max_attempts=3, jitter=jitter) == Retry("503", delay=delay)


def test_fallback_says_why_and_keeps_the_answer_and_its_cost() -> None:
    unusable = Unusable("it breaks off", details={"content": "{"}, cost_usd_ticks=7)
    assert fallback(unusable) == Analysis(
        sentiment_score=0.0,
        clusters=("unknown",),
        confidence=0.0,
        reasoning="No usable analysis: it breaks off",
        details={"content": "{", "fallback": True},
        cost_usd_ticks=7,
    )


# --- parse_results --------------------------------------------------------------------------------


def entry(id_: Any = "a", **overrides: Any) -> dict[str, Any]:
    whole = {
        "id": id_,
        "sentiment_score": -0.5,
        "clusters": ["delivery_problems"],
        "confidence": 0.8,
        "reasoning": "Late.",
    }
    return {**whole, **overrides}


def answer(*entries: object) -> str:
    return json.dumps({"results": entries})


LATE = Analysis(-0.5, ("delivery_problems",), 0.8, "Late.")


def reason_of(result: Analysis | Unusable) -> str:
    assert isinstance(result, Unusable)
    return result.reason


ONE = answer(entry())
WRAPPINGS = [
    ONE,
    json.dumps(json.loads(ONE), indent=2),
    f"  \n{ONE}\n\n",
    f"\ufeff{ONE}",
    f"```json\n{ONE}\n```",
    f"```\n{ONE}\n```",
    f"```json\r\n{ONE}\r\n```",
    f"Here is the analysis:\n\n```json\n{ONE}\n```\nI hope that this helps!",
    f"The result is {ONE}",
    f"{ONE} That is all.",
    json.dumps([entry()]),
    json.dumps({"results": entry()}),
]


@pytest.mark.parametrize("content", WRAPPINGS)
def test_the_result_is_found_in_whatever_it_is_wrapped(content: str) -> None:
    assert parse_results(content, ["a"]) == {"a": LATE}


def test_the_last_of_two_documents_counts() -> None:
    first = answer(entry(sentiment_score=0.9))
    assert parse_results(f"{first}\n{ONE}", ["a"]) == {"a": LATE}


def test_the_last_of_two_documents_on_one_line_counts() -> None:
    first = answer(entry(sentiment_score=0.9))
    assert parse_results(first + ONE, ["a"]) == {"a": LATE}


def test_the_last_of_two_fences_counts() -> None:
    first = answer(entry(sentiment_score=0.9))
    content = f"```json\n{first}\n```\nOn second thoughts:\n```json\n{ONE}\n```"
    assert parse_results(content, ["a"]) == {"a": LATE}


def test_a_document_that_breaks_off_before_the_whole_one_does_no_harm() -> None:
    assert parse_results(f"{ONE[:30]}\n{ONE}", ["a"]) == {"a": LATE}


def test_a_footnote_after_the_answer_does_no_harm() -> None:
    assert parse_results(f"{ONE}\n\nSee note [1].", ["a"]) == {"a": LATE}


def test_a_bracket_in_the_prose_before_the_answer_does_no_harm() -> None:
    assert parse_results(f"The [final] answer: {ONE}", ["a"]) == {"a": LATE}


@pytest.mark.parametrize("length", range(len(ONE)))
def test_an_answer_cut_off_anywhere_is_unusable(length: int) -> None:
    assert isinstance(parse_results(ONE[:length], ["a"])["a"], Unusable)


def test_no_part_of_a_cut_off_answer_counts() -> None:
    """The first entry is whole, but it may have been about to be corrected."""
    content = answer(entry("a"), entry("b"))[:-20]
    assert [reason_of(result) for result in parse_results(content, ["a", "b"]).values()] == [
        "the answer holds no complete JSON document"
    ] * 2


@pytest.mark.parametrize(
    "content", ["", "   ", "null", "true", "42", '"text"', "I cannot help with that.", "{", "[{"]
)
def test_an_answer_without_a_document_is_unusable(content: str) -> None:
    assert reason_of(parse_results(content, ["a"])["a"]) == (
        "the answer holds no complete JSON document"
    )


@pytest.mark.parametrize("results", [None, 1, "a", True])
def test_results_that_are_no_list_are_unusable(results: object) -> None:
    assert isinstance(parse_results(json.dumps({"results": results}), ["a"])["a"], Unusable)


def test_an_empty_document_after_the_answer_does_no_harm() -> None:
    assert parse_results(f'{ONE}\n{{"results": []}}', ["a"]) == {"a": LATE}


def test_each_id_gets_its_own_result_in_whatever_order() -> None:
    content = answer(entry("b", sentiment_score=0.25), entry("a"))
    results = parse_results(content, ["a", "b"])
    assert list(results) == ["a", "b"]
    assert results["a"] == LATE
    assert results["b"] == Analysis(0.25, ("delivery_problems",), 0.8, "Late.")


def test_a_missing_id_spoils_no_other() -> None:
    results = parse_results(answer(entry("a")), ["a", "b"])
    assert results["a"] == LATE
    assert reason_of(results["b"]) == "the answer leaves this conversation out"


def test_a_doubled_id_spoils_no_other() -> None:
    results = parse_results(answer(entry("a"), entry("b"), entry("b")), ["a", "b"])
    assert results["a"] == LATE
    assert reason_of(results["b"]) == "the answer has this conversation twice"


def test_a_malformed_entry_spoils_no_other() -> None:
    content = answer(entry("a"), entry("b", confidence="high"), None, 7, "b", [])
    results = parse_results(content, ["a", "b"])
    assert results["a"] == LATE
    assert isinstance(results["b"], Unusable)


def test_ids_that_nobody_asked_for_are_left_out() -> None:
    assert parse_results(answer(entry("a"), entry("x")), ["a"]) == {"a": LATE}


def test_a_wrong_id_is_unusable_also_where_one_was_asked_for() -> None:
    results = parse_results(answer(entry("b")), ["a"])
    assert reason_of(results["a"]) == "the answer leaves this conversation out"


def test_a_single_result_needs_no_id_nor_a_list() -> None:
    bare = entry()
    del bare["id"]
    assert parse_results(json.dumps(bare), ["a"]) == {"a": LATE}
    assert parse_results(answer(bare), ["a"]) == {"a": LATE}


def test_among_several_a_result_without_id_belongs_to_none() -> None:
    bare = entry()
    del bare["id"]
    results = parse_results(answer(bare), ["a", "b"])
    assert [type(result) for result in results.values()] == [Unusable, Unusable]


@pytest.mark.parametrize(
    ("name", "value", "kept"),
    [
        ("sentiment_score", 3, 1.0),
        ("sentiment_score", -1.0001, -1.0),
        ("sentiment_score", 1, 1.0),
        ("sentiment_score", 0, 0.0),
        ("sentiment_score", 1e308, 1.0),
        ("confidence", 85, 1.0),
        ("confidence", -0.1, 0.0),
        ("confidence", 0.333, 0.333),
    ],
)
def test_numbers_out_of_range_are_clamped(name: str, value: float, kept: float) -> None:
    result = parse_results(answer(entry(**{name: value})), ["a"])["a"]
    assert getattr(result, name) == kept
    assert type(getattr(result, name)) is float


@pytest.mark.parametrize("name", ["sentiment_score", "confidence"])
@pytest.mark.parametrize(
    "value",
    ["NaN", "Infinity", "-Infinity", "true", "false", "null", '"0.5"', "[]", "{}", "9" * 400],
)
def test_what_is_no_finite_number_is_unusable(name: str, value: str) -> None:
    content = answer(entry(**{name: "HERE"})).replace('"HERE"', value)
    assert reason_of(parse_results(content, ["a"])["a"]) == (
        "the answer's sentiment_score or confidence is not a number"
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
        {"clusters": "delivery_problems"},
        {"clusters": None},
        {"clusters": {"delivery_problems": 1}},
        {"reasoning": None},
        {"reasoning": ["Late."]},
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
    assert parse_results(answer(brief), ["a"]) == {
        "a": Analysis(-0.5, ("delivery_problems",), 0.8, "")
    }


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


def test_in_closed_mode_only_allowed_clusters_count() -> None:
    content = answer(entry(clusters=["praise", "Late Delivery", "made up"]))
    results = parse_results(content, ["a"], allowed_clusters=["late_delivery", "billing"])
    assert results == {"a": Analysis(-0.5, ("late_delivery",), 0.8, "Late.")}


@pytest.mark.parametrize(
    "content",
    [
        "[" * 100_000,
        '{"results":' * 50_000,
        "[" * 900 + "]" * 900,
        '{"results": [' + "[" * 100_000,
        json.dumps({"results": [[[entry()]]]}),
        json.dumps({"results": {"results": [entry()]}}),
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
        "a": Analysis(score, ("delivery_problems",), confidence, reasoning)
    }


# --- clusters -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("late_delivery", "late_delivery"),
        ("Late Delivery", "late_delivery"),
        ("Late Delivery!", "late_delivery"),
        ("late-delivery", "late_delivery"),
        ("lateDelivery", "late_delivery"),
        ("LATE DELIVERY", "late_delivery"),
        ("  late   delivery\n", "late_delivery"),
        ("__late__delivery__", "late_delivery"),
        ("late/delivery & co.", "late_delivery_co"),
        ("wifi6E", "wifi6_e"),
        ("late _ delivery", "late_delivery"),
        ("ｌａｔｅ", "late"),
        ("Zustellung Größe", "zustellung_grösse"),
        ("配送", "配送"),
        ("доставка Почты", "доставка_почты"),
        ("late\x00delivery", "late_delivery"),
        ("late\ud800delivery", "late_delivery"),
        ("x" * 100, "x" * 64),
        ("x" * 63 + " y", "x" * 63),
        ("", "unknown"),
        ("!!!", "unknown"),
        ("🙂", "unknown"),
        ("_", "unknown"),
        (None, "unknown"),
        (7, "unknown"),
        (["late"], "unknown"),
    ],
)
def test_cluster_names_become_snake_case(name: object, kept: str) -> None:
    assert normalise_clusters([name]) == (kept,)


@pytest.mark.parametrize(
    ("names", "kept"),
    [
        ([], ("unknown",)),
        (["b", "a"], ("b", "a")),
        (["a", "A", "a!"], ("a",)),
        (list("abcdefghi"), tuple("abcde")),
        ([None, "a", 3, "", "b"], ("a", "b")),
        (["a", "a", "b", "b", "c", "c", "d", "e", "f"], tuple("abcde")),
    ],
)
def test_clusters_are_distinct_in_order_and_at_most_five(
    names: list[object], kept: tuple[str, ...]
) -> None:
    assert normalise_clusters(names) == kept


@pytest.mark.parametrize(
    ("names", "kept"),
    [
        (["Billing", "praise"], ("billing",)),
        (["praise"], ("unknown",)),
        ([*"abcdefg", "billing"], ("billing",)),
        (["unknown"], ("unknown",)),
    ],
)
def test_clusters_that_are_not_allowed_are_dropped_before_counting(
    names: list[object], kept: tuple[str, ...]
) -> None:
    assert normalise_clusters(names, ["billing", "delivery"]) == kept


@given(st.lists(st.text() | st.none() | st.integers()))
def test_clusters_are_always_sound(names: list[object]) -> None:
    kept = normalise_clusters(names)
    assert 1 <= len(kept) <= MAX_CLUSTERS
    assert len(set(kept)) == len(kept)
    for name in kept:
        assert 1 <= len(name) <= MAX_CLUSTER_LENGTH
        assert re.fullmatch(r"\w+", name)
        assert "__" not in name
        assert name.strip("_") == name
        name.encode()


def test_infinity_is_no_score() -> None:
    """`json` reads it, though JSON has no such number."""
    assert math.isinf(json.loads("Infinity"))
    content = answer(entry()).replace("-0.5", "Infinity")
    assert isinstance(parse_results(content, ["a"])["a"], Unusable)
