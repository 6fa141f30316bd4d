# SPDX-License-Identifier: Apache-2.0
"""MT-SICS: answers of Mettler-Toledo scales, ended by CR LF.

``S S     100.00 g`` is stable, ``S D`` not; ``S +`` and ``S -`` are beyond the range, ``S I`` has
no value now. ``Z``, ``T`` and ``I4`` answer commands; ``ES``, ``ET`` and ``EL`` refuse one.
"""

import re
from typing import Final

from drivers.scale.frames import Form, Wire
from drivers.scale.reading import Answer, Flag, Found, Noise, Shown, number

RESET: Final = b"@\r\n"
"""Stops what repeats; answered with the serial number, as ``I4`` is."""
WHO: Final = b"I2\r\n"
"""Asks for type and capacity."""
REPEAT: Final = b"SIR\r\n"
"""Asks for the value now, and again and again."""
ZERO: Final = b"ZI\r\n"
TARE: Final = b"TI\r\n"
"""At once: those that wait for stability keep it for up to 40 s from sending weights."""

_NO_VALUE: Final[dict[bytes, frozenset[Flag]]] = {
    b"I": frozenset(),
    b"+": frozenset({"over"}),
    b"-": frozenset({"under"}),
}


def _value(match: re.Match[bytes]) -> Found | None:
    amount = number(match["v"])
    if amount is None:
        return None
    stable = match["s"] == b"S"
    flags: frozenset[Flag] = frozenset() if stable else frozenset({"motion"})
    return Shown(amount, match["u"].decode("latin-1"), stable, flags=flags)


def _none(match: re.Match[bytes]) -> Found:
    return Shown(None, flags=_NO_VALUE[match["s"]])


def _answer(match: re.Match[bytes]) -> Found:
    # Models differ in the letter of success: only these say that nothing was done.
    done = match["s"] not in {b"I", b"L", b"+", b"-"}
    return Answer(match["c"].decode("ascii"), done)


def _text(match: re.Match[bytes]) -> Found:
    text = (match["t"] or b"").decode("latin-1")
    # A reset is answered as the question for the serial number is, by some under its own name.
    command = "I4" if match["c"] == b"@" else match["c"].decode("ascii")
    return Answer(command, match["s"] != b"I", text)


def _error(match: re.Match[bytes]) -> Found:
    return Noise("refused", match[0].decode("ascii"))


WIRE: Final = Wire(
    forms=(
        Form(re.compile(rb"S (?P<s>[SD]) +(?P<v>-?\d[\d.]*) +(?P<u>[!-~]{1,5})\Z"), _value),
        Form(re.compile(rb"(?<![A-Z])S (?P<s>[I+-])\Z"), _none),
        Form(re.compile(rb'(?P<c>I\d+|@) (?P<s>[ABI])(?: "?(?P<t>[ !#-~]*)"?)?\Z'), _text),
        Form(
            re.compile(
                rb"(?P<c>ZI?|TI?|TAC?) (?P<s>[A-Z+-])(?: +(?P<v>-?\d[\d.]*) +(?P<u>[!-~]{1,5}))?\Z"
            ),
            _answer,
        ),
        Form(re.compile(rb"E[STL]\Z"), _error),
    )
)
