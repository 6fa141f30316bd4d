# SPDX-License-Identifier: Apache-2.0
"""What an operator says about a scanner that sends lines."""

from typing import Annotated, Literal

import msgspec

from drivers.identity import UsbName

RepeatMs = Annotated[
    int,
    msgspec.Meta(ge=0, le=10_000, description="milliseconds, 0 to 10000; 1000 to 1500 is usual"),
]


class ScannerConfig(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    tag="scanner",
    tag_field="driver",
    forbid_unknown_fields=True,
):
    """One scanner on a serial line or a network, which sends each scan as a line."""

    name: str
    """The scanner's name in the store file; the device is ``scanner/<name>``."""
    url: str
    """Path of the serial port, best one under ``/dev/serial/by-id``, ``socket://host:port`` or
    ``listen://address:port``."""
    baud: Annotated[int, msgspec.Meta(gt=0)] = 115_200
    usb: UsbName | None = None
    """The USB device that has to be on the port; when absent, the one found first after a start."""
    prefix: Annotated[
        str,
        msgspec.Meta(
            max_length=16, description='at most 16 letters of ASCII, such as "\\u0002" for STX'
        ),
    ] = ""
    """What the scanner puts before each scan, an AIM identifier apart; a line without it is
    noise."""
    aim: bool = False
    """Whether the scanner puts an AIM identifier (``]Q1``) before the data."""
    terminator: Literal["any", "idle"] = "any"
    """``any``: CR, LF, CR LF or TAB ends a scan; ``idle``: a pause does, for scanners that send
    no terminator."""
    idle_ms: Annotated[int, msgspec.Meta(ge=10, le=1_000)] = 50
    """The pause that ends a scan where ``terminator`` is ``idle``."""
    repeat_ms: RepeatMs = 1_200
    """The same code again within this long is the same scan."""

    @property
    def device(self) -> str:
        """Return the device's name in inputs and events."""
        return f"scanner/{self.name}"
