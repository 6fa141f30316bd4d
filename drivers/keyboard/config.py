# SPDX-License-Identifier: Apache-2.0
"""What an operator says about a scanner that types."""

import msgspec

from drivers.scanner.config import RepeatMs


class KeyboardConfig(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    tag="keyboard",
    tag_field="driver",
    forbid_unknown_fields=True,
):
    """One scanner that is a keyboard to Linux."""

    name: str
    """The scanner's name in the store file; the device is ``scanner/<name>``."""
    url: str
    """Path of the input device, ``/dev/input/by-id/…-event-kbd``."""
    aim: bool = False
    """Whether the scanner puts an AIM identifier (``]Q1``) before the data."""
    repeat_ms: RepeatMs = 1_200
    """The same code again within this long is the same scan."""

    @property
    def device(self) -> str:
        """Return the device's name in inputs and events."""
        return f"scanner/{self.name}"
