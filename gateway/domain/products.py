# SPDX-License-Identifier: Apache-2.0
"""Products that carts, reviews and shelves still name, kept for when the store forgets them.

A planogram or a store file may drop a product while somebody carries it. Its line keeps its name
and its last price, it can be put back, and a review about it can be decided.
"""

from gateway.domain.carts import UsedProduct
from gateway.domain.output import Step
from gateway.domain.state import EngineState
from gateway.domain.store import Product


def find(state: EngineState, gtin: str) -> Product | None:
    """Return a product of the store, or one that it had while it was taken."""
    product = state.store.products.get(gtin)
    if product is None and gtin in state.products:
        return state.products[gtin].product
    return product


def use(step: Step, gtin: str) -> None:
    """Note that something names a product from now on."""
    state = step.state
    product = state.store.products.get(gtin)
    if product is None:
        return
    used = UsedProduct(product=product, prices_version=state.store.prices_version)
    if state.products.get(gtin) != used:
        state.products[gtin] = used
        step.touch("product", gtin)


def refresh(step: Step) -> None:
    """Take over what the store says of the products in use, before it changes."""
    for gtin in sorted({*step.state.products, *_thought_of(step.state)}):
        use(step, gtin)


def sweep(step: Step) -> None:
    """Forget the products that nothing names any more."""
    state = step.state
    named = {gtin for session in state.sessions.values() for gtin in session.lines}
    named |= {gtin for cart in state.closed.values() for gtin in cart.lines}
    named |= {gtin for holding in state.holdings.values() for gtin in holding.misplaced}
    named |= _thought_of(state)
    named |= {
        act.gtin
        for review in state.reviews.values()
        for candidate in review.candidates
        for act in candidate.acts
    }
    for gtin in sorted(state.products.keys() - named):
        del state.products[gtin]
        step.touch("product", gtin)


def _thought_of(state: EngineState) -> set[str]:
    """Return the products that open changes may turn out to be about."""
    open_changes = state.beliefs.open.values()
    found = {act.gtin for one in open_changes for option in one.options for act in option}
    waiting = state.doubts.values()
    found |= {act.gtin for one in waiting for candidate in one.candidates for act in candidate.acts}
    return found - {""}
