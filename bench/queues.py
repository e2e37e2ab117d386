"""queues: the service beside the queues that others have written for PostgreSQL, doing its work.

PgQueuer and Procrastinate, each behind a small FastAPI app (`bench/peers/`), with their workers as
processes of their own; the service on the same PostgreSQL, one process that does both, and on
SQLite. Every commit waits for the disk. The peers only queue a text and store one row for its
answer; the service also counts, indexes, reserves and bills. All of them ask Grok once for a text.
"""

import json
import subprocess
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from bench import load, paced, samples, visible
from bench.batches import PATH as BATCH_PATH
from bench.client import Connection, build_request
from bench.posts import PATH
from bench.report import Report, Samples, quantile
from bench.servers import ROOT, Server, Servers, inherited
from tests.fakes.grok.process import RunningGrok, grok_process
from tests.fakes.grok.steering import GOOD_KEY
from tests.support.servers import postgres_database, postgres_server

CONNECTIONS = 32
BATCH_ROWS, BATCH_CONNECTIONS = 1000, 2
GROK_SECONDS = 0.3
AT_ONCE = 100
KILLED_AMID = 200
PATIENCE_SECONDS = 120
_PEERS = ROOT / ".bench" / "peers" / "bin"
_MISSING = """\
  PgQueuer and Procrastinate are not installed:
    python3 -m venv .bench/peers
    .bench/peers/bin/pip install -r requirements.txt
    .bench/peers/bin/pip install -r bench/peers/requirements.txt
  Nothing is measured."""


class Running(NamedTuple):
    """`analyst` is the process that calls Grok; it may be the server itself."""

    server: Server
    analyst: Server

    def cpu_seconds(self) -> float:
        """Without what PostgreSQL takes."""
        alone = self.analyst is self.server
        return self.server.cpu_seconds() + (0 if alone else self.analyst.cpu_seconds())


@dataclass(frozen=True)
class Contender:
    """`accepting` runs it with nobody who analyses, `working` with somebody, on databases of their
    own that stay."""

    name: str
    accepting: Callable[[], AbstractContextManager[Server]]
    working: Callable[[], AbstractContextManager[Running]]


def run(report: Report, servers: Servers, *, rounds: int, seconds: float) -> None:
    load.require_wrk()
    if not (_PEERS / "pgq").exists() or not (_PEERS / "procrastinate").exists():
        report.say(_MISSING)
        return
    with (
        postgres_server() as address,
        grok_process("--latency", str(GROK_SECONDS)) as grok,
        postgres_database(address, durable=True) as ours,
        postgres_database(address, durable=True) as pgqueuer,
        postgres_database(address, durable=True) as procrastinate,
    ):
        contenders = [
            _service(servers, "PostgreSQL", grok, address, ours),
            _service(servers, "SQLite", grok, None, None),
            _peer(servers, "pgqueuer", grok, address, pgqueuer),
            _peer(servers, "procrastinate", grok, address, procrastinate),
        ]
        rates = _accepted(report, servers, contenders, rounds, seconds)
        times = _at_work(report, servers, contenders, grok, rounds)
        for (what, unit), found in rates.items():
            _add(report, what, unit, found, best=max)
        for (what, unit), found in times.items():
            _add(report, what, unit, found, best=min)
        for number, contender in enumerate(contenders):
            _kill(report, contender, grok, seed=5 + number)


_Taken = Mapping[tuple[str, str], Mapping[str, list[float]]]
"""Values of each round by contender, for each measure and its unit."""


def _new() -> dict[tuple[str, str], dict[str, list[float]]]:
    return defaultdict(lambda: defaultdict(list))


def _accepted(
    report: Report, servers: Servers, contenders: Sequence[Contender], rounds: int, seconds: float
) -> _Taken:
    posts = load.write_bodies(servers.folder / "queues.bodies", samples.bodies(500))
    batches = load.write_bodies(
        servers.folder / "queues.batches",
        [
            json.dumps({"conversations": samples.conversations(BATCH_ROWS, seed=seed)}).encode()
            for seed in range(5)
        ],
    )
    taken = _new()
    for _ in range(rounds):
        for each in contenders:
            with each.accepting() as server:
                load.post(server.url + PATH, posts, connections=CONNECTIONS, seconds=1)
                one = load.post(server.url + PATH, posts, connections=CONNECTIONS, seconds=seconds)
                many = load.post(
                    server.url + BATCH_PATH,
                    batches,
                    connections=BATCH_CONNECTIONS,
                    seconds=seconds,
                )
            rows = many.per_second * BATCH_ROWS
            taken["posts", "req/s"][each.name].append(one.per_second)
            taken["rows in batches", "rows/s"][each.name].append(rows)
            report.say(f"  {each.name:14}{one.per_second:8,.0f} req/s {rows:8,.0f} rows/s")
    return taken


