# SPDX-License-Identifier: Apache-2.0
"""The shapes that a driver is written against. Structural: nothing here is subclassed."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from gateway.domain.inputs import AnyInput, Stamp


class Clock(Protocol):
    """Where time comes from. The daemon passes the OS clock; tests pass a fake."""

    def stamp(self) -> Stamp:
        """Return now, on all clocks."""
        ...


class ByteStream(Protocol):
    """A serial port, a TCP socket or a null modem."""

    async def send(self, data: bytes) -> None:
        """Write all of ``data``, waiting while the line is busy."""
        ...

    async def receive(self) -> bytes:
        """Wait for at least one byte; raise ``OSError`` once the peer is gone."""
        ...


OpenStream = Callable[[str, int], AbstractAsyncContextManager[ByteStream]]
"""Open a port by address and baud rate."""


class Intake(Protocol):
    """Where a driver puts what it read. Bounded: never blocks the caller's loop for long."""

    async def put(self, item: AnyInput) -> None:
        """Take one input, waiting while the intake is full (for sources that can wait)."""
        ...

    def offer(self, item: AnyInput) -> bool:
        """Take one input or refuse it at once, counted: for sources that cannot wait."""
        ...

    def drop(self, device: str, reason: str, count: int = 1) -> None:
        """Count inputs that were refused before they could become one."""
        ...


class Driver(Protocol):
    """Talks to one device until cancelled; raises ``DriverError`` when the device fails."""

    async def run(self, intake: Intake, came_up: Callable[[], None]) -> None:
        """Never returns: it is cancelled, or it raises ``DriverError``.

        ``came_up`` is called at the first good reading after every start.
        """
        ...
