"""`tools/demo.py` and `test_api.sh`, run as a newcomer runs them."""

import http.server
import os
import re
import select
import shutil
import signal
import subprocess
import sys
import threading
import time
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from importing.sample import SAMPLE
from tests.support.paths import ROOT
from tests.support.servers import free_port

pytestmark = [pytest.mark.slow, pytest.mark.shares_a_fixture]


# --- tools.demo ----------------------------------------------------------------------------------


def environment(folder: Path) -> dict[str, str]:
    return {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "TMPDIR": str(folder),
        "COLUMNS": "120",
        "PYTHONIOENCODING": "utf-8",
    }


def run_demo(folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tools.demo", "--exit"],
        env=environment(folder),
        cwd=folder,
        capture_output=True,
        encoding="utf-8",
        timeout=300,
    )


@contextmanager
def running_demo(
    folder: Path, **more: str
) -> Iterator[tuple[subprocess.Popen[bytes], str, list[str]]]:
    """The process, the service's address, and what it has printed, which grows at the end."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tools.demo"],
        env=environment(folder) | more,
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    try:
        printed = [_read_until(process, b"Ctrl-C ends it.", seconds=90)]
        found = re.search(r"http://127\.0\.0\.1:\d+", printed[0])
        assert found
        yield process, found[0], printed
    finally:
        process.terminate()  # kill would leave the demo's service behind
        process.wait(30)
        assert process.stdout is not None
        process.stdout.close()


def _read_until(process: subprocess.Popen[bytes], mark: bytes, *, seconds: float) -> str:
    assert process.stdout is not None
    deadline = time.monotonic() + seconds
    read = b""
    while mark not in read:
        ready, _, _ = select.select([process.stdout], [], [], deadline - time.monotonic())
        more = os.read(process.stdout.fileno(), 65536) if ready else b""
        assert more, f"the demo printed only this: {read.decode()}"
        read += more
    return read.decode()


def processes_of(folder: Path) -> list[str]:
    """Command lines of those that work in the folder or below, as the demo's service does."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if Path(os.readlink(process / "cwd")).is_relative_to(folder):
                found.append((process / "cmdline").read_bytes().replace(b"\0", b" ").decode())
        except OSError:
            continue  # ended meanwhile, or not ours
    return found


def terminal_cells(line: str) -> int:
    drawn = [one for one in line if unicodedata.category(one) not in ("Mn", "Me", "Cf")]
    return sum(2 if unicodedata.east_asian_width(one) in ("W", "F") else 1 for one in drawn)


def test_demo_shows_a_table_and_totals_and_leaves_nothing(tmp_path: Path) -> None:
    done = run_demo(tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    lines = done.stdout.splitlines()
    table = [line for line in lines if re.match(r"\d\d:\d\d +[+-]\d\.\d\d  \w", line)]
    assert len(table) == len(SAMPLE)
    assert all(terminal_cells(line) <= 120 for line in table)
    assert any(terminal_cells(line) == 120 for line in table)
    share = r"^  (positive|neutral|negative) +█+ +\d+% +(\d+)$"
    totals = dict(re.findall(share, done.stdout, re.MULTILINE))
    assert sum(map(int, totals.values())) == len(SAMPLE)
    assert all(int(count) > 3 for count in totals.values())
    assert re.search(r"^  delivery_problems +\d+  average sentiment", done.stdout, re.MULTILINE)
    assert re.search(r"loaded and analysed in \d+\.\d s", done.stdout)
    assert list(tmp_path.iterdir()) == []
    assert processes_of(tmp_path) == []


ODD = {
    "API_KEYS": "nonsense",
    "INBOUND_RATE_LIMIT": "1",
    "GROK_KEY": "xai-wrong",
    "PYTHONIOENCODING": "ascii",
    "COLUMNS": "20",
}


@pytest.mark.parametrize(
    ("number", "status", "more"),
    [(signal.SIGINT, 0, {}), (signal.SIGTERM, 128 + signal.SIGTERM, ODD)],
    ids=["interrupt", "end, amid settings that it must not heed and without unicode"],
)
def test_demo_stays_up_until_a_signal_and_ends_cleanly(
    number: signal.Signals, status: int, more: dict[str, str], tmp_path: Path
) -> None:
    (settings := tmp_path / ".env").write_text("ANALYZER=nonsense\n")
    with running_demo(tmp_path, **more) as (process, url, printed):
        assert httpx.get(f"{url}/health", timeout=30).json() == {"status": "ok"}
        page, last = printed[0].splitlines()[-2:]
        assert page.endswith(f" {url}/dashboard")
        assert last == "Ctrl-C ends it."
        assert f"{url}/docs" in printed[0]
        assert processes_of(tmp_path)  # the look for processes does find some
        process.send_signal(number)
        assert process.stdout is not None
        rest = process.stdout.read().decode()
        assert process.wait(20) == status
    assert "Traceback" not in printed[0] + rest
    assert list(tmp_path.iterdir()) == [settings]
    assert processes_of(tmp_path) == []
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{url}/health", timeout=30)


def test_demo_tells_when_its_service_dies(tmp_path: Path) -> None:
    with running_demo(tmp_path) as (process, _url, _printed):
        (service,) = [
            int(found.parent.name)
            for found in Path("/proc").glob("[0-9]*/stat")
            if _parent_of(found) == process.pid
        ]
        os.kill(service, signal.SIGKILL)
        assert process.stdout is not None
        rest = process.stdout.read().decode()
        assert process.wait(20) == 1
    assert "The demo failed: the service ended with status -9" in rest
    assert "The end of the service's log:" in rest
    assert "Traceback" not in rest
    assert list(tmp_path.iterdir()) == []


def _parent_of(stat: Path) -> int | None:
    try:
        return int(stat.read_text().rpartition(")")[2].split()[1])
    except OSError:
        return None


# --- test_api.sh ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("service")
    port = free_port()
    command = [sys.executable, "-m", "uvicorn", "main:app", "--port", str(port)]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [*command, "--app-dir", str(ROOT)],
            cwd=folder,
            env=os.environ | {"ANALYZER": "offline", "OFFLINE_MODEL": "small"},
            stdout=log,
            stderr=log,
        )
    url = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + 30
        while True:
            try:
                httpx.get(f"{url}/health", timeout=30)
                break
            except httpx.ConnectError:
                assert process.poll() is None, (folder / "log").read_text()
                assert time.monotonic() < deadline
                time.sleep(0.05)
        yield url
    finally:
        process.terminate()
        process.wait(20)


