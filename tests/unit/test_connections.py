"""When connections are checked for what has taken too long."""

import asyncio
from collections.abc import Callable
from math import inf
from typing import Any, cast

from api.connections import Connections, Limits, Peer


class Loop:
    """A clock that is moved by hand, and the one call that is due next."""

    def __init__(self) -> None:
        self.now = 0.0
        self.due = inf
        self._call: Callable[[], None] = lambda: None

    def time(self) -> float:
        return self.now

    def call_at(self, when: float, call: Callable[[], None]) -> None:
        self.due, self._call = when, call

    def run(self, *, late: float = 0.0) -> None:
        """Make the call that is due, so many seconds after its time."""
        self.now, self.due = self.due + late, inf
        self._call()


class Held:
    """A connection that notes when it is checked."""

    peer: Peer
    body_bytes = answer_bytes = 0
    has_asked = True
    receiving_since = stalled_since = inf

    def __init__(self) -> None:
        self.checked: list[float] = []

    def check(self, now: float) -> None:
        self.checked.append(now)

    def refuse_body(self) -> None: ...

    def abort(self) -> None: ...


def test_after_the_process_has_stood_still_what_came_meanwhile_is_read_before_it_is_judged() -> (
    None
):
    loop, held = Loop(), Held()
    connections = Connections(Limits(), cast(asyncio.AbstractEventLoop, cast(Any, loop)))
    connections.enter(held, ("192.0.2.1", 5))

    loop.run()
    loop.run(late=33.0)
    assert held.checked == [0.5]
    loop.run()
    assert held.checked == [0.5, 34.5]


def test_one_that_is_always_late_checks_every_other_time() -> None:
    loop, held = Loop(), Held()
    connections = Connections(Limits(), cast(asyncio.AbstractEventLoop, cast(Any, loop)))
    connections.enter(held, ("192.0.2.1", 5))

    for _ in range(6):
        loop.run(late=1.0)
    assert len(held.checked) == 3
