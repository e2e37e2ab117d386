"""SQLite: one process for a file, in it one connection that writes and a few that read.

The writer has a thread of its own and the readers share a few; a whole transaction is one visit to
one of them. See docs/decisions/0007-threads-for-sqlite.md for the figures.

No two connections write or checkpoint at the same moment: SQLite before 3.51.3 can then lose what
was committed. See docs/decisions/0004-one-process-per-sqlite-file.md.
"""

import asyncio
import os
import sqlite3
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from sqlalchemy import URL, Connection
from sqlalchemy.exc import DBAPIError

from backends.backend import BackgroundWork
from backends.checkpoints import Checkpoints
from backends.errors import TOOK_TOO_LONG, is_lock, translated_errors
from backends.file_lock import FileLock
from backends.preemption import Preempted, Preemption
from backends.private_files import keep_private
from backends.snapshot import copy_beside_writes
from backends.sqlite_driver import begin_writing, driver_of, on_driver, pages_in_use
from backends.sqlite_engine import (
    BUSY_TIMEOUT_SECONDS,
    DURABLE,
    NOT_DURABLE,
    OPTIONS,
    build_engine,
    run_on_connect,
)
from backends.stoppable import Stoppable
from backends.turn import Turn
from errors import Unavailable
from runtime.turns import give_way

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

T = TypeVar("T")

_READERS = 4
_COSTLY_READERS = 2
"""Threads of their own for reads that may take long, so that no number of them keeps others out."""
_STOP_AGAIN_SECONDS = 0.02
_BACKGROUND_SECONDS = 0.02
"""So long others but urgent ones wait for a write in the background."""
_LOST = "The database file was moved, replaced or removed under the service."
_ANSWER_SECONDS = 0.005
"""The longest that anything waits for the answer to an urgent write."""


