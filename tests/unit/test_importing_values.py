"""Texts and times as the cells of a file hold them."""

import csv

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from importing import text_repair
from importing.dates import Dates
from importing.errors import RowRejected
from tests.support.import_helpers import Read, refusal
from tests.support.paths import SHARED

DATA = SHARED / "data"


# --- texts ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given_text", "meant", "name"),
    [
        ("wasnâ€™t ðŸ˜‰ cafÃ©", "wasn’t 😉 café", text_repair.MISREAD),
        ("you &amp; me &lt;3 &#39;", "you & me <3 '", text_repair.ENTITIES),
        ("&amp;amp;", "&amp;", text_repair.ENTITIES),
        ("caf&eacute; &rsquo;20&hellip; &apos;", "café ’20… '", text_repair.ENTITIES),
        ("it\\u2019s \\ud83d\\ude00", "it’s 😀", text_repair.ESCAPES),
        ("=@shop late", "@shop late", text_repair.FORMULA),
    ],
)
def test_what_programs_did_to_a_text_is_undone_and_kept(
    given_text: str, meant: str, name: str, read: Read
) -> None:
    found = read(f'text,n\n"{given_text}",1\n')
    assert found.texts == [meant]
    assert found.bodies[0]["raw_data"] == {"n": "1", "text": given_text}
    assert found.pipeline.reader.mended[name] == 1
    assert read(f'text,n\n"{given_text}",1\n', mend=False).texts == [given_text]


@pytest.mark.parametrize(
    "text",
    ["100 % © & co", "a?b=1&copy=2", "R&D; &c.; &x;", "\\u12", "naïve Â", "=1+2", "é"],
)
def test_a_text_that_nothing_happened_to_is_left_alone(text: str) -> None:
    assert text_repair.mend(text) == (text, [])


@pytest.mark.parametrize(
    ("given_name", "meant"),
    [("JosÃ©", "José"), ("Tom &amp; Co", "Tom & Co"), ("=@ann", "@ann"), ("<b>Ann</b>", "Ann")],
)
def test_what_programs_did_to_a_name_is_undone_and_kept(
    given_name: str, meant: str, read: Read
) -> None:
    found = read(f"text,author\nlate,{given_name}\n")
    assert found.bodies[0]["author"] == meant
    assert found.bodies[0]["raw_data"] == {"author": given_name}
    assert found.pipeline.reader.mended.total() == 1
    assert read(f"text,author\nlate,{given_name}\n", mend=False).bodies[0]["author"] == given_name


@given(st.text())
@settings(max_examples=300)
def test_reading_in_the_wrong_encoding_is_undone_exactly(text: str) -> None:
    try:
        misread = text.encode().decode("cp1252")
    except UnicodeDecodeError:
        return
    if not text_repair.mend_misread(text)[1]:
        assert text_repair.mend_misread(misread)[0] == text


def test_a_text_split_at_the_end_of_an_entity_is_not_taken_for_whole(read: Read) -> None:
    found = read("text;n\nI &lt;3 it\nfine;2\nyou &amp;1\n", delimiter=";")
    assert found.texts == ["fine"]
    assert found.tally.rejected == 2


# --- times ----------------------------------------------------------------------------------------


def test_dates_mean_what_the_list_of_them_says(read: Read) -> None:
    file = DATA / "edge_cases" / "synthetic" / "dates.csv"
    if not file.exists():
        pytest.skip(f"{file} is not there")
    with file.open(encoding="utf-8", newline="") as opened_file:
        rows = list(csv.DictReader(opened_file))
    dates = Dates()
    for each in rows:
        dates.learn(each["created_at"])
    for each in rows:
        value, expected = each["created_at"], each["expected_utc"]
        if expected == "missing":
            assert dates.read(value) is None
        elif expected == "invalid":
            with pytest.raises(RowRejected):
                dates.read(value)
        elif expected not in ("ambiguous", "edge"):
            moment = dates.read(value)
            assert moment is not None
            assert moment.replace(".123456", "") == expected


