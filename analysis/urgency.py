"""How urgent a text is: by what follows from waiting, not by its tone."""

from enum import StrEnum


class Urgency(StrEnum):
    NONE = "none"
    SOON = "soon"  # somebody waits for an answer
    NOW = "now"  # danger, money leaving, locked out, stranded, a deadline today
