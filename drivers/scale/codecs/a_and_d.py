# SPDX-License-Identifier: Apache-2.0
"""A&D standard format: ``ST,+00123.45  g`` and CR LF, as a stream or asked for with ``Q``.

Some models put a second header before the number: a comparator's, or gross, net and tare.
"""

import re
from typing import Final

from drivers.scale.frames import Form, Wire
from drivers.scale.reading import Answer, Flag, Found, Noise, Shown, number

POLL: Final = b"Q\r\n"
ZERO: Final = b"Z\r\n"
TARE: Final = b"T\r\n"

_KINDS: Final = {b"GS": False, b"NT": True}


def _value(match: re.Match[bytes]) -> Found | None:
    header, kind = match["h"], match["c"]
    unit = None if match["u"] is None else match["u"].decode("ascii")
    if header == b"OL":
        flag: Flag = "under" if match["v"].startswith(b"-") else "over"
        return Shown(None, unit, net=_KINDS.get(kind), flags=frozenset({flag}))
    amount = number(match["v"])
    if amount is None:
        return None
    if kind in {b"TR", b"PT"}:
        return Shown(None, unit, tare=amount)
    stable = header != b"US"
    flags: frozenset[Flag] = frozenset() if stable else frozenset({"motion"})
    return Shown(amount, unit, stable, _KINDS.get(kind), flags=flags)


def _accepted(_match: re.Match[bytes]) -> Found:
    return Answer("", done=True)


def _error(match: re.Match[bytes]) -> Found:
    return Noise("refused", match[0].decode("ascii"))


WIRE: Final = Wire(
    forms=(
        Form(
            re.compile(
                rb"(?P<h>ST|US|OL|QT|WT),(?:(?P<c>LO|OK|HI|--|GS|NT|TR|PT),)?"
                rb"(?P<v>[+-]\d{1,9}(?:[.,]\d{1,9})?(?:E\+19)?),? *(?P<u>[A-Za-z%]{1,3})? *\Z"
            ),
            _value,
        ),
        Form(re.compile(rb"\x06\Z"), _accepted),
        Form(re.compile(rb"EC,E\d{1,2}\Z"), _error),
    )
)
