"""Reports as Markdown and HTML: strangers wrote much of what is in their cells."""

import re
from collections.abc import Callable
from typing import Any

import pytest

from analysis.report import to_html, to_lines, to_markdown

PLAIN = "ana"
NASTY = [
    "evil\n# Heading\n| a | b |",
    "a\r\n\r\n<script>alert(1)</script>",
    "a\u2028# b\u0085# c\x0b# d\x00\x1b[31m",
    "\u202e\u2066turned around",
    "[link](http://evil.example) ![image](http://evil.example/i.png) <http://evil.example>",
    "`code` **bold** ~~gone~~ | cell",
    "long " * 100,
]


def report(words: str) -> dict[str, Any]:
    """All that people write is `words`."""
    counts = {"count": 3, "negative": 1, "before": 2, "week_earlier": 2, "expected": 1.0}
    totals = {"count": 3, "negative": 1, "negative_share": 0.33, "average_sentiment": None}
    return {
        "period": "day",
        "ending": "2026-03-03",
        "is_over": True,
        "totals": totals,
        "before": totals,
        "week_earlier": totals,
        "rising": [{"cluster": words, "examples": ["conv_00000001"], **counts}],
        "topics": [{"cluster": words, **counts}],
        "oldest_unanswered": [
            {
                "conversation_id": "conv_00000001",
                "timestamp": "2026-03-03T10:00:00Z",
                "author": words,
                "text": words,
            }
        ],
        "answers": {"answered": 1, "answered_in_goal": None, "median_answer_seconds": None},
        "spending": {"cost_usd": 0.0, "before_usd": 0.0},
    }


@pytest.mark.parametrize("words", NASTY)
@pytest.mark.parametrize("write", [to_markdown, to_html, to_lines])
def test_what_strangers_wrote_stays_short_and_in_its_cell(
    write: Callable[[dict[str, Any]], str], words: str
) -> None:
    lines = write(report(words)).splitlines()

    assert len(lines) == len(write(report(PLAIN)).splitlines())
    assert all(len(line) < 700 for line in lines)
    assert all(line.isprintable() for line in lines)
    if write is not to_lines:
        assert not any(re.search(r"(?<!\\)<(script|http)", line) for line in lines)


@pytest.mark.parametrize("words", NASTY)
def test_no_mark_of_a_stranger_means_anything_in_markdown(words: str) -> None:
    cells = [line for line in to_markdown(report(words)).split("\n") if line.startswith("| ")]
    plain = [line for line in to_markdown(report(PLAIN)).split("\n") if line.startswith("| ")]

    bare = [re.sub(r"\\[\\`*_{}\[\]()|<>~@:.&]", "", cell) for cell in cells]
    assert [each.count("|") for each in bare] == [each.count("|") for each in plain]
    assert not set("".join(bare)) & set("`*[]()<>~")


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        ("see http://a.example", r"see http\://a.example"),
        ("see WWW.a.example", r"see WWW\.a.example"),
        ("ask a@b.example", r"ask a\@b.example"),
        ("&lt;b&gt; &#42; R&D", r"\&lt;b\&gt; \&#42; R&D"),
        ("at 10:30, v1.2", "at 10:30, v1.2"),
        ("billing_problems of conv_1f2e3d4c", "billing_problems of conv_1f2e3d4c"),
        ("_so_ or __so__, a_ b", r"\_so\_ or \_\_so\_\_, a\_ b"),
    ],
)
def test_nothing_becomes_a_link_or_another_character_by_itself(words: str, shown: str) -> None:
    assert f"| {shown} |" in to_markdown(report(words))


def test_lines_say_what_the_tables_say() -> None:
    assert to_lines(report(PLAIN)).split("\n\n")[:3] == [
        "Totals\n"
        "• count: now 3, before 3, week earlier 3\n"
        "• negative: now 1, before 1, week earlier 1\n"
        "• negative share: now 0.33, before 0.33, week earlier 0.33\n"
        "• average sentiment: now none, before none, week earlier none",
        "What rose\n• ana: posts 3, expected 1.00, examples conv_00000001",
        "Topics\n• ana: now 3, before 2, week earlier 2, negative now 1",
    ]
    assert "What rose\nNone." in to_lines({**report(PLAIN), "rising": []})


@pytest.mark.parametrize(("mood", "shown"), [(-0.0019, "0.00"), (-0.005, "-0.01"), (0.0, "0.00")])
def test_nothing_is_less_than_nothing(mood: float, shown: str) -> None:
    asked = report(PLAIN)
    asked["totals"]["average_sentiment"] = mood
    assert f"average sentiment: now {shown}," in to_lines(asked)


def test_a_week_has_one_column_for_the_week_before() -> None:
    text = to_markdown({**report(PLAIN), "period": "week"})
    assert text.startswith("# Report of the week to 2026-03-03\n")
    assert "|  | now | before |\n" in text
    assert "| topic | now | before | negative now |\n|---|---|---|---|\n| ana | 3 | 2 | 1 |" in text


@pytest.mark.parametrize(
    ("period", "title"),
    [("day", "Report of 2026-03-03, so far"), ("week", "Report of the week to 2026-03-03, so far")],
)
def test_what_is_not_over_is_of_so_far(period: str, title: str) -> None:
    text = to_html({**report(PLAIN), "period": period, "is_over": False})
    assert f"<h1>{title}</h1>" in text


def test_where_nothing_came_before_nothing_is_said_to_have_risen() -> None:
    nothing = {"count": 0, "negative": 0, "negative_share": None, "average_sentiment": None}
    text = to_lines({**report(PLAIN), "before": nothing, "week_earlier": nothing})
    assert "What rose" not in text
    for name in ("before", "week_earlier"):
        assert "What rose" in to_lines({**report(PLAIN), name: nothing})
    assert "What came, with nothing before to compare with\n• ana: posts 3" in text


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (None, "none"),
        (0.2, "under 1 s"),
        (59.6, "1 min"),
        (130_839.6, "1 d 12 h"),
        (3605, "1 h"),
        (93_600, "1 d 2 h"),
        (90, "1 min 30 s"),
    ],
)
def test_times_to_the_answer_are_told_in_words(seconds: float | None, shown: str) -> None:
    answers = {"answered": 1, "answered_in_goal": None, "median_answer_seconds": seconds}
    text = to_lines({**report(PLAIN), "answers": answers})
    assert f"• median time to the answer: now {shown}" in text
