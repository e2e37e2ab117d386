"""Replies in groups, by who has to act on them: what random faults are drawn from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from tests.fakes.grok.replies import OVERLOADED, Reply

# What goes wrong by itself and passes by itself, or concerns one answer: nobody has to act. The
# rest of the error catalogue is refusals of one text, and what only a person can mend. A name here
# stands for all of its replies wherever JSON lists faults.
GROUPS: dict[str, tuple[str | dict[str, Any], ...]] = {
    "passing": (
        # High limits: what is to be learned from them would outlast the fault.
        {"reply": "rate_per_second", "limit": 500},
        {"reply": "rate_per_second", "limit": 500, "retry_after": 1},
        {"reply": "rate_per_second", "limit": 500, "retry_after": 1, "as_date": True},
        {"reply": "rate_per_minute", "limit": 30_000, "resets_in": "1s"},
        "tokens_per_minute",
        "server_error",
        *({"reply": "at_capacity", "wording": wording} for wording in OVERLOADED),
        *({"reply": "cloudflare", "status": status} for status in (520, 521, 522, 523, 524, 530)),
        *({"reply": "status", "status_code": status} for status in (500, 502, 503, 504, 529)),
        {"reply": "status", "status_code": 502, "shape": "html"},
        {"reply": "status", "status_code": 503, "shape": "nested"},
        {"reply": "status", "status_code": 504, "shape": "empty"},
        "drop",
        {"reply": "drop", "halfway": True},
    ),
    "odd_answers": (
        "fenced",
        "empty_content",
        "null_content",
        "reasoning_only",
        "truncated",
        {"reply": "unfinished", "reason": "length"},
        {"reply": "unfinished", "reason": "eos_token"},
        "two_documents",
        "garbage",
        "out_of_range",
        "odd_types",
        "left_out",
        "missing_id",
        "doubled_id",
        "wrong_id",
        "bare_object",
    ),
    "this_text": (
        "content_violation",
        {"reply": "content_violation", "tail": True},
        "context_overflow",
        "wrong_type",
        "bad_data",
        "refusal",
        "unfinished",
    ),
    "until_a_person_acts": (
        "wrong_key",
        {"reply": "wrong_key", "masked": True},
        "no_credentials",
        "unknown_model",
        {"reply": "unknown_model", "status": 404},
        "region",
        "new_team",
        "credits_gone",
        {"reply": "credits_gone", "status": 403},
        "access_denied",
        "blocked_user",
        "parameter_refused",
        {"reply": "parameter_refused", "older": True},
        "effort_refused",
        "grammar_too_complex",
        {"reply": "grammar_too_complex", "status": 503},
        "search_gone",
        "method_not_allowed",
        "not_json_type",
    ),
}


def replies_named(specs: Iterable[str | Mapping[str, Any]]) -> tuple[Reply, ...]:
    """Those replies, a group's name standing for all of its own. Raises ValueError."""
    members: list[str | Mapping[str, Any]] = []
    for spec in specs:
        members += GROUPS[spec] if isinstance(spec, str) and spec in GROUPS else [spec]
    return tuple(Reply.named(spec) for spec in members)
