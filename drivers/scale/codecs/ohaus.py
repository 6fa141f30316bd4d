# SPDX-License-Identifier: Apache-2.0
"""Ohaus: printed lines, as a stream or asked for with ``IP``: weight, unit, ``?`` while it moves.

A legend may follow (gross, net), and after it a time, which is ignored.
"""

import re
from typing import Final

from drivers.scale.frames import Form, Wire
from drivers.scale.reading import Flag, Found, Noise, Shown, number

POLL: Final = b"IP\r\n"
ZERO: Final = b"Z\r\n"
TARE: Final = b"T\r\n"

_NET: Final = {b"NET": True, b"N": True, b"B/G": False, b"G": False}


def _value(match: re.Match[bytes]) -> Found | None:
    amount = number(match["v"])
    if amount is None:
        return None
    unit, legend = match["u"].decode("ascii"), match["l"]
    if legend in {b"T", b"PT"}:
        return Shown(None, unit, tare=amount)
    stable = match["un"] is None
    flags: frozenset[Flag] = frozenset() if stable else frozenset({"motion"})
    return Shown(amount, unit, stable, _NET.get(legend), flags=flags)


def _error(match: re.Match[bytes]) -> Found:
    return Noise("refused", match[0].decode("ascii"))


WIRE: Final = Wire(
    forms=(
        Form(
            re.compile(
                rb"\A *(?P<v>[+-]? *\d+(?:\.\d+)?) +(?P<u>kg|g|mg|lb|oz|ct|t|PCS|%) *(?P<un>\?)?"
                rb"(?: *(?P<l>NET|N|B/G|G|PT|T)(?= |\Z))?(?: [\d:/. APM-]*)?\Z"
            ),
            _value,
        ),
        Form(re.compile(rb"\AES\Z"), _error),
    ),
    # A number may have lost its first digits.
    weak_start=True,
)
