"""The body for a Teams workflow: a message with an Adaptive Card, of 28 kB at most, which is taken
to count UTF-16 (learn.microsoft.com, Adaptive Cards 1.4, limits of Teams).

Runs of text in a `RichTextBlock` have no Markdown, so nothing in them can be a link or a mention.
"""

from typing import Any

from pydantic_core import to_json

from analysis.messages import Message
from notices.fitting import fit, fit_lines, json_units
from notices.wording import Tone, words_of

_TITLE = 200
_TEXT = 6000
_QUOTES = 4000
_FACT = 150
_COLOURS = {Tone.ALARM: "attention", Tone.CALM: "good", Tone.PLAIN: "default"}


def body(message: Message) -> bytes:
    words = words_of(message)
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
    card: dict[str, Any] = {
        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
        "type": "AdaptiveCard",
        "version": "1.4",
        "body": paragraphs,
    }
    if words.link is not None:
        card["actions"] = [{"type": "Action.OpenUrl", "title": "Open the page", "url": words.link}]
    attachment = {
        "contentType": "application/vnd.microsoft.card.adaptive",
        "contentUrl": None,
        "content": card,
    }
    return to_json({"type": "message", "attachments": [attachment]})


def escape(character: str) -> str:
    """A card's `{{DATE(...)}}` and `${...}` are worked out wherever they stand: a brace from
    outside becomes another that looks like it."""
    return character.translate(_BRACES)


_BRACES = {ord("{"): "\uff5b", ord("}"): "\uff5d"}


def _runs(*inlines: dict[str, Any]) -> dict[str, Any]:
    return {"type": "RichTextBlock", "inlines": list(inlines)}


def _run(text: str, **look: str) -> dict[str, Any]:
    return {"type": "TextRun", "text": text, **look}
