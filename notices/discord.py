"""The body for a webhook of Discord: an embed for each message, 10 at most, of 6,000 characters in
all, with a title of 256, a description of 4,096 and values of 1,024 (docs.discord.com, embed
limits)."""

from typing import Any

from pydantic_core import to_json

from analysis.messages import Message
from notices.fitting import fit, fit_lines
from notices.wording import Tone, Wording, words_of

_TITLE = 256
_DESCRIPTION = 4000
_SENTENCE = 600
_QUOTES = 1024
_FACT = 200
# Of several messages each has:
_PART_TITLE = 100
_PART_LINE = 180
_PART_QUOTES = 120
_PART_QUOTE = 100
_COLOURS = {Tone.ALARM: 0xC0392B, Tone.CALM: 0x27AE60, Tone.PLAIN: 0x607D8B}
_MARKUP = frozenset("\\*_~`|<>[]()#-+:@!.")


def body(*messages: Message) -> bytes:
    words = words_of(*messages)
    said: dict[str, Any] = {"embeds": [_short(part) for part in words.parts] or [_whole(words)]}
    if words.parts:
        said["content"] = words.title
    # Whatever a text says, nobody is called by it.
    return to_json({**said, "allowed_mentions": {"parse": []}})


def _whole(words: Wording) -> dict[str, Any]:
    embed = _embed(words, _TITLE)
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
    return embed


def _short(part: Wording) -> dict[str, Any]:
    lines = [
        fit(part.text, _PART_LINE, escape),
        fit(part.facts_in_a_line, _PART_LINE, escape),
        fit_lines(part.quotes, _PART_QUOTES, escape, longest=_PART_QUOTE),
    ]
    return {**_embed(part, _PART_TITLE), "description": "\n".join(line for line in lines if line)}


def _embed(words: Wording, title: int) -> dict[str, Any]:
    """What each has; its link is not counted."""
    embed = {"title": fit(words.title, title, escape) or "-", "color": _COLOURS[words.tone]}
    return embed if words.link is None else {**embed, "url": words.link}


def escape(character: str) -> str:
    return f"\\{character}" if character in _MARKUP else character
