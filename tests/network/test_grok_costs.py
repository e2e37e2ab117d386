"""What each call of the Grok client was and what it cost."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.outcomes import Analysis, Unusable
from tests.fakes.grok.answer import Choice, document
from tests.fakes.grok.calls import (
    BLAME,
    PRAISE,
    PROMPT,
    MakeClient,
    answering,
    ask_together,
    called,
    completion,
)
from tests.fakes.grok.judgement import Result
from tests.fakes.grok.models import DEFAULT_MODEL, MODELS, Usage
from tests.fakes.grok.replies import Reply
from tests.fakes.grok.server import FakeGrok

# --- what a call was and cost ---------------------------------------------------------------------


async def test_each_call_is_told_with_what_it_cost(grok: FakeGrok, make_client: MakeClient) -> None:
    client = make_client(timeout=1.5)
    grok.latency = 0.05
    grok.script(Reply.ok(), Reply.garbage(), Reply.server_error(), Reply.drop(), Reply.refusal())
    grok.when_text("hang", Reply.hang())

    calls = [await called(client, BLAME, PRAISE)]
    calls += [await called(client, text) for text in (BLAME, BLAME, BLAME, BLAME, "hang")]

    assert [call.outcome for call in calls] == [
        *("answered", "unusable", "failed", "connection_error", "answered", "timeout")
    ]
    assert [call.model for call in calls] == [
        *(DEFAULT_MODEL, DEFAULT_MODEL, None, None, DEFAULT_MODEL, None)
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
    {"prompt_tokens": [1]},
]
UNREADABLE: list[object] = [
    {"prompt_tokens": "many"},
    {"prompt_tokens": 5, "prompt_tokens_details": "some"},
    {"prompt_tokens": 5, "completion_tokens_details": [3]},
    [1, 2],
    "none",
]


async def test_whatever_usage_is_told_its_figures_can_be_stored_and_added_up(
    make_client: MakeClient,
) -> None:
    usages = USAGES + UNREADABLE
    async with answering(*(completion(usage) for usage in usages)) as base_url:
        client = make_client(base_url=base_url)
        for usage in usages:
            call = await called(client)
            figures = (call.prompt_tokens, call.cached_tokens, call.completion_tokens)
            for figure in (*figures, call.cost_usd_ticks or 0):
                assert 0 <= figure <= 10**15, usage


@pytest.mark.parametrize("usage", USAGES + UNREADABLE)
async def test_whatever_usage_is_told_the_answer_is_taken(
    make_client: MakeClient, usage: object
) -> None:
    """Of what cannot be read nobody knows the cost, so what the call has reserved stays held."""
    async with answering(completion(usage)) as base_url:
        (answer,), call = await make_client(base_url=base_url).analyse([BLAME])
    assert isinstance(answer, Analysis)
    assert call is not None
    assert call.model is not None
    assert (call.cost_usd_ticks is None) == (usage in UNREADABLE)


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
