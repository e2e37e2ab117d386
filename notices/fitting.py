"""Cutting texts to what a receiver takes, escaped on the way: no cut goes through an escape."""

import json
from collections.abc import Callable, Sequence

Escape = Callable[[str], str]
Measure = Callable[[str], int]

CUT = "…"


def units(text: str) -> int:
    """Characters as UTF-16 counts them: never fewer than a receiver does."""
    return len(text) + sum(character > "\uffff" for character in text)


def json_units(text: str) -> int:
    """The same of the text as it stands in JSON, between its quotes."""
    return units(json.dumps(text, ensure_ascii=False)) - 2


def unchanged(text: str) -> str:
    return text


def fit(text: str, limit: int, escape: Escape = unchanged, measure: Measure = units) -> str:
    """`text` escaped, character by character, and cut with an ellipsis where it is longer than
    `limit`. `limit` is at least that of the ellipsis."""
    room = limit - measure(CUT)
    kept: list[str] = []
    used = end_of_room = 0
    for character in text:
        escaped = escape(character)
        used += measure(escaped)
        if used > limit:
            return "".join(kept[:end_of_room]).rstrip() + CUT
        kept.append(escaped)
        if used <= room:
            end_of_room = len(kept)
    return "".join(kept)


def fit_lines(
    items: Sequence[str],
    limit: int,
    escape: Escape = unchanged,
    measure: Measure = units,
    *,
    longest: int = 300,
) -> str:
    """As many of `items` as fit, each cut to `longest`, and then "and 12 more"."""
    room = limit - measure(f"\nand {len(items)} more")
    lines: list[str] = []
    for position, item in enumerate(items):
        line = fit(item, longest, escape, measure)
        needed = measure(line) + (measure("\n") if lines else 0)
        if needed > room:
            return "\n".join([*lines, f"and {len(items) - position} more"])
        room -= needed
        lines.append(line)
    return "\n".join(lines)
