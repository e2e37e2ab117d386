"""`ingest_data.py` where the service is busy, away or another one, and where it cannot begin."""

import hashlib
import socket
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

import ingest_data
from config import ApiKey
from importing import sender
from importing.sample import SAMPLE
from tests.support.ingesting import (
    Scripted,
    StartService,
    accepted,
    busy,
    counts,
    stopped_with,
)

pytestmark = pytest.mark.usefixtures("nobody_elses_settings")


@pytest.mark.parametrize("end", ["", "/"])
def test_an_address_may_have_a_path(end: str) -> None:
    paths: set[str] = set()
    none = {"live": 0, "bulk": 0}
    stats = {"counts": {"pending": none, "processing": none}}

    def answer(request: httpx.Request) -> httpx.Response:
        paths.add(str(request.url.copy_with(query=None)))
        if request.url.path.endswith("batch"):
            return accepted(10)
        if request.url.path.endswith("summary"):
            return httpx.Response(200, json={"totals": {"count": 0}, "clusters": []})
        if request.url.path.endswith("failed"):
            body = {"conversations": [], "metadata": {"next_cursor": None}}
            return httpx.Response(200, json=body)
        if request.url.path.endswith("stats"):
            return httpx.Response(200, json=stats)
        return httpx.Response(200, json={"status": "completed"})

    argv = ["--url", f"https://example.org/insights{end}", "--wait"]
    assert ingest_data.main(argv, transport=httpx.MockTransport(answer)) == 0
    start = "https://example.org/insights/api/v1/"
    assert {f"{start}conversations/batch", f"{start}conversations/conv_00000009"} <= paths
    assert all(path.startswith(start) for path in paths)


def test_a_host_that_is_refused_stops_it_and_rejects_no_row(
    write_csv: Callable[[str], str], capsys: pytest.CaptureFixture[str]
) -> None:
    details = "Host insights.example is not served: name it in ALLOWED_HOSTS."
    body = {"error": "invalid_schema", "details": details}
    service = Scripted(*(httpx.Response(400, json=body) for _ in range(3)))
    assert service.load(write_csv("text\none row\n")) == 3
    assert stopped_with(capsys) == f"the service answers 400: {details}"


def test_the_services_limit_is_waited_out(
    start_service: StartService, write_csv: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sender, "BATCH_ROWS", 1)
    waits: list[float] = []

    def sleep(seconds: float) -> None:
        waits.append(seconds)
        time.sleep(seconds)

    with start_service(inbound_rate_limit=1) as url:
        file = write_csv("text\n1\n2\n3\n")
        assert ingest_data.main(["--url", url, file], sleep=sleep) == 0
        assert waits
        assert set(waits) == {1}
        time.sleep(1)
        assert counts(url)["bulk"] == 3


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
    service = Scripted(*(busy(503, "2") for _ in range(1000)))
    assert service.load("--patience", "20") == 3
    assert sum(service.waits) == 20
    last = capsys.readouterr().err.splitlines()[-1]
    assert last == "Stopped: the service answers 503: The database is locked.; waited 20 s"


def test_batches_that_follow_one_that_was_given_up_are_skipped(
    write_csv: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sender, "BATCH_ROWS", 1)
    service = Scripted(*(busy(503, "5") for _ in range(1000)))
    assert service.load(write_csv("text\n1\n2\n3\n"), "--patience", "20") == 3
    assert service.waits == [5] * 4
    assert service.keys == []


