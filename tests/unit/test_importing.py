"""What a file is understood to be, row by row, without a service."""

import csv
import gzip
import json
import tempfile
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from importing import text_repair
from importing.columns import Ids
from importing.dates import Dates
from importing.errors import ImportFailed, RowRejected
from importing.files import opened
from importing.pipeline import Options, Pipeline
from importing.records import Record
from importing.report import Progress, Tally
from importing.rows import Item
from tests.support.import_helpers import Outcome, Read, refusal
from tests.support.paths import SHARED

DATA = SHARED / "data"
HEADER = "tweet_id,author_id,inbound,created_at,text,response_tweet_id,in_response_to_tweet_id"
MOMENT = "Tue Oct 31 22:10:47 +0000 2017"


def row(number: int, text: str, *, reply_to: str = "", author: str = "ann") -> str:
    return f"{number},{author},True,{MOMENT},{text},,{reply_to}"


# --- bytes and lines ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "cp1252", "mac_roman"]
)
def test_the_encoding_is_found_out(encoding: str, read: Read) -> None:
    text = "It’s late – “again” café naïve"
    assert read(f"text,author\r\n{text},ann\r\n".encode(encoding)).texts == [text]


def test_an_encoding_that_cannot_be_guessed_is_asked_for_and_taken(read: Read) -> None:
    content = "text\n荷物が届きません\n".encode("shift_jis")
    assert "--encoding shift_jis" in refusal(read, content)
    assert read(content, encoding="shift_jis").texts == ["荷物が届きません"]


def test_a_foreign_byte_far_down_still_tells_the_encoding(read: Read) -> None:
    content = (
        b"text\n" + (b"plain " * 1000 + b"\n") * 400 + "café, s’il vous plaît\n".encode("cp1252")
    )
    assert read(content).pipeline.source.encoding == "cp1252"


def test_broken_bytes_are_marked_and_counted_and_cost_no_row(read: Read) -> None:
    found = read(b"text\ncut emoji \xf0\x9f\x98 here\nnul \x00 here\nfine \xc3\xa9\n")
    assert found.texts == ["cut emoji � here", "nul � here", "fine é"]
    assert found.pipeline.reader.mended == {text_repair.UNREADABLE: 2}


def test_gzip_is_unpacked(read: Read) -> None:
    assert read(gzip.compress(b"text\nhello\n", mtime=0)).texts == ["hello"]


@pytest.mark.parametrize(
    ("content", "advice"),
    [
        (b"", "is empty"),
        (b"\n\n", "is empty"),
        (b"PK\x03\x04rest", "save it as CSV"),
        (bytes(range(256)) * 4, "is not text"),
        (gzip.compress(b"text\nhello\n" * 1000, mtime=0)[:-20], "gzip file is damaged"),
        (b"a,b\n1,2\n", "--text-column"),
    ],
)
def test_what_holds_no_tweets_is_refused_with_advice(
    content: bytes, advice: str, read: Read
) -> None:
    assert advice in refusal(read, content)


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_line_ends_of_all_systems(end: str, read: Read) -> None:
    assert read(end.join(["text,n", "one,1", "two,2"])).texts == ["one", "two"]


def test_a_lone_return_in_a_text_without_quotes_ends_no_row(read: Read) -> None:
    found = read("text,author\r\none\r\rhalf,ann\r\ntwo,bob\r\n")
    assert found.texts == ["one\r\rhalf", "two"]


def test_separators_of_unicode_end_no_row(read: Read) -> None:
    assert read('text\n"a\u2028b\u2029c\u0085d"\n').texts == ["a\u2028b\u2029c\u0085d"]


# --- rows of a CSV --------------------------------------------------------------------------------


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_the_delimiter_is_found_out(delimiter: str, read: Read) -> None:
    found = read(delimiter.join(["text", "author"]) + "\n" + delimiter.join(['"a,b;c"', "ann"]))
    assert (found.texts, found.bodies[0]["author"]) == (["a,b;c"], "ann")


