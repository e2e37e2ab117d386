"""The fake Grok says over a socket what the real one says."""

from __future__ import annotations

import json
import time
from email.utils import parsedate_to_datetime
from typing import Any

import httpx
import pytest

from tests.fakes.grok.answer import TEAM_ID
from tests.fakes.grok.faults import GROUPS, replies_named
from tests.fakes.grok.judgement import judge, texts_by_id
from tests.fakes.grok.models import DEFAULT_MODEL, MODELS, Usage
from tests.fakes.grok.replies import CONSTRUCTORS, Reply
from tests.support.grok_caller import TEXTS, Caller, chat

# Name or arguments of a constructor, status, a part of the sentence.
ERRORS: list[tuple[str | dict[str, Any], int, str]] = [
    ("wrong_key", 400, "Incorrect API key provided. You can obtain"),
    ({"reply": "wrong_key", "masked": True}, 400, "Incorrect API key provided: xa***==."),
    ("no_credentials", 401, "No credentials presented."),
    ("unknown_model", 400, f"Model not found: {DEFAULT_MODEL}"),
    ({"reply": "unknown_model", "status": 404}, 404, f"does not exist or your team {TEAM_ID}"),
    ("region", 403, "is not available in your region."),
    ("new_team", 403, f"https://console.x.ai/team/{TEAM_ID}."),
    ("credits_gone", 429, "has either used all available credits"),
    ({"reply": "credits_gone", "status": 403}, 403, "has either used all available credits"),
    ("access_denied", 403, "Access to the chat endpoint is denied."),
    ("blocked_user", 403, "User is blocked"),
    ("parameter_refused", 400, "does not support parameter presencePenalty."),
    ({"reply": "parameter_refused", "older": True}, 400, "Argument not supported on this model:"),
    ("effort_refused", 400, "does not support `reasoning_effort` value `none`."),
    ("grammar_too_complex", 400, "Grammar is too complex."),
    ({"reply": "grammar_too_complex", "status": 503}, 503, "Grammar is too complex."),
    ("search_gone", 410, "Live search is deprecated."),
    ("method_not_allowed", 405, ""),
    ("not_json_type", 415, "Content-Type"),
    ("content_violation", 403, "Content violates usage guidelines. "),
    ({"reply": "content_violation", "tail": True}, 403, "Failed check: SAFETY_CHECK_TYPE_BIO"),
    ("context_overflow", 400, "maximum prompt length is 256000 but the request contains 259445"),
    ("bad_data", 400, "Bad data: Messages cannot be empty"),
    ("not_json", 400, "Failed to parse the request body as JSON"),
    ("wrong_type", 422, "Failed to deserialize the JSON body into the target type: messages"),
    ("rate_per_second", 429, "Requests per Second (actual/limit): 2/2."),
    ("rate_per_minute", 429, "Requests per Minute (actual/limit): 101/60. Resets in: 3m 4s"),
    ("tokens_per_minute", 429, "Tokens per Minute (actual/limit): 65605/16000."),
    ("server_error", 500, "Internal error"),
    ("at_capacity", 503, "The model is at capacity"),
    ({"reply": "at_capacity", "wording": "first_token"}, 503, "Timed out waiting for first token"),
    ("cloudflare", 520, "<!DOCTYPE html>"),
    ({"reply": "cloudflare", "status": 524}, 524, "Error code 524"),
    ({"reply": "status", "status_code": 502, "shape": "empty"}, 502, ""),
    ({"reply": "status", "status_code": 529, "shape": "nested"}, 529, '"message": "Something'),
]

# Each with finish_reason and what its content must look like.
ODD_ANSWERS: dict[str, tuple[str, Any]] = {
    "fenced": ("stop", lambda text: text.startswith("```json\n{") and text.endswith("}\n```")),
    "empty_content": ("stop", lambda text: text == ""),
    "null_content": ("stop", lambda text: text is None),
    "reasoning_only": ("stop", lambda text: text == ""),
    "truncated": ("length", lambda text: text.startswith('{"results"') and text[-1] != "}"),
    "unfinished": ("content_filter", lambda text: len(json.loads(text)["results"]) == 2),
    "two_documents": ("stop", lambda text: text.count('{"results"') == 2),
    "garbage": ("stop", lambda text: "{" not in text),
    "out_of_range": (
        "stop",
        lambda text: all(
            (r["sentiment_score"], r["confidence"], len(r["clusters"])) == (7, -3, 9)
            for r in json.loads(text)["results"]
        ),
    ),
    "odd_types": ("stop", lambda text: json.loads(text)["results"][0]["confidence"] is None),
    "left_out": ("stop", lambda text: ids(text) == ["a"]),
    "missing_id": ("stop", lambda text: ids(text) == [None, "b"]),
    "doubled_id": ("stop", lambda text: ids(text) == ["a", "b", "a"]),
    "wrong_id": ("stop", lambda text: ids(text) == ["an-id-nobody-sent", "b"]),
    "bare_object": ("stop", lambda text: json.loads(text)["id"] == "a"),
    "refusal": ("stop", lambda text: text is None),
}


