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


def grab(descriptor: int) -> None:
    """Take an input device for this reader alone, until it is closed.

    Raises:
        OSError: Somebody else has it, or it is no input device.
    """
    fcntl.ioctl(descriptor, EVIOCGRAB, 1)


def keyboard_opener(take: Callable[[int], None] = grab) -> OpenStream:
    """Return what opens an input device.

    Args:
        take: Keeps others, the console first, from what is typed; given the open descriptor.
    """

    @asynccontextmanager
    async def open_keyboard(url: str, _baud: int) -> AsyncIterator[ByteStream]:
        descriptor = os.open(url, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            take(descriptor)
            yield SerialPort(descriptor)
        finally:
            os.close(descriptor)

    return open_keyboard
