"""The service's ledger of calls held against the fake Grok's bill, line by line."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

Ask = Callable[[str], Sequence[tuple[Any, ...]]]

# How a call ends whose answer never came, so that nobody could tell what it cost.
UNKNOWN = frozenset({"cut_off", "timeout", "connection_error"})
_LINE = "request_id, outcome, conversations, model_answered, prompt_tokens, cached_tokens, "
_LINE += "completion_tokens, cost_usd_ticks, held_usd_ticks"


@dataclass
class Ledger:
    """`faults` says in words what does not agree; all is well where it is empty."""

    outcomes: Counter[str] = field(default_factory=Counter)
    recorded_ticks: int = 0
    # Of billed calls whose cost could not be known.
    unknown_ticks: int = 0
    unknown_held_ticks: int = 0
    faults: list[str] = field(default_factory=list)


def compare(ask: Ask, bill: Sequence[dict[str, Any]]) -> Ledger:
    """`ask` puts a statement to the database; `bill` is the fake's own. No call may be under way
    meanwhile."""
    ledger = Ledger()
    rows: dict[str, dict[str, Any]] = {}
    for values in ask(f"SELECT {_LINE} FROM calls"):
        row = dict(zip(_LINE.split(", "), values, strict=True))
        if row["request_id"] in rows:
            ledger.faults.append(f"two rows of one call: {row}")
        rows[row["request_id"]] = row
        ledger.outcomes[row["outcome"]] += 1
        ledger.recorded_ticks += row["cost_usd_ticks"]
        if row["outcome"] == "under_way":
            ledger.faults.append(f"never ended: {row}")

    billed = Counter(line["request_id"] for line in bill)
    for line in bill:
        row = rows.get(line["request_id"], {})
        if not row or billed[line["request_id"]] > 1:
            ledger.faults.append(f"billed {billed[line['request_id']]} times, row: {row}")
        elif row["outcome"] in UNKNOWN:
            ledger.unknown_ticks += line["ticks"]
            ledger.unknown_held_ticks += row["held_usd_ticks"]
        elif _of_row(row) != _of_line(line):
            ledger.faults.append(f"billed as {_of_line(line)}, recorded as {_of_row(row)}: {row}")
    for request_id, row in rows.items():
        if row["cost_usd_ticks"] and request_id not in billed:
            ledger.faults.append(f"recorded and never billed: {row}")

    daily, recorded, insights = (
        int(ask(f"SELECT coalesce(sum({column}), 0) FROM {table}")[0][0])
        for column, table in (
            ("cost_usd_ticks", "daily_usage"),
            ("cost_usd_ticks", "calls"),
            ("cost_usd_ticks", "insights"),
        )
    )
    if daily != recorded:
        ledger.faults.append(f"the days add up to {daily} ticks, the calls to {recorded}")
    if insights > recorded:
        ledger.faults.append(f"insights cost {insights} ticks, calls only {recorded}")
    return ledger


def _of_row(row: dict[str, Any]) -> tuple[Any, ...]:
    return (
        row["conversations"],
        row["model_answered"],
        row["prompt_tokens"],
        row["cached_tokens"],
        row["completion_tokens"],
        row["cost_usd_ticks"],
    )


def _of_line(line: dict[str, Any]) -> tuple[Any, ...]:
    return (
        line["texts"],
        line["model"],
        line["prompt_tokens"],
        line["cached_tokens"],
        line["completion_tokens"] + line["reasoning_tokens"],
        line["ticks"],
    )
