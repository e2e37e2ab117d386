"""New insights as they come, for everybody who listens.

One task reads them from the database, while somebody listens, and keeps the last ones ready as the
bytes that go out: they are made once for all. The first after a quiet time goes out at once; what
follows is gathered for a moment, since under load most of the cost is that of reading and sending
at all. Each listener knows how far it is. One that comes back, or cannot keep up, reads from the
database until it is abreast again, so nobody waits for the slow and nothing gathers for them. What
goes out at a time is bounded in bytes, and shared by all that are equally far.

What is changed about insights that are there, such as who handles them, goes out as well, to those
who listen by then: it is not told again to one that comes back, and has no id.

An insight's id is its event's id. Ids come up in the order in which they are given (the store sees
to that), so "all after this one" leaves nothing out, whoever wrote it and whenever one asks. A
wake-up is only a hint: other processes write too, and looking now and then finds what they wrote.
"""

import asyncio
from collections import Counter, deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Reversible, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import NamedTuple

import structlog
from pydantic_core import to_json

from api.insight_answers import insight_json
from errors import Unavailable
from store.insights import InsightStore
from store.listed import ListedInsight
from worker.waiting import until_set

log = structlog.get_logger(__name__)

LISTENERS = 100
KEPT_EVENTS = 1000
KEPT_CHANGES = 5000
KEPT_BYTES = 4_000_000
EVENTS_AT_A_TIME = 200
CHUNK_BYTES = 125_000
SHARED_CHUNKS = 16
GATHER_SECONDS = 0.25
LOOK_SECONDS = 1.0
PING_SECONDS = 15.0
_PING = b": still here\n\n"


class _Event(NamedTuple):
    """One, or several that go out together: then `id` is the last one's."""

    id: int
    content: bytes


_NOTHING = _Event(0, b"")


def _joined(events: Sequence[_Event]) -> _Event:
    if not events:
        return _NOTHING
    return _Event(events[-1].id, b"".join([event.content for event in events]))


def _some_after(kept: Reversible[_Event], position: int) -> _Event:
    """The oldest of those after this one, as many as may go out at a time."""
    newer = list(takewhile(lambda event: event.id > position, reversed(kept)))
    some: list[_Event] = []
    size = 0
    for event in reversed(newer):
        size += len(event.content)
        if some and size > CHUNK_BYTES:
            break
        some.append(event)
    return _joined(some)


def _event(id_: int, insight: ListedInsight) -> _Event:
    content = b"event: insight\nid: %d\ndata: %b\n\n" % (id_, insight_json(insight))
    return _Event(id_, content)


@dataclass(eq=False, slots=True)
class _Listener:
    """`holder` is whose it is; one that is `dismissed` has made room for another holder's."""

    holder: str
    dismissed: bool = False


class ChangeSource(NamedTuple):
    """A kind of change: `newest` gives the id of the newest one, `since` some that came after an
    id, the oldest first, each with its own id and what is told of it, which is None for nothing."""

    event: str
    newest: Callable[[], Awaitable[int]]
    since: Callable[[int], Awaitable[Sequence[tuple[int, object]]]]