def test_a_spreadsheets_hint_at_the_delimiter_is_taken(read: Read) -> None:
    assert read("sep=;\ntext;author\nhi;ann\n").bodies[0]["author"] == "ann"


def test_a_quote_that_is_never_closed_costs_one_row(read: Read) -> None:
    swallowed = [row(number, f"row {number}") for number in range(3, 400)]
    found = read("\n".join([HEADER, row(1, "good"), row(2, '"open'), *swallowed]))
    assert found.rejected == [(3, "a quote opens here that is never closed")]
    assert len(found.texts) == 398


def test_a_lost_quote_is_noticed_though_another_one_closes_it(read: Read) -> None:
    lines = [HEADER, row(1, '"open'), row(2, "plain"), row(3, '"quoted, well"'), row(4, "last")]
    found = read("\n".join(lines))
    assert found.rejected == [(2, "a quote opens here that is never closed")]
    assert found.texts == ["plain", "quoted, well", "last"]


def test_line_numbers_are_those_of_an_editor(read: Read) -> None:
    found = read('text,n\n"two\nlines",1\n\n,,\n,3\nlast,4\n,5\n')
    assert found.rejected == [(6, "the text is empty"), (8, "the text is empty")]
    assert found.pipeline.skipped.blank == 2


def test_a_comma_outside_quotes_is_no_silent_loss(read: Read) -> None:
    found = read(f"{HEADER}\n{row(1, 'late, again')}\n{row(2, 'fine')}\n")
    assert found.texts == ["fine"]
    ((line, reason),) = found.rejected
    assert (line, reason.split(":")[0]) == (2, "more cells than columns")


def test_delimiters_at_each_lines_end_are_columns_without_names(read: Read) -> None:
    found = read("text,author\nhi,ann,,\nho,bob,,\n")
    assert found.texts == ["hi", "ho"]


def test_quotes_escaped_by_backslash_are_read(read: Read) -> None:
    assert read('text,author\n"a \\"quoted\\", word",ann\n').texts == ['a "quoted", word']


def test_short_rows_and_repeated_headers(read: Read) -> None:
    found = read("author,text,likes\nann,short\nauthor,text,likes\nbob,whole,3\n")
    assert found.texts == ["short", "whole"]
    assert found.pipeline.skipped.headers == 1


def test_a_text_over_the_csv_modules_limit(read: Read) -> None:
    assert len(read('text,n\n"' + "x," * 100_000 + '",1\n').texts[0]) == 200_000


def test_a_line_without_end_costs_its_row_only(read: Read) -> None:
    found = read("text,n\n" + "x" * 9_000_000 + ",1\nfine,2\n")
    assert found.texts == ["fine"]
    assert found.rejected[0][0] == 2


@pytest.mark.parametrize("text", ["nan", "NULL", "None", "N/A", "-", "0", "true", "inf", "\\N"])
def test_what_others_take_for_missing_is_a_text(text: str, read: Read) -> None:
    assert read(f"text,n\n{text},1\n").texts == [text]


@pytest.mark.parametrize("text", ["", " ", "\t", "\u00a0", "\u200b", "\ufeff", "\u2028", "\u202e"])
def test_what_nobody_can_see_is_no_text(text: str, read: Read) -> None:
    found = read(f'text,n\n"{text}",1\n')
    assert found.texts == []
    assert found.rejected[0][1].startswith("the text is empty")


# --- columns --------------------------------------------------------------------------------------


def test_sets_without_a_header_are_known_by_their_looks(read: Read) -> None:
    found = read('"0","14678","Mon Apr 06 22:19:45 PDT 2009","NO_QUERY","ann","so late"\n')
    assert found.pipeline.known_as == "Sentiment140"
    assert found.bodies[0]["timestamp"] == "2009-04-07T05:19:45Z"
    assert read(row(1, "no header") + "\n").texts == ["no header"]


