# SPDX-License-Identifier: Apache-2.0
"""Carts: what each session holds, a fold of acts; and the receipt made from it."""

from collections.abc import Mapping
from types import MappingProxyType

import msgspec

from gateway.domain.events import Act, Line
from gateway.domain.probability import told
from gateway.domain.store import Product, Store


class CartLine(msgspec.Struct):
    """Units of one product in a cart."""

    quantity: int
    probability: float
    """That the line is right: what explanations with it come to, less what settling has cost."""
    unit_g: float | None = None
    """What one of these very units weighed when it was taken; None where no plate told."""


class UsedProduct(msgspec.Struct, frozen=True):
    """What the store last said of a product that something names; a row of kind ``product``."""

    product: Product
    prices_version: str | None


Lines = dict[str, CartLine]
"""By GTIN: units taken less units put back, never 0. Below 0 where a person decided a put-back of
what is not in the cart (yet): the order in which reviews are decided changes no cart."""


def apply(lines: Lines, act: Act) -> None:
    """Fold one act into a cart, which changes in place."""
    line = lines.get(act.gtin) or CartLine(quantity=0, probability=1.0)
    sign = 1 if act.direction == "pick" else -1
    quantity = line.quantity + sign * act.quantity
    if quantity == 0:
        lines.pop(act.gtin, None)
        return
    lines[act.gtin] = CartLine(
        quantity=quantity,
        probability=line.probability * act.probability,
        unit_g=line.unit_g if sign < 0 else None,
    )


def receipt(
    lines: Mapping[str, CartLine],
    store: Store,
    used: Mapping[str, UsedProduct] = MappingProxyType({}),
) -> list[Line]:
    """Return a cart's lines in the order of their GTINs, with prices where there are any.

    Args:
        lines: The cart.
        store: Names and prices.
        used: The same of products that the store may have forgotten.
    """
    result: list[Line] = []
    for gtin in sorted(gtin for gtin, line in lines.items() if line.quantity > 0):
        product, prices_version = store.products.get(gtin), store.prices_version
        if product is None and gtin in used:
            product, prices_version = used[gtin].product, used[gtin].prices_version
        priced = product is not None and product.price_minor is not None
        result.append(
            Line(
                gtin=gtin,
                name=product.name if product else "",
                quantity=str(lines[gtin].quantity),
                uom="EA",
                probability=told(lines[gtin].probability),
                unit_price_minor=product.price_minor if product else None,
                currency=product.currency if product and priced else None,
                price_version=prices_version if priced else None,
            )
        )
    return result
