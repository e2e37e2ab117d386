"""Whether insights matched a filter at an earlier moment, by the logs of what was changed since.

A plan is about the rows that its preview counted. What has come to match since then, as somebody
has labelled or claimed it, nobody was shown.
"""

from collections.abc import Collection, Mapping
from typing import Any

from sqlalchemy import Connection, bindparam, func, select

from analysis.handling import Handling, HandlingState
from analysis.sentiment import sentiment_of
from store.filters import InsightFilter
from tables.people import handling_log, label_log


def matched_at(
    moment: int, ids: Collection[str], wanted: InsightFilter, connection: Connection
) -> set[str]:
    """Those of the conversations `ids`, which match now, that did at `moment`, in microseconds.

    Which label had the last word is in no log: for a filter by that, what has got another label
    since does not count.
    """
    found = set(ids)
    by_labels = (wanted.sentiment, wanted.cluster, wanted.min_confidence, wanted.labelled)
    if found and any(each is not None for each in by_labels):
        values = {"ids": list(found), "moment": moment}
        rows = connection.execute(_LABELS_BEFORE, values).all()
        found -= {id_ for id_, before in rows if not _would_match(before, wanted)}
    if found and wanted.handling is not None:
        states = dict.fromkeys(found, HandlingState.OPEN)
        values = {"ids": list(found), "moment": moment}
        for id_, state, until in connection.execute(_HANDLING_AT, values):
            handling = Handling(HandlingState(state), until=until)
            states[id_] = handling.effective(moment).state
        found = {id_ for id_, state in states.items() if state is wanted.handling}
    return found


def _would_match(values: Mapping[str, Any], wanted: InsightFilter) -> bool:
    return (
        wanted.labelled is None
        and wanted.sentiment in (None, sentiment_of(values["sentiment_score"]))
        and (wanted.cluster is None or wanted.cluster in values["clusters"])
        and (wanted.min_confidence is None or values["confidence"] >= wanted.min_confidence)
    )


_IDS: Any = bindparam("ids", expanding=True)
_MOMENT: Any = bindparam("moment")
_LABEL, _HANDLING = label_log.c, handling_log.c
_FIRST_LABELS = (
    select(func.min(_LABEL.id))
    .where(_LABEL.conversation_id.in_(_IDS), _LABEL.at > _MOMENT)
    .group_by(_LABEL.conversation_id)
)
_LABELS_BEFORE = select(_LABEL.conversation_id, _LABEL.before).where(_LABEL.id.in_(_FIRST_LABELS))
_LAST_HANDLING = (
    select(func.max(_HANDLING.id))
    .where(_HANDLING.conversation_id.in_(_IDS), _HANDLING.at <= _MOMENT)
    .group_by(_HANDLING.conversation_id)
)
_HANDLING_AT = select(_HANDLING.conversation_id, _HANDLING.state, _HANDLING.until).where(
    _HANDLING.id.in_(_LAST_HANDLING)
)
