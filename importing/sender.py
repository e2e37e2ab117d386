"""Sends items in batches, one after the other.

Sending twice stores once, since each item has its key: what was cut off is simply sent again.
"""

import os
import re
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

import httpx

from importing.api_client import ApiClient, details_of, json_of, refused
from importing.rows import Item

PATH = "/api/v1/conversations/batch"
REPLAYED_ITEMS, CONFLICT_ITEMS = "Idempotent-Replayed-Items", "Idempotency-Conflict-Items"
BATCH_ROWS = 150
"""The service writes a batch in one piece, and live posts wait for it. One batch at a time is under
way: with two, live posts waited nearly twice as long for a tenth more rows."""
LIVE_BATCH_ROWS = 10  # more the service does not take into its live lane at once
BATCH_BYTES = 1024 * 1024  # the service's own limit is 2 MiB
REQUESTS_PER_SECOND = 38.0
"""Less than two fifths of the service's default limit for all clients: 5,600 rows a second. The
goal is 5,000, and every batch beyond it would delay others for nothing."""
_ROWS_AT_A_TIME = 25
"""Rows that are read before the processor is yielded. Reading a batch takes milliseconds, for which
a thread of the service on the same processor would have to wait."""
_let_others_run: Callable[[], None] = getattr(os, "sched_yield", lambda: None)  # not on Windows
KEY_TAKEN = (
    "the service has another text under this row's key: somebody has sent it before, and this row"
    " is not there"
)


@dataclass(slots=True)
class Sent:
    """What became of a batch. `replayed` were stored before, and so were `changed`, with other
    columns beside the text. `ids` are the conversations of the accepted and the replayed items."""

    accepted: list[Item] = field(default_factory=list)
    replayed: list[Item] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)
    changed: list[Item] = field(default_factory=list)
    rejected: list[tuple[Item, str]] = field(default_factory=list)


class Sender:
    """Sends to one lane, `live` or `bulk`."""

    def __init__(self, api: ApiClient, *, lane: str) -> None:
        self._api, self._lane = api, lane
        self._most_bytes = BATCH_BYTES
        self._most_rows = LIVE_BATCH_ROWS if lane == "live" else BATCH_ROWS
        self._at_once = self._most_rows
        self._next_at = 0.0
        self.max_text: int | None = None
        """The service's MAX_TEXT_LENGTH in characters, once a row was rejected for it."""

    def send_all(self, items: Iterable[Item]) -> Iterator[Sent]:
        """What became of each batch, in order. While one is under way, the next one is read.

        Raises ImportFailed.
        """
        thread = ThreadPoolExecutor(1)
        under_way: Future[Sent] | None = None
        try:
            for batch in _batches(items, self._most_rows):
                next_one = thread.submit(self._send, batch)
                if under_way:
                    yield under_way.result()
                under_way = next_one
            if under_way:
                yield under_way.result()
        except BaseException:
            self._api.stop()
            raise
        finally:
            thread.shutdown(wait=False, cancel_futures=True)

    def _send(self, batch: list[Item]) -> Sent:
        """Send until each item is accepted, known to the service or rejected.

        The service takes a batch whole or not at all and names the item that stands in the way:
        that one is set aside, and the others are sent again. Raises ImportFailed.
        """
        sent = Sent()
        waiting = deque(batch)
        while waiting:
            part = [waiting.popleft() for _ in range(min(self._at_once, len(waiting)))]
            while (size := sum(len(item.json) for item in part)) > self._most_bytes and part[1:]:
                waiting.extendleft(reversed(part[len(part) // 2 :]))
                part = part[: len(part) // 2]
            body = b'{"lane": "%s", "conversations": [%s]}' % (
                self._lane.encode(),
                b", ".join(item.json for item in part),
            )
            self._keep_pace()
            answer = self._api.post(PATH, body)
            if answer.status_code == 202:
                # What an earlier try has stored, of which the answer was lost, is of this import.
                known = set[int]() if self._api.in_doubt else _told(REPLAYED_ITEMS, answer, part)
                for position, item in enumerate(part):
                    (sent.replayed if position in known else sent.accepted).append(item)
                sent.ids += json_of(answer)["conversation_ids"]
                self._at_once = min(self._most_rows, self._at_once * 2)
                continue
            if answer.status_code == 413 and len(part) > 1:
                self._most_bytes = size // 2
                waiting.extendleft(reversed(part))
                continue
            details = details_of(answer)
            named = re.match(r"conversations\[(\d+)\]\.?(.*)", details, re.DOTALL)
            alone = len(part) == 1 and answer.status_code != 400
            if answer.status_code not in (400, 409, 413) or not (named or alone):
                raise refused(answer)
            position = int(named[1]) if named else 0
            reason = named[2] if named else details
            faulty = {position} | _told(CONFLICT_ITEMS, answer, part)
            items = [part[each] for each in sorted(faulty)]
            waiting.extendleft(
                part[each] for each in reversed(range(len(part))) if each not in faulty
            )
            if answer.status_code == 409 and "another text" in reason:
                sent.rejected += [(item, KEY_TAKEN) for item in items]
            elif answer.status_code == 409:
                sent.changed += items
                if len(items) == 1:
                    # Where one was known, more may be: smaller batches, fewer rows sent in vain.
                    self._at_once = max(1, position, self._at_once // 2)
            else:
                sent.rejected += [(item, reason) for item in items]
                if too_long := re.match(r"text: must be at most (\d+) ", reason):
                    self.max_text = int(too_long[1])
        return sent

    def _keep_pace(self) -> None:
        now = time.monotonic()
        due = max(now, self._next_at)
        self._next_at = due + 1 / REQUESTS_PER_SECOND
        time.sleep(due - now)


def _told(header: str, answer: httpx.Response, items: Sequence[Item]) -> set[int]:
    """The positions of items that a header names; none where the service does not tell."""
    positions = set[int]()
    for first, last in re.findall(r"(\d{1,4})(?:-(\d{1,4}))?", answer.headers.get(header, "")):
        positions.update(range(int(first), min(int(last or first) + 1, len(items))))
    return positions


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
