"""The good answers: made, counted and billed.

Their shape is that of a capture of May 2026, with `service_tier` as since June 2026; the formula of
the bill is the one that third parties have checked to the tick (`Usage.ticks`).
"""

from __future__ import annotations

import time
import uuid
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from tests.fakes.grok.answer import Answer, Choice
from tests.fakes.grok.checks import prompt_tokens
from tests.fakes.grok.judgement import judge
from tests.fakes.grok.models import MODELS, REASONING_TOKENS, REDIRECTS, Model, Usage, count_tokens
from tests.fakes.grok.obedience import obey
from tests.fakes.grok.request import SeenRequest, permitted, plain_text


@dataclass(slots=True)
class Counters:
    """What has happened since the start or the last `reset`. Only chat requests count as calls."""

    calls: int = 0
    # GETs of /v1/models and /v1/api-key.
    lookups: int = 0
    in_flight: int = 0
    max_in_flight: int = 0
    # Refused by `strict_rate`; scripted 429s are not in here.
    rate_limited: int = 0
    # Calls whose client left before the answer.
    abandoned: int = 0
    # Connections reset by `Reply.drop`.
    dropped: int = 0
    by_status: Counter[int] = field(default_factory=Counter)
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    reasoning_tokens: int = 0
    # The sum of the bill, 10,000,000,000 to the dollar.
    billed_ticks: int = 0
    # Text to the number of well-formed requests that carried it, refused ones included.
    texts_sent: Counter[str] = field(default_factory=Counter)
    # Text to the number of answers it was billed in, malformed ones included.
    texts_billed: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True, slots=True)
class Billed:
    """One line of the bill: an answer that was made, and is charged for wherever it ended up."""

    # The caller's x-client-request-id, "" if it sent none.
    request_id: str
    # The one that answered.
    model: str
    texts: int
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int
    reasoning_tokens: int
    ticks: int
    # False where the connection broke, or the client had left, before the end of the answer.
    delivered: bool


class Completions:
    """Makes answers, and keeps the bill of them and the prompts that later ones have cached."""

    def __init__(self, counters: Counters) -> None:
        self.bill: list[Billed] = []
        self._counters = counters
        self._prefixes: dict[tuple[str, str], list[str]] = {}

    def make(
        self, answer: Answer, request: SeenRequest, *, way: str | None, delivered: bool
    ) -> dict[str, Any]:
        """The completion, once it is on the bill; `way` is how orders in texts are obeyed."""
        body = request.body
        name = REDIRECTS.get(body["model"], (body["model"], None))[0]
        model = MODELS[name]
        choice = _choice(answer, request, way)
        usage = self._usage(name, model, request, choice.content or choice.reasoning_content or "")
        priority = body.get("service_tier") == "priority"
        ticks = usage.ticks(model, priority=priority)
        self._charge(name, usage, ticks, request, delivered)
        message = {"role": "assistant", "content": choice.content, "refusal": choice.refusal}
        if choice.reasoning_content is not None:
            message["reasoning_content"] = choice.reasoning_content
        return {
            "id": str(uuid.uuid4()),
            "object": "chat.completion",
            "created": int(time.time()),
            "model": name,
            "choices": [{"index": 0, "message": message, "finish_reason": choice.finish_reason}],
            "usage": usage.as_json(ticks),
            "system_fingerprint": "fp_1fb66439292298c7",
            "service_tier": "priority" if priority else "default",
        }

    def _charge(
        self, model: str, usage: Usage, ticks: int, request: SeenRequest, delivered: bool
    ) -> None:
        counters = self._counters
        counters.prompt_tokens += usage.prompt
        counters.cached_tokens += usage.cached
        counters.completion_tokens += usage.completion
        counters.reasoning_tokens += usage.reasoning
        counters.billed_ticks += ticks
        counters.texts_billed.update(request.texts.values())
        self.bill.append(
            Billed(
                request_id=request.headers.get("x-client-request-id", ""),
                model=model,
                texts=len(request.texts),
                prompt_tokens=usage.prompt,
                cached_tokens=usage.cached,
                completion_tokens=usage.completion,
                reasoning_tokens=usage.reasoning,
                ticks=ticks,
                delivered=delivered,
            )
        )

    def _usage(self, name: str, model: Model, request: SeenRequest, content: str) -> Usage:
        """Cached is the longest common beginning with the request before of the same
        x-grok-conv-id, in steps of 64 tokens as in most captures."""
        body = request.body
        contents = [plain_text(message.get("content")) for message in body["messages"]]
        cached = 0
        if conversation := request.headers.get("x-grok-conv-id"):
            if len(self._prefixes) > 10_000:
                self._prefixes.clear()
            known = self._prefixes.get((name, conversation), [])
            self._prefixes[name, conversation] = contents
            for past, present in zip(known, contents, strict=False):
                if past != present:
                    break
                cached += count_tokens(present)
            if cached:
                cached = (cached + model.hidden) // 64 * 64
        implied = REDIRECTS.get(body["model"], ("", None))[1]
        effort = body.get("reasoning_effort") or implied or model.effort
        prompt = prompt_tokens(body, model)
        return Usage(prompt, cached, count_tokens(content), REASONING_TOKENS[effort])


def _choice(answer: Answer, request: SeenRequest, way: str | None) -> Choice:
    body = request.body
    allowed = permitted(body, "clusters", "items")
    results = [judge(text, identity, allowed) for identity, text in request.texts.items()]
    assert answer.choose is not None
    obeyed = obey(results, request.texts, way) if way else None
    choice = obeyed or answer.choose(results)
    cap = body.get("max_completion_tokens") or body.get("max_tokens")
    if cap is None or choice.content is None or count_tokens(choice.content) <= cap:
        return choice
    cut = choice.content.encode()[: cap * 4].decode(errors="ignore")
    return Choice(cut, "length", choice.reasoning_content, choice.refusal)
