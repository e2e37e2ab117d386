"""The short part of `make attack`: what needs no deadline to pass and no table to be filled.

The attacks go one after the other to one service, a process of its own under a limit of memory.
What counts here is what the attacker saw, the memory, and whether the service lives and answers:
how long others waited is measured by `make attack` on a machine that has nothing else to do.
"""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.attacks.runner import ATTACKS, Bounds, attack, attack_running
from tests.attacks.target import Target, memory_limit, running
from tests.support.paths import ROOT

pytestmark = [pytest.mark.slow, pytest.mark.shares_a_fixture]

SHORT = (
    "many-headers", "endless-header", "endless-target", "endless-trailers", "large-heads",
    "chunked-bodies", "withheld-bodies", "many-streams", "live-rows", "wrong-keys",
    "poisoned-reuse", "invented-topics", "claimed-keys", "forged-turns",
)  # fmt: skip
UNTIMED = Bounds(health_seconds=10, live_p99_ms=10_000, fair_floor_ms=10_000)


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    with running(tmp_path_factory.mktemp("attacked"), keys=True) as target:
        yield target


@pytest.mark.parametrize("name", SHORT)
def test_it_holds_against(name: str, target: Target) -> None:
    assert not ATTACKS[name].settings

    result = attack_running(ATTACKS[name], target, UNTIMED, calm_seconds=0.2)

    assert result.faults == [], result


def test_what_is_out_of_bounds_is_told(tmp_path: Path) -> None:
    nothing_is_enough = Bounds(memory_mib=1, health_seconds=0, live_p99_ms=0)

    result = attack(ATTACKS["wrong-keys"], tmp_path, ROOT, nothing_is_enough, calm_seconds=0.2)

    assert {"memory", "/health", "live posts"} <= set(result.faults)
    assert "DEAD" not in result.faults


def test_memory_is_limited_for_real() -> None:
    take = "import sys; sys.stdin.readline(); print(len(bytearray(1600 * 2**20)))"
    with (
        subprocess.Popen(
            [sys.executable, "-c", take],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        ) as process,
        memory_limit(process.pid),
    ):
        out, _ = process.communicate(b"\n")

    assert (out, process.returncode != 0) == (b"", True)
