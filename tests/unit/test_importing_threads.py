"""Messages that answer each other become one conversation."""

import json
import tempfile
from contextlib import closing

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from importing.files import opened
from importing.pipeline import Options, Pipeline
from importing.report import Tally
from tests.support.import_helpers import Outcome, Read, refusal

HEADER = "tweet_id,author_id,inbound,created_at,text,response_tweet_id,in_response_to_tweet_id"


def keys(found: Outcome) -> list[str]:
    return [body["idempotency_key"] for body in found.bodies]


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
