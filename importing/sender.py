"""Sends items in batches, and waits as long as it takes for a service that is busy or away.

Sending twice stores once, since each item has its key: what was cut off is simply sent again.
"""

import os
import re
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import httpx

from importing.errors import ImportFailed
from importing.rows import Item
from runtime.environment import NOT_REACHED

PATH = "/api/v1/conversations/batch"
BATCH_ROWS = 150
"""A batch is one piece of work for the service, which live posts have to wait for. One at a time is
under way: with two, live posts waited nearly twice as long for a tenth more rows."""
LIVE_BATCH_ROWS = 10  # more the service does not take into its live lane at once
BATCH_BYTES = 1024 * 1024  # the service's own limit is 2 MiB
REQUESTS_PER_SECOND = 38.0
"""Less than two fifths of what the service takes from everybody together by default. So 5,600 rows
a second are sent: as fast as it should be, and no faster, since every batch is in others' way."""
_ROWS_AT_A_TIME = 25
"""That are read before whoever waits for this processor has it. A batch takes milliseconds to read,
and a thread of the service that wakes up meanwhile may have to wait for all of them."""
_let_others_run: Callable[[], None] = getattr(os, "sched_yield", lambda: None)  # not on Windows
FIRST_PATIENCE_SECONDS = 10.0
MAX_WAIT_SECONDS = 120
_HINTS = {401: " (set API_KEY)", 403: " (set API_KEY)", 404: " (is API_URL right?)"}
KEY_TAKEN = (
    "the service has another text under this row's key: somebody has sent it before, and this row"
    " is not there"
)
_AGAIN = (408, 429, 502, 503, 504)


@dataclass(slots=True)
class Sent:
    """What became of a batch. `known` were stored before with other columns beside the text; `ids`
    are the conversations of those accepted, now or before."""

    accepted: list[Item] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)
    known: list[Item] = field(default_factory=list)
    rejected: list[tuple[Item, str]] = field(default_factory=list)


