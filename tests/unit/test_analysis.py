"""Judgements without I/O: what an answer leads to, and how a model's text is read."""

import json
import math
import re
import time
import unicodedata
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.fingerprint import as_analysed, fingerprint
from analysis.outcomes import (
    MAX_CLUSTERS,
    Analysis,
    Answer,
    Blocked,
    Complete,
    Fail,
    NotNow,
    Outcome,
    Refused,
    Requeue,
    Retry,
    TransientFailure,
    Unusable,
    decide,
    fallback,
)
from analysis.parsing import (
    MAX_CLUSTER_LENGTH,
    MAX_REASONING_LENGTH,
    normalise_clusters,
    parse_results,
)
from tests.support.factories import analysis

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
    (NotNow("breaker open"), 1, Requeue()),
    (NotNow("breaker open"), 99, Requeue()),
    (Blocked("no credits"), 1, Requeue()),
    (Blocked("no credits"), 99, Requeue()),
]


@pytest.mark.parametrize(("answer", "attempts", "outcome"), DECISIONS)
def test_each_answer_leads_to_its_outcome(answer: Answer, attempts: int, outcome: Outcome) -> None:
    assert decide(answer, attempts, max_attempts=3, jitter=0.0) == outcome


# What came of a call with others may be their fault, and so ends nothing.
PACKED: list[tuple[Answer, int, Outcome]] = [
    (GOOD, 1, Complete(GOOD)),
    (UNUSABLE, 1, Retry("it is not JSON", delay=0.0, alone=True)),
    (UNUSABLE, 3, Retry("it is not JSON", delay=0.0, alone=True)),
    (UNUSABLE, 99, Retry("it is not JSON", delay=0.0, alone=True)),
    (Refused("against the rules"), 1, Retry("against the rules", delay=0.0, alone=True)),
    (Refused("against the rules"), 99, Retry("against the rules", delay=0.0, alone=True)),
    (DOWN, 1, Retry("503", delay=1.0)),
    (DOWN, 2, Retry("503", delay=2.0, alone=True)),
    (DOWN, 4, Retry("503", delay=8.0, alone=True)),
    (NotNow("breaker open"), 1, Requeue()),
    (Blocked("no credits"), 99, Requeue()),
]


@pytest.mark.parametrize(("answer", "attempts", "outcome"), PACKED)
def test_what_came_of_a_packed_call_ends_nothing_but_is_asked_again_alone(
    answer: Answer, attempts: int, outcome: Outcome
) -> None:
    assert decide(answer, attempts, max_attempts=3, jitter=0.0, packed=True) == outcome


def test_a_refusal_that_may_not_be_the_texts_fault_is_none_in_an_outage() -> None:
    unclear = Refused("HTTP 422: no", doubtful=True)
    assert decide(unclear, 1, max_attempts=3, jitter=0.0) == Fail("HTTP 422: no")
    for packed in (False, True):
        assert decide(
            unclear, 1, max_attempts=3, jitter=0.0, packed=packed, outage=True, probe_delay=90.0
        ) == Requeue(delay=90.0)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("attempts", [1, 4, 99])
def test_an_outage_is_no_conversations_failure(packed: bool, attempts: int) -> None:
    outcome = decide(DOWN, attempts, max_attempts=3, jitter=0.0, packed=packed, outage=True)
    assert outcome == Requeue()


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        (GOOD, Complete(GOOD)),
        (UNUSABLE, Complete(fallback(UNUSABLE))),
        (Refused("against the rules"), Fail("against the rules")),
    ],
)
def test_what_was_answered_counts_also_in_an_outage(answer: Answer, outcome: Outcome) -> None:
    assert decide(answer, 3, max_attempts=3, jitter=0.0, outage=True) == outcome


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


def as_read(
    sentiment_score: float = -0.5,
    clusters: tuple[str, ...] = ("delivery_problems",),
    confidence: float = 0.8,
    reasoning: str = "Late.",
    written: dict[str, Any] | None = None,
    language: str = "und",
) -> Analysis:
    """What an entry becomes; `written` holds what stood in it otherwise."""
    result = {
        "sentiment_score": sentiment_score,
        "clusters": list(clusters),
        "confidence": confidence,
        "reasoning": reasoning,
        **(written or {}),
    }
    details = {"result": result}
    return Analysis(
        sentiment_score, clusters, confidence, reasoning, details=details, language=language
    )


LATE = as_read()


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


