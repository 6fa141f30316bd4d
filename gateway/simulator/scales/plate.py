# SPDX-License-Identifier: Apache-2.0
"""What an emulated scale weighs and shows, whatever its protocol."""

from dataclasses import dataclass
from decimal import Decimal
from typing import Final

FACTORS: Final = {
    "kg": (Decimal(1_000), 3),
    "g": (Decimal(1), 1),
    "lb": (Decimal("453.59237"), 3),
}
"""Grams in a unit, and decimals that are shown of it."""


@dataclass(slots=True)
class Plate:
    """A scale's platform, its keys and its display."""

    grams: Decimal = Decimal(412)
    """What lies on it."""
    unit: str = "kg"
    moves: bool = False
    overloaded: bool = False
    zero_g: Decimal = Decimal(0)
    tare_g: Decimal = Decimal(0)
    serial: str = "B021002593"

    @property
    def net(self) -> bool:
        """Whether a tare is taken off."""
        return self.tare_g != 0

    @property
    def shown_g(self) -> Decimal:
        """What the display means, grams."""
        return self.grams - self.zero_g - self.tare_g

    def shown(self, grams: Decimal | None = None) -> Decimal:
        """Return a weight as the display has it, the one on the plate if none is given."""
        factor, decimals = FACTORS[self.unit]
        weight = self.shown_g if grams is None else grams
        return (weight / factor).quantize(Decimal(1).scaleb(-decimals))

    def set_zero(self) -> None:
        """Press the key that makes this zero."""
        self.zero_g, self.tare_g = self.grams, Decimal(0)

    def set_tare(self) -> None:
        """Press the key that takes off what lies here now."""
        self.tare_g = self.grams - self.zero_g
