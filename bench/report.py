"""Medians over rounds, figures against goals, and the table in the end."""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any


@dataclass(frozen=True)
class Samples:
    """One measurement, repeated. `overall` stands for it instead of the median, where given."""

    values: Sequence[float]
    overall: float | None = None

    @property
    def middle(self) -> float:
        return median(self.values) if self.overall is None else self.overall

    def show(self, unit: str = "") -> str:
        """`middle (min-max) unit`."""
        low, high = min(self.values), max(self.values)
        spread = f" ({_number(low)}-{_number(high)})" if len(self.values) > 1 else ""
        return f"{_number(self.middle)}{spread}{' ' if unit else ''}{unit}"

    def over(self, others: "Samples") -> "Samples":
        """Round by round, so that what slows both down in a round cancels out."""
        overall = None
        if self.overall is not None and others.overall is not None:
            overall = self.overall / others.overall
        return Samples([a / b for a, b in zip(self.values, others.values, strict=True)], overall)


def _number(value: float) -> str:
    if math.isnan(value):
        return "-"
    digits = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2
    return f"{value:,.{digits}f}"


def quantile(ordered: Sequence[float], part: float) -> float:
    """Of sorted values, by nearest rank: the value that `part` of them do not exceed."""
    return ordered[max(0, math.ceil(part * len(ordered)) - 1)]


@dataclass(frozen=True)
class Figure:
    """A line of the table. `met` None: nothing was promised."""

    subject: str
    name: str
    measured: str
    goal: str = ""
    met: bool | None = None
    values: Sequence[float] = ()


@dataclass
class Report:
    """Prints as it goes, and keeps what the table and the JSON file need."""

    machine: dict[str, Any] = field(default_factory=dict)
    figures: list[Figure] = field(default_factory=list)

    def say(self, line: str = "") -> None:
        print(line, flush=True)

    def add(
        self,
        subject: str,
        name: str,
        samples: Samples,
        unit: str = "",
        *,
        at_least: float | None = None,
        below: float | None = None,
    ) -> None:
        """The middle is held against the goal."""
        goal, met = "", None
        tail = f" {unit}" if unit else ""
        if at_least is not None:
            goal, met = f"at least {_number(at_least)}{tail}", samples.middle >= at_least
        elif below is not None:
            goal, met = f"below {_number(below)}{tail}", samples.middle < below
        self.figures.append(
            Figure(subject, name, samples.show(unit), goal, met, list(samples.values))
        )

    def check(self, subject: str, name: str, measured: str, met: bool) -> None:
        """Something that has to hold, whatever the speed."""
        self.figures.append(Figure(subject, name, measured if met else "FAILED", "always", met))

    def table(self) -> str:
        rows = [("figure", "measured", "goal", "met")]
        for each in self.figures:
            met = {None: "", True: "yes", False: "NO"}[each.met]
            rows.append((f"{each.subject}: {each.name}", each.measured, each.goal, met))
        widths = [max(len(row[column]) for row in rows) for column in range(4)]
        lines = [
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
            for row in rows
        ]
        lines.insert(1, "  ".join("-" * width for width in widths))
        return "\n".join(lines)

    def write_json(self, path: Path) -> None:
        content = {"machine": self.machine, "figures": [asdict(each) for each in self.figures]}
        path.write_text(json.dumps(content, indent=1) + "\n")
