# SPDX-License-Identifier: Apache-2.0
"""Which USB device is behind a port, and that it stays the same one.

A name below ``/dev/serial/by-id`` follows an adapter to whichever socket it is plugged into. Where
adapters have no serial number a port is named by its socket, and anything may be plugged in there:
what was found first is remembered, and something else is refused. Ports that are not on USB, and
pseudo-terminals, have no identity: nothing is refused there.
"""

import os
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Annotated, Final, Generic, TypeVar

from msgspec import Meta

from drivers.errors import OtherDeviceError

Opened = TypeVar("Opened")

SYSFS: Final = Path("/sys")
WORD_MAX: Final = 128
"""A USB string descriptor has 126 letters at most."""
UsbName = Annotated[
    str,
    Meta(
        min_length=9,
        max_length=9 + 1 + WORD_MAX,
        pattern="^[0-9a-f]{4}:[0-9a-f]{4}(:.+)?$",
        description='what "shelfgate devices" calls the adapter, such as "1a86:7523"',
    ),
]
"""Vendor, product and, where it has one, serial number of a USB device."""


def usb_folder(path: str | os.PathLike[str], sysfs: Path = SYSFS) -> Path | None:
    """Return where the kernel tells of the USB device behind a device file; None: there is none.

    Args:
        path: A device file, or a link to one.
        sysfs: Where the kernel tells of its devices.
    """
    try:
        number = Path(path).stat().st_rdev
        name = f"{os.major(number)}:{os.minor(number)}"
        about = (sysfs / "dev" / "char" / name).resolve(strict=True)
    except (OSError, ValueError):
        return None
    return next((one for one in (about, *about.parents) if (one / "idVendor").is_file()), None)


def usb_name(path: str | os.PathLike[str], sysfs: Path = SYSFS) -> str | None:
    """Return which USB device is behind a device file, as ``UsbName``; None: unknown."""
    folder = usb_folder(path, sysfs)
    if folder is None:
        return None
    words = (read_word(folder / name) for name in ("idVendor", "idProduct", "serial"))
    return ":".join(filter(None, words))


def read_word(path: Path) -> str:
    """Return what the kernel tells in a file; empty: nothing."""
    try:
        words = path.read_text("utf-8", errors="replace").strip()
    except OSError:
        return ""
    return "".join(letter for letter in words if letter.isprintable())[:WORD_MAX]


class SameDevice(Generic[Opened]):
    """Opens one device's port as long as the USB device behind it is the one that belongs there."""

    def __init__(
        self,
        device: str,
        open_port: Callable[[str, int], AbstractAsyncContextManager[Opened]],
        *,
        usb: str | None,
        identify: Callable[[str], str | None],
    ) -> None:
        """Prepare.

        Args:
            device: As inputs and events call it.
            open_port: Opens the port by address and baud rate.
            usb: What belongs there; None: whatever is found first.
            identify: Tells what is behind a path; None: unknown.
        """
        self._device = device
        self._open = open_port
        self._usb = usb
        self._identify = identify

    @asynccontextmanager
    async def open(self, url: str, baud: int) -> AsyncIterator[Opened]:
        """Open the port.

        Raises:
            OtherDeviceError: Another USB device is there; the port is not opened.
            OSError: The port cannot be opened.
        """
        found = self._identify(url)
        if found is not None and self._usb is not None and found != self._usb:
            raise OtherDeviceError(
                self._device,
                f"USB device {found} is on {url}, where {self._usb} belongs",
                f'If it was exchanged, write usb = "{found}" in its table and restart',
            )
        async with self._open(url, baud) as port:
            self._usb = self._usb or found
            yield port
