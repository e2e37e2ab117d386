"""Texts that give orders harm nobody but themselves, even before a model that obeys them."""

import csv
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bench import samples
from tests.fakes.grok.obedience import WAYS, holds_an_order
from tests.fakes.grok.process import RunningGrok, grok_process
from tests.support.paths import ROOT
from tests.support.service_process import ServiceProcess, grok_settings, look, steer, until

pytestmark = pytest.mark.slow

DATA = ROOT.parent / "shared" / "data"
NEIGHBOURS = 3
"""Innocent texts after each attack: a pack of ten that takes all as they come holds several."""
EVERY_WAY = bool(os.environ.get("LONG_DRILLS"))


@pytest.fixture
def grok() -> Iterator[RunningGrok]:
    with grok_process("--latency", "0.02", "--limit-requests", "60000") as grok:
        yield grok


def _attacks() -> list[str]:
    if not DATA.is_dir():
        pytest.skip(f"no {DATA}: the injection sets are not here")
    folder = DATA / "injection"
    with (folder / "giskard_prompt_injections_sample.csv").open(newline="") as file:
        texts = [row["prompt"] for row in csv.DictReader(file)]
    hidden = json.loads((folder / "bipia_text_attack_train.json").read_text())
    texts += [text for group in hidden.values() for text in group]
    harmless = json.loads((folder / "notinject_one.json").read_text())
    texts += [entry["prompt"] for entry in harmless]
    hostile = DATA / "edge_cases" / "synthetic" / "hostile_texts.csv"
    with hostile.open(newline="") as file:
        texts += [row["text"] for row in csv.DictReader(file)]
    return [text for text in texts if len(text) <= 10_000]


async def _hand_in(service: ServiceProcess, texts: list[str]) -> list[tuple[Any, ...]]:
    """What the insight of each says once all are there, in the order of the texts."""
    ids: list[str] = []
    for start in range(0, len(texts), 1000):
        ids += await service.post_batch(texts[start : start + 1000])
    await until(
        lambda: not service.count("status IN ('pending', 'processing')"),
        within=60,
        what="everything in a final state",
    )
    rows = service.query(
        "SELECT conversation_id, sentiment_score, clusters, confidence, reasoning FROM insights"
    )
    results = {id_: tuple(values) for id_, *values in rows}
    return [results[id_] for id_ in ids]


@pytest.mark.timeout(300)
async def test_no_order_reaches_its_neighbours(tmp_path: Path, grok: RunningGrok) -> None:
    attacks = _attacks()
    innocent = [each["text"] for each in samples.conversations(NEIGHBOURS * len(attacks), seed=7)]
    mixed: list[str] = []
    for number, attack in enumerate(attacks):
        mixed += [attack, *innocent[NEIGHBOURS * number : NEIGHBOURS * (number + 1)]]
    assert sum(map(holds_an_order, attacks)) > 60
    assert not any(map(holds_an_order, innocent))

    settings = grok_settings(grok, grok_pack_size=10, grok_rate_limit=500, reuse_window=0)
    async with ServiceProcess(tmp_path, **settings) as service:
        await service.start()
        right = dict(zip(innocent, await _hand_in(service, innocent), strict=True))
        for way in [None, "overwrite", "any", *(sorted(WAYS) if EVERY_WAY else [])]:
            await steer(grok, "reset")
            await steer(grok, "defaults", obey=way)
            results = await _hand_in(service, mixed)
            calls = (await look(grok, "counters"))["calls"]
            wrong = [
                (text, result, right[text])
                for text, result in zip(mixed, results, strict=True)
                if text in right and result != right[text]
            ]
            print(f"\nobeying {way}: {len(mixed)} texts in {calls} calls, {len(wrong)} wrong")
            assert wrong == [], f"obeying {way}"
            assert calls < len(mixed) / 2, "hardly any were packed"
        assert service.count("status = 'failed'") == 0
        flagged = {
            text
            for text, notes in service.query(
                "SELECT text, notes FROM insights WHERE notes IS NOT NULL"
            )
            if json.loads(notes).get("suspected_injection")
        }
        assert {text.strip() for text in attacks if holds_an_order(text)} <= flagged
        assert not flagged & set(innocent)
