"""A write that waits for its turn in the writer's thread."""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, NamedTuple


class Turn(NamedTuple):
    """A write that waits, and where its result goes. An urgent one is `answered` once its caller
    has that."""

    work: Callable[[], Any]
    future: Future[Any]
    answered: threading.Event | None = None
    background: bool = False

    @property
    def urgent(self) -> bool:
        return self.answered is not None
