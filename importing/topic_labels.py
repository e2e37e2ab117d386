"""How often an analyser names the topic that people have named: the part of `evaluate.py` that is
about topics."""

import csv
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from analysis.outcomes import Analysis, Reply
from analysis.parsing import snake_case
from importing.errors import ImportFailed
from runtime.plurals import counted

Ask = Callable[[Sequence[str]], Awaitable[Reply]]


@dataclass(frozen=True, slots=True)
class Named:
    """A text, the topics that people have named, any of which is right, and those of the analyser,
    the best one first; none where it gave no answer."""

    text: str
    topics: frozenset[str]
    said: tuple[str, ...] = ()


def load(path: str, text_column: str, topic_column: str, names: str | None) -> list[Named]:
    """The rows of a CSV that have a topic, several with | between them. `names` is a file with a
    line for each label, `Late Parcel = delivery_problems, travel_delays`; labels that it leaves out
    are no topics. Without it each label is a topic's name. Raises ImportFailed."""
    meaning = None if names is None else _meanings(names)
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ImportFailed(f"{path}: {error}") from None
    if not rows or text_column not in rows[0] or topic_column not in rows[0]:
        raise ImportFailed(f"{path}: it has no columns {text_column} and {topic_column}")
    found = []
    for row in rows:
        labels = [label.strip() for label in (row[topic_column] or "").split("|")]
        topics = _topics(labels, meaning)
        if topics and row[text_column]:
            found.append(Named(row[text_column], topics))
    if not found:
        raise ImportFailed(f"{path}: no row has a text and a topic")
    return found


def _meanings(path: str) -> dict[str, frozenset[str]]:
    """Raises ImportFailed."""
    try:
        lines = Path(path).read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ImportFailed(f"{path}: {error}") from None
    pairs = [line.split("=", 1) for line in lines if "=" in line]
    return {
        label.strip(): frozenset(snake_case(topic) for topic in topics.split(","))
        for label, topics in pairs
    }


def _topics(labels: Iterable[str], meaning: Mapping[str, frozenset[str]] | None) -> frozenset[str]:
    if meaning is None:
        return frozenset(filter(None, map(snake_case, labels)))
    return frozenset[str]().union(*(meaning.get(label, frozenset()) for label in labels))


async def ask(named: Sequence[Named], pack_size: int, ask_pack: Ask) -> list[Named]:
    answered = []
    for start in range(0, len(named), pack_size):
        pack = named[start : start + pack_size]
        reply = await ask_pack([each.text for each in pack])
        for each, answer in zip(pack, reply.answers, strict=True):
            said = answer.clusters if isinstance(answer, Analysis) else ()
            answered.append(Named(each.text, each.topics, said))
    return answered


def figures(named: Sequence[Named]) -> dict[str, Any]:
    """Shares of all; by topic, how many texts have it and in how many it, or another that is right
    for the text, comes first."""
    count = len(named)
    counts = Counter(topic for each in named for topic in each.topics)
    right = Counter(topic for each in named if _is_right(each, 1) for topic in each.topics)
    return {
        "count": count,
        "first": sum(_is_right(each, 1) for each in named) / count,
        "first_two": sum(_is_right(each, 2) for each in named) / count,
        "by_topic": {
            topic: {"count": texts, "first": right[topic] / texts}
            for topic, texts in counts.most_common()
        },
    }


def _is_right(each: Named, among: int) -> bool:
    return not each.topics.isdisjoint(each.said[:among])


def show(found: Mapping[str, Any]) -> None:
    print(f"{found['file']}: {counted(found['count'], 'text')} with a topic,"
          f" analyser {found['analyser']} ({found['model']})")  # fmt: skip
    print(f"  right topic first          {found['first']:.3f}")
    print(f"  right among the first two  {found['first_two']:.3f}")
    print(f"\n{'By topic':26} texts  right topic first")
    for topic, each in found["by_topic"].items():
        print(f"  {topic:22} {each['count']:7,}  {each['first']:17.3f}")