BARE = {name: value for name, value in entry().items() if name != "id"}
PYTHON = str({"results": [entry(reasoning="Late.", more=[None, True])]})
DRESSES = {
    "thoughts": f'<think>Maybe {{"results": [ as in</think>{ONE}',
    "thoughts, a whole draft": f"<thinking>{answer(entry(confidence=0.1))}</thinking>\n{ONE}",
    "thoughts without their first tag": f'Maybe {{"results": [ as in</think>{ONE}',
    "trailing commas": ONE.replace("}", ",}").replace("]", ",]"),
    "a line break in a string": ONE.replace("Late.", "Late.\\n").replace("\\\\n", "\n"),
    "comments": ONE.replace("[", "[ // one\n", 1).replace("}]", "/* that's {all} */}]"),
    "Python": PYTHON,
    "bare keys": re.sub(r'"(\w+)":', r"\1:", ONE),
    "numbers as nobody else writes them": ONE.replace("-0.5", "-.5").replace("0.8", "+0.8"),
    "a percentage": ONE.replace("0.8", "80%"),
    "JSON in JSON": json.dumps(ONE),
    "JSON in a field": json.dumps({"results": json.dumps([entry()])}),
    "one level deeper": json.dumps({"analysis": {"results": [entry()]}}),
    "the result one level deeper": json.dumps({"analysis": entry()}),
    "results in results": json.dumps({"results": {"results": [entry()]}}),
    "figures one level below the id": answer({"id": "a", "analysis": BARE}),
    "a list around it": json.dumps([{"results": [entry()]}]),
    "the id as key": json.dumps({"a": BARE}),
    "the id as key below results": json.dumps({"results": {"a": BARE}}),
    "other keys": answer(
        {"ID": "a", "sentimentScore": -0.5, "Clusters": BARE["clusters"], "CONFIDENCE": 0.8}
        | {"Reasoning": "Late."}
    ),
    "other names": answer(
        {"conversation_id": "a", "sentiment": -0.5, "topics": BARE["clusters"], "confidence": 0.8}
        | {"reasoning": "Late."}
    ),
    "numbers in quotes": answer(entry(sentiment_score="-0.5", confidence="80%")),
    "one cluster as a string": answer(entry(clusters="delivery_problems")),
    "a list in a string": answer(entry(clusters="['delivery_problems']")),
    "clusters with names": answer(entry(clusters=[{"name": "delivery_problems"}])),
    "reasoning in parts": answer(entry(reasoning=["Late."])),
    "a note after it": f'{ONE}\n{{"note": "I hope that this helps"}}',
}


@pytest.mark.parametrize("dress", DRESSES)
def test_an_answer_in_a_dress_that_leaves_no_doubt_is_read(dress: str) -> None:
    found = parse_results(DRESSES[dress], ["a"])["a"]
    assert isinstance(found, Analysis), found
    assert (found.sentiment_score, found.confidence) == (-0.5, 0.8)
    assert found.clusters == ("delivery_problems",)
    assert found.reasoning.strip(" \n") == "Late."


def test_no_reasoning_is_no_reason_to_ask_again() -> None:
    assert isinstance(parse_results(answer(entry(reasoning=None)), ["a"])["a"], Analysis)


def test_several_clusters_in_a_string_are_several() -> None:
    found = parse_results(answer(entry(clusters="late delivery, refund; praise")), ["a"])["a"]
    assert isinstance(found, Analysis)
    assert found.clusters == ("late_delivery", "refund", "praise")


def test_a_document_for_each_id_is_an_answer_for_all() -> None:
    content = "\n".join(json.dumps(entry(id_)) for id_ in ("a", "b"))
    assert parse_results(content, ["a", "b"]) == {"a": LATE, "b": LATE}
    again = f"{content}\n{json.dumps(entry('b', confidence=0.1))}"
    assert isinstance(parse_results(again, ["a", "b"])["a"], Unusable)


def test_the_ids_as_keys_are_an_answer_for_all() -> None:
    content = json.dumps({"b": BARE, "a": BARE})
    assert parse_results(content, ["a", "b"]) == {"a": LATE, "b": LATE}


@pytest.mark.parametrize(
    "content",
    [
        f"<think>{ONE}",
        ONE.replace("-0.5", '"negative"'),
        ONE.replace("[", "[,", 1),
        ONE.replace('"delivery_problems"', "delivery_problems"),
        PYTHON[:-3],
        f"{PYTHON[:-20]}\n",
        json.dumps([entry(), entry(confidence=0.1)]),
    ],
)
def test_what_leaves_a_doubt_is_not_read(content: str) -> None:
    assert isinstance(parse_results(content, ["a"])["a"], Unusable)


@pytest.mark.parametrize("length", range(len(PYTHON)))
def test_no_answer_that_is_cut_off_is_mended_into_a_whole_one(length: int) -> None:
    assert isinstance(parse_results(PYTHON[:length], ["a"])["a"], Unusable)


