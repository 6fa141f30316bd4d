# SPDX-License-Identifier: Apache-2.0
"""What an operator says about an HX711-class bridge."""

from typing import Annotated, Literal

import msgspec

from drivers.identity import UsbName


class BridgeConfig(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    tag="bridge",
    tag_field="driver",
    forbid_unknown_fields=True,
):
    """One bridge on a serial line, which weighs one shelf."""

    name: str
    """The shelf's name in the store file; the device is ``shelf/<name>``."""
    url: str
    """Path of the serial port, best one under ``/dev/serial/by-id``."""
    channels: Annotated[tuple[int, ...], msgspec.Meta(min_length=1, max_length=64)]
    """The bridge's channel of each plate, in the shelf's plate order."""
    baud: Annotated[int, msgspec.Meta(gt=0)] = 115_200
    usb: UsbName | None = None
    """The USB device that has to be on the port; when absent, the one found first after a start."""
    dev: Annotated[str, msgspec.Meta(min_length=1, max_length=64)] | None = None
    """What the bridge has to call itself; when absent, what the first one after a start does."""
    format: Literal["json", "csv"] = "json"
    encoding: Literal["signed", "offset-binary"] = "signed"
    """How the firmware writes the ADC's 24 bits."""
    crc: Literal["optional", "required"] = "optional"
    """``required`` refuses JSON lines without a checksum."""
    sps: Annotated[float, msgspec.Meta(gt=0, le=10_000)] = 10.0
    """Samples per second, for lines that do not say it themselves."""
    block_ms: Annotated[int, msgspec.Meta(ge=1, le=2_000)] = 200
    """Lines are handed on in blocks of about this long."""
    silence_ms_max: Annotated[int, msgspec.Meta(ge=100)] = 5_000
    """Without a good line for this long the bridge counts as lost."""

    @property
    def device(self) -> str:
        """Return the device's name in inputs and events."""
        return f"shelf/{self.name}"
