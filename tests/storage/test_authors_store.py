"""Who wrote, on both databases."""

from collections import Counter
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest

from database import Database
from store import authors
from store.authors import AuthorCount, AuthorStore
from tests.support.factories import NOON, insert_insights

HOUR = timedelta(hours=1)
EVER = {"start_time": NOON - 1000 * HOUR, "end_time": NOON + 1000 * HOUR}
NAMES = ("JigsawLounge", "jigsaw_fan", "@Jigsaw", "Jig", "Ümit", "ümit2", "100%", "10_", None)


@pytest.fixture
def store(database: Database) -> AuthorStore:
    return AuthorStore(database)


async def fill(database: Database) -> None:
    """The first of NAMES with one insight, the next with two, every third of them negative."""
    rows = [
        {
            "author": name,
            "timestamp": NOON + each * HOUR,
            "sentiment_score": -0.5 if each % 3 == 0 else 0.5,
        }
        for number, name in enumerate(NAMES, start=1)
        for each in range(number)
    ]
    await insert_insights(database, rows)


async def found(store: AuthorStore, prefix: str | None = None, **more: Any) -> list[str]:
    wanted = {**EVER, "limit": 100, **more}
    return [each.author for each in await store.most(prefix=prefix, **wanted)]


async def test_who_complains_most_is_none_of_ones_own_accounts_but_these_are_found_by_name(
    database: Database, store: AuthorStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    await insert_insights(database, [{"author": "Shop", "own": 1}] * 3 + [{"author": "ana"}] * 2)
    for few in (0, 10**6):
        monkeypatch.setattr(authors, "_FEW", few)
        assert await found(store) == ["ana"]
    assert await found(store, "sho") == ["Shop"]


async def test_an_author_has_one_count_however_the_author_is_found(
    database: Database, store: AuthorStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That of the posts that count; who wrote own ones alone is found with these."""
    came = {"author": "mixed", "timestamp": NOON, "sentiment_score": -0.5}
    went = {"author": "mixed", "timestamp": NOON + HOUR, "sentiment_score": -0.9, "own": 1}
    await insert_insights(database, [came, came, went, {**went, "author": "mixture"}])
    mixed = AuthorCount("mixed", 2, 2, NOON)
    for few in (0, 10**6):
        monkeypatch.setattr(authors, "_FEW", few)
        assert await store.most(prefix=None, **EVER, limit=9) == [mixed]
    found = await store.most(prefix="mix", **EVER, limit=9)
    assert found == [mixed, AuthorCount("mixture", 1, 1, NOON + HOUR)]


@pytest.mark.parametrize(
    ("prefix", "names"),
    [
        ("jig", ["Jig", "@Jigsaw", "jigsaw_fan", "JigsawLounge"]),
        ("@JIGSAW", ["@Jigsaw", "jigsaw_fan", "JigsawLounge"]),
        ("jigsawlOUNGE", ["JigsawLounge"]),
        ("jigsawlounges", []),
        ("ÜMIT", ["ümit2", "Ümit"]),
        ("10", ["10_", "100%"]),
        ("10_", ["10_"]),
        ("%", []),
        ("'; DROP TABLE insights", []),
    ],
)
async def test_names_are_found_by_how_they_begin(
    database: Database, store: AuthorStore, prefix: str, names: Sequence[str]
) -> None:
    await fill(database)
    assert await found(store, prefix) == names


@pytest.mark.parametrize(
    ("prefix", "names"),
    [
        ("STRASSE", ["STRASSE", "Straße", "strasse1"]),
        ("straß", ["STRASSE", "Straße", "strasse1"]),
        ("STRAẞE", ["STRASSE", "Straße", "strasse1"]),
        ("stras", ["STRASSE", "Straße", "strasse1"]),
        ("s", ["STRASSE", "Straße", "strasse1"]),
        ("i", ["@istanbul", "ISTANBUL", "İstanbul"]),
        ("istanbul", ["@istanbul", "ISTANBUL", "İstanbul"]),
        ("İST", ["@istanbul", "ISTANBUL", "İstanbul"]),
        ("νίκος", ["Νίκος"]),
        ("ΝΊΚΟΣ", ["Νίκος"]),
    ],
)
async def test_letters_that_are_others_in_another_case_are_found(
    database: Database, store: AuthorStore, prefix: str, names: Sequence[str]
) -> None:
    every = ["Straße", "STRASSE", "strasse1", "İstanbul", "@istanbul", "ISTANBUL", "Νίκος"]
    await insert_insights(database, [{"author": name} for name in every])
    assert await found(store, prefix) == names


async def test_a_name_is_found_whatever_its_unicode_form(
    database: Database, store: AuthorStore
) -> None:
    every = [
        "José",
        "jose\u0301 two",
        "@JOSE\u0301",
        "Jose",
        "I\u0307stanbul",
        "한국",
        "\u1112\u1161\u11ab",
    ]
    await insert_insights(database, [{"author": name} for name in every])
    for prefix in ("josé", "JOSE\u0301"):
        assert await found(store, prefix) == ["@JOSE\u0301", "José", "jose\u0301 two"]
    assert await found(store, "i") == ["I\u0307stanbul"]
    assert await found(store, "한") == ["\u1112\u1161\u11ab", "한국"]


async def test_counts_are_of_the_time_that_is_asked_for(
    database: Database, store: AuthorStore
) -> None:
    await fill(database)
    asked: dict[str, Any] = {"start_time": NOON, "end_time": NOON + 3 * HOUR, "limit": 1}
    assert await store.most(prefix="10_", **asked) == [AuthorCount("10_", 4, 2, NOON + 3 * HOUR)]
    assert await found(store, "10_", start_time=NOON + 900 * HOUR) == []


async def test_without_a_beginning_those_who_complain_most_come_first(
    database: Database, store: AuthorStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    await fill(database)
    negative = Counter({name: -(-number // 3) for number, name in enumerate(NAMES, 1) if name})
    for few in (0, 50_000):  # by the index of authors, and by times
        monkeypatch.setattr(authors, "_FEW", few)
        listed = await store.most(prefix=None, **EVER, limit=5)
        assert [each.negative for each in listed] == sorted(negative.values())[:2:-1]
        assert [each.author for each in listed][:2] == ["10_", "100%"]
        assert all(negative[each.author] == each.negative for each in listed)


async def test_an_at_sign_alone_is_no_beginning(database: Database, store: AuthorStore) -> None:
    await fill(database)
    assert await found(store, "@") == await found(store)
    assert len(await found(store, "@")) == len(NAMES) - 1  # each once; nobody is not listed


async def test_as_many_as_asked_for_are_given(database: Database, store: AuthorStore) -> None:
    await fill(database)
    assert await found(store, "jig", limit=2) == ["Jig", "@Jigsaw"]