@pytest.mark.parametrize(
    ("value", "utc"),
    [
        ("42059.4832407407", "2015-02-24T11:35:52Z"),
        ("42059,4832407407", "2015-02-24T11:35:52Z"),
        ("Jan 20, 2025 · 10:00 AM UTC", "2025-01-20T10:00:00Z"),
        ("1509487847", "2017-10-31T22:10:47Z"),
        ("1509487847000", "2017-10-31T22:10:47Z"),
        ("1509487847.123", "2017-10-31T22:10:47.123000Z"),
        ("20171031", "2017-10-31T00:00:00Z"),
        ("2016-12-31T23:59:60Z", "2017-01-01T00:00:00Z"),
        ("2017-10-31T24:00:00Z", "2017-11-01T00:00:00Z"),
        ("Tue, 31 Oct 2017 22:10:47 GMT", "2017-10-31T22:10:47Z"),
        ("2017-10-31 22:10:47 UTC", "2017-10-31T22:10:47Z"),
        ("2/24/2015 11:35 PM", "2015-02-24T23:35:00Z"),
        ("24.02.2015", "2015-02-24T00:00:00Z"),
        ("1/20/25 10:00", "2025-01-20T10:00:00Z"),
        ("20.1.25", "2025-01-20T00:00:00Z"),
        ("31-12-24", "2024-12-31T00:00:00Z"),
        ("3/3/25", "2025-03-03T00:00:00Z"),
        ("1/20/99", "1999-01-20T00:00:00Z"),
        ("20-JAN-25 10.00.00.000000 AM", "2025-01-20T10:00:00Z"),
        ("Jan 20, 2025, 10:00:00 PM", "2025-01-20T22:00:00Z"),
        ("1/20/2025, 10:00:00\u202fAM", "2025-01-20T10:00:00Z"),
        ("Monday, January 20th, 2025 at 10:00 AM", "2025-01-20T10:00:00Z"),
        ("20 September 2025", "2025-09-20T00:00:00Z"),
        ("2025/1/20 9:05", "2025-01-20T09:05:00Z"),
        ("2025-01-20 10:00:00 PST", "2025-01-20T18:00:00Z"),
        ("20 Jan 2025 10:00 CEST", "2025-01-20T08:00:00Z"),
        ("2025-07-20 10:00 Europe/Berlin", "2025-07-20T08:00:00Z"),
        ("2025-07-20T10:00:00 Europe/Berlin", "2025-07-20T08:00:00Z"),
        ("2025-07-20 10:00 America/New_York", "2025-07-20T14:00:00Z"),
        ("20/01/2025 10:00 PM America/Sao_Paulo", "2025-01-21T01:00:00Z"),
        ("20/01/2025 10:30:00 p. m.", "2025-01-20T22:30:00Z"),
        ("2025-01-20 10:00 BRT", "2025-01-20T13:00:00Z"),
        ("2025-01-20 10:00 UTC+5:30", "2025-01-20T04:30:00Z"),
        (
            "Mon Jan 20 2025 10:00:00 GMT+0100 (Central European Standard Time)",
            "2025-01-20T09:00:00Z",
        ),
        ("Mon Jan 20 10:00:00 2025", "2025-01-20T10:00:00Z"),
        ("2025-01-20T10:00:00+01:00[Europe/Berlin]", "2025-01-20T09:00:00Z"),
        ("2025-01-20 10:00:00 +0000 UTC", "2025-01-20T10:00:00Z"),
        ("1705744800.0", "2024-01-20T10:00:00Z"),
        ("1705744800123456789", "2024-01-20T10:00:00.123456Z"),
        ("1.70574480012346e+15", "2024-01-20T10:00:00.123460Z"),
        ("1.7057448001234568e+18", "2024-01-20T10:00:00.123456Z"),
    ],
)
def test_times_of_spreadsheets_and_programs(value: str, utc: str) -> None:
    assert Dates().read(value) == utc


@pytest.mark.parametrize(
    "value",
    ["0", "12345", "3/4/15", "32/13/2015", "0001-01-01T00:00+14:00", "20-01-25", "1/20/55",
     "20 Jan 2025 10:00 IST", "2025-03-30 02:30 Europe/Berlin", "2025-10-26 02:30 Europe/Berlin",
     "3 hours ago", "Jan 2025", "20 janvier 2025", "10:00", "2025-01-20 13:00 PM", "v1.2.25x",
     "42059,4,8", "1,737,367,200", "1.70574E+12", "1.7057448e+18", "1.70574480012346e+99"],
)  # fmt: skip
def test_a_time_that_is_no_time_is_none(value: str) -> None:
    with pytest.raises(RowRejected):
        Dates().read(value)


def test_one_row_of_a_file_tells_the_order_of_day_and_month(read: Read) -> None:
    found = read("text,date\na,3/4/2015 10:00\nb,24/4/2015 10:00\n")
    assert [body["timestamp"] for body in found.bodies] == [
        "2015-04-03T10:00:00Z",
        "2015-04-24T10:00:00Z",
    ]
    assert read("text,date\na,3/4/2015\nb,4/24/2015\n").bodies[0]["timestamp"][:10] == "2015-03-04"


def test_years_of_two_digits_may_be_days_between_hyphens(read: Read) -> None:
    content = "text,date\na,20-01-25\nb,21-01-26\n"
    assert "--dates" in refusal(read, content)
    for order, day in (("dmy", "2025-01-20"), ("ymd", "2020-01-25")):
        assert read(content, dates=order).bodies[0]["timestamp"][:10] == day
    assert read(content + "c,31-01-24\n").bodies[0]["timestamp"][:10] == "2025-01-20"
    short = "text,date\na,3/4/25\nb,{}\n"
    assert "--dates" in refusal(read, short.format("5/4/25"))
    assert read(short.format("4/24/25")).bodies[0]["timestamp"][:10] == "2025-03-04"


def test_where_no_row_tells_the_order_it_is_asked_for(read: Read) -> None:
    content = "text,date\na,3/4/2015\nb,5/4/2015\n"
    assert "--dates dmy" in refusal(read, content)
    assert read(content, dates="mdy").bodies[0]["timestamp"] == "2015-03-04T00:00:00Z"


def test_where_rows_contradict_each_other_only_clear_dates_are_taken(read: Read) -> None:
    content = "text,date\na,24/4/2015\nb,4/24/2015\n" + "x,\n" * 1000 + "c,3/4/2015\n"
    found = read(content)
    assert [body.get("timestamp", "")[:10] for body in found.bodies][:2] == ["2015-04-24"] * 2
    assert "is two days" in found.rejected[0][1]
