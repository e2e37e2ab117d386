"""What earlier analyses tell: an answer for equal texts, and which names of topics are in use."""

import json
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from datetime import timedelta
from typing import NamedTuple

from sqlalchemy import Connection, Text, bindparam, cast, func, null, select

from analysis.labels import LastWord
from analysis.micros import DAY
from analysis.outcomes import Analysis, Sighting
from analysis.urgency import Urgency
from models import insight_clusters, insights, now_micros
from store.insight_row import read_clusters
from store.statements import Prepared, among


class Earlier(NamedTuple):
    """An analysis that equal texts may be answered from."""

    conversation_id: str
    analysis: Analysis


# What the model said, whoever has the last word.
_SCORE, _CLUSTERS, _CONFIDENCE = (
    func.coalesce(insights.c[f"model_{name}"], insights.c[name]).label(name)
    for name in ("sentiment_score", "clusters", "confidence")
)
_ANALYSED_SINCE = Prepared(
    select(
        insights.c.fingerprint,
        insights.c.conversation_id,
        _SCORE,
        cast(_CLUSTERS, Text),
        _CONFIDENCE,
        insights.c.reasoning,
        cast(insights.c.grok_analysis, Text),
        insights.c.language,
        insights.c.urgency,
    )
    .where(
        among(insights.c.fingerprint, "fingerprints"),
        insights.c.created_at > bindparam("since"),
    )
    .order_by(insights.c.created_at)  # of several, the last one stays in the mapping
)


def analysed_before(
    fingerprints: Collection[str], within: timedelta, connection: Connection
) -> Mapping[str, Earlier]:
    """The newest analysis of each fingerprint that has one, not older than `within`."""
    found: dict[str, Earlier] = {}
    since = now_micros() - within // timedelta(microseconds=1)
    values = {"fingerprints": list(fingerprints), "since": since}
    for row in _ANALYSED_SINCE.run(connection, values):
        fingerprint, id_, score, clusters, confidence, *told = row
        reasoning, details, language, urgency = told
        found[fingerprint] = Earlier(
            id_,
            Analysis(
                score,
                read_clusters(clusters),
                confidence,
                reasoning,
                details=json.loads(details),
                language=language,
                urgency=Urgency(urgency),
            ),
        )
    return found


_NEWEST_NAMED = (
    select(
        _CLUSTERS,
        insights.c.author,
        insights.c.timestamp,
        insights.c.fingerprint,
        insights.c.notes,
    )
    .order_by(insights.c.id.desc())
    .limit(bindparam("limit"))
)
_LAST_NAMED = select(func.max(insight_clusters.c.timestamp)).where(
    insight_clusters.c.cluster == bindparam("name"),
    insight_clusters.c.timestamp < bindparam("before"),
)
_NAMED_THAT_DAY = (
    select(insights.c.author)
    .join_from(insight_clusters, insights, insights.c.id == insight_clusters.c.insight_id)
    .where(
        insight_clusters.c.cluster == bindparam("name"),
        insight_clusters.c.timestamp >= bindparam("first"),
        insight_clusters.c.timestamp <= bindparam("last"),
        insights.c.fingerprint.is_not(None),
        insights.c.notes.is_(null()),
        insights.c.labelled == LastWord.MODEL.value,
    )
    .limit(bindparam("limit"))
)
_NAMES_LOOKED_UP = 50
_DAYS_LOOKED_UP = 5
_TEXTS_OF_A_DAY = 20


def recent_sightings(limit: int, connection: Connection) -> list[Sighting]:
    rows = connection.execute(_NEWEST_NAMED, {"limit": limit}).all()
    recent = [
        Sighting(row.clusters, row.author, row.timestamp // DAY)
        for row in reversed(rows)
        if row.fingerprint and row.notes is None
    ]
    counts = Counter(name for sighting in recent for name in sighting.clusters)
    earlier = [
        sighting
        for name, _ in counts.most_common(_NAMES_LOOKED_UP)
        for sighting in _earlier_sightings(name, connection)
    ]
    return earlier + recent


def _earlier_sightings(name: str, connection: Connection) -> Iterator[Sighting]:
    """A few of each of the last days on which the name was given, by the index of clusters."""
    before = 2**63 - 1
    for _ in range(_DAYS_LOOKED_UP):
        last = connection.scalar(_LAST_NAMED, {"name": name, "before": before})
        if last is None:
            return
        day = last // DAY
        before = day * DAY
        that_day = {"name": name, "first": before, "last": last, "limit": _TEXTS_OF_A_DAY}
        for author in connection.scalars(_NAMED_THAT_DAY, that_day):
            yield Sighting((name,), author, day)
