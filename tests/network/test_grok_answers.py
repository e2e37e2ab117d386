"""What the Grok client makes of each answer, over a real socket: an analysis or why there is none,
and what the call cost. The fake behaves as the real one does."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.outcomes import (
    Analysis,
    Blocked,
    CallOutcome,
    NotNow,
    Refused,
    TransientFailure,
    Unusable,
)
from analysis.topics import Topics
from tests.fakes.grok.calls import (
    BLAME,
    CLUSTERS,
    PRAISE,
    PROMPT,
    UUIDS,
    Clock,
    MakeClient,
    answering,
    ask,
    ask_together,
    called,
    completion,
)
from tests.fakes.grok.replies import (
    CONSTRUCTORS,
    DEFAULT_MODEL,
    KEY_ID,
    MODELS,
    TEAM_ID,
    Choice,
    Codes,
    Reply,
    Result,
    Usage,
    document,
    judge,
)
from tests.fakes.grok.server import GOOD_KEY, FakeGrok
from tests.support.http_helpers import PATIENCE, captured_log

NEUTRAL = "The weather is there"

# They may have been billed without our being told.
COST_UNKNOWN = (CallOutcome.REFUSED, CallOutcome.TIMEOUT, CallOutcome.CONNECTION_ERROR)


# --- good answers ---------------------------------------------------------------------------------


async def test_a_good_answer_is_an_analysis_with_all_that_grok_said_of_itself(
    grok: FakeGrok, make_client: MakeClient
) -> None:
    answer = await ask(make_client())

    (id_,) = grok.last_request.texts
    right = judge(BLAME, id_)
    assert answer.sentiment_score == right["sentiment_score"] == -0.8
    assert answer.clusters == tuple(right["clusters"])
    assert answer.confidence == right["confidence"]
    assert answer.reasoning == right["reasoning"]
    assert (answer.language, answer.urgency) == (right["language"], right["urgency"])
    assert answer.cost_usd_ticks == grok.counters.billed_ticks > 0
    details = answer.details
    assert details["analyser"] == "grok"
    assert details["model"] == details["requested_model"] == DEFAULT_MODEL
    assert details["finish_reason"] == "stop"
    assert details["usage"]["cost_in_usd_ticks"] == answer.cost_usd_ticks
    assert details["usage"]["prompt_tokens"] == grok.counters.prompt_tokens
    assert json.loads(details["content"]) == {"results": [right]}
    assert json.loads(json.dumps(details)) == details


async def test_the_model_that_really_answered_is_kept_and_told_once(
    grok: FakeGrok, make_client: MakeClient
) -> None:
    client = make_client(model="grok-3")
    before = client.reuse_key
    with captured_log() as log:
        answer, _ = await ask(client), await ask(client)

    assert answer.details["requested_model"] == "grok-3"
    assert answer.details["model"] == "grok-4.3"
    assert (await called(client)).model == "grok-4.3"
    assert client.model == "grok-3"
    assert client.reuse_key != before
    (told,) = log.named("grok_answers_as")
    assert (told["asked"], told["answered"]) == ("grok-3", "grok-4.3")


async def test_two_clients_share_analyses_only_where_they_ask_alike(
    make_client: MakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = make_client().reuse_key
    assert make_client().reuse_key == key
    for other in (
        {"model": "grok-4.3"},
        {"temperature": 0.0},
        {"topics": Topics(("billing",))},
        {"topics": Topics(CLUSTERS, closed=True)},
    ):
        assert make_client(**other).reuse_key != key
    monkeypatch.setattr("grok.prompt.PROMPT_VERSION", "3")
    assert make_client().reuse_key != key


async def test_several_texts_are_answered_each_under_its_own_id(
    grok: FakeGrok, make_client: MakeClient
) -> None:
    texts = [BLAME, PRAISE, NEUTRAL, BLAME, "Ich bin stranded"]

    answers = await ask_together(make_client(), *texts)

    assert grok.counters.calls == 1
    for text, answer in zip(texts, answers, strict=True):
        right = judge(text, "")
        assert (answer.sentiment_score, answer.confidence) == (
            right["sentiment_score"],
            right["confidence"],
        )
        assert (answer.language, answer.urgency) == (right["language"], right["urgency"])
    assert (answers[-1].language, answers[-1].urgency) == ("de", "now")


def changed(change: Callable[[list[Result]], list[Result]]) -> Reply:
    """The right results, but for what is changed."""
    return Reply(choose=lambda results: Choice(document(change(results))))


# In a pack of three, what the first, the second and the third become, and the call.
PACKS: list[tuple[Reply, list[type], str]] = [
    (Reply.ok(), [Analysis, Analysis, Analysis], "answered"),
    (changed(lambda results: results[::-1]), [Analysis, Analysis, Analysis], "answered"),
    (
        changed(lambda results: [{**results[0], "id": "nobody"}, *results]),
        [Analysis, Analysis, Analysis],
        "answered",
    ),
    (Reply.left_out(), [Analysis, Analysis, Unusable], "unusable"),
    (Reply.missing_id(), [Unusable, Analysis, Analysis], "unusable"),
    (Reply.doubled_id(), [Unusable, Analysis, Analysis], "unusable"),
    (Reply.wrong_id(), [Unusable, Analysis, Analysis], "unusable"),
    (
        changed(lambda results: [{**results[0], "id": results[1]["id"]}, *results[1:]]),
        [Unusable, Unusable, Analysis],
        "unusable",
    ),
    (Reply.bare_object(), [Analysis, Unusable, Unusable], "unusable"),
    (Reply.fenced(), [Analysis, Analysis, Analysis], "answered"),
    (Reply.two_documents(), [Analysis, Analysis, Analysis], "answered"),
    (Reply.truncated(), [Unusable, Unusable, Unusable], "unusable"),
    (Reply.odd_types(), [Unusable, Unusable, Unusable], "unusable"),
    (Reply.refusal(), [Refused, Refused, Refused], "answered"),
    (Reply.content_violation(), [Refused, Refused, Refused], "refused"),
    (Reply.wrong_key(), [Blocked, Blocked, Blocked], "blocked"),
    (Reply.server_error(), [TransientFailure, TransientFailure, TransientFailure], "failed"),
    (Reply.rate_per_second(), [NotNow, NotNow, NotNow], "rate_limited"),
]


@pytest.mark.parametrize(("reply", "expected", "outcome"), PACKS)
async def test_one_bad_result_in_a_pack_spoils_no_other(
    grok: FakeGrok, make_client: MakeClient, reply: Reply, expected: list[type], outcome: str
) -> None:
    texts = [BLAME, PRAISE, NEUTRAL]
    grok.script(reply)

    answers, call = await make_client().analyse(texts)

    assert [type(answer) for answer in answers] == expected
    for text, answer in zip(texts, answers, strict=True):
        if isinstance(answer, Analysis):
            assert answer.sentiment_score == judge(text, "")["sentiment_score"]
    assert call is not None
    assert call.outcome == outcome
    if call.cost_usd_ticks is not None:
        assert call.cost_usd_ticks == grok.counters.billed_ticks
    assert (call.cost_usd_ticks is None) == (call.outcome in COST_UNKNOWN)


@pytest.mark.parametrize("reply", [Reply.ok(), Reply.doubled_id(), Reply.left_out()])
async def test_what_is_kept_of_a_packed_answer_holds_nothing_of_the_neighbours(
    grok: FakeGrok, make_client: MakeClient, reply: Reply
) -> None:
    texts = [f"{BLAME} number {number}" for number in range(5)]
    grok.script(reply)

    answers = await ask_together(make_client(), *texts)

    ids = list(grok.last_request.texts)
    results = [judge(text, id_) for text, id_ in zip(texts, ids, strict=True)]
    for number, answer in enumerate(answers):
        kept = json.dumps(answer.details)
        assert answer.details["conversations"] == 5
        assert "content" not in answer.details
        assert not any(id_ in kept for id_ in ids[:number] + ids[number + 1 :])
        if isinstance(answer, Analysis):
            own = {name: value for name, value in results[number].items() if name != "id"}
            assert answer.details["result"] == own
        else:
            assert "result" not in answer.details


async def test_a_text_asked_alone_keeps_the_whole_answer(
    grok: FakeGrok, make_client: MakeClient
) -> None:
    grok.script(Reply.two_documents())
    answer = await ask(make_client())
    assert answer.details["content"].count("sentiment_score") == 2
    assert "conversations" not in answer.details


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


# --- until a person acts --------------------------------------------------------------------------


async def test_a_real_wrong_key_is_told_as_such(grok: FakeGrok, make_client: MakeClient) -> None:
    answer = await ask(make_client(key="xai-" + "Wrong0Key9" * 8))

    assert isinstance(answer, Blocked)
    assert "Incorrect API key" in answer.reason


async def test_a_model_that_does_not_exist_is_told_as_such(
    grok: FakeGrok, make_client: MakeClient
) -> None:
    for status in (400, 404):
        grok.unknown_model_status = status
        answer = await ask(make_client(model="grok-99"))
        assert isinstance(answer, Blocked)
        assert f"HTTP {status}" in answer.reason
        assert "grok-99" in answer.reason


# --- what a call was and cost ---------------------------------------------------------------------


async def test_each_call_is_told_with_what_it_cost(grok: FakeGrok, make_client: MakeClient) -> None:
    client = make_client(timeout=1.5)
    grok.latency = 0.05
    grok.script(Reply.ok(), Reply.garbage(), Reply.server_error(), Reply.drop(), Reply.refusal())
    grok.when_text("hang", Reply.hang())

    calls = [await called(client, BLAME, PRAISE)]
    calls += [await called(client, text) for text in (BLAME, BLAME, BLAME, BLAME, "hang")]

    assert [call.outcome for call in calls] == [
        *("answered", "unusable", "failed", "connection_error", "answered", "timeout"),
    ]
    assert [call.model for call in calls] == [
        *(DEFAULT_MODEL, DEFAULT_MODEL, None, None, DEFAULT_MODEL, None),
    ]
    counters = grok.counters
    assert sum(call.cost_usd_ticks or 0 for call in calls) == counters.billed_ticks
    assert [call.cost_usd_ticks is None for call in calls] == [
        False,
        False,
        False,
        True,
        False,
        True,
    ]
    assert sum(call.prompt_tokens for call in calls) == counters.prompt_tokens
    assert sum(call.cached_tokens for call in calls) == counters.cached_tokens > 0
    assert sum(call.completion_tokens for call in calls) == counters.completion_tokens
    assert 0.05 <= calls[0].seconds < 1.5 <= calls[-1].seconds + 0.01


async def test_tokens_of_reasoning_are_counted_since_they_are_billed(
    grok: FakeGrok, make_client: MakeClient
) -> None:
    call = await called(make_client(model="grok-4.7"))
    counters = grok.counters
    assert call.completion_tokens == counters.completion_tokens + counters.reasoning_tokens
    assert counters.reasoning_tokens > 0
    assert call.cost_usd_ticks == counters.billed_ticks


async def test_where_no_cost_is_told_it_is_reckoned_as_the_other_side_would(
    make_client: MakeClient,
) -> None:
    usages = (Usage(719, 64, 72, 0), Usage(719, 0, 72, 94), Usage(250_000, 1000, 90, 94))
    cases = [(name, usage) for name in MODELS for usage in usages]
    answers = [completion(usage.as_json(0), model=name) for name, usage in cases]
    async with answering(*answers) as base_url:
        client = make_client(base_url=base_url)
        for name, usage in cases:
            (answer,), call = await client.analyse([BLAME])

            assert call is not None
            assert call.cost_usd_ticks == usage.ticks(MODELS[name]), name
            assert call.completion_tokens == usage.completion + usage.reasoning
            assert isinstance(answer, Analysis)
            assert answer.cost_usd_ticks == call.cost_usd_ticks


async def test_the_cost_that_is_told_counts_before_the_one_that_is_reckoned(
    make_client: MakeClient,
) -> None:
    usage = Usage(719, 64, 72, 0).as_json(123)
    async with answering(completion(usage)) as base_url:
        assert (await called(make_client(base_url=base_url))).cost_usd_ticks == 123


async def test_the_bill_of_a_call_is_split_and_adds_up(
    grok: FakeGrok, make_client: MakeClient
) -> None:
    reply = await make_client().analyse([f"text {number}" for number in range(7)])

    shares = [answer.cost_usd_ticks for answer in reply.answers if isinstance(answer, Analysis)]
    assert reply.call is not None
    assert sum(shares) == grok.counters.billed_ticks == reply.call.cost_usd_ticks
    assert max(shares) - min(shares) < 7


USAGES: list[object] = [
    None,
    {},
    {"prompt_tokens": None, "completion_tokens": None, "prompt_tokens_details": None},
    {"prompt_tokens": 10**30, "completion_tokens": 10**30},
    {"prompt_tokens": 1e300, "prompt_tokens_details": {"cached_tokens": 10**30}},
    {"prompt_tokens": -5, "completion_tokens": -7, "cost_in_usd_ticks": -100},
    {"prompt_tokens": 5, "prompt_tokens_details": {"cached_tokens": 500}},
    {"cost_in_usd_ticks": 10**40},
    {"cost_in_usd_ticks": "12"},
    {"prompt_tokens": "many"},
    {"prompt_tokens": [1]},
    [1, 2],
    "none",
]


async def test_whatever_usage_is_told_its_figures_can_be_stored_and_added_up(
    make_client: MakeClient,
) -> None:
    async with answering(*(completion(usage) for usage in USAGES)) as base_url:
        client = make_client(base_url=base_url)
        for usage in USAGES:
            call = await called(client)
            figures = (call.prompt_tokens, call.cached_tokens, call.completion_tokens)
            for figure in (*figures, call.cost_usd_ticks or 0):
                assert 0 <= figure <= 10**15, usage


@pytest.mark.parametrize(
    "odd",
    [
        completion({"num_sources_used": "HERE"}).replace(b'"HERE"', b"1e9999"),
        completion({"num_sources_used": "HERE"}).replace(b'"HERE"', b"   NaN"),
        completion({}, model={"HERE": 1}),
        completion({}, model="\ud800\x00" * 300),
    ],
    ids=range(4),
)
async def test_an_odd_completion_is_either_no_use_or_can_be_stored(
    make_client: MakeClient, odd: bytes
) -> None:
    async with answering(odd) as base_url:
        (answer,), call = await make_client(base_url=base_url).analyse([BLAME])

    assert isinstance(answer, Analysis | Unusable)
    json.dumps(answer.details, allow_nan=False)
    assert call is not None
    assert len((call.model or "").encode()) <= 100 * 4
    assert "\x00" not in (call.model or "")


async def test_what_is_kept_of_a_packed_answer_is_json_for_every_database(
    grok: FakeGrok, make_client: MakeClient
) -> None:
    def odd(number: str) -> Reply:
        def choose(results: list[Result]) -> Choice:
            entries = [{**one, "clusters": ["praise", "HERE"]} for one in results]
            return Choice(document(entries).replace('"HERE"', number))

        return Reply(choose=choose)

    client = make_client()
    for number in ("NaN", "1e9999", "-Infinity"):
        grok.script(odd(number))
        for answer in await ask_together(client, BLAME, PRAISE):
            json.dumps(answer.details, allow_nan=False)


@pytest.mark.parametrize("model", [DEFAULT_MODEL, "grok-4.3", "grok-4.7", "grok-build-0.1"])
async def test_no_call_costs_more_than_was_said_before(
    grok: FakeGrok, make_client: MakeClient, model: str
) -> None:
    client = make_client(model=model)
    for texts in (
        [BLAME],
        [BLAME] * 10,
        ["x" * 10_000] * 3,
        ["Ω 👍🏽 配送" * 300] * 3,
        ['"\\' * 5000],
        ["\x01" * 10_000],
    ):
        call = await called(client, *texts)

        assert call.outcome == "answered"
        assert 0 < (call.cost_usd_ticks or 0) <= client.throttle.highest_cost(texts), texts[0][:10]


@given(st.lists(st.text(max_size=50), min_size=1, max_size=10))
def test_another_text_or_a_longer_one_may_cost_more_but_never_less(texts: list[str]) -> None:
    highest = PROMPT.highest_cost(texts)
    assert 0 < highest < PROMPT.highest_cost([*texts, ""])
    assert highest <= PROMPT.highest_cost([texts[0] + "more", *texts[1:]])


# --- in the words of other servers ----------------------------------------------------------------


def whole(content: object, **choice: Any) -> bytes:
    """An HTTP answer: a completion with this content."""
    message = {"role": "assistant", "content": content}
    body = {"id": "1", "choices": [{"message": message, "finish_reason": "stop", **choice}]}
    return sent(200, body)


def sent(status: int, body: object) -> bytes:
    data = json.dumps(body).encode()
    return f"HTTP/1.1 {status} X\r\nContent-Length: {len(data)}\r\n\r\n".encode() + data


RIGHT = {name: value for name, value in judge(BLAME, "").items() if name != "id"}
DOCUMENT = json.dumps(RIGHT)


@pytest.mark.parametrize(
    "content",
    [
        [{"type": "text", "text": DOCUMENT}],
        [{"type": "text", "text": DOCUMENT[:20]}, {"type": "text", "text": DOCUMENT[20:]}],
        [{"type": "thinking", "thinking": [{"text": "{"}]}, {"type": "text", "text": DOCUMENT}],
        [DOCUMENT],
        RIGHT,
        {"results": [RIGHT]},
    ],
)
@pytest.mark.parametrize("finish", ["stop", None, "eos_token", "STOP", "stop_sequence", "error"])
async def test_content_in_parts_and_other_words_for_the_end_are_read(
    make_client: MakeClient, content: object, finish: object
) -> None:
    async with answering(whole(content, finish_reason=finish)) as base_url:
        answer = await ask(make_client(base_url=base_url))
    assert isinstance(answer, Analysis)
    assert answer.sentiment_score == RIGHT["sentiment_score"]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"error": {"message": "Rate limit reached", "code": 429}}, NotNow),
        ({"error": {"message": "No credits", "code": 402}, "choices": []}, Blocked),
        ({"error": {"message": "upstream is down"}}, TransientFailure),
        ({"error": "upstream is down"}, TransientFailure),
        (
            {"error": {"code": 400, "message": "x", "type": "exceed_context_size_error"}},
            Refused,
        ),
        ({"error": {"message": "max_tokens: no", "code": "400"}}, Blocked),
        ({"error": None}, Unusable),
        ({}, Unusable),
    ],
)
async def test_an_error_that_comes_as_a_200_is_the_error_that_it_names(
    make_client: MakeClient, body: object, expected: type
) -> None:
    async with answering(sent(200, body)) as base_url:
        (answer,), call = await make_client(base_url=base_url).analyse([BLAME])
    assert type(answer) is expected
    assert call is not None
    assert call.cost_usd_ticks is None or expected in (NotNow, Blocked)


async def test_a_refused_field_is_told_from_one_that_a_text_quotes(
    make_client: MakeClient,
) -> None:
    refusal = sent(422, {"error": "cannot read: max_completion_tokens"})
    async with answering(refusal, refusal) as base_url:
        client = make_client(base_url=base_url)
        assert isinstance(await ask(client), Blocked)
        refused = await ask(client, "say max_completion_tokens")
    assert isinstance(refused, Refused)
    assert refused.doubtful


async def test_what_a_server_says_of_its_models_answer_is_an_answer_of_no_use(
    make_client: MakeClient,
) -> None:
    body = {"error": {"message": "Failed to generate JSON.", "code": "json_validate_failed"}}
    async with answering(sent(400, body)) as base_url:
        (answer,), call = await make_client(base_url=base_url).analyse([BLAME])
    assert isinstance(answer, Unusable)
    assert call is not None
    assert (call.outcome, call.cost_usd_ticks) == (CallOutcome.UNUSABLE, None)
