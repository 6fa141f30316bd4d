# SPDX-License-Identifier: Apache-2.0
"""SSI scanners: the scanners' driver with SSI's codec, greeting and pauses."""

from typing import Final

from drivers.scanner.driver import Line
from drivers.ssi.codec import GREETING, Decoder
from drivers.ssi.config import SsiConfig

PAUSE_S: Final = 0.3
"""A packet's bytes come without pauses; after this long the rest of one is not waited for."""


def line_of(config: SsiConfig) -> Line:
    """Return how scans of this scanner are read."""
    return Line(
        device=config.device,
        url=config.url,
        baud=config.baud,
        repeat_ms=config.repeat_ms,
        decoder=Decoder,
        pause_s=PAUSE_S,
        pause_ends=True,
        greeting=GREETING,
    )
