# SPDX-License-Identifier: Apache-2.0
"""Ports by address: TCP both ways beside serial lines, all as a ``ByteStream``.

``socket://host:port`` connects to a device that is a server. ``listen://address:port`` waits for a
device that is a client, and takes one connection at a time: further ones are closed at once.
Anything else is the path of a serial port.
"""

import asyncio
import errno
import logging
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final, NamedTuple

from drivers.ports import ByteStream
from drivers.serial_port import Bits, open_serial

log = logging.getLogger(__name__)

CONNECT_S: Final = 10.0
READ_BYTES: Final = 4_096
"""Most that one ``receive`` returns, and about what is kept while nobody receives."""
KEEP_IDLE_S: Final = 10
KEEP_EVERY_S: Final = 5
KEEP_TRIES: Final = 3
GONE_MS: Final = (KEEP_IDLE_S + KEEP_TRIES * KEEP_EVERY_S) * 1_000
"""A peer that lost its power says no goodbye: it counts as gone after 25 s or so."""
SCHEMES: Final = ("socket", "listen")


class Address(NamedTuple):
    """Where a network port is."""

    listens: bool
    host: str
    port: int


def address_of(url: str) -> Address | None:
    """Return a network port's address; None for a path.

    Raises:
        ValueError: There is a scheme, but no address behind it that could be one.
    """
    scheme, separator, rest = url.partition("://")
    if not separator:
        return None
    if scheme not in SCHEMES:
        raise ValueError(f"{scheme}:// is not known. Write socket://, listen:// or a path")
    host, _, port = rest.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    digits = port.isascii() and port.isdigit() and len(port) <= 5
    if not host or not digits or not 0 < int(port) < 65_536:
        raise ValueError(f"no host and port in it. Write {scheme}://host:port")
    return Address(scheme == "listen", host, int(port))


@asynccontextmanager
async def open_port(url: str, baud: int, bits: Bits = "8N1") -> AsyncIterator[ByteStream]:
    """Open a port for one owner.

    Args:
        url: ``socket://host:port``, ``listen://address:port`` or the path of a terminal device.
        baud: Bits per second of a serial line; a network has none.
        bits: Of a character on a serial line.

    Raises:
        OSError: It cannot be opened, or somebody else has it.
    """
    try:
        address = address_of(url)
    except ValueError as error:
        raise OSError(errno.EINVAL, str(error), url) from error
    if address is None:
        async with open_serial(url, baud, bits) as serial:
            yield serial
    elif address.listens:
        async with _accepted(address) as stream:
            yield stream
    else:
        async with _connected(address) as stream:
            yield stream


class TcpStream:
    """A ``ByteStream`` over a TCP connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        _keep_alive(writer)

    async def receive(self) -> bytes:
        """Wait for at least one byte.

        Raises:
            OSError: The connection was closed or lost.
        """
        try:
            data = await self._reader.read(READ_BYTES)
        except TimeoutError as error:  # The kernel's: whoever waits for a pause has one of theirs.
            raise OSError(errno.ECONNRESET, "the other side is gone") from error
        if not data:
            raise OSError(errno.ECONNRESET, "the other side closed the connection")
        return data

    async def send(self, data: bytes) -> None:
        """Write all of ``data``, waiting while the line is busy.

        Raises:
            OSError: The connection was closed or lost.
        """
        self._writer.write(data)
        await self._writer.drain()


@asynccontextmanager
async def _connected(address: Address) -> AsyncIterator[TcpStream]:
    try:
        async with asyncio.timeout(CONNECT_S):
            reader, writer = await asyncio.open_connection(
                address.host, address.port, limit=READ_BYTES
            )
    except TimeoutError as error:
        raise OSError(errno.ETIMEDOUT, f"no connection within {CONNECT_S:g} s") from error
    try:
        yield TcpStream(reader, writer)
    finally:
        writer.transport.abort()


@asynccontextmanager
async def _accepted(address: Address) -> AsyncIterator[TcpStream]:
    """Listen until a device has connected, and refuse others until it is gone."""
    loop = asyncio.get_running_loop()
    first: asyncio.Future[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = loop.create_future()

    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if first.done():
            log.debug("%s:%d: a second connection was refused", address.host, address.port)
            writer.transport.abort()
        else:
            first.set_result((reader, writer))

    server = await asyncio.start_server(
        connected, address.host, address.port, limit=READ_BYTES, backlog=1
    )
    try:
        reader, writer = await first
        yield TcpStream(reader, writer)
    finally:
        server.close()
        if first.done() and not first.cancelled():
            first.result()[1].transport.abort()


def _keep_alive(writer: asyncio.StreamWriter) -> None:
    connection = writer.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, KEEP_IDLE_S)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, KEEP_EVERY_S)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, KEEP_TRIES)
    # While something is unacknowledged the kernel probes nothing, and repeats it for 15 minutes.
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, GONE_MS)
