"""Messages as words for people, before they take the shape of a receiver.

Everything in it may come from strangers (topics, words, texts), so it is clean: no control
characters but line breaks and joiners, nothing that cannot be written as UTF-8. What else is to be
escaped is for each shape to know.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from analysis.alerts import SAMPLE
from analysis.messages import Message, MessageType


class Tone(StrEnum):
    ALARM = "alarm"
    CALM = "calm"
    PLAIN = "plain"


@dataclass(frozen=True, slots=True)
class Wording:
    """`facts` are names and values; `quotes` are what people wrote; `text` may have many lines, and
    be long where it is a report. `link` is an address of the web or None. `parts` are the words of
    each of several messages: then there are none here but a title."""

    title: str
    text: str
    facts: Sequence[tuple[str, str]] = ()
    quotes: Sequence[str] = ()
    link: str | None = None
    tone: Tone = Tone.PLAIN
    parts: Sequence["Wording"] = ()

    @property
    def facts_in_a_line(self) -> str:
        return " · ".join(f"{name}: {value}" for name, value in self.facts)


def words_of(*messages: Message) -> Wording:
    """Of one message, or of several that are told together."""
    parts = [_words_of_one(message) for message in messages]
    if len(parts) == 1:
        return parts[0]
    counts = Counter(message.type for message in messages)
    counted = ", ".join(
        f"{counts[type_]} {one if counts[type_] == 1 else many}"
        for type_, (one, many) in _COUNTED.items()
        if counts[type_]
    )
    tone = Tone.ALARM if any(part.tone is Tone.ALARM for part in parts) else Tone.CALM
    return Wording(counted, "", tone=tone, parts=parts)


_COUNTED = {
    MessageType.MACHINE: ("message about the service", "messages about the service"),
    MessageType.ALERT_OPENED: ("alert", "alerts"),
    MessageType.ALERT_CLOSED: ("over", "over"),
}


def _words_of_one(message: Message) -> Wording:
    data = message.data
    match message.type:
        case MessageType.ALERT_OPENED:
            return _alert(data, f"Alert: {data.get('rule')}", Tone.ALARM)
        case MessageType.ALERT_CLOSED:
            return _alert(data, f"Over: {data.get('rule')}", Tone.CALM)
        case MessageType.MACHINE:
            is_over = data.get("state") == "closed"
            return Wording(
                "Over: trouble of the service" if is_over else "The service needs somebody",
                clean(data.get("sentence")),
                _facts([("Since", data.get("since"))]),
                tone=Tone.CALM if is_over else Tone.ALARM,
            )
        case MessageType.REPORT:
            return Wording(
                clean(f"Report of the {data.get('period')} that ended {data.get('ending')}"),
                clean(data.get("lines") or data.get("markdown")),  # earlier versions told no lines
                link=_link(data.get("link")),
            )
        case MessageType.TEST:
            return Wording("A test", clean(data.get("sentence")))


def _alert(data: Mapping[str, Any], title: str, tone: Tone) -> Wording:
    evidence: Mapping[str, Any] = data.get("evidence") or {}
    opened, closed = _moment(data.get("opened_at")), _moment(data.get("closed_at"))
    what = _what(data, evidence)
    if tone is Tone.CALM:
        sentence = f"{what[:1].upper()}{what[1:]}, from {opened} to {closed}."
    else:
        sentence = f"{what[:1].upper()}{what[1:]}, since {opened}."
    if (held_back := data.get("held_back")) is not None:
        sentence += f" {held_back}"
    sample = f" among the newest {SAMPLE}" if (evidence.get("count") or 0) > SAMPLE else ""
    facts = [
        ("Count", evidence.get("count")),
        ("Expected", evidence.get("expected")),
        ("Negative", _percent(evidence.get("share"))),
        ("Peak", data.get("peak")),
        (f"Authors{sample}", evidence.get("authors")),
        (f"Copies{sample}", _percent(evidence.get("copies"))),
        ("Suspected injections", evidence.get("suspected") or None),
        ("Words", ", ".join(map(str, evidence.get("words") or ()))),
        ("Conversations", ", ".join(map(str, evidence.get("conversations") or ()))),
    ]
    return Wording(
        _line(title),
        _line(sentence),
        _facts(facts),
        [text for text in map(_line, evidence.get("texts") or ()) if text],
        _link(evidence.get("link")),
        tone,
    )


def _what(data: Mapping[str, Any], evidence: Mapping[str, Any]) -> str:
    """What an alert is about, without its time."""
    count, expected = evidence.get("count"), evidence.get("expected")
    posts = "a post" if count == 1 else f"{count} posts"
    if suspected := evidence.get("suspected"):
        # The page shows them as well, so that its number is another.
        posts += f" (beside {suspected} that may be meant to mislead and do not count)"
    match data.get("kind"):
        case "rising":
            usual = "" if expected is None else f", usually {expected:.3g}"
            # Without a key it is about all that the filter finds.
            return f"{str(data.get('key') or '').replace('_', ' ')} rising: {posts}{usual}".strip()
        case "share":
            return f"{_percent(evidence.get('share'))} of {posts} negative"
        case "single":
            return f"{posts} that cannot wait"
    return posts


def _moment(time: Any) -> str:
    """`2026-11-28T12:48:00.123Z` as people read it."""
    return f"{str(time)[:16].replace('T', ' ')} UTC"


def _facts(named: Sequence[tuple[str, Any]]) -> Sequence[tuple[str, str]]:
    shown = (
        (name, f"{value:.4g}" if isinstance(value, float) else clean(value).replace("\n", " "))
        for name, value in named
    )
    return [(name, value) for name, value in shown if value]


def _line(text: Any) -> str:
    return clean(text).replace("\n", " ")


def _percent(share: Any) -> str | None:
    return f"{100 * share:.0f} %" if isinstance(share, int | float) else None


def _link(link: Any) -> str | None:
    """None for one that a receiver would not take: relative, or too long for any."""
    if not isinstance(link, str) or not link.startswith(("http://", "https://")):
        return None
    shown = clean(link)
    return link if shown == link and len(link) <= 1000 and not set(link) & set(' <>"|\\') else None


_STAYS = frozenset("\n\u200c\u200d")
"""Joiners too: words of Persian and Hindi, and many emoji, are made with them."""


def clean(value: Any) -> str:
    text = "" if value is None else str(value)
    text = text.encode(errors="replace").decode()
    return "".join(c if c.isprintable() or c in _STAYS else " " for c in text).strip()
