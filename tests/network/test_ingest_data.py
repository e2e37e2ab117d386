"""`ingest_data.py` against a real service on a real port, in a thread of this process."""

import csv
import hashlib
import json
import os
import re
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn

import ingest_data
from config import ApiKey, Settings
from importing import sender, wait
from importing.sample import SAMPLE
from main import create_app
from tests.support.paths import SHARED
from tests.support.servers import free_port

DATA = SHARED / "data"

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
        f"{len(SAMPLE)} rows read: {len(SAMPLE)} accepted, 0 duplicates, 0 rejected."
        in capsys.readouterr().out
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
    assert out.count(f"{len(SAMPLE)} rows read: {len(SAMPLE)} accepted, 0 duplicates") == 2


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


def test_it_ends_with_the_page_that_shows_what_was_loaded(
    url: str, write_csv: Callable[[str], str], capsys: pytest.CaptureFixture[str]
) -> None:
    rows = ["late,ann,2019-05-03T10:00:00Z", "later,bob,2015-02-24T11:35:52Z"]
    path = write_csv("\n".join(["text,author,timestamp", *rows]))
    for _ in range(2):  # the second time it is there already
        assert ingest_data.main(["--url", f"{url}/", path]) == 0
        address = capsys.readouterr().out.splitlines()[-1].removeprefix("See them at ")
        assert address.startswith(f"{url}/dashboard?")
        shown = dict(httpx.URL(address).params)
        assert shown == {"start_time": "2015-02-24T11:35:52Z", "end_time": "2019-05-03T10:00:00Z"}


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


def test_bad_rows_can_be_mended_in_their_file_and_loaded_again(
    start_service: StartService, write_csv: Callable[[str], str], capsys: pytest.CaptureFixture[str]
) -> None:
    file = write_csv(
        "id,text,author,date\n"
        "1,one,a,2020-01-01\n"
        '2,"in two\nlines",b,\n'
        "3,,nobody,2020-01-01\n"
        "4,much too long for it,c,\n"
        "5,when?,d,31-31-2015 11:35\n"
        '6,"one, too many",f,2020-01-01,more\n'
        "7,before time,h,0001-01-01T00:00:00+14:00\n"
        "8,last,i,2020-01-02\n"
    )
    with start_service(max_text_length=15) as url:
        assert ingest_data.main(["--url", url, file]) == 1
        assert account(capsys) == (8, 3, 0, 5)
        rejected = Path(file + ".rejected.csv")
        header, *lines = csv.reader(rejected.read_text().splitlines())
        assert header == ["import_line", "import_reason", "id", "text", "author", "date"]
        assert [(line[0], line[2]) for line in lines] == [
            ("5", "4"), ("4", "3"), ("6", "5"), ("7", "6"), ("8", "7"),
        ] or {line[2] for line in lines} == set("34567")  # fmt: skip
        reasons = {line[2]: line[1] for line in lines}
        assert reasons["3"] == "the text is empty"
        assert reasons["4"] == "text: must be at most 15 characters"
        assert reasons["5"] == "not a time that can be read for sure: 31-31-2015 11:35"
        assert reasons["6"].startswith("more cells than columns: 5, not 4")

        mended = rejected.read_text().replace("much too long for it", "short")
        mended = mended.replace("31-31-2015", "31-12-2015").replace(",more", "")
        mended = mended.replace("one, too many", "one").replace("0001-", "2001-")
        rejected.write_text(mended)
        assert ingest_data.main(["--url", url, str(rejected)]) == 1
        assert account(capsys) == (5, 4, 0, 1)
        rows = stored(url, 7)
    assert all(set(row["raw_data"]) == {"id"} for row in rows)

    # Nobody's work is written over.
    with start_service(max_text_length=15) as url:
        assert ingest_data.main(["--url", url, file]) == 1
    assert rejected.read_text() == mended
    assert Path(file + ".rejected-2.csv").exists()


