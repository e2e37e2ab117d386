"""What comes between a claim and its calls: texts are judged, known answers found, a call reserved.

For short texts all of that is one transaction with the claim, so that a post that comes alone is
asked about after one wait for the database, not three.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import NamedTuple

import structlog
from sqlalchemy import Connection

from analysis.analyser import Analyser
from analysis.outcomes import Complete
from runtime.turns import give_back_right_of_way
from store.earlier import Earlier, analysed_before
from store.queue import Claimed, Results, WorkQueue
from worker.calls import CallRunner
from worker.prepared import Pack, Prepared, prepare, prepare_all

log = structlog.get_logger(__name__)

_CHARACTERS_WITHIN = 2000
"""Judging them takes the writer 1 ms, and 4 where no sign is ASCII, on a slow machine."""


class Opening(NamedTuple):
    """What became of claimed conversations: `answered` by earlier analyses, or to be called for."""

    answered: Results
    packs: list[Pack]


class Opener:
    def __init__(
        self,
        queue: WorkQueue,
        analyser: Analyser,
        call_runner: CallRunner,
        *,
        reuse_window: timedelta,
    ) -> None:
        """Equal texts are answered from an analysis that is not older than `reuse_window`; 0 turns
        that off."""
        self._queue = queue
        self._analyser = analyser
        self._call_runner = call_runner
        self._reuse_window = reuse_window

    def within(self, claimed: Sequence[Claimed], connection: Connection) -> Opening | None:
        """In the transaction that claims, and in whichever thread that is: the first pack's call is
        reserved. None for texts that it would take long to judge."""
        if sum(len(item.text) for item in claimed) > _CHARACTERS_WITHIN:
            return None
        prepared = [prepare(item, reuse_key=self._analyser.reuse_key) for item in claimed]
        earlier: Mapping[str, Earlier] = {}
        if self._reuse_window:
            earlier = analysed_before(_fingerprints(prepared), self._reuse_window, connection)
        answered, packs = _open(prepared, earlier)
        if packs:
            reservation = self._call_runner.reserve_within(packs[0].texts, connection)
            if reservation.fits:  # what does not may do so when the call is to begin
                packs[0] = replace(packs[0], reservation=reservation)
        return Opening(answered, packs)

    async def after(self, claimed: Sequence[Claimed]) -> Opening:
        """After the transaction that claimed; no call is reserved."""
        give_back_right_of_way()  # the look-up is a read, and would wait for its own claim
        prepared = await prepare_all(claimed, reuse_key=self._analyser.reuse_key)
        earlier: Mapping[str, Earlier] = {}
        if self._reuse_window:
            try:
                earlier = await self._queue.analysed_before(
                    _fingerprints(prepared), within=self._reuse_window
                )
            except Exception as error:
                # Calls cost money, but they are what we are here for.
                log.warning("reuse_not_looked_up", cause=repr(error))
        return _open(prepared, earlier)


def _fingerprints(prepared: Sequence[Prepared]) -> Collection[str]:
    return {item.fingerprint for item in prepared}


def _open(prepared: Sequence[Prepared], earlier: Mapping[str, Earlier]) -> Opening:
    """`earlier` has analyses by their fingerprints. One pack is of all that can share a call, and
    each of the others is alone."""
    answered = []
    for item in prepared:
        if (found := earlier.get(item.fingerprint)) is not None:
            notes = item.notes | {"reused_from": found.conversation_id}
            answered.append((item.claimed, Complete(found.analysis, notes=notes)))
    left = [item for item in prepared if item.fingerprint not in earlier]
    together = [item for item in left if not item.alone]
    apart = [Pack([item]) for item in left if item.alone]
    return Opening(answered, [Pack(together), *apart] if together else apart)
