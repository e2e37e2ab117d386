"""SQLAlchemy's engines over one SQLite file: how their connections are set up."""

from typing import Any

from sqlalchemy import URL, Engine, NullPool, create_engine, event
from sqlalchemy.engine.interfaces import DBAPIConnection

from backends.preemption import PreemptibleConnection

BUSY_TIMEOUT_SECONDS = 1.0
"""How long a write waits while another program (a shell, a backup) has the file locked."""

DURABLE = "PRAGMA synchronous=FULL"
NOT_DURABLE = "PRAGMA synchronous=NORMAL"
"""In WAL it leaves the log to be synchronized by the next commit that is durable."""
_PRAGMAS: tuple[str, ...] = (
    "PRAGMA journal_mode=WAL",
    DURABLE,
    "PRAGMA foreign_keys=ON",
    "PRAGMA secure_delete=ON",  # what is erased is overwritten, not only unlinked
    "PRAGMA temp_store=MEMORY",
    "PRAGMA journal_size_limit=67108864",  # to cut a longer log takes milliseconds
    "PRAGMA wal_autocheckpoint=16000",  # only where no checkpoint is made by ourselves
)

OPTIONS: dict[str, Any] = {
    "hide_parameters": True,  # errors are logged, texts are not
    "poolclass": NullPool,  # connections are kept, and wander between threads
    "connect_args": {
        "factory": PreemptibleConnection,
        "isolation_level": None,  # the driver begins no transactions of its own
        "timeout": BUSY_TIMEOUT_SECONDS,
        "check_same_thread": False,
        "cached_statements": 400,  # of ten that write many rows, for some 25 numbers of them each
    },
}


def build_engine(url: URL, *pragmas: str) -> Engine:
    """`pragmas` come after those that all connections have."""
    engine = create_engine(url.set(drivername="sqlite"), **OPTIONS)
    run_on_connect(engine, *pragmas)
    return engine


def run_on_connect(engine: Engine, *pragmas: str) -> None:
    @event.listens_for(engine, "connect")
    def set_pragmas(connection: DBAPIConnection, _record: Any) -> None:
        cursor = connection.cursor()
        for pragma in (*_PRAGMAS, *pragmas):
            cursor.execute(pragma)
        cursor.close()