def test_nothing_is_left_where_all_rows_are_bad(
    url: str, write_csv: Callable[[str], str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert ingest_data.main(["--url", url, write_csv("text,date\na,never\n,\n ,2020-01-01\n")]) == 3
    assert account(capsys) == (2, 0, 0, 2)
    assert sum(counts(url).values()) == 0


def test_rejected_json_stays_json(
    url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "tweets.ndjson"
    file.write_text('{"text": "good"}\n{"text": "", "likes": {"n": 1}}\n')
    assert ingest_data.main(["--url", url, str(file)]) == 1
    rejected = tmp_path / "tweets.ndjson.rejected.ndjson"
    assert json.loads(rejected.read_text()) == {
        "import_line": 2,
        "import_reason": "the text is empty",
        "text": "",
        "likes": {"n": 1},
    }
    rejected.write_text(rejected.read_text().replace('"text": ""', '"text": "mended"'))
    assert ingest_data.main(["--url", url, str(rejected)]) == 0
    assert stored(url, 2)[1]["raw_data"] == {"likes": {"n": 1}}


def test_what_was_understood_is_shown_before_anything_is_sent(
    write_csv: Callable[[str], str], capsys: pytest.CaptureFixture[str]
) -> None:
    service = Scripted(httpx.Response(401, json={"details": "no key"}))
    assert service.load(write_csv("id,when,body,likes\n1,2,hello,3\n"), "--time-column", "2") == 3
    file = write_csv("tweet_id,created_at,text,author_id\n1,24/4/2020,hello,7\n")
    assert Scripted(httpx.Response(401)).load(file) == 3
    out = capsys.readouterr().out
    assert "timestamp  created_at, day first (24/4/2020 is 2020-04-24T00:00:00Z)" in out
    assert "author     author_id" in out


def test_a_dry_run_sends_nothing_and_tells_what_it_would_cost(
    url: str, write_csv: Callable[[str], str], capsys: pytest.CaptureFixture[str]
) -> None:
    file = write_csv("id,text\n1,a\n1,a\n2,\n3,b\n")
    assert ingest_data.main(["--url", url, file, "--dry-run"]) == 1
    out = capsys.readouterr().out
    assert "4 rows read: 2 good, 1 duplicates, 1 rejected." in out
    assert "2 conversations to send, analysed offline" in out
    assert sum(counts(url).values()) == 0
    assert not Path(file + ".rejected.csv").exists()
    assert ingest_data.main(["--url", "http://127.0.0.1:9", file, "--dry-run"]) == 1
    assert "With Grok: about 1 call of 10, 0.00 USD, 0 s at 10 calls" in capsys.readouterr().out


def test_standard_input(
    url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    read_end, write_end = os.pipe()
    os.write(write_end, b"text\nfrom a pipe\n")
    os.close(write_end)
    monkeypatch.setattr("sys.stdin", os.fdopen(read_end))
    assert ingest_data.main(["--url", url, "-"]) == 0
    assert stored(url, 1)[0]["text"] == "from a pipe"


def test_the_same_tweets_with_other_columns_stay_as_they_are(
    url: str, write_csv: Callable[[str], str], capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [f"{number},text {number},{{likes}}" for number in range(300)]
    assert ingest_data.main(["--url", url, write_csv("\n".join(["id,text,likes", *rows]))]) == 0
    newer = [row.format(likes="many") if n % 50 == 7 else row for n, row in enumerate(rows)]
    capsys.readouterr()
    assert ingest_data.main(["--url", url, write_csv("\n".join(["id,text,likes", *newer]))]) == 0
    assert account(capsys) == (300, 294, 6, 0)
    assert counts(url)["bulk"] == 300


def test_a_batch_over_the_services_limit_is_divided(
    start_service: StartService, write_csv: Callable[[str], str], capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [f"{number:0500}" for number in range(40)]
    file = write_csv("\n".join(["text,extra", *rows, "large," + "x" * 6000]))
    with start_service(max_body_bytes=5000) as url:
        assert ingest_data.main(["--url", url, file]) == 1
        assert counts(url)["bulk"] == 40
    out = capsys.readouterr().out
    assert "The body is larger than 5000 bytes" in out
    assert "41 rows read: 40 accepted, 0 duplicates, 1 rejected." in out


def test_conversations_are_stored_whole_and_once(
    url: str, write_csv: Callable[[str], str], capsys: pytest.CaptureFixture[str]
) -> None:
    file = write_csv(
        "tweet_id,author,created_at,text,in_reply_to\n"
        "2,shop,2020-01-01T10:05:00Z,On it,1\n1,ann,2020-01-01T10:00:00Z,Late!,\n"
        "3,bob,2020-01-02,Thanks,\n"
    )
    for _ in range(2):
        assert ingest_data.main(["--url", url, file, "--conversations"]) == 0
        assert account(capsys) == (3, 3, 0, 0)
    assert [row["text"] for row in stored(url, 2)] == ["@ann: Late!\n@shop: On it", "Thanks"]


def test_the_end_of_the_analysis_is_waited_for_and_summed_up(
    url: str, write_csv: Callable[[str], str], capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [f"My parcel is late again {n},2020-01-0{n}" for n in range(1, 6)]
    file = write_csv("\n".join(["text,date", *rows, "I love it,2020-01-01"]))
    assert ingest_data.main(["--url", url, file, "--wait"], sleep=lambda _: time.sleep(0.05)) == 0
    out = capsys.readouterr().out
    assert "6 conversations are analysed from 2020-01-01 to 2020-01-05" in out
    assert re.search(r"negative +█+ +83% +5$", out, re.MULTILINE)
    assert re.search(r"delivery_problems +5", out)


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
        service = wait.Service(client, patience=0, sleep=lambda _: None)
        moment = datetime(2020, 1, 1, tzinfo=UTC)
        lines = list(wait.summary(service, moment, moment))
    assert lines[0] == "4 conversations are analysed from 2020-01-01 to 2020-01-01"
    assert lines[3].endswith(" 75%        3")
    assert [line.split() for line in lines[5:]] == [
        ["billing", "3", "average", "sentiment", "-0.50"],
        "Rising in the last 24 hours of them".split(),
        ["outage", "9,", "1.5", "expected"],
    ]


def test_more_rows_than_a_batch_takes(url: str, write_csv: Callable[[str], str]) -> None:
    rows = (str(number) for number in range(sender.BATCH_ROWS * 2 + 1))
    assert ingest_data.main(["--url", url, write_csv("\n".join(["text", *rows]))]) == 0
    assert counts(url)["bulk"] == sender.BATCH_ROWS * 2 + 1


def test_while_it_reads_others_have_the_processor_in_between(
    url: str, write_csv: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    turns: list[None] = []
    monkeypatch.setattr(sender, "_let_others_run", lambda: turns.append(None))
    rows = (str(number) for number in range(sender.BATCH_ROWS * 2))
    assert ingest_data.main(["--url", url, write_csv("\n".join(["text", *rows]))]) == 0
    assert 10 <= len(turns) <= 20


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
    accepted = 0
    for _ in range(2):
        assert ingest_data.main(["--url", url, str(file)]) == 0
        read, accepted, duplicates, _rejected = account(capsys)
        assert (read, accepted + duplicates) == (rows, rows)
        assert counts(url) == {"live": 0, "bulk": accepted}
    assert accepted <= different


def test_a_row_whose_key_holds_another_text_is_rejected_and_said_so(
    url: str, write_csv: Callable[[str], str], capsys: pytest.CaptureFixture[str]
) -> None:
    file = write_csv("id,text,likes\n1,I want my money back,3\n2,late,4\n3,thanks,5\n")
    sent = Scripted()
    assert sent.load(file) == 0
    posts = f"{url}/api/v1/conversations"
    # Somebody who knows the file has taken two of its keys, one of them for the very text.
    for key, text in zip(sent.keys, ("all is well", "late"), strict=False):
        answer = httpx.post(posts, json={"text": text}, headers={"Idempotency-Key": key})
        assert answer.status_code == 202
    capsys.readouterr()
    assert ingest_data.main(["--url", url, file]) == 1
    assert account(capsys) == (3, 1, 1, 1)
    (row,) = csv.DictReader(Path(file + ".rejected.csv").read_text().splitlines())
    assert row["text"] == "I want my money back"
    assert "another text under this row's key" in row["import_reason"]


def test_a_name_can_add_no_line_to_a_thread(url: str, write_csv: Callable[[str], str]) -> None:
    names = [
        "bob: I am happy\n@shop: Resolved.\n@bob",
        "@ann b",
        "हिन्दी क",
        "",
        "x" * 99,
        "\u2028!é",
    ]
    rows = [
        f'{n},"{name}",2020-01-01T10:0{n}:00Z,t,{n - 1 or ""}' for n, name in enumerate(names, 1)
    ]
    file = write_csv("\n".join(["tweet_id,author,created_at,text,in_reply_to", *rows]))
    assert ingest_data.main(["--url", url, file, "--conversations"]) == 0
    assert stored(url, 1)[0]["text"].splitlines() == [
        "@bob: t", "@ann: t", "@हिन्दी: t", "@unknown: t", f"@{'x' * 50}: t", "@é: t",
    ]  # fmt: skip


def test_rejected_rows_go_through_no_link_and_are_for_their_owner_only(
    url: str, write_csv: Callable[[str], str], tmp_path: Path
) -> None:
    file = write_csv("text,n\nlate,1\n,2\n")
    victim = tmp_path / "victim.txt"
    victim.write_text("mine")
    for name in ("rows.csv.rejected.csv.part", "rows.csv.rejected.csv"):
        (tmp_path / name).symlink_to(victim)
    (tmp_path / "rows.csv.rejected-2.csv").symlink_to(tmp_path / "nowhere")
    assert ingest_data.main(["--url", url, file]) == 1
    assert victim.read_text() == "mine"
    assert not (tmp_path / "nowhere").exists()
    written = tmp_path / "rows.csv.rejected-3.csv"
    assert written.stat().st_mode & 0o777 == 0o600
    assert not written.is_symlink()
    assert sorted(path.name for path in tmp_path.iterdir() if "rejected" in path.name) == [
        "rows.csv.rejected-2.csv", "rows.csv.rejected-3.csv", "rows.csv.rejected.csv",
        "rows.csv.rejected.csv.part",
    ]  # fmt: skip


def test_rejected_rows_are_written_where_there_are_no_links(
    url: str, write_csv: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_from: str, _to: str) -> None:
        raise PermissionError(1, "no links here")

    monkeypatch.setattr(os, "link", refuse)
    file = write_csv("text,n\nlate,1\n,2\n")
    assert ingest_data.main(["--url", url, file]) == 1
    written = Path(file + ".rejected.csv")
    assert written.stat().st_mode & 0o777 == 0o600
    assert len(written.read_text().splitlines()) == 2


def test_the_sample_can_be_waited_for(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert ingest_data.main(["--url", url, "--wait"], sleep=lambda _: time.sleep(0.05)) == 0
    assert f"{len(SAMPLE)} conversations are analysed" in capsys.readouterr().out


def test_live_posts_are_sent_in_tens(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []

    def answer(request: httpx.Request) -> httpx.Response:
        body = json.loads(request.content)
        assert body["lane"] == "live"
        sizes.append(len(body["conversations"]))
        return httpx.Response(202 if sizes[-1] <= 10 else 400, json={"details": "too many"})

    assert ingest_data.main([], transport=httpx.MockTransport(answer)) == 0
    assert sum(sizes) == len(SAMPLE)


@pytest.mark.parametrize("end", ["", "/"])
def test_an_address_may_have_a_path(end: str) -> None:
    paths: set[str] = set()

    def answer(request: httpx.Request) -> httpx.Response:
        paths.add(str(request.url.copy_with(query=None)))
        if request.url.path.endswith("batch"):
            return httpx.Response(202, json={"conversation_ids": ["conv_0000000a"]})
        if request.url.path.endswith("summary"):
            return httpx.Response(200, json={"totals": {"count": 0}, "clusters": []})
        if request.url.path.endswith("failed"):
            body = {"conversations": [], "metadata": {"next_cursor": None}}
            return httpx.Response(200, json=body)
        return httpx.Response(200, json={"status": "completed"})

    argv = ["--url", f"https://example.org/insights{end}", "--wait"]
    assert ingest_data.main(argv, transport=httpx.MockTransport(answer)) == 0
    start = "https://example.org/insights/api/v1/"
    assert {f"{start}conversations/batch", f"{start}conversations/conv_0000000a"} <= paths
    assert all(path.startswith(start) for path in paths)


def test_a_host_that_is_refused_stops_it_and_rejects_no_row(
    write_csv: Callable[[str], str], capsys: pytest.CaptureFixture[str]
) -> None:
    details = "Host insights.example is not served: name it in ALLOWED_HOSTS."
    body = {"error": "invalid_schema", "details": details}
    service = Scripted(*(httpx.Response(400, json=body) for _ in range(3)))
    assert service.load(write_csv("text\none row\n")) == 3
    assert stopped_with(capsys) == f"the service answers 400: {details}"


# --- waiting --------------------------------------------------------------------------------------


def test_the_services_limit_is_waited_out(
    start_service: StartService, write_csv: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sender, "BATCH_ROWS", 1)
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
    service = Scripted(*(busy(503, "2") for _ in range(1000)))
    assert service.load("--patience", "20") == 3
    assert sum(service.waits) == 20
    last = capsys.readouterr().err.splitlines()[-1]
    assert last == "Stopped: the service answers 503: The database is locked.; waited 20 s"


def test_batches_that_follow_one_that_was_given_up_are_not_tried(
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
    service = Scripted(httpx.Response(202), *outage)
    assert service.load(write_csv("text\n1\n2\n3\n")) == 0
    assert service.waits == [1, 2, 4, 8, 16, 30, 30, 30]
    err = capsys.readouterr().err
    assert err.count("waiting up to 600 s") == 1
    assert err.endswith("It takes rows again, after 121 s.\n")


def test_what_was_accepted_before_it_stopped_is_told(
    write_csv: Callable[[str], str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sender, "BATCH_ROWS", 2)
    service = Scripted(httpx.Response(202), httpx.Response(500, json={"details": "a bug"}))
    assert service.load(write_csv("text\n1\n2\n3\n")) == 1
    out, err = capsys.readouterr()
    assert out.endswith("3 rows read: 2 accepted, 0 duplicates, 0 rejected, 1 not sent.\n")
    assert err == "Stopped: the service answers 500: a bug\n"


# --- what cannot be done --------------------------------------------------------------------------


def stopped_with(capsys: pytest.CaptureFixture[str]) -> str:
    out, err = capsys.readouterr()
    assert "rows read: 0 accepted" in out or "rows read" not in out
    *_, line = err.splitlines()
    assert line.startswith("Stopped: ")
    return line.removeprefix("Stopped: ")


def test_nobody_answers(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # and does not listen
        url = f"http://127.0.0.1:{closed.getsockname()[1]}"
        assert ingest_data.main(["--url", url], sleep=lambda _seconds: None) == 3
    assert stopped_with(capsys).startswith(f"cannot reach {url}")


def test_another_service_answers(capsys: pytest.CaptureFixture[str]) -> None:
    assert Scripted(httpx.Response(404, text="<html>")).load() == 3
    assert stopped_with(capsys) == "the service answers 404: Not MatchCount (is API_URL right?)"


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
