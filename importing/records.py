"""What is read from a file, before its columns are interpreted."""

from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True)
class Record:
    """One row of a file. `line` is that on which it starts, as an editor counts.

    `fields` is by column. With a `problem` the row could not be read, and `fields` holds what there
    was of it; `surplus` are cells that belong to no column.
    """

    line: int
    fields: dict[str, Any]
    problem: str = ""
    surplus: list[str] = field(default_factory=list)


@dataclass(slots=True)
class SkippedLines:
    """How many lines are no rows, by their kind."""

    blank: int = 0
    preamble: int = 0
    headers: int = 0
