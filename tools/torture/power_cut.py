"""Power cuts, from one trace: what a disk may hold at a moment, and what of it SQLite finds.

A write is on the disk for sure once a sync of its file, begun after it, has ended. Before that the
disk may have all of it, nothing, or some of its sectors, in whatever order.
"""

import random
import sqlite3
from collections.abc import Collection, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from tools.torture.trace import FileWrite, Trace, answered_at

_SECTOR = 512


@dataclass(frozen=True, slots=True)
class Cut:
    """`acknowledged` had been answered before; `lost` are those of them that were not found, and
    `damage` is what SQLite says of the file, None where it is whole."""

    moment: float
    acknowledged: int
    lost: list[str]
    damage: str | None


def cuts(
    trace: Trace,
    ids: Collection[str],
    *,
    before: Path,
    database: Path,
    folder: Path,
    number: int,
    draw: random.Random,
) -> Iterator[Cut]:
    """`number` cuts. `before` is a copy of `database` from before the trace, without a log."""
    moments = answered_at(trace, ids)
    answers = sorted(moments.values())
    for count in range(number):
        # Every other one right behind an answer, which is the worst moment.
        moment = draw.choice(answers) + 1e-6
        if count % 2:
            moment = draw.uniform(answers[0], answers[-1])
        acknowledged = {id_ for id_, at in moments.items() if at < moment}
        copy = folder / f"cut-{count}.db"
        share = draw.choice([0.0, 0.5])
        for suffix in ("", "-wal"):
            start = before.read_bytes() if not suffix else b""
            content = _on_disk(trace, f"{database}{suffix}", moment, start, share, draw)
            Path(f"{copy}{suffix}").write_bytes(content)
        found, damage = _read(copy)
        yield Cut(moment, len(acknowledged), sorted(acknowledged - found), damage)
        for suffix in ("", "-wal", "-shm"):
            Path(f"{copy}{suffix}").unlink(missing_ok=True)


def _on_disk(
    trace: Trace, path: str, moment: float, content: bytes, share: float, draw: random.Random
) -> bytes:
    """The file at `moment`, of whose writes without a sync `share` of the sectors got there."""
    file = bytearray(content)
    synced = max(
        (sync.start for sync in trace.syncs if sync.path == path and sync.end <= moment),
        default=0.0,
    )
    for write in trace.writes:
        if write.path == path and write.start <= moment:
            _apply(write, file, 1.0 if write.end <= synced else share, draw)
    return bytes(file)


def _apply(write: FileWrite, file: bytearray, share: float, draw: random.Random) -> None:
    if write.data is None:
        if draw.random() < share:
            del file[write.offset :]
        return
    for start in range(0, len(write.data), _SECTOR):
        if draw.random() < share:
            sector = write.data[start : start + _SECTOR]
            at = write.offset + start
            if len(file) < at:
                file.extend(bytes(at - len(file)))
            file[at : at + len(sector)] = sector


def _read(database: Path) -> tuple[set[str], str | None]:
    try:
        with closing(sqlite3.connect(database)) as connection:
            ids = {id_ for (id_,) in connection.execute("SELECT id FROM conversations")}
            ((verdict,),) = connection.execute("PRAGMA integrity_check(1)")
    except sqlite3.DatabaseError as error:
        return set(), str(error)
    return ids, None if verdict == "ok" else str(verdict)
