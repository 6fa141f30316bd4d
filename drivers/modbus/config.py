# SPDX-License-Identifier: Apache-2.0
"""What an operator says about a shelf that hangs on Modbus transmitters."""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from drivers.files import File
from drivers.identity import UsbName
from drivers.scale.reading import DIGITS_MAX, Unit
from drivers.serial_port import Bits

UnitId = Annotated[int, Meta(ge=1, le=247)]
"""Of a transmitter; 0 speaks to all of them, and nobody answers."""


class ModbusConfig(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    tag="modbus",
    tag_field="driver",
    forbid_unknown_fields=True,
):
    """One shelf, whose plates hang on channels of one or more transmitters of one line."""

    name: str
    """The shelf's name in the store file; the device is ``shelf/<name>``."""
    url: str
    """Path of the serial port, or ``socket://host:port``; other shelves may be on it, too."""
    map: Annotated[str, Meta(min_length=1, max_length=64)] | None = None
    """Name of a register map that comes with the product."""
    map_file: File | None = None
    """Instead of ``map``: a register map of one's own."""
    unit_ids: Annotated[tuple[UnitId, ...], Meta(min_length=1, max_length=64)] = (1,)
    """The transmitter of each plate, in the shelf's plate order; one: of all plates."""
    channels: Annotated[tuple[int, ...], Meta(min_length=1, max_length=64)] = (1,)
    """The transmitter's channel of each plate, counted from 1; one: of all plates."""
    unit: Annotated[Unit, Meta(description='"mg", "g", "kg", "t", "oz", "lb" or "ct"')]
    """What the transmitter shows; registers do not say it."""
    decimals: (
        Annotated[
            int, Meta(ge=0, le=DIGITS_MAX, description="digits behind the point on the display")
        ]
        | None
    ) = None
    """Of integers: how many of their digits stand behind the point."""
    framing: Annotated[Literal["rtu", "tcp"], Meta(description='"rtu" or "tcp"')] = "rtu"
    """``tcp``: Modbus TCP. RTU frames go over TCP as well, through a device server."""
    baud: Annotated[int, Meta(gt=0)] = 9_600
    usb: UsbName | None = None
    """The USB device that has to be on the port; when absent, the one found first after a start."""
    line: Annotated[Bits, Meta(description='"8N1", "8N2", "8E1" or "8O1"')] = "8N1"
    """Bits, parity and stop bits of a character."""
    poll_ms: Annotated[
        int, Meta(ge=20, le=2_000, description="ms from question to question, 20 to 2000")
    ] = 250
    """How often each transmitter is asked, and the distance of samples."""
    answer_ms: Annotated[
        int, Meta(ge=20, le=2_000, description="ms that an answer may take, 20 to 2000")
    ] = 300
    block_ms: Annotated[int, Meta(ge=1, le=2_000)] = 200
    """Samples are handed on in blocks of about this long."""
    silence_ms_max: Annotated[int, Meta(ge=100)] = 5_000
    """Without an answer from one of its transmitters for this long the shelf counts as lost."""

    @property
    def device(self) -> str:
        """Return the device's name in inputs and events."""
        return f"shelf/{self.name}"

    @property
    def plates(self) -> tuple[tuple[int, int], ...]:
        """Return each plate's unit id and channel, in the shelf's plate order."""
        count = max(len(self.unit_ids), len(self.channels))
        units = self.unit_ids * count if len(self.unit_ids) == 1 else self.unit_ids
        channels = self.channels * count if len(self.channels) == 1 else self.channels
        return tuple(zip(units, channels, strict=False))
