# SPDX-License-Identifier: Apache-2.0
"""Toledo 8217: asked with one letter, it answers a weight, or why there is none, from STX to CR.

No unit is on the wire: it comes from the settings.
"""

import re
from typing import Final

from drivers.scale.frames import Form, Wire
from drivers.scale.reading import Flag, Found, Shown, number

POLL: Final = b"W"
ZERO: Final = b"Z"
TARE: Final = b"T"

_BITS: Final[dict[int, Flag]] = {0: "motion", 1: "over", 2: "under", 4: "zero"}


def _weight(match: re.Match[bytes]) -> Found | None:
    amount = number(match["w"])
    if amount is None:
        return None
    # Only a stable weight within its range is sent.
    return Shown(amount, stable=True, net=bool(match["n"]))


def _status(match: re.Match[bytes]) -> Found:
    status = match["s"][0]
    flags = frozenset(flag for bit, flag in _BITS.items() if status >> bit & 1)
    return Shown(None, stable="motion" not in flags, net=bool(status & 0x20), flags=flags)


WIRE: Final = Wire(
    forms=(
        Form(re.compile(rb"\x02 *(?P<w>[\d.]{3,8})(?P<n>N?)\r\Z"), _weight),
        Form(re.compile(rb"\x02 *\?(?P<s>[@-\x7f])\r\Z"), _status),
    ),
    ends=b"\r",
    keeps_end=True,
)
