"""A database with many insights, made once and kept: python -m bench.many_insights COUNT URL

Ninety days of them up to `END`, a few more by day than by night; 25 clusters, some frequent and one
rare; words as they come in real texts, one of them in every third text; two thirds in one language;
one in thirty urgent now, one in fifty labelled by a person; one in twenty open, most of these new,
the others answered or ignored. Written by the store's own
functions, a thousand in a transaction.
"""

import asyncio
import itertools
import random
import subprocess
import sys
import time
from datetime import UTC, datetime
from functools import partial
from typing import Any

from sqlalchemy import Connection, insert, text

from analysis.labels import LastWord
from database import Database
from models import Lane, Status, conversations, insights, to_micros
from store import derived
from store.derived import priority
from store.insight_row import InsightRow
from tables.people import labels

END = datetime(2025, 4, 1, tzinfo=UTC)
DAYS = 90
RARE_CLUSTER = "warehouse_fire"
FREQUENT_WORD = "parcel"
USUAL_WORD = "word99"
"""About one text in a hundred has it."""

_NEW = 40_000
_AT_A_TIME = 1000
_DAY = 86_400_000_000
_CLUSTERS = [f"topic_{number:02}" for number in range(24)]
_CLUSTER_WEIGHTS = list(itertools.accumulate(1 / (number + 2) for number in range(24)))
_WORDS = [f"word{number}" for number in range(30_000)]
_WORD_WEIGHTS = list(itertools.accumulate(1 / (number + 5) for number in range(30_000)))
_LANGUAGES = ["en"] * 20 + ["de"] * 5 + ["fr"] * 3 + ["und", "sv"]
_URGENCIES = ["none"] * 24 + ["soon"] * 5 + ["now"]
_LABELLED = ["model"] * 46 + ["rule"] * 3 + ["person"]
_CONFIDENCES = [0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.92, 0.95, 0.98]


async def build(url: str, count: int) -> None:
    async with Database(url) as database:
        await derived.ensure(database)
        if await database.read(lambda connection: connection.scalar(_COUNT)) >= count:
            return
        started = time.monotonic()
        draw = random.Random(7)
        moments = sorted(
            to_micros(END) - int(DAYS * _DAY * draw.random()) - 1 for _ in range(count)
        )
        for first in range(0, count, _AT_A_TIME):
            rows = [
                _row(number, moments[number], draw, newest=count - number)
                for number in range(first, first + _AT_A_TIME)
            ]
            await database.write(partial(_write, rows))
            done = first + _AT_A_TIME
            if done % 100_000 == 0:
                print(f"  {done:,} insights after {time.monotonic() - started:.0f} s", flush=True)
        await database.checkpoint_truncate()
        if not database.is_sqlite:
            await _analyse(url)


def build_once(url: str, count: int) -> None:
    """In a process of its own, so that what it takes of memory and CPU is not this one's."""
    command = [sys.executable, "-m", "bench.many_insights", str(count), url]
    subprocess.run(command, check=True)


_COUNT = text("SELECT count(*) FROM insights")


async def _analyse(url: str) -> None:
    """What PostgreSQL's autovacuum does after a while."""
    import asyncpg

    connection = await asyncpg.connect(url.replace("+asyncpg", ""))
    await connection.execute("VACUUM ANALYZE")
    await connection.close()


def _row(number: int, timestamp: int, draw: random.Random, newest: int) -> dict[str, Any]:
    """`newest` is its place, the last one's being 1."""
    words = draw.choices(_WORDS, cum_weights=_WORD_WEIGHTS, k=18)
    if draw.random() < 0.33:
        words[draw.randrange(18)] = FREQUENT_WORD
    clusters = draw.choices(_CLUSTERS, cum_weights=_CLUSTER_WEIGHTS, k=draw.choice([1, 1, 2]))
    if draw.random() < 0.0002:
        clusters = [RARE_CLUSTER]
    score = round(min(1.0, max(-1.0, draw.gauss(-0.2, 0.5))), 2)
    return {
        "conversation_id": f"conv_{number:08x}",
        "timestamp": timestamp,
        "text": " ".join(words),
        "author": f"customer{int(draw.paretovariate(0.7)) % 200_000}",
        "sentiment_score": score,
        "clusters": list(dict.fromkeys(clusters)),
        "confidence": draw.choice(_CONFIDENCES),
        "reasoning": "The customer has waited for a week, and asks for the third time where it is.",
        "grok_analysis": {
            "model": "grok-4",
            "usage": {"prompt_tokens": 310, "completion_tokens": 60, "cost_in_usd_ticks": 912_000},
            "content": "x" * 200,
        },
        "cost_usd_ticks": 912_000,
        "created_at": timestamp + 2_000_000,
        "language": draw.choice(_LANGUAGES),
        "urgency": draw.choice(_URGENCIES),
        "own": 0,
        "notes": None,
        "reach": round(draw.random() ** 4, 6),
        **_handled(timestamp, draw, newest),
        **_labelled(draw.choice(_LABELLED), clusters[:1], timestamp),
    }


def _handled(timestamp: int, draw: random.Random, newest: int) -> dict[str, Any]:
    """Most of what is new is open, and so is a little of what is old."""
    if draw.random() < (0.9 if newest <= _NEW else 0.015):
        return {"handling": "open", "handling_by": None, "handling_at": None}
    state = "ignored" if draw.random() < 0.1 else "answered"
    at = timestamp + int(draw.expovariate(1 / 5000) * 1_000_000)
    return {"handling": state, "handling_by": "ana", "handling_at": at}


def _labelled(last_word: str, clusters: list[str], at: int) -> dict[str, Any]:
    """The columns that say who has the last word, and what the model had said."""
    of_model = last_word == LastWord.MODEL
    return {
        "labelled": last_word,
        "label": None if of_model else {"name": "ana", "at": at, "reason": None},
        "model_sentiment_score": None if of_model else -0.4,
        "model_clusters": None if of_model else clusters,
        "model_confidence": None if of_model else 0.8,
    }


def _write(rows: list[dict[str, Any]], connection: Connection) -> None:
    connection.execute(
        insert(conversations),
        [
            {
                "id": row["conversation_id"],
                "text": row["text"],
                "author": row["author"],
                "timestamp": row["timestamp"],
                "status": Status.COMPLETED.value,
                "created_at": row["timestamp"],
                "lane": Lane.LIVE.value,
                "attempts": 1,
            }
            for row in rows
        ],
    )
    given = [
        {
            "conversation_id": row["conversation_id"],
            "giver": int(row["labelled"] == LastWord.RULE),
            "sentiment_score": row["sentiment_score"],
            "clusters": row["clusters"],
            **row["label"],
        }
        for row in rows
        if row["label"]
    ]
    if given:
        connection.execute(insert(labels), given)
    priority.complete_rows(connection, rows, frozenset())
    for row in rows:
        if row["handling"] != "open":
            row["priority"] = None
    ids = connection.execute(
        insert(insights).returning(insights.c.id, sort_by_parameter_order=True), rows
    ).scalars()
    names = InsightRow._fields
    whole = [{**row, "id": id_} for id_, row in zip(ids, rows, strict=True)]
    derived.add(
        connection,
        [InsightRow(**{name: row[name] for name in names}) for row in whole],
    )


if __name__ == "__main__":
    asyncio.run(build(sys.argv[2], int(sys.argv[1])))
