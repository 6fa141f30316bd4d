# SPDX-License-Identifier: Apache-2.0
"""Serial ports on the asyncio loop: pyserial opens and configures, the loop watches."""

import asyncio
import errno
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final, Literal

import serial  # type: ignore[import-untyped] # pyserial ships no types.

Bits = Literal["8N1", "8N2", "8E1", "8O1"]
"""Of a character on the line: data bits, parity and stop bits."""
READ_BYTES: Final = 4_096
"""Most that one ``receive`` returns; what is not read waits in the kernel's own buffer."""


@asynccontextmanager
async def open_serial(url: str, baud: int, bits: Bits = "8N1") -> AsyncIterator["SerialPort"]:
    """Open a port for one owner, without flow control.

    Args:
        url: Path of a terminal device; a pseudo-terminal will do.
        baud: Bits per second.
        bits: Of a character.

    Raises:
        OSError: There is no such port, it may not be opened, or somebody else has it.
    """
    try:
        # Never blocks: pyserial opens with O_NONBLOCK and does not wait for a carrier.
        port = serial.Serial(
            url,
            baud,
            parity=bits[1],
            stopbits=int(bits[2]),
            timeout=0,
            write_timeout=0,
            exclusive=True,
        )
    except ValueError as error:
        raise OSError(errno.EINVAL, str(error), url) from error
    try:
        yield SerialPort(port.fileno())
    finally:
        port.close()


class SerialPort:
    """A ``ByteStream`` over a descriptor of a terminal that does not block."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    async def receive(self) -> bytes:
        """Wait for at least one byte.

        Raises:
            OSError: The line was hung up or unplugged.
        """
        while True:
            try:
                data = os.read(self._descriptor, READ_BYTES)
            except BlockingIOError:
                data = b""
            if data:
                return data
            # A terminal with VMIN 0 reads empty both when idle and when hung up.
            await self._ready(reader=True)
            try:
                data = os.read(self._descriptor, READ_BYTES)
            except BlockingIOError:
                continue
            if not data:
                raise OSError(errno.EIO, "the line was hung up")
            return data

    async def send(self, data: bytes) -> None:
        """Write all of ``data``, waiting while the line is busy.

        Raises:
            OSError: The line was hung up or unplugged.
        """
        rest = memoryview(data)
        while rest:
            try:
                rest = rest[os.write(self._descriptor, rest) :]
            except BlockingIOError:
                await self._ready(reader=False)

    async def _ready(self, *, reader: bool) -> None:
        loop = asyncio.get_running_loop()
        ready: asyncio.Future[None] = loop.create_future()
        add: Callable[..., None] = loop.add_reader if reader else loop.add_writer
        remove = loop.remove_reader if reader else loop.remove_writer
        add(self._descriptor, _resolve, ready)
        try:
            await ready
        finally:
            remove(self._descriptor)


def _resolve(future: "asyncio.Future[None]") -> None:
    if not future.done():
        future.set_result(None)
