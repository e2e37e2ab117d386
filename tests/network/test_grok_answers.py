"""What the Grok client makes of each answer, over a real socket: an analysis or why there is none,
and what the call cost. The fake behaves as the real one does."""

import json
from collections.abc import Callable
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
from analysis.topics import Topics
from tests.fakes.grok.answer import Choice, document
from tests.fakes.grok.calls import (
    BLAME,
    CLUSTERS,
    PRAISE,
    MakeClient,
    answering,
    ask,
    ask_together,
    called,
)
from tests.fakes.grok.judgement import Result, judge
from tests.fakes.grok.models import DEFAULT_MODEL
from tests.fakes.grok.replies import Reply
from tests.fakes.grok.server import FakeGrok
from tests.support.http_helpers import captured_log

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
    grok: FakeGrok, make_client: MakeClient, reply: Reply, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("grok.prompt._ID_LETTERS", "QXZ")  # an id is a part of no word by chance
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
