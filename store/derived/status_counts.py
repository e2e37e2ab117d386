"""How many conversations there are by status and lane, kept by the database's own triggers.

They change `status_counts` in the transaction that changes `conversations`, whichever statement
does it: see migration 0005.
"""

from collections.abc import Mapping

from sqlalchemy import Connection, Integer, cast, delete, func, insert, literal, select

from models import Lane, Status, conversations, status_counts

_COLUMNS = status_counts.c
_SUM = cast(func.sum(_COLUMNS["count"]), _COLUMNS["count"].type)  # PostgreSQL makes it a decimal
_ALL = select(_COLUMNS.status, _COLUMNS.lane, _SUM).group_by(_COLUMNS.status, _COLUMNS.lane)
_OF_STATUS = {status: select(_SUM).where(_COLUMNS.status == status.value) for status in Status}


def counted(connection: Connection) -> Mapping[tuple[Status, Lane], int]:
    """Every status and lane."""
    counts = {(status, lane): 0 for status in Status for lane in Lane}
    for status, lane, count in connection.execute(_ALL).all():
        counts[Status(status), Lane(lane)] = count
    return counts


def counted_in(status: Status, connection: Connection) -> int:
    """In both lanes."""
    return connection.scalar(_OF_STATUS[status]) or 0


def recount(connection: Connection) -> None:
    """Count anew. No other transaction may change conversations meanwhile."""
    rows = conversations.c
    anew = select(rows.status, rows.lane, literal(0, Integer), func.count()).group_by(
        rows.status, rows.lane
    )
    connection.execute(delete(status_counts))
    connection.execute(insert(status_counts).from_select(["status", "lane", "part", "count"], anew))
