"""The body for a Teams workflow: a message with an Adaptive Card, of 28 kB at most, which is taken
to count UTF-16 (learn.microsoft.com, Adaptive Cards 1.4, limits of Teams). Several messages
together are each in it in short.

Runs of text in a `RichTextBlock` have no Markdown, so nothing in them can be a link or a mention.
"""

from typing import Any

from pydantic_core import to_json

from analysis.messages import Message
from notices.fitting import fit, fit_lines, json_units
from notices.wording import Tone, Wording, words_of

_TITLE = 200
_TEXT = 6000
_QUOTES = 4000
_FACT = 150
# Of several messages each has:
_PART_TITLE = 80
_PART_LINE = 200
_PART_QUOTES = 150
_PART_QUOTE = 130
_PART_LINK = 250
_COLOURS = {Tone.ALARM: "attention", Tone.CALM: "good", Tone.PLAIN: "default"}


def body(*messages: Message) -> bytes:
    words = words_of(*messages)
    title = fit(words.title, _TITLE, escape, json_units)
    paragraphs = [_runs(_run(title, size="large", weight="bolder", color=_COLOURS[words.tone]))]
    if words.text:
        paragraphs.append(_runs(_run(fit(words.text, _TEXT, escape, json_units))))
    paragraphs += [
        _runs(_run(f"{name}: ", weight="bolder"), _run(fit(value, _FACT, escape, json_units)))
        for name, value in words.facts
    ]
    if words.quotes:
        paragraphs.append(_runs(_run(fit_lines(words.quotes, _QUOTES, escape, json_units))))
    for part in words.parts:
        paragraphs += _short(part)
    card: dict[str, Any] = {
        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
        "type": "AdaptiveCard",
        "version": "1.4",
        "body": paragraphs,
    }
    if words.link is not None:
        card["actions"] = [_opens(words.link)]
    attachment = {
        "contentType": "application/vnd.microsoft.card.adaptive",
        "contentUrl": None,
        "content": card,
    }
    return to_json({"type": "message", "attachments": [attachment]})


def _short(part: Wording) -> list[dict[str, Any]]:
    title = fit(part.title, _PART_TITLE, escape, json_units)
    lines = [
        fit(part.text, _PART_LINE, escape, json_units),
        fit(part.facts_in_a_line, _PART_LINE, escape, json_units),
        fit_lines(part.quotes, _PART_QUOTES, escape, json_units, longest=_PART_QUOTE),
    ]
    blocks = [_runs(_run(title, weight="bolder", color=_COLOURS[part.tone]))]
    blocks += [_runs(_run(line)) for line in lines if line]
    if part.link is not None and json_units(part.link) <= _PART_LINK:
        blocks.append({"type": "ActionSet", "actions": [_opens(part.link)]})
    return blocks


def _opens(link: str) -> dict[str, Any]:
    return {"type": "Action.OpenUrl", "title": "Open the page", "url": link}


def escape(character: str) -> str:
    """A card's `{{DATE(...)}}` and `${...}` are worked out wherever they stand: a brace from
    outside becomes another that looks like it."""
    return character.translate(_BRACES)


_BRACES = {ord("{"): "\uff5b", ord("}"): "\uff5d"}


def _runs(*inlines: dict[str, Any]) -> dict[str, Any]:
    return {"type": "RichTextBlock", "inlines": list(inlines)}


def _run(text: str, **look: str) -> dict[str, Any]:
    return {"type": "TextRun", "text": text, **look}