def _at_work(
    report: Report,
    servers: Servers,
    contenders: Sequence[Contender],
    grok: RunningGrok,
    rounds: int,
) -> _Taken:
    seconds = 6.0
    count = round(paced.RATE * (seconds + 1) * rounds)
    bodies = load.write_bodies(servers.folder / "queues.paced", samples.bodies(count, seed=3))
    texts = iter(samples.bodies(visible.TRIES_PER_ROUND * rounds * len(contenders) * 2, seed=4))
    taken = _new()
    for number in range(rounds):
        for each in contenders:
            with each.working() as running, Connection(urlsplit(grok.control_url).port or 0) as ask:
                visible.time_to_insight(running.server, next(texts))
                beyond = sorted(
                    1000
                    * (
                        visible.time_to_insight(running.server, next(texts))
                        - visible.time_grok(ask)
                    )
                    for _ in range(visible.TRIES_PER_ROUND)
                )
                first = round(paced.RATE * (seconds + 1)) * number
                cpu = running.cpu_seconds()
                seen = paced.post_paced(running.server, bodies, seconds, first)
                _wait_until_idle(grok)
                cpu = 1000 * (running.cpu_seconds() - cpu) / len(seen["taken"])
            taken["CPU for a text, without PostgreSQL's", "ms"][each.name].append(cpu)
            late = sorted(1000 * one for one in seen["taken"])
            for part in (0.5, 0.99, 0.999):
                name = f"paced p{100 * part:g}"
                taken[name, "ms"][each.name].append(quantile(late, part))
            for name, part in (("median", 0.5), ("p95", 0.95)):
                what = f"insight beyond Grok's time, {name}"
                taken[what, "ms"][each.name].append(quantile(beyond, part))
            report.say(
                f"  {each.name:14} p50 {quantile(late, 0.5):6.2f} p99 {quantile(late, 0.99):6.2f}"
                f" p99.9 {quantile(late, 0.999):6.2f} ms, beyond Grok {quantile(beyond, 0.5):6.1f},"
                f" CPU {cpu:.2f} ms"
            )
    return taken


def _add(
    report: Report,
    what: str,
    unit: str,
    taken: Mapping[str, list[float]],
    best: Callable[[Sequence[float]], float],
) -> None:
    """Each contender's, and the service's as multiples of what its best peer has in that round."""
    peers = zip(*(values for name, values in taken.items() if name.islower()), strict=True)
    best_peer = Samples([best(values) for values in peers])
    for name, values in taken.items():
        report.add("queues", f"{what}, {name}", Samples(values), unit)
        if not name.islower():
            report.add(
                "queues", f"{what}, {name}, of the best peer's", Samples(values).over(best_peer)
            )


# --- who takes part -------------------------------------------------------------------------------


def _service(
    servers: Servers, name: str, grok: RunningGrok, postgres: str | None, working: str | None
) -> Contender:
    file = servers.new_database("queues-working")

    def settings(url: str | None, file: Path) -> dict[str, Any]:
        return {
            "database": file,
            "database_url": url or f"sqlite+aiosqlite:///{file}",
            "inbound_rate_limit": 0,
            "reuse_window": 0,
        }

    @contextmanager
    def accept() -> Iterator[Server]:
        """Into a new database: a full queue would refuse posts."""
        new = servers.new_database("queues-accepting")
        with ExitStack() as stack:
            url = None
            if postgres is not None:
                url = stack.enter_context(postgres_database(postgres, durable=True))
            given = settings(url, new)
            yield stack.enter_context(servers.service("queues", worker_enabled=False, **given))
        new.unlink(missing_ok=True)

    @contextmanager
    def work() -> Iterator[Running]:
        with servers.service(
            "queues",
            grok_key=GOOD_KEY,
            grok_base_url=grok.base_url,
            grok_rate_limit=1000,
            grok_concurrency=AT_ONCE,
            grok_pack_size=1,
            **settings(working, file),
        ) as server:
            yield Running(server, server)

    return Contender(name, accept, work)


