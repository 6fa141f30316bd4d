# SPDX-License-Identifier: Apache-2.0
"""Which picks teach what a product weighs, and what is told upstream of it."""

from collections.abc import Sequence
from typing import Final

import msgspec

from gateway.domain import events
from gateway.domain.choices import Sketch, plain
from gateway.domain.learning import Learned, begin, drifted, observe, usable
from gateway.domain.output import Step
from gateway.domain.readings import Move
from gateway.domain.store import Product

CERTAIN: Final = 0.995
"""How likely it has to be that just this product left, whoever took it."""
LESSON_UNITS_MAX: Final = 3
OFF_MAX: Final = 0.5
"""A pick that is off the catalogue by more than this part of it teaches nothing."""
SAVED_NS: Final = 60_000_000_000


def learn(
    step: Step,
    acts: Sequence[Sketch],
    moves: Sequence[Move],
    options: Sequence[tuple[float, tuple[Sketch, ...]]],
) -> None:
    """Learn from a change that was one pick, if it is certain of what.

    Args:
        step: Where the change is decided.
        acts: The change's acts, as its likeliest option has them.
        moves: What the plates felt of each.
        options: All that the change may have been, with probabilities.
    """
    state = step.state
    if len(acts) != 1 or "learning" in state.settings.without:
        return
    act, move = acts[0], moves[0]
    product = state.store.products.get(act.gtin)
    if product is None or act.direction != "pick" or act.misplaced:
        return
    # What several plates feel of each other is taken off, but known to a per cent only.
    if act.quantity > LESSON_UNITS_MAX or len(move.plates) > 1:
        return
    wanted = plain(acts, who=False, where=True)
    same = (share for share, other in options if plain(other, who=False, where=True) == wanted)
    if sum(same) < CERTAIN:
        return
    unit_g = abs(move.total_g) / act.quantity
    if abs(unit_g / product.unit_g - 1.0) > OFF_MAX:
        return
    known = state.learned.get(act.gtin) or begin(product)
    learned = observe(known, product, unit_g, move.sigma_g / act.quantity, act.quantity)
    state.learned[act.gtin] = learned
    if state.trust is not None:
        state.trust.add(product, known, -1)
        state.trust.add(product, learned)
    state.unsaved[act.gtin] = None
    _tell(step, product, learned)


def save(step: Step) -> None:
    """Write down what was learned since the last time; a start may lose a minute of it."""
    step.state.learned_saved_ns = step.now_ns
    for gtin in sorted(step.state.unsaved):
        step.touch("learned", gtin)
    step.state.unsaved = {}


def save_due(step: Step) -> None:
    """Write it down once a minute."""
    if step.state.unsaved and step.now_ns - step.state.learned_saved_ns >= SAVED_NS:
        save(step)


def check(step: Step) -> None:
    """Forget what was learned of products that the store has no more, or weighs otherwise now."""
    learned, store = step.state.learned, step.state.store
    step.state.trust = None
    for gtin in list(learned):
        product = store.products.get(gtin)
        if product is None or product.unit_g != learned[gtin].catalogue_g:
            del learned[gtin]
            step.state.unsaved.pop(gtin, None)
            step.touch("learned", gtin)


def _tell(step: Step, product: Product, learned: Learned) -> None:
    off = drifted(learned)
    if off is None:
        return
    told_g = learned.mean_g if off else None
    step.state.learned[product.gtin] = msgspec.structs.replace(learned, told_g=told_g)
    # With the event, so that a start does not tell it again.
    step.touch("learned", product.gtin)
    step.emit(
        events.ProductWeightDrifted,
        f"product/{product.gtin}",
        gtin=product.gtin,
        name=product.name,
        drifted=off,
        catalogue_g=product.unit_g,
        learned_g=round(learned.mean_g, 2),
        error_g=round(learned.error_g, 2),
        spread_g=round(learned.spread_g, 2),
        picks=learned.picks,
        used=usable(product, learned),
    )
