"""The connections that are open, what they hold in memory, and the bounds that they share.

Bounds are for all connections together. Where one is reached, the address that holds most gives
something up, and of its connections the one that has kept the service waiting longest: so nobody
takes anything from others by opening more connections or by sending or reading slowly.
"""

import asyncio
import resource
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv6Address, ip_address
from math import inf
from typing import Protocol

import structlog

log = structlog.get_logger(__name__)

FILES_WANTED = 4096
FILES_BESIDE = 150
"""Files that the service opens beside connections: the database's, and calls to Grok."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Sizes are in bytes, times in seconds.

    `connections_per_address` leaves a reverse proxy, which is one address, more than a process of
    this kind can serve at once. `spare_connections` are for `/health` when all others are taken.
    `patience_seconds` is how long a body or a reader may take where connections are short. A client
    that has ended its side and is sent nothing for `half_closed_seconds` counts as gone: one that
    waits for its answer looks the same. Of requests that a client sends ahead one is begun every
    `pipeline_seconds`, so that thousands of them leave time for others.
    """

    connections: int = 1000
    connections_per_address: int = 500
    spare_connections: int = 24
    headers: int = 100
    head_bytes: int = 65_536
    head_seconds: float = 10.0
    body_seconds: float = 10.0
    body_bytes_per_second: int = 50_000
    bodies_bytes: int = 64_000_000
    write_bytes: int = 256_000
    write_seconds: float = 15.0
    answers_bytes: int = 32_000_000
    patience_seconds: float = 1.0
    linger_seconds: float = 2.0
    half_closed_seconds: float = 1.0
    pipeline_seconds: float = 0.01
    sweep_seconds: float = 0.5
    log_seconds: float = 60.0


class Connection(Protocol):
    """`receiving_since` and `stalled_since` are `inf` where it does neither."""

    peer: "Peer"
    body_bytes: int
    answer_bytes: int

    @property
    def has_asked(self) -> bool:
        """Whether a request has come on it, ever."""

    @property
    def receiving_since(self) -> float: ...

    @property
    def stalled_since(self) -> float: ...

    def check(self, now: float) -> None:
        """End what has taken longer than it may."""

    def refuse_body(self) -> None:
        """End the request whose body is under way: there is no room for it."""

    def abort(self) -> None: ...


class Peer:
    """An address, and what its connections hold. `waiting` are those without a request, the one
    that has waited longest first."""

    __slots__ = ("answer_bytes", "body_bytes", "connections", "name", "waiting")

    def __init__(self, name: str) -> None:
        self.name = name
        self.connections: set[Connection] = set()
        self.waiting: dict[Connection, None] = {}
        self.body_bytes = 0
        self.answer_bytes = 0


