"""Giving labels in tests, each call in a transaction of its own."""

from collections.abc import Collection, Mapping

from sqlalchemy import Connection, select

from analysis.labels import PERSON, Labelling
from database import Database
from models import insights
from store import labels
from store.derived import priority
from store.labels import LabelChange, PutBack

NEUTRAL = Labelling(sentiment_score=0.0)


async def give(
    database: Database,
    ids: Collection[str],
    labelling: Labelling = NEUTRAL,
    giver: int = PERSON,
    *,
    name: str = "ana",
    at: int = 1,
) -> list[LabelChange]:
    return await database.write(
        lambda connection: labels.give(connection, ids, giver, labelling, name=name, at=at)
    )


async def take_back(
    database: Database, ids: Collection[str], giver: int = PERSON
) -> list[LabelChange]:
    return await database.write(
        lambda connection: labels.take_back(connection, ids, giver, by="ana", at=2)
    )


async def put_back(
    database: Database, wanted: Mapping[str, PutBack], giver: int = PERSON
) -> list[LabelChange]:
    return await database.write(
        lambda connection: labels.put_back(connection, wanted, giver, by="undo", at=3)
    )


async def find_priorities(database: Database) -> None:
    """Insights that tests write straight into the tables have no key of the priority yet."""

    def work(connection: Connection) -> None:
        priority.refresh(connection, connection.scalars(select(insights.c.id)).all())

    await database.write(work)
