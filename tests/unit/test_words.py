"""Which words a text holds, and what a search asks for."""

import random
import sqlite3
from contextlib import closing
from itertools import pairwise
from typing import Any

import pytest

from analysis.words import (
    MAX_BEGINNINGS,
    MAX_PHRASE_WORDS,
    MAX_WORD_LENGTH,
    MAX_WORDS,
    parse_search,
    words_of,
)
from errors import InvalidInput
from store.derived.word_index import expression


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
        ("ｶﾞﾗｽ", ["ガ", "ラ", "ス"]),
        ("दिल दाल दल।", ["दिल", "दाल", "दल"]),
        ("বাংলা", ["বাংলা"]),
        ("தமிழ், తెలుగు", ["தமிழ்", "తెలుగు"]),
        ("कि\u0301ताब", ["किताब"]),
        ("ශ්\u200dරී", ["ශ්රී"]),
        ("𑄌𑄋𑄴𑄟𑄳𑄦 a", ["𑄌𑄋𑄴𑄟𑄳𑄦", "a"]),
        ("བོད་ཡིག", ["བོད", "ཡིག"]),
        ("ไม่ดี", ["ไ", "ม", "่", "ด", "ี"]),
        ("مُحَمَّد مـحـمـد", ["محمد", "محمد"]),
        ("أن ان سئل سيل", ["أن", "ان", "سئل", "سيل"]),
        ("می\u200cخواهم", ["می", "خواهم"]),
        ("שָׁלוֹם שלום", ["שלום", "שלום"]),
        ("ܫܠܳܡܳܐ", ["ܫܠܡܐ"]),
        ("❤\ufe0f 1\ufe0f\u20e3 \u093f", ["1"]),
        ("par\u00adcel 葛\U000e0100", ["parcel", "葛"]),
        ("can&#39;t &lt;3 AT&amp;T &quot;now&#x22;", ["can", "t", "3", "at", "t", "now"]),
        ("&amp;lt; R&D; &c.", ["lt", "r", "d", "c"]),
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


@pytest.mark.parametrize(
    ("q", "phrases"),
    [
        ("refun*", [("refun*",)]),
        ("Café* late", [("cafe*",), ("late",)]),
        ("don't*", [("don", "t")]),
        ("wi-fire*", [("wi", "fire*")]),
        ('"no refun*" late', [("no", "refun"), ("late",)]),
        ("ref**", [("ref",)]),
        ("a*bcd", [("a", "bcd")]),
        ("late *", [("late",)]),
        ("re*", [("re",)]),
        ("*", InvalidInput),
        ("配送*", [("配", "送")]),
        ("😀*", InvalidInput),
        (" ".join(f"word{n}*" for n in range(MAX_BEGINNINGS + 1)), InvalidInput),
        ("aaa* bbb* ccc* ddd* eee*", [("aaa*",), ("bbb*",), ("ccc*",), ("ddd*",), ("eee*",)]),
    ],
)
def test_a_star_after_a_word_makes_it_a_beginning(q: str, phrases: Any) -> None:
    if phrases is InvalidInput:
        with pytest.raises(InvalidInput):
            parse_search(q)
    else:
        assert list(parse_search(q)) == phrases


@pytest.mark.parametrize("q", ["", " ", '"', '""', "* - ^", "🙂", "\x00"])
def test_a_search_for_no_word_is_invalid_input(q: str) -> None:
    with pytest.raises(InvalidInput, match=r"^q: must hold a word"):
        parse_search(q)


def test_a_search_for_very_many_words_is_invalid_input() -> None:
    many = [f"w{number}" for number in range(MAX_WORDS + 1)]
    assert len(parse_search(" ".join(many[1:]))) == MAX_WORDS
    phrases = [f'"{one} {two}"' for one, two in pairwise(many)]
    assert len(parse_search(" ".join(phrases[: MAX_WORDS // 2]))) == MAX_WORDS // 2
    for too_many in (many, phrases):
        with pytest.raises(InvalidInput, match=r"^q: must hold at most 50 words"):
            parse_search(" ".join(too_many))


@pytest.mark.parametrize("word", ["a", "don't", "दिल"])
def test_a_long_phrase_is_invalid_input(word: str) -> None:
    at_most = MAX_PHRASE_WORDS // len(words_of(word))
    assert len(parse_search(f'"{f"{word} " * at_most}"')) == 1
    with pytest.raises(InvalidInput, match=r"^q: a phrase must hold at most 10 words"):
        parse_search(f'"{f"{word} " * (at_most + 1)}"')


def test_a_sentence_without_blanks_is_a_phrase_of_its_own_measure() -> None:
    assert len(parse_search("配送が遅いのでとても困っています。早く届けてください")) == 1
    with pytest.raises(InvalidInput, match=r"^q: a phrase"):
        parse_search("配" * 41)


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
