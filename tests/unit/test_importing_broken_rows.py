"""Rows that a line break without quotes has cut: put together where nothing else could be meant."""

from collections import Counter
from collections.abc import Iterator

import pytest

from importing.broken_rows import BrokenRows
from importing.dates import Dates
from importing.records import Record
from tests.support.import_helpers import Read

TIMES = [f"2025-01-2{n} 10:00" for n in range(5)]


def test_a_row_that_is_cut_in_its_text_is_whole_again(read: Read) -> None:
    rows = [f"1,late\nand so,ann,{TIMES[0]}", f"2,fine,bob,{TIMES[1]}"]
    rows += [f"3,first\n\nsecond\nthird,cy,{TIMES[2]}", f"4,last,dan,{TIMES[3]}"]
    found = read("\n".join(["id,text,author,date", *rows]))
    assert found.texts == ["late\nand so", "fine", "first\n\nsecond\nthird", "last"]
    assert found.rejected == []
    assert found.bodies[2]["author"] == "cy"
    assert found.bodies[2]["timestamp"] == "2025-01-22T10:00:00Z"
    assert found.tally.read == 4
    assert found.pipeline.reader.mended == {"had been cut by a line break without quotes": 2}


def test_a_row_that_is_cut_in_its_last_cell_is_whole_again(read: Read) -> None:
    rows = [f"ann\t{TIMES[0]}\tlate", "and later", "", "so", f"bob\t{TIMES[1]}\tfine"]
    found = read("\n".join(["author\tdate\ttext", *rows]))
    assert found.texts == ["late\nand later\n\nso", "fine"]
    assert found.rejected == []


@pytest.mark.parametrize(
    ("content", "texts"),
    [
        # Rows whose last cells are missing.
        ("id,text,author,date\n1,late\n2,fine,bob\n3,so,cy,2025-01-20\n", ["late", "fine", "so"]),
        ("date,text,likes,shares\n2025-01-20,late\n2025-01-21,fine,3\n", ["late", "fine"]),
        ("date,text,likes\n2025-01-20,late\n2025-01-21,fine\n2025-01-21,so\n", 3),
        # A sum behind the last row.
        ("author,date,text\nann,2025-01-20,late\nbob,2025-01-21,fine\nSum: 2\n", ["late", "fine"]),
        # No time that shows what is a row.
        ("id,text,author,date\n1,late\nand later,ann,\n", ["late"]),
        ("id,text,author\n1,late\nand,ann\n2,so,bob\n", ["late", "ann", "so"]),
    ],
)
def test_what_may_be_rows_of_their_own_stay_apart(
    content: str, texts: list[str] | int, read: Read
) -> None:
    found = read(content)
    assert (found.texts if isinstance(texts, list) else len(found.texts)) == texts
    assert not found.pipeline.reader.mended


@pytest.mark.parametrize("names", [["id", "text", "time"], ["id", "time", "text"]])
def test_no_more_than_some_lines_are_kept_until_they_are_a_row(names: list[str]) -> None:
    """A row without an end is not the whole file."""
    read = 0

    def lines() -> Iterator[Record]:
        nonlocal read
        cells = ["1", TIMES[0], "late"] if names[-1] == "text" else ["1", "late"]
        yield Record(1, dict(zip(names, cells, strict=False)))
        for read in range(2, 10_000):
            yield Record(read, {names[0]: "and so on"})

    rows = BrokenRows(names, "text", "time", Dates(), Counter()).put_together(lines())
    assert next(rows).line == 1
    assert read <= 201
    assert sum(1 for _ in rows) == 9998
