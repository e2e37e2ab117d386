"""What the Grok client makes of every answer that the fake knows, over a real socket."""

import json
from typing import Any

import pytest

from analysis.outcomes import (
    Analysis,
    Blocked,
    CallOutcome,
    NotNow,
    Refused,
    TransientFailure,
    Unusable,
)
from tests.fakes.grok.answer import KEY_ID, TEAM_ID, Codes
from tests.fakes.grok.calls import BLAME, UUIDS, Clock, MakeClient, ask
from tests.fakes.grok.replies import CONSTRUCTORS, Reply
from tests.fakes.grok.server import FakeGrok
from tests.fakes.grok.steering import GOOD_KEY
from tests.support.http_helpers import PATIENCE, captured_log

# They may have been billed without our being told.
COST_UNKNOWN = (CallOutcome.REFUSED, CallOutcome.TIMEOUT, CallOutcome.CONNECTION_ERROR)


# --- every answer there is ------------------------------------------------------------------------

# By the name of its constructor, with arguments where it has some: what one text and the call
# become.
ONE_TEXT: list[tuple[Reply, str, type, CallOutcome]] = [
    (Reply.ok(), "ok", Analysis, CallOutcome.ANSWERED),
    (Reply.fenced(), "fenced", Analysis, CallOutcome.ANSWERED),
    (Reply.two_documents(), "two_documents", Analysis, CallOutcome.ANSWERED),
    (Reply.out_of_range(), "out_of_range", Unusable, CallOutcome.UNUSABLE),
    (Reply.out_of_range(1.1, -0.1), "out_of_range", Analysis, CallOutcome.ANSWERED),
    (Reply.bare_object(), "bare_object", Analysis, CallOutcome.ANSWERED),
    (Reply.missing_id(), "missing_id", Analysis, CallOutcome.ANSWERED),
    (Reply.empty_content(), "empty_content", Unusable, CallOutcome.UNUSABLE),
    (Reply.null_content(), "null_content", Unusable, CallOutcome.UNUSABLE),
    (Reply.reasoning_only(), "reasoning_only", Unusable, CallOutcome.UNUSABLE),
    (Reply.truncated(), "truncated", Unusable, CallOutcome.UNUSABLE),
    (Reply.unfinished(), "unfinished", Refused, CallOutcome.ANSWERED),
    (Reply.unfinished("CONTENT_FILTER"), "unfinished", Refused, CallOutcome.ANSWERED),
    (Reply.unfinished("length"), "unfinished", Unusable, CallOutcome.UNUSABLE),
    (Reply.unfinished("tool_calls"), "unfinished", Analysis, CallOutcome.ANSWERED),
    (Reply.unfinished("eos_token"), "unfinished", Analysis, CallOutcome.ANSWERED),
    (Reply.unfinished("STOP"), "unfinished", Analysis, CallOutcome.ANSWERED),
    (Reply.unfinished("end_turn"), "unfinished", Analysis, CallOutcome.ANSWERED),
    (Reply.garbage(), "garbage", Unusable, CallOutcome.UNUSABLE),
    (Reply.garbage("[]"), "garbage", Unusable, CallOutcome.UNUSABLE),
    (Reply.garbage("{}"), "garbage", Unusable, CallOutcome.UNUSABLE),
    (Reply.garbage("null"), "garbage", Unusable, CallOutcome.UNUSABLE),
    (Reply.garbage('{"results": null}'), "garbage", Unusable, CallOutcome.UNUSABLE),
    (Reply.garbage('{"results": [null, 5]}'), "garbage", Unusable, CallOutcome.UNUSABLE),
    (Reply.garbage("{" * 100_000), "garbage", Unusable, CallOutcome.UNUSABLE),
    (Reply.garbage("[" * 100_000), "garbage", Unusable, CallOutcome.UNUSABLE),
    (Reply.odd_types(), "odd_types", Unusable, CallOutcome.UNUSABLE),
    (Reply.left_out(), "left_out", Unusable, CallOutcome.UNUSABLE),
    (Reply.doubled_id(), "doubled_id", Unusable, CallOutcome.UNUSABLE),
    (Reply.wrong_id(), "wrong_id", Unusable, CallOutcome.UNUSABLE),
    (Reply.refusal(), "refusal", Refused, CallOutcome.ANSWERED),
    (Reply.content_violation(), "content_violation", Refused, CallOutcome.REFUSED),
    (Reply.content_violation(tail=True), "content_violation", Refused, CallOutcome.REFUSED),
    (Reply.context_overflow(), "context_overflow", Refused, CallOutcome.REFUSED),
    (Reply.bad_data(), "bad_data", Refused, CallOutcome.REFUSED),
    (Reply.wrong_type(), "wrong_type", Refused, CallOutcome.REFUSED),
    (Reply.status(422, "?", "nested"), "status", Refused, CallOutcome.REFUSED),
    (Reply.status(413, "", "empty"), "status", Refused, CallOutcome.REFUSED),
    (Reply.wrong_key(), "wrong_key", Blocked, CallOutcome.BLOCKED),
    (Reply.wrong_key(masked=True), "wrong_key", Blocked, CallOutcome.BLOCKED),
    (Reply.no_credentials(), "no_credentials", Blocked, CallOutcome.BLOCKED),
    (Reply.unknown_model(), "unknown_model", Blocked, CallOutcome.BLOCKED),
    (Reply.unknown_model(404), "unknown_model", Blocked, CallOutcome.BLOCKED),
    (Reply.region(), "region", Blocked, CallOutcome.BLOCKED),
    (Reply.new_team(), "new_team", Blocked, CallOutcome.BLOCKED),
    (Reply.credits_gone(429), "credits_gone", Blocked, CallOutcome.BLOCKED),
    (Reply.credits_gone(403), "credits_gone", Blocked, CallOutcome.BLOCKED),
    (Reply.access_denied(), "access_denied", Blocked, CallOutcome.BLOCKED),
    (Reply.blocked_user(), "blocked_user", Blocked, CallOutcome.BLOCKED),
    (Reply.parameter_refused(), "parameter_refused", Blocked, CallOutcome.BLOCKED),
    (Reply.parameter_refused(older=True), "parameter_refused", Blocked, CallOutcome.BLOCKED),
    (Reply.effort_refused(), "effort_refused", Blocked, CallOutcome.BLOCKED),
    (Reply.grammar_too_complex(400), "grammar_too_complex", Blocked, CallOutcome.BLOCKED),
    (Reply.grammar_too_complex(503), "grammar_too_complex", Blocked, CallOutcome.BLOCKED),
    (Reply.search_gone(), "search_gone", Blocked, CallOutcome.BLOCKED),
    (Reply.method_not_allowed(), "method_not_allowed", Blocked, CallOutcome.BLOCKED),
    (Reply.not_json_type(), "not_json_type", Blocked, CallOutcome.BLOCKED),
    (Reply.status(403, "", "empty"), "status", Blocked, CallOutcome.BLOCKED),
    (Reply.status(401, "<html></html>", "html"), "status", Blocked, CallOutcome.BLOCKED),
    (Reply.rate_per_second(), "rate_per_second", NotNow, CallOutcome.RATE_LIMITED),
    (
        Reply.rate_per_second(retry_after=1, as_date=True),
        "rate_per_second",
        NotNow,
        CallOutcome.RATE_LIMITED,
    ),
    (Reply.rate_per_minute(), "rate_per_minute", NotNow, CallOutcome.RATE_LIMITED),
    (Reply.tokens_per_minute(), "tokens_per_minute", NotNow, CallOutcome.RATE_LIMITED),
    (Reply.status(429, "", "empty"), "status", NotNow, CallOutcome.RATE_LIMITED),
    (Reply.status(429, "<html></html>", "html"), "status", NotNow, CallOutcome.RATE_LIMITED),
    (Reply.server_error(), "server_error", TransientFailure, CallOutcome.FAILED),
    (Reply.at_capacity(), "at_capacity", TransientFailure, CallOutcome.FAILED),
    (Reply.at_capacity("silent"), "at_capacity", TransientFailure, CallOutcome.FAILED),
    (Reply.at_capacity("degraded"), "at_capacity", TransientFailure, CallOutcome.FAILED),
    (
        Reply.at_capacity("first_token", retry_after=9),
        "at_capacity",
        TransientFailure,
        CallOutcome.FAILED,
    ),
    (Reply.cloudflare(520), "cloudflare", TransientFailure, CallOutcome.FAILED),
    (Reply.cloudflare(524, retry_after=60), "cloudflare", TransientFailure, CallOutcome.FAILED),
    (Reply.cloudflare(530), "cloudflare", TransientFailure, CallOutcome.FAILED),
    (Reply.status(502, "", "empty"), "status", TransientFailure, CallOutcome.FAILED),
    (Reply.status(504, "upstream", "plain"), "status", TransientFailure, CallOutcome.FAILED),
    (Reply.status(529, "overloaded", "nested"), "status", TransientFailure, CallOutcome.FAILED),
    (Reply.status(302, "", "empty"), "status", TransientFailure, CallOutcome.FAILED),
    (Reply.drop(), "drop", TransientFailure, CallOutcome.CONNECTION_ERROR),
    (Reply.drop(halfway=True), "drop", TransientFailure, CallOutcome.CONNECTION_ERROR),
    (Reply.hang(), "hang", TransientFailure, CallOutcome.TIMEOUT),
    (Reply.not_json(), "not_json", TransientFailure, CallOutcome.FAILED),
]


