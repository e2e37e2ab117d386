"""chaos: everything goes wrong at once, and yet each conversation ends well, recorded to the tick.

Fifty conversations for each second of the measurement, 2,000 by default, through a Grok that fails
in every way it is known to, while the service is killed once for every hundred of them. What must
hold is checked; the figures tell what kind of day it was.
"""

import asyncio

from bench.report import Report, Samples
from bench.servers import Servers
from tests.fakes.grok.chaos import live_through

PER_SECOND = 50
PER_KILL = 100
PATIENCE_SECONDS = 300.0


def run(report: Report, servers: Servers, *, rounds: int, seconds: float) -> None:
    conversations = max(PER_KILL, round(PER_SECOND * seconds))
    folder = servers.folder / "chaos"
    folder.mkdir()
    kills = conversations // PER_KILL
    day = asyncio.run(
        live_through(folder, conversations=conversations, kills=kills, within=PATIENCE_SECONDS)
    )
    ledger = day.ledger
    for outcome, number in day.outcomes.most_common():
        report.say(f"  {number:5} {outcome}")
    report.say(f"  answers by status: {dict(day.calls)}")
    report.say(f"  calls: {dict(ledger.outcomes)}")
    for fault in day.faults[:20]:
        report.say(f"  WRONG: {fault}")
    report.check(
        "chaos",
        f"of {conversations} conversations over {kills} kills, in a wrong state or paid wrongly",
        str(len(day.faults)),
        not day.faults,
    )
    cut_off = sum(ledger.outcomes[each] for each in ("cut_off", "timeout", "connection_error"))
    report.add("chaos", "calls whose cost nobody was told", Samples([cut_off]))
    billed = ledger.recorded_ticks + ledger.unknown_ticks
    report.add("chaos", "their part of the bill", Samples([ledger.unknown_ticks / billed]))
    report.add("chaos", "held back for them", Samples([ledger.unknown_held_ticks / billed]))
