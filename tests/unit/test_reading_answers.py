"""Where the results are in what a model wrote, and whose each is."""

import json
import re
import time

import pytest

from analysis.outcomes import Analysis, Unusable
from analysis.parsing import parse_results
from tests.support.model_answers import answer, as_read, entry, reason_of

LATE = as_read()

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
    "unit",
    ['{\n"', '{"a":1,\n', "{'", "{a:", "{a}", "{,", "[{", "//", "/*", "<think>", '"', "\\", "'x"],
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


@pytest.mark.parametrize(
    "prose", ["Answer for {user}:", "I will use {curly} braces.", "{x}", "{}", "{an id} {b} [c]"]
)
def test_a_name_in_braces_in_the_prose_before_the_answer_does_no_harm(prose: str) -> None:
    assert parse_results(f"{prose} {ONE}", ["a"]) == {"a": LATE}
    assert isinstance(parse_results(f"{prose} {ONE[:-5]}", ["a"])["a"], Unusable)


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
