"""live: how long live conversations wait during a backlog, five of them a second.

Default settings, a strict Grok of 0.6 s, a backlog that does not end meanwhile. A conversation's
wait is from its 202 being due until its insight is stored, less Grok's own 0.6 s, both as the
database has them. The backlog is to move at its floor or better: a fifth of the calls.
"""

import sqlite3
import time
from contextlib import closing

from bench.grok import CONSTANT, LIMIT, control, hand_in, post_evenly, service_with, strict_grok
from bench.report import Report, Samples, quantile
from bench.servers import Server, Servers

PER_SECOND = 5
BACKLOG = 20_000
GROK_SECONDS = 0.6
SETTLE_SECONDS = 2.0
FLOOR = 0.2 * LIMIT
"""Calls a second that the bulk lane is promised; each carries one conversation at least."""


def run(report: Report, servers: Servers, *, rounds: int, seconds: float) -> None:
    backlog = min(BACKLOG, round(400 * seconds))
    with (
        strict_grok(CONSTANT) as grok,
        service_with(servers, "live", grok) as service,
    ):
        hand_in(service, backlog, seed=2)
        time.sleep(SETTLE_SECONDS)
        before = _bulk_completed(service)
        started = time.monotonic()
        live = post_evenly(service, PER_SECOND, seconds, seed=3)
        rate = (_bulk_completed(service) - before) / (time.monotonic() - started)
        time.sleep(SETTLE_SECONDS + GROK_SECONDS)
        waits = _waits(service)
        counters = control(grok, "counters")
        left = service.get("/api/v1/stats")["counts"]["pending"]["bulk"]
    missing = live - len(waits)
    report.say(
        f"  backlog of {backlog}, {left} of it left; live: {len(waits)} done, {missing} not yet"
    )
    report.check("live", "live conversations not done", str(missing), missing == 0)
    middle = Samples([quantile(waits, 0.5)])
    report.add("live", "wait beyond Grok's time, median", middle, "s", below=1)
    report.add("live", "wait beyond Grok's time, p99", Samples([quantile(waits, 0.99)]), "s")
    report.add("live", "wait beyond Grok's time, worst", Samples([waits[-1]]), "s")
    report.add("live", "backlog meanwhile", Samples([rate]), "/s", at_least=FLOOR)
    refused = counters["rate_limited"]
    report.check("live", "429s of our own making", str(refused), refused == 0)


def _bulk_completed(service: Server) -> int:
    return int(service.get("/api/v1/stats")["counts"]["completed"]["bulk"])


def _waits(service: Server) -> list[float]:
    """Seconds beyond Grok's own, sorted."""
    assert service.database
    with closing(sqlite3.connect(f"file:{service.database}?mode=ro", uri=True)) as connection:
        rows = connection.execute(
            "SELECT insights.created_at - conversations.created_at FROM conversations"
            " JOIN insights ON conversation_id = conversations.id WHERE lane = 'live'"
        ).fetchall()
    return sorted(micros / 1e6 - GROK_SECONDS for (micros,) in rows)
