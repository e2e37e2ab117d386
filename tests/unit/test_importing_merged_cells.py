"""What a workbook says beside its cells: which of them are merged, and which day its days count
from."""

import io
from datetime import UTC, datetime
from typing import Any

import openpyxl
import pytest
from openpyxl.utils.datetime import CALENDAR_MAC_1904

from importing import workbooks
from tests.support.import_helpers import Read, refusal

DAY = datetime(2025, 1, 20, tzinfo=UTC).replace(tzinfo=None)
Rows = list[list[Any]]


def sheet(rows: Rows, *merged: str, of_1904: bool = False) -> bytes:
    workbook = openpyxl.Workbook()
    if of_1904:
        workbook.epoch = CALENDAR_MAC_1904
    for row in rows:
        workbook.worksheets[0].append(row)
    for cells in merged:
        workbook.worksheets[0].merge_cells(cells)
    written = io.BytesIO()
    workbook.save(written)
    return written.getvalue()


def test_what_stands_in_a_merged_cell_holds_for_each_row_beside_it(read: Read) -> None:
    rows: Rows = [["author", "date", "text"], ["ann", DAY, "late"], [None, None, "very late"], []]
    rows += [["bob", DAY, "fine"], [None, DAY.replace(day=21), "so fine"]]
    found = read(sheet(rows, "A2:A4", "B2:B4", "A5:A6"))
    assert [(body["author"], body["timestamp"][:10], body["text"]) for body in found.bodies] == [
        ("ann", "2025-01-20", "late"),
        ("ann", "2025-01-20", "very late"),
        ("bob", "2025-01-20", "fine"),
        ("bob", "2025-01-21", "so fine"),
    ]


def test_a_post_that_is_several_rows_high_is_one(read: Read) -> None:
    rows: Rows = [["text", "likes"], ["thanks!", 1], [], ["thanks!", 1]]
    assert read(sheet(rows, "A2:A3", "B2:B3")).texts == ["thanks!", "thanks!"]


def test_a_title_over_several_columns_is_no_header(read: Read) -> None:
    rows: Rows = [["What people wrote"], ["author", "text", "date"], ["ann", "late", DAY]]
    found = read(sheet(rows, "A1:C1"))
    assert (found.texts, found.bodies[0]["author"]) == (["late"], "ann")


def test_thousands_of_merged_cells_take_no_memory(
    read: Read, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workbooks, "MAX_MERGED", 2)
    rows: Rows = [["text", "author"], *(["late", "ann"] for _ in range(8))]
    assert len(read(sheet(rows, "B2:B3", "B4:B5")).items) > 0
    assert "merged cells: unmerge them" in refusal(read, sheet(rows, "B2:B3", "B4:B5", "B6:B7"))


def test_days_count_from_1904_where_the_workbook_says_so(read: Read) -> None:
    rows: Rows = [["text", "date"], ["with a format", DAY], ["a number", 44_215.5]]
    found = read(sheet(rows, of_1904=True))
    assert [body["timestamp"] for body in found.bodies] == [
        "2025-01-20T00:00:00Z",
        "2025-01-20T12:00:00Z",
    ]
    assert read(sheet([["text", "date"], ["late", 45_677.5]])).bodies[0]["timestamp"] == (
        "2025-01-20T12:00:00Z"
    )


def test_days_that_a_spreadsheet_in_another_language_has_swapped_are_refused(read: Read) -> None:
    swapped = [[f"t{n}", DAY.replace(month=n, day=4)] for n in range(1, 10)]
    texts = [[f"u{n}", f"{n}/04/2025"] for n in range(13, 18)]
    rows: Rows = [["text", "date"], *swapped, *texts]
    assert "has swapped day and month" in refusal(read, sheet(rows))
    assert len(read(sheet(rows), dates="dmy").texts) == 14
    for more in ([["a date", DAY]], [["a text", "03/04/2025"]]):
        assert len(read(sheet([*rows, *more])).texts) == 15