class Sender:
    """`say` hears what a person who waits should know, one line each."""

    def __init__(
        self,
        client: httpx.Client,
        *,
        lane: str,
        patience: float,
        sleep: Callable[[float], None],
        say: Callable[[str], None],
        via: str = "",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client, self._lane, self._patience = client, lane, patience
        self._via = via
        self._sleep, self._say, self._clock = sleep, say, clock
        self._most_bytes = BATCH_BYTES
        self._most_rows = LIVE_BATCH_ROWS if lane == "live" else BATCH_ROWS
        self._at_once = self._most_rows
        self._next_at = 0.0
        self._reached = False
        self._stopped = self._told = False
        self.max_text: int | None = None
        """As the service has told, once it has."""

    def send_all(self, items: Iterable[Item]) -> Iterator[Sent]:
        """In order. While a batch is under way, the next one is read. Raises ImportFailed."""
        threads = ThreadPoolExecutor(1)
        under_way: deque[Future[Sent]] = deque()
        try:
            for batch in _batches(items, self._most_rows):
                under_way.append(threads.submit(self._send, batch))
                while len(under_way) > 1:
                    yield under_way.popleft().result()
            while under_way:
                yield under_way.popleft().result()
        finally:
            self._stopped = True
            threads.shutdown(wait=False, cancel_futures=True)

    def _send(self, batch: list[Item]) -> Sent:
        """All of it comes to an end: a batch is taken whole or not at all, so the item that is in
        the way goes, and the rest again."""
        sent = Sent()
        waiting = deque(batch)
        while waiting:
            part = [waiting.popleft() for _ in range(min(self._at_once, len(waiting)))]
            while (size := sum(len(item.json) for item in part)) > self._most_bytes and part[1:]:
                waiting.extendleft(reversed(part[len(part) // 2 :]))
                part = part[: len(part) // 2]
            answer = self._post(part)
            details = _details(answer)
            named = re.match(r"conversations\[(\d+)\]\.?(.*)", details, re.DOTALL)
            if answer.status_code == 202:
                sent.accepted += part
                sent.ids += _ids(answer)
                self._at_once = min(self._most_rows, self._at_once * 2)
                continue
            if answer.status_code == 413 and len(part) > 1:
                self._most_bytes = size // 2
                waiting.extendleft(reversed(part))
                continue
            alone = len(part) == 1 and answer.status_code != 400
            if answer.status_code not in (400, 409, 413) or not (named or alone):
                hint = _HINTS.get(answer.status_code, "")
                raise ImportFailed(f"the service answers {answer.status_code}: {details}{hint}")
            position = int(named[1]) if named else 0
            item, reason = part[position], named[2] if named else details
            waiting.extendleft(reversed(part[:position] + part[position + 1 :]))
            if answer.status_code == 409 and "another text" in reason:
                sent.rejected.append((item, KEY_TAKEN))
            elif answer.status_code == 409:
                # Where one was known, more will be: smaller batches, and fewer rows sent in vain.
                sent.known.append(item)
                self._at_once = max(1, position, self._at_once // 2)
            else:
                sent.rejected.append((item, reason))
                if too_long := re.match(r"text: must be at most (\d+) ", reason):
                    self.max_text = int(too_long[1])
        return sent

    def _post(self, items: list[Item]) -> httpx.Response:
        """The first answer that is not "come back later"."""
        body = b'{"lane": "%s", "conversations": [%s]}' % (
            self._lane.encode(),
            b", ".join(item.json for item in items),
        )
        failures, waited = 0, 0.0
        while not self._stopped:
            self._keep_pace()
            problem, wait = self._try(body)
            if isinstance(problem, httpx.Response):
                self._reached = True
                if self._told:
                    self._told = False
                    self._say(f"It takes rows again, after {waited:.0f} s.")
                return problem
            wait = wait or min(30.0, 2.0**failures)
            failures += 1
            patience = self._patience if self._reached else FIRST_PATIENCE_SECONDS
            if waited + wait > patience:
                self._stopped = True
                raise ImportFailed(f"{problem}; waited {waited:.0f} s")
            if not self._told and (failures > 1 or wait > 1):
                self._told = True
                self._say(f"{problem}; waiting up to {patience:.0f} s for it")
            self._sleep(wait)
            waited += wait
        raise ImportFailed("stopped")

    def _try(self, body: bytes) -> tuple[httpx.Response | str, float | None]:
        """The answer; or what is wrong, and the seconds to wait if the service has said so."""
        try:
            answer = self._client.post(
                PATH, content=body, headers={"Content-Type": "application/json"}
            )
        except NOT_REACHED as error:
            return f"cannot reach {self._client.base_url}{self._via}: {error!s}", None
        if answer.status_code not in _AGAIN:
            return answer, None
        self._reached = True
        asked = answer.headers.get("retry-after", "")
        wait = max(1, min(int(asked), MAX_WAIT_SECONDS)) if asked.isdecimal() else 2
        return f"the service answers {answer.status_code}: {_details(answer)}", float(wait)

    def _keep_pace(self) -> None:
        now = self._clock()
        due = max(now, self._next_at)
        self._next_at = due + 1 / REQUESTS_PER_SECOND
        time.sleep(due - now)


def _batches(items: Iterable[Item], most: int) -> Iterator[list[Item]]:
    batch: list[Item] = []
    size = 0
    for item in items:
        if len(batch) % _ROWS_AT_A_TIME == 0:
            _let_others_run()
        if batch and (len(batch) == most or size + len(item.json) > BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(item)
        size += len(item.json)
    if batch:
        yield batch


def _ids(answer: httpx.Response) -> list[str]:
    with suppress(ValueError, TypeError, LookupError):
        return [str(each) for each in answer.json()["conversation_ids"]]
    return []


def _details(answer: httpx.Response) -> str:
    with suppress(ValueError, TypeError, LookupError):
        found: Any = answer.json()
        return str(found["details"])
    return answer.reason_phrase
