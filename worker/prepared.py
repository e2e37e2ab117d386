"""A claimed conversation and the judgements of its text, made once: packing, reuse, notes and
settling read them. And what of them one call carries."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from analysis.fingerprint import as_analysed, fingerprint
from analysis.injection import suspicions
from store.insight_row import SUSPECTED
from store.ledger import Reservation
from store.queue import Claimed


@dataclass(frozen=True, slots=True)
class Prepared:
    """`text` is what an analyser is given. `fingerprint` was made with `reuse_key`."""

    claimed: Claimed
    text: str
    suspicions: tuple[str, ...]
    fingerprint: str
    reuse_key: str

    @property
    def alone(self) -> bool:
        """Whether it must not share a call: it could spoil the others' results."""
        return self.claimed.alone or bool(self.suspicions)

    @property
    def notes(self) -> dict[str, object]:
        """What the reader of its insight should know besides."""
        return {SUSPECTED: list(self.suspicions)} if self.suspicions else {}

    def fingerprint_under(self, reuse_key: str) -> str:
        """The key changes when another model answers than did before."""
        if reuse_key == self.reuse_key:
            return self.fingerprint
        return fingerprint(self.claimed.text, reuse_key)


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


def prepare(claimed: Claimed, *, reuse_key: str) -> Prepared:
    text = claimed.text
    return Prepared(
        claimed, as_analysed(text), suspicions(text), fingerprint(text, reuse_key), reuse_key
    )


async def prepare_all(claimed: Sequence[Claimed], *, reuse_key: str) -> list[Prepared]:
    """As `prepare`, of each. A long text may take 20 ms, so others have their turn in between."""
    prepared: list[Prepared] = []
    for item in claimed:
        if prepared:
            await asyncio.sleep(0)
        prepared.append(prepare(item, reuse_key=reuse_key))
    return prepared
