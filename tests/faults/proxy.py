# SPDX-License-Identifier: Apache-2.0
"""A network that misbehaves: a TCP relay between an MQTT client and its broker.

What it does can be changed while connections run. Bytes are never reordered or altered; they
arrive, arrive late, or the connection ends: that is what TCP leaves of a bad network.
"""

import asyncio
import random
import socket
import struct
from collections import deque
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Literal

CHUNK = 65_536
LINGER_0 = struct.pack("ii", 1, 0)

Way = Literal["up", "down"]
"""``up`` is from the client to the broker."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """What goes wrong; the default is nothing.

    Attributes:
        accept: ``yes``; ``refuse``: nobody listens; ``reset``: accept, and reset at once.
        hold: Directions in which nothing moves. Nothing is lost either: it moves on when the fault
            ends, as after a cable is plugged in again.
        delay_s: Greatest wait before each piece, drawn evenly.
        piece: Greatest size of a piece, in bytes, drawn evenly; 0: as it comes.
        cut_up: Bytes of the client that reach the broker before the connection is cut.
        cut_down: Bytes of the broker that reach the client before the connection is cut.
        swallow: MQTT packet types of the broker that never arrive, the rest does; 4 is PUBACK.
    """

    accept: Literal["yes", "refuse", "reset"] = "yes"
    hold: frozenset[Way] = frozenset()
    delay_s: float = 0.0
    piece: int = 0
    cut_up: int | None = None
    cut_down: int | None = None
    swallow: frozenset[int] = frozenset()

    def cut(self, way: Way) -> int | None:
        """Return after how many bytes a direction is cut."""
        return self.cut_up if way == "up" else self.cut_down


NONE = Fault()
REFUSE = Fault(accept="refuse")
RESET = Fault(accept="reset")
BLACK_HOLE = Fault(hold=frozenset({"up", "down"}))
DEAF = Fault(hold=frozenset({"down"}))
"""The broker hears everything; its answers do not arrive."""
NO_PUBACK = Fault(swallow=frozenset({4}))
SLOW = Fault(delay_s=0.01, piece=200)


@dataclass(slots=True, eq=False)
class Link:
    """One connection through the proxy: both sockets and what went through."""

    writers: dict[Way, asyncio.StreamWriter]
    """To whom each direction leads."""
    fault: Fault | None = None
    """Its own, from the proxy's script; None: the proxy's present one."""
    passed: dict[Way, int] = field(default_factory=lambda: {"up": 0, "down": 0})
    over: bool = False

    def end(self, *, reset: bool) -> None:
        """Close both sides; what was passed on before arrives, unless it is a reset."""
        self.over = True
        for writer in self.writers.values():
            if reset:
                _reset(writer)
            else:
                writer.close()


class Proxy:
    """Relays loopback connections from ``port`` to ``to_port``, with ``fault``."""

    def __init__(self, to_port: int, *, seed: int | str = 0) -> None:
        self.port = 0
        """Where clients connect; the same through the proxy's whole life."""
        self.links: list[Link] = []
        """Of connections that run."""
        self.accepted = 0
        self.cuts = 0
        """Connections that a fault ended."""
        self.last: Link | None = None
        """The newest connection, also when it ended."""
        self.fault = NONE
        self.script: deque[Fault] = deque()
        """Faults of the next connections, one each; then ``fault`` holds again."""
        self.scripted: list[Link] = []
        """Connections that had a fault from the script."""
        self._to_port = to_port
        self._random = random.Random(seed)
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._news = asyncio.Condition()

    async def set(self, fault: Fault) -> None:
        """Change what goes wrong, for connections that run as well."""
        self.fault = fault
        if fault.accept == "refuse":
            await self._stop_listening()
        elif self._server is None:
            await self._listen()
        await self._tell()

    async def cut(self, *, reset: bool = True) -> int:
        """End every connection that runs; return how many."""
        links = [link for link in self.links if not link.over]
        for link in links:
            self._cut(link, reset=reset)
        await self._tell()
        return len(links)

    async def until(self, look) -> None:
        """Wait until ``look()`` holds; looked at whenever bytes moved or a connection ended."""
        async with self._news:
            await self._news.wait_for(look)

    async def start(self) -> None:
        """Listen."""
        await self._listen()

    async def close(self) -> None:
        """End everything."""
        await self._stop_listening()
        for link in self.links:
            link.end(reset=True)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(
            self._accepted, "127.0.0.1", self.port, limit=CHUNK
        )
        self.port = self._server.sockets[0].getsockname()[1]

    async def _stop_listening(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None

    async def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        self.accepted += 1
        if self.fault.accept == "reset":
            self.cuts += 1
            _reset(writer)
            await self._tell()
            return
        try:
            onwards = await asyncio.open_connection("127.0.0.1", self._to_port, limit=CHUNK)
        except OSError:  # The broker is down: the client sees its connection end.
            _reset(writer)
            await self._tell()
            return
        _no_delay(writer)
        _no_delay(onwards[1])
        link = self.last = Link({"up": onwards[1], "down": writer})
        if self.script:
            link.fault = self.script.popleft()
            self.scripted.append(link)
        self.links.append(link)
        await self._tell()
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._pump(link, "up", reader))
                group.create_task(self._pump(link, "down", onwards[0]))
        finally:
            link.end(reset=False)
            ends = [one.wait_closed() for one in link.writers.values()]
            await asyncio.gather(*ends, return_exceptions=True)
            self.links.remove(link)
            await self._tell()

    async def _pump(self, link: Link, way: Way, reader: asyncio.StreamReader) -> None:
        """Move one direction's bytes until either side ends."""
        packets = Packets()
        with suppress(OSError):
            while not link.over:
                data = await reader.read(CHUNK)
                if not data:
                    break
                if way == "down":
                    data = packets.without(data, lambda: self.fault.swallow)
                while data and not link.over:
                    data = await self._pass(link, way, data)
        await self._free(way, link)
        link.end(reset=False)

    async def _pass(self, link: Link, way: Way, data: bytes) -> bytes:
        """Pass one piece on; return the rest."""
        await self._free(way, link)
        fault = link.fault or self.fault
        if fault.delay_s:
            await asyncio.sleep(self._random.uniform(0.0, fault.delay_s))
        size = self._random.randint(1, fault.piece) if fault.piece else len(data)
        limit = fault.cut(way)
        cut = limit is not None and link.passed[way] + min(size, len(data)) >= limit
        if cut:
            size = max(0, limit - link.passed[way])
        piece, rest = data[:size], data[size:]
        if link.over:
            return b""
        writer = link.writers[way]
        writer.write(piece)
        link.passed[way] += len(piece)
        if cut:
            self._cut(link, reset=False)
            return b""
        await writer.drain()
        await self._tell()
        return rest

    async def _free(self, way: Way, link: Link) -> None:
        """Wait while a direction is held."""
        if way in self.fault.hold and not link.over:
            async with self._news:
                await self._news.wait_for(lambda: way not in self.fault.hold or link.over)

    def _cut(self, link: Link, *, reset: bool) -> None:
        self.cuts += 1
        link.end(reset=reset)

    async def _tell(self) -> None:
        async with self._news:
            self._news.notify_all()


