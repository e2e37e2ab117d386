"""The lines that this project has made up to train the offline model on: what customers of a shop,
a carrier, an airline or a provider write, in seventeen languages. The folder beside it holds them.

A file is named for its language. `[topic]` begins a part, `- text | text` are complaints, `0` says
nothing of a mood, `+` is praise; what stands under `[lexicon]` are single words. In a file that
begins with a line of languages, each line has one text in all of them.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

_FOLDER = Path(__file__).parent / "made_up_lines"
_SIGNS = {"-": 0, "0": 1, "+": 2}


class Line(NamedTuple):
    """`topic` is None where a line stands for none."""

    text: str
    label: int
    language: str
    topic: str | None


def lines() -> Iterator[Line]:
    for path in sorted(_FOLDER.glob("*.txt")):
        topic: str | None = None
        languages: list[str] = []
        for line in path.read_text(encoding="utf-8").splitlines():
            if line.startswith("|"):
                languages = line[1:].split("|")
            elif line.startswith("["):
                topic = line[1:-1]
            elif languages:
                head, *texts = line.split("|")
                sign, topic = head.split()
                for language, text in zip(languages, texts, strict=True):
                    yield Line(text.strip(), _SIGNS[sign], language, topic)
            else:
                sign, _, rest = line.partition(" ")
                for text in rest.split(" | "):
                    yield Line(text.strip(), _SIGNS[sign], path.stem, topic)
