"""`ingest_data.py` against a real service on a real port, in a thread of this process."""

import csv
import hashlib
import json
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn

import ingest_data
from config import ApiKey, Settings
from main import create_app
from sample_conversations import SAMPLE
from tests.servers import free_port

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"

ALL_TIME: dict[str, str | int] = {
    "start_time": "2000-01-01",
    "end_time": "2100-01-01",
    "limit": 1000,
}

StartService = Callable[..., AbstractContextManager[str]]


@pytest.fixture(autouse=True)
def _nobody_elses_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("API_URL", raising=False)
    monkeypatch.delenv("API_KEY", raising=False)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def start_service(make_settings: Callable[..., Settings]) -> StartService:
    """`with start_service(max_text_length=10) as url:`"""

    @contextmanager
    def start(**settings: Any) -> Iterator[str]:
        app = create_app(make_settings(**settings))
        config = uvicorn.Config(app, port=free_port(), log_config=None, ws="none")
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run)
        thread.start()
        try:
            deadline = time.monotonic() + 20
            while not server.started:
                assert thread.is_alive(), "the service did not start"
                assert time.monotonic() < deadline, "the service took too long to start"
                time.sleep(0.01)
            yield f"http://127.0.0.1:{config.port}"
        finally:
            server.should_exit = True
            thread.join(20)
            assert not thread.is_alive()

    return start


@pytest.fixture
def url(start_service: StartService) -> Iterator[str]:
    with start_service() as url:
        yield url


@pytest.fixture
def write_csv(tmp_path: Path) -> Callable[[str], str]:
    def write(content: str) -> str:
        path = tmp_path / "rows.csv"
        path.write_bytes(content.encode("utf-8", "surrogateescape"))
        return str(path)

    return write


def counts(url: str) -> dict[str, int]:
    """How many conversations there are by lane, whatever their status."""
    answer = httpx.get(f"{url}/api/v1/stats").raise_for_status().json()
    total: Counter[str] = Counter()
    for lanes in answer["counts"].values():
        total.update(lanes)
    return dict(total)


def stored(url: str, count: int) -> list[dict[str, Any]]:
    """All conversations, oldest first, once `count` are analysed."""
    deadline = time.monotonic() + 20
    while True:
        page = httpx.get(f"{url}/api/v1/insights", params=ALL_TIME).raise_for_status().json()
        if page["metadata"]["total_count"] >= count:
            break
        assert time.monotonic() < deadline, page["metadata"]
        time.sleep(0.05)
    assert page["metadata"]["total_count"] == count
    return [
        httpx.get(f"{url}/api/v1/conversations/{insight['conversation_id']}").json()
        for insight in reversed(page["insights"])
    ]


# --- the sample -----------------------------------------------------------------------------------


