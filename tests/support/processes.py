"""A process and those that it has started, as the kernel tells of them."""

from contextlib import suppress
from pathlib import Path


def family(pid: int) -> list[int]:
    """The process itself, and its children."""
    found = [pid]
    with suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            found += map(int, (task / "children").read_text().split())
    return found


def judges_of(pid: int) -> list[int]:
    """The living processes of the offline analyser that this one has started."""
    return [child for child in family(pid) if is_judge(child)]


def is_judge(pid: int) -> bool:
    """Whether the process is there, is no zombie, and judges texts."""
    try:
        return b"analysis.offline.child" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False
