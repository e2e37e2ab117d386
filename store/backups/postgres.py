"""Backups of PostgreSQL, by its own `pg_dump` and `pg_restore`."""

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from sqlalchemy import URL, Connection, text
from sqlalchemy.exc import DBAPIError

from backends.errors import cause_of
from database import Database
from runtime.plurals import counted
from store import derived
from store.backups.manifest import (
    BackupFailed,
    Counts,
    Manifest,
    Restored,
    begin_file,
    count,
    describe,
    finish_file,
    read_unchanged,
)

_LIBPQ = {
    "PGHOST": "host",
    "PGPORT": "port",
    "PGUSER": "username",
    "PGPASSWORD": "password",
    "PGDATABASE": "database",
}


async def back_up(database: Database, target: Path) -> Manifest:
    """The counts of the manifest are of the very snapshot that is dumped. Raises BackupFailed."""
    partial = begin_file(target)

    def dump(connection: Connection) -> tuple[str, Counts]:
        connection.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY"))
        name = connection.scalar(text("SELECT pg_export_snapshot()"))
        _run(database.url, "pg_dump", "-Fc", f"--snapshot={name}", f"--file={partial}")
        return _revision(connection), count(connection)

    try:
        manifest = describe(partial, *await database.rework(dump))
        _read_through(partial)
        finish_file(partial, target, manifest)
    except (OSError, DBAPIError) as error:
        raise BackupFailed(f"{target}: {cause_of(error)}") from error
    finally:
        partial.unlink(missing_ok=True)
    return manifest


def verify(path: Path) -> Manifest:
    """The manifest of a dump that is as it was made, and whose contents can be read. Raises
    BackupFailed."""
    manifest = read_unchanged(path)
    _read_through(path)
    return manifest


def _read_through(path: Path) -> None:
    _run(None, "pg_restore", f"--file={os.devnull}", str(path))


async def restore(path: Path, database: Database) -> Restored:
    """Put the dump in the place of what is in the database, in one transaction; a dump of that is
    kept beside the other one. Raises BackupFailed, also where anybody else is connected."""
    manifest = verify(path)

    def look(connection: Connection) -> Counts | None:
        if others := connection.scalar(_OTHERS):
            raise BackupFailed(
                f"{counted(others, 'other is', 'others are')} connected: stop the service first"
            )
        return count(connection) if connection.scalar(_HAS_TABLES) else None

    before = await database.rework(look)
    kept = None
    if before is not None:
        kept = path.with_name(path.name + ".before-restore")
        kept.unlink(missing_ok=True)
        await back_up(database, kept)
    await database.close()
    _run(
        database.url,
        *("pg_restore", "--clean", "--if-exists", "--no-owner", "--exit-on-error"),
        *("--single-transaction", f"--dbname={database.url.database}", str(path)),
    )
    async with Database(database.url.render_as_string(hide_password=False)) as opened:
        await derived.remake(opened)
        await opened.analyze()
        after = await opened.rework(count)
    if after != manifest.counts:
        raise BackupFailed(f"it is restored, but holds {after}, not {manifest.counts}")
    return Restored(before, after, kept)


_OTHERS = text(
    "SELECT count(*) FROM pg_stat_activity"
    " WHERE datname = current_database() AND pid <> pg_backend_pid()"
    " AND backend_type = 'client backend'"
)
_HAS_TABLES = text("SELECT to_regclass('insights') IS NOT NULL")


def _revision(connection: Connection) -> str:
    return str(connection.scalar(text("SELECT version_num FROM alembic_version")))


def _run(url: URL | None, program: str, *arguments: str) -> None:
    if shutil.which(program) is None:
        raise BackupFailed(
            f"{program} is not installed here. Where it is, run: pg_dump -Fc --file=FILE DATABASE,"
            " and to restore: pg_restore --clean --if-exists --dbname=DATABASE FILE"
        )
    ended = subprocess.run(  # noqa: S603  its arguments are ours, and no shell reads them
        [program, *arguments], env=_environment(url), capture_output=True, text=True, check=False
    )
    if ended.returncode:
        raise BackupFailed(f"{program}: {ended.stderr.strip().partition(chr(10))[0]}")


def _environment(url: URL | None) -> Mapping[str, str]:
    """What libpq reads in place of arguments, which everybody on the machine could see."""
    environment = dict(os.environ)
    if url is not None:
        for name, part in _LIBPQ.items():
            if (value := getattr(url, part)) is not None:
                environment[name] = str(value)
        for name, value in url.query.items():
            if name in ("host", "port"):
                environment[f"PG{name.upper()}"] = str(value)
            elif name == "ssl":
                environment["PGSSLMODE"] = str(value)
    return environment