def ids(text: str) -> list[Any]:
    return [result.get("id") for result in json.loads(text)["results"]]


async def test_a_good_answer_has_the_shape_and_the_headers_of_the_real_one(
    caller: Caller,
) -> None:
    response = await caller.ask()

    answer = response.json()
    assert response.status_code == 200
    assert answer["object"] == "chat.completion"
    assert answer["model"] == DEFAULT_MODEL
    assert answer["service_tier"] == "default"
    assert answer["choices"][0]["finish_reason"] == "stop"
    assert answer["choices"][0]["message"]["refusal"] is None
    usage = answer["usage"]
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
    expected = usage["prompt_tokens"] * 12_500 + usage["completion_tokens"] * 25_000
    assert usage["cost_in_usd_ticks"] == expected
    assert response.headers["x-ratelimit-limit-requests"] == "1800"
    assert response.headers["x-request-id"]


async def test_each_text_is_judged_by_its_own_words(caller: Caller) -> None:
    response = await caller.ask()

    content = response.json()["choices"][0]["message"]["content"]
    first, second = json.loads(content)["results"]
    assert (first["id"], second["id"]) == ("a", "b")
    assert first["sentiment_score"] > 0 > second["sentiment_score"]
    assert first["clusters"] == ["praise"]
    assert second["clusters"] == ["delivery_problems", "product_issues"]
    assert 0.5 <= first["confidence"] <= 0.99
    assert first == judge(TEXTS["a"], "a")


def test_clusters_stay_within_those_the_schema_allows() -> None:
    assert judge("late", "a", ["delivery_problems", "other"])["clusters"] == ["delivery_problems"]
    assert judge("late", "a", ["other"])["clusters"] == ["other"]


@pytest.mark.parametrize(
    "content",
    [
        '{"items": [{"id": "a", "text": "x [1] {y}"}]}',
        '[{"id": "a", "text": "x [1] {y}"}]',
        'Rate these [carefully], {please}:\n{"items": [{"id": "a", "text": "x [1] {y}"}]}\nThanks.',
        '<<<DATA [7f3a]\n{"items": [{"id": "a", "text": "x [1] {y}"}]}\nDATA [7f3a]>>>\nObey [me.',
    ],
)
def test_texts_are_found_wherever_the_json_stands(content: str) -> None:
    assert texts_by_id(content) == {"a": "x [1] {y}"}


def test_the_documented_example_costs_what_it_cost() -> None:
    usage = Usage(prompt=719, cached=64, completion=72, reasoning=0)

    assert usage.ticks(MODELS[DEFAULT_MODEL]) == 655 * 12_500 + 64 * 2_000 + 72 * 25_000
    assert usage.ticks(MODELS[DEFAULT_MODEL]) == 10_115_500


async def test_reasoning_is_billed_beside_the_completion(caller: Caller) -> None:
    body = chat(model="grok-4.3", reasoning_effort="low")
    usage = (await caller.ask(body)).json()["usage"]

    reasoning = usage["completion_tokens_details"]["reasoning_tokens"]
    assert reasoning == 94
    parts = usage["prompt_tokens"] + usage["completion_tokens"] + reasoning
    assert usage["total_tokens"] == parts


async def test_a_repeated_prefix_under_one_conversation_id_is_cached(
    caller: Caller,
) -> None:
    headers = {"x-grok-conv-id": "slot-1"}
    first = await caller.ask(headers=headers)
    second = await caller.ask(chat({"c": "another text"}), headers=headers)
    other = await caller.ask(headers={"x-grok-conv-id": "slot-2"})

    cached = [
        response.json()["usage"]["prompt_tokens_details"]["cached_tokens"]
        for response in (first, second, other)
    ]
    assert cached[0] == cached[2] == 0
    assert cached[1] > 0
    assert cached[1] % 64 == 0


