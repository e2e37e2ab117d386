"""The importer ends with a link to the page that shows what it has loaded."""

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import httpx
import pytest

import ingest_data
from importing.sample import SAMPLE
from tests.support.ingesting import Scripted, stored

pytestmark = pytest.mark.usefixtures("nobody_elses_settings")


def page_at_the_end(out: str) -> httpx.URL:
    sentence, _, link = out.splitlines()[-1].rpartition(" ")
    assert sentence == "The page that shows them:"
    return httpx.URL(link)


@pytest.mark.parametrize("wait", [[], ["--wait"]])
def test_the_end_is_a_link_to_the_page_with_the_time_of_what_was_loaded(
    wait: list[str], url: str, write_csv: Callable[[str], str], capsys: pytest.CaptureFixture[str]
) -> None:
    times = ["2020-01-31T23:59:59.5Z", "2020-01-30 08:26:10", "2020-01-31T23:59:59Z"]
    file = write_csv("\n".join(["text,date", *(f"a,{time}" for time in times), ",2019-01-01"]))
    assert ingest_data.main(["--url", url, file, *wait], sleep=lambda _: time.sleep(0.05)) == 1
    out = capsys.readouterr().out
    if wait:
        assert "3 conversations are analysed from 2020-01-30 to 2020-01-31" in out
    page = page_at_the_end(out)
    assert str(page).startswith(f"{url}/dashboard?")
    period = {"start_time": "2020-01-30T08:26:00Z", "end_time": "2020-02-01T00:00:00Z"}
    assert dict(page.params) == period
    assert len(stored(url, 3)) == 3
    found = httpx.get(f"{url}/api/v1/insights", params=period, timeout=30).json()
    assert found["metadata"]["total_count"] == 3


def test_the_page_of_the_sample_and_of_rows_without_a_time_is_that_of_today(
    url: str, write_csv: Callable[[str], str], capsys: pytest.CaptureFixture[str]
) -> None:
    for argv in ([], [write_csv("text\nlate again\n")]):
        assert ingest_data.main(["--url", url, *argv]) == 0
    stored(url, len(SAMPLE) + 1)
    period = dict(page_at_the_end(capsys.readouterr().out).params)
    found = httpx.get(f"{url}/api/v1/insights", params=period, timeout=30).json()
    assert found["metadata"]["total_count"] == len(SAMPLE) + 1


def test_a_row_without_a_time_does_not_stretch_the_period_to_today(
    url: str, write_csv: Callable[[str], str], capsys: pytest.CaptureFixture[str]
) -> None:
    file = write_csv("text,date\nlate,2014-01-01\nlate again,2014-01-02\nand now?,\n")
    assert ingest_data.main(["--url", url, file]) == 0
    out = capsys.readouterr().out
    period = dict(page_at_the_end(out).params)
    assert period == {"start_time": "2014-01-01T00:00:00Z", "end_time": "2014-01-02T00:01:00Z"}
    assert "\n1 row without a time (line 4): it gets that of its loading\n" in out
    rows = "late,\n" * 9
    file = write_csv(f"text,date\nlate,2014-01-01\n{rows}")
    assert ingest_data.main(["--url", url, file, "--dry-run"]) == 0
    told = (
        "9 rows without a time (lines 3, 4, 5, 6, 7, 8, 9, 10, ...): they get that of their loading"
    )
    assert told in capsys.readouterr().out


def test_where_no_row_has_a_time_they_are_not_told_one_by_one(
    write_csv: Callable[[str], str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert Scripted().load(write_csv("text\nlate\n")) == 0
    assert "without a time" not in capsys.readouterr().out


def test_no_link_to_a_page_holds_a_password(
    write_csv: Callable[[str], str], capsys: pytest.CaptureFixture[str]
) -> None:
    address = "https://ann:secret@example.org/insights"
    assert Scripted().load(write_csv("text\nlate\n"), "--url", address) == 0
    assert str(page_at_the_end(capsys.readouterr().out)).startswith(
        "https://example.org/insights/dashboard?start_time="
    )
    lost = [httpx.ConnectError("refused") for _ in range(9)]
    assert Scripted(*lost).load(write_csv("text\nlate\n"), "--url", address) == 3
    assert "secret" not in capsys.readouterr().err


def test_what_was_not_loaded_has_no_page(
    write_csv: Callable[[str], str], capsys: pytest.CaptureFixture[str]
) -> None:
    bad = httpx.Response(400, json={"details": "conversations[0].text: must be shorter"})
    assert Scripted(bad).load(write_csv("text\nlate\n")) == 3
    dead = Scripted(httpx.ConnectError("refused"))
    assert dead.load(write_csv("text\nlate\n"), "--dry-run") == 0
    assert "The page" not in capsys.readouterr().out


def in_days(days: float) -> datetime:
    return datetime.now(UTC) + timedelta(days=days)


def test_rows_of_the_future_are_told_and_do_not_move_the_page(
    url: str, write_csv: Callable[[str], str], capsys: pytest.CaptureFixture[str]
) -> None:
    far, farther, tomorrow = in_days(400), in_days(20_000), in_days(0.9)
    rows = ["late,2024-01-01", f"again,{far.isoformat()}", "late,2024-01-02"]
    assert ingest_data.main(["--url", url, write_csv("\n".join(["text,date", *rows]))]) == 0
    out = capsys.readouterr().out
    one = f"1 row lies in the future (line 3, {far.date()}): it is in no list until then\n"
    assert one in out
    assert "3 rows read: 3 accepted, 0 duplicates, 0 rejected." in out
    assert page_at_the_end(out).params["end_time"] == "2024-01-02T00:01:00Z"

    rows += [f"soon,{tomorrow.isoformat()}"]
    rows += [f"typo {n},{farther.isoformat()}" for n in range(8)]
    file = write_csv("\n".join(["text,date", *rows]))
    for options in (["--dry-run"], []):
        assert ingest_data.main(["--url", url, file, *options]) == 0
        out = capsys.readouterr().out
        first = f"9 rows lie in the future (line 3, {far.date()}; line 6, {farther.date()}; "
        assert first in out
        assert f"line 12, {farther.date()}; ...): they are in no list until then\n" in out


def test_what_lies_in_the_future_alone_has_its_own_page(
    write_csv: Callable[[str], str], capsys: pytest.CaptureFixture[str]
) -> None:
    far = in_days(400)
    assert Scripted().load(write_csv(f"text,date\nlate,{far.isoformat()}\n")) == 0
    start = datetime.fromisoformat(page_at_the_end(capsys.readouterr().out).params["start_time"])
    assert start == far.replace(second=0, microsecond=0)


def test_a_thread_of_the_future_is_told_as_a_conversation(
    write_csv: Callable[[str], str], capsys: pytest.CaptureFixture[str]
) -> None:
    day = in_days(400).date()
    file = write_csv(f"text,date,thread_id\nlate,{day},1\nagain,{day},1\n")
    assert Scripted().load(file, "--conversations") == 0
    told = f"1 conversation lies in the future (line 2, {day}): it is in no list until then\n"
    assert told in capsys.readouterr().out
