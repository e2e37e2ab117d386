"""The body for an incoming webhook of Slack: one message, or several together in short.

A section takes 3,000 characters, a header 150, a message 50 blocks, and some 13,000 characters in
all, as they stand in JSON (docs.slack.dev, Block Kit; bolt-js#2509).
"""

from typing import Any

from pydantic_core import to_json

from analysis.messages import Message
from notices.fitting import fit, fit_lines, json_units
from notices.wording import Wording, words_of

_ESCAPES = {"&": "&amp;", "<": "&lt;", ">": "&gt;", "`": "\u02cb"}
_HEADER = 150
_SECTION = 2900
_SENTENCE = 600
_FACT = 150
# Of several messages each has:
_PART_TITLE = 100
_PART_LINE = 250
_PART_QUOTES = 150
_PART_QUOTE = 130
_PART_LINK = 300


def body(*messages: Message) -> bytes:
    words = words_of(*messages)
    title = fit(words.title, _HEADER, escape, json_units)
    blocks: list[dict[str, Any]] = [
        {"type": "header", "text": {"type": "plain_text", "text": title, "emoji": False}}
    ]
    if words.text:
        room = _SENTENCE if words.facts else _SECTION
        blocks.append(_section(fit(words.text, room, escape, json_units)))
    if words.facts:
        facts = [f"{name}: {fit(value, _FACT, escape, json_units)}" for name, value in words.facts]
        blocks.append(_section("\n".join(facts)))
    if words.quotes:
        blocks.append(_section(fit_lines(words.quotes, _SECTION, escape, json_units)))
    if words.link is not None:
        blocks.append(_section(f"<{escape(words.link)}|Open the page>"))
    for part in words.parts:
        blocks += _short(part)
    # What notifications and screen readers have.
    return to_json({"text": title, "blocks": blocks})


def _short(part: Wording) -> list[dict[str, Any]]:
    lines = [
        fit(part.title, _PART_TITLE, escape, json_units),
        fit(part.text, _PART_LINE, escape, json_units),
        fit(part.facts_in_a_line, _PART_LINE, escape, json_units),
        fit_lines(part.quotes, _PART_QUOTES, escape, json_units, longest=_PART_QUOTE),
    ]
    blocks = [_section("\n".join(line for line in lines if line))]
    if part.link is not None and json_units(link := escape(part.link)) <= _PART_LINK:
        blocks.append(_section(f"<{link}|Open the page>"))
    return blocks


def escape(character: str) -> str:
    """So that nobody is called by `<!channel>` and no link says that it is another. A backtick, for
    which there is no escape, becomes another that looks like it: three would make code of all that
    follows."""
    for before, after in _ESCAPES.items():
        character = character.replace(before, after)
    return character


def _section(text: str) -> dict[str, Any]:
    return {"type": "section", "text": {"type": "mrkdwn", "text": text, "verbatim": True}}
