"""Which part of the torture has to notice which planted bug."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tools.torture.alert_storm import alert_storm
from tools.torture.alert_verdict import AlertVerdict
from tools.torture.faults import (
    KILLS,
    Fault,
    kill_at_a_write,
    kill_at_random,
    rescue_from_outside,
)
from tools.torture.planted import PLANTS
from tools.torture.storm import RATES, storm
from tools.torture.traced import prove
from tools.torture.verdict import Verdict

_APP = "tools.torture.planted:app"


@dataclass(frozen=True, slots=True)
class StormTrial:
    which: Sequence[Fault]
    grok_faults: str = ""
    seconds: float = 8.0


_BY_STORM = {
    "no_fence": StormTrial([rescue_from_outside]),
    "rescue_by_age": StormTrial(KILLS, seconds=4.0),
    "charged_for_waiting": StormTrial([kill_at_random], grok_faults=RATES),
    "ledger_apart": StormTrial([kill_at_a_write], seconds=12.0),
    "rollups_apart": StormTrial([kill_at_a_write], seconds=12.0),
}
BY_TRACE = {"synchronous_normal", "answered_before_the_commit"}
_BY_ALERTS = "outbox_apart"
assert {*_BY_STORM, *BY_TRACE, _BY_ALERTS} == PLANTS.keys()


async def is_caught(name: str, folder: Path, *, seed: int) -> tuple[bool, str]:
    """Whether the torture notices this bug, and by what."""
    if name in BY_TRACE:
        proof = await prove(
            folder,
            posts=30,
            power_cuts=10,
            seed=seed,
            app=_APP,
            torture_plant=name,
        )
        found = f"{len(proof.too_soon)} acknowledged too soon, {len(proof.lost)} lost by power cuts"
        return bool(proof.too_soon and proof.lost), found
    verdict: Verdict | AlertVerdict
    if name == _BY_ALERTS:
        verdict = await alert_storm(
            folder, kills=6, seed=seed, windows=False, app=_APP, torture_plant=name
        )
        return _first_fault(verdict)
    trial = _BY_STORM[name]
    verdict, _ = await storm(
        folder,
        seconds=trial.seconds,
        seed=seed,
        which=trial.which,
        grok_faults=trial.grok_faults,
        app=_APP,
        torture_plant=name,
    )
    return _first_fault(verdict)


def _first_fault(verdict: Verdict | AlertVerdict) -> tuple[bool, str]:
    for what in ("lost", "doubled", "stuck", "wrong"):
        if found_ := getattr(verdict, what, None):
            return True, f"{len(found_)} {what}, such as {found_[0]}"
    return False, "nothing"