class SqliteFile:
    """`lock_patience` is how many seconds `connect` waits for another process to let go of it."""

    version = sqlite3.sqlite_version

    def __init__(self, url: URL, *, lock_patience: float) -> None:
        assert url.database is not None
        self._url = url
        self._path = os.path.realpath(url.database)  # where SQLite puts the other files, too
        self._lock = FileLock(self._path)
        self._lock_patience = lock_patience
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="sqlite-writer")
        self._high: deque[Turn] = deque()
        self._normal: deque[Turn] = deque()
        self._serve_normal_next = False
        self._answered = asyncio.Event()
        self._answered.set()
        self._last_answered: threading.Event | None = None  # of the urgent one that was run last
        self._preemption = Preemption()
        self._checkpoints = Checkpoints()
        # A checkpoint does not wait for readers; `begin_writing` waits where it has to.
        self._writer = build_engine(url, "PRAGMA busy_timeout=0", "PRAGMA cache_size=-8000")
        self._connection: Connection | None = None
        self._durable = True  # what the connection is set to, as it is from the start
        self._checkpoint_due = True  # what a process that died had erased may still be in there
        self._reading_threads = ThreadPoolExecutor(_READERS, thread_name_prefix="sqlite-reader")
        self._costly_threads = ThreadPoolExecutor(
            _COSTLY_READERS, thread_name_prefix="sqlite-costly-reader"
        )
        self._reader = build_engine(url, "PRAGMA query_only=ON")
        self._idle_readers: deque[Connection] = deque()

    async def connect(self) -> None:
        """Take the file's lock, see that a connection can be had, and keep the files private.

        Raises Unavailable where another process has the lock, and SQLite's own error where the file
        cannot be opened.
        """
        await self._lock.acquire(patience=self._lock_patience)
        keep_private(self._path)
        # Kept open: the last one to close a file empties its log.
        self._idle_readers.append(await asyncio.to_thread(self._reader.connect))

    async def close(self) -> None:
        await asyncio.to_thread(self._close_readers)
        await asyncio.to_thread(self._close_writer)
        self._lock.release()

    def _close_readers(self) -> None:
        self._reading_threads.shutdown()  # waits for what is in them
        self._costly_threads.shutdown()
        while self._idle_readers:
            self._idle_readers.pop().close()

    def _close_writer(self) -> None:
        self._thread.shutdown()  # waits for what is in it
        self._give_back()
        self._writer.dispose()

    # --- reading ------------------------------------------------------------------------------

    async def read(self, work: Callable[[Connection], T], *, costly: bool, seconds: float) -> T:
        """`work` in a snapshot: all its statements see the same state. It gives way first.

        Raises Unavailable where it has not ended `seconds` after that, waiting for a thread
        included. The statement is stopped then, as it is where the calling task is cancelled.
        """
        await give_way()
        threads = self._costly_threads if costly else self._reading_threads
        reading = Stoppable()
        future = threads.submit(self._in_snapshot, work, reading)
        try:
            async with asyncio.timeout(seconds):
                return await asyncio.wrap_future(future)
        except TimeoutError:
            raise Unavailable(TOOK_TOO_LONG) from None
        finally:
            self._stop_until_ended(reading, future)

    def _stop_until_ended(self, reading: Stoppable, future: Future[Any]) -> None:
        """Interrupting does nothing before the first statement of a read and between two, so it is
        repeated."""
        if not future.done():
            reading.stop()
            asyncio.get_running_loop().call_later(
                _STOP_AGAIN_SECONDS, self._stop_until_ended, reading, future
            )

    def _in_snapshot(self, work: Callable[[Connection], T], reading: Stoppable) -> T:
        with translated_errors():
            try:
                connection = self._idle_readers.pop()
            except IndexError:
                connection = self._reader.connect()
            try:
                with connection.begin():
                    on_driver(connection, "BEGIN")
                    reading.begin(driver_of(connection))
                    try:
                        return work(connection)
                    finally:
                        reading.end()  # the end of the transaction must not be interrupted
            except (DBAPIError, sqlite3.Error):  # also where it was stopped: nobody waits for it
                connection.invalidate()  # see `_in_transaction`
                raise
            finally:
                if connection.invalidated:
                    connection.close()
                else:
                    self._idle_readers.append(connection)

    # --- writing ------------------------------------------------------------------------------

    async def write(
        self,
        work: Callable[[Connection], T],
        *,
        urgent: bool = False,
        durable: bool = True,
        preemptible: bool = False,
    ) -> T:
        """`work` in a transaction of its own.

        There are two queues, each in its order: where both hold something, `urgent` writes and
        others take turns. Others do not begin before the caller of an urgent one that is under way
        has its answer. Cancelling the awaiting task does not cancel the transaction.
        """
        assert not (urgent and preemptible)
        deadline = time.monotonic() + BUSY_TIMEOUT_SECONDS  # one for all that wait together
        transaction = partial(self._in_transaction, deadline=deadline, durable=durable)
        run: Callable[[], T] = partial(transaction, work)
        if preemptible:
            run = partial(self._until_not_preempted, transaction, work)
        answered = threading.Event() if urgent else None
        return await self._in_turn(Turn(run, Future(), answered))  # type: ignore[no-any-return]

    async def write_in_background(self, work: BackgroundWork[T]) -> T:
        """In the queue of those not urgent, and preemptible."""

        def transaction(attempt: Callable[[Connection], T]) -> T:
            return self._in_transaction(attempt, time.monotonic() + BUSY_TIMEOUT_SECONDS)

        def attempt(connection: Connection) -> T:
            return work(connection, partial(self._is_waited_for, time.monotonic()))

        run = partial(self._until_not_preempted, transaction, attempt)
        return await self._in_turn(Turn(run, Future(), background=True))  # type: ignore[no-any-return]

    def _until_not_preempted(
        self, transaction: Callable[[Callable[[Connection], T]], T], work: Callable[[Connection], T]
    ) -> T:
        gives_turn_back = True  # once, or it would never come to its end beside posts that follow
        while True:
            with suppress(Preempted):
                return transaction(partial(self._preemptible, work, gives_turn_back))
            gives_turn_back = False
            if self._high:
                self._run(self._high.popleft())
            if not self._high:
                self._wait_for_answer()

    def _preemptible(
        self, work: Callable[[Connection], T], gives_turn_back: bool, connection: Connection
    ) -> T:
        with self._preemption.open_to_it(driver_of(connection)):
            if gives_turn_back and self._high:  # one that came when this was not open to it yet
                self._preemption.request()
            return work(connection)

    def _is_waited_for(self, since: float) -> bool:
        is_long = time.monotonic() - since > _BACKGROUND_SECONDS
        return bool(self._high or (is_long and self._normal))

    async def _in_turn(self, turn: Turn) -> Any:
        """Run a turn in the writer's thread."""
        if turn.answered is not None:
            self._answered.clear()
        elif not self._answered.is_set():
            await self.yield_to_urgent_write()
        try:
            (self._high if turn.urgent else self._normal).append(turn)
            self._thread.submit(self._take_next)
            if turn.urgent:
                self._preemption.request()
            return await asyncio.wrap_future(turn.future)
        finally:
            if turn.answered is not None:
                self._answered.set()
                # Those who share a commit hear of it in the loop's next round.
                loop = asyncio.get_running_loop()
                loop.call_soon(loop.call_soon, turn.answered.set)

    async def yield_to_urgent_write(self) -> None:
        """Let the loop's other tasks run; where an urgent write is under way, until its caller has
        the answer. The writer's thread has to wait for whatever keeps the interpreter busy."""
        await self._answered.wait()
        await asyncio.sleep(0)

    def _take_next(self) -> None:
        """In the writer's thread, once for each turn."""
        normal_first = self._serve_normal_next and self._normal
        queue = self._normal if normal_first else self._high or self._normal
        self._serve_normal_next = queue is self._high
        if queue:  # else what this was for had its turn amid one in the background
            if queue is self._normal and not self._high:
                self._wait_for_answer()
            self._run(queue.popleft())

    def _wait_for_answer(self) -> None:
        """Until the caller of the last urgent write has its answer, 5 ms at most: that needs the
        interpreter, which this thread would begin to keep busy again."""
        answered, self._last_answered = self._last_answered, None
        if answered is not None:
            answered.wait(_ANSWER_SECONDS)

    def _run(self, turn: Turn) -> None:
        if not turn.future.set_running_or_notify_cancel():
            return
        if turn.urgent:
            self._last_answered = turn.answered
        try:
            result = turn.work()
        except BaseException as error:
            turn.future.set_exception(error)
        else:
            turn.future.set_result(result)
            self._checkpoints.written(urgent=turn.urgent, background=turn.background)
            self._checkpoint_when_due()

    def _checkpoint_when_due(self) -> None:
        if (connection := self._connection) is None or self._high:
            return
        with suppress(Unavailable), translated_errors():
            pages = partial(pages_in_use, connection)
            others_wait = not all(each.background for each in tuple(self._normal))
            if not self._checkpoints.are_due(pages, others_wait=others_wait):
                return
            if self._checkpoints.can_wait:
                # Posts that share a commit are handed over with the answers to those before.
                self._wait_for_answer()
                if self._high:
                    return
            self._checkpoints.made(pages())
            on_driver(connection, "PRAGMA wal_checkpoint(PASSIVE)")

    def _in_transaction(
        self, work: Callable[[Connection], T], deadline: float, durable: bool = True
    ) -> T:
        with translated_errors():
            connection = self._connected()
            self._check_place()
            try:
                with connection.begin():
                    if durable is not self._durable:
                        on_driver(connection, DURABLE if durable else NOT_DURABLE)
                        self._durable = durable
                    begin_writing(connection, deadline)
                    before = driver_of(connection).total_changes
                    result = work(connection)
                    self._checkpoints.changed(driver_of(connection).total_changes - before)
            except (DBAPIError, sqlite3.Error) as error:
                # A connection that has met a full or read-only disk may stay that way after the
                # cause is gone, so the next transaction gets a new one. A lock leaves no mark.
                if not is_lock(error):
                    self._drop_connection()
                raise
        if self._checkpoint_due:
            self._checkpoint_truncate()
        return result

    def _check_place(self) -> None:
        if (lost := self._lock.lost()) is None:
            return
        if lost == self._path:  # its log must not go into the file that is there now
            self._checkpoint_truncate()
        raise Unavailable(_LOST)

    def _connected(self) -> Connection:
        """The writer's, which is kept: getting one costs a statement."""
        if self._connection is None:
            if self._lock.lost() == self._path:
                self._connection = self._connected_to_lost()
            else:
                keep_private(self._path)
                self._connection = self._writer.connect()
            self._durable = True
        return self._connection

    def _connected_to_lost(self) -> Connection:
        """A reader's, which has the file that was there: a new one would take the log of that for
        the log of the file that is there now. Raises Unavailable where there is none."""
        if not self._idle_readers:
            raise Unavailable(_LOST)
        connection = self._idle_readers.pop()
        on_driver(connection, "PRAGMA query_only=OFF")
        return connection

    def _drop_connection(self) -> None:
        if self._connection is not None:
            self._connection.invalidate()
            self._give_back()

    def _give_back(self) -> None:
        connection, self._connection = self._connection, None
        self._checkpoints = Checkpoints()
        if connection is not None:
            connection.close()

    async def checkpoint_truncate(self) -> None:
        """Empty the write-ahead log into the file, so that it keeps no copy of what was erased.

        A reader that is at work prevents it; then each write tries again until it is done.
        """
        self._checkpoint_due = True
        await asyncio.get_running_loop().run_in_executor(self._thread, self._checkpoint_truncate)

    def _checkpoint_truncate(self) -> None:
        if self._connection is None:
            return
        with suppress(Unavailable), translated_errors():  # the commits before it are safe
            ((busy, *_),) = on_driver(self._connection, "PRAGMA wal_checkpoint(TRUNCATE)")
            self._checkpoint_due = bool(busy)

    async def copy_into(self, target: Path) -> bool:
        # No write, which would be refused where the file was replaced: a copy saves what it held.
        connection = await self._in_turn(Turn(self._connected, Future()))
        is_over = threading.Event()

        def goes_on() -> bool:
            return self._connection is connection and not is_over.is_set()

        copying = asyncio.create_task(
            asyncio.to_thread(copy_beside_writes, driver_of(connection), target, goes_on)
        )
        with self._preemption.ruled_out():
            try:
                return await asyncio.shield(copying)
            finally:
                is_over.set()
                await asyncio.wait([copying])

    async def analyze(self) -> None:
        """SQLite's planner takes the indexes that are meant for a question without figures."""

    # --- reworking ----------------------------------------------------------------------------

    @asynccontextmanager
    async def reworking(self) -> AsyncIterator["AsyncConnection"]:
        """A transaction on a connection of its own, through aiosqlite, while the writer rests.

        Tables may be dropped and made again without taking along the rows that refer to theirs:
        references are not enforced, but checked in the end. Raises RuntimeError where one breaks.
        """
        from sqlalchemy.ext.asyncio import create_async_engine  # 100 ms that most starts can spare

        engine = create_async_engine(self._url, **OPTIONS)
        # Pages that do not fit into its cache go to the log again and again.
        run_on_connect(engine.sync_engine, "PRAGMA foreign_keys=OFF", "PRAGMA cache_size=-64000")
        with translated_errors():
            async with self._writer_at_rest(), engine.connect() as connection, connection.begin():
                await connection.exec_driver_sql("BEGIN IMMEDIATE")
                yield connection
                if (await connection.exec_driver_sql("PRAGMA foreign_key_check")).first():
                    raise RuntimeError("rows are left that refer to others which are gone")

    @asynccontextmanager
    async def _writer_at_rest(self) -> AsyncIterator[None]:
        at_rest, over = asyncio.Event(), threading.Event()
        loop = asyncio.get_running_loop()

        def rest() -> None:
            loop.call_soon_threadsafe(at_rest.set)
            over.wait()

        turn = asyncio.create_task(self._in_turn(Turn(rest, Future())))
        try:
            await at_rest.wait()
            yield
        finally:
            over.set()
            await turn
