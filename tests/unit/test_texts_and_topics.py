"""Texts as they are analysed, which of them are the same, and names of clusters."""

import re
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.fingerprint import as_analysed, fingerprint
from analysis.outcomes import MAX_CLUSTERS
from analysis.parsing import MAX_CLUSTER_LENGTH, normalise_clusters

# --- texts as they are analysed -------------------------------------------------------------------


def test_who_is_named_and_what_is_linked_to_is_not_shown_to_an_analyser() -> None:
    text = " @so_happy  (@me)\nlate https://a.example/love WWW.joke.example\te\u0301 me@b.example @"
    assert as_analysed(text) == "@user (@user) late URL URL é me@b.example @"


@given(st.text(), st.text())
def test_texts_with_one_fingerprint_are_analysed_by_the_same_words(one: str, other: str) -> None:
    def words(text: str) -> list[str]:
        return re.sub(r"(?<!\w)@user|URL", " ", as_analysed(text)).split()

    if fingerprint(one, "key") == fingerprint(other, "key"):
        assert words(one) == words(other)


# --- texts that are the same ----------------------------------------------------------------------


# None of them an "@", a "/" or a "." of its own, so that what is put between stays what it is.
PLAIN = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="@/.:"), max_size=20)
HANDLES = st.text("abc_XYZ019é", min_size=1, max_size=15).map("@{}".format)
URLS = st.builds(
    "{}{}".format,
    st.sampled_from(["https://", "http://", "HTTPS://", "www.", "https://www."]),
    st.text("abcXYZ019-._~:/?#@!$&'()*+,;=%", min_size=1, max_size=20),
)
SPACES = st.text(" \t\n\r\u00a0\u2003\u3000", min_size=1, max_size=4)


def same(one: str, other: str) -> bool:
    return fingerprint(one, "key") == fingerprint(other, "key")


@given(st.text(), st.text())
def test_a_fingerprint_is_32_hex_digits_and_always_the_same(text: str, reuse_key: str) -> None:
    assert re.fullmatch(r"[0-9a-f]{32}", fingerprint(text, reuse_key))
    assert fingerprint(text, reuse_key) == fingerprint(text, reuse_key)


@given(PLAIN, HANDLES, HANDLES, PLAIN)
def test_another_handle_makes_no_other_text(before: str, one: str, two: str, after: str) -> None:
    assert same(f"{before} {one} {after}", f"{before} {two} {after}")


@given(PLAIN, URLS, URLS, PLAIN)
def test_another_url_makes_no_other_text(before: str, one: str, two: str, after: str) -> None:
    assert same(f"{before} {one} {after}", f"{before} {two} {after}")


@given(st.lists(PLAIN), SPACES, SPACES)
def test_other_white_space_makes_no_other_text(words: list[str], one: str, two: str) -> None:
    assert same(one.join(words), two.join(words))
    assert same(one.join(words), f"{two}{two.join(words)}{one}")


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_another_unicode_form_makes_no_other_text(text: str) -> None:
    assert same(unicodedata.normalize("NFC", text), unicodedata.normalize("NFD", text))


@given(st.text("abc dé!?👍", max_size=20), st.text("abc dé!?👍", max_size=20))
def test_other_words_make_another_text(one: str, two: str) -> None:
    assert same(one, two) == (one.split() == two.split())


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("It is late", "It is Late"),
        ("It is late", "It is late!"),
        ("It is late", "Itis late"),
        ("@shop is late", "shop is late"),
        ("write to me@a.example", "write to me@b.example"),
        ("1 day", "2 days"),
        ("ﬁne", "fine"),
        ("great 👍", "great 👎"),
    ],
)
def test_what_may_be_meant_otherwise_is_another_text(one: str, other: str) -> None:
    assert not same(one, other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("@shop is late", "is late"),
        ("@shop @help is late", "@shop is late"),
        ("is late (@shop)", "is late (@help)"),
        ("see https://a.example/1?b=c#d", "see"),
        ("see WWW.a.example", "see http://b.example"),
        ("@shop", "https://a.example"),
    ],
)
def test_whether_anybody_is_named_or_linked_to_makes_no_other_text(one: str, other: str) -> None:
    assert same(one, other)


def test_analysed_otherwise_it_is_another_text() -> None:
    assert fingerprint("late", "model a") != fingerprint("late", "model b")
    assert fingerprint("b late", "a") != fingerprint("late", "a b")


# --- clusters -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("late_delivery", "late_delivery"),
        ("Late Delivery", "late_delivery"),
        ("Late Delivery!", "late_delivery"),
        ("late-delivery", "late_delivery"),
        ("lateDelivery", "late_delivery"),
        ("LATE DELIVERY", "late_delivery"),
        ("  late   delivery\n", "late_delivery"),
        ("__late__delivery__", "late_delivery"),
        ("late/delivery & co.", "late_delivery_co"),
        ("wifi6E", "wifi6_e"),
        ("late _ delivery", "late_delivery"),
        ("ｌａｔｅ", "late"),
        ("Zustellung Größe", "zustellung_grösse"),
        ("配送", "配送"),
        ("доставка Почты", "доставка_почты"),
        ("late\x00delivery", "late_delivery"),
        ("late\ud800delivery", "late_delivery"),
        ("x" * 100, "x" * 64),
        ("x" * 63 + " y", "x" * 63),
        ("", "unknown"),
        ("!!!", "unknown"),
        ("🙂", "unknown"),
        ("_", "unknown"),
        (None, "unknown"),
        (7, "unknown"),
        (["late"], "unknown"),
    ],
)
def test_cluster_names_become_snake_case(name: object, kept: str) -> None:
    assert normalise_clusters([name]) == (kept,)


@pytest.mark.parametrize(
    ("names", "kept"),
    [
        ([], ("unknown",)),
        (["b", "a"], ("b", "a")),
        (["a", "A", "a!"], ("a",)),
        (list("abcdefghi"), tuple("abcde")),
        ([None, "a", 3, "", "b"], ("a", "b")),
        (["a", "a", "b", "b", "c", "c", "d", "e", "f"], tuple("abcde")),
    ],
)
def test_clusters_are_distinct_in_order_and_at_most_five(
    names: list[object], kept: tuple[str, ...]
) -> None:
    assert normalise_clusters(names) == kept


@given(st.lists(st.text() | st.none() | st.integers()))
def test_clusters_are_always_sound(names: list[object]) -> None:
    kept = normalise_clusters(names)
    assert 1 <= len(kept) <= MAX_CLUSTERS
    assert len(set(kept)) == len(kept)
    for name in kept:
        assert 1 <= len(name) <= MAX_CLUSTER_LENGTH
        assert re.fullmatch(r"\w+", name)
        assert "__" not in name
        assert name.strip("_") == name
        name.encode()
