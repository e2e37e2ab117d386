"""What tests of the event stream read of it."""

import re

from sqlalchemy import select

from database import Database
from models import insights

_ALL_IDS = select(insights.c.id).order_by(insights.c.id)
FOR_EVER = 60.0
"""Seconds that no test lives to see the end of."""


def ids_in(content: bytes) -> list[int]:
    """Those of insights."""
    return [int(id_) for id_ in re.findall(rb"^event: insight\nid: (\d+)$", content, re.MULTILINE)]


async def all_ids(database: Database) -> list[int]:
    return list(await database.read(lambda connection: connection.scalars(_ALL_IDS).all()))
