"""Files that programs and people wrote in ways of their own, which are easily misread."""

import io
import json
from pathlib import Path
from typing import Any

import openpyxl
import pytest

from tests.support.import_helpers import Read, refusal


def test_one_broken_byte_makes_no_other_encoding_of_a_whole_file(read: Read) -> None:
    good = "".join(f'{n},"Grüße „gut“ 😀 Ángel"\n' for n in range(2000)).encode()
    plain = b"".join(b"%d,all is well, as far as one can say here\n" % n for n in range(60_000))
    found = read(b"id,text\n" + good + plain.replace(b", as", b" as") + b"999999,caf\xe9\n")
    assert found.texts[0] == "Grüße „gut“ 😀 Ángel"
    assert found.texts[-1] == "caf\ufffd"


@pytest.mark.parametrize("encoding", ["idna", "undefined", "nothing"])
def test_what_is_no_encoding_of_texts_is_refused(encoding: str, read: Read) -> None:
    assert f"no encoding of texts called {encoding}" in refusal(
        read, "text\nhello\n", encoding=encoding
    )


@pytest.mark.parametrize("thread", ["nan", "NULL", r"\N", "1.88E+18", ""])
def test_strangers_without_a_thread_are_in_none_together(thread: str, read: Read) -> None:
    rows = [f"{thread},{name},{name} says this,2025-01-01 10:00" for name in "ab"]
    rows += [f"{number},c,c says {number},2025-01-01 10:00" for number in range(9)]
    content = "\n".join(["conversation_id,author,text,created_at", *rows])
    assert len(read(content, conversations=True).texts) == 11


@pytest.mark.parametrize(
    ("cell", "text"),
    [
        (r'"he said \"hi\" to me"', 'he said "hi" to me'),
        (r'"it is \"x, y\" ok"', 'it is "x, y" ok'),
        (r'"ends \""', 'ends "'),
        (r'"a path C:\"', "a path C:\\"),
        ('"he said ""hi"""', 'he said "hi"'),
    ],
)
def test_a_quote_after_a_backslash_is_a_quote(cell: str, text: str, read: Read) -> None:
    assert read(f"id,author,text,created_at\n1,bob,{cell},2025-01-01\n").texts == [text]


@pytest.mark.parametrize("word", ["FALSCH", "False", "0", "no", "faux", "outgoing"])
@pytest.mark.parametrize("column", ["inbound", "direction"])
def test_a_post_of_ones_own_is_known_in_other_words_and_columns(
    word: str, column: str, read: Read
) -> None:
    content = f"text,author,{column}\nwe are sorry,acme,{word}\nit is late,ann,WAHR\n"
    ours, theirs = read(content, columns={"inbound": column}).items
    assert (ours.outbound, theirs.outbound) == (True, False)


@pytest.mark.parametrize(
    ("written", "time"),
    [
        ("202501250826", "2025-01-25T08:26:00Z"),
        ("20250125082659", "2025-01-25T08:26:59Z"),
        ("1737793560000", "2025-01-25T08:26:00Z"),
    ],
)
def test_a_date_that_is_written_together_is_no_count(written: str, time: str, read: Read) -> None:
    assert read(f"text,created_at\nlate,{written}\n").bodies[0]["timestamp"] == time


@pytest.mark.parametrize("again", ["id,text", "\ufeffid,text", "ID, Text"])
def test_the_header_of_a_file_that_was_put_behind_another_is_no_tweet(
    again: str, read: Read
) -> None:
    assert read(f"id,text\n1,late\n{again}\n2,later\n").texts == ["late", "later"]


def test_a_text_that_says_what_the_header_of_its_one_column_does_is_a_text(read: Read) -> None:
    assert read("text\nlate\nText\nTEXT\n").texts == ["late", "Text", "TEXT"]


@pytest.mark.parametrize("shown", ["#NAME?", "#NOM?", "#¿NOMBRE?", "#WERT!", "#ERROR!"])
def test_a_text_that_a_spreadsheet_lost_is_named(shown: str, read: Read) -> None:
    found = read(f"text\n{shown}\nhello\n")
    assert found.texts == ["hello"]
    assert "lost in a spreadsheet" in found.rejected[0][1]


def workbook(*rows: list[Any], **cells: Any) -> bytes:
    book = openpyxl.Workbook()
    sheet: Any = book.active
    for row in rows:
        sheet.append(row)
    for place, value in cells.items():
        sheet[place] = value
    file = io.BytesIO()
    book.save(file)
    return file.getvalue()


def test_control_characters_of_a_workbook_are_no_text(read: Read) -> None:
    found = read(workbook(["text"], ["a_x000D_\nb"], ["a_x b"]))
    assert found.texts == ["a\r\nb", "a_x b"]


def test_a_stray_cell_at_the_end_of_a_sheet_changes_nothing(read: Read) -> None:
    assert read(workbook(["text"], ["late"], A50000=" ")).texts == ["late"]


def test_an_error_of_an_api_is_no_tweet(read: Read, tmp_path: Path) -> None:
    answer = {"errors": [{"message": "Rate limit exceeded", "code": 88}]}
    path = tmp_path / "answer.json"
    path.write_text(json.dumps(answer))
    refusal(read, path)
