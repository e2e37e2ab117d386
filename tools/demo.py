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
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import FrameType
from typing import Any

import httpx

import ingest_data
from config import Settings
from importing.sample import SAMPLE

START_SECONDS = 30
ANALYSIS_SECONDS = 60
STOP_SECONDS = 15
LOG_TAIL_LINES = 20
BAR_CELLS = 5
"""How far a bar reaches to either side."""


class DemoFailed(Exception):
    """Says what went wrong in one line; the service's log may tell more."""


# --- the service ----------------------------------------------------------------------------------


class Service:
    """`url` has no slash at its end."""

    def __init__(self, process: subprocess.Popen[bytes], url: str, log: Path) -> None:
        self.process = process
        self.url = url
        self._log = log
        # A transport of its own, so that no proxy comes between.
        self._client = httpx.Client(base_url=url, transport=httpx.HTTPTransport(), timeout=5)

    def get(self, path: str, **query: str | int) -> Any:
        try:
            return self._client.get(path, params=query).raise_for_status().json()
        except (httpx.HTTPError, ValueError) as error:
            raise DemoFailed(f"GET {path}: {error}") from None

    def answers(self) -> bool:
        try:
            return self._client.get("/health").is_success
        except httpx.TransportError:
            return False

    def check_alive(self) -> None:
        status = self.process.poll()
        if status is not None:
            raise DemoFailed(f"the service ended with status {status}")

    def log_tail(self) -> str:
        lines = self._log.read_text(errors="replace").splitlines()
        return "\n".join(lines[-LOG_TAIL_LINES:])

    def stop(self) -> None:
        self._client.close()
        self.process.terminate()
        try:
            self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


@contextmanager
def running_service() -> Iterator[Service]:
    """A service that is gone at the end, and its folder with it."""
    with tempfile.TemporaryDirectory(prefix="insights-demo-") as folder:
        log = Path(folder, "service.log")
        port = _free_port()
        ours = {name.upper() for name in Settings.model_fields}
        environment = {name: value for name, value in os.environ.items() if name not in ours} | {
            "ANALYZER": "offline",
            "DATABASE_URL": f"sqlite+aiosqlite:///{folder}/insights.db",
            "LOG_LEVEL": "warning",
        }
        command = [sys.executable, "-m", "uvicorn", "main:app", "--no-access-log", "--ws", "none"]
        command += ["--http", "api.connection_guard:GuardedProtocol"]
        command += ["--app-dir", str(Path(__file__).resolve().parent.parent), "--port", str(port)]
        with log.open("wb") as output:
            process = subprocess.Popen(  # noqa: S603  # nothing in it is from outside
                command,
                cwd=folder,  # where no `.env` is
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C is for us, who then stop it
            )
        service = Service(process, f"http://127.0.0.1:{port}", log)
        try:
            yield service
        except DemoFailed as error:
            print(f"\nThe demo failed: {error}", file=sys.stderr)
            if tail := service.log_tail():
                print(f"The end of the service's log:\n{tail}", file=sys.stderr)
            raise
        finally:
            # A second Ctrl-C must not leave the service behind.
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                signal.signal(number, signal.SIG_IGN)
            service.stop()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until_up(service: Service) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not service.answers():
        service.check_alive()
        if time.monotonic() > deadline:
            raise DemoFailed(f"the service does not answer after {START_SECONDS} s")
        time.sleep(0.05)


def wait_until_analysed(service: Service, count: int) -> None:
    deadline = time.monotonic() + ANALYSIS_SECONDS
    while True:
        counts = {
            status: sum(lanes.values())
            for status, lanes in service.get("/api/v1/stats")["counts"].items()
        }
        if counts["failed"]:
            raise DemoFailed(f"{counts['failed']} conversations could not be analysed")
        if counts["completed"] == count:
            return
        service.check_alive()
        if time.monotonic() > deadline:
            raise DemoFailed(f"not all are analysed after {ANALYSIS_SECONDS} s: {counts}")
        time.sleep(0.1)


# --- what is printed ------------------------------------------------------------------------------


