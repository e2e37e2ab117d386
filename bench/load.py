"""wrk, a load tool in C: it takes little of the machine that the server needs."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

SCRIPT = Path(__file__).with_name("requests.lua")


@dataclass(frozen=True)
class Load:
    """What wrk saw of one run."""

    requests: int  # answered in full; those under way at the end are not in here
    seconds: float
    p50_ms: float
    p99_ms: float

    @property
    def per_second(self) -> float:
        return self.requests / self.seconds


def require_wrk() -> None:
    if shutil.which("wrk") is None:
        print(
            "The load tool wrk is missing. On Debian and Ubuntu: apt install wrk;"
            " elsewhere see https://github.com/wg/wrk",
            file=sys.stderr,
        )
        sys.exit(2)


def write_bodies(path: Path, bodies: Sequence[bytes]) -> Path:
    path.write_bytes(b"".join(body + b"\n" for body in bodies))
    return path


def post(url: str, bodies: Path, *, connections: int, seconds: float) -> Load:
    """POST the file's lines in turn, as fast as `connections` go. All must be answered well."""
    command = ["wrk", "-t1", f"-c{connections}", f"-d{max(1, round(seconds))}s", "--timeout", "30s"]
    command += ["-s", str(SCRIPT), url, "--", str(bodies)]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    found = re.search(r"^RESULT (.*)$", output, re.MULTILINE)
    assert found, output
    result = json.loads(found[1])
    if result["refused"] or result["broken"]:
        raise RuntimeError(
            f"{url}: of {result['requests']} answers {result['refused']} were errors, and"
            f" {result['broken']} connections broke"
        )
    return Load(
        requests=result["requests"],
        seconds=result["microseconds"] / 1e6,
        p50_ms=result["p50"] / 1000,
        p99_ms=result["p99"] / 1000,
    )
