"""Where the posts of some insights were written, read from what came with them."""

import json
from collections.abc import Iterator, Sequence

from sqlalchemy import Connection, Text, bindparam, cast, func, select

from analysis.originals import original_address
from models import conversations
from store.listed import ListedInsight

ROWS_AT_A_TIME = 64
MAX_RAW_DATA = 10_000
"""Characters. Longer raw data are not read, since an export holds this for all rows of a step."""

_TEXT = cast(conversations.c.raw_data, Text)
_RAW_DATA = select(conversations.c.id, _TEXT).where(
    conversations.c.id.in_(bindparam("ids", expanding=True)), func.length(_TEXT) <= MAX_RAW_DATA
)


def with_originals(
    insights: Sequence[ListedInsight], connection: Connection
) -> Iterator[ListedInsight]:
    for start in range(0, len(insights), ROWS_AT_A_TIME):
        some = insights[start : start + ROWS_AT_A_TIME]
        ids = [insight.conversation_id for insight in some]
        raw_data = {row[0]: row[1] for row in connection.execute(_RAW_DATA, {"ids": ids})}
        for insight in some:
            if raw := raw_data.get(insight.conversation_id):
                address = original_address(json.loads(raw), insight.author)
                yield insight._replace(original=address)
            else:
                yield insight
