"""Whose turn it is to judge alerts, and to change what is judged.

On PostgreSQL the judge holds an advisory lock while it writes. Whoever changes rules, the evidence
of alerts, or endpoints that a rule may name, waits for the same lock before any of theirs: so
neither meets the other halfway.
"""

from sqlalchemy import Connection, text

LOCK = 0x1A51_A1E7  # PostgreSQL advisory lock: any number that nothing else here uses

_LOCK = text("SELECT pg_advisory_xact_lock(:key)")
_TRY_LOCK = text("SELECT pg_try_advisory_xact_lock(:key)")


def has_turn(connection: Connection) -> bool:
    """Whether it is this transaction's turn, which it then has until its end."""
    if connection.dialect.name != "postgresql":
        return True
    return bool(connection.scalar(_TRY_LOCK, {"key": LOCK}))


def wait_for_turn(connection: Connection) -> None:
    """As `has_turn`, once whoever has it is done."""
    if connection.dialect.name == "postgresql":
        connection.execute(_LOCK, {"key": LOCK})
