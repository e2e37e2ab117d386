"""Whose fault an error is, in the words of every server that this client may be pointed at."""

# ruff: noqa: E501
# A body's sentence is easier to read whole.

import json
from typing import Any

import httpx
import pytest

from grok.errors import ErrorScope, told_wait
from tests.support.grok_errors import KEY, fastapi, openai, told

# --- what is refused is a field of the request ----------------------------------------------------

MISTRAL = fastapi("max_completion_tokens", msg="Extra inputs are not permitted", input=250)
FIELDS: list[tuple[str, int, Any, str]] = [
    ("mistral", 422, {"object": "error", "message": MISTRAL}, "max_completion_tokens"),
    ("mistral, older", 422, {"message": json.dumps(MISTRAL)}, "max_completion_tokens"),
    ("fastapi", 422, MISTRAL, "max_completion_tokens: Extra inputs"),
    ("fastapi, message a list", 422, {"message": MISTRAL["detail"]}, "max_completion_tokens"),
    (
        "fastapi, role",
        422,
        fastapi("messages", 0, "role", msg="Input should be 'user'", type="enum"),
        "messages.0.role",
    ),
    (
        "openai value",
        400,
        openai("Unsupported value: 'temperature' does not support 0.3", "temperature"),
        "temperature",
    ),
    ("openai param alone", 400, openai("Invalid input", "response_format"), "(response_format)"),
    (
        "azure, other name",
        400,
        openai("'max_tokens' is not supported with this model.", "max_tokens", "unsupported"),
        "max_tokens",
    ),
    (
        "openai schema",
        400,
        openai("Invalid schema for response_format 'results'", "response_format"),
        "response_format",
    ),
    ("nest", 400, {"statusCode": 400, "message": ["temperature must not exceed 1"]}, "temperature"),
    ("openai unknown", 400, openai("Unrecognized request argument supplied: foo"), "foo"),
    ("openai max", 400, openai("max_tokens is too large: 2500", "max_tokens"), "max_tokens"),
    (
        "azure",
        400,
        openai("response_format value as json_schema is enabled only for later versions"),
        "response_format",
    ),
    ("deepseek", 400, openai("This response_format type is unavailable now"), "response_format"),
    ("xai", 400, {"code": "invalid-argument", "error": "Unknown field: x"}, "Unknown field"),
    (
        "xai type",
        422,
        "Failed to deserialize the JSON body into the target type: max_completion_tokens: invalid "
        "type: string, expected i32 at line 1 column 9",
        "max_completion_tokens",
    ),
    (
        "vllm",
        400,
        {
            "object": "error",
            "message": "[{'type': 'extra_forbidden', 'loc': ('body', 'foo')}]",
            "type": "BadRequestError",
            "param": None,
            "code": 400,
        },
        "foo",
    ),
    ("vllm grammar", 400, {"object": "error", "message": "Invalid grammar request"}, "grammar"),
    ("vllm role", 400, {"message": "System role not supported"}, "System role"),
    (
        "llama.cpp",
        400,
        {
            "error": {
                "code": 400,
                "message": "Failed to initialize samplers: failed to parse grammar",
                "type": "invalid_request_error",
            }
        },
        "grammar",
    ),
    ("llama.cpp param", 400, openai("Unsupported param: tools"), "tools"),
    (
        "litellm",
        400,
        openai(
            "litellm.UnsupportedParamsError: zai does not support parameters: "
            "['max_completion_tokens'], for model=glm",
            code="400",
        ),
        "max_completion_tokens",
    ),
    (
        "litellm over xai",
        400,
        openai(
            'litellm.BadRequestError: XaiException - {"error":"Argument not supported on this'
            ' model: temperature"}'
        ),
        "temperature",
    ),
    (
        "groq",
        400,
        openai("invalid JSON schema for response_format: 'results': minItems is not supported"),
        "minItems",
    ),
    ("groq property", 400, openai("property 'foo' is unsupported"), "foo"),
    (
        "openrouter",
        400,
        {
            "error": {
                "message": "Provider returned error",
                "code": 400,
                "metadata": {
                    "raw": json.dumps(openai("Unsupported parameter", "reasoning_effort")),
                    "provider_name": "Some",
                },
            }
        },
        "reasoning_effort",
    ),
    (
        "tgi",
        422,
        {"error": "Input validation error: `max_new_tokens` must be <= 192", "error_type": "v"},
        "max_new_tokens",
    ),
    ("gateway", 400, {"errors": [{"detail": "temperature must be 1", "code": 7}]}, "temperature"),
    ("gateway, title", 400, {"title": "Bad", "detail": "unknown parameter: seed"}, "seed"),
]


@pytest.mark.parametrize(
    ("status", "body", "named"), [c[1:] for c in FIELDS], ids=[c[0] for c in FIELDS]
)
def test_a_refused_field_concerns_every_call_and_is_named(
    status: int, body: Any, named: str
) -> None:
    error = told(status, body)
    assert error.scope is ErrorScope.EVERYTHING, error
    assert named in str(error)


