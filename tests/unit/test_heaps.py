"""How many heaps the threads of a process share."""

import subprocess
import sys

import pytest

from tests.support.paths import ROOT

_COUNT = """
import ctypes, sys, threading
from runtime.heaps import share_heaps

if len(sys.argv) > 1:
    share_heaps()
libc = ctypes.CDLL(None)
libc.malloc.restype = libc.fopen.restype = ctypes.c_void_p
together = threading.Barrier(8)

def take():
    together.wait()
    for size in range(1000, 9000):
        libc.malloc(ctypes.c_size_t(size))

threads = [threading.Thread(target=take) for _ in range(8)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
out = ctypes.c_void_p(libc.fopen(b"/dev/stdout", b"w"))
libc.malloc_info(0, out)
libc.fclose(out)
"""


def _heaps(*arguments: str, **environment: str) -> int:
    command = [sys.executable, "-c", _COUNT, *arguments]
    found = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    )
    return found.stdout.count("<heap nr=")


@pytest.mark.skipif(sys.platform != "linux", reason="malloc_info is glibc's")
def test_threads_share_two_heaps_unless_the_environment_says_otherwise() -> None:
    assert _heaps() > 2
    assert _heaps("share") == 2
    assert _heaps("share", MALLOC_ARENA_MAX="3") == 3
