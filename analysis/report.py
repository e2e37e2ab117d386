"""A report as text: Markdown, HTML, and lines for whoever lays out no tables. Pure. What people
wrote is short and on one line in all, since a name with a line break in it would end its table, and
escaped in the first two."""

import html
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

_MARKS = re.compile(
    r"([\\`*{}\[\]()|<>~@]|(?<![^\W_])_|_(?![^\W_])|:(?=//)|(?<=\bwww)\.|&(?=#?\w+;))",
    re.IGNORECASE,
)
"""Also of what is made a link without any brackets. Within a word `_` is none, as in most ids."""
_UNSEEN = re.compile("[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]")
"""Controls, ends of lines and of paragraphs, and what turns the direction of others. Joiners stay:
names and emoji are made with them."""
_TEXT_LENGTH, _NAME_LENGTH = 140, 60
Report = Mapping[str, Any]
"""By the names of the API, in JSON's types."""


def to_markdown(report: Report) -> str:
    lines = [f"# {_title(report)}", ""]
    for heading, columns, rows in _tables(report):
        lines += [f"## {heading}", ""]
        if not rows:
            lines += ["None.", ""]
            continue
        lines.append(f"| {' | '.join(columns)} |")
        lines.append(f"|{'---|' * len(columns)}")
        lines += [f"| {' | '.join(map(_escaped, row))} |" for row in rows]
        lines.append("")
    return "\n".join(lines)


def to_html(report: Report) -> str:
    """A whole page, without scripts or anything from elsewhere."""
    title = html.escape(_title(report))
    parts = [
        "<!doctype html>",
        f'<html lang="en"><head><meta charset="utf-8"><title>{title}</title></head><body>',
        f"<h1>{title}</h1>",
    ]
    for heading, columns, rows in _tables(report):
        parts.append(f"<h2>{html.escape(heading)}</h2>")
        if not rows:
            parts.append("<p>None.</p>")
            continue
        parts.append(f"<table><tr>{''.join(f'<th>{html.escape(name)}</th>' for name in columns)}")
        for row in rows:
            cells = "".join(f"<td>{html.escape(cell)}</td>" for cell in row)
            parts.append(f"<tr>{cells}")
        parts.append("</table>")
    parts.append("</body></html>")
    return "\n".join(parts)


def to_lines(report: Report) -> str:
    """Without the title. Nothing in it is escaped."""
    parts = []
    for heading, (_, *names), rows in _tables(report):
        lines = [heading]
        for first, *others in rows:
            named = zip(names, others, strict=True)
            values = ", ".join(f"{name} {value}" for name, value in named if value)
            lines.append(f"• {first}: {values}")
        parts.append("\n".join(lines if rows else [heading, "None."]))
    return "\n\n".join(parts)


def _escaped(text: str) -> str:
    return _MARKS.sub(r"\\\1", text)


def _title(report: Report) -> str:
    so_far = "" if report["is_over"] else ", so far"
    if report["period"] == "day":
        return f"Report of {report['ending']}{so_far}"
    return f"Report of the week to {report['ending']}{so_far}"


_Table = tuple[str, Sequence[str], Sequence[Sequence[str]]]


def _tables(report: Report) -> Iterable[_Table]:
    times = {"totals": "now", "before": "before", "week_earlier": "week earlier"}
    if report["period"] == "week":
        del times["week_earlier"]  # which is the one before
    names = list(times.values())
    columns = ["count", *list(times)[1:], "negative"]
    had_any = report["before"]["count"] or report["week_earlier"]["count"]
    yield (
        "Totals",
        ("", *names),
        [
            [name.replace("_", " "), *(_number(report[each][name]) for each in times)]
            for name in ("count", "negative", "negative_share", "average_sentiment")
        ],
    )
    yield (
        "What rose" if had_any else "What came, with nothing before to compare with",
        ("topic", "posts", "expected", "examples"),
        [
            [
                _short(each["cluster"], _NAME_LENGTH),
                _number(each["count"]),
                _number(each["expected"]),
                " ".join(each["examples"]),
            ]
            for each in report["rising"]
        ],
    )
    yield (
        "Topics",
        ("topic", *names, "negative now"),
        [
            [
                _short(each["cluster"], _NAME_LENGTH),
                *(_number(each[name]) for name in columns),
            ]
            for each in report["topics"]
        ],
    )
    oldest = report["oldest_unanswered"]
    # Messages name none.
    names_authors = any(each["author"] for each in oldest)
    yield (
        "Oldest unanswered",
        ("conversation", "since", *(["author"] if names_authors else []), "text"),
        [
            [
                each["conversation_id"],
                each["timestamp"],
                *([_short(each["author"] or "", _NAME_LENGTH)] if names_authors else []),
                _short(each["text"]),
            ]
            for each in oldest
        ],
    )
    answers = report["answers"]
    yield (
        "Answers and spending",
        ("", "now"),
        [
            ["answered", _number(answers["answered"])],
            ["answered in time", _number(answers["answered_in_goal"])],
            ["median time to the answer", _duration(answers["median_answer_seconds"])],
            ["spent, in USD", _number(report["spending"]["cost_usd"])],
            ["spent before, in USD", _number(report["spending"]["before_usd"])],
        ],
    )


def _short(text: str, length: int = _TEXT_LENGTH) -> str:
    """In one line, without what is not seen but acts, such as turning the direction of others."""
    line = " ".join(_UNSEEN.sub(" ", text).split())
    return line if len(line) <= length else f"{line[:length]}..."


def _duration(seconds: float | None) -> str:
    """In its two largest units."""
    if seconds is None:
        return "none"
    rest = round(seconds)
    numbers: list[tuple[int, str]] = []
    for unit, size in (("d", 86_400), ("h", 3600), ("min", 60), ("s", 1)):
        number, rest = divmod(rest, size)
        if number or numbers:
            numbers.append((number, unit))
    return " ".join(f"{number} {unit}" for number, unit in numbers[:2] if number) or "under 1 s"


def _number(value: float | None) -> str:
    if value is None:
        return "none"
    return f"{value:,}" if isinstance(value, int) else f"{value:z,.2f}"