def test_an_outage_in_the_middle_is_told_once_and_waited_out(
    write_csv: Callable[[str], str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sender, "BATCH_ROWS", 1)
    outage = [httpx.ConnectError("refused") for _ in range(8)]
    service = Scripted(accepted(1), *outage)
    assert service.load(write_csv("text\n1\n2\n3\n")) == 0
    assert service.waits == [1, 2, 4, 8, 16, 30, 30, 30]
    err = capsys.readouterr().err
    assert err.count("waiting up to 600 s") == 1
    assert err.endswith("The service answers again, after 121 s.\n")


def test_what_was_accepted_before_it_stopped_is_told(
    write_csv: Callable[[str], str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sender, "BATCH_ROWS", 2)
    service = Scripted(accepted(2), httpx.Response(500, json={"details": "a bug"}))
    assert service.load(write_csv("text\n1\n2\n3\n")) == 1
    out, err = capsys.readouterr()
    assert "\n3 rows read: 2 accepted, 0 duplicates, 0 rejected, 1 not sent.\n" in out
    assert out.splitlines()[-1].startswith("The page that shows them: http://localhost:8000/dash")
    assert err == "Stopped: the service answers 500: a bug\n"


# --- what cannot be done --------------------------------------------------------------------------


def test_nobody_answers(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # and does not listen
        url = f"http://127.0.0.1:{closed.getsockname()[1]}"
        assert ingest_data.main(["--url", url], sleep=lambda _seconds: None) == 3
    assert stopped_with(capsys).startswith(f"cannot reach {url}")


def test_another_service_answers(capsys: pytest.CaptureFixture[str]) -> None:
    assert Scripted(httpx.Response(404, text="<html>")).load() == 3
    assert stopped_with(capsys) == "the service answers 404: Not Found (is API_URL right?)"


def test_a_redirect_and_a_page_to_log_in_are_no_service(capsys: pytest.CaptureFixture[str]) -> None:
    place = "https://example.org/api/v1/conversations/batch"
    assert Scripted(httpx.Response(301, headers={"Location": place})).load() == 3
    told = f"the service answers 301: Moved Permanently to {place} (is API_URL right?)"
    assert stopped_with(capsys) == told
    assert Scripted(httpx.Response(200, text="<html>")).load() == 3
    assert stopped_with(capsys) == "the service answers 200: OK (is API_URL right?)"


def test_a_dry_run_says_why_it_goes_by_the_defaults(
    write_csv: Callable[[str], str], capsys: pytest.CaptureFixture[str]
) -> None:
    details = {"error": "unauthorized", "details": "The API key is not valid."}
    assert (
        Scripted(httpx.Response(401, json=details)).load(write_csv("text\na\n"), "--dry-run") == 0
    )
    told = "(by the defaults: the service answers 401: The API key is not valid. (set API_KEY))"
    assert told in capsys.readouterr().out


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
        assert ingest_data.main(["--url", url]) == 3
        assert stopped_with(capsys).startswith("the service answers 401: ")
        assert ingest_data.main(["--url", url, "--key", "read-key"]) == 3
        assert stopped_with(capsys).startswith("the service answers 403: ")
        monkeypatch.setenv("API_URL", url)
        monkeypatch.setenv("API_KEY", "write-key")
        assert ingest_data.main([]) == 0


def test_a_file_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert Scripted().load("missing.csv") == 3
    assert stopped_with(capsys) == "missing.csv: No such file or directory"
    assert Scripted().load(str(tmp_path)) == 3
    assert stopped_with(capsys) == f"{tmp_path}: Is a directory"


@pytest.mark.parametrize("content", ["id,author\n1,ann\n", "hello\n", "\udcff\udcfet\x00"])
def test_a_file_without_a_text_column(
    content: str, write_csv: Callable[[str], str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert Scripted().load(write_csv(content)) == 3
    assert "no column is called text, full_text, tweet or" in stopped_with(capsys)


def test_a_file_with_a_header_only(
    write_csv: Callable[[str], str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert Scripted().load(write_csv("text\n")) == 3
    assert "0 rows read: 0 accepted, 0 duplicates, 0 rejected." in capsys.readouterr().out


def test_an_address_that_is_none(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        ingest_data.main(["--url", "localhost:8000"])
    assert caught.value.code == 2
    assert "API_URL must begin with http:// or https://" in capsys.readouterr().err
