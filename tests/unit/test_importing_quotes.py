"""Quotes that are not in order: read where that can be done in one way, else their row is told."""

from pathlib import Path

import pytest

from importing.delimited import Delimited
from importing.files import opened
from importing.records import SkippedLines
from tests.support.import_helpers import Read

HEAD = "id,text,author\n"


@pytest.mark.parametrize(
    ("cell", "text"),
    [
        ('"she said "no" twice"', 'she said "no" twice'),
        ('"she said "no""', 'she said "no"'),
        ('""No" she said"', '"No" she said'),
        ('"a 5" screen, broken"', 'a 5" screen, broken'),
        ('"he "said ""no"", twice" so"', 'he "said "no", twice" so'),
    ],
)
def test_quotes_within_a_text_that_nobody_doubled_stay_where_they_are(
    cell: str, text: str, read: Read
) -> None:
    found = read(f"{HEAD}1,{cell},ann\n2,fine,bob\n")
    assert found.texts == [text, "fine"]
    assert found.bodies[0]["author"] == "ann"


def test_a_text_of_which_nobody_can_tell_the_end_is_rejected(read: Read) -> None:
    found = read(
        f'{HEAD}1,"he said "no", and left",ann\n2,"he said "no"\nand left",cy\n3,fine,bob\n'
    )
    assert found.texts == ["fine"]
    assert [line for line, _ in found.rejected] == [2, 3, 4]
    assert found.rejected[0][1] == "its quotes are not in order"


def test_a_row_that_is_to_be_mended_keeps_its_quotes(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text(f'{HEAD}1,"he said "no", and left",ann\n"2","open,bob\n')
    with opened(str(path), None) as source:
        rows = list(Delimited(source, delimiter=None, header=True, skipped=SkippedLines()))
    assert [[*row.fields.values(), *row.surplus] for row in rows] == [
        ["1", '"he said "no"', ' and left"', "ann"],
        ["2", '"open', "bob"],
    ]


@pytest.mark.parametrize("last", ['2,"late and', '2,"late and,ann', '2,"late "and" so,ann\n'])
def test_a_quote_that_the_end_of_the_file_leaves_open_costs_its_row(last: str, read: Read) -> None:
    found = read(f"{HEAD}1,fine,bob\n{last}")
    assert found.texts == ["fine"]
    assert found.rejected == [(3, "a quote opens here that is never closed")]


def test_rows_that_were_saved_as_one_cell_are_rows(read: Read) -> None:
    content = (
        'text,author,n\n"""late, again"",ann,1"\nfine,bob,2\n"""he said """"no""""\nso"",cy,3"\n'
    )
    found = read(content)
    assert found.texts == ["late, again", "fine", 'he said "no"\nso']
    assert [body["author"] for body in found.bodies] == ["ann", "bob", "cy"]


@pytest.mark.parametrize("text", ["late, again", "late, again, and again, and again"])
def test_a_text_with_commas_and_nothing_beside_it_is_no_row(text: str, read: Read) -> None:
    assert read(f'text,author\n"{text}"\n').texts == [text]
    assert read(f'text,author,n\n"{text}"\n').texts == [text]


def test_in_a_file_with_tabs_quotes_may_be_signs_like_others(read: Read) -> None:
    rows = ['1\t"I waited\tann', "2\tfine\tbob", '3\tfor days"\tcy', '4\t"no", then "yes"\tdan']
    found = read("\n".join(["id\ttext\tauthor", *rows]))
    assert found.texts == ['"I waited', "fine", 'for days"', '"no", then "yes"']


def test_in_a_file_with_tabs_a_text_may_be_in_quotes(read: Read) -> None:
    content = 'id\tauthor\ttext\n1\tann\t"late\n""again"""\n2\tbob\t"fine\tor not"\n'
    assert read(content).texts == ['late\n"again"', "fine\tor not"]


def test_a_blank_after_each_comma_is_no_part_of_a_cell(read: Read) -> None:
    found = read('id, text, author\n1, "late, again", "ann"\n2, fine, bob\n3, " so", cy\n')
    assert found.texts == ["late, again", "fine", "so"]
    assert [body["author"] for body in found.bodies] == ["ann", "bob", "cy"]


def test_what_a_spreadsheet_shall_leave_as_it_is_stands_alone(read: Read) -> None:
    found = read('id,text,author,date\n"=""1881288000000000101""",late,ann,"=""2025-01-20"""\n')
    assert found.bodies[0]["raw_data"] == {"id": "1881288000000000101"}
    assert found.bodies[0]["timestamp"] == "2025-01-20T00:00:00Z"
    assert read('id,text\n="0123",late\n').bodies[0]["raw_data"] == {"id": "0123"}
