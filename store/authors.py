"""Authors with how many insights they have: found by how a name begins, or by who complains most.

An author's insights are together in `idx_insight_author`, which also holds their times and scores.
On SQLite a beginning is a few ranges of that index, one for each way to spell it; PostgreSQL's
order of texts is its locale's, so there the index is read through.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from itertools import product
from typing import Any
from unicodedata import normalize

from sqlalchemy import Connection, and_, bindparam, case, func, select

from analysis.sentiment import NEGATIVE_BELOW
from database import Database
from models import from_micros, insights, to_micros
from store.derived import rollup_query
from store.filters import COUNTS, InsightFilter

_LAST_CHARACTER = "\U0010ffff"
_SPELLINGS = 64
"""More ways to spell a beginning are not looked for: those of six letters."""
_MORE_THAN_TWO = ("iIİ", "Σσς")
"""Letters of which not each is the other case of each."""
_FEW = 50_000
"""So many are counted by their times, more by the index of authors, whole."""


@dataclass(frozen=True, slots=True)
class AuthorCount:
    """Of the posts that count; of who has none of these, of the own posts. `last` is the newest
    timestamp."""

    author: str
    count: int
    negative: int
    last: datetime


class AuthorStore:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def most(
        self, *, prefix: str | None, start_time: datetime, end_time: datetime, limit: int
    ) -> Sequence[AuthorCount]:
        """Both times are inclusive. With a `prefix` (whatever its case and Unicode form, a
        leading `@` ignored) those who begin so, most insights first; without one, and so of `@`
        alone, those with most negative ones first, and none of one's own accounts."""
        beginning = normalize("NFC", prefix or "").removeprefix("@")
        between = InsightFilter(start_time=start_time, end_time=end_time)
        find = partial(_beginning_with, beginning) if beginning else _most_negative
        return await self._database.read(partial(find, between, limit))


def _most_negative(
    between: InsightFilter, limit: int, connection: Connection
) -> Sequence[AuthorCount]:
    by_author = rollup_query.count(between, connection) > _FEW
    statement = _MOST_NEGATIVE[by_author and connection.dialect.name == "sqlite"]
    rows = connection.execute(statement, {**_times(between), "limit": limit})
    return [_author(*row) for row in rows]


def _beginning_with(
    prefix: str, between: InsightFilter, limit: int, connection: Connection
) -> Sequence[AuthorCount]:
    wanted = _folded(prefix)
    spellings = sorted(_spellings(prefix))
    spellings += [f"@{spelling}" for spelling in spellings]
    if connection.dialect.name == "sqlite":
        rows = [
            row
            for spelling in spellings
            for row in connection.execute(
                _IN_RANGE,
                {**_times(between), "low": spelling, "high": spelling + _LAST_CHARACTER},
            )
        ]
    else:
        lengths = {len(spelling) for spelling in spellings}
        rows = [
            row
            for length in lengths
            for row in connection.execute(
                _ONE_OF,
                {
                    **_times(between),
                    "length": length,
                    "spellings": [each for each in spellings if len(each) == length],
                },
            )
        ]
    found = [
        _author(author, *(that_count if that_count[0] else all_of_them))
        # A range may lie within another: that of an I which a dot follows in that of an I.
        for author, *figures in {row[0]: row for row in rows}.values()
        if _folded(author.removeprefix("@")).startswith(wanted)
        for that_count, all_of_them in [(figures[:3], figures[3:])]
    ]
    return sorted(found, key=lambda each: (-each.count, each.author))[:limit]


def _folded(name: str) -> str:
    """The same whatever the case and the Unicode form. That of a dotted capital `İ` has a dot of
    its own, which an `i` has anyway."""
    return normalize("NFC", name).casefold().replace("i\u0307", "i")


def _spellings(prefix: str) -> Iterator[str]:
    """What names begin with that are this, which is NFC, but for case, and for accents that follow
    their letters (NFD); of a long one, its first letters. They end at a double s, which may be one
    letter."""
    ways: list[set[str]] = []
    number = 1
    for place, letter in enumerate(prefix):
        forms = {letter, letter.lower(), letter.upper(), letter.title()}
        for alike in _MORE_THAN_TWO:
            if letter in alike:
                forms |= set(alike)
        rest = prefix[place:].casefold()
        if is_double := rest == "s" or rest.startswith("ss"):
            forms |= {"s", "S", "ß", "ẞ"}
        forms = {form for form in forms if len(form) == 1}
        forms |= {normalize("NFD", form) for form in forms}
        number *= len(forms)
        if number > _SPELLINGS:
            break
        ways.append(forms)
        if is_double:
            break
    return ("".join(letters) for letters in product(*ways))


def _times(between: InsightFilter) -> dict[str, int]:
    return {"start": to_micros(between.start_time), "end": to_micros(between.end_time)}


def _author(author: str, count: int, negative: Any, last: int) -> AuthorCount:
    return AuthorCount(author, count, int(negative), from_micros(last))


_IS_NEGATIVE = insights.c.sentiment_score < NEGATIVE_BELOW
_NEGATIVE = func.sum(case((_IS_NEGATIVE, 1), else_=0))
_FIGURES = func.count(), _NEGATIVE, func.max(insights.c.timestamp)
_COUNTED = select(insights.c.author, *_FIGURES).group_by(insights.c.author)
_WITH_OWN = select(
    insights.c.author,
    func.count(case((COUNTS, 1))),
    func.count(case((and_(COUNTS, _IS_NEGATIVE), 1))),
    func.max(case((COUNTS, insights.c.timestamp))),
    *_FIGURES,
).group_by(insights.c.author)
"""Of the posts that count, then of all; in one pass along the index."""
_INDEX = "INDEXED BY idx_insight_author"
_BETWEEN = insights.c.timestamp.between(bindparam("start"), bindparam("end"))
_IN_RANGE = _WITH_OWN.with_hint(insights, _INDEX, "sqlite").where(
    insights.c.author >= bindparam("low"), insights.c.author < bindparam("high"), _BETWEEN
)
_ONE_OF = _WITH_OWN.where(
    func.left(insights.c.author, bindparam("length")).in_(bindparam("spellings", expanding=True)),
    _BETWEEN,
)
_WORST_FIRST = (
    _COUNTED.where(insights.c.author.is_not(None), COUNTS, _BETWEEN)
    .order_by(_NEGATIVE.desc(), func.count().desc(), insights.c.author)
    .limit(bindparam("limit"))
)
_MOST_NEGATIVE = {False: _WORST_FIRST, True: _WORST_FIRST.with_hint(insights, _INDEX, "sqlite")}
