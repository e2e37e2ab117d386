"""What the figures were taken on, and whether anything else ran there."""

import os
import platform
import resource
import sqlite3
import time
from pathlib import Path
from statistics import median
from typing import Any

from bench.report import Report

BUSY_CORES = 0.1
"""From this many cores in use by others, figures are marked."""


def describe(folder: Path) -> dict[str, Any]:
    return {
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        "cpu": _cpu_name(),
        "cores": len(os.sched_getaffinity(0)),
        "system": f"{platform.system()} {platform.release()}",
        "file_system": file_system(folder),
        "fsync_ms_p50": round(1000 * fsync_seconds(folder), 3),
        "load_average": [round(each, 2) for each in os.getloadavg()],
        "cores_used_by_others": round(cores_in_use(1.0), 2),
    }


def say(report: Report, folder: Path) -> None:
    report.machine = found = describe(folder)
    report.say(
        f"Python {found['python']}, SQLite {found['sqlite']}, {found['cores']} cores"
        f" ({found['cpu']}), {found['system']}"
    )
    report.say(
        f"{folder} on {found['file_system']}: writing and syncing 4 KiB takes"
        f" {found['fsync_ms_p50']} ms (p50 of 200)"
    )
    report.say(
        f"load average {' '.join(map(str, found['load_average']))};"
        f" {judge(found['cores_used_by_others'])}"
    )
    if found["file_system"] == "tmpfs":
        report.say("WARNING: this folder is in memory, so a commit costs nothing here")


def _cpu_name() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def file_system(folder: Path) -> str:
    """The type of the file system that `folder` is on."""
    best, kind = "", "unknown"
    for line in Path("/proc/mounts").read_text().splitlines():
        _, mount, type_, *_ = line.split()
        if folder.resolve().is_relative_to(mount) and len(mount) >= len(best):
            best, kind = mount, type_
    return kind


def fsync_seconds(folder: Path, times: int = 200) -> float:
    """The median of writing 4 KiB at a file's end and syncing it, as a commit does."""
    path = folder / "fsync-probe"
    file = os.open(path, os.O_CREAT | os.O_WRONLY)
    taken = []
    try:
        for _ in range(times):
            started = time.perf_counter()
            os.write(file, b"x" * 4096)
            os.fdatasync(file)
            taken.append(time.perf_counter() - started)
    finally:
        os.close(file)
        path.unlink()
    return median(taken)


def judge(others: float) -> str:
    busy = others > BUSY_CORES
    return f"others use {others:.2f} cores: {'BUSY, trust no figure' if busy else 'idle'}"


def wait_until_idle(patience: float) -> None:
    deadline = time.monotonic() + patience
    while cores_in_use(2.0) > BUSY_CORES and time.monotonic() < deadline:
        pass


def cores_in_use(seconds: float) -> float:
    """Cores busy while this process only sleeps."""
    with Others() as others:
        time.sleep(seconds)
    return others.cores


class Others:
    """How many cores all the rest of the machine used (or its host took away) inside the block.

    Child processes that were started and waited for inside the block are ours.
    """

    cores = 0.0

    def __enter__(self) -> "Others":
        self._before = _busy_seconds(), _own_seconds(), time.monotonic()
        return self

    def __exit__(self, *_exc: object) -> None:
        busy, own, moment = self._before
        used = (_busy_seconds() - busy) - (_own_seconds() - own)
        self.cores = max(0.0, used / (time.monotonic() - moment))


def _busy_seconds() -> float:
    user, nice, system, _idle, _iowait, irq, softirq, steal, *_ = map(
        int, Path("/proc/stat").read_text().splitlines()[0].split()[1:]
    )
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")


def _own_seconds() -> float:
    each = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in each)
