"""Which errors are one text's fault alone, in the words of every server, and which may be."""

# ruff: noqa: E501
# A body's sentence is easier to read whole.

from typing import Any

import pytest

from grok.errors import ErrorScope
from tests.support.grok_errors import fastapi, openai, told

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
