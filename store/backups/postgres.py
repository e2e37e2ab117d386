"""Backups of PostgreSQL, by its own `pg_dump`, `pg_restore` and `psql`."""

import os
import re
import shutil
import subprocess
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO

from sqlalchemy import URL, Connection, text

from database import Database
from errors import ServiceError
from models import Status
from runtime.plurals import counted
from store import derived
from store.backups.manifest import (
    BackupFailed,
    Counts,
    Manifest,
    NotOpened,
    Restored,
    begin_file,
    check_revision,
    count,
    describe,
    failures_of,
    finish_file,
    free_name,
    read_unchanged,
)

MAGIC = b"PGDMP"
"""How a dump in PostgreSQL's custom format begins."""

_LIBPQ = {
    "PGHOST": "host",
    "PGPORT": "port",
    "PGUSER": "user",
    "PGPASSWORD": "password",
    "PGDATABASE": "database",
    "PGSSLMODE": "ssl",
    "PGTARGETSESSIONATTRS": "target_session_attrs",
}
_COPY = re.compile(rb"COPY ((?:[^ ]+\.)?)([^ .]+) \((.*)\) FROM stdin;\n")
_END_OF_COPY = b"\\.\n"
_NULL = b"\\N"


async def back_up(database: Database, target: Path) -> Manifest:
    """The counts of the manifest are of the very snapshot that is dumped, and so are those of the
    dump. Raises BackupFailed."""
    return await _dump(database, target, of_this_version=True)


async def _dump(database: Database, target: Path, *, of_this_version: bool = False) -> Manifest:
    """Unless it is to be `of_this_version`, the schema may be a newer one."""

    def dump(connection: Connection) -> tuple[str, Counts]:
        connection.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY"))
        if not connection.scalar(_HAS_TABLES):
            raise BackupFailed("nothing of the service is in the database")
        revision = str(connection.scalar(text("SELECT version_num FROM alembic_version")))
        if of_this_version:
            check_revision(target, revision)
        name = connection.scalar(text("SELECT pg_export_snapshot()"))
        with _process(database.url, "pg_dump", "-Fc", f"--snapshot={name}", f"--file={partial}"):
            pass
        return revision, count(connection)

    with failures_of(target):
        partial = begin_file(target)
        try:
            manifest = describe(partial, *await database.rework(dump))
            _compare(partial, manifest)
            finish_file(partial, target, manifest)
        finally:
            partial.unlink(missing_ok=True)
    return manifest


def verify(path: Path) -> Manifest:
    """The manifest of a dump that is as it was made, and holds what the manifest says. Raises
    BackupFailed."""
    with failures_of(path):
        manifest = read_unchanged(path)
        _compare(path, manifest)
    check_revision(path, manifest.schema_revision)
    return manifest


def _compare(path: Path, manifest: Manifest) -> None:
    """Of the schema that has the service's tables; others may have such names, too."""
    if (manifest.schema_revision, manifest.counts) not in _read_through(path):
        raise BackupFailed(f"{path} holds other counts than its manifest")


class _Found:
    """What a schema has of the tables that are counted."""

    def __init__(self) -> None:
        self.revision = ""
        self.counts = dict.fromkeys((each.name for each in fields(Counts)), 0)

    def add(self, table: str, row: Mapping[str, bytes]) -> None:
        counts = self.counts
        if table in counts:
            counts[table] += 1
        match table:
            case "conversations":
                counts["completed"] += row["status"] == Status.COMPLETED.value.encode()
            case "insights":
                counts["newest_insight"] = max(counts["newest_insight"], int(row["id"]))
            case "calls" if row["cost_usd_ticks"] != _NULL:
                counts["cost_usd_ticks"] += int(row["cost_usd_ticks"])
            case "daily_usage" if row["cost_usd_ticks"] != _NULL:
                counts["cost_of_days_usd_ticks"] += int(row["cost_usd_ticks"])
            case "alembic_version":
                self.revision = row["version_num"].decode(errors="replace")


