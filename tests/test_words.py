"""Which words a text holds, and what a search asks for."""

import random
import sqlite3
from contextlib import closing

import pytest

from errors import InvalidInput
from store.search import expression
from words import MAX_PHRASES, MAX_WORD_LENGTH, parse_search, words_of


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("The parcel's LATE!", ["the", "parcel", "s", "late"]),
        ("#late @brand_x 24/7", ["late", "brand", "x", "24", "7"]),
        ("Café naïve STRASSE straße", ["cafe", "naive", "strasse", "strasse"]),
        ("cafe\u0301", ["cafe"]),
        ("İstanbul", ["istanbul"]),
        ("ＦＵＬＬ width", ["full", "width"]),
        ("配送が遅い ok", ["配", "送", "が", "遅", "い", "ok"]),
        ("한국", ["한", "국"]),
        ("🙂 ... --", []),
        ("", []),
        ("x" * 100, ["x" * MAX_WORD_LENGTH]),
    ],
)
def test_words_are_runs_of_letters_and_digits_without_case_or_accents(
    text: str, words: list[str]
) -> None:
    assert words_of(text) == words


@pytest.mark.parametrize(
    ("q", "phrases"),
    [
        ("refund", [("refund",)]),
        ("Refund  NOW", [("refund",), ("now",)]),
        ('"not arrived" late', [("not", "arrived"), ("late",)]),
        ('late "not arrived', [("late",), ("not", "arrived")]),
        ('"" late ""', [("late",)]),
        ("don't", [("don", "t")]),
        ("配送", [("配", "送")]),
        ("late late LATE", [("late",)]),
        ("a* OR -b NEAR(c) ^d {e}:f", [("a",), ("or",), ("b",), ("near", "c"), ("d",), ("e", "f")]),
    ],
)
def test_a_search_is_words_and_phrases_and_nothing_else(
    q: str, phrases: list[tuple[str, ...]]
) -> None:
    assert list(parse_search(q)) == phrases


@pytest.mark.parametrize("q", ["", " ", '"', '""', "* - ^", "🙂", "\x00"])
def test_a_search_for_no_word_is_invalid_input(q: str) -> None:
    with pytest.raises(InvalidInput, match=r"^q: must hold a word"):
        parse_search(q)


def test_a_search_for_very_many_words_is_invalid_input() -> None:
    many = [f"w{number}" for number in range(MAX_PHRASES + 1)]
    assert len(parse_search(" ".join(many[1:]))) == MAX_PHRASES
    with pytest.raises(InvalidInput, match=r"^q: must hold at most"):
        parse_search(" ".join(many))


def test_no_search_is_a_syntax_error_to_the_index() -> None:
    chance = random.Random(1)
    alphabet = "aB1'\"*^-+:(){}[]<>\\/.,;!?&|~`_ \t\nORANDNOTNEARé配\u0301🙂\ud800%"
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.execute("CREATE VIRTUAL TABLE t USING fts5(words, tokenize='ascii')")
        tried = 0
        for _ in range(3000):
            q = "".join(chance.choices(alphabet, k=chance.randint(1, 30)))
            try:
                asked = expression("sqlite", parse_search(q), [])
            except InvalidInput:
                continue
            connection.execute("SELECT * FROM t WHERE t MATCH ?", [asked]).fetchall()
            tried += 1
    assert tried > 1000
