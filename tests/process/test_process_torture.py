"""A short piece of `python -m tools.torture`; and that it notices what is wrong."""

from pathlib import Path

import pytest

from tools.torture import faults, trace
from tools.torture.alert_storm import alert_storm
from tools.torture.restores import kill_backups, kill_restores
from tools.torture.storm import storm
from tools.torture.traced import prove
from tools.torture.trials import is_caught

pytestmark = pytest.mark.slow
needs_strace = pytest.mark.skipif(not trace.is_available(), reason="there is no strace here")


@pytest.mark.slow(longest=True)
@pytest.mark.timeout(240)
async def test_a_short_storm_of_faults_loses_and_doubles_nothing(tmp_path: Path) -> None:
    which = (faults.kill_at_a_write, faults.fill_the_disk, faults.rescue_from_outside)
    verdict, done = await storm(tmp_path, seconds=6, seed=7, which=which)
    print(f"\n{done}, {verdict}")
    assert verdict.is_good, verdict
    assert verdict.accepted > 20
    assert 0 < verdict.paid <= verdict.booked
    for kill in (kill_restores, kill_backups):
        tries = await kill(tmp_path / "insights.db", tmp_path, kills=2, seed=7)
        assert (tries.killed, tries.wrong) == (2, [])


@needs_strace
@pytest.mark.timeout(120)
async def test_each_202_is_on_the_disk_and_outlives_a_power_cut(tmp_path: Path) -> None:
    proof = await prove(tmp_path, posts=40, power_cuts=20, seed=7)
    assert (proof.acknowledged, len(proof.cuts)) == (40, 20)
    assert proof.walked >= 60, "no plan was walked meanwhile"
    assert (proof.too_soon, proof.lost, proof.damaged) == ([], [], [])


@needs_strace
@pytest.mark.timeout(120)
async def test_a_build_that_does_not_sync_is_noticed(tmp_path: Path) -> None:
    caught, by = await is_caught("synchronous_normal", tmp_path, seed=7)
    assert caught, by


@pytest.mark.slow(longest=True)
@pytest.mark.timeout(300)
async def test_kills_amid_alerts_lose_none_and_double_none(tmp_path: Path) -> None:
    verdict = await alert_storm(tmp_path, kills=6, seed=7, windows=False)
    print(f"\n{verdict}")
    assert verdict.is_good, verdict
    assert verdict.alerts > 5
    assert verdict.messages + verdict.dropped > 5 * verdict.alerts
    assert verdict.requests > verdict.messages
