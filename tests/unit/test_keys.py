"""Keys and scopes."""

import hashlib

import pytest

from api.keys import ApiKeys, check_scope
from config import ApiKey, Scope
from errors import Forbidden, Unauthorized


def api_key(name: str, scope: Scope, key: str) -> ApiKey:
    return ApiKey(name, scope, hashlib.sha256(key.encode()).hexdigest())


READER = api_key("reader", "read", "reading-key")
WRITER = api_key("writer", "write", "writing-key")
ADMIN = api_key("boss", "admin", "the boss's key")
KEYS = ApiKeys([READER, WRITER, ADMIN])


def test_there_are_keys_or_there_are_none() -> None:
    assert not ApiKeys([])
    assert KEYS


@pytest.mark.parametrize(
    ("presented", "needed", "name"),
    [
        ("reading-key", "read", "reader"),
        ("writing-key", "read", "writer"),
        ("writing-key", "write", "writer"),
        ("the boss's key", "read", "boss"),
        ("the boss's key", "write", "boss"),
        ("the boss's key", "admin", "boss"),
    ],
)
def test_a_scope_includes_those_below_it(presented: str, needed: Scope, name: str) -> None:
    key = KEYS.identify(presented)
    check_scope(key, needed)
    assert key.name == name


@pytest.mark.parametrize(
    ("presented", "needed"),
    [("reading-key", "write"), ("reading-key", "admin"), ("writing-key", "admin")],
)
def test_a_scope_does_not_reach_above_itself(presented: str, needed: Scope) -> None:
    with pytest.raises(Forbidden, match=f"the scope {needed}"):
        check_scope(KEYS.identify(presented), needed)


@pytest.mark.parametrize("key", [READER, WRITER, ADMIN])
def test_no_key_opens_what_names_no_scope(key: ApiKey) -> None:
    with pytest.raises(Forbidden):
        check_scope(key, None)


@pytest.mark.parametrize(
    "presented",
    [
        "",
        " ",
        "wrong",
        "reading-key ",
        "READING-KEY",
        "reading-ke",
        READER.sha256,
        "schlüssel",
        "鍵",
    ],
)
def test_who_brings_no_valid_key_is_turned_away_without_hearing_it_back(presented: str) -> None:
    with pytest.raises(Unauthorized) as refused:
        KEYS.identify(presented)
    if presented.strip():
        assert presented not in refused.value.details


def test_a_key_that_is_listed_twice_has_the_higher_scope() -> None:
    keys = ApiKeys([api_key("low", "read", "one key"), api_key("high", "admin", "one key")])
    assert keys.identify("one key").name == "high"


def test_an_upper_case_digest_is_the_same_digest() -> None:
    keys = ApiKeys([READER._replace(sha256=READER.sha256.upper())])
    assert keys.identify("reading-key").name == "reader"
