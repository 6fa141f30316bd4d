# SPDX-License-Identifier: Apache-2.0
"""CAS's stream of 22 bytes: ``ST,GS,`` id, lamps, ``,+  0.412 kg`` and CR LF.

The byte of lamps has its eighth bit set, so bytes are taken as they come.
"""

import re
from typing import Final

from drivers.scale.frames import Form, Wire
from drivers.scale.reading import Flag, Found, Shown, number


def _value(match: re.Match[bytes]) -> Found | None:
    header, net = match["h"], match["n"] == b"NT"
    unit = match["u"].decode("ascii")
    if header == b"OL":
        flag: Flag = "under" if match["v"].startswith(b"-") else "over"
        return Shown(None, unit, None, net, flags=frozenset({flag}))
    amount = number(match["v"])
    if amount is None:
        return None
    stable = header == b"ST"
    flags: frozenset[Flag] = frozenset() if stable else frozenset({"motion"})
    return Shown(amount, unit, stable, net, flags=flags)


WIRE: Final = Wire(
    forms=(
        Form(
            re.compile(
                rb"(?P<h>ST|US|OL),(?P<n>GS|NT),[\x20-\xff][\x80-\xff],(?P<v>[+ -][ \d.-]{7}) "
                rb"(?P<u>kg| g|g |lb|oz| t|t )\r\n\Z"
            ),
            _value,
        ),
    ),
    ends=b"\n",
    keeps_end=True,
    eight_bits=True,
)
