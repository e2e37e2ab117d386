"""The body for a webhook of Discord: one embed, of 6,000 characters in all, with a title of 256, a
description of 4,096 and values of 1,024 (docs.discord.com, embed limits)."""

from typing import Any

from pydantic_core import to_json

from analysis.messages import Message
from notices.fitting import fit, fit_lines
from notices.wording import Tone, words_of

_TITLE = 256
_DESCRIPTION = 4000
_SENTENCE = 600
_QUOTES = 1024
_FACT = 200
_COLOURS = {Tone.ALARM: 0xC0392B, Tone.CALM: 0x27AE60, Tone.PLAIN: 0x607D8B}
_MARKUP = frozenset("\\*_~`|<>[]()#-+:@!.")


def body(message: Message) -> bytes:
    words = words_of(message)
    embed: dict[str, Any] = {
        "title": fit(words.title, _TITLE, escape) or "-",
        "color": _COLOURS[words.tone],
    }
    if words.text:
        embed["description"] = fit(words.text, _SENTENCE if words.facts else _DESCRIPTION, escape)
    fields = [
        {"name": name, "value": fit(value, _FACT, escape), "inline": True}
        for name, value in words.facts
    ]
    if words.quotes:
        fields.append({"name": "Texts", "value": fit_lines(words.quotes, _QUOTES, escape)})
    if fields:
        embed["fields"] = fields
    if words.link is not None:
        embed["url"] = words.link
    # Whatever a text says, nobody is called by it.
    return to_json({"embeds": [embed], "allowed_mentions": {"parse": []}})


def escape(character: str) -> str:
    return f"\\{character}" if character in _MARKUP else character