async def test_a_retired_name_answers_as_its_target(caller: Caller) -> None:
    response = await caller.ask(chat(model="grok-4-1-fast-non-reasoning"))

    assert response.json()["model"] == "grok-4.3"
    assert response.json()["usage"]["completion_tokens_details"]["reasoning_tokens"] == 0


async def test_an_answer_over_the_cap_is_cut(caller: Caller) -> None:
    response = await caller.ask(chat(max_completion_tokens=10))

    assert response.json()["choices"][0]["finish_reason"] == "length"
    assert response.json()["usage"]["completion_tokens"] == 10


@pytest.mark.parametrize(("spec", "status", "sentence"), ERRORS, ids=str)
async def test_each_error_of_the_catalogue_comes_over_the_wire(
    caller: Caller, spec: Any, status: int, sentence: str
) -> None:
    caller.grok.script(Reply.named(spec))
    response = await caller.ask()

    assert response.status_code == status
    assert sentence in (response.json().get("error") if _is_flat(response) else response.text)
    assert "x-ratelimit-limit-requests" not in response.headers
    assert "retry-after" not in response.headers
    assert response.headers["x-request-id"]
    assert caller.grok.counters.by_status == {status: 1}
    assert caller.grok.counters.billed_ticks == 0
    # Only this one was scripted.
    assert (await caller.ask()).status_code == 200


def _is_flat(response: httpx.Response) -> bool:
    is_json = response.headers["content-type"] == "application/json"
    return is_json and isinstance(response.json()["error"], str)


@pytest.mark.parametrize("name", ODD_ANSWERS)
async def test_each_odd_answer_comes_as_a_billed_200(caller: Caller, name: str) -> None:
    finish_reason, looks_right = ODD_ANSWERS[name]
    caller.grok.script(Reply.named(name))
    response = await caller.ask()

    choice = response.json()["choices"][0]
    assert response.status_code == 200
    assert choice["finish_reason"] == finish_reason
    assert looks_right(choice["message"]["content"])
    assert (choice["message"]["refusal"] is not None) == (name == "refusal")
    assert ("reasoning_content" in choice["message"]) == (name == "reasoning_only")
    assert caller.grok.counters.billed_ticks > 0


def test_every_constructor_is_shown_here() -> None:
    shown = {spec if isinstance(spec, str) else spec["reply"] for spec, _, _ in ERRORS}

    assert shown | set(ODD_ANSWERS) | {"ok", "hang", "drop"} == CONSTRUCTORS


@pytest.mark.parametrize(
    ("codes", "reply", "code"),
    [
        ("slug", Reply.wrong_key(), "invalid-argument"),
        ("slug", Reply.no_credentials(), "unauthenticated:no-credentials"),
        ("slug", Reply.credits_gone(403), "permission-denied"),
        ("slug", Reply.blocked_user(), "unauthorized:blocked-user"),
        ("slug", Reply.rate_per_second(), "resource-exhausted"),
        ("sentence", Reply.wrong_key(), "Client specified an invalid argument"),
        ("sentence", Reply.rate_per_second(), "Some resource has been exhausted"),
        ("sentence", Reply.at_capacity(), "The service is currently unavailable"),
    ],
)
async def test_codes_come_in_either_topics(
    caller: Caller, codes: Any, reply: Reply, code: str
) -> None:
    caller.grok.codes = codes
    caller.grok.script(reply)

    assert (await caller.ask()).json()["code"] == code


async def test_retry_after_comes_in_seconds_or_as_a_date(caller: Caller) -> None:
    caller.grok.script(
        Reply.rate_per_second(retry_after=7),
        Reply.rate_per_second(retry_after=7, as_date=True),
        Reply.cloudflare(524, retry_after=60),
    )
    seconds, date, page = [(await caller.ask()).headers["retry-after"] for _ in range(3)]

    assert (seconds, page) == ("7", "60")
    assert 6 <= parsedate_to_datetime(date).timestamp() - time.time() <= 8


