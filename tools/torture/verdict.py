"""What became of everything, from what the clients and Grok wrote down and what is in the database;
never from the service's own figures."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.support.call_ledger import compare
from tools.torture.client import Told
from tools.torture.stores import Store

DIED = "the worker died while analysing this"
NOT_STORED = "the result could not be stored"
TRIES = 4
"""How often a text is asked about in all before trouble on the way fails it. A try that a death cut
off counts, though Grok may not have seen it."""


@dataclass
class Verdict:
    """`lost`, `doubled` and `stuck` are ids or texts; `wrong` says in words what else is not as it
    must be. Money is in ticks; `booked` has what is held for calls of which nobody knows the cost,
    so it is `paid` or more."""

    accepted: int = 0
    stored: int = 0
    completed: int = 0
    failed: int = 0
    failed_by_kills: int = 0
    calls: int = 0
    paid: int = 0
    booked: int = 0
    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    stuck: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    @property
    def is_good(self) -> bool:
        return not (self.lost or self.doubled or self.stuck or self.wrong)


@dataclass(frozen=True, slots=True)
class GrokRecord:
    """What the fake wrote down: its bill, how often it saw each text, and how many calls."""

    bill: Sequence[dict[str, Any]]
    sent: Mapping[str, int]
    calls: int
    only_rates: bool
    """It refused for rates, and nothing else."""


def judge(store: Store, told: Told, grok: GrokRecord) -> Verdict:
    """The service has ended, and its calls have been closed by a last life."""
    rows = {
        id_: row
        for id_, *row in store.ask(
            "SELECT c.id, c.text, status, last_error, attempts, deaths, count(i.id)"
            " FROM conversations c LEFT JOIN insights i ON i.conversation_id = c.id GROUP BY c.id",
        )
    }
    statuses = Counter(row[1] for row in rows.values())
    ledger = compare(store.ask, grok.bill)
    verdict = Verdict(
        accepted=len(told.acknowledged),
        stored=len(rows),
        completed=statuses["completed"],
        failed=statuses["failed"],
        failed_by_kills=sum(row[2] == DIED for row in rows.values()),
        calls=grok.calls,
        paid=sum(line["ticks"] for line in grok.bill),
        booked=ledger.recorded_ticks + ledger.unknown_held_ticks,
        wrong=[*ledger.faults, *told.odd_answers],
    )
    verdict.lost = [
        id_ for id_, text in told.acknowledged.items() if id_ not in rows or rows[id_][0] != text
    ]
    times = Counter(row[0] for row in rows.values())
    verdict.doubled = [text for text, count in times.items() if count > 1]
    verdict.doubled += [id_ for id_, row in rows.items() if row[5] > 1]
    verdict.stuck = [id_ for id_, row in rows.items() if row[1] in ("pending", "processing")]
    known = {*told.acknowledged.values(), *told.unanswered}
    verdict.wrong += [f"stored, but refused or never sent: {text}" for text in times.keys() - known]
    for id_, (text, status, error, attempts, deaths, insights) in rows.items():
        tries = grok.sent.get(text, 0) + deaths
        if status in ("completed", "failed") and insights != (status == "completed"):
            verdict.wrong.append(f"{id_} is {status} with {insights} insights ({error})")
        elif status == "failed" and (error == NOT_STORED or (error != DIED and tries < TRIES)):
            verdict.wrong.append(f"{id_} failed after {tries} tries: {error}")
        if grok.only_rates and attempts > 1 + deaths:
            verdict.wrong.append(f"{id_} was charged {attempts} attempts for {deaths} deaths")
    verdict.wrong += [f"the database is damaged: {problem}" for problem in store.damage()]
    return verdict
