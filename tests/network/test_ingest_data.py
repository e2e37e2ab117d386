"""`ingest_data.py` against a real service on a real port, in a thread of this process."""

import csv
import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import openpyxl
import pytest

import ingest_data
from importing import sender
from importing.sample import SAMPLE
from tests.support.ingesting import (
    Scripted,
    StartService,
    accepted,
    account,
    counts,
    stopped_with,
    stored,
)
from tests.support.paths import SHARED

DATA = SHARED / "data"

pytestmark = pytest.mark.usefixtures("nobody_elses_settings")


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
    assert account(capsys) == (len(SAMPLE), 0, len(SAMPLE), 0)


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


def test_a_name_over_several_lines_is_shown_on_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    workbook = openpyxl.Workbook()
    for row in (["Posted\nat", "Text"], ["2025-01-20", "hello"], ["03/04/2025", "hello"]):
        workbook.active.append(row)
    workbook.save(tmp_path / "posts.xlsx")
    argv = [str(tmp_path / "posts.xlsx"), "--time-column", "1"]
    assert Scripted().load(*argv, "--dates", "dmy") == 0
    assert "\n  timestamp  Posted at, day first (2025-01-20 is" in capsys.readouterr().out
    assert Scripted().load(*argv) == 3
    assert "03/04/2025 in Posted at is two days" in stopped_with(capsys)


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
    assert account(capsys) == (300, 0, 300, 0)
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
    for accepted_now in (3, 0):
        assert ingest_data.main(["--url", url, file, "--conversations"]) == 0
        assert account(capsys) == (3, accepted_now, 3 - accepted_now, 0)
    assert [row["text"] for row in stored(url, 2)] == ["@ann: Late!\n@shop: On it", "Thanks"]


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
    assert ingest_data.main(["--url", url, str(file)]) == 0
    read, new, duplicates, _rejected = account(capsys)
    assert (read, new + duplicates) == (rows, rows)
    assert new <= different
    assert ingest_data.main(["--url", url, str(file)]) == 0
    assert account(capsys) == (rows, 0, rows, 0)
    assert counts(url) == {"live": 0, "bulk": new}


def test_a_row_whose_key_holds_another_text_is_rejected_and_said_so(
    url: str, write_csv: Callable[[str], str], capsys: pytest.CaptureFixture[str]
) -> None:
    file = write_csv("id,text,likes\n1,I want my money back,3\n2,late,4\n3,thanks,5\n")
    sent = Scripted()
    assert sent.load(file) == 0
    posts = f"{url}/api/v1/conversations"
    # Somebody who knows the file has taken two of its keys, one of them for the very text.
    for key, text in zip(sent.keys, ("all is well", "late"), strict=False):
        answer = httpx.post(
            posts, json={"text": text}, headers={"Idempotency-Key": key}, timeout=30
        )
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


def test_live_posts_are_sent_in_tens(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []

    def answer(request: httpx.Request) -> httpx.Response:
        body = json.loads(request.content)
        assert body["lane"] == "live"
        sizes.append(len(body["conversations"]))
        if sizes[-1] > 10:
            return httpx.Response(400, json={"details": "too many"})
        return accepted(sizes[-1])

    assert ingest_data.main([], transport=httpx.MockTransport(answer)) == 0
    assert sum(sizes) == len(SAMPLE)
