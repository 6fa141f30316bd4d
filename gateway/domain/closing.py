# SPDX-License-Identifier: Apache-2.0
"""Carts that are closed: the receipt, and what may still change it."""

from collections.abc import Callable, Iterable
from typing import Final, Literal, NamedTuple

from gateway.domain import events
from gateway.domain.carts import Lines, receipt
from gateway.domain.drops import drop
from gateway.domain.hands import FLANK_NS
from gateway.domain.output import Step
from gateway.domain.state import ClosedCart, Review, Session

CLOSED_CARTS_MAX: Final = 1_000
CLOSED_HOLD_NS: Final = 90_000_000_000
"""How long later evidence may still adjust a closed cart."""
PROBABILITY_KEPT: Final = 0.02
"""A line whose probability changed by less is not written down for that alone."""
UNHEARD_HOLD_NS: Final = 3_600_000_000_000
"""The same while a shelf is away that may have felt something during the visit."""
QUESTION: Final = "a review was requested"


class Open(NamedTuple):
    """What the changes that are open have to do with a cart."""

    ask: Callable[[Step, str], None]
    """Asks a person about what may still change it."""
    forget: Callable[[Step, str], None]
    """Holds for true what was told of it: no later change can touch it."""


def open_reviews(step: Step, session: str) -> list[str]:
    """Return the reviews that may still change a session's cart."""
    return sorted(review.id for review in step.state.reviews.values() if session in review.sessions)


def close(step: Step, session: Session, changes: Open) -> None:
    """Make the receipt and end the session; later evidence may adjust the cart for a while."""
    state = step.state
    confirmed: Literal["online", "offline"] = "online" if state.link_online else "offline"
    lines = state.beliefs.lines(session.id)
    cart = ClosedCart(
        session=session.id, revision=0, lines=lines, confirmed=confirmed, closed_ns=step.now_ns
    )
    _emit_cart(step, cart)
    step.emit(
        events.SessionEnded,
        f"session/{session.id}",
        session=session.id,
        reason=session.reason,
    )
    del state.sessions[session.id]
    step.touch("session", session.id)
    for person in session.persons:
        state.people.depart(person, session.id)
    oldest = next(iter(state.closed), "")
    if step.keep("closed", state.closed, session.id, cart, CLOSED_CARTS_MAX):
        changes.forget(step, oldest)
        if open_reviews(step, oldest):
            drop(step, "gateway/carts", "forgotten")


def write_carts(step: Step, reason: str, review: Review | None = None) -> None:
    """Write down every cart as the best explanation has it; adjust those that are closed.

    Args:
        step: The step.
        reason: Why, for ``cart.adjusted``.
        review: The decision that led to it: each closed cart that it may touch says so.
    """
    state = step.state
    for session in state.sessions.values():
        lines = state.beliefs.lines(session.id)
        if _differ(session.lines, lines):
            session.lines = lines
            step.touch("session", session.id)
    for name, cart in list(state.closed.items()):
        told = dict(cart.lines)
        if cart.closed_ns is not None:
            cart.lines = state.beliefs.lines(name)
        concerned = review is not None and name in review.sessions
        if concerned or _counts(told) != _counts(cart.lines):
            _adjust(step, cart, reason)
        _forget_if_done(step, name)


def hold_over(step: Step, changes: Open) -> None:
    """Let go of closed carts that later evidence can change no more."""
    for name, cart in list(step.state.closed.items()):
        if cart.closed_ns is None:
            _forget_if_done(step, name)
            continue
        held_ns = step.now_ns - cart.closed_ns
        away = held_ns <= UNHEARD_HOLD_NS and _shelf_away(step, cart.closed_ns)
        if held_ns > CLOSED_HOLD_NS and not away:
            changes.ask(step, name)
            cart.closed_ns = None  # From here on it stays as it was told.
            changes.forget(step, name)
            _forget_if_done(step, name)


def _shelf_away(step: Step, closed_ns: int) -> bool:
    """Tell whether a shelf, or a plate of one, was not weighed since before a cart was closed."""
    devices = step.state.devices
    broken_ns = max(step.now_ns - UNHEARD_HOLD_NS, 0)
    return any(
        device.lost_ns is not None and device.lost_ns <= closed_ns
        for name in step.layout.shelves
        if (device := devices.get(f"shelf/{name}")) is not None
    ) or any(
        bool((shelf.unwatched & (shelf.since_ns <= closed_ns)).any())
        # One that is broken for good holds no cart for ever.
        or bool(((shelf.good_ns <= closed_ns) & (shelf.good_ns > broken_ns)).any())
        for shelf in step.state.shelves.values()
    )


def may_change(step: Step, session: str) -> bool:
    """Tell whether later evidence may still adjust a closed cart."""
    cart = step.state.closed.get(session)
    return cart is not None and cart.closed_ns is not None


def visited_since(step: Step, since_ns: int) -> list[str]:
    """Return the closed carts of those who were still there at a moment."""
    return sorted(
        name
        for name, cart in step.state.closed.items()
        if cart.closed_ns is not None and cart.closed_ns >= since_ns
    )


def out_of_sight(step: Step, since_ns: int, until_ns: int) -> list[str]:
    """Return the open visits of which somebody was in no picture from one instant to another."""
    persons = step.state.people.persons
    low_ns, high_ns = since_ns - FLANK_NS, until_ns + FLANK_NS
    return sorted(
        session.id
        for session in step.state.sessions.values()
        if any(
            (person := persons.get(name)) is None or not person.places_within(low_ns, high_ns)
            for name in session.persons
        )
    )


def list_review(step: Step, names: Iterable[str]) -> None:
    """Say with closed carts that a review may change them which was asked for since."""
    for name in names:
        _adjust(step, step.state.closed[name], QUESTION)


def _adjust(step: Step, cart: ClosedCart, reason: str) -> None:
    """Tell a closed cart anew, under its next revision."""
    cart.revision += 1
    step.touch("closed", cart.session)
    _emit_cart(step, cart, reason)


def _forget_if_done(step: Step, name: str) -> None:
    """Forget a closed cart that neither evidence nor a review can change any more."""
    cart = step.state.closed.get(name)
    if cart is not None and cart.closed_ns is None and not open_reviews(step, name):
        del step.state.closed[name]
        step.touch("closed", name)


def _counts(lines: Lines) -> dict[str, int]:
    return {gtin: line.quantity for gtin, line in lines.items()}


def _differ(told: Lines, lines: Lines) -> bool:
    """Tell whether a cart is worth writing down again."""
    return _counts(told) != _counts(lines) or any(
        abs(told[gtin].probability - line.probability) > PROBABILITY_KEPT
        for gtin, line in lines.items()
    )


def _emit_cart(step: Step, cart: ClosedCart, adjusted: str | None = None) -> None:
    """Make a receipt event: ``cart.closed``, or ``cart.adjusted`` with the reason given."""
    kind = events.CartClosed if adjusted is None else events.CartAdjusted
    extra = {} if adjusted is None else {"reason": adjusted}
    fields: dict[str, object] = {
        "session": cart.session,
        "revision": cart.revision,
        "lines": receipt(cart.lines, step.state.store, step.state.products),
        "open": open_reviews(step, cart.session),
        "confirmed": cart.confirmed,
    }
    step.emit(kind, f"session/{cart.session}", None, **fields, **extra)
