"""Tweets in JSON, of whatever shape."""

import json
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from importing.errors import ImportFailed
from importing.files import opened
from importing.pipeline import Options, Pipeline
from importing.report import Tally
from importing.rows import Item
from tests.support.import_helpers import Read, refusal

MOMENT = "Tue Oct 31 22:10:47 +0000 2017"

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


@pytest.mark.parametrize("none", ["NaN", "Infinity", "-Infinity"])
def test_a_number_that_is_none_is_nothing(none: str, read: Read) -> None:
    """As pandas writes it where a cell was empty."""
    rows = [f'{{"text": "a", "author": {none}, "n": {none}}}', f'{{"text": {none}}}']
    for content in ("\n".join(rows), f"[{','.join(rows)}]"):
        found = read(content)
        assert found.texts == ["a"]
        assert "author" not in found.bodies[0]
        assert found.bodies[0].get("raw_data") is None
        assert [reason for _, reason in found.rejected] == ["the text is empty"]


def test_a_number_that_is_too_large_spoils_its_row_alone(read: Read) -> None:
    found = read('[{"text": "a", "n": 1e999}, {"text": "b"}]')
    assert found.texts == ["b"]


def test_a_number_that_is_too_large_ends_no_conversations(read: Read) -> None:
    rows = [
        {"id": "1", "text": "first", "author": "a", "in_reply_to_status_id": None},
        {"id": "2", "text": "reply", "author": "b", "in_reply_to_status_id": "1"},
    ]
    lines = "\n".join(map(json.dumps, rows)) + '\n{"id": "3", "text": "c", "likes": 1e999}'
    found = read(lines, conversations=True)
    assert found.texts == ["@a: first\n@b: reply"]


@pytest.mark.parametrize("levels", [65, 900, 5000])
def test_a_row_that_is_nested_too_deep_spoils_no_other(levels: int, read: Read) -> None:
    deep = f'{{"text": "deep", "x": {"[" * levels}{"]" * levels}}}'
    found = read(f'{deep}\n{{"text": "a"}}\n{{"text": "b", "x": {"[" * 60}{"]" * 60}}}')
    assert found.texts == ["a", "b"]
    assert "nested" in found.rejected[0][1]


# Tweets that came while nothing else did: their last twelve bits are zeros.
LONG_IDS = [1881234567890120704 + n * 4096 * 7919 for n in range(60)]


def through_javascript(number: int) -> str:
    return repr(float(number)).replace(".", "").partition("e")[0].ljust(len(str(number)), "0")


@pytest.mark.parametrize("written", [lambda n: f"{n:.14e}", through_javascript, float])
def test_ids_that_went_through_a_double_are_refused(
    written: Callable[[int], object], read: Read
) -> None:
    lines = [f'{{"id": {written(id_)}, "text": "late"}}' for id_ in LONG_IDS]
    assert "lost their digits" in refusal(read, "\n".join(lines))
    assert len(read("\n".join(lines), ignore_ids=True).texts) == len(LONG_IDS)


def test_long_numbers_are_ids_as_they_stand(read: Read) -> None:
    lines = [f'{{"id": {id_}, "text": "late"}}' for id_ in LONG_IDS]
    assert len(read("\n".join(lines)).texts) == len(LONG_IDS)
    one = read(f'{{"id": {through_javascript(LONG_IDS[1])}, "text": "late"}}')
    assert len(one.texts) == 1, "one may end so by chance"


def test_lists_of_lists_are_no_rows(read: Read) -> None:
    assert "holds no JSON object" in refusal(read, '[["text", "author"], ["late", "ann"]]')