@pytest.mark.parametrize(
    ("reply", "name", "expected", "outcome"),
    ONE_TEXT,
    ids=[f"{name}-{number}" for number, (_, name, _, _) in enumerate(ONE_TEXT)],
)
async def test_every_reply_becomes_the_answer_that_it_means(
    grok: FakeGrok,
    make_client: MakeClient,
    reply: Reply,
    name: str,
    expected: type,
    outcome: CallOutcome,
) -> None:
    clock = Clock()
    client = make_client(timeout=0.5 if name == "hang" else PATIENCE, limiter=clock.limiter())
    both: tuple[Codes, ...] = ("slug", "sentence")
    for codes in both:
        grok.reset()
        grok.codes = codes
        grok.script(reply)

        (answer,), call = await client.analyse([BLAME])

        if not isinstance(answer, Analysis):
            assert answer.reason
            assert len(answer.reason) < 400
            assert answer.reason.isprintable()
            assert not UUIDS.search(answer.reason)
            assert GOOD_KEY not in answer.reason
            assert "<" not in answer.reason
        assert type(answer) is expected, answer
        assert call is not None
        assert call.outcome is outcome
        may_be_billed = outcome in COST_UNKNOWN or reply.status_code in (504, 520, 522, 523, 524)
        assert call.cost_usd_ticks == (None if may_be_billed else grok.counters.billed_ticks)
        clock.now += client.throttle.pause_left()