@pytest.mark.parametrize(
    "unit", ['{\n"', '{"a":1,\n', "{'", "{a:", "{,", "[{", "//", "/*", "<think>", '"', "\\", "'x"]
)
def test_no_answer_takes_long_to_read(unit: str) -> None:
    started = time.process_time()
    parse_results(unit * (150_000 // len(unit)), ["a"])
    parse_results(unit * (75_000 // len(unit)) + "}" * 75_000, ["a"])
    assert time.process_time() - started < 10  # squares would take minutes


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
    assert results["b"] == as_read(0.25)


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


# --- texts as they are analysed -------------------------------------------------------------------


def test_who_is_named_and_what_is_linked_to_is_not_shown_to_an_analyser() -> None:
    text = " @so_happy  (@me)\nlate https://a.example/love WWW.joke.example\te\u0301 me@b.example @"
    assert as_analysed(text) == "@user (@user) late URL URL é me@b.example @"


@given(st.text(), st.text())
def test_texts_with_one_fingerprint_are_analysed_by_the_same_words(one: str, other: str) -> None:
    def words(text: str) -> list[str]:
        return re.sub(r"(?<!\w)@user|URL", " ", as_analysed(text)).split()

    if fingerprint(one, "key") == fingerprint(other, "key"):
        assert words(one) == words(other)


# --- texts that are the same ----------------------------------------------------------------------

# None of them an "@", a "/" or a "." of its own, so that what is put between stays what it is.
PLAIN = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="@/.:"), max_size=20)
HANDLES = st.text("abc_XYZ019é", min_size=1, max_size=15).map("@{}".format)
URLS = st.builds(
    "{}{}".format,
    st.sampled_from(["https://", "http://", "HTTPS://", "www.", "https://www."]),
    st.text("abcXYZ019-._~:/?#@!$&'()*+,;=%", min_size=1, max_size=20),
)
SPACES = st.text(" \t\n\r\u00a0\u2003\u3000", min_size=1, max_size=4)


def same(one: str, other: str) -> bool:
    return fingerprint(one, "key") == fingerprint(other, "key")


@given(st.text(), st.text())
def test_a_fingerprint_is_32_hex_digits_and_always_the_same(text: str, reuse_key: str) -> None:
    assert re.fullmatch(r"[0-9a-f]{32}", fingerprint(text, reuse_key))
    assert fingerprint(text, reuse_key) == fingerprint(text, reuse_key)


@given(PLAIN, HANDLES, HANDLES, PLAIN)
def test_another_handle_makes_no_other_text(before: str, one: str, two: str, after: str) -> None:
    assert same(f"{before} {one} {after}", f"{before} {two} {after}")


@given(PLAIN, URLS, URLS, PLAIN)
def test_another_url_makes_no_other_text(before: str, one: str, two: str, after: str) -> None:
    assert same(f"{before} {one} {after}", f"{before} {two} {after}")


@given(st.lists(PLAIN), SPACES, SPACES)
def test_other_white_space_makes_no_other_text(words: list[str], one: str, two: str) -> None:
    assert same(one.join(words), two.join(words))
    assert same(one.join(words), f"{two}{two.join(words)}{one}")


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_another_unicode_form_makes_no_other_text(text: str) -> None:
    assert same(unicodedata.normalize("NFC", text), unicodedata.normalize("NFD", text))


@given(st.text("abc dé!?👍", max_size=20), st.text("abc dé!?👍", max_size=20))
def test_other_words_make_another_text(one: str, two: str) -> None:
    assert same(one, two) == (one.split() == two.split())


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("It is late", "It is Late"),
        ("It is late", "It is late!"),
        ("It is late", "Itis late"),
        ("@shop is late", "shop is late"),
        ("write to me@a.example", "write to me@b.example"),
        ("1 day", "2 days"),
        ("ﬁne", "fine"),
        ("great 👍", "great 👎"),
    ],
)
def test_what_may_be_meant_otherwise_is_another_text(one: str, other: str) -> None:
    assert not same(one, other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("@shop is late", "is late"),
        ("@shop @help is late", "@shop is late"),
        ("is late (@shop)", "is late (@help)"),
        ("see https://a.example/1?b=c#d", "see"),
        ("see WWW.a.example", "see http://b.example"),
        ("@shop", "https://a.example"),
    ],
)
def test_whether_anybody_is_named_or_linked_to_makes_no_other_text(one: str, other: str) -> None:
    assert same(one, other)


def test_analysed_otherwise_it_is_another_text() -> None:
    assert fingerprint("late", "model a") != fingerprint("late", "model b")
    assert fingerprint("b late", "a") != fingerprint("late", "a b")


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
