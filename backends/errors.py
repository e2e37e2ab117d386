"""Which of the database's errors mean "not now", told by code and never by text."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

import structlog
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from errors import Unavailable

log = structlog.get_logger(__name__)

NEWER_SCHEMA = "The database's schema is not that of this version: a newer one has changed it."
TOOK_TOO_LONG = "The database took too long for this; a narrower request may be answered."

DAMAGED = "The database file is damaged, or not a database: stop the service, and restore a backup."
_SQLITE_UNAVAILABLE = {
    sqlite3.SQLITE_CORRUPT: DAMAGED,
    sqlite3.SQLITE_NOTADB: DAMAGED,
    sqlite3.SQLITE_BUSY: "The database is locked by another process.",
    sqlite3.SQLITE_LOCKED: "The database is locked by another process.",
    sqlite3.SQLITE_FULL: "The database's disk is full.",
    sqlite3.SQLITE_READONLY: "The database cannot be written: it is read-only.",
    sqlite3.SQLITE_IOERR: "The database's disk does not answer as it should.",
    sqlite3.SQLITE_CANTOPEN: "The database file cannot be opened.",
    sqlite3.SQLITE_PROTOCOL: "The database is locked by another process.",
    sqlite3.SQLITE_PERM: "The database file cannot be opened.",
}

# SQLSTATE, whole or its class: https://www.postgresql.org/docs/current/errcodes-appendix.html
_POSTGRES_UNAVAILABLE = {
    "08": "The database cannot be reached.",
    "53300": "The database has no connection left for this process.",
    "53": "The database is out of disk, memory or connections.",
    "58": "The database's disk does not answer as it should.",
    "57P": "The database is shutting down or starting.",
    "57014": TOOK_TOO_LONG,
    "25006": "The database cannot be written: it is read-only.",
    "40001": "The database is busy.",
    "40P01": "The database is busy.",
    "55P03": "The database is locked.",
    "42501": "The database denies this service something that it needs.",
    "25P03": "The database ended a transaction that stood still for too long.",
    # A newer version has changed the schema under this process.
    "42P01": NEWER_SCHEMA,
    "42703": NEWER_SCHEMA,
    # A pooler has given the session to somebody else.
    "42P05": "The database's pooler does not keep sessions apart.",
    "26000": "The database's pooler does not keep sessions apart.",
}


@contextmanager
def translated_errors(*, otherwise: str | None = None) -> Iterator[None]:
    """Inside, what is no bug of ours is raised as Unavailable, and logged with its cause. With a
    sentence for what is not known, `otherwise`, so is every error of the database."""
    try:
        yield
    except (DBAPIError, sqlite3.Error) as error:  # a BEGIN's error comes from the driver itself
        if (sentence := _why_unavailable(error) or otherwise) is None:
            raise
        log.warning("database_unavailable", reason=sentence, cause=str(cause_of(error)))
        raise Unavailable(sentence) from error
    except (OSError, PoolTimeoutError) as error:  # asyncpg lets the socket's own errors through
        log.warning("database_unavailable", cause=repr(error))
        raise Unavailable("The database cannot be reached.") from error


def cause_of(error: BaseException) -> BaseException | None:
    """The driver's own error."""
    return error.orig if isinstance(error, DBAPIError) else error


def is_lock(error: BaseException) -> bool:
    """Whether it says that another process holds the SQLite file."""
    return _sqlite_code(error) in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


def is_full(error: DBAPIError) -> bool:
    """Whether PostgreSQL has no connection left."""
    return _sqlstate(error) == "53300"


def is_of_pooler(error: DBAPIError) -> bool:
    """Whether a session was not the one that the statement was prepared in."""
    return _sqlstate(error) in ("42P05", "26000")


def _why_unavailable(error: DBAPIError | sqlite3.Error) -> str | None:
    """A sentence for people; None where the error is a bug of ours."""
    cause = cause_of(error)
    if isinstance(cause, sqlite3.Error):
        return _SQLITE_UNAVAILABLE.get(_sqlite_code(error))
    state = _sqlstate(error)
    for prefix, sentence in _POSTGRES_UNAVAILABLE.items():
        if state.startswith(prefix):
            return sentence
    gone = isinstance(error, DBAPIError) and error.connection_invalidated
    return "The database cannot be reached." if gone else None


def _sqlstate(error: BaseException) -> str:
    """Empty where there is none."""
    return getattr(cause_of(error), "sqlstate", None) or ""


def _sqlite_code(error: BaseException) -> int:
    """The primary result code: the low byte of the extended one. 0 where there is none."""
    return int(getattr(cause_of(error), "sqlite_errorcode", 0)) & 0xFF
