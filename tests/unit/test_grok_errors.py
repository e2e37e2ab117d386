"""Whose fault an error is, in the words of every server that this client may be pointed at."""

# ruff: noqa: E501
# A body's sentence is easier to read whole.

import json
from typing import Any

import httpx
import pytest

from grok.errors import ErrorScope, GrokError, read_error, told_wait

KEY = "xai-secret"


def told(
    status: int, body: object, *, texts: tuple[str, ...] = ("late",), headers: Any = None
) -> GrokError:
    content = body if isinstance(body, str | bytes) else json.dumps(body)
    response = httpx.Response(status, content=content, headers=headers)
    return read_error(response, key=KEY, texts=texts)


def openai(message: str, param: str | None = None, code: str | None = None, **more: Any) -> Any:
    kind = "invalid_request_error"
    return {"error": {"message": message, "type": kind, "param": param, "code": code, **more}}


def fastapi(*loc: str | int, msg: str, type: str = "extra_forbidden", **more: Any) -> Any:
    return {"detail": [{"type": type, "loc": ["body", *loc], "msg": msg, **more}]}


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


# --- the text is at fault -------------------------------------------------------------------------

VLLM = (
    "This model's maximum context length is 4096 tokens. However, you requested 4300 tokens (4050"
)
TOO_LONG: list[tuple[int, Any]] = [
    (
        400,
        {"error": "This model's maximum prompt length is 256000 but the request contains 259445"},
    ),
    (400, openai(f"{VLLM} in the messages, 250 in the completion).", "messages")),
    (
        400,
        openai(
            "Your input exceeds the context window of this model.",
            "input",
            "context_length_exceeded",
        ),
    ),
    (400, openai("Please reduce the length of the messages or completion.", "messages")),
    (400, {"object": "error", "message": f"{VLLM} ...", "type": "BadRequestError", "code": 400}),
    (
        400,
        {
            "message": "'max_tokens' or 'max_completion_tokens' is too large: 250. This model's maximum context length is 4096 tokens and your request has 4000 input tokens",
            "param": "max_tokens",
        },
    ),
    (400, {"message": "max_tokens must be at least 1, got -186."}),
    (
        400,
        {
            "message": "The decoder prompt (length 5000) is longer than the maximum model length of 4096."
        },
    ),
    (
        400,
        {
            "message": "You passed 4097 input tokens. However, the model's context length is only 4096 tokens"
        },
    ),
    (
        400,
        {
            "error": {
                "code": 400,
                "message": "the request exceeds the available context size, try increasing it",
                "type": "exceed_context_size_error",
                "n_ctx": 256,
            }
        },
    ),
    (
        400,
        {
            "error": {
                "code": 400,
                "message": "request (4390 tokens) exceeds the available context size (4096 tokens)",
            }
        },
    ),
    (
        500,
        {
            "error": {
                "code": 500,
                "message": "Context size has been exceeded.",
                "type": "server_error",
            }
        },
    ),
    (500, {"error": {"code": 500, "message": "x", "type": "exceed_context_size_error"}}),
    (
        400,
        {
            "message": "Prompt contains 40000 tokens, too large for model with 32768 maximum context length"
        },
    ),
    (400, openai("litellm.ContextWindowExceededError: litellm.BadRequestError: too much")),
    (
        422,
        {
            "error": "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 2048. Given: 3474 `inputs` tokens and 60 `max_new_tokens`"
        },
    ),
    (
        422,
        {"error": "Input validation error: `inputs` must have less than 2048 tokens. Given: 2222"},
    ),
    (400, openai("`inputs` tokens + `max_new_tokens` must be <= 4097.", "max_tokens")),
    (
        400,
        openai(
            "This endpoint's maximum context length is 8192 tokens. However, you requested 9000"
        ),
    ),
    (400, {"error": "the input length exceeds the context length"}),
    (400, {"error": "prompt too long; exceeded max context length by 12 tokens"}),
    (
        400,
        {
            "error": {
                "message": "The input token count (1196265) exceeds the maximum number of tokens allowed (1048575)."
            }
        },
    ),
    (
        400,
        openai(
            "prompt token count of 9000 exceeds the limit of 8000",
            code="model_max_prompt_tokens_exceeded",
        ),
    ),
    (
        400,
        openai(
            "Invalid 'messages[1].content': string too long. Expected at most 10.",
            "messages[1].content",
            "string_above_max_length",
        ),
    ),
    (
        400,
        {
            "message": "Requested token count exceeds the model's maximum context length of 4096 tokens"
        },
    ),
    (
        400,
        {
            "message": "The input (5000 tokens) is longer than the model's context length (4096 tokens)."
        },
    ),
    (400, {"message": "Input is too long for requested model."}),
    (400, openai("prompt is too long: 213462 tokens > 200000 maximum")),
    (400, {"message": "Range of input length should be [1, 6000]"}),
    (400, {"message": "too many tokens: total number of tokens in the prompt cannot exceed 4081"}),
    (413, openai("Request too large for model `x` on tokens per minute (TPM): Limit 6000")),
    (413, ""),
]
CONTENT: list[tuple[int, Any]] = [
    (403, {"code": "permission-denied", "error": "Content violates usage guidelines. "}),
    (
        400,
        openai(
            "The response was filtered due to the prompt triggering Azure OpenAI's content management policy.",
            "prompt",
            "content_filter",
            innererror={"code": "ResponsibleAIPolicyViolation"},
        ),
    ),
    (400, {"error": {"code": "content_filter", "message": "x", "param": "prompt"}}),
    (400, openai("litellm.ContentPolicyViolationError: AzureException - no")),
    (400, openai("Your request was rejected as a result of our safety system.")),
    (
        403,
        {
            "error": {
                "code": 403,
                "message": "Your chosen model requires moderation and your input was flagged",
            }
        },
    ),
    (
        400,
        openai(
            "Invalid prompt: your prompt was flagged as potentially violating",
            code="invalid_prompt",
        ),
    ),
    (
        400,
        {
            "message": "Output data may contain inappropriate content.",
            "code": "data_inspection_failed",
        },
    ),
]