class InsightStream:
    def __init__(
        self,
        store: InsightStore,
        changes: Sequence[ChangeSource] = (),
        *,
        listeners: int = LISTENERS,
        kept: int = KEPT_EVENTS,
        kept_bytes: int = KEPT_BYTES,
        gather_seconds: float = GATHER_SECONDS,
        look_seconds: float = LOOK_SECONDS,
        ping_seconds: float = PING_SECONDS,
    ) -> None:
        self._store = store
        self._sources = changes
        self._most_listeners = listeners
        self._kept = kept
        self._kept_bytes = kept_bytes
        self._gather_seconds = gather_seconds
        self._look_seconds = look_seconds
        self._ping_seconds = ping_seconds
        # All events after `_base`, up to the newest that has been read.
        self._events: deque[_Event] = deque()
        self._size = 0
        self._base = 0
        # Changes, numbered as they are read, and how far each source has been read.
        self._changes: deque[_Event] = deque()
        self._changes_size = 0
        self._changes_read = 0
        self._places: list[int] = []
        # What goes out of that after a position, for all that are there.
        self._chunks: dict[int, _Event] = {}
        self._reads: dict[tuple[int, int], asyncio.Task[_Event]] = {}
        self._news = asyncio.Event()
        self._look = asyncio.Event()
        self._listeners: dict[_Listener, None] = {}  # the oldest first
        self._reader: asyncio.Task[None] | None = None
        self._closed = False

    def wake(self) -> None:
        """Insights may have been written or changed."""
        self._look.set()

    def close(self) -> None:
        """Let every listener go, now and from now on."""
        self._closed = True
        self._tell()

    async def listen(self, after: int | None, holder: str = "") -> AsyncGenerator[bytes]:
        """Server-sent events, without end: all after this id, or after now where it is None.

        Where too many listen, the oldest of the holder that has most of them ends. Raises
        Unavailable where that is this one, and, at first only, where the database does not answer:
        later on it is waited for.
        """
        newest = await self._store.newest_id()
        position = newest if after is None else min(after, newest)
        places = [await source.newest() for source in self._sources]
        listener = self._enter(newest, places, holder)
        heard = self._changes_read
        # What was there when it came is not taken from what is kept: it may have changed since.
        told_before = max(newest, self._newest_kept())
        try:
            yield b": welcome\n\n"
            while not (self._closed or listener.dismissed):
                news = self._news
                abreast = max(told_before, self._base)
                behind = position < abreast
                chunk = await self._old(position, abreast) if behind else self._new(position)
                changes = _some_after(self._changes, heard)
                position = chunk.id if chunk.content else max(position, abreast)
                heard = changes.id if changes.content else heard
                if content := chunk.content + changes.content:
                    yield content
                elif not behind and not await until_set(news, self._ping_seconds):
                    yield _PING  # where it was behind, what was there has been erased
        finally:
            self._leave(listener)

    def _new(self, position: int) -> _Event:
        """From what is kept."""
        chunk = self._chunks.get(position)
        if chunk is not None:
            return chunk
        chunk = _some_after(self._events, position)
        if chunk.content:
            if len(self._chunks) >= SHARED_CHUNKS:
                self._chunks.clear()
            self._chunks[position] = chunk
        return chunk

    async def _old(self, position: int, abreast: int) -> _Event:
        """From the database, read once for all that ask for it meanwhile: where nothing is found,
        nothing is there up to `abreast`."""
        reads, key = self._reads, (position, abreast)
        reading = reads.get(key)
        if reading is None:
            reading = reads[key] = asyncio.create_task(self._read_chunk(position))
            reading.add_done_callback(lambda _: reads.pop(key, None))
        return await asyncio.shield(reading)

    async def _read_chunk(self, position: int) -> _Event:
        events, _ = await self._read(position)
        return _joined(events)

    async def _read(self, position: int) -> tuple[Sequence[_Event], bool]:
        """Some after this position, and whether there are more."""
        while not self._closed:
            try:
                found, more = await self._store.since(position, limit=EVENTS_AT_A_TIME)
                return [_event(id_, insight) for id_, insight in found], more
            except Unavailable as error:
                log.warning("stream_waits", reason=error.details)
                await asyncio.sleep(self._look_seconds)
            except Exception:
                log.exception("stream_failed")
                await asyncio.sleep(self._look_seconds)
        return [], False

    # --- the one that reads for all -----------------------------------------------------------

    def _enter(self, newest: int, places: list[int], holder: str) -> _Listener:
        held = [each for each in self._listeners if not each.dismissed]
        if len(held) >= self._most_listeners:
            self._make_room(holder, held)
        listener = _Listener(holder)
        self._listeners[listener] = None
        if self._reader is None:
            self._forget()
            self._chunks.clear()
            self._changes.clear()
            self._changes_size = 0
            self._base = newest
            self._places = places
            self._reader = asyncio.create_task(self._keep_reading(), name="stream-reader")
        return listener

    def _make_room(self, holder: str, held: Sequence[_Listener]) -> None:
        """Raises Unavailable where nobody has more than one more than `holder` has."""
        count = Counter(each.holder for each in held)
        greediest, most = count.most_common(1)[0]
        if most <= count[holder] + 1:
            raise Unavailable("Too many streams are open.", retry_after=15)
        oldest = next(each for each in held if each.holder == greediest)
        oldest.dismissed = True
        self._tell()

    def _leave(self, listener: _Listener) -> None:
        del self._listeners[listener]
        if not self._listeners and self._reader is not None:
            for task in (self._reader, *self._reads.values()):
                task.cancel()
            self._reader, self._reads = None, {}

    async def _keep_reading(self) -> None:
        while not self._closed:
            self._look.clear()
            events, more = await self._read(self._newest_kept())
            self._chunks.clear()
            if not events:
                self._forget()  # else what is erased later on would stay here
            for event in events:
                self._keep(event)
            if await self._read_changes() or events:
                self._tell()
            if more:
                continue
            if events:
                await asyncio.sleep(self._gather_seconds)
            else:
                await until_set(self._look, self._look_seconds)

    async def _read_changes(self) -> bool:
        """Whether there are any. Where the database does not answer they are read the next time."""
        before = self._changes_read
        for place, source in enumerate(self._sources):
            try:
                found = await source.since(self._places[place])
            except Unavailable:
                continue
            except Exception:
                log.exception("stream_failed")
                continue
            for id_, told in found:
                self._places[place] = id_
                if told is None:
                    continue
                self._changes_read += 1
                content = b"event: %b\ndata: %b\n\n" % (source.event.encode(), to_json(told))
                self._keep_change(_Event(self._changes_read, content))
        return self._changes_read > before

    def _keep_change(self, change: _Event) -> None:
        self._changes.append(change)
        self._changes_size += len(change.content)
        while len(self._changes) > KEPT_CHANGES or self._changes_size > self._kept_bytes:
            self._changes_size -= len(self._changes.popleft().content)

    def _keep(self, event: _Event) -> None:
        self._events.append(event)
        self._size += len(event.content)
        while len(self._events) > self._kept or self._size > self._kept_bytes:
            oldest = self._events.popleft()
            self._base = oldest.id
            self._size -= len(oldest.content)

    def _newest_kept(self) -> int:
        return self._events[-1].id if self._events else self._base

    def _forget(self) -> None:
        """Who has not had them yet reads them from the database."""
        self._base = self._newest_kept()
        self._events.clear()
        self._size = 0

    def _tell(self) -> None:
        news, self._news = self._news, asyncio.Event()
        news.set()
