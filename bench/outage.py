"""outage: Grok is away for a while under load; what that costs, and how soon all is as before.

Twice at the same time, each with a service of its own: once every call is answered with 503, once
connections are refused. A backlog is at work, and five conversations a second arrive. Full speed is
back at the first moment from which a second holds 90 % of the calls that the limit allows.
"""

import threading
import time
from collections.abc import Sequence

from bench.grok import (
    CONSTANT,
    LIMIT,
    check,
    control,
    follow,
    hand_in,
    post_evenly,
    service_with,
    steer,
    strict_grok,
)
from bench.report import Report, Samples
from bench.servers import Server, Servers
from tests.fakes.grok.process import RunningGrok

PACK = 10
PER_SECOND = 5
BEFORE_SECONDS = 3.0
AFTER_SECONDS = 12.0
MODES = {"unavailable": "answered with 503", "refuse": "connections refused"}


def run(report: Report, servers: Servers, *, rounds: int, seconds: float) -> None:
    until_full: dict[str, float] = {}

    def live_through(mode: str, what: str) -> None:
        with (
            strict_grok(CONSTANT) as grok,
            service_with(servers, f"outage-{mode}", grok) as service,
        ):
            until_full[what] = _live_through(service, grok, mode, seconds)
            check(report, "outage", what, service, grok)

    threads = [threading.Thread(target=live_through, args=each) for each in MODES.items()]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for what, took in until_full.items():
        report.add("outage", f"until full speed, {what}", Samples([took]), "s", below=5)


def _live_through(service: Server, grok: RunningGrok, mode: str, seconds: float) -> float:
    """Seconds from the end of the outage until full speed."""
    # Enough work for all the time that Grok is there.
    backlog = round(LIMIT * PACK * (BEFORE_SECONDS + AFTER_SECONDS))
    hand_in(service, backlog)
    time.sleep(BEFORE_SECONDS)
    steer(grok, "down", mode=mode, seconds=seconds)
    posted = post_evenly(service, PER_SECOND, seconds + AFTER_SECONDS, seed=4)
    ((_, back),) = control(grok, "outages")
    follow(service, backlog + posted)
    return _full_speed([moment - back for moment in control(grok, "arrivals") if moment >= back])


def _full_speed(arrivals: Sequence[float]) -> float:
    """Infinite if never."""
    ordered = sorted(arrivals)
    needed = round(0.9 * LIMIT)
    for first, last in zip(ordered, ordered[needed - 1 :], strict=False):
        if last - first < 1.0:
            return first
    return float("inf")