def print_insights(insights: list[dict[str, Any]]) -> None:
    columns = shutil.get_terminal_size((100, 24)).columns
    names = [", ".join(insight["grok_analysis"]["clusters"][:2]) for insight in insights]
    names_width = min(max(map(len, names)), columns // 3)
    text_width = max(10, columns - 6 - 7 - 2 * BAR_CELLS - 3 - names_width - 2)
    print(f"{'time':6}{'sentiment':<{7 + 2 * BAR_CELLS + 3}}{'clusters':{names_width}}  text")
    for insight, clusters in zip(insights, names, strict=True):
        moment = datetime.fromisoformat(insight["timestamp"]).astimezone()
        score = insight["grok_analysis"]["sentiment_score"]
        print(
            f"{moment:%H:%M} {score:+6.2f} {_bar(score)}  {_fit(clusters, names_width)}"
            f"  {_fit(insight['text'], text_width).rstrip()}"
        )


def print_totals(insights: list[dict[str, Any]]) -> None:
    scores = [insight["grok_analysis"]["sentiment_score"] for insight in insights]
    signs = Counter(_sentiment(score) for score in scores)
    print(f"\nTotals of {len(insights)} conversations")
    for sentiment in ("positive", "neutral", "negative"):
        print(f"  {sentiment:20}{signs[sentiment]:4}")
    print(f"  {'average sentiment':20}  {round(sum(scores) / len(scores), 2) + 0.0:+.2f}")
    clusters = Counter(
        cluster for insight in insights for cluster in insight["grok_analysis"]["clusters"]
    )
    print("By cluster")
    for cluster, count in clusters.most_common():
        print(f"  {cluster:20}{count:4}  {'■' * count}")


def print_addresses(service: Service) -> None:
    print(
        f"\nThe API        {service.url}/api/v1/insights\n"
        f"Its dashboard  {service.url}/dashboard?range=24h\n"
        f"Its documents  {service.url}/docs\n"
        "Try it:\n"
        f"  curl -d '{{\"text\": \"My parcel is late\"}}' -H 'Content-Type: application/json'"
        f" {service.url}/api/v1/conversations"
    )


def _sentiment(score: float) -> str:
    return "positive" if score > 0.1 else "negative" if score < -0.1 else "neutral"


def _bar(score: float) -> str:
    """To the left of its middle where negative, to the right where positive."""
    bar = "█" * round(abs(score) * BAR_CELLS)
    left, right = (bar, "") if score < 0 else ("", bar)
    return f"{left:>{BAR_CELLS}}│{right:<{BAR_CELLS}}"


def _fit(text: str, width: int) -> str:
    """On one line, cut or filled to `width` cells of a terminal."""
    text = " ".join(text.split())
    if sum(map(_cells, text)) > width:
        room = width - 1
        kept = 0
        while (room := room - _cells(text[kept])) >= 0:
            kept += 1
        text = text[:kept] + "…"
    return text + " " * (width - sum(map(_cells, text)))


def _cells(character: str) -> int:
    """0 for what is drawn onto its neighbour, 2 for East Asian letters and most emoji."""
    if unicodedata.category(character) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


# --- the whole ------------------------------------------------------------------------------------


def run(service: Service, *, stay: bool) -> None:
    """Raises DemoFailed, and KeyboardInterrupt where that is not the way to end it."""
    started = time.monotonic()
    print("Starting a service with the offline analyser ...")
    wait_until_up(service)
    up = time.monotonic()
    if ingest_data.main(["--url", service.url], transport=httpx.HTTPTransport()) != 0:
        raise DemoFailed("the sample could not be loaded")
    wait_until_analysed(service, len(SAMPLE))
    done = time.monotonic()
    now = datetime.now(UTC)
    insights = service.get(
        "/api/v1/insights",
        start_time=(now - timedelta(days=2)).isoformat(),
        end_time=now.isoformat(),
        limit=1000,
    )["insights"]
    if len(insights) != len(SAMPLE):
        raise DemoFailed(f"{len(SAMPLE)} conversations were loaded, {len(insights)} are listed")
    print()
    print_insights(insights)
    print_totals(insights)
    print(
        f"\nStarted in {up - started:.1f} s, loaded and analysed in {done - up:.1f} s."
        " The offline analyser is a word list for English;\nset GROK_KEY and use `make run`"
        " to have Grok read them."
    )
    if not stay:
        return
    print_addresses(service)
    print("\nCtrl-C ends it.")
    try:
        service.process.wait()
    except KeyboardInterrupt:
        print("\nStopping ...")
        return
    service.check_alive()


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
        with running_service() as service:
            run(service, stay=stay)
    except DemoFailed:
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
