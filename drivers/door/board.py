# SPDX-License-Identifier: Apache-2.0
"""Relay boards of which several doors have a relay each, on one port."""

import asyncio
import errno
from contextlib import AbstractAsyncContextManager, AsyncExitStack

from drivers.ports import ByteStream, OpenStream
from drivers.shared import Shared


class Boards:
    """All boards of a store."""

    def __init__(self, open_stream: OpenStream) -> None:
        """Begin without one.

        Args:
            open_stream: Opens a port, for example ``drivers.network_port.open_port``.
        """
        self._open = open_stream
        self._shared = Shared[_Board]()

    def open(self, url: str, baud: int) -> AbstractAsyncContextManager[ByteStream]:
        """Open a board's port, or share it. Raises ``OSError`` where it cannot be opened."""
        return self._shared.use(url, lambda: _Board(self._open, url, baud))


class _Board:
    """One port. It sends one command at a time, and one of its users listens."""

    def __init__(self, open_stream: OpenStream, url: str, baud: int) -> None:
        self.lost = False
        self._open = open_stream
        self._url, self._baud = url, baud
        self._stack = AsyncExitStack()
        self._stream: ByteStream | None = None
        self._sending, self._listening = asyncio.Lock(), asyncio.Lock()

    async def open(self) -> None:
        async with self._sending:
            if self._stream is None and not self.lost:
                opening = self._open(self._url, self._baud)
                self._stream = await self._stack.enter_async_context(opening)

    async def close(self) -> None:
        self.lost = True
        self._stream = None
        await self._stack.aclose()

    async def send(self, data: bytes) -> None:
        async with self._sending:
            try:
                await self._up().send(data)
            except OSError:
                self.lost = True
                raise

    async def receive(self) -> bytes:
        async with self._listening:
            try:
                return await self._up().receive()
            except OSError:
                self.lost = True
                raise

    def _up(self) -> ByteStream:
        if self._stream is None or self.lost:
            raise OSError(errno.EIO, "the line was lost")
        return self._stream
