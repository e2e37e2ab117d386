"""An analyser that needs no key and no network, so that a newcomer sees everything work.

A small model of words and pieces of words, for everybody, or a large one of sentence vectors tells
the mood, tables of words tell topics, language and urgency (`analysis/offline/judge.py`). It is a
stand-in for Grok: it says so each time, and how sure it is.
"""

import asyncio
import json
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import structlog

from analysis.analyser import Throttle
from analysis.offline.judge import LARGE, SMALL
from analysis.outcomes import Analysis, Reply, TransientFailure
from analysis.topics import Topics
from analysis.urgency import Urgency
from runtime.turns import give_back_right_of_way

log = structlog.get_logger(__name__)

_ROOT = Path(__file__).resolve().parents[2]


class _SmallPacks(Throttle):
    """Live posts wait while the results of a call are written: for those of five not much longer
    than for one's, so that a hundred posts a second are not to make a hundred calls."""

    call_interval = 0.015
    gather_seconds = 0.04

    def __init__(self) -> None:
        super().__init__(pack_size=5)


class OfflineAnalyser:
    """An `Analyser`. Takes a fraction of a millisecond for a tweet, three with the large model;
    costs nothing.

    The models are in a process of their own, which the first call starts. It keeps nothing between
    two calls: where one does not end well, the process is ended, and the next call has a new one.
    """

    name = "offline"
    notice = (
        "The offline analyser is at work, not Grok: it is right in about 7 of 10 English tweets."
    )

    def __init__(
        self, *, large: bool = False, topics: Topics | None = None, timeout: float = 60.0
    ) -> None:
        """`large` needs the packages of requirements-languages.txt. Where the list of `topics` is
        closed, no others are named. A call that takes longer than `timeout` seconds, the start of
        the process included, counts as a failure."""
        self.model = LARGE if large else SMALL
        self._closed_list = topics if topics is not None and topics.allowed is not None else None
        self.reuse_key = f"{self.model}\n2"
        if self._closed_list is not None:
            self.reuse_key += f"\n{self._closed_list.prompt_lines()}"
        self.throttle = _SmallPacks()
        self._timeout = timeout
        self._child: Process | None = None
        self._turn = asyncio.Lock()

    async def aclose(self) -> None:
        child, self._child = self._child, None
        if child is not None:
            if child.returncode is None:
                child.kill()
            await child.wait()

    async def analyse(
        self,
        texts: Sequence[str],
        *,
        request_id: str | None = None,
        on_sent: Callable[[], None] = lambda: None,
    ) -> Reply:
        async with self._turn:
            on_sent()
            try:
                async with asyncio.timeout(self._timeout):
                    return Reply(await self._ask(texts))
            except (OSError, EOFError) as error:  # a timeout is an OSError
                log.warning("offline_analyser_ended", cause=repr(error))
                await self.aclose()
                failure = TransientFailure("the offline analyser's process ended or hung")
                return Reply([failure] * len(texts))
            except BaseException:
                await self.aclose()
                raise

    async def _ask(self, texts: Sequence[str]) -> list[Analysis]:
        """Raises OSError and EOFError where the process cannot be started, or dies meanwhile."""
        if self._child is None or self._child.returncode is not None:
            self._child = await self._start()
        assert self._child.stdin is not None
        assert self._child.stdout is not None
        self._child.stdin.write(json.dumps(texts).encode() + b"\n")
        await self._child.stdin.drain()
        give_back_right_of_way()
        line = await self._child.stdout.readuntil()
        return [self._analysis(**fields) for fields in json.loads(line)]

    def _analysis(self, clusters: Sequence[str], urgency: str, **fields: Any) -> Analysis:
        if self._closed_list is not None:
            clusters = self._closed_list.merge(clusters)
        return Analysis(clusters=tuple(clusters), urgency=Urgency(urgency), **fields)

    async def _start(self) -> Process:
        size = "large" if self.model == LARGE else "small"
        command = [sys.executable, "-m", "analysis.offline.child", size]
        return await asyncio.create_subprocess_exec(*command, stdin=PIPE, stdout=PIPE, cwd=_ROOT)