def test_columns_can_be_named_or_numbered(read: Read) -> None:
    content = "what,who\nhello,ann\n"
    columns = {"text": "what", "author": "2"}
    assert read(content, columns=columns).bodies[0]["author"] == "ann"
    assert "--author-column" in refusal(read, content, columns={"text": "what", "author": "3"})
    assert read("hello,ann\nyou,bob\n", header=False, columns={"text": "1"}).texts == [
        "hello",
        "you",
    ]


def test_each_line_can_be_a_text(read: Read) -> None:
    found = read("one, two\n\nthree \n", lines=True)
    assert found.texts == ["one, two", "three"]


def test_other_columns_go_along_and_blank_cells_do_not(read: Read) -> None:
    found = read("id,text,likes,place\n7,hello,3,\n")
    assert found.bodies[0]["raw_data"] == {"id": "7", "likes": "3"}


# --- texts ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given_text", "meant", "name"),
    [
        ("wasnâ€™t ðŸ˜‰ cafÃ©", "wasn’t 😉 café", text_repair.MISREAD),
        ("you &amp; me &lt;3 &#39;", "you & me <3 '", text_repair.ENTITIES),
        ("&amp;amp;", "&amp;", text_repair.ENTITIES),
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


@pytest.mark.parametrize("text", ["100 % © & co", "a?b=1&copy=2", "\\u12", "naïve Â", "=1+2", "é"])
def test_a_text_that_nothing_happened_to_is_left_alone(text: str) -> None:
    assert text_repair.mend(text) == (text, [])


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
    ],
)
def test_times_of_spreadsheets_and_programs(value: str, utc: str) -> None:
    assert Dates().read(value) == utc


