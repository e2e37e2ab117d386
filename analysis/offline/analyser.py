"""An analyser that needs no key and no network, so that a newcomer sees everything work.

A small model of words and pieces of words, for everybody, or a large one of sentence vectors tells
the mood, tables of words tell topics, language and urgency (`analysis/offline/judge.py`). It is a
stand-in for Grok: it says so each time, and how sure it is.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import partial

from analysis.analyser import Throttle
from analysis.offline.judge import SMALL, Judge
from analysis.outcomes import Analysis, Reply, Sighting

# Up to this many characters the work is done before a thread would have started.
_INLINE_CHARACTERS = 1000
_REST_SECONDS, _REST_TIMES = 0.015, 4
"""Between the beginnings of two calls: so much for writing what they bring, and so many times the
processor time that a call's analyses take."""
_TEXTS_OF_LATE = 50


class _Rests(Throttle):
    """The analyser shares a process with those who post. Rests leave them two thirds of it or more,
    also where the machine is slow or the texts are long."""

    import_rest = 0.1

    def __init__(self, cpu_seconds: float) -> None:
        """`cpu_seconds` is what a text takes at first."""
        super().__init__(pack_size=5)  # live posts wait while so many results are written
        self._cpu_seconds = cpu_seconds

    @property
    def call_interval(self) -> float:
        return _REST_SECONDS + _REST_TIMES * self.pack_size * self._cpu_seconds

    def record(self, cpu_seconds: float) -> None:
        """What a text took."""
        self._cpu_seconds += (cpu_seconds - self._cpu_seconds) / _TEXTS_OF_LATE


class OfflineAnalyser:
    """An `Analyser`. Takes a fraction of a millisecond for a tweet, three with the large model;
    costs nothing."""

    name = "offline"
    model = SMALL
    notice = (
        "The offline analyser is at work, not Grok: it is right in about 7 of 10 English tweets."
    )

    def __init__(
        self,
        yield_to_urgent_write: Callable[[], Awaitable[None]] | None = None,
        *,
        large: bool = False,
    ) -> None:
        """`yield_to_urgent_write`, before each text, lets others have the process first. `large`
        needs the packages of requirements-languages.txt."""
        self._yield_to_urgent_write = yield_to_urgent_write or partial(asyncio.sleep, 0)
        self._judge = Judge(large=large)
        self._is_large = large
        self.model = self._judge.model
        self.reuse_key = f"{self.model}\n2"
        self.throttle = _Rests(0.002 if large else 0.0002)

    def highest_cost(self, texts: Sequence[str]) -> None:
        return None

    def remember(self, recent: Iterable[Sighting]) -> None:
        pass

    async def aclose(self) -> None:
        pass

    async def analyse(
        self,
        texts: Sequence[str],
        *,
        request_id: str | None = None,
        on_sent: Callable[[], None] = lambda: None,
    ) -> Reply:
        on_sent()
        if self._is_large:
            await self._yield_to_urgent_write()
            return Reply(await asyncio.to_thread(self._analyse, texts))
        return Reply([await self._analyse_aside(text) for text in texts])

    async def _analyse_aside(self, text: str) -> Analysis:
        """One text. Other users of the process have their turn between two of them."""
        if len(text) > _INLINE_CHARACTERS or not self._judge.is_ready:
            return (await asyncio.to_thread(self._analyse, [text]))[0]
        await self._yield_to_urgent_write()
        return self._analyse([text])[0]

    def _analyse(self, texts: Sequence[str]) -> list[Analysis]:
        started = time.thread_time()
        analyses = self._judge.judge(texts)
        spent = (time.thread_time() - started) / max(1, len(texts))
        self.throttle.record(spent)
        return analyses
