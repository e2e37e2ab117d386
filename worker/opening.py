"""What comes between a claim and its calls: texts are judged, known answers found, a call reserved.

For short texts all of that is one transaction with the claim, so that a post that comes alone is
asked about after one wait for the database, not three.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from analysis.outcomes import Complete
from store.earlier import Earlier
from store.ledger import Reservation
from store.queue import Claimed, Results
from worker.prepared import Prepared

_CHARACTERS_WITHIN = 2000
"""Judging them takes the writer 2 ms at worst, for which others wait."""


@dataclass(frozen=True, slots=True)
class Pack:
    """What one call carries. `reservation` is None where the call has yet to be reserved."""

    items: Sequence[Prepared]
    reservation: Reservation | None = None

    @property
    def claimed(self) -> list[Claimed]:
        return [item.claimed for item in self.items]

    @property
    def texts(self) -> list[str]:
        return [item.text for item in self.items]


class Opening(NamedTuple):
    """What became of claimed conversations: `answered` by earlier analyses, or to be called for."""

    answered: Results
    packs: list[Pack]


def is_short(claimed: Sequence[Claimed]) -> bool:
    """Whether they may be judged while others wait to write."""
    return sum(len(item.text) for item in claimed) <= _CHARACTERS_WITHIN


def open_claim(prepared: Sequence[Prepared], earlier: Mapping[str, Earlier]) -> Opening:
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