def _read_through(path: Path) -> list[tuple[str, Counts]]:
    """For each schema the service's revision, and what is in the dump: its rows are counted as they
    would be restored. Raises BackupFailed."""
    found: defaultdict[bytes, _Found] = defaultdict(_Found)
    with _process(None, "pg_restore", "--file=-", str(path), stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        for schema, table, row in _rows(process.stdout):
            found[schema].add(table, row)
    return [(each.revision, Counts(**each.counts)) for each in found.values()]


_READ = {
    "conversations": {"status"},
    "insights": {"id", "conversation_id"},
    "calls": {"cost_usd_ticks"},
    "daily_usage": {"cost_usd_ticks"},
    "alembic_version": {"version_num"},
}
"""The tables that are counted, and columns by which they are known and counted."""


def _rows(script: IO[bytes]) -> Iterator[tuple[bytes, str, Mapping[str, bytes]]]:
    """Schema, name and values of the tables in `_READ`, in the format of COPY:
    https://www.postgresql.org/docs/current/sql-copy.html"""
    for line in script:
        if (copy := _COPY.fullmatch(line)) is None:
            continue
        schema, table = copy[1], copy[2].decode()
        columns = copy[3].decode().split(", ")
        wanted = _READ.get(table, set())
        places = {name: columns.index(name) for name in wanted if wanted.issubset(columns)}
        for row in iter(script.readline, _END_OF_COPY):
            if not row:
                raise BackupFailed(f"the dump ends amid the rows of {table}")
            if places:
                values = row.rstrip(b"\n").split(b"\t")
                yield schema, table, {name: values[at] for name, at in places.items()}


_HAS_TABLES = text("SELECT to_regclass('insights') IS NOT NULL")


# --- restoring ------------------------------------------------------------------------------------


async def restore(path: Path, database: Database) -> Restored:
    """Put the dump in the place of what is in the database, in one transaction, and upgrade it; a
    dump of what was there is kept beside the other one, or where nothing can be written there, in
    the working folder.

    Raises BackupFailed, also where anybody else is connected, and NotOpened.
    """
    manifest = verify(path)

    def look(connection: Connection) -> Counts | None:
        if others := connection.scalar(_OTHERS):
            raise BackupFailed(
                f"{counted(others, 'other is', 'others are')} connected: stop the service first"
            )
        if not connection.scalar(_HAS_TABLES):
            return None
        if (owner := connection.scalar(_OWNER)) is not None:
            raise BackupFailed(f"the tables are those of {owner}: restore as that role")
        return count(connection)

    kept = None
    try:
        with failures_of("the database"):
            before = await database.rework(look)
        if before is not None:
            folder = path.parent if os.access(path.parent, os.W_OK) else Path.cwd()
            kept = free_name(folder / path.name)
            await _dump(database, kept)
    finally:
        await database.close()
    _replace(database.url, path)
    try:
        with failures_of("the database"):
            after = await _open(database.url)
    except ServiceError as error:
        raise NotOpened(f"cannot be opened: {error.details}", kept) from error
    if after != manifest.counts:
        raise NotOpened(f"it holds {after}, not {manifest.counts}", kept)
    return Restored(before, after, kept)


def _replace(url: URL, path: Path) -> None:
    """All or nothing: without COMMIT in the end nothing has happened."""
    script = ("pg_restore", "--clean", "--if-exists", "--no-owner", "--file=-", str(path))
    with _process(url, "psql", *_QUIET, stdin=subprocess.PIPE) as psql:
        assert psql.stdin is not None
        psql.stdin.write(_EMPTY)
        with _process(None, *script, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            shutil.copyfileobj(process.stdout, psql.stdin)
        psql.stdin.write(b"COMMIT;\n")


async def _open(url: URL) -> Counts:
    """By the service's own code, which upgrades it where it is of an earlier version."""
    async with Database(url.render_as_string(hide_password=False)) as opened:
        await derived.remake(opened)
        await opened.analyze()
        return await opened.rework(count)


_OWNER = text(
    "SELECT pg_get_userbyid(relowner) FROM pg_class"
    " WHERE oid = to_regclass('insights') AND pg_get_userbyid(relowner) <> current_user"
)
"""Of the tables, where that is another role: it could not read those that this one makes."""
_OTHERS = text(
    "SELECT count(*) FROM pg_stat_activity"
    " WHERE datname = current_database() AND pid <> pg_backend_pid()"
    " AND backend_type = 'client backend'"
)
_QUIET = ("--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1", f"--output={os.devnull}")
_EMPTY = b"""
BEGIN;
DO $$
DECLARE statement text;
BEGIN
    FOR statement IN
        SELECT format('DROP TABLE %s', string_agg(oid::regclass::text, ', '))
        FROM pg_class
        WHERE relkind IN ('r', 'p')
            AND relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = current_schema())
            AND relowner = (SELECT oid FROM pg_roles WHERE rolname = current_user)
            AND oid NOT IN (SELECT objid FROM pg_depend WHERE deptype = 'e')
        HAVING count(*) > 0
        UNION ALL
        SELECT format('DROP FUNCTION %s', string_agg(oid::regprocedure::text, ', '))
        FROM pg_proc
        WHERE prokind = 'f'
            AND pronamespace = (SELECT oid FROM pg_namespace WHERE nspname = current_schema())
            AND proowner = (SELECT oid FROM pg_roles WHERE rolname = current_user)
            AND oid NOT IN (SELECT objid FROM pg_depend WHERE deptype = 'e')
        HAVING count(*) > 0
    LOOP
        EXECUTE statement;
    END LOOP;
END $$;
"""
"""Drops the tables and functions of the service's user, also those that the backup has not: an
upgrade would make them once more. What belongs to an extension stays, and where something of others
depends on them nothing is done."""


@contextmanager
def _process(
    url: URL | None,
    program: str,
    *arguments: str,
    stdin: int | None = None,
    stdout: int | None = None,
) -> Iterator[subprocess.Popen[bytes]]:
    """While it runs; with all that it needs to know of the database. Raises BackupFailed where it
    fails."""
    if shutil.which(program) is None:
        raise BackupFailed(
            f"{program} is not installed here. Where it is, run: pg_dump -Fc --file=FILE DATABASE,"
            " and to restore: pg_restore --clean --if-exists --dbname=DATABASE FILE"
        )
    broken = False
    with (
        TemporaryFile() as said,
        subprocess.Popen(  # noqa: S603  its arguments are ours, and no shell reads them
            [program, *arguments], env=_environment(url), stdin=stdin, stdout=stdout, stderr=said
        ) as process,
    ):
        try:
            yield process
        except BaseException as error:
            broken = stdin is not None and isinstance(error, BrokenPipeError)
            if not broken:  # else it has ended, and has said why
                process.kill()
                raise
        process.communicate()
        if process.returncode or broken:
            said.seek(0)
            raise BackupFailed(f"{program}: {said.readline().decode(errors='replace').strip()}")


def _environment(url: URL | None) -> Mapping[str, str]:
    """What libpq reads in place of arguments, which everybody on the machine could see: of the
    hosts and ports that the service itself would try."""
    environment = dict(os.environ)
    if url is not None:
        _, options = url.get_dialect()().create_connect_args(url)
        for name, option in _LIBPQ.items():
            if (value := options.get(option)) is not None:
                several = value if isinstance(value, list) else [value]
                environment[name] = ",".join(map(str, several))
    return environment
