"""`ingest_data.py --wait`: what it waits for, and what it says meanwhile."""

import asyncio
import re
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

import ingest_data
from importing.api_client import ApiClient
from importing.errors import ImportFailed
from importing.period import Period
from importing.sample import SAMPLE
from importing.wait import SentIds, count_failed, summary, wait_until_analysed
from tests.fakes.grok.replies import Reply
from tests.fakes.grok.server import FakeGrok
from tests.fakes.grok.steering import GOOD_KEY
from tests.support.ingesting import StartService

pytestmark = pytest.mark.usefixtures("nobody_elses_settings")

OURS = [f"conv_{number:08x}" for number in (5, 6, 0xFFFFFFFF)]


WORKING: dict[str, Any] = {
    # As though others had much work, which is nobody's to wait for.
    "counts": {"pending": {"live": 9, "bulk": 9}, "processing": {"live": 0, "bulk": 0}},
    "breaker": {"state": "closed", "reason": None},
    "bound_by": "rate",
}


class Scripted:
    """A service with conversations that are `done` after so many looks at them.

    `stats` are what differs from WORKING, one after another, the last for ever.
    """

    def __init__(self, *stats: dict[str, Any], done: dict[str, int], failed: int = 0) -> None:
        self.stats, self.done = list(stats) or [{}], done
        self.failed = [f"conv_{number:08x}" for number in range(failed)]
        self.asked: list[str] = []
        self.said: list[str] = []
        self.now = 0.0

    def answer(self, request: httpx.Request) -> httpx.Response:
        path = request.url.path
        self.asked.append(path)
        name = path.rsplit("/", 1)[1]
        if name == "stats":
            answer = self.stats.pop(0) if len(self.stats) > 1 else self.stats[0]
            return httpx.Response(200, json=WORKING | answer)
        if name == "failed":
            # A page may be shorter than the limit.
            at = int(request.url.params.get("cursor", "0"))
            rows = [{"conversation_id": each} for each in self.failed[at : at + 2]]
            more = str(at + 2) if at + 2 < len(self.failed) else None
            body = {"conversations": rows, "metadata": {"next_cursor": more}}
            return httpx.Response(200, json=body)
        if name.startswith("conv_"):
            if name not in self.done:
                return httpx.Response(404)
            self.done[name] -= 1
            waiting = self.done[name] > 0
            status = "pending" if waiting else "completed"
            queue = {"position": self.done[name], "eta_seconds": 3} if waiting else None
            return httpx.Response(200, json={"status": status, "queue": queue})
        raise AssertionError(path)

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        assert self.now < 100_000, "it waits for ever"

    def follow(self, ids: list[str]) -> int:
        """How many of them could not be analysed."""
        transport = httpx.MockTransport(self.answer)
        with httpx.Client(base_url="http://test", transport=transport) as http:
            api = ApiClient(http, patience=10, sleep=self.sleep, say=self.said.append)
            sent = SentIds()
            sent.add(ids)
            try:
                wait_until_analysed(
                    api, sent, say=self.said.append, sleep=self.sleep, clock=lambda: self.now
                )
                return count_failed(api, sent)
            finally:
                sent.close()


def test_it_waits_for_what_it_sent_and_for_nothing_else() -> None:
    service = Scripted(done=dict.fromkeys(OURS, 1) | {OURS[0]: 5})
    service.follow(OURS)
    assert service.done == dict.fromkeys(OURS, 0)
    assert service.now == 4


def test_what_was_erased_meanwhile_is_not_waited_for() -> None:
    service = Scripted(done={OURS[1]: 2})
    service.follow(OURS)
    assert service.done == {OURS[1]: 0}


@pytest.mark.parametrize(
    ("stats", "reason"),
    [
        ({"breaker": {"state": "open", "reason": "The key is wrong."}}, "The key is wrong."),
        ({"bound_by": "budget"}, "the daily budget is spent"),
    ],
)
def test_it_says_why_the_analysis_is_paused_and_goes_on_saying_so(
    stats: dict[str, Any], reason: str
) -> None:
    service = Scripted({}, *[stats] * 200, {}, done=dict.fromkeys(OURS, 210))
    service.follow(OURS[:1])
    paused = [line for line in service.said if line.startswith("The analysis is paused")]
    assert len(paused) == 4
    assert all(reason in line for line in paused)
    assert "The analysis goes on." in service.said


