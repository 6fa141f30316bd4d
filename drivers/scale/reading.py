# SPDX-License-Identifier: Apache-2.0
"""What a scale says, whatever its protocol: a weight in grams, or that there is none.

*No value* and *zero* are different things: what could not be read, and what the scale itself does
not trust, is None and never 0. Weights are ``Decimal``, so that the scale's own resolution and
exact factors of units survive.
"""

import re
from decimal import Decimal
from typing import Final, Literal

import msgspec

Flag = Literal["under", "over", "zero", "motion", "fault", "unzeroed"]
"""``zero``: the scale is at its centre of zero. ``fault``: it says that it cannot weigh.
``unzeroed``: it was switched on loaded, so weights are right but for a constant."""

Unit = Literal["mg", "g", "kg", "t", "oz", "lb", "ct"]
GRAMS: Final[dict[str, Decimal]] = {
    "mg": Decimal("0.001"),
    "g": Decimal(1),
    "kg": Decimal(1_000),
    "t": Decimal(1_000_000),
    "oz": Decimal("28.349523125"),
    "lb": Decimal("453.59237"),
    "ct": Decimal("0.2"),
}
"""Grams in each unit of weight; all exact."""
GRAMS_MAX: Final = Decimal(10**8)
"""Nothing in a store weighs more; a frame that says so is damaged."""
DIGITS_MAX: Final = 12

NONE: Final[frozenset[Flag]] = frozenset()
FAULT: Final[frozenset[Flag]] = frozenset({"fault"})


class Shown(msgspec.Struct, frozen=True):
    """What one frame shows, in the unit that the scale shows."""

    amount: Decimal | None
    """None: no value."""
    unit: str | None = None
    """As the scale writes it; None where the frame has none."""
    stable: bool | None = None
    net: bool | None = None
    tare: Decimal | None = None
    """In the same unit; None where the frame does not say."""
    flags: frozenset[Flag] = NONE
    channel: int = 0


class Reading(msgspec.Struct, frozen=True):
    """One weighing."""

    grams: Decimal | None
    """As displayed; None: no value."""
    stable: bool | None = None
    """None where the protocol does not say."""
    net: bool | None = None
    """Whether the tare is taken off; None where the protocol does not say."""
    tare_g: Decimal | None = None
    flags: frozenset[Flag] = NONE
    unit: str | None = None
    """What the scale shows at present, as ``GRAMS`` calls it or as the scale does; None: unknown.
    When an operator changes it, ``grams`` goes on in grams."""
    channel: int = 0

    @property
    def gross_g(self) -> Decimal | None:
        """What lies on the plate, grams: the tare put back where the scale says what it is."""
        if self.grams is None or not self.net or self.tare_g is None:
            return self.grams
        return self.grams + self.tare_g


class Noise(msgspec.Struct, frozen=True):
    """Bytes that are no reading. Noise is weather on a cable: a value, never an exception."""

    reason: Literal["garbage", "malformed", "checksum", "parity", "too-long", "refused", "unit"]
    """``garbage`` lies before a good frame; ``refused`` is the scale's word about a command."""
    detail: str = ""


class Answer(msgspec.Struct, frozen=True):
    """The scale's reply to a command that asks for no weight."""

    command: str
    """As the protocol calls it: ``Z``, ``T``, ``I4``."""
    done: bool
    text: str = ""


Found = Shown | Noise | Answer
Result = Reading | Noise | Answer

_NUMBER: Final = re.compile(rb"[+-]?(?:\d+(?:\.\d*)?|\.\d+)")
_APART: Final = bytes.maketrans(b",", b".")


def number(text: bytes) -> Decimal | None:
    """Read a scale's number; None where it is none, or has more than ``DIGITS_MAX`` digits.

    Spaces between the sign and the digits are left out, and so are brackets and a slash, which
    some scales put around a digit that is not verified. A comma is a point.
    """
    plain = text.translate(_APART, b" []/")
    if len(plain) > DIGITS_MAX + 2 or _NUMBER.fullmatch(plain) is None:
        return None
    return Decimal(plain.decode("ascii"))


def unit_of(text: str) -> str:
    """Return a unit's name in ``GRAMS``; the text, fit to be shown, where it is no weight."""
    name = text.strip()
    if name.lower() in GRAMS:
        return name.lower()
    # A line may be damaged, or sent to forge a line of log.
    return name if name.isprintable() else ascii(name)[1:-1]
