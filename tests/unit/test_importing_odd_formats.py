"""What becomes of files that other programs export: those from the field, where their folder is
there, and those that are not plain, which are asked about."""

import gzip
import json
import tracemalloc
from typing import Any

import pytest

from tests.support.import_helpers import Outcome, Read, refusal
from tests.support.paths import SHARED

CASES = SHARED / "cases"
TEN = "2025-01-20T10:00:00Z"


@pytest.fixture
def case(read: Read) -> Any:
    """`case("reddit_comments.ndjson")`: what comes of that file."""

    def do(name: str, **options: Any) -> Outcome:
        if not (CASES / name).exists():
            pytest.skip(f"{CASES / name} is not there")
        return read(CASES / name, **options)

    return do


def fields(found: Outcome, name: str) -> list[Any]:
    return [body.get(name) for body in found.bodies]


# --- from the field -------------------------------------------------------------------------------


def test_a_post_that_was_cut_off_is_taken_whole(case: Any) -> None:
    (text,) = case("x_v11_truncated.ndjson").texts
    assert text.startswith("@acme_care Thank you")
    assert text.endswith("I want my money back now.")


def test_times_in_created_utc(case: Any) -> None:
    found = case("reddit_comments.ndjson")
    assert fields(found, "timestamp") == ["2024-01-20T10:00:00Z", "2024-01-20T11:00:00Z"]


def test_lines_before_the_header(case: Any) -> None:
    found = case("listening_preamble.csv")
    assert found.texts == ["Third week without a refund, @acme_care.", "Parcel came today, thanks!"]
    assert fields(found, "timestamp") == ["2025-01-20T10:00:00Z", "2025-01-20T11:00:00Z"]
    assert fields(found, "author") == ["maple_otter", "harbour_lane"]
    assert found.pipeline.skipped.preamble == 6


def test_posts_in_html(case: Any) -> None:
    found = case("mastodon_statuses.json")
    assert found.texts == [
        "Three weeks without a refund from @acme_care.\nI don't like this & I will leave.\n#fail",
        "Parcel came today, thanks!",
    ]
    assert fields(found, "author") == ["maple_otter@social.example", "harbour_lane"]


def test_authors_that_are_objects(case: Any) -> None:
    assert fields(case("author_objects.ndjson"), "author") == ["Maple", "harbour_lane", "7"]


def test_a_list_under_a_name_of_its_own(case: Any) -> None:
    (body,) = case("zendesk_tickets.json").bodies
    assert (body["text"], body["timestamp"]) == (
        "Third week without a refund.",
        "2025-01-20T10:00:00Z",
    )


def test_years_of_two_digits(case: Any) -> None:
    found = case("excel_short_years.csv")
    assert fields(found, "timestamp") == ["2025-01-20T10:00:00Z", "2025-01-21T11:30:00Z"]


def test_our_own_export_comes_back(case: Any) -> None:
    assert case("export_round_trip.csv").texts == [
        "'quoted start",
        "=1+1",
        "@acme_care my parcel is late",
    ]


# --- where it is not plain, it asks ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "column"),
    [
        ("text,when\na,2025-01-20 10:00\nb,\n", "when"),
        ("text,When it was\na,1737367200\n", "When it was"),
        ("text,n,Moment\na,1,20 Jan 2025\nb,2,21 Jan 2025\n", "Moment"),
        ("text,moment\na,3/4/2015\n", "moment"),
        ('{"text": "a", "details": 1, "lastEdited": "2025-01-20T10:00:00Z"}\n', "lastEdited"),
    ],
)
def test_a_column_that_plainly_holds_times_is_asked_about(
    content: str, column: str, read: Read
) -> None:
    refused = refusal(read, content)
    assert f"{column} looks like it" in refused
    assert "--time-column none" in refused
    assert "timestamp" not in read(content, columns={"time": "none"}).bodies[0]
    if "3/4" not in content:
        assert read(content, columns={"time": column}).bodies[0]["timestamp"][:7] == "2025-01"


@pytest.mark.parametrize(
    "content",
    [
        "text,phone\na,1737367200\n",
        "text,likes\na,42059\n",
        "text,rated at\na,five\n",
        "text,version\na,1.2.2025 beta\n",
        "text,ratio\na,3/4\n",
        "text,when\na,\n",
    ],
)
def test_what_is_no_time_is_not_taken_for_one(content: str, read: Read) -> None:
    assert "timestamp" not in read(content).bodies[0]


