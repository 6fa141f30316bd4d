# SPDX-License-Identifier: Apache-2.0
"""SMA level 1 and 2 (SCP-0499): every answer has 20 bytes, from LF to CR.

Status, range, mode (gross, net, tare), motion, a reserved byte, 10 of weight and 3 of unit.
"""

import re
from typing import Final

from drivers.scale.frames import Form, Wire
from drivers.scale.reading import Flag, Found, Noise, Shown, number

POLL: Final = b"\nW\r"
ZERO: Final = b"\nZ\r"
TARE: Final = b"\nT\r"

_STATUS: Final[dict[bytes, frozenset[Flag]]] = {
    b" ": frozenset(),
    b"Z": frozenset({"zero"}),
    b"O": frozenset({"over"}),
    b"U": frozenset({"under"}),
    b"E": frozenset({"fault"}),
    b"I": frozenset({"fault"}),
    b"T": frozenset({"fault"}),
    b"e": frozenset({"fault"}),
}


def _answer(match: re.Match[bytes]) -> Found | None:
    flags, unit = _STATUS[match["s"]], match["u"].decode("ascii")
    moves = match["m"] == b"M"
    if moves:
        flags |= {"motion"}
    net = match["n"] in b"Nn"
    if flags & {"over", "under", "fault"}:
        return Shown(None, unit, not moves, net, flags=flags)
    amount = number(match["w"])
    if amount is None:
        return None
    if match["n"] == b"T":
        return Shown(None, unit, tare=amount)
    return Shown(amount, unit, not moves, net, flags=flags)


def _refused(match: re.Match[bytes]) -> Found:
    return Noise("refused", match[0].decode("ascii"))


WIRE: Final = Wire(
    forms=(
        Form(
            re.compile(
                rb"\n(?P<s>[ ZOUEITe])(?P<r>[1-9])(?P<n>[GNTgn])(?P<m>[ M])[ -~]"
                rb"(?P<w>[ \d.+-]{10})(?P<u>[A-Za-z%][A-Za-z% ]{2})\r\Z"
            ),
            _answer,
        ),
        Form(re.compile(rb"\n[?!]\r\Z"), _refused),
    ),
    ends=b"\r",
    keeps_end=True,
)
