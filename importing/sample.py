"""Made-up conversations for a first look, in `sample.tsv`: what customers of a shop that also
ships, bills and books might write within a day. Nobody in it exists."""

from pathlib import Path
from typing import NamedTuple


class SampleConversation(NamedTuple):
    minutes_ago: float
    author: str
    text: str


def _read() -> tuple[SampleConversation, ...]:
    lines = Path(__file__).with_suffix(".tsv").read_text(encoding="utf-8").splitlines()
    rows = (line.split("\t") for line in lines)
    return tuple(SampleConversation(float(minutes), *rest) for minutes, *rest in rows)


SAMPLE = _read()
