"""`ingest_data.py` for what the service has already: it is told as such, and not stored again."""

import json
import re
from collections.abc import Callable

import httpx
import pytest

import ingest_data
from tests.support.ingesting import accepted, account, counts

pytestmark = pytest.mark.usefixtures("nobody_elses_settings")

ROWS = "id,text,likes\n" + "".join(f"{n},text {n},{n}\n" for n in range(400))
TWO = "id,text\n1,late\n2,later\n"


def test_the_same_file_again_is_duplicates_that_the_service_has(
    url: str, write_csv: Callable[[str], str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert ingest_data.main(["--url", url, write_csv(ROWS)]) == 0
    assert account(capsys) == (400, 400, 0, 0)
    assert ingest_data.main(["--url", url, write_csv(ROWS)]) == 0
    out = capsys.readouterr().out
    assert "400 duplicates that the service has already\n" in out
    assert "400 rows read: 0 accepted, 400 duplicates, 0 rejected." in out
    assert counts(url)["bulk"] == 400


def test_new_rows_known_rows_and_rows_with_other_details_are_told_apart(
    url: str, write_csv: Callable[[str], str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert ingest_data.main(["--url", url, write_csv(ROWS)]) == 0
    newer = ROWS.replace("text 7,7", "text 7,800") + "400,text 400,1\n400,text 400,1\n"
    capsys.readouterr()
    assert ingest_data.main(["--url", url, write_csv(newer)]) == 0
    out = capsys.readouterr().out
    assert (
        "400 duplicates that the service has already, 1 of them with other details beside the"
        " text: it keeps what it has\n"
    ) in out
    assert "402 rows read: 1 accepted, 401 duplicates, 0 rejected." in out


def test_all_of_them_with_other_details_are_told_as_that(
    url: str, write_csv: Callable[[str], str], capsys: pytest.CaptureFixture[str]
) -> None:
    for likes in (3, 4):
        assert ingest_data.main(["--url", url, write_csv(f"id,text,likes\n1,late,{likes}\n")]) == 0
    assert "1 duplicate that the service has already, with other details" in capsys.readouterr().out


def test_many_with_other_details_are_told_at_once(
    url: str, write_csv: Callable[[str], str], capsys: pytest.CaptureFixture[str]
) -> None:
    """As a newer export has them, in which each post has more likes by now."""
    assert ingest_data.main(["--url", url, write_csv(ROWS)]) == 0
    newer = re.sub(r",(\d+)\n", r",1\1\n", ROWS)
    sent: list[int] = []

    class Counting(httpx.HTTPTransport):
        def handle_request(self, request: httpx.Request) -> httpx.Response:
            if request.method == "POST":
                sent.append(len(json.loads(request.content)["conversations"]))
            return super().handle_request(request)

    capsys.readouterr()
    assert ingest_data.main(["--url", url, write_csv(newer)], transport=Counting()) == 0
    assert "400 duplicates that the service has already, with other details" in (
        capsys.readouterr().out
    )
    assert len(sent) == 3, "one request for each batch"
    assert counts(url)["bulk"] == 400


class Answering:
    """A service that answers each batch as it is told, in turn: a header's value, or an error."""

    def __init__(self, *answers: str | Exception | int | None) -> None:
        self._answers = list(answers)

    def load(self, *argv: str) -> int:
        transport = httpx.MockTransport(self._answer)
        return ingest_data.main(argv, transport=transport, sleep=lambda _seconds: None)

    def _answer(self, request: httpx.Request) -> httpx.Response:
        told = self._answers.pop(0)
        if isinstance(told, Exception):
            raise told
        if isinstance(told, int):
            return httpx.Response(told, json={"details": "busy"})
        answer = accepted(len(json.loads(request.content)["conversations"]))
        if told is not None:
            answer.headers["Idempotent-Replayed-Items"] = told
        return answer


@pytest.mark.parametrize(
    ("told", "known"),
    [
        (None, 0),
        ("", 0),
        ("0", 1),
        ("0-1", 2),
        ("1", 1),
        ("0,1", 2),
        ("0-9999", 2),
        ("7-9", 0),
        ("true", 0),
    ],
)
def test_what_the_service_tells_is_believed_and_it_need_not_tell(
    told: str | None,
    known: int,
    write_csv: Callable[[str], str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    """One of before these headers tells nothing: then all are accepted."""
    assert Answering(told).load(write_csv(TWO)) == 0
    assert account(capsys) == (2, 2 - known, known, 0)


@pytest.mark.parametrize(
    ("first", "known"),
    [
        (httpx.ReadError("reset"), 0),
        (httpx.ReadTimeout("timed out"), 0),
        (502, 0),
        (503, 0),
        (httpx.ConnectError("refused"), 2),
        (429, 2),
    ],
)
def test_what_a_lost_try_has_stored_is_of_this_import(
    first: Exception | int,
    known: int,
    write_csv: Callable[[str], str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert Answering(first, "0-1").load(write_csv(TWO)) == 0
    assert account(capsys) == (2, 2 - known, known, 0)