# --- what a person must mend ----------------------------------------------------------------------

ACCOUNT: list[tuple[int, Any]] = [
    (401, openai("Incorrect API key provided: sk-proj-****abcd.", code="invalid_api_key")),
    (400, {"error": {"code": 400, "message": "API key not valid. Please pass a valid API key."}}),
    (402, openai("Insufficient Balance")),
    (402, {"error": {"message": "Insufficient credits", "code": 402}}),
    (429, openai("You exceeded your current quota", code="insufficient_quota")),
    (400, openai("Your credit balance is too low to access the API.")),
    (
        404,
        openai(
            "The model `gpt-9` does not exist or you do not have access", code="model_not_found"
        ),
    ),
    (400, {"object": "error", "message": "Invalid model: foo", "type": "invalid_model"}),
    (400, {"error": {"message": "foo/bar is not a valid model ID", "code": 400}}),
    (400, openai("Model Not Exist")),
    (400, openai("The model `old` has been decommissioned and is no longer supported.")),
    (404, {"error": "model 'llama3' not found, try pulling it first"}),
    (
        404,
        {"error": {"code": "DeploymentNotFound", "message": "The API deployment does not exist"}},
    ),
    (407, "<html>proxy</html>"),
]


@pytest.mark.parametrize(("status", "body"), ACCOUNT)
def test_what_a_person_must_mend_concerns_every_call(status: int, body: Any) -> None:
    error = told(status, body)
    assert error.scope is ErrorScope.EVERYTHING, error
    assert "abcd" not in str(error)


@pytest.mark.parametrize(
    ("status", "body", "scope"),
    [
        (
            429,
            openai("Rate limit reached for gpt-4 in organization org-abcdefgh12 on tokens per min"),
            ErrorScope.RATE,
        ),
        (
            429,
            {
                "error": "Too many tokens for team x and model y. Tokens per Minute (actual/limit): 9/8"
            },
            ErrorScope.RATE,
        ),
        (500, openai("The server had an error"), ErrorScope.PASSING),
        (503, "<html>the temperature is not supported</html>", ErrorScope.PASSING),
        (408, "", ErrorScope.PASSING),
        (409, "", ErrorScope.PASSING),
        (400, "Failed to parse the request body as JSON: eof", ErrorScope.PASSING),
        (
            400,
            openai(
                "Failed to generate JSON. Please adjust your prompt.", code="json_validate_failed"
            ),
            ErrorScope.THIS_ANSWER,
        ),
    ],
)
def test_other_errors_are_what_they_were(status: int, body: Any, scope: ErrorScope) -> None:
    error = told(status, body)
    assert error.scope is scope
    assert "org-abc" not in str(error)


# --- the sentence ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [
        "No such thing",
        {"message": "No such thing"},
        {"error": "No such thing"},
        {"error": {"message": "No such thing"}},
        {"error": {"error": {"message": "No such thing"}}},
        {"detail": "No such thing"},
        {"detail": [{"msg": "No such thing"}]},
        {"detail": {"message": "No such thing"}},
        {"message": {"detail": [{"msg": "No such thing"}]}},
        {"errors": [{"message": "No such thing"}]},
        {"errors": ["No such thing"]},
        {"errors": {"message": "No such thing"}},
        [{"error": {"message": "No such thing"}}],
        {"error": json.dumps({"error": {"message": "No such thing"}})},
        {"error": None, "message": "No such thing"},
        {"msg": "No such thing"},
        {"description": "No such thing"},
    ],
)
def test_the_sentence_is_found_wherever_it_stands(body: Any) -> None:
    assert str(told(422, body)) == "HTTP 422: No such thing"


def test_a_sentence_holds_no_key_and_no_ids() -> None:
    ids = "1f6d0c9e-5b0a-4d6e-9a35-0c7e2b8d4f11 org-abcdefgh12 sk-proj-*****wxyz"
    error = told(422, {"detail": [{"msg": f"{KEY} {ids}"}]})
    assert str(error) == "HTTP 422: *** *** *** ***"


@pytest.mark.parametrize("body", ["[" * 100_000, '{"error":' * 500 + "1" + "}" * 500, "{" * 9])
def test_deep_bodies_are_read_no_deeper_than_makes_sense(body: str) -> None:
    assert told(422, body).scope in (ErrorScope.THIS_REQUEST, ErrorScope.PASSING)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after-ms": "7500"}, 7.5),
        ({"retry-after-ms": " 250.5 "}, 0.2505),
        ({"retry-after-ms": "250", "retry-after": "1"}, 0.25),
        ({"retry-after-ms": "soon", "retry-after": "3"}, 3.0),
        ({"retry-after-ms": ""}, 4.0),
        ({}, 4.0),
    ],
)
def test_a_wait_may_be_told_in_milliseconds(headers: dict[str, str], seconds: float) -> None:
    assert told_wait(httpx.Headers(headers), "Resets in: 4s") == pytest.approx(seconds)
