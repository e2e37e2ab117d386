"""Words that very many texts have, counted before anybody searches for one.

On PostgreSQL the first count of such a word reads nearly all pages of the index's table: a third of
a second at a million insights. From then on the counts of days are cached (`MatchCounter`).
"""

import asyncio
import time
from contextlib import suppress
from functools import partial

from sqlalchemy import text

from database import Database
from errors import Unavailable
from store.derived.terms import is_word
from store.derived.word_counts import MatchCounter
from store.filters import filter_of

MATCHES = 5000
"""A word with fewer is counted in some 50 ms, a page for each match."""
_MOST_WORDS = 200
_MOST_COUNTS = 25_000
"""Half of what is cached; the rest is for searches that people make."""

_FREQUENT = text(
    """
SELECT term FROM pg_stats, unnest(
    CAST(CAST(most_common_elems AS text) AS text[]), most_common_elem_freqs
) AS each (term, share)
WHERE schemaname = current_schema() AND tablename = 'insight_terms' AND attname = 'terms'
AND term IS NOT NULL
AND share * (SELECT reltuples FROM pg_class WHERE oid = CAST('insight_terms' AS regclass)) >= :least
ORDER BY share DESC
"""
)
"""As the latest ANALYZE has found them; the terms of figures are among them. There are a few
more shares than terms: the least, the greatest, and that of nulls."""
_DAYS = text("SELECT count(*) FROM insight_days")


class FrequentWords:
    def __init__(self, database: Database, matches: MatchCounter, *, least: int = MATCHES) -> None:
        """Words with at least `least` matches are counted, for the cache of `matches`."""
        self._database = database
        self._matches = matches
        self._least = least
        self._left: list[str] = []
        self._counted: set[str] = set()

    async def step(self) -> bool:
        """Count one, the most frequent first, and rest for as long as that took; whether more are
        left. SQLite counts fast enough without."""
        if self._database.is_sqlite:
            return False
        if not self._left:
            self._left = [word for word in await self._frequent() if word not in self._counted]
        if self._left:
            word = self._left.pop(0)
            self._counted.add(word)
            started = time.monotonic()
            count = partial(self._matches.count, filter_of({"q": word}))
            with suppress(Unavailable):  # it took too long: it is left to whoever searches for it
                await self._database.read(count, costly=True)
            await asyncio.sleep(time.monotonic() - started)
        return bool(self._left)

    async def _frequent(self) -> list[str]:
        terms = await self._database.read(
            lambda connection: connection.scalars(_FREQUENT, {"least": self._least}).all()
        )
        days = await self._database.read(lambda connection: connection.scalar(_DAYS)) or 1
        return [term for term in terms if is_word(term)][: min(_MOST_WORDS, _MOST_COUNTS // days)]
