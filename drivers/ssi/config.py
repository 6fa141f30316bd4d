# SPDX-License-Identifier: Apache-2.0
"""What an operator says about a scanner that speaks SSI."""

from typing import Annotated

import msgspec

from drivers.identity import UsbName
from drivers.scanner.config import RepeatMs


class SsiConfig(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    tag="ssi",
    tag_field="driver",
    forbid_unknown_fields=True,
):
    """One scanner that sends its scans in SSI packets."""

    name: str
    """The scanner's name in the store file; the device is ``scanner/<name>``."""
    url: str
    """Path of the serial port, or ``socket://host:port``."""
    baud: Annotated[int, msgspec.Meta(gt=0)] = 9_600
    usb: UsbName | None = None
    """The USB device that has to be on the port; when absent, the one found first after a start."""
    repeat_ms: RepeatMs = 1_200
    """The same code again within this long is the same scan."""

    @property
    def device(self) -> str:
        """Return the device's name in inputs and events."""
        return f"scanner/{self.name}"