def test_the_zone_in_a_header_counts(read: Read) -> None:
    content = "text,Date ({})\na,2025-01-20 10:00\n"
    for zone, moment in (
        ("UTC", TEN),
        ("EST", "2025-01-20T15:00:00Z"),
        ("America/Lima", "2025-01-20T15:00:00Z"),
        ("BRT", "2025-01-20T13:00:00Z"),
        ("UTC+2", None),
    ):
        found = read(content.format(zone)).bodies[0]["timestamp"]
        assert found == (moment or "2025-01-20T08:00:00Z")
    assert read(content.format("local")).bodies[0]["timestamp"] == TEN
    assert "IST is the name of several zones" in refusal(read, content.format("IST"))


def test_lines_before_the_header_can_be_counted(read: Read) -> None:
    content = "a report,of mine\nnothing,else\nwas,wer\nlate,ann\n"
    assert "--skip-lines" in refusal(read, content)
    columns = {"text": "was", "author": "wer"}
    for options in ({"skip_lines": 2}, {}):
        found = read(content, columns=columns, **options)
        assert (found.texts, found.bodies[0]["author"]) == (["late"], "ann")
        assert found.pipeline.skipped.preamble == 2
    found = read(content + ",\n,x\n", columns=columns)
    assert found.rejected == [(6, "the text is empty")]


def test_a_first_row_is_no_report_though_a_later_one_speaks_of_columns(read: Read) -> None:
    content = "text,author\nmessage,date\ntext,author\nlate,ann\n"
    assert read(content).texts == ["message", "late"]


def test_several_lists_are_asked_about(read: Read) -> None:
    page = {"tickets": [{"text": "a"}], "deleted": {"messages": [{"text": "b"}]}, "count": 2}
    refused = refusal(read, json.dumps(page))
    assert "--records" in refused
    assert "tickets, deleted.messages" in refused
    assert read(json.dumps(page), records="tickets").texts == ["a"]
    assert read(json.dumps(page), records="deleted.messages").texts == ["b"]
    assert "there is no list x" in refusal(read, json.dumps(page), records="x")


@pytest.mark.parametrize("indent", [None, 1])
def test_a_long_list_in_one_object_is_read_piece_by_piece(indent: int | None, read: Read) -> None:
    message = {"id": 0, "content": "x" * 1000, "author": {"name": "ann"}, "attachments": []}
    messages = [message | {"id": number, "date": "2025-01-20"} for number in range(4_000)]
    export = {
        "channel": {"name": "help", "tags": [1, {"a": "]"}]},
        "names": ["a", {"b": {}}, "c"],
        "empty": [],
        "messages": [{"type": "service"}, *messages],
        "count": 4_000,
    }
    content = json.dumps(export, indent=indent)
    found = read(content)
    assert len(found.texts) == 4_000
    assert [reason for _, reason in found.rejected] == ["the text is empty"]
    assert found.bodies[-1]["author"] == "ann"
    assert len(read(content, records="messages").texts) == 4_000
    more = json.dumps({**export, "replies": [message]}, indent=indent)
    assert "several lists (messages, replies)" in refusal(read, more)
    assert "is not JSON" in refusal(read, content[:-400])


def test_a_list_with_columns_of_its_own_can_be_named(read: Read) -> None:
    page = json.dumps({"rows": [{"was": "a"}], "count": 1})
    assert "--records" in refusal(read, page)
    assert read(page, records="rows", columns={"text": "was"}).texts == ["a"]


def test_what_hangs_on_a_record_is_no_list_of_records(read: Read) -> None:
    rows = [{"text": "a", "comments": [{"text": "b"}]}, {"id": 1, "files": [{"name": "c"}]}]
    found = read("\n".join(map(json.dumps, rows)))
    assert found.texts == ["a"]
    assert found.rejected == [(2, "the text is empty")]


# --- people ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("author", "name"),
    [
        ({"acct": "ann@x.example", "username": "ann", "display_name": "Ann"}, "ann@x.example"),
        ({"screen_name": "ann", "name": "Ann"}, "ann"),
        ({"id": 7, "profile": {"name": "Ann"}}, "Ann"),
        ({"email": "a@b.c"}, None),
        ({"name": None, "id": "7"}, "7"),
        ({"name": {"label": "Ann"}}, "Ann"),
        ([{"name": "Ann"}, {"name": "Bob"}], "Ann"),
        (["ann", "bob"], "ann"),
        ([], None),
        ({}, None),
        (True, None),
        (7, "7"),
        ('{"name": "Ann", "email": "a@b.c"}', "Ann"),
        ("{'type': 'user', 'name': 'Ann'}", "Ann"),
        ("{'type': 'user', 'at': datetime.datetime(2025, 1, 1)}", None),
        ('{"name": "Ann", "em', None),
        ("{maple}", "{maple}"),
        ("[deleted]", "[deleted]"),
        (" ann ", "ann"),
        *((nobody, None) for nobody in ("\\N", "NULL", "nan", "None", "<NA>", "#N/A", " null ")),
        ({"name": "nan", "id": 7}, "7"),
        ("Nan", "Nan"),
    ],
)
def test_an_author_is_a_name_and_never_a_dump(author: Any, name: str | None, read: Read) -> None:
    found = read(json.dumps([{"text": "late", "author": author}]))
    assert found.bodies[0].get("author") == name


