"""`ingest_data.py --wait`: what it waits for, and what it says meanwhile."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from importing.errors import ImportFailed
from importing.wait import Ids, Service, follow

OURS = [f"conv_{number:08x}" for number in (5, 6, 0xFFFFFFFF)]


class Scripted:
    """A service with these conversations. `stats` come one after another, the last for ever."""

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
            # As though others had much work, which is nobody's to wait for.
            return httpx.Response(
                200, json={"counts": {"pending": {"bulk": 9, "live": 9}}} | answer
            )
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
        if name == "summary":
            return httpx.Response(200, json={"totals": {"count": 0}, "clusters": []})
        raise AssertionError(path)

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        assert self.now < 100_000, "it waits for ever"

    def follow(self, ids: list[str]) -> None:
        with httpx.Client(
            base_url="http://test", transport=httpx.MockTransport(self.answer)
        ) as client:
            service = Service(client, patience=10, sleep=self.sleep)
            sent = Ids()
            sent.add(ids)
            try:
                follow(
                    service,
                    sent,
                    None,
                    None,
                    say=self.said.append,
                    sleep=self.sleep,
                    clock=lambda: self.now,
                )
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
    closed = {"breaker": {"state": "closed", "reason": None}, "bound_by": "rate"}
    service = Scripted(closed, *[stats] * 200, closed, done=dict.fromkeys(OURS, 210))
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
    service.follow(OURS)
    assert service.said[-1].startswith("2 conversations could not be analysed")


def test_many_are_not_asked_for_one_by_one() -> None:
    service = Scripted(done={})
    service.follow([f"conv_{number:08x}" for number in range(200_000)])
    assert len(service.asked) < 1100


def test_nothing_sent_is_nothing_to_wait_for() -> None:
    service = Scripted(done={})
    service.follow([])
    assert service.now == 0


def test_another_program_that_answers_is_told() -> None:
    transport = httpx.MockTransport(lambda _: httpx.Response(200, text="<html>"))
    with httpx.Client(base_url="http://test", transport=transport) as client:
        service = Service(client, patience=0, sleep=lambda _: None)
        with pytest.raises(ImportFailed, match="answers no JSON"):
            service.get("/api/v1/stats")


@pytest.fixture
def ids() -> Iterator[Ids]:
    sent = Ids()
    yield sent
    sent.close()


def test_ids_are_kept_in_order_whatever_comes(ids: Ids) -> None:
    many = [f"conv_{number * 7919 % 2**32:08x}" for number in range(150_000)]
    ids.add(many[:100_000])
    assert next(iter(ids.from_last())) == many[99_999]
    ids.add([*many[100_000:], "something else"])
    assert list(ids.from_last()) == many[::-1]
