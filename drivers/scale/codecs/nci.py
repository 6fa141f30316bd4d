# SPDX-License-Identifier: Apache-2.0
"""NCI (SCP-01): an answer goes from LF to ETX: the display's weight and unit, then status bytes.

Where the display is beyond its range, ``^`` or ``_`` stand for digits. Tills' variant answers with
status alone where there is no weight to sell by, after an ``S``. A command that asks for no weight
is answered likewise, without it.
"""

import re
from typing import Final

from drivers.scale.frames import Form, Wire
from drivers.scale.reading import Flag, Found, Noise, Shown, number

POLL: Final = b"W\r"
ZERO: Final = b"Z\r"
TARE: Final = b"T\r"

MORE: Final = 0x40
"""Of a status byte: another one follows."""


def _status(status: bytes) -> tuple[frozenset[Flag], bool | None] | None:
    """Return flags, and whether the weight is net, of the status bytes; None: damaged."""
    more = [bool(byte & MORE) for byte in status[1:]]
    if more != [True] * (len(more) - 1) + [False] or status[0] & MORE:
        return None
    flags: set[Flag] = set()
    first, second, third = status[0], status[1], status[2] if len(status) > 2 else 0
    if first & 1:
        flags.add("motion")
    if first & 2:
        flags.add("zero")
    if second & 1:
        flags.add("under")
    if second & 2:
        flags.add("over")
    if (first | second) & 0x0C or third & 8:
        flags.add("fault")
    return frozenset(flags), bool(third & 4) if len(status) > 2 else None


def _answer(match: re.Match[bytes]) -> Found | None:
    status = _status(match["s"])
    if status is None:
        return None
    flags, net = status
    unit = None if match["u"] is None else match["u"].decode("ascii")
    weight = match["w"]
    marks: dict[int, Flag] = {0x5E: "over", 0x5F: "under", 0x2D: "fault"}
    for mark, flag in marks.items():
        if set(weight.replace(b" ", b"").replace(b".", b"")) == {mark}:
            flags |= {flag}
            weight = b""
    stable = "motion" not in flags
    if flags & {"over", "under", "fault"}:
        return Shown(None, unit, stable, net, flags=flags)
    amount = number(weight)
    return None if amount is None else Shown(amount, unit, stable, net, flags=flags)


def _status_alone(match: re.Match[bytes]) -> Found | None:
    status = _status(match["s"])
    if status is None:
        return None
    return Shown(None, None, "motion" not in status[0], status[1], flags=status[0])


def _refused(_match: re.Match[bytes]) -> Found:
    return Noise("refused", "the scale does not know the command")


_STATUS: Final = rb"(?P<s>[0-?][0-?p-\x7f]{1,3})"

WIRE: Final = Wire(
    forms=(
        Form(
            re.compile(
                rb"\n(?P<w>[ \d.^_-]{1,12}?)(?P<u>lb|kg|oz| g|g |LB|KG|OZ| G|G )?\r\n"
                rb"S?" + _STATUS + rb"\r\x03\Z"
            ),
            _answer,
        ),
        Form(re.compile(rb"(?<!\r)\nS?" + _STATUS + rb"\r\x03\Z"), _status_alone),
        Form(re.compile(rb"\n\?\r\x03\Z"), _refused),
    ),
    ends=b"\x03",
    keeps_end=True,
)