def run_script(script: Path, url: str) -> subprocess.CompletedProcess[str]:
    if shutil.which("curl") is None:
        pytest.skip("the machine has no curl")
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    return subprocess.run(
        ["bash", script, url],
        env=os.environ | {"PATH": path},
        capture_output=True,
        encoding="utf-8",
        timeout=300,
    )


def test_api_script_finds_all_well_and_erases_what_it_made(service: str) -> None:
    done = run_script(ROOT / "test_api.sh", service)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"^\d+ checks, 0 failed$", done.stdout, re.MULTILINE)
    assert "FAIL" not in done.stdout
    left = httpx.get(f"{service}/api/v1/stats", timeout=30).json()["counts"]
    assert not any(sum(lanes.values()) for lanes in left.values())


def test_api_script_fails_where_an_answer_is_not_as_expected(service: str, tmp_path: Path) -> None:
    """Without the sections in the middle, which are run above."""
    script = (ROOT / "test_api.sh").read_text()
    script = re.sub(r"(?s)# --- the list's filters.*(?=# --- figures)", "", script)
    changed = script.replace("\"d == {'status': 'ok'}\"", "\"d == {'status': 'fine'}\"")
    changed = changed.replace("'GET /metrics' 200", "'GET /metrics' 201")
    assert changed != script
    (tmp_path / "changed.sh").write_text(changed)
    done = run_script(tmp_path / "changed.sh", service)
    assert done.returncode == 1
    assert re.search(r"^\d+ checks, 2 failed$", done.stdout, re.MULTILINE)
    assert "FAIL  GET /health: not so: " in done.stdout
    assert "FAIL  GET /metrics: answered 200, not 201" in done.stdout


class _AlwaysOk(http.server.BaseHTTPRequestHandler):
    """Agrees to everything and does nothing."""

    status, body = 200, b'{"status": "ok"}'

    def _answer(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.send_response(self.status)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(self.body)

    do_GET = do_POST = do_PUT = do_DELETE = _answer  # noqa: N815

    def log_message(self, *_args: object) -> None:
        pass


class _TakesNoKey(_AlwaysOk):
    status, body = 403, b'{"error": "forbidden", "details": "This needs another key."}'


def run_script_against(handler: type[_AlwaysOk]) -> subprocess.CompletedProcess[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            return run_script(ROOT / "test_api.sh", f"http://127.0.0.1:{server.server_port}")
        finally:
            server.shutdown()
            thread.join()


def test_api_script_fails_against_another_server() -> None:
    done = run_script_against(_AlwaysOk)
    assert done.returncode == 1
    assert done.stdout.count("\nok ") < 5, done.stdout


def test_api_script_says_in_one_line_that_its_key_is_not_enough() -> None:
    done = run_script_against(_TakesNoKey)
    assert (done.returncode, done.stdout) == (2, "")
    assert re.fullmatch(
        r"Set API_KEY to a key with the scope admin\. http://\S+ answered 403:"
        r" This needs another key\.\n",
        done.stderr,
    )


def test_api_script_says_where_no_service_is() -> None:
    done = run_script(ROOT / "test_api.sh", f"http://127.0.0.1:{free_port()}")
    assert done.returncode == 2
    assert done.stderr.startswith("No service at ")
