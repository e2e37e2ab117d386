"""packs: conversations a second of a backlog with packing, and what each of them costs.

At the default settings against the same strict Grok as `calls`, and for the slow one also with as
many calls at once as it takes. Tokens and prices are the fake's, which counts four bytes to a token
and bills as xAI does; pack size 1 stands beside.
"""

from bench.grok import (
    CONSTANT,
    LIMIT,
    LOG_NORMAL,
    Latency,
    check,
    control,
    follow,
    hand_in,
    service_with,
    steady_rate,
    strict_grok,
)
from bench.report import Report, Samples
from bench.servers import Servers

PACK = 10
# Latency, settings beside the defaults, jitter in seconds, conversations a second to be reached.
CASES: list[tuple[Latency, dict[str, int], float, float | None]] = [
    (CONSTANT, {}, 0.0, 90.0),
    (CONSTANT, {}, 0.02, 90.0),
    (CONSTANT, {}, 0.05, 90.0),
    (LOG_NORMAL, {}, 0.0, None),
    (LOG_NORMAL, {"grok_concurrency": 60}, 0.0, 90.0),
]


def run(report: Report, servers: Servers, *, rounds: int, seconds: float) -> None:
    for latency, settings, jitter, goal in CASES:
        name = ", ".join(
            [latency.name]
            + [f"jitter {1000 * jitter:g} ms"] * (jitter > 0)
            + [f"{value} calls at once" for value in settings.values()]
        )
        backlog = round(LIMIT * PACK * seconds)
        with (
            strict_grok(latency, jitter=jitter) as grok,
            service_with(servers, "packs", grok, **settings) as service,
        ):
            hand_in(service, backlog)
            rate = steady_rate(follow(service, backlog))
            calls = control(grok, "counters")["calls"]
            check(report, "packs", name, service, grok, jitter=jitter)
        report.add("packs", f"conversations a second, {name}", Samples([rate]), "/s", at_least=goal)
        report.say(f"  {name}: {backlog} in {calls} calls, {backlog / calls:.2f} each")
    _tell_costs(report, servers, seconds)


def _tell_costs(report: Report, servers: Servers, seconds: float) -> None:
    costs = {}
    for pack in (1, PACK):
        conversations = round(LIMIT * pack * seconds)
        with (
            strict_grok(Latency("0 s", ())) as grok,
            service_with(servers, "costs", grok, grok_pack_size=pack) as service,
        ):
            hand_in(service, conversations)
            follow(service, conversations)
            counters = control(grok, "counters")
        for kind in ("prompt", "cached", "completion"):
            tokens = counters[f"{kind}_tokens"] / conversations
            report.add("packs", f"{kind} tokens each, packs of {pack}", Samples([tokens]))
        costs[pack] = counters["billed_ticks"] / 1e10 / conversations * 1000
        report.add("packs", f"USD per 1,000, packs of {pack}", Samples([costs[pack]]))
    report.add("packs", "cost, of that of one a call", Samples([costs[PACK] / costs[1]]))
