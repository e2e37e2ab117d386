"""What the API itself refuses, in the order of its checks, as observed live in September 2026:
the syntax of the body, the types of its fields, the model, the key, the arguments.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tests.fakes.grok.models import MODELS, REDIRECTS, Model, count_tokens
from tests.fakes.grok.replies import Reply
from tests.fakes.grok.request import SeenRequest, dig, plain_text

# Parameters that some models refuse, by the name that the refusal gives them.
CAMEL = {
    "presence_penalty": "presencePenalty",
    "frequency_penalty": "frequencyPenalty",
    "stop": "stop",
    "reasoning_effort": "reasoningEffort",
}


def refusal(
    method: str, request: SeenRequest, *, key: str, unknown_model_status: int
) -> Reply | None:
    """`key` is the one that is good; None if nothing is wrong with the request."""
    body = request.body
    if method != "POST":
        return Reply.method_not_allowed()
    if not request.raw or "json" not in request.headers.get("content-type", ""):
        return Reply.not_json_type()
    if request.refusal is not None:
        return request.refusal
    name = body.get("model") or "latest"
    model = MODELS.get(REDIRECTS.get(name, (name, None))[0])
    if model is None:
        return Reply.unknown_model(unknown_model_status)
    return key_refusal(request.headers, key) or _argument_refusal(body, model)


def key_refusal(headers: Mapping[str, str], key: str) -> Reply | None:
    authorization = headers.get("authorization")
    if authorization is None:
        return Reply.no_credentials()
    return None if authorization == f"Bearer {key}" else Reply.wrong_key()


def _argument_refusal(body: dict[str, Any], model: Model) -> Reply | None:
    if not body["messages"]:
        return Reply.bad_data()
    if body.get("search_parameters") is not None:
        return Reply.search_gone()
    for parameter, name in CAMEL.items():
        if body.get(parameter) is not None and (
            parameter in model.refused or (parameter == "reasoning_effort" and not model.efforts)
        ):
            return Reply.parameter_refused(name)
    effort = body.get("reasoning_effort")
    if effort is not None and effort not in model.efforts:
        return Reply.effort_refused(effort)
    if (prompt := prompt_tokens(body, model)) > model.context:
        return Reply.context_overflow(model.context, prompt)
    return None


def prompt_tokens(body: dict[str, Any], model: Model) -> int:
    """All that are billed for the request: the messages, a schema, what the model adds itself."""
    tokens = sum(count_tokens(plain_text(message.get("content"))) for message in body["messages"])
    with_schema = dig(body, "response_format", "type") == "json_schema"
    return tokens + model.hidden + (40 if with_schema else 0)