@pytest.mark.parametrize(
    "header",
    [
        "Nachricht;Autor;Datum",
        "Texte;Auteur;Date de création",
        "Mensaje;Usuario;Fecha",
        "Comentário;Usuário;Criado em",
        "Testo;Autore;Data di creazione",
    ],
)
def test_columns_are_known_in_other_languages(header: str, read: Read) -> None:
    (body,) = read(f"{header}\nlate;ann;20.01.2025 10:00\n").bodies
    assert (body["text"], body["author"], body["timestamp"]) == ("late", "ann", TEN)


def test_a_column_that_is_a_day_in_some_languages_only_is_asked_about(read: Read) -> None:
    refused = refusal(read, "Texto;Autor;Data\nlate;ann;20/01/2025 10:00\n")
    assert "Data looks like it (20/01/2025 10:00)" in refused


def test_what_is_known_of_an_author_goes_along(read: Read) -> None:
    user = {"screen_name": "ann", "followers_count": 3}
    found = read(json.dumps([{"text": "late", "user": user}]))
    assert found.bodies[0]["raw_data"] == {"user": user}


# --- markup ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("markup", "text"),
    [
        ("<p>one</p><p>two</p>", "one\ntwo"),
        ("one<br>two<br/>three", "one\ntwo\nthree"),
        ("<div><b>one</b></div>two", "one\ntwo"),
        ("<p>I &lt;3 it &amp; you</p>", "I <3 it & you"),
        ("<p>I <3 it, 2 < 3 and a<b</p>", "I <3 it, 2 < 3 and a<b"),
        ('<a href="https://x.example/?a=1&b=2">link</a> there', "link there"),
        ("<ul><li>one</li><li>two</li></ul>", "one\ntwo"),
        ("<table><tr><td>a</td><td>b</td></tr><tr><td>c</td></tr></table>", "a b\nc"),
        ("<style>p {}</style><script>run()</script><p>seen</p>", "seen"),
        ('<p>so <img src="x.png" alt=":angry:"></p>', "so :angry:"),
        ("<p>one<!-- two --></p>", "one"),
        ("<P CLASS='x'>one</P>", "one"),
        ("<p>one", "one"),
    ],
)
def test_markup_becomes_text(markup: str, text: str, read: Read) -> None:
    found = read(json.dumps([{"text": markup}]))
    assert found.texts == [text]
    assert found.bodies[0]["raw_data"] == {"text": markup}
    assert read(json.dumps([{"text": markup}]), mend=False).texts == [markup]


@pytest.mark.parametrize(
    "text",
    ["I <3 it", "2 < 3 > 1", "a<b", "a<b and c>d", "if a<b>c", "<@U1> <https://x|y>", "<br", "<b>",
     "</p", "<unknown>x</unknown>", "->", "<!-- x -->", "<<<>>>", "x <- y <- z -> w"],
)  # fmt: skip
def test_what_only_looks_like_markup_stays(text: str, read: Read) -> None:
    assert read(json.dumps([{"text": text}])).texts == [text]


# --- what is too much -----------------------------------------------------------------------------


def test_thousands_of_columns_are_refused_and_names_are_not_listed_for_ever(read: Read) -> None:
    many = ",".join(f"column {number}" for number in range(1000))
    refused = refusal(read, f"{many}\n1\n")
    assert len(refused) < 800
    lines = list(read(f"text,{many}\nlate\n").pipeline.plan())
    assert max(map(len, lines)) < 1500
    assert "has more than 2,000 columns" in refusal(read, "text" + "," * 2000 + "\nlate\n")
    wide = read("text,a\nlate,1\nwide" + "," * 5000 + "\n")
    assert wide.rejected == [(3, "more cells than columns: over 2,000")]
    fields = json.dumps({"text": "late", **{str(number): 1 for number in range(2001)}})
    assert read('{"text": "late"}\n' + fields).rejected == [(2, "has more than 2,000 fields")]


@pytest.mark.timeout(60)
def test_millions_of_columns_take_no_memory(read: Read) -> None:
    content = gzip.compress(b"text" + b"," * 31_000_000 + b"\n", mtime=0)
    tracemalloc.start()
    try:
        assert "has more than 2,000 columns" in refusal(read, content)
        assert tracemalloc.get_traced_memory()[1] < 60_000_000
    finally:
        tracemalloc.stop()
