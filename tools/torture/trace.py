"""What the service did to its files and sockets, and in which order, as strace saw it.

strace stamps a call before it lets it begin and after it has ended. So a call that is stamped as
begun after another one had ended did begin after its end.
"""

import re
import shutil
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

_CALLS = "write,pwrite64,writev,sendto,sendmsg,fsync,fdatasync,ftruncate"
_LINE = re.compile(r"^(?P<start>\d+\.\d+) (?P<name>\w+)\((?P<arguments>.*)\) += (?P<result>-?\d+)")
_SECONDS = re.compile(r"<(\d+\.\d+)>$")
_FILE = re.compile(r"^\d+<((?:\\x[0-9a-f]{2})*)>")
_TEXT = re.compile(r'"((?:\\x[0-9a-f]{2})*)"')
_NUMBERS_AT_END = re.compile(r", (\d+)$")


def is_available() -> bool:
    return shutil.which("strace") is not None


def command(folder: Path) -> list[str]:
    """What a command line is put behind, so that it leaves its trace in `folder`."""
    flags = ["-ff", "--seccomp-bpf", "-qq", "-ttt", "-T", "-y", "-xx", "-s", "2000000"]
    return ["strace", *flags, "-e", f"trace={_CALLS}", "-e", "signal=none", "-o", f"{folder}/trace"]


@dataclass(frozen=True, slots=True)
class FileWrite:
    """`data` went to `offset`; None means that the file was cut there. Moments are in seconds."""

    path: str
    start: float
    end: float
    offset: int
    data: bytes | None


@dataclass(frozen=True, slots=True)
class Sync:
    path: str
    start: float
    end: float


@dataclass(frozen=True, slots=True)
class Sent:
    start: float
    data: bytes


@dataclass(frozen=True, slots=True)
class Trace:
    """Each in the order in which they ended."""

    writes: Sequence[FileWrite]
    syncs: Sequence[Sync]
    sent: Sequence[Sent]


def read(folder: Path) -> Trace:
    """Of all threads that have written into `folder`."""
    files = sorted(folder.glob("trace.*"))
    return parse(line for file in files for line in file.read_text().splitlines())


def parse(lines: Iterable[str]) -> Trace:
    """Lines as strace writes them with the flags of `command`. Calls that failed, or whose end was
    not seen, are left out."""
    writes: list[FileWrite] = []
    syncs: list[Sync] = []
    sent: list[Sent] = []
    for line in lines:
        found, took = _LINE.match(line), _SECONDS.search(line)
        if not found or not took or int(found["result"]) < 0:
            continue
        start = float(found["start"])
        end = start + float(took[1])
        name, arguments = found["name"], found["arguments"]
        file = _FILE.match(arguments)
        path = _bytes(file[1]).decode(errors="replace") if file else ""
        last = _NUMBERS_AT_END.search(arguments)
        if name in ("fsync", "fdatasync"):
            syncs.append(Sync(path, start, end))
        elif name == "ftruncate" and last:
            writes.append(FileWrite(path, start, end, int(last[1]), None))
        elif name == "pwrite64" and last:
            data = b"".join(map(_bytes, _TEXT.findall(arguments)))[: int(found["result"])]
            writes.append(FileWrite(path, start, end, int(last[1]), data))
        elif not path.startswith("/"):
            sent.append(Sent(start, b"".join(map(_bytes, _TEXT.findall(arguments)))))
    writes.sort(key=lambda each: each.end)
    syncs.sort(key=lambda each: each.end)
    sent.sort(key=lambda each: each.start)
    return Trace(writes, syncs, sent)


def _bytes(text: str) -> bytes:
    return bytes.fromhex(text.replace("\\x", ""))


def answered_at(trace: Trace, ids: Collection[str]) -> dict[str, float]:
    """When the answer that names an id first left, for those of `ids` that one names."""
    moments: dict[str, float] = {}
    missing = {id_.encode(): id_ for id_ in ids}
    for each in trace.sent:
        for name in re.findall(rb"conv_[0-9a-f]{8}", each.data):
            if id_ := missing.pop(name, None):
                moments[id_] = each.start
    return moments


def answered_too_soon(trace: Trace, ids: Collection[str], database: Path) -> list[str]:
    """Those of `ids` whose answer left before a sync of the log had ended which began after their
    row was written; and those whose answer the trace does not have."""
    log = f"{database}-wal"
    moments = answered_at(trace, ids)
    written: dict[str, float] = {}
    missing = {id_.encode(): id_ for id_ in ids}
    for write in trace.writes:
        if write.path == log and write.data is not None and b"conv_" in write.data:
            for name in re.findall(rb"conv_[0-9a-f]{8}", write.data):
                if id_ := missing.pop(name, None):
                    written[id_] = write.end
    syncs = [sync for sync in trace.syncs if sync.path == log]

    def is_safe(id_: str) -> bool:
        row, answer = written.get(id_), moments.get(id_)
        if row is None or answer is None:
            return False
        return any(row <= sync.start and sync.end <= answer for sync in syncs)

    return [id_ for id_ in ids if not is_safe(id_)]