class Connections:
    """All connections of one server."""

    def __init__(self, limits: Limits, loop: asyncio.AbstractEventLoop) -> None:
        self._limits = limits
        self._loop = loop
        self._most = min(limits.connections, max(16, raise_file_limit() - FILES_BESIDE))
        self._most_per_address = min(limits.connections_per_address, max(8, self._most // 2))
        self._peers: dict[str, Peer] = {}
        self._count = 0
        self._spare: dict[Connection, None] = {}
        self._body_bytes = 0
        self._answer_bytes = 0
        self._refusals = _Refusals(limits.log_seconds)
        self._sweeping = False
        self._sweep_due = 0.0
        self._passed_over = False

    # --- coming and going ---------------------------------------------------------------------

    def enter(self, connection: Connection, client: tuple[str, int] | None) -> bool:
        """Whether there is room. Where there is none, the connection is for health checks only."""
        name = network_of(client[0]) if client else ""
        peer = connection.peer = self._peers.setdefault(name, Peer(name))
        peer.connections.add(connection)
        peer.waiting[connection] = None
        self._count += 1
        if not self._sweeping:
            self._sweep_later()
        if self._count > 0.8 * self._most:
            self.note("connections_nearly_full", peer)
        if name and len(peer.connections) > self._most_per_address:
            room = self._close_the_idlest(peer, connection)
        elif self._count > self._most:
            fullest_first = sorted(self._peers.values(), key=lambda each: -len(each.connections))
            room = any(self._close_the_idlest(each, connection) for each in fullest_first)
        else:
            return True
        if not room:
            self._spare[connection] = None
            if len(self._spare) > self._limits.spare_connections:
                self._close(next(iter(self._spare)))
        return room

    def leave(self, connection: Connection) -> None:
        peer = connection.peer
        if connection in peer.connections:
            peer.connections.remove(connection)
            self._count -= 1
        peer.waiting.pop(connection, None)
        self._spare.pop(connection, None)
        if not peer.connections and self._peers.get(peer.name) is peer:
            del self._peers[peer.name]

    def _close_the_idlest(self, peer: Peer, newest: Connection) -> bool:
        """Of those without a request one that never had any, else the one that waits longest, else
        the one that has kept the service waiting longest, with its body or for its answer to be
        read."""
        strangers = (each for each in peer.waiting if each is not newest and not each.has_asked)
        victim = next(strangers, next(iter(peer.waiting), newest))
        if victim is newest:
            slow = [(_kept_waiting(each), id(each), each) for each in peer.connections]
            since, _, victim = min(slow)
            if since > self._loop.time() - self._limits.patience_seconds:
                return False
        self.note("no_room_for_connection", peer)
        self._close(victim)
        return True

    def _close(self, connection: Connection) -> None:
        self.leave(connection)  # at once: the transport tells it later
        connection.abort()

    # --- what they hold -----------------------------------------------------------------------

    def hold_body(self, connection: Connection, size: int) -> None:
        """Count bytes of a body that have come, and make room for them."""
        connection.body_bytes += size
        connection.peer.body_bytes += size
        self._body_bytes += size
        while self._body_bytes > self._limits.bodies_bytes:
            receiving = [
                (-peer.body_bytes, each.receiving_since, id(each), each)
                for peer in self._peers.values()
                for each in peer.connections
                if each.body_bytes and each.receiving_since < inf
            ]
            if not receiving:
                return
            victim = min(receiving)[3]
            self.note("no_room_for_body", victim.peer)
            self.release_body(victim, victim.body_bytes)
            victim.refuse_body()

    def release_body(self, connection: Connection, size: int) -> None:
        size = min(size, connection.body_bytes)  # what was given up has been released
        connection.body_bytes -= size
        connection.peer.body_bytes -= size
        self._body_bytes -= size

    def hold_answer(self, connection: Connection, size: int) -> None:
        """Count bytes of an answer that are to be read, and make room for them."""
        connection.answer_bytes += size
        connection.peer.answer_bytes += size
        self._answer_bytes += size
        while self._answer_bytes > self._limits.answers_bytes:
            stalled = [
                (-peer.answer_bytes, each.stalled_since, id(each), each)
                for peer in self._peers.values()
                for each in peer.connections
                if each.answer_bytes and each.stalled_since < inf
            ]
            if not stalled:
                return
            victim = min(stalled)[3]
            self.note("no_room_for_answer", victim.peer)
            self.release_answer(victim, victim.answer_bytes)
            self._close(victim)

    def release_answer(self, connection: Connection, size: int) -> None:
        size = min(size, connection.answer_bytes)
        connection.answer_bytes -= size
        connection.peer.answer_bytes -= size
        self._answer_bytes -= size

    # --- time ---------------------------------------------------------------------------------

    def note(self, kind: str, peer: Peer) -> None:
        """Log a refusal, or count it where one of its kind was logged within the minute."""
        self._refusals.note(kind, peer.name, self._loop.time())

    def _sweep_later(self) -> None:
        self._sweeping = True
        self._sweep_due = self._loop.time() + self._limits.sweep_seconds
        self._loop.call_at(self._sweep_due, self._sweep)

    def _sweep(self) -> None:
        now = self._loop.time()
        # After the process has stood still, what came meanwhile is to be read first; but only once,
        # as it may always be late where somebody keeps it busy.
        is_late = now - self._sweep_due > self._limits.sweep_seconds
        self._passed_over = is_late and not self._passed_over
        if not self._passed_over:
            for peer in list(self._peers.values()):
                for connection in list(peer.connections):
                    connection.check(now)
        waits = self._refusals.tell(now)
        self._sweeping = False
        if self._count or waits:
            self._sweep_later()


def _kept_waiting(connection: Connection) -> float:
    """Since when, `inf` for not at all."""
    return min(connection.receiving_since, connection.stalled_since)


class _Refusals:
    """One line for each kind at once, then one every `seconds` with how many there were."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._counts: dict[str, tuple[int, str]] = {}
        self._next: dict[str, float] = {}

    def note(self, kind: str, address: str, now: float) -> None:
        count, _ = self._counts.get(kind, (0, ""))
        self._counts[kind] = (count + 1, address)
        if now >= self._next.get(kind, -inf):
            self._tell(kind, now)

    def tell(self, now: float) -> bool:
        """Log what is due; whether anything is left to tell."""
        for kind in [kind for kind in self._counts if now >= self._next[kind]]:
            self._tell(kind, now)
        return bool(self._counts)

    def _tell(self, kind: str, now: float) -> None:
        count, address = self._counts.pop(kind)
        self._next[kind] = now + self._seconds
        log.warning("connection_guard", kind=kind, count=count, address=address)


def raise_file_limit() -> int:
    """Raise the soft limit of open files as far as is useful and allowed; what it is then."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < FILES_WANTED:
        soft = FILES_WANTED if hard == resource.RLIM_INFINITY else min(hard, FILES_WANTED)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return FILES_WANTED if soft == resource.RLIM_INFINITY else soft


@lru_cache(maxsize=1024)
def network_of(host: str) -> str:
    """The address; of IPv6 the network, since whoever has one address has all 2**64 in it."""
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        return host[:64]
    if not isinstance(address, IPv6Address):
        return host
    if address.ipv4_mapped:
        return str(address.ipv4_mapped)
    return f"{IPv6Address(int(address) >> 64 << 64)}/64"
