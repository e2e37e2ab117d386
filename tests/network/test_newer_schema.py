"""A process whose schema a newer version has changed leaves everything to that."""

import asyncio

from sqlalchemy import text

from tests.conftest import StartApp
from tests.support.http_helpers import eventually

BESIDE_THE_WORK = {"plans", "alerts", "courier", "housekeeper"}


def running() -> set[str]:
    return {task.get_name() for task in asyncio.all_tasks()} & BESIDE_THE_WORK


async def test_nothing_is_begun_once_the_schema_is_newer(
    start_app: StartApp, fresh_postgres_url: str
) -> None:
    async with start_app(database_url=fresh_postgres_url) as started:
        services = started.app.state.services
        assert running() == BESIDE_THE_WORK
        newer = text("UPDATE alembic_version SET version_num = '9999'")
        await services.database.write(lambda connection: connection.execute(newer).rowcount)
        await services.heartbeat._beat()
        await eventually(lambda: not running(), within=30)
