"""What is exported as CSV and loaded by the importer is what it was, whatever it is."""

import csv
import io
import tempfile
from contextlib import closing
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from analysis.handling import Handling, HandlingState
from analysis.labels import LastWord, Values
from api.exports import BOM, CSV, NDJSON, Format
from importing.files import opened
from importing.pipeline import Options, Pipeline
from importing.report import Tally
from store.listed import Labelled, ListedInsight
from tests.support.import_helpers import Read

MOMENT = datetime(2025, 1, 20, 10, tzinfo=UTC)


def exported(*texts: str, author: str | None = None, form: Format = CSV["comma"]) -> bytes:
    insights = [
        ListedInsight(f"conv_{number:08x}", MOMENT, text, author, -0.5, ("x",), 0.9, text, {})
        for number, text in enumerate(texts)
    ]
    return form.head + form.lines(insights)


def loaded(content: bytes) -> list[dict[str, Any]]:
    """Each row as it is read, in order, none rejected."""
    with tempfile.NamedTemporaryFile() as file:
        file.write(content)
        file.flush()

        def reject(record: object, reason: str) -> None:
            raise AssertionError(f"{record} {reason}")

        with (
            opened(file.name, None) as source,
            closing(Pipeline(source, Options(), tally=Tally(), reject=reject)) as pipeline,
        ):
            rows = [pipeline.reader.read(record) for record in pipeline.records]
    return [
        {"text": row.text, "author": row.author, "time": row.time, "raw": row.raw_data}
        for row in rows
    ]


# What the service stores: no half characters, no NUL, and something that is no white space.
_STORABLE = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1)
_TRICKY = st.text("'\"=+-@;,\t\r\n ＝a&lt;p>â€™\ufdd0\ufeff\u200b\x1c", min_size=1, max_size=30)


def stored(text: str) -> str:
    """As the service has it: without white space around."""
    return text.strip()


_TEXTS = st.one_of(_STORABLE, _TRICKY).map(stored).filter(bool)


@given(st.lists(_TEXTS, min_size=1, max_size=4), st.booleans())
@example(["'quoted", "=1", "'=1", "''=1"], True)
@example(["a;=1", "a;'=1", 'a;"=1', "a\r\n=b", "a\r=b\rc"], False)
@example(["&amp; <p>x</p> â€™ =@x", "\\u2019", "&amp"], False)
@example(["a" + "\n" * 9_000 + "b"], False)
@example(["\x01" * 500, "\u200b", "\ufdd0\r\ufdd0", "conversation_id"], False)
@example(["0"], False)
@settings(max_examples=300, deadline=None)
def test_a_text_comes_back_as_it_was(texts: list[str], with_bom: bool) -> None:
    content = exported(*texts)
    found = loaded((BOM if with_bom else b"") + content)
    assert [row["text"] for row in found] == texts


@given(_TEXTS)
@settings(max_examples=100, deadline=None)
def test_ndjson_comes_back_too(text: str) -> None:
    (row,) = loaded(exported(text, form=NDJSON))
    assert row["text"] == text


@given(st.lists(_TEXTS, min_size=1, max_size=4))
@settings(max_examples=100, deadline=None)
def test_a_text_comes_back_from_a_file_with_semicolons(texts: list[str]) -> None:
    assert [row["text"] for row in loaded(exported(*texts, form=CSV["semicolon"]))] == texts


@pytest.mark.parametrize("author", ["@ann", "'ann", "'@ann", "=ann", None])
def test_an_author_comes_back_as_it_was(author: str | None) -> None:
    (row,) = loaded(exported("late", author=author))
    assert (row["author"], row["time"]) == (author, "2025-01-20T10:00:00Z")
    assert row["raw"]["reasoning"] == "late"


def test_marks_are_taken_out_of_our_own_exports_only(read: Read) -> None:
    assert read("text,author\n'=1+1,'@ann\n").texts == ["'=1+1"]


def test_rejected_rows_of_an_export_keep_their_marks(read: Read) -> None:
    found = read(exported("x" * 20, "=1").decode(), max_text=10)
    assert found.texts == ["=1"]
    again = "import_line,import_reason," + exported("=1").decode().replace('"conv', '1,why,"conv')
    assert read(again).texts == ["=1"]


def test_what_people_name_themselves_is_no_formula_either() -> None:
    evil = "=cmd|' /C calc'!A0"
    labelled = Labelled(LastWord.PERSON, evil, MOMENT, None, Values(0.0, ("x",), 1.0))
    insight = ListedInsight(
        "conv_00000000",
        MOMENT,
        "late",
        None,
        -0.5,
        ("x",),
        0.9,
        "why",
        {},
        labelled=labelled,
        handling=Handling(HandlingState.CLAIMED, evil),
        original=evil,
    )
    content = CSV["comma"].head + CSV["comma"].lines([insight])
    (row,) = csv.DictReader(io.StringIO(content.decode(), newline=""))
    assert [row["labelled_by"], row["handling_by"], row["link"]] == [f"'{evil}"] * 3
