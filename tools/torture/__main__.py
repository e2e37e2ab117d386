"""python -m tools.torture [--minutes 3] [--seed 7] [--json FILE] [--planted NAME|all]
python -m tools.torture --postgres [--minutes 3] [--seed 7] [--json FILE]
python -m tools.torture --alerts 200 [--seed 7] [--json FILE]
python -m tools.torture --restores 200 [--seed 7] [--json FILE]

Runs the real service, on SQLite and against a fake Grok on this machine, under faults that are
drawn from the seed. What became of everything is judged from what the clients and the fake wrote
down and from the file. Exit status: 0 all is well, 1 something was lost, doubled, stuck or wrong
(or a planted bug was not noticed), which is named, 2 a program that it takes is not here. With
`--postgres` there are two replicas on a PostgreSQL and a Redis of their own. With `--alerts` the
service is killed so often amid alerts and deliveries; receivers answer 200, 500, 429, 410 and
redirects, hang and reset. With `--restores` so many restores are killed, so many backups, and so
many services that make one.
"""

import argparse
import asyncio
import json
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bench.many_insights import build_once
from config import Settings
from database import sqlite_url
from runtime.logs import set_up_logs
from tools.torture import faults, server_faults, trace, trials
from tools.torture.alert_storm import alert_storm
from tools.torture.faults import Fault
from tools.torture.planted import PLANTS
from tools.torture.restores import kill_backups, kill_restores, kill_services
from tools.torture.stores import missing_program, servers
from tools.torture.storm import RATES, storm
from tools.torture.traced import Proof, prove
from tools.torture.verdict import Verdict

_POWER_CUTS = 20
_LINES = (
    *("accepted", "stored", "completed", "failed", "failed_by_kills"),
    *("lost", "doubled", "stuck", "wrong", "calls", "paid", "booked"),
)
_MANY_SHOWN = 20
_RESTORED = 5000
"""Insights in what is backed up and restored under kills."""


async def torture(folder: Path, *, minutes: float, seed: int) -> dict[str, Any]:
    """All of it, for about so long; the report, as it goes into the JSON."""
    seconds = 60 * minutes
    started = time.monotonic()
    report = _begun(minutes, seed)
    if trace.is_available():
        proof = await prove(_new(folder, "traced"), posts=60, power_cuts=_POWER_CUTS, seed=seed)
        report["power_cuts"] = _as_json(proof)
    else:
        print("There is no strace here: that each 202 is on the disk is NOT proved.")
    which = faults.EVERY
    if await faults.can_turn_read_only(folder):
        which = (*which, faults.turn_read_only)
    else:
        print("No file can be made immutable here: the database does NOT turn read-only.")
    of_all = _new(folder, "all")
    verdict, done = await storm(
        of_all, seconds=0.7 * seconds, seed=seed, which=_and_time(which, seconds)
    )
    restores = await kill_restores(
        of_all / "insights.db", _new(folder, "restores"), kills=5, seed=seed
    )
    verdict.wrong += restores.wrong
    rates, more = await storm(
        _new(folder, "rates"),
        seconds=0.3 * seconds,
        seed=seed,
        which=faults.KILLS,
        grok_faults=RATES,
    )
    return _ended(report, started, verdict, rates, done + more)


async def torture_on_servers(folder: Path, *, minutes: float, seed: int) -> dict[str, Any]:
    """As `torture`, of two replicas, without what only a file can meet."""
    started = time.monotonic()
    report = _begun(minutes, seed)
    print("On PostgreSQL: power cuts, full disks and killed backups are NOT tried.")
    which = _and_time(server_faults.EVERY, 60 * minutes)
    with servers() as own:
        verdict, done = await storm(
            _new(folder, "all"), seconds=42 * minutes, seed=seed, which=which, servers=own
        )
    with servers() as own:
        rates, more = await storm(
            _new(folder, "rates"),
            seconds=18 * minutes,
            seed=seed,
            which=faults.KILLS,
            grok_faults=RATES,
            servers=own,
        )
    return _ended(report, started, verdict, rates, done + more)


def _begun(minutes: float, seed: int) -> dict[str, Any]:
    at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    return {"seed": seed, "minutes": minutes, "cpus": os.cpu_count(), "at": at, "power_cuts": None}


def _and_time(which: Sequence[Fault], seconds: float) -> Sequence[Fault]:
    """With those that are about clocks and leases, where they can be had."""
    if faults.faketime_library() is None:
        print("There is no libfaketime here: the clock is NOT stepped.")
    else:
        which = (*which, faults.step_the_clock)
    return which if seconds < 120 else (*which, faults.freeze_past_a_lease)


def _ended(
    report: dict[str, Any], started: float, verdict: Verdict, rates: Verdict, done: Sequence[str]
) -> dict[str, Any]:
    report["storm"] = asdict(verdict)
    report["rates"] = asdict(rates)
    report["faults"] = dict(Counter(done))
    report["seconds"] = round(time.monotonic() - started, 1)
    proof_is_good = report["power_cuts"] is None or not any(
        report["power_cuts"][each] for each in ("too_soon", "lost", "damaged")
    )
    report["is_good"] = verdict.is_good and rates.is_good and proof_is_good
    _print(report, {"all faults": verdict, "kills, rates": rates})
    return report


def _as_json(proof: Proof) -> dict[str, Any]:
    return {
        "acknowledged": proof.acknowledged,
        "changed_by_plans": proof.walked,
        "cuts": len(proof.cuts),
        "too_soon": proof.too_soon,
        "lost": proof.lost,
        "damaged": proof.damaged,
    }


