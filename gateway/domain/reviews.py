# SPDX-License-Identifier: Apache-2.0
"""Questions to a person: asked where the engine is not sure, kept until they are answered."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from types import MappingProxyType
from typing import Final

from gateway.domain import events, products
from gateway.domain.choices import Sketch, identified, plain
from gateway.domain.closing import list_review, out_of_sight, visited_since
from gateway.domain.drops import drop
from gateway.domain.events import Act, Candidate, Hand, PlateDelta
from gateway.domain.output import Step
from gateway.domain.probability import told
from gateway.domain.state import Review
from gateway.domain.weighing import PlateChange

REVIEWS_MAX: Final = 1_000
CANDIDATES_MAX: Final = 5
UNSEEN_NS: Final = 1_800_000_000_000
"""What a person decided that nobody known took may come back for so long."""
UNSEEN_MAX: Final = 32
"""So many of the latest reviews tell what was taken unseen; of older ones it has left the store."""
UNATTENDED: Final = frozenset({"gateway-down", "device-down", "no-camera", "nobody-near"})
"""Reasons that mean that no shopper can be thought of."""


def act_of(sketch: Sketch, probability: float) -> Act:
    """Return an act as events tell it."""
    return Act(
        session=sketch.session,
        gtin=sketch.gtin,
        quantity=sketch.quantity,
        direction=sketch.direction,
        plate=sketch.plate,
        probability=told(probability),
        misplaced=sketch.misplaced,
    )


def candidates_of(options: Iterable[tuple[float, tuple[Sketch, ...]]]) -> list[Candidate]:
    """Return options as candidates of a review, those that differ by a plate alone as one."""
    found: dict[object, tuple[float, tuple[Sketch, ...]]] = {}
    for share, acts in options:
        known = tuple(identified(acts))
        key = plain(known)
        before, kept = found.get(key, (0.0, known))
        found[key] = (before + share, kept)
    ranked = sorted(found.values(), key=lambda one: -one[0])[:CANDIDATES_MAX]
    return [Candidate(told(share), [act_of(act, share) for act in acts]) for share, acts in ranked]


def taken_unseen(step: Step) -> set[str]:
    """Return the products of which a unit left when nobody could be named.

    By open reviews, and by those that a person has decided so lately.
    """
    unseen = step.state.unseen
    for gtin in [gtin for gtin, at_ns in unseen.items() if step.now_ns - at_ns > UNSEEN_NS]:
        del unseen[gtin]
    return set(unseen) | {
        act.gtin
        for review in _latest(step)
        for act in (review.candidates[0].acts if review.candidates else ())
        if act.session is None and act.direction == "pick"
    }


def in_question(step: Step) -> set[str]:
    """Return the products that open reviews may give to somebody, and explanations do no more."""
    return {
        act.gtin
        for review in _latest(step)
        if review.change not in step.state.beliefs.open
        for candidate in review.candidates
        for act in candidate.acts
        if act.session is not None and act.direction == "pick"
    }


def _latest(step: Step) -> Iterable[Review]:
    return islice(reversed(step.state.reviews.values()), UNSEEN_MAX)


def weights(step: Step, shelf: str, plates: Sequence[PlateChange]) -> list[PlateDelta]:
    """Return what the plates felt, as events tell it."""
    places = step.layout.shelves[shelf].plates
    return [
        PlateDelta(
            plate=places[one.plate].name,
            delta_g=round(one.delta_g, 1),
            sigma_g=round(one.sigma_g, 2),
            calibration=places[one.plate].calibration,
        )
        for one in plates
    ]


def ask(
    step: Step,
    *,
    subject: str,
    change: str,
    reason: str,
    candidates: list[Candidate],
    felt: list[PlateDelta],
    times: tuple[str, str],
    at_ns: int,
    near: Mapping[str, float] = MappingProxyType({}),
    since_ns: int | None = None,
) -> bool:
    """Ask a person about a change, report it as unattended, or both; tell whether one is asked.

    With ``since_ns``, when the change began, those who have left since are thought of as well.
    Where nobody was near it may have been whoever was out of sight.
    """
    unattended = reason in UNATTENDED
    gone = [] if since_ns is None else visited_since(step, since_ns)
    there = list(step.state.sessions)
    if reason == "nobody-near":
        there = [] if since_ns is None else out_of_sight(step, since_ns, at_ns)
    sessions = sorted({*there, *gone})
    if not unattended:
        named = {act.session for one in candidates for act in one.acts if act.session is not None}
        sessions = sorted({*sessions, *named})
    review = Review(
        id=step.name(),
        change=change,
        candidates=candidates,
        sessions=sessions,
        weights=felt,
        started=times[0],
        ended=times[1],
    )
    # Where no shopper is, nobody's cart depends on an answer.
    asked = bool(sessions) or not unattended
    if unattended:
        step.emit(
            events.ShelfChangedUnattended,
            subject,
            at_ns,
            change=change,
            reason=reason,
            weights=felt,
            review=review.id if asked else None,
        )
    if asked:
        _request(step, review, subject=subject, reason=reason, near=near, at_ns=at_ns)
        list_review(step, gone)
    return asked


def _request(
    step: Step, review: Review, *, subject: str, reason: str, near: Mapping[str, float], at_ns: int
) -> None:
    """Keep a review until it is decided, and ask for it."""
    _remember(step, review)
    step.emit(
        events.ReviewRequested,
        subject,
        at_ns,
        review=review.id,
        change=review.change,
        reason=reason,
        candidates=review.candidates,
        sessions=review.sessions,
        weights=review.weights,
        hands=[
            Hand(session, told(share))
            for session, share in sorted(near.items(), key=lambda one: (-one[1], one[0]))
        ],
        started=review.started,
        ended=review.ended,
    )


def _remember(step: Step, review: Review) -> None:
    """Keep a review until it is decided; the oldest of too many is forgotten."""
    for candidate in review.candidates:
        for act in candidate.acts:
            products.use(step, act.gtin)
    oldest = next(iter(step.state.reviews.values()), None)
    if step.keep("review", step.state.reviews, review.id, review, REVIEWS_MAX):
        drop(step, "gateway/reviews", "forgotten")
        if oldest is not None and step.state.decided.pop(oldest.change, None) is not None:
            step.touch("decided", oldest.change)
