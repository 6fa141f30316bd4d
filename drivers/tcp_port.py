# SPDX-License-Identifier: Apache-2.0
"""Devices behind a TCP address: scales with Ethernet, and serial lines on a device server."""

import asyncio
import errno
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from drivers.serial_port import READ_BYTES

SCHEME: Final = "socket://"
CONNECT_S: Final = 5.0


@asynccontextmanager
async def open_tcp(url: str) -> AsyncIterator["TcpPort"]:
    """Connect to ``socket://host:port``.

    Raises:
        OSError: The address is none, nobody answers there within 5 s, or refuses.
    """
    host, port = split_address(url)
    try:
        async with asyncio.timeout(CONNECT_S):
            reader, writer = await asyncio.open_connection(host, port, limit=READ_BYTES)
    except TimeoutError as error:
        raise OSError(errno.EHOSTUNREACH, f"no answer within {CONNECT_S:g} s") from error
    # A peer that lost its power says no good-bye.
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    try:
        yield TcpPort(reader, writer)
    finally:
        writer.transport.abort()


def split_address(url: str) -> tuple[str, int]:
    """Return host and port of ``socket://host:port``.

    Raises:
        OSError: It is no such address.
    """
    host, _, port = url.removeprefix(SCHEME).rpartition(":")
    if not host or not (port.isascii() and port.isdigit() and 0 < int(port[:6]) < 65_536):
        raise OSError(errno.EINVAL, "not socket://host:port", url)
    return host.strip("[]"), int(port)


class TcpPort:
    """A ``ByteStream`` over a connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def receive(self) -> bytes:
        """Wait for at least one byte.

        Raises:
            OSError: The connection was closed or lost.
        """
        try:
            data = await self._reader.read(READ_BYTES)
        except TimeoutError as error:  # The kernel's, not that of a waiting caller.
            raise OSError(errno.ECONNRESET, "the connection was lost") from error
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