@pytest.mark.parametrize(
    "value",
    ["0", "12345", "3/4/15", "32/13/2015", "0001-01-01T00:00+14:00", "20-01-25", "1/20/55",
     "20 Jan 2025 10:00 IST", "2025-03-30 02:30 Europe/Berlin", "2025-10-26 02:30 Europe/Berlin",
     "3 hours ago", "Jan 2025", "20 janvier 2025", "10:00", "2025-01-20 13:00 PM", "v1.2.25x"],
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


# --- ids and keys ---------------------------------------------------------------------------------


@pytest.mark.parametrize("ruined", ["5.70306E+17", "5.70E+17", "570306133677760000", "5,7E17"])
def test_ids_that_a_spreadsheet_ruined_are_refused(ruined: str, read: Read) -> None:
    lines = [
        "tweet_id;name;text;date",
        f"{ruined};ann;one;2020-01-01",
        f"{ruined};bob;two;2020-01-01",
    ]
    refused = refusal(read, "\n".join(lines))
    assert ruined in refused
    assert "--ignore-ids" in refused
    assert read("\n".join(lines), ignore_ids=True).texts == ["one", "two"]


def test_one_ruined_id_among_good_ones_costs_its_row(read: Read) -> None:
    good = [f"57030613367776{number:04},t{number}" for number in range(1000, 1100)]
    found = read("\n".join(["id,text", *good, "5.7E+17,bad", "570306133677760000,ends in zeros"]))
    assert len(found.texts) == 101
    assert found.rejected == [(102, "the id 5.7E+17 lost its digits in a spreadsheet")]


def test_ids_lose_what_programs_put_to_them() -> None:
    ids = Ids()
    assert [ids.read(each) for each in ("3.0", " 12 ", "'12", 7, "nan", None)] == [
        "3", "12", "12", "7", None, None,
    ]  # fmt: skip
    for bad in ("10,031,007", "[12, 13]", "12;13", '"'):
        with pytest.raises(RowRejected):
            ids.read(bad)


def keys(found: Outcome) -> list[str]:
    return [body["idempotency_key"] for body in found.bodies]


def test_the_same_tweet_is_the_same_whatever_stands_beside_it(read: Read) -> None:
    first = read("id,text,likes\n7,hello,3\n8,hello,3\n")
    again = read("likes;id;date;text\n99;8;2020-01-01;hello\n99;7;2020-01-01;hello\n")
    assert sorted(keys(first)) == sorted(keys(again))
    assert len(set(keys(first))) == 2


def test_rows_of_two_files_that_number_them_alike_are_not_the_same(read: Read) -> None:
    assert keys(read("id,text\n1,one\n")) != keys(read("id,text\n1,other\n"))


def test_without_an_id_author_time_and_text_tell_rows_apart(read: Read) -> None:
    lines = ["thanks,ann,2020-01-01", "thanks,bob,2020-01-01", "thanks,ann,2020-01-02"]
    found = read("\n".join(["text,author,timestamp", *lines, lines[0]]))
    assert (len(found.items), found.tally.duplicates) == (3, 1)


def test_where_nothing_tells_rows_apart_all_are_kept_and_a_second_run_is_the_same(
    read: Read,
) -> None:
    content = "text,likes\nthanks,1\nthanks,1\nthanks,2\n"
    found = read(content)
    assert (len(set(keys(found))), found.tally.duplicates) == (3, 0)
    assert keys(read(content)) == keys(found)


def test_rows_that_are_twice_in_a_file_are_counted(read: Read) -> None:
    found = read("id,text,label\n1,a,x\n1,a,x\n1,a,other label\n1,other text,x\n")
    assert (found.texts, found.tally.duplicates) == (["a", "other text"], 2)
    assert found.pipeline.ids_shared == 1


def test_keys_can_be_sent(read: Read) -> None:
    found = read("id,text\n" + "9" * 200 + ",a\n")
    assert all(key.isprintable() and len(key) <= 255 for key in keys(found))


# --- JSON -----------------------------------------------------------------------------------------

TWEET = {"id": "7", "author_id": "1", "text": "late", "created_at": "2020-02-25T17:40:50.000Z"}


def test_one_object_a_line(read: Read) -> None:
    found = read(f"{json.dumps(TWEET)}\n\n{{broken\n[1]\n{json.dumps(TWEET | {'id': '8'})}\n")
    assert found.texts == ["late", "late"]
    assert [line for line, _ in found.rejected] == [3, 4]


@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize("prefix", ["", "window.YTD.tweets.part0 = "])
def test_an_array_of_any_length(prefix: str, indent: int | None, read: Read) -> None:
    tweets = [TWEET | {"id": str(number), "text": "x" * 500} for number in range(2000)]
    found = read(prefix + json.dumps(tweets, indent=indent))
    assert len(found.texts) == 2000


def test_a_page_of_the_x_api_brings_its_authors_names(read: Read) -> None:
    reply = TWEET | {"id": "8", "referenced_tweets": [{"type": "replied_to", "id": "7"}]}
    page = {
        "data": [TWEET, reply],
        "includes": {"users": [{"id": "1", "username": "ann_in_blue"}]},
        "meta": {"result_count": 2},
    }  # fmt: skip
    for content in (json.dumps(page), json.dumps(page, indent=1), f"{json.dumps(page)}\n" * 2):
        found = read(content)
        assert [body["author"] for body in found.bodies] == ["ann_in_blue"] * 2
    (thread,) = read(json.dumps(page), conversations=True).bodies
    assert thread["text"] == "@ann_in_blue: late\n@ann_in_blue: late"


def test_tweets_of_x_archives_and_of_the_old_api(read: Read) -> None:
    old = {
        "id_str": "7",
        "full_text": "late",
        "created_at": MOMENT,
        "user": {"screen_name": "ann"},
        "in_reply_to_status_id_str": None,
    }
    for content in (json.dumps(old), json.dumps([{"tweet": old}])):
        (body,) = read(content).bodies
        assert (body["text"], body["author"]) == ("late", "ann")


def test_what_the_service_takes_can_be_loaded(read: Read) -> None:
    batch = {"conversations": [{"text": "a", "author": "ann", "timestamp": "2020-01-01"}]}
    assert read(json.dumps(batch)).bodies[0]["author"] == "ann"


def test_a_json_array_that_breaks_off_gives_what_came_before(read: Read, tmp_path: Path) -> None:
    tweets = [TWEET | {"id": str(number)} for number in range(3000)]
    path = tmp_path / "cut.json"
    path.write_text(json.dumps(tweets)[:-30])
    seen: list[Item] = []
    with (
        opened(str(path), None) as source,
        closing(Pipeline(source, Options(), tally=Tally(), reject=lambda *_: None)) as pipeline,
        pytest.raises(ImportFailed, match="is not JSON"),
    ):
        seen.extend(pipeline.items())
    assert len(seen) == pipeline.tally.read == 2999


@pytest.mark.parametrize(
    ("content", "advice"),
    [
        ('[{"text": "a"}, {"text": "b"},', "breaks off"),
        ('[{"text": "a"}', "breaks off"),
        ('[{"text": "a"}] {"text": "b"}', "more follows"),
        ('[{"text": "a"}, oops]', "is not JSON"),
        ("[" + '{"a":' * 100_000, "nested too deep"),
        ('{"data": [' + '{"text": "a"},' * 1_200_000 + '{"text": "a"}]}', "jq"),
    ],
)
def test_json_that_is_not_whole_is_told(content: str, advice: str, read: Read) -> None:
    assert advice in refusal(read, content)


@pytest.mark.parametrize("end", ["", "\n", "];\n", "]", " ] \n "])
def test_json_may_end_in_any_good_way(end: str, read: Read) -> None:
    start = "[" if "]" in end else ""
    tweets = ('{"text": "a"}\n, ' if start else '{"text":\n "a"}\n ') * 10_000
    assert len(read(start + tweets + end).texts) == 10_000


@pytest.mark.parametrize("text", ["a\u0000b", "half \ud83d"])
def test_what_no_database_takes_is_marked_in_json_too(text: str, read: Read) -> None:
    found = read(json.dumps([TWEET | {"text": text, "more": {"deep": [text]}}]))
    assert "�" in found.texts[0]
    assert "�" in found.bodies[0]["raw_data"]["more"]["deep"][0]


def test_numbers_that_are_none_spoil_their_row(read: Read) -> None:
    found = read('[{"text": "a", "n": NaN}, {"text": "b"}]')
    assert found.texts == ["b"]


# --- conversations --------------------------------------------------------------------------------


def thread_rows(*rows: str) -> str:
    return "\n".join([HEADER, *rows])


def message(number: int, minute: int, author: str, text: str, reply_to: str = "") -> str:
    inbound = author != "shop"
    moment = f"2020-01-01T10:{minute:02}:00Z"
    return f"{number},{author},{inbound},{moment},{text},,{reply_to}"


def test_a_thread_is_put_together_in_the_order_of_time(read: Read) -> None:
    found = read(
        thread_rows(
            message(3, 9, "ann", "still nothing", "2"),
            message(2, 5, "shop", "we look into it", "1"),
            message(9, 7, "bob", "another matter"),
            message(1, 1, "ann", "where is it?"),
        ),
        conversations=True,
    )
    first, second = sorted(found.bodies, key=lambda body: len(body["text"]), reverse=True)
    assert first["text"] == "@ann: where is it?\n@shop: we look into it\n@ann: still nothing"
    assert (first["author"], first["timestamp"]) == ("ann", "2020-01-01T10:01:00Z")
    assert [each["tweet_id"] for each in first["raw_data"]["messages"]] == ["1", "2", "3"]
    assert (second["text"], second["author"]) == ("another matter", "bob")


def test_the_customer_is_the_author_though_the_shop_spoke_first(read: Read) -> None:
    found = read(
        thread_rows(message(1, 1, "shop", "hello"), message(2, 2, "ann", "hi", "1")),
        conversations=True,
    )
    assert found.bodies[0]["author"] == "ann"


def test_odd_links_are_counted_and_lose_no_message(read: Read) -> None:
    found = read(
        thread_rows(
            message(1, 1, "ann", "to myself", "1"),
            message(2, 2, "ann", "ring a", "3"),
            message(3, 3, "bob", "ring b", "4"),
            message(4, 4, "cy", "ring c", "2"),
            message(5, 5, "dee", "hangs on the ring", "3"),
            message(6, 6, "eve", "orphan", "99"),
            message(7, 7, "shop", "orphan too", "99"),
            message(8, 8, "fay", "older than what it answers", "9"),
            message(9, 9, "shop", "newer"),
        ),
        conversations=True,
    )
    links = found.pipeline.links
    assert links is not None
    assert (links.cycles, links.orphans, links.missing, links.older) == (2, 2, 1, 2)
    assert sorted(len(item.records) for item in found.items) == [1, 2, 2, 4]
    ring = next(body["text"] for body in found.bodies if "ring a" in body["text"])
    assert ring.splitlines()[0] == "@ann: ring a"


def test_a_column_for_the_thread_comes_before_links_and_times_may_be_missing(read: Read) -> None:
    found = read(
        "session_id,turn,author,created_at,text\n"
        "s,1,ann,2020-01-01T10:00:00Z,one\ns,2,shop,2020-01-01T10:05:00Z,two\ns,3,shop,,three\n"
        "t,1,bob,2020-01-01T10:01:00Z,other\n",
        conversations=True,
    )
    assert found.texts == ["@ann: one\n@shop: two\n@shop: three", "other"]


def test_a_thread_that_is_too_long_is_cut_between_messages(read: Read) -> None:
    rows = [message(n, n % 60, "ann", f"message {n}", str(n - 1) if n else "") for n in range(50)]
    found = read(thread_rows(*rows), conversations=True, max_text=200)
    assert len(found.items) > 1
    assert all(len(text) <= 200 for text in found.texts)
    assert sum(len(item.records) for item in found.items) == 50
    assert len(set(keys(found))) == len(found.items)
    assert found.pipeline.links is not None
    assert found.pipeline.links.cut == 1


def test_nobody_can_speak_for_another(read: Read) -> None:
    found = read(
        thread_rows(
            message(1, 1, "ann", '"hi\n@shop: you get it all for free"'),
            message(2, 2, "shop", "no", "1"),
        ),
        conversations=True,
    )
    assert found.texts == ["@ann: hi @shop: you get it all for free\n@shop: no"]


def test_threads_do_not_depend_on_the_order_of_rows(read: Read) -> None:
    rows = [message(n, n, "ann", f"m{n}", str(n // 2) if n > 1 else "") for n in range(1, 40)]
    bodies = [read(thread_rows(*order), conversations=True).bodies for order in (rows, rows[::-1])]
    assert bodies[0] == bodies[1]


@pytest.mark.timeout(60)
def test_a_chain_of_many_thousand_answers(read: Read) -> None:
    rows = [f"{n},ann,True,,m{n},,{n - 1 if n > 1 else ''}" for n in range(1, 20_001)]
    found = read(thread_rows(*reversed(rows)), conversations=True)
    assert sum(len(item.records) for item in found.items) == 20_000
    assert found.texts[0].startswith("@ann: m1\n@ann: m2\n")


def test_conversations_need_something_that_links_them(read: Read) -> None:
    assert "--parent-column" in refusal(read, "text,id\na,1\n", conversations=True)


@given(
    st.lists(
        st.tuples(
            st.integers(0, 12),
            st.one_of(st.none(), st.integers(0, 14)),
            st.one_of(st.none(), st.integers(0, 59)),
        ),
        max_size=25,
    )
)
@settings(max_examples=60, deadline=None)
def test_whatever_the_links_each_message_is_in_one_conversation(
    graph: list[tuple[int, int | None, int | None]],
) -> None:
    lines = [
        json.dumps(
            {
                "tweet_id": str(id_),
                "in_reply_to": None if parent is None else str(parent),
                "created_at": None if minute is None else f"2020-01-01T10:{minute:02}:00Z",
                "author": "ann",
                "text": f"message {number}",
            }
        )
        for number, (id_, parent, minute) in enumerate(graph)
    ]
    if not lines:
        return
    with tempfile.NamedTemporaryFile("w", suffix=".ndjson") as file:
        file.write("\n".join(lines))
        file.flush()
        tally = Tally()
        with (
            opened(file.name, None) as source,
            closing(
                Pipeline(source, Options(conversations=True), tally=tally, reject=lambda *_: None)
            ) as pipeline,
        ):
            items = list(pipeline.items())
    numbers = sorted(record.line for item in items for record in item.records)
    assert numbers == list(range(1, len(lines) + 1))
    assert len({json.loads(item.json)["idempotency_key"] for item in items}) == len(items)


# --- anything at all ------------------------------------------------------------------------------

_CELLS = st.text(alphabet='ab,;"\n\r\t\\é\x00 1/&', max_size=12)
_LIKE_CSV = st.lists(st.lists(_CELLS, max_size=5).map(",".join), max_size=12).map("\n".join)
_VALUES = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from(
            ["text", "id", "author", "created_at", "data", "includes", "users", "tweet", "user",
             "dialogContent", "agentURL", "conversations", "referenced_tweets", "type"]
        ),
        inner,
        max_size=4,
    ),
    max_leaves=12,
)  # fmt: skip
_LIKE_JSON = st.one_of(
    st.lists(_VALUES, max_size=5).map(json.dumps),
    st.lists(_VALUES, max_size=5).map(lambda values: "\n".join(map(json.dumps, values))),
)


@given(
    content=st.one_of(
        st.binary(max_size=200),
        _LIKE_CSV.map(lambda text: ("id,text,author,date,reply_to_id\n" + text).encode()),
        _LIKE_JSON.map(str.encode),
    ),
    conversations=st.booleans(),
)
@settings(max_examples=500, deadline=None)
def test_whatever_a_file_holds_its_rows_are_accounted_for(
    content: bytes, conversations: bool
) -> None:
    tally = Tally()
    rejected = 0

    def reject(record: Record, reason: str) -> None:
        nonlocal rejected
        tally.reject(record, reason)
        rejected += 1

    with tempfile.NamedTemporaryFile() as file:
        file.write(content)
        file.flush()
        items: list[Item] = []
        try:
            with (
                opened(file.name, None) as source,
                closing(
                    Pipeline(
                        source,
                        Options(conversations=conversations),
                        tally=tally,
                        reject=reject,
                    )
                ) as pipeline,
            ):
                items += pipeline.items()
        except ImportFailed:
            return
    rows = sum(len(item.records) for item in items)
    assert tally.read == rows + tally.duplicates + rejected
    for item in items:
        body = json.loads(item.json.decode())
        assert body["text"].strip()
        assert body["idempotency_key"].isprintable()


# --- the files of others --------------------------------------------------------------------------

REFUSED = {
    "airline_crowdflower_20cols_macroman_bytes.csv": "--ignore-ids",
    "airline_ids_scientific_dates_dmy_colon.csv": "--ignore-ids",
    "airline_ids_scientific_dates_dmy_dot.csv": "--ignore-ids",
    "airline_ids_scientific_dates_us.csv": "--ignore-ids",
    "airline_ids_two_digit_scientific_renamed_column.csv": "--ignore-ids",
    "airline_serial_dates_rounded_ids_formula_text_broken_utf8.csv": "--ignore-ids",
    "airline_trailing_empty_columns.csv": "--ignore-ids",
    "empty_file.csv": "is empty",
    "enc_shift_jis.csv": "--encoding",
    "no_text_column.csv": "--text-column",
    "not_a_csv.csv": "is not text",
    "ids_notes.json": "--text-column",
}
WITH_OPTIONS: dict[str, dict[str, Any]] = {
    "--ignore-ids": {"ignore_ids": True},
    "--encoding": {"encoding": "shift_jis"},
}
# Rows, of them duplicates, of them rejected.
EXPECTED = {
    "airline_sample.csv": (1500, 9, 0),
    "twcs_sample.csv": (1500, 0, 0),
    "twcs_dangling.csv": (345, 0, 0),
    "twcs_kaggle_sample93.csv": (93, 0, 0),
    "inbound_topics_sample.csv": (201, 0, 0),
    "outbound_activities_sample.csv": (102, 0, 0),
    "cdp_sample.csv": (350, 4, 0),
    "twcs_excel_blank_rows.csv.gz": (999, 0, 0),
    "twcs_excel_blank_rows_cut.csv": (999, 0, 0),
    "twcs_bom_crlf_mojibake.csv": (150, 0, 0),
    "twcs_pandas_index_floats_lonecr.csv": (133, 0, 0),
    "airline_label_only_rows.csv": (35, 0, 5),
    "airline_semicolon.csv": (25, 0, 0),
    "airline_six_columns_dates_us.csv": (30, 0, 0),
    "long_texts.csv": (17, 0, 0),
    "empty_and_na_texts.csv": (38, 0, 10),
    "dates.csv": (41, 0, 9),
    "ids.csv": (40, 0, 9),
    "reply_graph.csv": (316, 1, 0),
    "malformed_rows.csv": (13, 0, 3),
    "unclosed_quote.csv": (22, 0, 1),
    "line_endings_cr_only.csv": (3, 0, 0),
    "line_endings_mixed.csv": (6, 0, 0),
    "nul_and_control_bytes.csv": (2, 0, 0),
    "hostile_texts.csv": (22, 0, 0),
    "retweets_and_near_duplicates.csv": (23, 0, 0),
    "xed_sample.csv": (650, 0, 0),
}
FOLDERS = ("airline", "twcs", "twcs_topics", "conversations_cdp", "multilingual", "edge_cases")


def files_of_tweets() -> list[Any]:
    found = [
        path
        for folder in FOLDERS
        for path in sorted((DATA / folder).rglob("*"))
        if path.suffix in (".csv", ".gz", ".json") and path.name != "label_sets.json"
    ]
    if not found:
        return [pytest.param(None, marks=pytest.mark.skip(reason=f"{DATA} is not there"))]
    return [pytest.param(path, id=path.name) for path in found]


@pytest.mark.parametrize("path", files_of_tweets())
def test_every_file_loads_or_is_refused_with_advice(path: Path, read: Read) -> None:
    options: dict[str, Any] = {}
    if advice := REFUSED.get(path.name):
        assert advice in refusal(read, path)
        if advice not in WITH_OPTIONS:
            return
        options = WITH_OPTIONS[advice]
    found = read(path, **options)
    assert found.tally.read > 0 or path.name == "header_only.csv"
    if path.name in EXPECTED:
        tally = found.tally
        assert (tally.read, tally.duplicates, tally.rejected) == EXPECTED[path.name]


@pytest.mark.parametrize(
    ("name", "threads"),
    [("twcs/twcs_sample.csv", 428), ("conversations_cdp/cdp_sample.csv", 150)],
)
def test_published_conversations_come_together(name: str, threads: int, read: Read) -> None:
    if not (DATA / name).exists():
        pytest.skip(f"{DATA / name} is not there")
    found = read(DATA / name, conversations=True)
    assert len(found.items) == threads
    assert sum(len(item.records) for item in found.items) == found.tally.read


# --- progress -------------------------------------------------------------------------------------


def test_progress_goes_by_bytes_and_by_rows_once_all_are_read(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As with --conversations, which sends nothing before the file's end."""
    monkeypatch.setattr("importing.report._SECONDS_BETWEEN_LINES", 0.0)
    tally = Tally()
    progress = Progress(200, name="tweets.csv", tally=tally)
    for read, accepted, duplicates, bytes_read in (
        (10, 5, 0, 50),
        (40, 10, 2, 200),
        (40, 38, 2, 200),
    ):
        tally.read, tally.accepted, tally.duplicates = read, accepted, duplicates
        progress.update(bytes_read)
    progress.close()
    shares = [line.split()[0] for line in capsys.readouterr().err.splitlines()]
    assert shares == ["25%", "30%", "100%"]
