# SPDX-License-Identifier: Apache-2.0
"""Sartorius SBI: a line of 16 characters (22 with an identifier before it) with its CR LF.

Sign, nine characters of number, a space and three of unit. The unit is blank while the scale
moves: the value is then in the unit that was shown last.
"""

import re
from typing import Final

from drivers.scale.frames import Form, Wire
from drivers.scale.reading import Flag, Found, Noise, Shown, number

POLL: Final = b"\x1bP\r\n"
ZERO: Final = b"\x1bV\r\n"
TARE: Final = b"\x1bU\r\n"

_NET: Final = {b"N": True, b"G#": False}
_WORDS: Final[dict[bytes, Flag]] = {b"High": "over", b"H": "over", b"Low": "under", b"L": "under"}


def _value(match: re.Match[bytes]) -> Found | None:
    amount = number(match["sg"] + match["v"])
    if amount is None:
        return None
    kind = match["id"].strip() if match["id"] else b""
    unit = match["u"].decode("ascii").strip()
    if kind == b"T":
        return Shown(None, unit or None, tare=amount)
    stable = bool(unit)
    flags: frozenset[Flag] = frozenset() if stable else frozenset({"motion"})
    return Shown(amount, unit or None, stable, _NET.get(kind), flags=flags)


def _status(match: re.Match[bytes]) -> Found:
    word = match["w"]
    if word.startswith((b"ERR", b"APP", b"DIS", b"PRT")):
        return Noise("refused", word.decode("ascii"))
    return Shown(None, flags=frozenset({_WORDS.get(word, "fault")}))


WIRE: Final = Wire(
    forms=(
        Form(
            re.compile(rb"\A(?P<id>[ -~]{6})?(?P<sg>[+ -])(?P<v>[ \d.\[\]]{9}) (?P<u>[ -~]{3})\Z"),
            _value,
        ),
        Form(
            re.compile(
                rb"\A(?:Stat  )? *(?P<w>High|H|Low|L|Cal\.|ERR *\d+|(?:APP|DIS|PRT)\.ERR?) *\Z"
            ),
            _status,
        ),
    )
)