def _print(report: dict[str, Any], verdicts: dict[str, Verdict]) -> None:
    print(f"{'':16}" + "".join(f"{name:>16}" for name in verdicts))
    for line in _LINES:
        values = [getattr(verdict, line) for verdict in verdicts.values()]
        shown = [len(value) if isinstance(value, list) else value for value in values]
        print(f"{line.replace('_', ' '):16}" + "".join(f"{value:>16,}" for value in shown))
    print("faults:", ", ".join(f"{count} {name}" for name, count in report["faults"].items()))
    if cuts := report["power_cuts"]:
        print(
            f"power cuts: {cuts['cuts']}, of {cuts['acknowledged']} acknowledged"
            f" {len(cuts['lost'])} lost, {len(cuts['too_soon'])} answered too soon,"
            f" {len(cuts['damaged'])} files damaged"
        )
        for problem in (*cuts["too_soon"], *cuts["lost"], *cuts["damaged"]):
            print(f"  POWER CUT: {problem}")
    for name, verdict in verdicts.items():
        for what in ("lost", "doubled", "stuck", "wrong"):
            for each in getattr(verdict, what)[:_MANY_SHOWN]:
                print(f"  {what.upper()} ({name}): {each}")
    verdict_word = "all is well" if report["is_good"] else "NOT WELL"
    print(f"seed {report['seed']}, {report['seconds']:g} s: {verdict_word}")


async def torture_alerts(folder: Path, *, kills: int, seed: int) -> dict[str, Any]:
    started = time.monotonic()
    verdict = await alert_storm(folder, kills=kills, seed=seed)
    seconds = round(time.monotonic() - started, 1)
    report = {**asdict(verdict), "seed": seed, "seconds": seconds, "is_good": verdict.is_good}
    for name, value in report.items():
        shown = len(value) if isinstance(value, list) else value
        print(f"{name.replace('_', ' '):16}{shown!s:>10}")
    for what in ("lost", "doubled", "wrong"):
        for each in report[what][:_MANY_SHOWN]:
            print(f"  {what.upper()}: {each}")
    return report


async def torture_restores(folder: Path, *, kills: int, seed: int) -> dict[str, Any]:
    started = time.monotonic()
    database = folder / "insights.db"
    build_once(sqlite_url(database), _RESTORED)
    tries = {
        "restores": await kill_restores(database, folder, kills=kills, seed=seed),
        "backups": await kill_backups(database, folder, kills=kills, seed=seed),
        "services that make backups": await kill_services(database, folder, kills=kills, seed=seed),
    }
    report: dict[str, Any] = {"seed": seed, "seconds": round(time.monotonic() - started, 1)}
    for name, each in tries.items():
        report[name] = asdict(each)
        print(
            f"{each.killed} {name} killed and {each.ended} not: {each.found_old} times the old,"
            f" {each.found_new} times the new, {len(each.wrong)} times neither"
        )
        for problem in each.wrong[:_MANY_SHOWN]:
            print(f"  WRONG: {problem}")
    return {**report, "is_good": not any(each.wrong for each in tries.values())}


async def find_planted(folder: Path, names: list[str], *, seed: int) -> dict[str, Any]:
    """Which of the planted bugs are noticed."""
    caught = {}
    for name in names:
        if name in trials.BY_TRACE and not trace.is_available():
            print(f"{name:28} not tried: there is no strace here")
            continue
        caught[name], by = await trials.is_caught(name, _new(folder, name), seed=seed)
        print(f"{name:28} {'caught' if caught[name] else 'NOT CAUGHT'}: {by}", flush=True)
    print(f"caught {sum(caught.values())} of {len(caught)}")
    return {"seed": seed, "caught": caught, "is_good": all(caught.values())}


def _new(folder: Path, name: str) -> Path:
    made = folder / name
    made.mkdir()
    return made


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tools.torture", description="Torture the service, and judge it."
    )
    parser.add_argument("--minutes", type=float, default=3.0)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the report there")
    parser.add_argument(
        "--planted",
        choices=["all", *PLANTS],
        help="instead, plant this bug and see whether it is noticed",
    )
    parser.add_argument(
        "--alerts", type=int, metavar="KILLS", help="instead, kill it so often amid its alerts"
    )
    parser.add_argument(
        "--restores",
        type=int,
        metavar="KILLS",
        help="instead, kill so many restores, backups and services that make one",
    )
    parser.add_argument(
        "--postgres", action="store_true", help="on a PostgreSQL and a Redis of its own"
    )
    options = parser.parse_args()
    if options.postgres and (options.planted or options.alerts or options.restores):
        parser.error("--postgres goes with none of --planted, --alerts and --restores")
    if options.postgres and (program := missing_program()):
        print(f"There is no {program} here, which --postgres takes.", file=sys.stderr)
        return 2
    for name in Settings.model_fields:  # nothing of the developer's own, such as a key
        os.environ.pop(name.upper(), None)
    set_up_logs(level="error", format="console")
    with tempfile.TemporaryDirectory(prefix="torture-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        if options.planted:
            names = [*PLANTS] if options.planted == "all" else [options.planted]
            report = asyncio.run(find_planted(folder, names, seed=options.seed))
        elif options.alerts:
            report = asyncio.run(torture_alerts(folder, kills=options.alerts, seed=options.seed))
        elif options.restores:
            kills = options.restores
            report = asyncio.run(torture_restores(folder, kills=kills, seed=options.seed))
        elif options.postgres:
            report = asyncio.run(
                torture_on_servers(folder, minutes=options.minutes, seed=options.seed)
            )
        else:
            report = asyncio.run(torture(folder, minutes=options.minutes, seed=options.seed))
    if options.json:
        options.json.write_text(f"{json.dumps(report, indent=2)}\n")
    return 0 if report["is_good"] else 1


if __name__ == "__main__":
    sys.exit(main())
