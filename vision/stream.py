# SPDX-License-Identifier: Apache-2.0
"""Pictures served as a camera serves them: motion JPEG over HTTP, for OpenCV to read.

The simulator's camera is one of these. Each client gets the newest picture and misses what it is
too slow for.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import cv2

from vision.rendering import Image

BOUNDARY = b"frame"
REQUEST_BYTES_MAX = 8_192
REQUEST_S_MAX = 5.0
QUALITY = 90


class MjpegServer:
    """Holds the newest picture and gives it to whoever is connected."""

    def __init__(self) -> None:
        self.port = 0
        self._jpeg = b""
        self._number = 0
        self._changed = asyncio.Condition()

    @property
    def url(self) -> str:
        """Return the address that OpenCV opens."""
        return f"http://127.0.0.1:{self.port}/stream.mjpg"

    async def show(self, image: Image) -> None:
        """Make an ``(h, w, 3)`` BGR picture the newest one."""
        good, coded = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
        assert good, "a picture that JPEG cannot hold"
        async with self._changed:
            self._jpeg, self._number = coded.tobytes(), self._number + 1
            self._changed.notify_all()

    @asynccontextmanager
    async def serving(self, port: int = 0) -> AsyncIterator["MjpegServer"]:
        """Listen on loopback; port 0 takes a free one, which ``port`` then tells."""
        clients: set[asyncio.Task[None]] = set()

        async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None
            clients.add(task)
            try:
                await self._serve(reader, writer)
            finally:
                clients.discard(task)

        server = await asyncio.start_server(connected, "127.0.0.1", port, limit=REQUEST_BYTES_MAX)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            for task in list(clients):
                task.cancel()
            await asyncio.gather(*clients, return_exceptions=True)

    async def _newer_than(self, number: int) -> tuple[int, bytes]:
        """Wait for a picture after this one."""
        async with self._changed:
            await self._changed.wait_for(lambda: self._number > number)
            return self._number, self._jpeg

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one request with pictures until the client goes."""
        try:
            async with asyncio.timeout(REQUEST_S_MAX):
                await reader.readuntil(b"\r\n\r\n")
            writer.write(
                b"HTTP/1.0 200 OK\r\nCache-Control: no-store\r\n"
                b"Content-Type: multipart/x-mixed-replace; boundary=" + BOUNDARY + b"\r\n\r\n"
            )
            sent = 0
            while True:
                sent, jpeg = await self._newer_than(sent)
                head = f"Content-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n"
                writer.write(b"--" + BOUNDARY + b"\r\n" + head.encode() + jpeg + b"\r\n")
                await writer.drain()
        except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass  # the client went, or was none: nobody is owed an answer
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()