def test_sample_goes_to_the_live_lane(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert ingest_data.main(["--url", url]) == 0
    assert counts(url) == {"live": len(SAMPLE), "bulk": 0}
    assert (
        f"{len(SAMPLE)} rows read: {len(SAMPLE)} accepted, 0 rejected." in capsys.readouterr().out
    )
    assert {row["text"] for row in stored(url, len(SAMPLE))} == {one.text for one in SAMPLE}


def test_sample_of_another_moment_is_not_stored_again(
    url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ingest_data.main(["--url", url]) == 0
    time.sleep(1.1)  # its times, in whole seconds, are others now
    assert ingest_data.main(["--url", url]) == 0
    assert counts(url) == {"live": len(SAMPLE), "bulk": 0}
    out = capsys.readouterr().out
    assert out.count(f"{len(SAMPLE)} rows read: {len(SAMPLE)} accepted, 0 rejected.") == 2


def test_sample_is_varied_and_of_the_last_day() -> None:
    assert 35 <= len(SAMPLE) <= 50
    assert len({one.text for one in SAMPLE}) == len({one.author for one in SAMPLE}) == len(SAMPLE)
    assert all(0 < one.minutes_ago < 24 * 60 for one in SAMPLE)
    assert max(len(one.text) for one in SAMPLE) > 280


# --- a CSV ----------------------------------------------------------------------------------------


def test_columns_are_found_by_name_and_the_others_are_raw_data(
    url: str, write_csv: Callable[[str], str]
) -> None:
    file = write_csv(
        "\ufeffid, User ,TWEET,created_at,likes,,id\r\n"
        '7,ann,"Late, again\n""really""",Tue Oct 31 22:10:47 +0000 2017,3,x,8\r\n'
        "\r\n"
        ",,,,,,\r\n"
        "8,,two  ,2018-02-24 11:35:52 -0800,4\r\n"
    )
    assert ingest_data.main(["--url", url, file]) == 0
    assert counts(url) == {"live": 0, "bulk": 2}
    first, second = stored(url, 2)
    assert first["text"] == 'Late, again\n"really"'
    assert first["author"] == "ann"
    assert first["timestamp"] == "2017-10-31T22:10:47Z"
    assert first["raw_data"] == {"id": "7", "likes": "3", "column_6": "x", "column_7": "8"}
    assert second["text"] == "two"
    assert second["author"] is None
    assert second["timestamp"] == "2018-02-24T19:35:52Z"
    assert second["raw_data"] == {"id": "8", "likes": "4"}


def test_text_comes_first_where_several_columns_would_do(
    url: str, write_csv: Callable[[str], str]
) -> None:
    assert ingest_data.main(["--url", url, write_csv("body,Text,name,author\na,b,c,d\n")]) == 0
    (row,) = stored(url, 1)
    assert (row["text"], row["author"]) == ("b", "d")
    assert row["raw_data"] == {"body": "a", "name": "c"}


@pytest.mark.parametrize(
    ("given", "utc"),
    [
        ("2020-02-25T17:40:50.5Z", "2020-02-25T17:40:50.500000Z"),
        ("2020-02-25t17:40:50+05:30", "2020-02-25T12:10:50Z"),
        ("2020-02-25 17:40:50", "2020-02-25T17:40:50Z"),
        ("2015-02-24 11:35:52 -0800", "2015-02-24T19:35:52Z"),
        ("Tue Oct 31 15:10:47 -0700 2017", "2017-10-31T22:10:47Z"),
    ],
)
def test_known_times_are_read(
    given: str, utc: str, url: str, write_csv: Callable[[str], str]
) -> None:
    assert ingest_data.main(["--url", url, write_csv(f"text,date\nhello,{given}\n")]) == 0
    assert stored(url, 1)[0]["timestamp"] == utc


def test_same_content_is_stored_once_whatever_the_file(
    url: str, write_csv: Callable[[str], str]
) -> None:
    rows = ["thanks!,ann,2020-01-01", "thanks!,bob,2020-01-01", "thanks!,ann,2020-01-02"]
    header = "text,author,timestamp"
    assert ingest_data.main(["--url", url, write_csv("\n".join([header, *rows, rows[0]]))]) == 0
    assert counts(url)["bulk"] == 3
    assert ingest_data.main(["--url", url, write_csv("\n".join([header, *reversed(rows)]))]) == 0
    assert counts(url)["bulk"] == 3


def test_bad_rows_are_told_and_do_not_stop_the_others(
    start_service: StartService, write_csv: Callable[[str], str], capsys: pytest.CaptureFixture[str]
) -> None:
    file = write_csv(
        "text,author,date\n"
        "one,a,2020-01-01\n"
        '"in two\nlines",b,\n'
        ",nobody,2020-01-01\n"
        "much too long for it,c,\n"
        "when?,d,03-04-2015 11:35\n"
        "caf\udce9,e,\n"
        "commas, not in quotes,f,2020-01-01\n"
        "nul\x00,g,\n"
        "before time,h,0001-01-01T00:00:00+14:00\n"
        "last,i,2020-01-02\n"
    )
    with start_service(max_text_length=15) as url:
        assert ingest_data.main(["--url", url, file]) == 1
        texts = {row["text"] for row in stored(url, 3)}
    assert texts == {"one", "in two\nlines", "last"}
    out, err = capsys.readouterr()
    assert out == "10 rows read: 3 accepted, 7 rejected.\n"
    told = [line for line in err.splitlines() if not line.startswith("{")]  # the service's log
    assert dict(line.split(": ", 1) for line in told) == {
        "line 5": "the text is empty",
        "line 6": "text: must be at most 15 characters",
        "line 7": "not a time that can be read for sure: 03-04-2015 11:35",
        "line 8": "not UTF-8",
        "line 9": "4 cells, but the header names 3 columns",
        "line 10": "text: must not contain the NUL character",
        "line 11": "timestamp: must be an ISO 8601 time, such as 2025-01-20T10:00:00Z",
    }


def test_nothing_is_left_where_all_rows_are_bad(
    url: str, write_csv: Callable[[str], str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert ingest_data.main(["--url", url, write_csv("text,date\na,never\n,\n b,NaT\n")]) == 2
    assert capsys.readouterr().out == "2 rows read: 0 accepted, 2 rejected.\n"
    assert sum(counts(url).values()) == 0


def test_a_batch_over_the_services_limit_is_divided(
    start_service: StartService, write_csv: Callable[[str], str], capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [f"{number:0500}" for number in range(40)]
    file = write_csv("\n".join(["text,extra", *rows, "large," + "x" * 6000]))
    with start_service(max_body_bytes=5000) as url:
        assert ingest_data.main(["--url", url, file]) == 1
        assert counts(url)["bulk"] == 40
    out, err = capsys.readouterr()
    assert out == "41 rows read: 40 accepted, 1 rejected.\n"
    assert "line 42: The body is larger than 5000 bytes" in err


def test_more_rows_than_a_batch_takes(url: str, write_csv: Callable[[str], str]) -> None:
    rows = (str(number) for number in range(ingest_data.BATCH_ROWS * 2 + 1))
    assert ingest_data.main(["--url", url, write_csv("\n".join(["text", *rows]))]) == 0
    assert counts(url)["bulk"] == ingest_data.BATCH_ROWS * 2 + 1


def test_a_cell_over_the_readers_limit_spoils_its_row_only(
    write_csv: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = csv.field_size_limit()
    monkeypatch.setattr(ingest_data, "MAX_CELL", 200_000)
    try:
        rows = list(
            ingest_data.csv_rows(write_csv(f"text\n{'x' * 150_000}\n{'y' * 250_000}\nok\n"))
        )
    finally:
        csv.field_size_limit(before)
    assert [row.place for row in rows] == ["line 2", "line 3", "line 4"]
    assert [bool(row.problem) for row in rows] == [False, True, False]
    assert rows[2].body["text"] == "ok"


@pytest.mark.parametrize(
    ("name", "rows"),
    [("airline/airline_sample.csv", 1500), ("twcs/twcs_sample.csv", 1500)],
)
def test_published_files_load_whole_and_once(
    name: str, rows: int, url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    file = DATA / name
    if not file.exists():
        pytest.skip(f"{file} is not there")
    with file.open(encoding="utf-8", newline="") as opened:
        different = len({tuple(row) for row in csv.reader(opened)}) - 1
    for _ in range(2):
        assert ingest_data.main(["--url", url, str(file)]) == 0
        assert capsys.readouterr().out == f"{rows} rows read: {rows} accepted, 0 rejected.\n"
        assert counts(url) == {"live": 0, "bulk": different}


# --- waiting --------------------------------------------------------------------------------------


def test_the_services_limit_is_waited_out(
    start_service: StartService, write_csv: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ingest_data, "BATCH_ROWS", 1)
    waits: list[float] = []

    def sleep(seconds: float) -> None:
        waits.append(seconds)
        time.sleep(seconds)

    with start_service(inbound_rate_limit=2) as url:
        file = write_csv("text\n1\n2\n3\n4\n5\n")
        assert ingest_data.main(["--url", url, file], sleep=sleep) == 0
        assert waits
        assert set(waits) == {1}
        time.sleep(1)
        assert counts(url)["bulk"] == 5


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
        return httpx.Response(202, json={"accepted": len(body["conversations"])})


def busy(status: int, retry_after: str | None) -> httpx.Response:
    headers = {} if retry_after is None else {"Retry-After": retry_after}
    body = {"error": "unavailable", "details": "The database is locked."}
    return httpx.Response(status, headers=headers, json=body)


def test_retry_after_is_honoured_within_reason() -> None:
    service = Scripted(
        busy(429, "7"), busy(503, "3"), busy(503, None), busy(429, "99999"), busy(503, "0")
    )
    assert service.load() == 0
    assert service.waits == [7, 3, 2, 120, 1]
    assert len(service.keys) == len(SAMPLE)


def test_a_lost_connection_is_tried_again() -> None:
    service = Scripted(httpx.ConnectError("refused"), httpx.ReadTimeout("timed out"))
    assert service.load() == 0
    assert service.waits == [1, 2]


def test_a_service_that_stays_busy_is_given_up(capsys: pytest.CaptureFixture[str]) -> None:
    service = Scripted(*(busy(503, "2") for _ in range(100)))
    assert service.load() == 2
    assert len(service.waits) == ingest_data.BUSY_TRIES - 1
    last = capsys.readouterr().err.splitlines()[-1]
    assert last == "Stopped: the service answers 503: The database is locked."


def test_what_was_accepted_before_it_stopped_is_told(
    write_csv: Callable[[str], str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(ingest_data, "BATCH_ROWS", 2)
    service = Scripted(httpx.Response(202), httpx.Response(500, json={"details": "a bug"}))
    assert service.load(write_csv("text\n1\n2\n3\n")) == 1
    out, err = capsys.readouterr()
    assert out == "2 rows read: 2 accepted, 0 rejected.\n"
    assert err == "Stopped: the service answers 500: a bug\n"


# --- what cannot be done --------------------------------------------------------------------------


def stopped_with(capsys: pytest.CaptureFixture[str]) -> str:
    out, err = capsys.readouterr()
    assert out == ""
    *_, line = err.splitlines()
    assert line.startswith("Stopped: ")
    return line.removeprefix("Stopped: ")


def test_nobody_answers(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # and does not listen
        url = f"http://127.0.0.1:{closed.getsockname()[1]}"
        assert ingest_data.main(["--url", url], sleep=lambda _seconds: None) == 2
    assert stopped_with(capsys).startswith(f"cannot reach {url}")


def test_another_service_answers(capsys: pytest.CaptureFixture[str]) -> None:
    assert Scripted(httpx.Response(404, text="<html>")).load() == 2
    assert stopped_with(capsys) == "the service answers 404: Not Found (is API_URL right?)"


def test_api_keys(
    start_service: StartService,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    api_keys = tuple(
        ApiKey(scope, scope, hashlib.sha256(f"{scope}-key".encode()).hexdigest())
        for scope in ("read", "write")
    )
    with start_service(api_keys=api_keys) as url:
        assert ingest_data.main(["--url", url]) == 2
        assert stopped_with(capsys).startswith("the service answers 401: ")
        assert ingest_data.main(["--url", url, "--key", "read-key"]) == 2
        assert stopped_with(capsys).startswith("the service answers 403: ")
        monkeypatch.setenv("API_URL", url)
        monkeypatch.setenv("API_KEY", "write-key")
        assert ingest_data.main([]) == 0


def test_a_file_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert Scripted().load("missing.csv") == 2
    assert stopped_with(capsys) == "missing.csv: No such file or directory"
    assert Scripted().load(str(tmp_path)) == 2
    assert stopped_with(capsys) == f"{tmp_path}: Is a directory"


@pytest.mark.parametrize("content", ["", "\n", "id,author\n1,ann\n", "\udcff\udcfet\x00"])
def test_a_file_without_a_text_column(
    content: str, write_csv: Callable[[str], str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert Scripted().load(write_csv(content)) == 2
    assert "no column is called text or tweet or" in stopped_with(capsys)


def test_a_file_with_a_header_only(
    write_csv: Callable[[str], str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert Scripted().load(write_csv("text\n")) == 0
    assert capsys.readouterr().out == "0 rows read: 0 accepted, 0 rejected.\n"


def test_an_address_that_is_none(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        ingest_data.main(["--url", "localhost:8000"])
    assert caught.value.code == 2
    assert "API_URL must begin with http:// or https://" in capsys.readouterr().err
