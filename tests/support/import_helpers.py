"""What comes of a file's content, row by row, without a service."""

import json
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from importing.errors import ImportFailed
from importing.files import opened
from importing.pipeline import Options, Pipeline
from importing.records import Record
from importing.report import Tally
from importing.rows import Item


@dataclass
class Outcome:
    pipeline: Pipeline
    tally: Tally
    bodies: list[dict[str, Any]]
    items: list[Item]
    rejected: list[tuple[int, str]]

    @property
    def texts(self) -> list[str]:
        return [body["text"] for body in self.bodies]


Read = Callable[..., Outcome]


def reader(folder: Path) -> Read:
    """`read("text\\nhello\\n", dates="dmy")`: what comes of a file with this content."""

    def do(content: str | bytes | Path, *, encoding: str | None = None, **options: Any) -> Outcome:
        path = content if isinstance(content, Path) else folder / "rows.csv"
        if isinstance(content, str):
            path.write_text(content, encoding="utf-8", newline="")
        elif isinstance(content, bytes):
            path.write_bytes(content)
        tally = Tally()
        rejected: list[tuple[int, str]] = []

        def reject(record: Record, reason: str) -> None:
            tally.reject(record, reason)
            rejected.append((record.line, reason))

        with (
            opened(str(path), encoding) as source,
            closing(Pipeline(source, Options(**options), tally=tally, reject=reject)) as pipeline,
        ):
            items = list(pipeline.items())
        rows = sum(len(item.records) for item in items)
        assert tally.read == rows + tally.duplicates + tally.rejected
        return Outcome(pipeline, tally, [json.loads(each.json) for each in items], items, rejected)

    return do


def refusal(read: Read, content: str | bytes | Path, **options: Any) -> str:
    with pytest.raises(ImportFailed) as caught:
        read(content, **options)
    return str(caught.value)
