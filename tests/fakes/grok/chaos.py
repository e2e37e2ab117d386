"""The worst day: a Grok that fails in every listed way, and a service that is killed again and
again meanwhile. What became of each conversation, and of the money.

For the tests at a small size, for the benchmarks at the full one.
"""

import asyncio
import random
from collections import Counter
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from tests.fakes.grok.faults import GROUPS
from tests.fakes.grok.process import RunningGrok, grok_process
from tests.support.call_ledger import Ledger, compare
from tests.support.service_process import ServiceProcess, grok_settings, look, steer, until

DIED = "the worker died while analysing this"
FAULT_RATE = 0.15
TRIES = 4
"""How often a conversation is asked about in all before trouble on the way fails it. A try that a
death cut off counts, though Grok may not have seen it."""
# Texts with one of these words are refused for themselves, each in its own way.
REFUSED = {f"forbidden{number}": reply for number, reply in enumerate(GROUPS["this_text"])}
_BATCH = 100


@dataclass
class Day:
    """What a day came to. `faults` says in words what is not as it must be."""

    conversations: int
    kills: int
    outcomes: Counter[str] = field(default_factory=Counter)
    calls: Counter[str] = field(default_factory=Counter)
    ledger: Ledger = field(default_factory=Ledger)
    faults: list[str] = field(default_factory=list)


async def live_through(
    folder: Path, *, conversations: int, kills: int, within: float, seed: int = 1, **settings: Any
) -> Day:
    """Hand in so many, and let it all happen until everything is in a final state, for `within`
    seconds after the last kill at most. `settings` are the service's."""
    draw = random.Random(seed)
    options = ["--latency", "0.4", "--latency-sigma", "0.5", "--seed", str(seed)]
    options += ["--limit-requests", "30000", "--bill-abandoned"]
    options += ["--fault-rate", str(FAULT_RATE), "--faults", "passing,odd_answers,hang"]
    words = list(REFUSED)
    texts = [f"day {number} is late" for number in range(conversations)]
    for number in range(0, conversations, 25):
        texts[number] += f" {words[number // 25 % len(words)]}"
    with grok_process(*options) as grok:
        for word, reply in REFUSED.items():
            await steer(grok, "when_text", needle=word, reply=reply)
        basic = {"grok_rate_limit": 100, "grok_concurrency": 10, "grok_pack_size": 2}
        async with ServiceProcess(
            folder, **grok_settings(grok, **{**basic, "grok_timeout": 3, **settings})
        ) as service:
            await service.start()
            await _storm(service, grok, texts, kills, draw)
            settled = await _settled(service, within)
            await service.kill()
            day = Day(conversations, kills)
            if not settled:
                waiting = service.count("status IN ('pending', 'processing')")
                day.faults.append(f"{waiting} not in a final state after {within} s")
            day.calls = Counter((await look(grok, "counters"))["by_status"])
            sent = (await look(grok, "texts"))["sent"]
            _judge_outcomes(day, service, texts, sent)
            # A death leaves its calls to be closed by the next life.
            await service.start()
            await service.kill()
            day.ledger = compare(service.query, await look(grok, "bill"))
            day.faults += day.ledger.faults
    return day


async def _storm(
    service: ServiceProcess,
    grok: RunningGrok,
    texts: list[str],
    kills: int,
    draw: random.Random,
) -> None:
    """The texts arrive, Grok misbehaves, and the service is killed so many times, in every third
    life while Grok refuses everything until a person acts."""
    spells = list(GROUPS["until_a_person_acts"])
    draw.shuffle(spells)
    lives = kills + 1
    share = -(-len(texts) // lives)
    for life in range(lives):
        for start in range(life * share, min((life + 1) * share, len(texts)), _BATCH):
            end = min(start + _BATCH, (life + 1) * share)
            await service.post_batch(texts[start:end])
        if life == kills:
            return
        await until(partial(_in_flight, grok), within=30, what="calls in flight")
        await asyncio.sleep(draw.uniform(0.0, 0.7))
        if life % 3 == 2:
            await steer(grok, "defaults", default=spells[life // 3 % len(spells)], fault_rate=0)
            await asyncio.sleep(0.3)
            await steer(grok, "defaults", default="ok", fault_rate=FAULT_RATE)
        await service.kill()
        await service.start()


async def _in_flight(grok: RunningGrok) -> bool:
    return bool((await look(grok, "counters"))["in_flight"])


async def _settled(service: ServiceProcess, within: float) -> bool:
    unsettled = "status IN ('pending', 'processing')"
    try:
        await until(lambda: not service.count(unsettled), within=within, what="all settled")
    except AssertionError:
        return False
    return True


def _judge_outcomes(
    day: Day, service: ServiceProcess, texts: list[str], sent: dict[str, int]
) -> None:
    rows = service.query(
        "SELECT conversations.text, status, last_error, deaths, count(insights.id)"
        " FROM conversations"
        " LEFT JOIN insights ON conversation_id = conversations.id GROUP BY conversations.id"
    )
    if Counter(row[0] for row in rows) != Counter(texts):
        day.faults.append("what is stored is not what was handed in")
    for text, status, last_error, deaths, insights in rows:
        refused = text.rpartition(" ")[2] in REFUSED
        if status == "completed":
            outcome, right = "completed", not refused
        elif last_error == DIED:
            outcome, right = "failed by three deaths", deaths == 3
        elif refused:
            outcome, right = "failed, refused for itself", status == "failed"
        else:
            outcome, right = f"{status}, trouble on the way", sent.get(text, 0) + deaths >= TRIES
        day.outcomes[outcome] += 1
        if not right or insights != (status == "completed"):
            day.faults.append(f"{outcome}: {text!r} ({last_error}), {insights} insights")
