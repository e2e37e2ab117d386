"""What the tests of `ingest_data.py` share: a service that follows a script, and what one holds."""

import json
import re
import time
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import httpx
import pytest

import ingest_data

ALL_TIME: dict[str, str | int] = {
    "start_time": "2000-01-01",
    "end_time": "2100-01-01",
    "limit": 1000,
}

StartService = Callable[..., AbstractContextManager[str]]


def counts(url: str) -> dict[str, int]:
    """How many conversations there are by lane, whatever their status."""
    answer = httpx.get(f"{url}/api/v1/stats", timeout=30).raise_for_status().json()
    total: Counter[str] = Counter()
    for lanes in answer["counts"].values():
        total.update(lanes)
    return dict(total)


def stored(url: str, count: int) -> list[dict[str, Any]]:
    """All conversations, oldest first, once `count` are analysed."""
    deadline = time.monotonic() + 20
    while True:
        page = (
            httpx.get(f"{url}/api/v1/insights", params=ALL_TIME, timeout=30)
            .raise_for_status()
            .json()
        )
        if page["metadata"]["total_count"] >= count:
            break
        assert time.monotonic() < deadline, page["metadata"]
        time.sleep(0.05)
    assert page["metadata"]["total_count"] == count
    return [
        httpx.get(f"{url}/api/v1/conversations/{insight['conversation_id']}", timeout=30).json()
        for insight in reversed(page["insights"])
    ]


def account(capsys: pytest.CaptureFixture[str]) -> tuple[int, int, int, int]:
    """Rows read, accepted, duplicates and rejected, as told in the last such line."""
    out = capsys.readouterr().out
    *_, found = re.finditer(
        r"^([\d,]+) rows read: ([\d,]+) (?:accepted|good), ([\d,]+) duplicates, ([\d,]+) rejected",
        out,
        re.MULTILINE,
    )
    read, accepted, duplicates, rejected = (int(each.replace(",", "")) for each in found.groups())
    assert read == accepted + duplicates + rejected
    return read, accepted, duplicates, rejected


def accepted(count: int) -> httpx.Response:
    ids = [f"conv_{number:08x}" for number in range(count)]
    return httpx.Response(
        202, json={"status": "accepted", "accepted": count, "conversation_ids": ids}
    )


def busy(status: int, retry_after: str | None) -> httpx.Response:
    headers = {} if retry_after is None else {"Retry-After": retry_after}
    body = {"error": "unavailable", "details": "The database is locked."}
    return httpx.Response(status, headers=headers, json=body)


class Scripted:
    """A service that gives these answers in turn, and then takes everything."""

    def __init__(self, *answers: httpx.Response | Exception) -> None:
        self.answers = list(answers)
        self.keys: list[str] = []
        self.waits: list[float] = []

    def load(self, *argv: str) -> int:
        transport = httpx.MockTransport(self._answer)
        return ingest_data.main(argv, transport=transport, sleep=self.waits.append)

    def _answer(self, request: httpx.Request) -> httpx.Response:
        if self.answers:
            answer = self.answers.pop(0)
            if isinstance(answer, Exception):
                raise answer
            return answer
        body = json.loads(request.content)
        self.keys += [item["idempotency_key"] for item in body["conversations"]]
        return accepted(len(body["conversations"]))


def stopped_with(capsys: pytest.CaptureFixture[str]) -> str:
    out, err = capsys.readouterr()
    assert "rows read: 0 accepted" in out or "rows read" not in out
    *_, line = err.splitlines()
    assert line.startswith("Stopped: ")
    return line.removeprefix("Stopped: ")


def load_tweets(tmp_path: Path, *arguments: str) -> int:
    """The importer's exit status for a file of one tweet."""
    (tmp_path / "tweets.csv").write_text("text\nMy parcel is late\n")
    return ingest_data.main([str(tmp_path / "tweets.csv"), *arguments], sleep=lambda _seconds: None)
