# SPDX-License-Identifier: Apache-2.0
"""Where an emulated scale is plugged in: a pseudo-terminal, or a TCP port on loopback."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Final

from gateway.simulator.lines import PENDING_BYTES_MAX, Line

PLUG_S: Final = 2.0
"""How long a plug that was pulled stays out."""


class PtyPort:
    """A scale on a pseudo-terminal, with a link to the end that the gateway opens."""

    def __init__(self, link: Path, *, plug_s: float = PLUG_S) -> None:
        """Plug in.

        Args:
            link: Where to put the link; one that is there is replaced.
            plug_s: How long a plug that was pulled stays out.
        """
        self.received: Callable[[bytes], None] = lambda _data: None
        """Takes what the gateway sends."""
        self.url = str(link)
        self._link = link
        self._plug_s = plug_s
        self._line: Line | None = None
        self._loop = asyncio.get_running_loop()
        self._again: asyncio.TimerHandle | None = None
        self._plug()

    def write(self, data: bytes) -> None:
        """Send bytes; what the line cannot hold is lost."""
        if self._line is None:
            return
        for at in range(0, len(data), PENDING_BYTES_MAX):
            self._line.write(data[at : at + PENDING_BYTES_MAX])

    def unplug(self) -> None:
        """Pull the plug, and put it in again soon."""
        self.close()
        self._again = self._loop.call_later(self._plug_s, self._plug)

    def close(self) -> None:
        """Pull the plug."""
        if self._again is not None:
            self._again.cancel()
        if self._line is not None:
            self._loop.remove_reader(self._line.descriptor)
            self._line.close()
            self._line = None

    def _plug(self) -> None:
        self._line = Line(self._link)
        self._loop.add_reader(self._line.descriptor, self._readable)

    def _readable(self) -> None:
        if self._line is not None:
            self.received(self._line.read())


class TcpPort:
    """A scale that listens on loopback; the gateway that connected last hears it."""

    def __init__(self) -> None:
        self.received: Callable[[bytes], None] = lambda _data: None
        """Takes what the gateway sends."""
        self.connected: Callable[[], None] = lambda: None
        """Told of each new connection, before what comes over it."""
        self.url = ""
        self._server: asyncio.Server | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def listen(self, port: int) -> None:
        """Listen on a port of loopback; 0: on any.

        Raises:
            OSError: The port is taken.
        """
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", port)
        number = self._server.sockets[0].getsockname()[1]
        self.url = f"socket://127.0.0.1:{number}"

    def write(self, data: bytes) -> None:
        """Send bytes, if somebody is connected and keeps up."""
        writer = self._writer
        if writer is not None and writer.transport.get_write_buffer_size() < 1 << 20:
            writer.write(data)

    def unplug(self) -> None:
        """Cut the connection; another may come at once."""
        if self._writer is not None:
            self._writer.transport.abort()
            self._writer = None

    def close(self) -> None:
        """Stop listening."""
        self.unplug()
        if self._server is not None:
            self._server.close()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.unplug()
        self._writer = writer
        self.connected()
        try:
            while data := await reader.read(PENDING_BYTES_MAX):
                self.received(data)
        except ConnectionError:
            return
        finally:
            if self._writer is writer:
                self._writer = None
            writer.close()
