"""Excel workbooks: written by openpyxl, or by hand where no program writes such a thing."""

import io
import re
import sys
import zipfile
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import openpyxl
import pytest

from importing import workbooks
from tests.support.import_helpers import Read, refusal

Rows = list[list[Any]]


def workbook(**sheets: Rows) -> bytes:
    reserve = openpyxl.Workbook()
    reserve.remove(reserve.worksheets[0])
    for title, rows in sheets.items():
        sheet = reserve.create_sheet(title)
        for row in rows:
            sheet.append(row)
    written = io.BytesIO()
    reserve.save(written)
    return written.getvalue()


def changed(content: bytes, name: str, change: Callable[[bytes], bytes]) -> bytes:
    """With one part of the archive changed."""
    written = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(content)) as before,
        zipfile.ZipFile(written, "w", zipfile.ZIP_DEFLATED) as after,
    ):
        for part in before.infolist():
            data = before.read(part)
            after.writestr(part.filename, change(data) if part.filename == name else data)
    return written.getvalue()


def with_shared_texts(texts: bytes) -> bytes:
    """One row, whose text stands in the table of shared ones, as Excel writes it."""
    content = workbook(Posts=[["text"], ["late"]])
    override = (
        b'<Override PartName="/xl/sharedStrings.xml" ContentType="application/vnd.'
        b'openxmlformats-officedocument.spreadsheetml.sharedStrings+xml"/></Types>'
    )
    content = changed(
        content, "[Content_Types].xml", lambda xml: xml.replace(b"</Types>", override)
    )
    cell = b'<c r="A2" t="s"><v>0</v></c>'
    content = changed(content, SHEET, lambda xml: re.sub(rb'<c r="A2".*?</c>', lambda _: cell, xml))
    written = io.BytesIO(content)
    with zipfile.ZipFile(written, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("xl/sharedStrings.xml", texts)
    return written.getvalue()


MAIN = b'xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"'
SHARED = b"<sst " + MAIN + b"><si><t>late</t></si></sst>"
SHEET = "xl/worksheets/sheet1.xml"
MOMENT = datetime(2025, 1, 20, 10, 0, 1, tzinfo=UTC).replace(tzinfo=None)
ROWS: Rows = [
    ["Tweet ID", "Author", "Text", "Date"],
    [
        "1881288000000000101",
        "ann",
        "late\nagain",
        datetime(2025, 1, 20, 10, 0, 1, tzinfo=UTC).replace(tzinfo=None),
    ],
    [],
    ["1881288000000000102", "bob", "fine <3", "1/21/25 11:30"],
]


def test_rows_of_a_sheet_are_read_with_real_dates(read: Read) -> None:
    found = read(workbook(Posts=ROWS))
    assert found.texts == ["late\nagain", "fine <3"]
    assert [body["timestamp"] for body in found.bodies] == [
        "2025-01-20T10:00:01Z",
        "2025-01-21T11:30:00Z",
    ]
    assert [body["author"] for body in found.bodies] == ["ann", "bob"]
    assert found.pipeline.skipped.blank == 1
    assert found.pipeline.names == ["Tweet ID", "Author", "Text", "Date"]
    assert "(a sheet, Excel)" in next(iter(found.pipeline.plan()))


def test_a_day_and_a_time_of_it_in_two_columns(read: Read) -> None:
    rows: Rows = [["text", "Date", "Time"], ["late", MOMENT.date(), MOMENT.time()]]
    assert read(workbook(Posts=rows)).bodies[0]["timestamp"] == "2025-01-20T10:00:01Z"


def test_ids_that_excel_ruined_are_noticed(read: Read) -> None:
    rows: Rows = [["tweet_id", "text"], *([5.70306133677760e17, f"t{n}"] for n in range(20))]
    assert "--ignore-ids" in refusal(read, workbook(Posts=rows))


NUMBERED: Rows = [
    ["tweet_id", "author", "text", "created_at"],
    *([1881234567890120000, f"user{n}", "No refund yet", MOMENT.replace(hour=n)] for n in range(6)),
]


def test_a_number_of_more_digits_than_excel_keeps_is_no_id(read: Read) -> None:
    content = workbook(Posts=NUMBERED)
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert b"<v>1.88123456789012e+18</v>" in archive.read(SHEET)
    assert "such as 1.88123456789012e+18" in refusal(read, content)
    found = read(content, ignore_ids=True)
    assert len(found.bodies) == 6
    assert found.bodies[0]["raw_data"] == {"tweet_id": "1.88123456789012e+18"}


@pytest.mark.parametrize("number", ["1E+15", "1.23456789012345E+15", "1.88123456789012E+18"])
def test_one_number_without_its_last_digits_costs_its_row(number: str, read: Read) -> None:
    rows: Rows = [["id", "text"], *([f"188123456789012345{n}", f"t{n}"] for n in range(5))]
    content = changed(
        workbook(Posts=[*rows, [7.5, "ruined"]]),
        SHEET,
        lambda xml: xml.replace(b"<v>7.5</v>", f"<v>{number}</v>".encode()),
    )
    found = read(content)
    assert found.texts == [f"t{n}" for n in range(5)]
    ((line, reason),) = found.rejected
    assert line == 7
    assert reason.endswith("lost its digits in a spreadsheet")


@pytest.mark.parametrize(
    ("stored", "digits"),
    [
        ("4.915112345678E+12", "4915112345678"),
        ("9.99999999999999E+14", "999999999999999"),
        ("12.0", "12"),
        ("1881234567890123457", "1881234567890123457"),
    ],
)
def test_whole_numbers_of_which_all_digits_are_there_stay(
    stored: str, digits: str, read: Read
) -> None:
    content = changed(
        workbook(Posts=[["id", "text", "phone"], [7.5, "late", 7.5]]),
        SHEET,
        lambda xml: xml.replace(b"<v>7.5</v>", f"<v>{stored}</v>".encode()),
    )
    found = read(content)
    assert found.bodies[0]["raw_data"] == {"id": digits, "phone": digits}
    assert found.bodies[0]["idempotency_key"].startswith(f"import:{digits}:")


def test_times_as_long_numbers_are_read_and_no_other_column_is_taken_for_one(read: Read) -> None:
    since_1970 = [1705744800, 1705744800000, 1705744800123456, 1705744800000000000]
    rows: Rows = [["text", "created_at"], *([f"t{n}", n] for n in since_1970)]
    assert [body["timestamp"] for body in read(workbook(Posts=rows)).bodies] == [
        "2024-01-20T10:00:00Z",
        "2024-01-20T10:00:00Z",
        "2024-01-20T10:00:00.123456Z",
        "2024-01-20T10:00:00Z",
    ]
    rows = [["text", "number"], ["late", 1881234567890120000]]
    assert read(workbook(Posts=rows)).texts == ["late"]


@pytest.mark.parametrize("link", ["conversation_id", "in_reply_to"])
def test_threads_by_numbers_without_their_last_digits_are_refused(link: str, read: Read) -> None:
    rows: Rows = [["tweet_id", "author", "text", link]]
    rows += [[f"188123456789012345{n}", f"user{n}", "late", 1881234567890120000] for n in range(4)]
    refused = refusal(read, workbook(Posts=rows), conversations=True)
    assert link in refused
    assert "tell no thread from another" in refused
    assert len(read(workbook(Posts=rows)).texts) == 4


def test_lines_before_the_header_of_a_sheet(read: Read) -> None:
    rows: Rows = [["Report", "Acme"], [], ["Date", "Author", "Full Text"], ["2025-01-20", "a", "b"]]
    found = read(workbook(Posts=rows))
    assert (found.texts, found.pipeline.skipped.preamble) == (["b"], 2)
    assert found.items[0].records[0].line == 4
    assert read(workbook(Posts=rows), skip_lines=2).texts == ["b"]


def test_of_several_sheets_the_one_with_rows_is_taken_or_asked_for(read: Read) -> None:
    rows: Rows = [["text"], ["late"]]
    assert read(workbook(About=[["Acme"]], Posts=rows, Empty=[])).texts == ["late"]
    both = workbook(January=rows, February=[["text"], ["early"]])
    refused = refusal(read, both)
    assert "January, February" in refused
    assert "--sheet" in refused
    assert read(both, sheet="February").texts == ["early"]
    assert "there is no sheet March" in refusal(read, both, sheet="March")
    assert "is empty" in refusal(read, workbook(One=[], Two=[["text"]]))


def test_cells_beyond_the_header_reject_their_row(read: Read) -> None:
    found = read(workbook(Posts=[["text", "n"], ["a", 1], ["b", 2, "more"]]))
    assert found.texts == ["a"]
    assert found.rejected == [(3, "more cells than columns")]


def test_a_sheet_that_would_fill_the_memory_is_refused(
    read: Read, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workbooks, "MAX_IN_MEMORY", 1_000_000)
    monkeypatch.setattr(workbooks, "MAX_SHEET", 2_000_000)
    assert read(with_shared_texts(SHARED)).texts == ["late"]
    assert "larger than" in refusal(read, with_shared_texts(SHARED + b" " * 1_000_001))
    content = workbook(Posts=[["text"], ["late"]])
    assert "larger than" in refusal(read, changed(content, SHEET, lambda _: b" " * 2_000_001))


@pytest.mark.timeout(30)
def test_a_row_number_without_end_ends(read: Read) -> None:
    far = changed(
        workbook(Posts=[["text"], ["late"]]),
        SHEET,
        lambda xml: re.sub(rb'<row r="2"', b'<row r="99999999999"', xml),
    )
    assert "is empty" in refusal(read, far)


@pytest.mark.timeout(30)
def test_entities_that_grow_are_not_followed(read: Read) -> None:
    entities = b"".join(
        b'<!ENTITY e%d "%s">' % (n, b"&e%d;" % (n - 1) * 10 if n else b"x" * 1000) for n in range(9)
    )
    bomb = with_shared_texts(
        b"<!DOCTYPE sst [" + entities + b"]>" + SHARED.replace(b"late", b"&e8;")
    )
    assert "damaged" in refusal(read, bomb)


@pytest.mark.parametrize("part", ["xl/workbook.xml", SHEET, "[Content_Types].xml"])
def test_a_damaged_workbook_is_told(part: str, read: Read) -> None:
    content = workbook(Posts=[["text"], ["late"]])
    assert "damaged Excel workbook" in refusal(read, changed(content, part, lambda _: b"<broken"))
    assert "damaged Excel workbook" in refusal(read, with_shared_texts(b"<broken"))


def test_too_many_columns(read: Read) -> None:
    wide: Rows = [["text", *range(2001)], ["late"]]
    assert "more than 2,000 columns" in refusal(read, workbook(Posts=wide))


def test_other_archives_are_no_workbooks(read: Read) -> None:
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w") as archive:
        archive.writestr("tweets.csv", "text\nlate\n")
    assert "zip archive and no Excel workbook" in refusal(read, written.getvalue())


def test_where_the_reader_is_missing_one_line_says_so(
    read: Read, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = workbook(Posts=[["text"], ["late"]])
    monkeypatch.setitem(sys.modules, "openpyxl", None)
    assert "pip install openpyxl" in refusal(read, content)
