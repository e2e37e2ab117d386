"""One attack: a service of its own, a calm spell, then the attack from another process while a fair
client posts and somebody looks at /health; and the judgement."""

import multiprocessing
import threading
import time
import traceback
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from tests.attacks import crowds, resources, trust, work
from tests.attacks.client import CONVERSATIONS, Check, Client
from tests.attacks.target import FAIR, Target, running

CALM_SECONDS = 2.0
POST_EVERY_SECONDS = 0.05
HEALTH_EVERY_SECONDS = 0.2
HEALTH_TIMEOUT_SECONDS = 5.0
LONGEST_SECONDS = 60.0


@dataclass(frozen=True)
class Bounds:
    memory_mib: float = 300
    health_seconds: float = 1.0
    live_p99_ms: float = 100
    """Of the fair client's posts beside any attack."""
    fair_factor: float = 2
    """Beside an attack without a key, against the same client's calm p99 ..."""
    fair_floor_ms: float = 25
    """... which counts as this at least: below it, it is the machine that is measured."""


@dataclass(frozen=True)
class Attack:
    run: Callable[[Target], list[Check]]
    prepare: Callable[[Target], None] | None = None
    """Done before anything is measured but memory."""
    without_key: bool = False
    """Whoever has no key must take nothing from those who have one."""
    within_share: bool = False
    """Whoever has a key, and asks for too much with it, may not use up the share of others."""
    settings: dict[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class Result:
    limit: str
    peak_mib: float
    health_seconds: float
    live_p99: float
    calm_p99: float
    refused: int
    """429s for the fair client."""
    checks: list[Check]
    faults: list[str]


ATTACKS = {
    "stalled-streams": Attack(resources.stalled_streams, resources.long_texts),
    "stalled-lists": Attack(resources.stalled_lists, resources.long_texts),
    "stalled-exports": Attack(resources.stalled_exports, resources.long_texts),
    "stalled-conversations": Attack(resources.stalled_conversations),
    "pipelined": Attack(resources.pipelined, without_key=True),
    "many-streams": Attack(resources.many_streams),
    "many-headers": Attack(resources.many_headers, without_key=True),
    "endless-header": Attack(resources.endless_header, without_key=True),
    "endless-target": Attack(resources.endless_target, without_key=True),
    "endless-trailers": Attack(resources.endless_trailers),
    "large-heads": Attack(resources.large_heads, without_key=True),
    "withheld-bodies": Attack(resources.withheld_bodies),
    "slow-bodies": Attack(resources.slow_bodies),
    "dripping-bodies": Attack(resources.dripping_bodies),
    "chunked-bodies": Attack(resources.chunked_bodies),
    "idle-connections": Attack(resources.idle_connections, without_key=True),
    "idle-heads": Attack(resources.idle_heads, without_key=True),
    "wrong-keys": Attack(work.wrong_keys, without_key=True),
    "greedy-key": Attack(work.greedy_key, within_share=True),
    "readiness-flood": Attack(work.readiness_flood, without_key=True),
    "metrics-flood": Attack(work.metrics_flood, without_key=True),
    "crowded-health": Attack(crowds.crowded_health, without_key=True),
    "crowded-readiness": Attack(crowds.crowded_readiness, without_key=True),
    "crowded-wrong-keys": Attack(crowds.crowded_wrong_keys, without_key=True),
    "one-that-resets": Attack(crowds.one_that_resets, without_key=True),
    "many-that-reset": Attack(crowds.many_that_reset, without_key=True),
    "row-flood": Attack(work.row_flood, within_share=True),
    "live-rows": Attack(work.live_rows),
    "large-json": Attack(work.large_json),
    "emoji": Attack(work.emoji),
    "long-phrases": Attack(work.long_phrases, work.word_texts),
    "many-searches": Attack(work.many_searches, work.word_texts),
    "poisoned-reuse": Attack(trust.poisoned_reuse),
    "invented-topics": Attack(trust.invented_topics),
    "claimed-keys": Attack(trust.claimed_keys),
    "forged-turns": Attack(trust.forged_turns),
}


def attack(
    one: Attack,
    folder: Path,
    project: Path,
    bounds: Bounds,
    *,
    calm_seconds: float = CALM_SECONDS,
) -> Result:
    """Carry it out against a new service of the code in `project`."""
    with running(folder, project=project, keys=True, **one.settings) as target:
        return attack_running(one, target, bounds, calm_seconds=calm_seconds)


def attack_running(one: Attack, target: Target, bounds: Bounds, *, calm_seconds: float) -> Result:
    """Carry it out against a service that is there, and has the attack's settings."""
    if one.prepare:
        one.prepare(target)
    with _Watch(target) as watch:
        time.sleep(calm_seconds)
        calm = watch.begin_anew()
        checks = _in_another_process(one.run, target)
        beside = watch.begin_anew()
    alive = target.alive
    calm_p99, live_p99 = _p99(calm.latencies), _p99(beside.latencies)
    allowed = bounds.fair_factor * max(calm_p99, bounds.fair_floor_ms / 1000)
    peak = watch.peak_mib
    faults = {
        "DEAD": not alive,
        "memory": peak > bounds.memory_mib,
        "/health": beside.worst_health > bounds.health_seconds,
        "live posts": live_p99 * 1000 > bounds.live_p99_ms,
        "lost posts": beside.lost > 0,
        "fair client slowed": one.without_key and live_p99 > allowed,
        "fair client refused": (one.without_key or one.within_share) and beside.refused > 0,
        **{check.what: not check.ok for check in checks},
    }
    return Result(
        target.limit,
        peak,
        beside.worst_health,
        live_p99,
        calm_p99,
        beside.refused,
        checks,
        [fault for fault, there in faults.items() if there],
    )


def _in_another_process(run: Callable[[Target], list[Check]], target: Target) -> list[Check]:
    """So that the attacker's own work does not delay who measures."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])  # its imports take a second
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        future = pool.submit(run, target)
        try:
            return future.result(LONGEST_SECONDS)
        except Exception as error:
            traceback.print_exc()
            for process in list(multiprocessing.active_children()):
                process.kill()
            return [Check("the attack came to its end", type(error).__name__, False)]


def _p99(seconds: list[float]) -> float:
    return sorted(seconds)[int(len(seconds) * 0.99)] if seconds else 0.0


@dataclass
class _Spell:
    latencies: list[float] = field(default_factory=list)
    worst_health: float = 0.0
    refused: int = 0
    lost: int = 0
    """Posts of the fair client that got neither 202 nor 429."""


class _Watch:
    """A fair client with a key that posts at an even pace, and a look at /health, each on threads
    of their own. A post or a look under way counts for the spell in which it ends."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self.peak_mib = target.peak_mib
        """The most that the service ever held, as far as it was there to be asked."""
        self._spell = _Spell()
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._post), threading.Thread(target=self._look)]

    def __enter__(self) -> "_Watch":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def begin_anew(self) -> _Spell:
        """The spell that ends here."""
        ended, self._spell = self._spell, _Spell()
        return ended

    def _post(self) -> None:
        with Client(self._target.port, self._target.key(FAIR), timeout=10) as client:
            while not self._over.wait(POST_EVERY_SECONDS):
                started = time.monotonic()
                status, _ = client.ask("POST", CONVERSATIONS, b'{"text": "My parcel is late."}')
                spell = self._spell
                spell.latencies.append(time.monotonic() - started)
                spell.refused += status == 429
                spell.lost += status not in (202, 429)

    def _look(self) -> None:
        while not self._over.wait(HEALTH_EVERY_SECONDS):
            started = time.monotonic()
            with Client(self._target.port, timeout=HEALTH_TIMEOUT_SECONDS) as client:
                status, _ = client.ask("GET", "/health")
            took = time.monotonic() - started if status == 200 else HEALTH_TIMEOUT_SECONDS
            self._spell.worst_health = max(self._spell.worst_health, took)
            self.peak_mib = max(self.peak_mib, self._target.peak_mib)
