"""How urgent a text is: by what follows from waiting, not by its tone."""

from enum import StrEnum


class Urgency(StrEnum):
    NONE = "none"
    SOON = "soon"  # somebody waits for an answer
    NOW = "now"  # danger, money leaving, locked out, stranded, a deadline today


_NAMED = {urgency.value: urgency for urgency in Urgency}


def read_urgency(written: object) -> Urgency:
    """What a model wrote, such as `soon`; `none` where it is anything else."""
    named = written.strip().casefold() if isinstance(written, str) else ""
    return _NAMED.get(named, Urgency.NONE)