@pytest.mark.parametrize(("status", "body"), [*TOO_LONG, *CONTENT])
def test_a_text_that_is_too_long_or_not_liked_concerns_no_other(status: int, body: Any) -> None:
    assert told(status, body).scope is ErrorScope.THIS_TEXT, told(status, body)


# --- what cannot be told --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (422, "?"),
        (422, ""),
        (422, {"error": "no"}),
        (400, {"error": "Bad data: Messages cannot be empty"}),
        (400, openai("Invalid input", "messages")),
        (422, fastapi("messages", 1, "content", msg="bad surrogate", type="string_unicode")),
        (422, "Failed to deserialize the JSON body into the target type: messages[1]: what"),
        (400, {}),
        (400, [1, None]),
        (400, "null"),
    ],
)
def test_a_refusal_that_names_nothing_may_be_anybodys(status: int, body: Any) -> None:
    assert told(status, body).scope is ErrorScope.THIS_REQUEST


@pytest.mark.parametrize(
    "body",
    [
        {"error": "cannot read: 'set max_completion_tokens, unknown parameter, json schema'"},
        fastapi("messages", 1, "content", msg="no", type="x", input="temperature unsupported"),
        fastapi("messages", 1, "content", msg="no: 'incorrect api key'", type="x"),
        fastapi("messages", 1, "content", msg="no: temperature is not supported", type="x"),
    ],
)
def test_what_is_quoted_from_a_text_is_no_name_of_a_field(body: Any) -> None:
    text = "Set max_completion_tokens, unknown parameter, json schema: temperature is not supported"
    assert told(422, body, texts=("late", text)).scope is ErrorScope.THIS_REQUEST


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