def test_it_says_that_nothing_happens_where_nobody_works() -> None:
    service = Scripted(done={OURS[0]: 500})
    answer = service.answer

    def standing_still(request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith(OURS[0]) and service.done[OURS[0]] > 1:
            service.done[OURS[0]] -= 1
            queue = {"position": 7, "eta_seconds": None}
            return httpx.Response(200, json={"status": "pending", "queue": queue})
        return answer(request)

    service.answer = standing_still  # type: ignore[method-assign]
    service.follow(OURS[:1])
    assert any("/ready tells whether a worker is running" in line for line in service.said)
    assert "7 wait for their analysis" in service.said


def test_progress_is_told_with_the_time_that_is_left() -> None:
    service = Scripted(done={OURS[0]: 25})
    service.follow(OURS[:1])
    assert service.said[0].endswith("wait for their analysis, 3 s left")


def test_those_of_its_own_that_failed_are_counted_over_all_pages() -> None:
    service = Scripted(done={}, failed=8)
    assert service.follow(OURS) == 2


def test_many_are_not_asked_for_one_by_one() -> None:
    service = Scripted(done={})
    service.follow([f"conv_{number:08x}" for number in range(200_000)])
    assert len(service.asked) < 1100


def test_once_the_queue_is_empty_the_others_are_not_asked_for() -> None:
    empty = {"pending": {"live": 0, "bulk": 0}, "processing": {"live": 0, "bulk": 0}}
    service = Scripted({}, {"counts": empty}, done=dict.fromkeys(OURS, 1) | {OURS[-1]: 2})
    service.follow(OURS)
    assert service.done == {OURS[0]: 1, OURS[1]: 1, OURS[2]: 0}
    assert service.now == 1


@pytest.mark.parametrize("status", ["pending", "processing"])
def test_what_is_tried_again_is_waited_for_after_the_newest_has_ended(status: str) -> None:
    counts = {"pending": {"live": 0, "bulk": 0}, "processing": {"live": 0, "bulk": 0}}
    counts[status]["live"] = 1
    service = Scripted({"counts": counts}, done=dict.fromkeys(OURS, 1) | {OURS[0]: 4})
    service.follow(OURS)
    assert service.done == dict.fromkeys(OURS, 0)


def test_nothing_sent_is_nothing_to_wait_for() -> None:
    service = Scripted(done={})
    service.follow([])
    assert service.now == 0


def test_another_program_that_answers_is_told() -> None:
    transport = httpx.MockTransport(lambda _: httpx.Response(200, text="<html>"))
    with httpx.Client(base_url="http://test", transport=transport) as client:
        api = ApiClient(client, patience=0, sleep=lambda _: None, say=lambda _: None)
        with pytest.raises(ImportFailed, match="without JSON"):
            api.get("/api/v1/stats")


@pytest.fixture
def ids() -> Iterator[SentIds]:
    sent = SentIds()
    yield sent
    sent.close()


def test_ids_are_kept_in_order_whatever_comes(ids: SentIds) -> None:
    many = [f"conv_{number * 7919 % 2**32:08x}" for number in range(150_000)]
    ids.add(many[:100_000])
    assert next(ids.newest_first()) == many[99_999]
    ids.add([*many[100_000:], "something else"])
    assert list(ids.newest_first()) == many[::-1]


# --- with a real service --------------------------------------------------------------------------


def test_the_end_of_the_analysis_is_waited_for_and_summed_up(
    url: str, write_csv: Callable[[str], str], capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [f"My parcel is late again {n},2020-01-0{n}" for n in range(1, 6)]
    file = write_csv("\n".join(["text,date", *rows, "I love it,2020-01-01"]))
    assert ingest_data.main(["--url", url, file, "--wait"], sleep=lambda _: time.sleep(0.05)) == 0
    out = capsys.readouterr().out
    assert "6 conversations are analysed from 2020-01-01 to 2020-01-05, whoever sent them" in out
    assert "own account" not in out
    assert re.search(r"negative +█+ +83% +5$", out, re.MULTILINE)
    assert re.search(r"delivery_problems +5", out)


def test_own_posts_that_were_sent_are_told_apart_from_what_is_counted(
    start_service: StartService,
    write_csv: Callable[[str], str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    """What a row says of itself, and what the service knows of its accounts."""
    rows = [f"late again,ann{n},2020-01-01T0{n}:00:00,True" for n in range(9)]
    rows += [f"on it,@Shop,2020-01-01T1{n}:00:00,True" for n in range(4)]
    rows += ["sorry,agent,2020-01-02,False", "sorry,shop,2020-01-02,0"]
    file = write_csv("\n".join(["text,author,date,inbound", *rows]))
    with start_service(own_authors=("shop",)) as url:
        for _ in range(2):
            argv = ["--url", url, file, "--wait"]
            assert ingest_data.main(argv, sleep=lambda _: time.sleep(0.05)) == 0
            out = capsys.readouterr().out
            told = "9 conversations are analysed from 2020-01-01 to 2020-01-02, whoever sent them\n"
            told += "6 posts of own accounts were sent as well: what the company says itself is"
            assert told in out


def test_one_of_a_thing_is_told_as_one() -> None:
    service = Scripted(done={OURS[0]: 25})
    answer = service.answer

    def last_in_line(request: httpx.Request) -> httpx.Response:
        said = answer(request)
        if request.url.path.endswith(OURS[0]) and said.json()["queue"]:
            queue = {"position": 1, "eta_seconds": None}
            return httpx.Response(200, json={"status": "pending", "queue": queue})
        return said

    service.answer = last_in_line  # type: ignore[method-assign]
    service.follow(OURS[:1])
    assert service.said[0] == "1 waits for its analysis"


def test_a_summary_of_the_service_is_shown_as_it_is() -> None:
    totals = {"count": 4, "positive": 1, "neutral": 0, "negative": 3}
    answers: dict[str, Any] = {
        "/api/v1/insights/summary": {
            "totals": totals,
            "clusters": [{"cluster": "billing", "count": 3, "average_sentiment": -0.5}],
        },
        "/api/v1/trends": {
            "trends": [
                {"cluster": "outage", "count": 9, "expected": 1.5, "direction": "rising"},
                {"cluster": "praise", "count": 1, "expected": 5.5, "direction": "falling"},
            ]
        },
    }
    transport = httpx.MockTransport(
        lambda request: httpx.Response(200, json=answers[request.url.path])
    )
    with httpx.Client(base_url="http://test", transport=transport) as client:
        api = ApiClient(client, patience=0, sleep=lambda _: None, say=lambda _: None)
        moment = datetime(2020, 1, 1, tzinfo=UTC)
        lines = list(summary(api, Period(moment, moment)))
    assert (
        lines[0] == "4 conversations are analysed from 2020-01-01 to 2020-01-01, whoever sent them"
    )
    assert lines[3].endswith(" 75%        3")
    assert [line.split() for line in lines[5:]] == [
        ["billing", "3", "average", "sentiment", "-0.50"],
        "Rising in the last 24 hours of them".split(),
        ["outage", "9,", "1.5", "expected"],
    ]


class StillPaused(Exception):
    pass


@pytest.mark.parametrize("what", ["the sample", "a file"])
async def test_an_outage_is_told_and_outlasted(
    what: str,
    grok: FakeGrok,
    start_service: StartService,
    write_csv: Callable[[str], str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Of Grok, in the lane of either."""
    file = [write_csv("\n".join(["text", *(f"late again {n}" for n in range(30))]))]
    argv, count = ([], len(SAMPLE)) if what == "the sample" else (file, 30)
    grok.default = Reply.server_error()
    looks = 0

    def sleep(_seconds: float) -> None:
        nonlocal looks
        stats = httpx.get(f"{url}/api/v1/stats", timeout=30).json()
        looks += stats["breaker"]["state"] == "open"
        if looks == 3:  # it has been told by now
            grok.default = Reply.ok()
        time.sleep(0.1)

    with start_service(grok_key=GOOD_KEY, grok_base_url=grok.base_url) as url:
        argv = [*argv, "--url", url, "--wait"]
        assert await asyncio.to_thread(ingest_data.main, argv, sleep=sleep) == 0
    assert looks >= 3
    out = capsys.readouterr().out
    paused, goes_on, summed_up = (
        out.index(sentence)
        for sentence in (
            "The analysis is paused: ",
            "The analysis goes on.",
            f"{count} conversations are analysed",
        )
    )
    assert paused < goes_on < summed_up


@pytest.mark.parametrize(
    ("settings", "reply", "sentence"),
    [
        ({"grok_daily_budget_usd": 1e-9}, Reply.ok(), "the daily budget is spent"),
        ({}, Reply.wrong_key(), "key"),
    ],
    ids=["budget", "key"],
)
async def test_a_pause_that_only_people_or_midnight_can_end_is_told(
    settings: dict[str, Any],
    reply: Reply,
    sentence: str,
    grok: FakeGrok,
    start_service: StartService,
    capsys: pytest.CaptureFixture[str],
) -> None:
    grok.default = reply
    looks = 0

    def sleep(_seconds: float) -> None:
        nonlocal looks
        looks += httpx.get(f"{url}/api/v1/stats", timeout=30).json()["bound_by"] in (
            "budget",
            "breaker",
        )
        if looks == 4:
            raise StillPaused
        time.sleep(0.1)

    settings = {"grok_key": GOOD_KEY, "grok_base_url": grok.base_url, **settings}
    with start_service(**settings) as url, pytest.raises(StillPaused):
        await asyncio.to_thread(ingest_data.main, ["--url", url, "--wait"], sleep=sleep)
    (paused,) = [line for line in capsys.readouterr().out.splitlines() if "paused" in line]
    assert sentence in paused


def test_the_sample_is_waited_for_in_its_lane(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert ingest_data.main(["--url", url, "--wait"], sleep=lambda _: time.sleep(0.05)) == 0
    assert f"{len(SAMPLE)} conversations are analysed" in capsys.readouterr().out


def test_what_was_there_before_with_other_details_is_not_waited_for_and_said_so(
    start_service: StartService, capsys: pytest.CaptureFixture[str]
) -> None:
    with start_service(worker_enabled=False) as url:
        assert ingest_data.main(["--url", url]) == 0
        time.sleep(1.1)  # the sample's times, in whole seconds, are others now
        assert ingest_data.main(["--url", url, "--wait"], sleep=lambda _: pytest.fail("waits")) == 0
    out = capsys.readouterr().out
    assert f"{len(SAMPLE)} conversations were there before, with other details: their" in out
