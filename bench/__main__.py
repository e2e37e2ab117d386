"""python -m bench [names...] [--rounds N] [--seconds S] [--json FILE]"""

import argparse
import importlib
import os
import shutil
import sys
import tempfile
from pathlib import Path

from bench import machine
from bench.report import Report
from bench.servers import ROOT, Servers

SUBJECTS = {
    # name: seconds of one measurement in one round; 0 where its work has an end of its own
    "posts": 4.0,
    "paced": 6.0,
    "batches": 2.0,
    "visible": 0.0,
    "calls": 25.0,
    "packs": 25.0,
    "live": 60.0,
    "outage": 60.0,
    "chaos": 40.0,
    "start": 0.0,
    "replicas": 4.0,
    "queues": 4.0,
    "memory": 3.0,
    "ingest": 8.0,
    "reads": 0.0,
    "priority": 0.0,
    "plans": 10.0,
    "backups": 10.0,
    "labels": 0.0,
    "trends": 0.0,
    "rules": 0.0,
    "alerts": 0.0,
    "dashboard": 5.0,
}


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        description="Measure the service. Each figure stands beside one of the same machine.",
    )
    parser.add_argument("names", nargs="*", metavar="name", help=f"{', '.join(SUBJECTS)}; or all")
    parser.add_argument("--rounds", type=int, default=5, help="the medians are over these (5)")
    parser.add_argument("--seconds", type=float, help="of one measurement; each has its default")
    parser.add_argument(
        "--patience",
        type=float,
        default=0.0,
        metavar="S",
        help="wait at most this long before each benchmark for a machine that idles (0)",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write all figures there")
    parser.add_argument(
        "--folder", type=Path, default=ROOT / ".bench", help="where databases go, on a disk"
    )
    parser.add_argument(
        "--sizes",
        type=lambda text: [int(size) for size in text.split(",")],
        default=[10_000, 100_000],
        help="of the databases for `reads` and those that use them, kept (10000,100000)",
    )
    parser.add_argument(
        "--postgres",
        metavar="URL",
        help="for `reads`: databases there instead, named URL_SIZE; they must exist",
    )
    parser.add_argument(
        "--offline-model",
        choices=["small", "large"],
        default="small",
        help="of the offline analyser, in all benchmarks (small)",
    )
    options = parser.parse_args()
    if unknown := set(options.names) - {*SUBJECTS, "all"}:
        parser.error(f"no such benchmark: {', '.join(sorted(unknown))}")
    names = [name for name in SUBJECTS if name in options.names]
    if not names or "all" in options.names:
        names = list(SUBJECTS)

    report = Report()
    options.folder.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="run-", dir=options.folder)).resolve()
    try:
        machine.say(report, folder)
        servers = Servers(folder)
        servers.sizes, servers.postgres = options.sizes, options.postgres
        servers.offline_model = options.offline_model
        for name in names:
            subject = importlib.import_module(f"bench.{name}")
            report.say()
            report.say((subject.__doc__ or name).partition("\n")[0])
            machine.wait_until_idle(options.patience)
            seconds = options.seconds or SUBJECTS[name]
            with machine.Others() as others:
                subject.run(report, servers, rounds=options.rounds, seconds=seconds)
            report.machine[f"cores_used_by_others_during_{name}"] = round(others.cores, 2)
            report.say(f"  meanwhile {machine.judge(others.cores)}")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        if not any(options.folder.iterdir()):
            options.folder.rmdir()
    report.machine["load_average_after"] = [round(each, 2) for each in os.getloadavg()]
    report.say()
    report.say(report.table())
    if options.json:
        report.write_json(options.json)
    if any(each.met is False and each.goal == "always" for each in report.figures):
        sys.exit(1)


if __name__ == "__main__":
    main()
