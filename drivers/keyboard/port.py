# SPDX-License-Identifier: Apache-2.0
"""Linux input devices as a ``ByteStream``, grabbed: what is typed reaches nobody else."""

import fcntl
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final

from drivers.ports import ByteStream, OpenStream
from drivers.serial_port import SerialPort

EVIOCGRAB: Final = 0x4004_4590
"""The request of linux/input.h that takes a device for one reader."""
_FLAGS: Final = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_PSEUDO_TERMINALS: Final = range(136, 144)
"""Their major numbers (Linux's list of devices), which no keyboard has."""


def grab(descriptor: int) -> None:
    """Take an input device for this reader alone, until it is closed.

    An emulated one is a pseudo-terminal: no console reads that, and a lock takes it.

    Raises:
        OSError: Somebody else has it, or it is no input device.
    """
    if os.major(os.fstat(descriptor).st_rdev) in _PSEUDO_TERMINALS:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    else:
        fcntl.ioctl(descriptor, EVIOCGRAB, 1)


def keyboard_opener(take: Callable[[int], None] = grab) -> OpenStream:
    """Return what opens an input device.

    Args:
        take: Keeps others, the console first, from what is typed; given the open descriptor.
    """

    @asynccontextmanager
    async def open_keyboard(url: str, _baud: int) -> AsyncIterator[ByteStream]:
        descriptor = os.open(url, _FLAGS)
        try:
            take(descriptor)
            yield SerialPort(descriptor)
        finally:
            os.close(descriptor)

    return open_keyboard
