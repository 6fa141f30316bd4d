# SPDX-License-Identifier: Apache-2.0
"""What an operator says about a scale."""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from drivers.identity import UsbName
from drivers.scale.codecs.lines import LinesFormat
from drivers.scale.frames import Line
from drivers.scale.reading import Unit

Protocol = Literal[
    "mt-sics",
    "sma",
    "nci",
    "toledo",
    "toledo-8217",
    "a-and-d",
    "ohaus",
    "sartorius",
    "cas",
    "lines",
]


class ScaleConfig(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    tag="scale",
    tag_field="driver",
    forbid_unknown_fields=True,
):
    """One scale on a serial line or TCP, which is a shelf of one plate."""

    name: str
    """The shelf's name in the store file; the device is ``shelf/<name>``."""
    url: str
    """Path of the serial port, best one under ``/dev/serial/by-id``; or ``socket://host:port``."""
    protocol: Protocol
    baud: Annotated[int, Meta(gt=0)] | None = None
    """The protocol's usual one when absent."""
    usb: UsbName | None = None
    """The USB device that has to be on the port; when absent, the one found first after a start."""
    line: Annotated[Line, Meta(description='"8N1", "7E1", "7O1" or "7N2"')] | None = None
    """Bits, parity and stop bits; the protocol's usual ones when absent."""
    talk: Annotated[Literal["listen", "poll"], Meta(description='"listen" or "poll"')] | None = None
    """Whether the scale sends by itself or is asked; the protocol's usual way when absent."""
    poll_ms: Annotated[
        int, Meta(ge=50, le=2_000, description="ms from question to question, 50 to 2000")
    ] = 250
    """How often a scale is asked."""
    period_ms: (
        Annotated[
            int,
            Meta(
                ge=20,
                le=2_000,
                description="ms from sample to sample, or leave it away",
            ),
        ]
        | None
    ) = None
    """Distance of the samples that are handed on; the scale's own rhythm when absent."""
    block_ms: Annotated[int, Meta(ge=1, le=2_000)] = 200
    """Samples are handed on in blocks of about this long."""
    silence_ms_max: Annotated[int, Meta(ge=100)] = 5_000
    """Without a good frame for this long the scale counts as lost."""
    unit: Annotated[Unit, Meta(description='"mg", "g", "kg", "t", "oz", "lb" or "ct"')] | None = (
        None
    )
    """Of weights that are sent without one."""
    channels: Annotated[tuple[int, ...], Meta(min_length=1, max_length=64)] = (0,)
    """The scale's channel of each plate, in the shelf's plate order."""
    serial: Annotated[str, Meta(min_length=1, max_length=64)] | None = None
    """Serial number that the scale has to have, where its protocol says it."""
    checksum: bool = True
    """Toledo continuous: whether a checksum follows each frame."""
    tare: bool = True
    """Toledo continuous: whether frames have a field for the tare."""
    format: Annotated[str, Meta(min_length=1, max_length=64)] | None = None
    """Lines: name of a description that comes with the product."""
    lines: LinesFormat | None = None
    """Lines: a description."""

    @property
    def device(self) -> str:
        """Return the device's name in inputs and events."""
        return f"shelf/{self.name}"
