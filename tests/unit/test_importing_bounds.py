"""How much the importer takes for one row: at the bound, and just beyond it."""

import json
from pathlib import Path

import pytest

from importing import json_files
from importing.columns import MAX_COLUMNS
from importing.delimited import MAX_RECORD_LINES, Delimited
from importing.files import MAX_LINE, opened
from importing.records import Record, SkippedLines


def rows(folder: Path, content: str) -> list[Record]:
    path = folder / "rows.csv"
    path.write_text(f"text,author\n{content}")
    with opened(str(path), None) as source:
        return list(Delimited(source, delimiter=None, header=True, skipped=SkippedLines()))


def test_a_row_has_so_many_cells(tmp_path: Path) -> None:
    most, beyond = rows(tmp_path, f"{'x,' * (MAX_COLUMNS - 1)}x\n{'x,' * MAX_COLUMNS}x\n")
    assert most.problem.startswith(f"more cells than columns: {MAX_COLUMNS}, not 2")
    assert (beyond.problem, beyond.surplus) == ("more cells than columns: over 2,000", [])


def test_a_row_has_so_many_lines(tmp_path: Path) -> None:
    def first(lines: int) -> Record:
        return rows(tmp_path, '"' + "\n".join(["x"] * lines) + '",ann\n')[0]

    assert (first(MAX_RECORD_LINES).problem, first(MAX_RECORD_LINES).fields["author"]) == (
        "",
        "ann",
    )
    assert first(MAX_RECORD_LINES + 1).problem == "a quote opens here that is never closed"


def test_a_row_of_several_lines_has_so_many_characters(tmp_path: Path) -> None:
    cell = '"' + "x" * (MAX_LINE // 4) + '\n"'
    most, beyond = (rows(tmp_path, ",".join([cell] * cells) + "\n")[0] for cells in (4, 5))
    assert most.problem.startswith("more cells than columns: 4, not 2")
    assert beyond.problem == "a quote opens here that is never closed"


def test_an_object_has_so_many_fields(tmp_path: Path) -> None:
    path = tmp_path / "rows.json"
    objects = [{f"f{n}": n for n in range(count)} for count in (MAX_COLUMNS, MAX_COLUMNS + 1)]
    path.write_text("\n".join(map(json.dumps, objects)))
    with opened(str(path), None) as source:
        most, beyond = json_files.read(source, SkippedLines())
    assert (len(most.fields), most.problem) == (MAX_COLUMNS, "")
    assert (len(beyond.fields), beyond.problem) == (0, "has more than 2,000 fields")


def test_of_a_list_so_many_rows_are_kept_until_one_has_a_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(json_files, "MAX_OBJECT", 70_000)
    without_text = ",\n".join([json.dumps({"n": "x" * 100})] * 1500)
    path = tmp_path / "rows.json"
    path.write_text(f'{{\n"items": [{without_text},\n{{"text": "late"}}]}}')
    with opened(str(path), None) as source:
        *before, last = json_files.read(source, SkippedLines())
    assert last.fields == {"text": "late"}
    assert len(before) == 1000