def test_every_kind_of_reply_has_its_row() -> None:
    assert {name for _, name, _, _ in ONE_TEXT} == CONSTRUCTORS


async def test_nothing_but_a_rate_limit_holds_other_calls_back(
    grok: FakeGrok, make_client: MakeClient
) -> None:
    """What stops calls for other reasons is the breaker's."""
    client = make_client(limiter=Clock().limiter())
    for reply, _, _, outcome in ONE_TEXT:
        if outcome not in (CallOutcome.RATE_LIMITED, CallOutcome.TIMEOUT):
            grok.script(reply)
            await ask(client)
            assert client.throttle.pause_left() == 0.0


async def test_the_last_of_two_documents_counts(grok: FakeGrok, make_client: MakeClient) -> None:
    grok.script(Reply.two_documents())

    answer = await ask(make_client())

    assert answer.sentiment_score == -0.8
    assert "draft" not in answer.clusters


async def test_what_is_out_of_range_is_clamped_and_names_are_put_right(
    grok: FakeGrok, make_client: MakeClient
) -> None:
    grok.script(Reply.out_of_range(1.1, -0.1))

    answer = await ask(make_client())

    assert (answer.sentiment_score, answer.confidence) == (1.0, 0.0)
    assert answer.clusters[:3] == ("delivery_problems", "praise", "product_issues")
    assert len(answer.clusters) == 5
    assert answer.clusters[3] == "n" * 64


async def test_a_billed_answer_that_is_no_use_keeps_its_cost_and_its_content(
    grok: FakeGrok, make_client: MakeClient
) -> None:
    grok.script(Reply.garbage("no json here"))

    answer = await ask(make_client())

    assert isinstance(answer, Unusable)
    assert answer.cost_usd_ticks == grok.counters.billed_ticks > 0
    assert answer.details["content"] == "no json here"


async def test_a_refusal_says_what_grok_said(grok: FakeGrok, make_client: MakeClient) -> None:
    grok.script(Reply.refusal("I cannot help\nwith that."))

    answer = await ask(make_client())

    assert answer == Refused("Grok refused: I cannot help with that.")


async def test_half_a_character_in_a_refusal_can_be_stored(
    grok: FakeGrok, make_client: MakeClient
) -> None:
    grok.script(Reply.refusal("I cannot \ud800 help."))

    answer = await ask(make_client())

    assert isinstance(answer, Refused)
    assert answer.reason.encode()


async def test_half_a_character_in_an_answer_can_be_stored(
    grok: FakeGrok, make_client: MakeClient
) -> None:
    result = {"sentiment_score": 0.5, "confidence": 0.5, "clusters": ["a\ud800b"]}
    grok.script(Reply.garbage(json.dumps({**result, "reasoning": "\ud800\x00 odd"})))

    answer = await ask(make_client())

    assert isinstance(answer, Analysis)
    assert answer.reasoning.encode()
    assert "\x00" not in answer.reasoning
    assert json.dumps(answer.details).encode()


@pytest.mark.parametrize("shape", ["flat", "no_code", "nested", "plain"])
async def test_a_reason_holds_no_key_and_no_account_id(
    grok: FakeGrok, make_client: MakeClient, shape: Any
) -> None:
    sentence = (
        f"Key {GOOD_KEY} (xa***==) of team {TEAM_ID.upper()}, API key ID: {KEY_ID}, is "
        f"wrong:{TEAM_ID}. x{'y' * 1000}"
    )
    with captured_log(level="debug") as log:
        for status in (400, 403, 422, 429, 500):
            client = make_client()
            grok.script(Reply.status(status, sentence, shape))

            answer = await ask(client)

            for text in (answer.reason, log.getvalue()):
                assert GOOD_KEY not in text
                assert GOOD_KEY[4:20] not in text
                assert not UUIDS.search(text)
                assert "xa***==" not in text
            assert f"HTTP {status}: " in answer.reason
            assert len(answer.reason) <= 320
