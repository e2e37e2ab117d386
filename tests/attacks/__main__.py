"""python -m tests.attacks [names...] [--project DIR] [--json FILE]

Exit status: 0 when the service held against all, 1 when it did not, 2 for wrong usage.
"""

import argparse
import json
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

from tests.attacks.runner import ATTACKS, Bounds, Result, attack
from tests.support.paths import ROOT


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.attacks",
        description="Attack the service on this machine, and judge what becomes of it.",
    )
    parser.add_argument("names", nargs="*", metavar="name", help=", ".join(ATTACKS))
    parser.add_argument("--project", type=Path, default=ROOT, help="the folder of the code")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write all figures there")
    for name, default in asdict(Bounds()).items():
        option = "--" + name.replace("_", "-")
        parser.add_argument(option, type=float, default=default, metavar="N", help=f"({default:g})")
    options = parser.parse_args()
    if unknown := set(options.names) - set(ATTACKS):
        parser.error(f"no such attack: {', '.join(sorted(unknown))}")
    bounds = Bounds(**{name: getattr(options, name) for name in asdict(Bounds())})

    started = time.monotonic()
    results: dict[str, Result] = {}
    for name in [name for name in ATTACKS if name in options.names] or list(ATTACKS):
        with tempfile.TemporaryDirectory(prefix="attack-") as folder:
            result = attack(ATTACKS[name], Path(folder), options.project.resolve(), bounds)
        if not results:
            print(f"Memory is limited by: {result.limit}\n\n{HEADINGS}", flush=True)
        results[name] = result
        for line in lines(name, result):
            print(line, flush=True)
    failed = [name for name, result in results.items() if result.faults]
    print(f"\n{len(results)} attacks in {time.monotonic() - started:.0f} s;", end=" ")
    print(f"FAILED: {', '.join(failed)}" if failed else "all held")
    if options.json:
        options.json.write_text(json.dumps({n: asdict(r) for n, r in results.items()}, indent=2))
    return 1 if failed else 0


HEADINGS = (
    f"{'':22} {'memory':>8} {'/health':>8} {'live p99':>9} {'calm p99':>9} {'429':>4}  verdict"
)


def lines(name: str, result: Result) -> list[str]:
    """One row, and one line below for each thing that the attacker saw."""
    row = (
        f"{name:22} {result.peak_mib:4.0f} MiB {result.health_seconds:6.2f} s"
        f" {result.live_p99 * 1000:6.0f} ms {result.calm_p99 * 1000:6.0f} ms"
        f" {result.refused:4}  {'FAILED: ' + ', '.join(result.faults) if result.faults else 'ok'}"
    )
    checks = [f"{'':22} {'ok' if c.ok else 'NO':2} {c.what}: {c.seen}" for c in result.checks]
    return [row, *checks]


if __name__ == "__main__":
    sys.exit(main())
