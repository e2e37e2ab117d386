"""Large JSON in pieces is what the parser makes of it at once, and is refused where it refuses."""

import json
import random
import sys
from typing import Any

import pytest
from pydantic_core import from_json, to_json

from api import bodies, long_json
from api.bodies import LongBody
from api.long_json import hash_in_pieces, read_in_pieces
from errors import InvalidInput
from runtime.turns import short_turns
from schemas import ConversationIn, hash_of

_ALPHABET = ['"', "\\", "a", "é", "😀", ",", "[", "]", "{", "}", ":", " ", "\n"]


@pytest.fixture(params=[1, 40])
def piece_bytes(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(long_json, "PIECE_BYTES", request.param)


def _some_value(draw: random.Random, levels: int) -> Any:
    kind = draw.randrange(8) if levels else draw.randrange(5)
    if kind < 3:
        return draw.choice([None, True, -1, 10**30, 1.5e-7, 0, "", "a"])
    if kind < 5:
        return "".join(draw.choices(_ALPHABET, k=draw.randrange(8)))
    members = [_some_value(draw, levels - 1) for _ in range(draw.choice([0, 1, 2, 5, 30]))]
    if kind == 5:
        return members
    return {f"{draw.choice(['', 'a,', '}'])}{place}": one for place, one in enumerate(members)}


def _some_text(draw: random.Random) -> bytes:
    value = {"conversations": [_some_value(draw, 4) for _ in range(4)], "": _some_value(draw, 3)}
    written = json.dumps(value, ensure_ascii=draw.random() < 0.5, indent=draw.choice([None, 1]))
    return draw.choice([b"", b" \n"]) + written.encode() + draw.choice([b"", b"\t "])


@pytest.mark.parametrize("seed", range(25))
def test_what_is_read_in_pieces_is_what_the_parser_reads(seed: int, piece_bytes: None) -> None:
    text = _some_text(random.Random(seed))
    found, expected = read_in_pieces(text), from_json(text)

    assert found is not None
    assert found.value == expected
    assert found.write(found.value) == to_json(expected)
    assert found.write(dict(found.value)) == to_json(expected)
    assert hash_in_pieces(found.value) == hash_of(expected)
    containers = [each for each in found._containers.values() if each]
    assert len(text) < 100 or containers, "it was cut"
    found.free()
    assert not any(containers)


@pytest.mark.parametrize("seed", range(25))
def test_what_the_parser_refuses_is_not_read_in_pieces(seed: int, piece_bytes: None) -> None:
    """A character more, one less, or another one."""
    draw = random.Random(seed)
    whole = _some_text(draw).decode()
    for _ in range(30):
        at = draw.randrange(len(whole))
        put = draw.choice(["", *_ALPHABET, "1", "null", "\x00"])
        text = (whole[:at] + put + whole[at + draw.randrange(2) :]).encode()
        found = read_in_pieces(text)
        try:
            expected = from_json(text)
        except ValueError:
            assert found is None, text
        else:
            assert found is None or found.value == expected


@pytest.mark.parametrize(
    "text",
    [
        b'{"a":[1,2,3,],"b":0}',
        b'{"a":[1,2,,3],"b":0}',
        b'{"a":[,1,2],"b":0}',
        b'{"a":[[1,2,3][4,5,6]],"b":0}',
        b'{"a":[[1,2,3]4,5,6],"b":0}',
        b'{"a":[0 [1,2,3],4],"b":0}',
        b'{"a":-[1,2,3],"b":0}',
        b'{"a":nul[1,2,3],"b":0}',
        b'{"a":0,{"b":1,"c":2},"d":0}',
        b'{"a":[1,2,3},"b":0]',
        b'{"a":[[1,[2]],3},"b":0}',
        b'{"a":[1,2,3],"b":0',
        b'{"a":[1,2,3],"b":0}]',
        b'{"a":[1,2,3],"b":0} x',
        b'{"a":[1,2,"3],"b":0}',
        b"[" * 201 + b"0,1" + b"]" * 201,
        b"7",
        b"",
    ],
)
def test_what_looks_like_json_is_told_from_it(text: bytes, piece_bytes: None) -> None:
    assert read_in_pieces(text) is None


def test_the_last_of_equal_keys_counts(piece_bytes: None) -> None:
    text = b'{"a":[1,2,3],"b":{"c":1,"d":[0,0]},"a":[4,5,6],"b":{"d":[7,8],"d":9,"c":2}}'
    found = read_in_pieces(text)

    assert found is not None
    assert found.value == from_json(text)
    assert found.write(found.value) == to_json(from_json(text))


def test_no_piece_is_long(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []

    def noted_read(text: bytes) -> Any:
        sizes.append(len(text))
        return from_json(text)

    def noted_written(value: Any) -> bytes:
        written = to_json(value)
        sizes.append(len(written))
        return written

    deep = b",".join([b'{"":[1,[2]],"x":"y"}'] * 50_000)
    flat = b",".join([b'{"x":"y"}'] * 50_000)
    named = b",".join(b'"%d":0' % number for number in range(50_000))
    text = b'{"a":{"b":[%b]},"c":[%b],"d":{%b}}' % (deep, flat, named)
    monkeypatch.setattr(long_json, "from_json", noted_read)
    monkeypatch.setattr(long_json, "to_json", noted_written)
    found = read_in_pieces(text)

    assert found is not None
    assert found.value == from_json(text)
    assert found.write(found.value) == text
    assert max(sizes) < 2 * long_json.PIECE_BYTES


def test_what_was_read_in_pieces_is_neither_copied_nor_read_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Either would be a single call that keeps everybody waiting, also for the reason of a 400."""
    found = LongBody(ConversationIn, b'{"text":"a","raw_data":{"x":1}}', max_text_length=10)
    assert found._json is not None
    assert found.read.raw_data is found._json.value["raw_data"]

    monkeypatch.setattr(bodies, "parse_body", None)
    with pytest.raises(InvalidInput, match="Missing required field: text"):
        LongBody(ConversationIn, b'{"raw_data":{"x":1}}', max_text_length=10)


def test_turns_are_short_while_any_large_body_is_read() -> None:
    usual = sys.getswitchinterval()
    with short_turns():
        with short_turns():
            assert sys.getswitchinterval() < usual / 2
        assert sys.getswitchinterval() < usual / 2
    assert sys.getswitchinterval() == usual