class Packets:
    """Finds the packets in one direction's bytes (MQTT 3.1.1 and 5, 2.1)."""

    def __init__(self) -> None:
        self._head = b""
        self._left = 0
        self._passing = True

    def without(self, data: bytes, swallow) -> bytes:
        """Return the bytes of a stream's next chunk without packets of some types."""
        kept = bytearray()
        at = 0
        while at < len(data):
            if self._left:
                part = data[at : at + self._left]
                self._left -= len(part)
            else:
                part = data[at : at + 1]
                self._take(part[0], swallow)
            at += len(part)
            if self._passing:
                kept += part
        return bytes(kept)

    def _take(self, byte: int, swallow) -> None:
        """Take the next byte of a fixed header."""
        if not self._head:
            self._passing = byte >> 4 not in swallow()
        self._head += bytes([byte])
        if len(self._head) > 1 and byte < 128:
            digits = enumerate(self._head[1:])
            self._left = sum((digit & 127) << 7 * place for place, digit in digits)
            self._head = b""


def _no_delay(writer: asyncio.StreamWriter) -> None:
    sock = writer.get_extra_info("socket")
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def _reset(writer: asyncio.StreamWriter) -> None:
    """Close with RST: whoever is at the other end gets ECONNRESET."""
    sock = writer.get_extra_info("socket")
    if sock is not None and sock.fileno() >= 0:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_0)
    writer.transport.abort()


@asynccontextmanager
async def proxied(to_port: int, *, seed: int | str = 0):
    """Run a proxy before a broker."""
    proxy = Proxy(to_port, seed=seed)
    await proxy.start()
    try:
        yield proxy
    finally:
        await proxy.close()
