# SPDX-License-Identifier: Apache-2.0
"""Scanners that type: the scanners' driver with the keyboard's codec."""

from drivers.keyboard.codec import Decoder
from drivers.keyboard.config import KeyboardConfig
from drivers.scanner.driver import HALF_LINE_S, Line


def line_of(config: KeyboardConfig) -> Line:
    """Return how scans of this scanner are read."""
    return Line(
        device=config.device,
        url=config.url,
        baud=0,
        repeat_ms=config.repeat_ms,
        aim=config.aim,
        decoder=Decoder,
        pause_s=HALF_LINE_S,
        pause_ends=False,
    )
