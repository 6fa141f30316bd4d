# SPDX-License-Identifier: Apache-2.0
"""What a product's code says, or why it is none. Digits stay text, amounts are decimals."""

from dataclasses import dataclass
from datetime import date
from decimal import Decimal

from gateway.domain.inputs import ScanFault


@dataclass(frozen=True, slots=True, kw_only=True)
class Label:
    """What a code says of a product."""

    code: str
    """The number as it is printed."""
    gtin: str | None
    """14 digits; None for an in-store number with a measure inside."""
    item: str | None = None
    quantity: int | None = None
    weight_g: Decimal | None = None
    price: Decimal | None = None
    currency: str | None = None
    lot: str | None = None
    serial: str | None = None
    expiry: date | None = None
    best_before: date | None = None


@dataclass(frozen=True, slots=True)
class Refused:
    """Why a text is no product's code; ``detail`` never repeats the text."""

    reason: ScanFault
    detail: str
    code: str | None = None