_INSTALL = {
    "pgqueuer": [["pgq", "install"], ["pgq", "autovac"]],
    "procrastinate": [["procrastinate", "schema", "--apply"]],
}
_WORK = {
    "pgqueuer": ["python", "-m", "bench.peers.on_pgqueuer", str(AT_ONCE)],
    "procrastinate": ["procrastinate", "worker", f"--concurrency={AT_ONCE}"],
}


def _peer(servers: Servers, name: str, grok: RunningGrok, postgres: str, working: str) -> Contender:
    module = f"bench.peers.on_{name}"

    def environment(url: str) -> dict[str, str]:
        address = url.replace("+asyncpg", "")
        return {
            "DATABASE_URL": address,
            "PGDSN": address,
            "PROCRASTINATE_APP": f"{module}.tasks",
            "PROCRASTINATE_LOG_LEVEL": "warning",
            "GROK_BASE_URL": grok.base_url,
            "GROK_KEY": GOOD_KEY,
            "PYTHONPATH": str(ROOT),
        }

    def command(program: str, *arguments: str) -> list[str]:
        return [str(_PEERS / program), *arguments]

    python = _PEERS / "python"

    def install(url: str) -> None:
        given = inherited() | environment(url)
        for each in (*_INSTALL[name], ["python", "-m", "bench.peers.front"]):
            subprocess.run(command(*each), env=given, check=True, stdout=subprocess.DEVNULL)

    install(working)

    def front(url: str) -> AbstractContextManager[Server]:
        return servers.other(f"{module}:app", name, environment(url), python)

    @contextmanager
    def accept() -> Iterator[Server]:
        with postgres_database(postgres, durable=True) as url:
            install(url)
            with front(url) as server:
                yield server

    @contextmanager
    def work() -> Iterator[Running]:
        log = servers.folder / f"{name}-worker.log"
        with front(working) as server, log.open("ab") as output:
            worker = subprocess.Popen(
                command(*_WORK[name]),
                env=inherited() | environment(working),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=servers.folder,
            )
            try:
                yield Running(server, Server(worker, 0, log, None, 0.0))
            finally:
                worker.terminate()
                try:
                    worker.wait(30)
                except subprocess.TimeoutExpired:
                    worker.kill()
                    worker.wait()

    return Contender(name, accept, work)


# --- a worker that is killed ----------------------------------------------------------------------


def _kill(report: Report, contender: Contender, grok: RunningGrok, seed: int) -> None:
    """`kill -9` amid the work, and another worker at once."""
    texts = samples.conversations(KILLED_AMID, seed=seed)
    with contender.working() as running, Connection(running.server.port) as client:
        left = []
        for each in texts:
            request = build_request("POST", PATH, json.dumps(each).encode())
            left.append(client.ask(request).json()["conversation_id"])
        while len(left) > KILLED_AMID // 2:
            left = _unanswered(client, left)
        running.analyst.process.kill()
        running.analyst.process.wait()
    started = time.monotonic()
    with contender.working() as running, Connection(running.server.port) as client:
        while (left := _unanswered(client, left)) and _since(started) < PATIENCE_SECONDS:
            time.sleep(0.5)
    taken = _since(started)
    sent = _look(grok, "texts")["sent"]
    again = sum(sent[each["text"]] - 1 for each in texts if each["text"] in sent)
    report.say(
        f"  {contender.name:14} killed: {taken:.1f} s, {len(left)} left, {again} asked again"
    )
    report.add("queues", f"killed, {contender.name}: until all is done", Samples([taken]), "s")
    report.add("queues", f"killed, {contender.name}: never done", Samples([len(left)]))
    report.add("queues", f"killed, {contender.name}: asked again", Samples([again]))


def _wait_until_idle(grok: RunningGrok) -> None:
    """What was posted before is done once Grok hears nothing for a second."""
    before = -1
    while (now := _look(grok, "counters")["calls"]) != before:
        before = now
        time.sleep(1)


def _look(grok: RunningGrok, what: str) -> Any:
    with Connection(urlsplit(grok.control_url).port or 0) as control:
        return control.ask(build_request("GET", f"/_control/{what}")).json()


def _since(started: float) -> float:
    return time.monotonic() - started


def _unanswered(client: Connection, ids: Sequence[str]) -> list[str]:
    return [
        id_
        for id_ in ids
        if b'"insight":null' in client.ask(build_request("GET", f"{PATH}/{id_}")).body
    ]
