"""A model that does as the texts say: how the fake Grok tells an order, and how it then obeys.

Both are crude on purpose. What matters is that in this mode whatever shares a call with an order
comes out wrong, so that only keeping such texts apart keeps the others' results right.
"""

from __future__ import annotations

import base64
import binascii
import re
import unicodedata
import zlib
from collections.abc import Callable, Collection
from typing import Any

from tests.fakes.grok.answer import Choice, document
from tests.fakes.grok.judgement import Result

# Cyrillic letters that look like Latin ones.
_LOOK_ALIKES = str.maketrans("авеіјкмнорсѕтухԁ", "abeijkmhopcstyxd")
_CHANGES = (
    "add anagram augment combine convert enhance group include integrate introduce jumble misspell "
    "modify provide rearrange remove render replace scramble substitute suggest tease use"
).replace(" ", "|")
_ORDERS = re.compile(
    # Away with what was said before.
    r"\b(ignore|disregard|forget|override)\b.{0,40}"
    r"\b(instruction|instructions|previous|above|prompt|rules|everything|rest)\b"
    r"|\badditional instructions\b|\bstop everything\b"
    # Somebody else speaks, or somebody else is to answer.
    r"|\b(system|assistant)\s*:|<<sys>>|\[inst\]|<\|?im_start|\bdeveloper mode\b"
    r"|\bsystem prompt\b|\bfrom now on\b|\byou are (now (in|an?)|going to act|about to immerse)\b"
    r"|\bcontent policy\b"
    # What the answer is to look like.
    r"|\b(answer|reply|respond|output|print|say) (only|just|nothing)\b|\bjust (say|print)\b"
    rf"|\b({_CHANGES})\b.{{0,90}}\b(your|the) (answer|message|reply|response)\b"
    rf"|\b(your|the) (answer|reply|response)\b.{{0,40}}\b({_CHANGES})\b"
    r"|\breplace (every|vowels|letters)\b|\breturn (only|nothing|an empty)\b"
    r"|\btranslate the text above\b|\bcall the tool\b|\bmark this as\b"
    # The format itself.
    r"|sentiment_score|conversation_id|\bclusters?\s*:\s*\[|\bcluster name\b|```"
    r"|</?(text|tweet|data|conversation)\b|\"\s*\}\s*\]"
    # The neighbours.
    r"|\b(all|next|other|following|remaining) (the )?(tweets|texts|ids|results) (are|with|as|get)\b"
    r"|\b(score|rate|mark) (them|all|every|the (rest|others))\b",
    re.IGNORECASE | re.DOTALL,
)


def holds_an_order(text: str) -> bool:
    """Whether this text tells the model what to do, also in the disguises that a model sees
    through: look-alike letters, invisible ones, base64, backwards."""
    plain = _plain(text)
    guises = [plain, plain[::-1], *map(_plain, _decoded(text))]
    return any(_ORDERS.search(guise) for guise in guises)


def _plain(text: str) -> str:
    text = unicodedata.normalize("NFKC", text).casefold().translate(_LOOK_ALIKES)
    return "".join(letter for letter in text if unicodedata.category(letter) != "Cf")


def _decoded(text: str) -> list[str]:
    found = []
    for word in re.findall(r"[A-Za-z0-9+/]{16,}={0,2}", text):
        try:
            found.append(base64.b64decode(word, validate=True).decode())
        except (binascii.Error, UnicodeDecodeError):
            continue
    return found


def _overwrite(results: list[Result], _ordering: Collection[Any]) -> Choice:
    """All are the best that can be said, in the right form."""
    good = {"sentiment_score": 1.0, "clusters": ["praise"], "confidence": 1.0}
    return Choice(document([{**result, **good} for result in results]))


def _swap(results: list[Result], _ordering: Collection[Any]) -> Choice:
    """Each gets the result of another, in the right form."""
    ids = [result["id"] for result in results]
    pairs = zip(results, ids[1:] + ids[:1], strict=True)
    return Choice(document([{**result, "id": identity} for result, identity in pairs]))


def _double(results: list[Result], ordering: Collection[Any]) -> Choice:
    """Each neighbour is answered twice, the second time in praise."""
    praise = {"sentiment_score": 1.0, "clusters": ["praise"], "confidence": 1.0}
    more = [{**result, **praise} for result in results if result["id"] not in ordering]
    return Choice(document(results + more))


def _rename(results: list[Result], _ordering: Collection[Any]) -> Choice:
    return Choice(document([{**result, "id": f"{result['id']}-x"} for result in results]))


def _drop(results: list[Result], ordering: Collection[Any]) -> Choice:
    """Only those that gave the order are answered."""
    return Choice(document([result for result in results if result["id"] in ordering]))


def _leave_json(_results: list[Result], _ordering: Collection[Any]) -> Choice:
    return Choice("PWNED")


# What a call's results become, given those and the ids of the texts that hold an order.
WAYS: dict[str, Callable[[list[Result], Collection[Any]], Choice]] = {
    "overwrite": _overwrite,
    "swap": _swap,
    "double": _double,
    "rename": _rename,
    "drop": _drop,
    "leave_json": _leave_json,
}


def obey(results: list[Result], texts: dict[Any, str], way: str) -> Choice | None:
    """The answer to texts of which some hold an order; None if none does.

    `way` is one of `WAYS`, or "any": which then follows from the order, and is always the same.
    """
    ordering = [identity for identity, text in texts.items() if holds_an_order(text)]
    if not ordering:
        return None
    if way == "any":
        names = sorted(WAYS)
        way = names[zlib.crc32(texts[ordering[0]].encode("utf-8", "replace")) % len(names)]
    return WAYS[way](results, ordering)
