# SPDX-License-Identifier: Apache-2.0
"""Carts: what each session holds, a fold of acts; and the receipt made from it."""

from collections.abc import Mapping

import msgspec

from gateway.domain.events import Act, Line
from gateway.domain.store import Store


class CartLine(msgspec.Struct):
    """Units of one product in a cart."""

    quantity: int
    probability: float
    """That the line is right: the product of its acts' probabilities."""


Lines = dict[str, CartLine]
"""By GTIN. Never holds a line of less than one unit."""


def apply(lines: Lines, act: Act, *, undo: bool = False) -> None:
    """Fold one act into a cart, or take it out again.

    A put-back of more than the cart holds (possible when a person decides a review) empties the
    line and no more.
    """
    sign = 1 if (act.direction == "pick") != undo else -1
    line = lines.get(act.gtin)
    quantity = (line.quantity if line else 0) + sign * act.quantity
    if quantity <= 0:
        lines.pop(act.gtin, None)
        return
    before = line.probability if line else 1.0
    probability = min(before / act.probability, 1.0) if undo else before * act.probability
    lines[act.gtin] = CartLine(quantity=quantity, probability=probability)


def receipt(lines: Mapping[str, CartLine], store: Store) -> list[Line]:
    """Return a cart's lines in the order of their GTINs, with prices where there are any."""
    result: list[Line] = []
    for gtin in sorted(lines):
        product = store.products.get(gtin)
        priced = product is not None and product.price_minor is not None
        result.append(
            Line(
                gtin=gtin,
                name=product.name if product else "",
                quantity=str(lines[gtin].quantity),
                uom="EA",
                probability=round(lines[gtin].probability, 4),
                unit_price_minor=product.price_minor if product else None,
                currency=product.currency if product and priced else None,
                price_version=store.prices_version if priced else None,
            )
        )
    return result
