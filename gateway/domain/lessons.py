# SPDX-License-Identifier: Apache-2.0
"""Which picks teach what a product weighs, and what is told upstream of it."""

from collections.abc import Sequence
from typing import Final

import msgspec

from gateway.domain import events
from gateway.domain.choices import Sketch, plain
from gateway.domain.goods import Known, weight_loglik
from gateway.domain.learning import Learned, begin, drifted, observe, usable
from gateway.domain.output import Step
from gateway.domain.readings import Move
from gateway.domain.store import Product

CERTAIN: Final = 0.995
"""How likely it has to be that just this product left, whoever took it."""
LESSON_UNITS_MAX: Final = 3
OFF_MAX: Final = 0.5
"""A pick that is off the catalogue by more than this part of it teaches nothing."""
NEWS: Final = 0.5
"""A product that weighs otherwise than was thought by more than so many standard deviations is
news for what is still open."""
GAIN_MAX: Final = 4.0
"""So much likelier or less likely, as a logarithm, that makes a way to explain a change."""
SAVED_NS: Final = 60_000_000_000


def learn(step: Step, change: str, acts: Sequence[Sketch], moves: Sequence[Move]) -> bool:
    """Learn from a change that was one pick, if it is certain of what.

    Args:
        step: Where the change is decided.
        change: Its name.
        acts: The change's acts, as its likeliest option has them.
        moves: What the plates felt of each.

    Returns:
        Whether by that another explanation of the changes that are open is the best.
    """
    state = step.state
    if len(acts) != 1 or "learning" in state.settings.without:
        return False
    act, move = acts[0], moves[0]
    product = state.store.products.get(act.gtin)
    if product is None or act.direction != "pick" or act.misplaced:
        return False
    # What several plates feel of each other is taken off, but known to a per cent only.
    if act.quantity > LESSON_UNITS_MAX or len(move.plates) > 1:
        return False
    wanted = plain(acts, who=False, where=True)
    options = state.beliefs.options(change)
    same = (share for share, other in options if plain(other, who=False, where=True) == wanted)
    if sum(same) < CERTAIN:
        return False
    unit_g = abs(move.total_g) / act.quantity
    if abs(unit_g / product.unit_g - 1.0) > OFF_MAX:
        return False
    known = state.learned.get(act.gtin) or begin(product)
    learned = observe(known, product, unit_g, move.sigma_g / act.quantity, act.quantity)
    state.learned[act.gtin] = learned
    if state.trust is not None:
        state.trust.add(product, known, -1)
        state.trust.add(product, learned)
    state.unsaved[act.gtin] = None
    _tell(step, product, learned)
    now = step.known_weights()[act.gtin]
    state.beliefs.open[change].known[act.gtin] = now  # What taught it is not weighed by it.
    return _weigh_again(step, act.gtin, now)


def _weigh_again(step: Step, gtin: str, now: Known) -> bool:
    """Weigh open changes by what was learned of a product; tell whether the best says otherwise."""
    beliefs = step.state.beliefs
    best = beliefs.best.chosen
    for one in beliefs.open.values():
        before = one.known.get(gtin)
        if before is None or abs(now.unit_g - before.unit_g) <= NEWS * before.sigma_g:
            continue
        one.known[gtin] = now
        gains = [
            gain_of(acts, moved_g, gtin, (before, now))
            for acts, moved_g in zip(one.options, one.moved_g, strict=True)
        ]
        if any(gain != gains[0] for gain in gains):
            beliefs.weigh_again(one.change, gains)
    return beliefs.best.chosen != best


def gain_of(
    acts: Sequence[Sketch],
    moved_g: Sequence[tuple[float, float]],
    gtin: str,
    weights: tuple[Known, Known],
) -> float:
    """Return by how much likelier acts are, as a logarithm, by what a product is known to weigh.

    What comes out of a cart, or lies about, is weighed by its own weight.

    Args:
        acts: Of one option.
        moved_g: What plates felt of each, and how far off that may be.
        gtin: The product.
        weights: What it was thought to weigh, and what it is now.
    """
    gain = 0.0
    for act, (total_g, sigma_g) in zip(acts, moved_g, strict=True):
        own = act.misplaced or (act.direction == "put-back" and act.session is not None)
        if act.gtin != gtin or own:
            continue
        before, now = (
            weight_loglik(
                abs(total_g), sigma_g, act.quantity * one.unit_g, act.quantity * one.sigma_g
            )
            for one in weights
        )
        gain += now - before
    return max(-GAIN_MAX, min(gain, GAIN_MAX))


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
