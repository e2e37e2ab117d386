"""Shows the whole service at work: starts one, loads the sample, prints what it makes of it.

Everything is temporary and local: a free port, a database in a temporary folder, the offline
analyser. The service then stays up until Ctrl-C; with --exit it ends at once.

    python -m tools.demo [--exit]
"""

import argparse
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import FrameType
from typing import Any

import httpx

import ingest_data
from config import Settings
from importing.api_client import ApiClient
from importing.errors import ImportFailed
from importing.sample import SAMPLE

START_SECONDS = 30
STOP_SECONDS = 15
LOG_TAIL_LINES = 20
CLUSTERS_CELLS = 30


@contextmanager
def running_service() -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """The process and its address. It is gone at the end, and its folder with it."""
    with tempfile.TemporaryDirectory(prefix="insights-demo-") as folder, socket.socket() as probe:
        log = Path(folder, "service.log")
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
        probe.close()
        ours = {name.upper() for name in Settings.model_fields}
        environment = {name: value for name, value in os.environ.items() if name not in ours} | {
            "ANALYZER": "offline",
            "DATABASE_URL": "sqlite+aiosqlite:///insights.db",
            "LOG_LEVEL": "warning",
        }
        command = [sys.executable, "-m", "uvicorn", "main:app", "--no-access-log", "--ws", "none"]
        command += ["--http", "api.connection_guard:GuardedProtocol"]
        command += ["--app-dir", str(Path(__file__).resolve().parent.parent), "--port", str(port)]
        with log.open("wb") as output:
            process = subprocess.Popen(  # nothing in it is from outside
                command,
                cwd=folder,  # where no `.env` is
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C is for us, who then stop it
            )
        try:
            yield process, f"http://127.0.0.1:{port}"
        except ImportFailed as error:
            status = process.poll()
            reason = error if status is None else f"the service ended with status {status}"
            print(f"\nThe demo failed: {reason}", file=sys.stderr)
            if lines := log.read_text(errors="replace").splitlines()[-LOG_TAIL_LINES:]:
                print("The end of the service's log:", *lines, sep="\n", file=sys.stderr)
            raise
        finally:
            # A second Ctrl-C must not leave the service behind.
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                signal.signal(number, signal.SIG_IGN)
            process.terminate()
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def wait_until_up(process: subprocess.Popen[bytes], http: httpx.Client) -> None:
    """Raises ImportFailed."""
    deadline = time.monotonic() + START_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        try:
            if http.get("/health").is_success:
                return
        except httpx.TransportError:
            time.sleep(0.05)
    raise ImportFailed(f"the service does not answer after {START_SECONDS} s")


def run(process: subprocess.Popen[bytes], url: str, *, stay: bool) -> None:
    """Raises ImportFailed; KeyboardInterrupt where that is not the way to end it."""
    started = time.monotonic()
    print("Starting a service with the offline analyser ...")
    with httpx.Client(base_url=url, trust_env=False) as http:
        wait_until_up(process, http)
        up = time.monotonic()
        if ingest_data.main(["--url", url, "--wait", "--patience", "5"]) != 0:
            raise ImportFailed("the sample could not be loaded")
        done = time.monotonic()
        api = ApiClient(http, patience=5, sleep=time.sleep, say=print)
        now = datetime.now(UTC)
        query = {"start_time": (now - timedelta(days=2)).isoformat(), "end_time": now.isoformat()}
        insights = api.get("/api/v1/insights", **query, limit=1000)["insights"]
    if len(insights) != len(SAMPLE):
        raise ImportFailed(f"{len(SAMPLE)} conversations were loaded, {len(insights)} are listed")
    print_insights(insights)
    print(
        f"\nStarted in {up - started:.1f} s, loaded and analysed in {done - up:.1f} s."
        " The offline analyser is a small model of words;\nset GROK_KEY and use `make run`"
        " to have Grok read them."
    )
    if not stay:
        return
    try:
        print(
            f"\nThe API's documents: {url}/docs\n"
            f"Its list of insights: {url}/api/v1/insights?order=priority\n"
            "Post one of your own:\n"
            f"  curl -d '{{\"text\": \"My parcel is late\"}}' -H 'Content-Type: application/json'"
            f" {url}/api/v1/conversations\n"
            f"The page that shows all of them, live: {url}/dashboard\n"
            "Ctrl-C ends it."
        )
        process.wait()
    except KeyboardInterrupt:
        print("\nStopping ...")
    else:
        raise ImportFailed("the service ended")


def print_insights(insights: list[dict[str, Any]]) -> None:
    """A line for each: time, sentiment, clusters and, as far as the terminal is wide, the text."""
    text_cells = max(10, shutil.get_terminal_size((100, 24)).columns - CLUSTERS_CELLS - 20)
    print(f"\n{'time':7}{'sentiment':11}{'clusters':{CLUSTERS_CELLS}}  text")
    for insight in insights:
        analysis = insight["grok_analysis"]
        time_of_day = f"{datetime.fromisoformat(insight['timestamp']).astimezone():%H:%M}"
        clusters = _fit(", ".join(analysis["clusters"]), CLUSTERS_CELLS)
        text = _fit(insight["text"], text_cells).rstrip()
        print(f"{time_of_day}  {analysis['sentiment_score']:+9.2f}  {clusters}  {text}")


def _fit(text: str, cells: int) -> str:
    """On one line, cut or filled to so many cells of a terminal."""
    text = " ".join(text.split())
    if _cells(text) > cells:
        text = text[:cells]
        while _cells(text) > cells - 1:
            text = text[:-1]
        text += "…"
    return text + " " * (cells - _cells(text))


def _cells(text: str) -> int:
    """None for what is drawn onto its neighbour, two for East Asian letters and most emoji."""
    drawn = [each for each in text if unicodedata.category(each) not in ("Mn", "Me", "Cf")]
    return sum(2 if unicodedata.east_asian_width(each) in "WF" else 1 for each in drawn)


def _end(number: int, _frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


def main() -> int:
    parser = argparse.ArgumentParser(description="Show the whole service at work.")
    parser.add_argument("--exit", action="store_true", help="end when all is shown")
    stay = not parser.parse_args().exit
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace", line_buffering=True)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _end)
    try:
        with running_service() as (process, url):
            run(process, url, stay=stay)
    except ImportFailed:
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
