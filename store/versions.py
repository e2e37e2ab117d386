"""Versions of the analysis: what the settings asked of an analyser, each time something else."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from functools import partial
from typing import Any

import structlog
from sqlalchemy import Connection, bindparam, func, insert, select, text, update

from backends.sqlite_driver import execute
from database import Database
from models import from_micros, insights, now_micros
from store.bulk_insert import send
from tables.people import analysis_versions

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Asked:
    """The settings that an analysis depends on. `prompt_version` is empty and `temperature` None
    where the analyser has none."""

    analyser: str
    model: str
    prompt_version: str
    temperature: float | None
    clusters_mode: str
    clusters: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class AnalysisVersion:
    """`insights` bear it now; one that is `active` is given to those that come."""

    version: int
    asked: Asked
    first_used: datetime
    last_used: datetime
    insights: int
    active: bool


class VersionStore:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def take_up(self, asked: Asked) -> int:
        """The number of the version that asks so, a new one where there is none."""
        version, is_new = await self._database.write(partial(_take_up, asked))
        if is_new:
            log.info("analysis_version_is_new", version=version, **asdict(asked))
        return version

    async def all(self) -> Sequence[AnalysisVersion]:
        """The newest first."""
        return await self._database.read(_all)


_COLUMNS = analysis_versions.c
_ASKED = tuple(_COLUMNS[name] for name in Asked.__dataclass_fields__)


def _asked(*row: Any) -> Asked:
    asked = Asked(*row)
    return replace(asked, clusters=tuple(asked.clusters))


def _take_up(asked: Asked, connection: Connection) -> tuple[int, bool]:
    if connection.dialect.name == "postgresql":  # another replica may start at the same moment
        connection.execute(text("LOCK TABLE analysis_versions IN EXCLUSIVE MODE"))
    now = now_micros()
    known = {
        _asked(*row): version
        for version, *row in connection.execute(select(_COLUMNS.version, *_ASKED)).all()
    }
    if not known and (before := _asked_before(asked, connection)):
        first_used, count = connection.execute(_OLD_ONES).one()
        _insert(connection, 1, before, first_used=first_used, last_used=now, insights=count)
        known[before] = 1
    version = known.get(asked)
    if version is not None:
        count_insights(version, 0, now, connection)
        return version, False
    version = max(known.values(), default=0) + 1
    _insert(connection, version, asked, first_used=now, last_used=now, insights=0)
    return version, True


def _insert(connection: Connection, version: int, asked: Asked, **figures: int) -> None:
    row = {"version": version, **asdict(asked), "clusters": list(asked.clusters), **figures}
    connection.execute(insert(analysis_versions), row)


def _asked_before(asked: Asked, connection: Connection) -> Asked | None:
    """What the insights from before there were versions were asked by: as far as the newest of
    them tells, else as now. None where there are none."""
    details = connection.scalar(_NEWEST_DETAILS)
    if details is None:
        return None
    analyser = details.get("analyser", asked.analyser)
    is_grok = analyser == "grok"
    return Asked(
        analyser,
        details.get("requested_model") or details.get("model") or asked.model,
        details.get("prompt_version", asked.prompt_version if is_grok else ""),
        asked.temperature if is_grok else None,
        asked.clusters_mode,
        asked.clusters,
    )


_NEWEST_DETAILS = select(insights.c.grok_analysis).order_by(insights.c.id.desc()).limit(1)
_OLD_ONES = select(func.min(insights.c.created_at), func.count())
_USED = """
UPDATE analysis_versions SET insights = insights + CAST(:more AS bigint),
last_used = CAST(:now AS bigint) WHERE version = CAST(:version AS integer)
"""
_FEWER = (
    update(analysis_versions)
    .where(_COLUMNS.version == bindparam("used_version"))
    .values(insights=_COLUMNS.insights - bindparam("fewer"))
)
_BORNE = (
    select(insights.c.version, func.count().label("borne"))
    .where(insights.c.conversation_id.in_(bindparam("ids", expanding=True)))
    .group_by(insights.c.version)
    .order_by(insights.c.version)
)


def count_insights(version: int, number: int, now: int, connection: Connection) -> None:
    """So many insights are being written in this transaction. Call it last: others who write some
    wait for this row."""
    values = {"more": number, "now": now, "version": version}
    if connection.dialect.name == "sqlite":
        execute(connection, _USED, values)
    else:
        send(connection, _USED, values)


def borne_by(conversation_ids: Collection[str], connection: Connection) -> Mapping[int, int]:
    """How many of the conversations' insights bear each version."""
    found = connection.execute(_BORNE, {"ids": list(conversation_ids)})
    return {row.version: row.borne for row in found}


def subtract_insights(borne: Mapping[int, int], connection: Connection) -> None:
    """These, as `borne_by` told, have been erased in this transaction. Call it last."""
    if borne:
        connection.execute(
            _FEWER, [{"used_version": version, "fewer": count} for version, count in borne.items()]
        )


def _all(connection: Connection) -> Sequence[AnalysisVersion]:
    statement = select(
        _COLUMNS.version, _COLUMNS.first_used, _COLUMNS.last_used, _COLUMNS.insights, *_ASKED
    ).order_by(_COLUMNS.version.desc())
    rows = connection.execute(statement).all()
    newest = max(((row.last_used, row.version) for row in rows), default=None)
    return [
        AnalysisVersion(
            version,
            _asked(*asked),
            from_micros(first_used),
            from_micros(last_used),
            count,
            active=(last_used, version) == newest,
        )
        for version, first_used, last_used, count, *asked in rows
    ]
