# SPDX-License-Identifier: Apache-2.0
"""Toledo continuous: the scale sends without being asked, from STX to CR, and maybe a checksum.

Three status words, six digits of weight, six of tare (a short variant has none). The checksum
makes the sum of all bytes 0 in 7 bits.
"""

import re
from decimal import Decimal
from typing import Final

from drivers.scale.frames import Form, Wire
from drivers.scale.reading import Flag, Found, Shown

_UNITS: Final = {1: "g", 2: "t"}


def _read(match: re.Match[bytes]) -> Found | None:
    first, second, third = match["s"]
    # Positions 0 and 1 stand for dummy zeros behind the digits.
    exponent = 2 - (first & 7) - bool(third & 0x10)
    code = third & 7
    unit = ("kg" if second & 0x10 else "lb") if code == 0 else _UNITS.get(code, f"unit-{code}")
    negative, moves = bool(second & 2), bool(second & 8)
    amount, tare = _digits(match["w"], exponent), _digits(match["t"], exponent)
    if amount is None or (match["t"] and tare is None):
        return None
    flags: set[Flag] = set()
    if moves:
        flags.add("motion")
    if second & 0x40:
        flags.add("unzeroed")
    if second & 4:
        flags.add("under" if negative else "over")
        return Shown(None, unit, not moves, bool(second & 1), flags=frozenset(flags))
    return Shown(
        -amount if negative else amount,
        unit,
        not moves,
        bool(second & 1),
        tare,
        frozenset(flags),
    )


def _digits(text: bytes, exponent: int) -> Decimal | None:
    digits = text.lstrip(b" ")
    return Decimal(int(digits)).scaleb(exponent) if digits.isdigit() else None


def checksum(frame: bytes) -> int:
    """Return what follows a frame: all bytes and it add up to 0 in 7 bits."""
    return -sum(byte & 0x7F for byte in frame) & 0x7F


def wire(*, with_checksum: bool, with_tare: bool) -> Wire:
    """Return what one of the four variants looks like."""
    tare = rb"[ \d]{6}" if with_tare else b""
    pattern = rb"\x02(?P<s>[ -\x7f]{3})(?P<w>[ \d]{6})(?P<t>" + tare + rb")\r\Z"
    return Wire(
        forms=(Form(re.compile(pattern), _read),),
        ends=b"\r",
        keeps_end=True,
        check=(lambda frame, byte: checksum(frame) == byte) if with_checksum else None,
    )