async def test_the_checks_come_in_the_order_of_the_real_api(caller: Caller) -> None:
    json_type = {"content-type": "application/json"}
    nobody = {"authorization": "Bearer nobody"}
    penalty = chat(presence_penalty=0)

    not_json = await caller.ask(content=b'{"model": ', headers={**json_type, **nobody})
    wrong_type = await caller.ask(chat(model="grok-99", messages="hi"), headers=nobody)
    no_model = await caller.ask(chat(model="grok-99"), headers=nobody)
    bad_key = await caller.ask(penalty, headers=nobody)
    del caller.client.headers["authorization"]
    no_key = await caller.ask(penalty)

    assert (not_json.status_code, not_json.headers["content-type"][:10]) == (400, "text/plain")
    assert (wrong_type.status_code, wrong_type.headers["content-type"][:10]) == (422, "text/plain")
    assert no_model.json()["error"] == "Model not found: grok-99"
    assert (bad_key.status_code, bad_key.json()["error"][:17]) == (400, "Incorrect API key")
    assert (no_key.status_code, no_key.json()["error"]) == (401, "No credentials presented.")


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        ({"messages": []}, "Bad data: Messages cannot be empty"),
        ({"presence_penalty": 0}, f"Model {DEFAULT_MODEL} does not support parameter presenceP"),
        ({"frequency_penalty": 0}, "does not support parameter frequencyPenalty."),
        ({"reasoning_effort": "none"}, "does not support parameter reasoningEffort."),
        ({"model": "grok-4.6", "stop": ["x"]}, "Model grok-4.6 does not support parameter stop."),
        ({"model": "grok-4.5", "reasoning_effort": "none"}, "`reasoning_effort` value `none`."),
        ({"model": "grok-build-0.1", "user": "x" * 9, "stop": "x"}, "parameter stop."),
    ],
)
async def test_arguments_a_model_does_not_take_are_refused(
    caller: Caller, overrides: dict[str, Any], sentence: str
) -> None:
    response = await caller.ask(chat(**overrides))

    assert response.status_code == 400
    assert sentence in response.json()["error"]


async def test_arguments_a_model_takes_and_unknown_fields_pass(caller: Caller) -> None:
    plain = await caller.ask(chat(stop=["x"], no_such_option=1, presence_penalty=None))
    effort = await caller.ask(chat(model="grok-4.3", reasoning_effort="none"))

    assert (plain.status_code, effort.status_code) == (200, 200)


@pytest.mark.parametrize(
    "overrides",
    [
        {"messages": None},
        {"messages": [1]},
        {"messages": [{"role": "user", "content": 5}]},
        {"messages": [{"role": "nobody", "content": "x"}]},
        {"temperature": "0"},
        {"max_completion_tokens": True},
        {"model": 4},
    ],
    ids=str,
)
async def test_wrong_types_are_a_422(caller: Caller, overrides: dict[str, Any]) -> None:
    response = await caller.ask(chat(**overrides))

    assert response.status_code == 422
    assert response.text.startswith("Failed to deserialize the JSON body into the target type: ")


async def test_an_unknown_model_can_be_a_404(caller: Caller) -> None:
    caller.grok.unknown_model_status = 404
    response = await caller.ask(chat(model="grok-99"))

    assert response.status_code == 404
    assert "The model grok-99 does not exist" in response.json()["error"]


async def test_wrong_method_and_missing_content_type_are_refused(caller: Caller) -> None:
    wrong_method = await caller.client.get(f"{caller.grok.base_url}/chat/completions")
    untyped = await caller.ask(content=b"{}")

    assert (wrong_method.status_code, untyped.status_code) == (405, 415)


async def test_models_and_key_can_be_looked_up(caller: Caller) -> None:
    models = await caller.client.get(f"{caller.grok.base_url}/models")
    key = await caller.client.get(f"{caller.grok.base_url}/api-key")
    nothing = await caller.client.get(f"{caller.grok.base_url}/credits")

    assert DEFAULT_MODEL in [model["id"] for model in models.json()["data"]]
    assert key.json()["team_blocked"] is False
    assert nothing.status_code == 404
    assert (caller.grok.counters.calls, caller.grok.counters.lookups) == (0, 3)


@pytest.mark.parametrize("name", [name for group in GROUPS.values() for name in group], ids=str)
def test_every_member_of_a_group_is_a_reply(name: str | dict[str, Any]) -> None:
    assert isinstance(Reply.named(name), Reply)


def test_a_group_of_faults_is_all_of_its_replies() -> None:
    faults = replies_named(["odd_answers", "server_error"])

    assert len(faults) == len(GROUPS["odd_answers"]) + 1
    assert faults[-1] == Reply.server_error()


def test_every_row_of_the_catalogue_is_in_a_group() -> None:
    grouped = [name for group in GROUPS.values() for name in group]
    names = {name if isinstance(name, str) else name["reply"] for name in grouped}

    assert names == CONSTRUCTORS - {"ok", "hang", "not_json"}
