# SPDX-License-Identifier: Apache-2.0
"""Settled changes become acts in carts, reviews, or unattended changes: never guesses."""

from collections.abc import Container, Sequence
from typing import Final, Literal

import msgspec

from gateway.domain import events, products
from gateway.domain.attribution import (
    TREMBLE_G,
    Explanation,
    Shelved,
    Stretch,
    divide,
    explain,
    may_hold,
    presence,
)
from gateway.domain.carts import apply
from gateway.domain.events import Act, Candidate, PlateDelta
from gateway.domain.layout import PlatePlace
from gateway.domain.output import Step
from gateway.domain.sessions import bound_persons, drop
from gateway.domain.state import Decided, Holding, OpenChange, Review, Session
from gateway.domain.store import Product
from gateway.domain.weighing import PlateChange, ShelfChange, net

LOOK_NS: Final = 700_000_000
"""How long a settled change waits for cameras that are late."""
LEAST_UNIT_PART: Final = 0.4
"""A change smaller than this part of the lightest unit that may lie there is no act."""
UNTOLD_G_MAX: Final = 50.0
"""A settled change beyond this is asked about, also where the lightest unit weighs far more."""
STRANGER_SIGMAS: Final = 3.0
SHIFTED: Final = 0.04
"""Most that plates disagree about one load, as a part of it: they are calibrated apart."""
REVIEWS_MAX: Final = 1_000
SWAPPED: Final = 0.2
"""Probability that two persons who were one body to the camera came out as each other."""
SUSPICION: Final = 0.05
"""Least probability of a candidate of an open review that later acts may rest on."""
SAME_UNIT_G: Final = 2.0
"""Standard deviation of what a unit weighs when it is put back, against when it was taken."""
UNIT_SPREAD: Final = 0.015
"""Standard deviation from unit to unit of a product, as a part of its weight."""

Reason = Literal["attended", "gateway-down", "device-down"]


def settled(step: Step, shelf: str, change: ShelfChange) -> None:
    """Take a change from the scale; it waits shortly for what the cameras saw of it."""
    change = change._replace(plates=net(change))
    reason: Reason = "attended"
    if change.unwatched:
        gap_ns = step.state.gap_since_ns
        down = gap_ns is not None and change.since_ns <= gap_ns
        reason = "gateway-down" if down else "device-down"
    step.state.changes.append(
        OpenChange(
            id=step.name(),
            shelf=shelf,
            change=change,
            due_ns=step.now_ns + LOOK_NS,
            reason=reason,
        )
    )


def decide_due(step: Step) -> None:
    """Decide every change whose evidence is complete, oldest first."""
    state = step.state
    frames = state.people.frame_ns.values()
    looked_ns = min(frames) if frames else step.now_ns
    waiting = []
    for change in state.changes:
        complete = change.reason != "attended" or looked_ns >= change.change.stable_ns
        if complete or step.now_ns >= change.due_ns:
            _decide(step, change)
        else:
            waiting.append(change)
    state.changes = waiting


def decide_shelves(step: Step, shelves: Container[str]) -> None:
    """Decide at once what waits on these shelves."""
    state = step.state
    due = [change for change in state.changes if change.shelf in shelves]
    state.changes = [change for change in state.changes if change.shelf not in shelves]
    for change in due:
        _decide(step, change)


def _decide(step: Step, open_change: OpenChange) -> None:
    places = step.layout.shelves[open_change.shelf].plates
    plates = open_change.change.plates
    shelved = {one.plate: shelved_on(step, places[one.plate].name) for one in plates}
    held = [
        one
        for session in step.state.sessions.values()
        for one in [*carried(step, session), *suspected(step, session)]
    ]
    accepted: list[tuple[Act, float]] = []
    doubtful: list[tuple[Stretch, list[Explanation], str]] = []
    parts = [part for felt in _felt(open_change) for part in divide(felt, shelved, held)]
    for stretch in parts:
        ranked, doubt = _judge(step, open_change, stretch, may_hold(stretch, shelved), held)
        if doubt is not None:
            doubtful.append((stretch, ranked, doubt))
        elif ranked:
            act = _act(step, open_change.shelf, stretch, ranked[0])
            accepted.append((act, abs(stretch.total_g) / act.quantity))
    if accepted:
        _publish(step, open_change, accepted)
        if doubtful:
            step.state.decided[open_change.id] = Decided([act for act, _ in accepted], 0)
            step.touch("decided", open_change.id)
    for stretch, ranked, reason in doubtful:
        _ask(step, open_change, stretch, ranked, reason)
    for one in plates:
        weighed(step, places[one.plate].name, one.after_g)


def _least_g(stretch: Stretch, options: Sequence[Shelved], held: Sequence[Shelved]) -> float:
    """Return the smallest change, in grams, that can be an act."""
    if stretch.total_g < 0 and not options:
        return 0.0  # What somebody holds says nothing of what was taken from here.
    lightest_g = min((one.product.unit_g for one in [*options, *held]), default=0.0)
    return LEAST_UNIT_PART * lightest_g


def _only_shifted(stretch: Stretch, least_g: float) -> bool:
    """Tell whether a small total is noise, or load that moved from plate to plate."""
    moved_g = max(abs(one.delta_g) for one in stretch.plates)
    within_g = max(STRANGER_SIGMAS * stretch.sigma_g, SHIFTED * moved_g)
    return moved_g < least_g or abs(stretch.total_g) <= within_g


def _judge(
    step: Step,
    open_change: OpenChange,
    stretch: Stretch,
    options: Sequence[Shelved],
    held: Sequence[Shelved],
) -> tuple[list[Explanation], str | None]:
    """Return a stretch's explanations and why none may be believed (or None); none: no act."""
    attended = open_change.reason == "attended"
    # Several acts may have added up to anything; but where somebody watched, a little is a hand.
    least_g = min(_least_g(stretch, options, held), UNTOLD_G_MAX)
    if not attended:
        every = step.state.store.products.values()
        least_g = min(least_g, LEAST_UNIT_PART * min((one.unit_g for one in every), default=0.0))
    if abs(stretch.total_g) < least_g:
        ranked = _strangers(step, stretch)
        if not ranked and _only_shifted(stretch, least_g):
            return [], None
        return ranked, "unexplained-weight" if attended else open_change.reason
    if not attended:
        return _what_without_whom(stretch, options, held), open_change.reason
    ranked, doubt = _who(step, open_change, stretch, options)
    if doubt == "unexplained-weight":
        ranked = [*_strangers(step, stretch), *ranked]
    return ranked, doubt


def _felt(open_change: OpenChange) -> list[list[PlateChange]]:
    """Return neighbours to be explained together.

    Offsets drift in the time that nobody watched; added up over many plates, that would look like
    something taken.
    """
    plates = open_change.change.plates
    if open_change.reason == "attended":
        return [plates]
    runs: list[list[PlateChange]] = []
    for one in plates:
        if abs(one.delta_g) <= TREMBLE_G:
            continue
        if runs and one.plate - runs[-1][-1].plate == 1:
            runs[-1].append(one)
        else:
            runs.append([one])
    return runs


def _strangers(step: Step, stretch: Stretch) -> list[Explanation]:
    """Explain a stretch by products of the store that weigh just that, wherever they belong.

    Too little for what belongs there may still be a unit of something else: nobody's hand weighs
    on a plate as exactly as that.
    """
    weight_g, sigma_g = abs(stretch.total_g), stretch.sigma_g
    found = [
        Shelved(product, 1, misplaced=True)
        for product in step.state.store.products.values()
        if abs(product.unit_g - weight_g) <= max(product.tolerance_g, STRANGER_SIGMAS * sigma_g)
    ]
    return _what_without_whom(stretch, found, found)


def shelved_on(step: Step, plate: str) -> list[Shelved]:
    """Return what may be taken from a plate: what belongs there, and what was misplaced."""
    found = [Shelved(product, 1_000, misplaced=False) for product in step.layout.home[plate]]
    holding = step.state.holdings.get(plate)
    for gtin, count in (holding.misplaced if holding else {}).items():
        product = products.find(step.state, gtin)
        if product is not None:
            found.append(Shelved(product, count, misplaced=True))
    return found


def carried(step: Step, session: Session, home: Container[str] = ()) -> list[Shelved]:
    """Return what a session's cart may put back, by what its very units weighed when taken.

    Args:
        step: The step.
        session: Whose cart.
        home: Products that belong where it would be put back; others are misplaced there.
    """
    found = []
    for gtin, line in session.lines.items():
        product = products.find(step.state, gtin)
        if product is None or line.quantity <= 0:
            continue
        if line.unit_g is not None:
            spread_g = SAME_UNIT_G + (UNIT_SPREAD * line.unit_g if line.quantity > 1 else 0.0)
            product = msgspec.structs.replace(
                product, unit_g=line.unit_g, tolerance_g=min(spread_g, product.tolerance_g)
            )
        found.append(Shelved(product, line.quantity, misplaced=gtin not in home))
    return found


def suspected(step: Step, session: Session, home: Container[str] = ()) -> list[Shelved]:
    """Return what a session may put back that open reviews have not given to it, or not yet."""
    found = []
    for review in step.state.reviews.values():
        if session.id not in review.sessions:
            continue
        total_g = sum(weight.delta_g for weight in review.weights)
        for candidate in review.candidates:
            (act,) = candidate.acts
            product = products.find(step.state, act.gtin)
            possible = act.session in {None, session.id} and candidate.probability >= SUSPICION
            if product is None or act.direction != "pick" or not possible:
                continue
            unit_g = abs(total_g) / act.quantity
            product = msgspec.structs.replace(product, unit_g=unit_g, tolerance_g=SAME_UNIT_G)
            found.append(Shelved(product, act.quantity, misplaced=act.gtin not in home))
    return found


def _what_without_whom(
    stretch: Stretch, options: Sequence[Shelved], held: Sequence[Shelved]
) -> list[Explanation]:
    """Return what a change that nobody watched may have been, by weight alone."""
    if stretch.total_g < 0:
        return explain(stretch, {None: 1.0}, options, {})
    unique: dict[str, Product] = {one.product.gtin: one.product for one in [*options, *held]}
    shelved = [Shelved(product, 1_000, misplaced=False) for product in unique.values()]
    mirrored = stretch._replace(total_g=-stretch.total_g)
    return [
        one._replace(direction="put-back") for one in explain(mirrored, {None: 1.0}, shelved, {})
    ]


def _who(
    step: Step, open_change: OpenChange, stretch: Stretch, options: Sequence[Shelved]
) -> tuple[list[Explanation], str | None]:
    """Return the explanations of a stretch, and why the best may not be believed (or None)."""
    state = step.state
    shelf = step.layout.shelves[open_change.shelf].plates
    felt = [shelf[plate.plate].name for plate in stretch.plates]
    home = {product.gtin for plate in felt for product in step.layout.home[plate]}
    # A product on several plates is reached for at any of them.
    places = [
        place
        for place in shelf
        if place.name in felt
        or not home.isdisjoint(product.gtin for product in step.layout.home[place.name])
    ]
    near = _near(step, open_change.change, places)
    held = {
        session.id: [*carried(step, session, home), *suspected(step, session, home)]
        for session in state.sessions.values()
    }
    ranked = explain(stretch, near, options, held)
    if not near:
        blind = any(not session.persons for session in state.sessions.values())
        return ranked, "no-camera" if blind or not state.people.frame_ns else "nobody-near"
    if not ranked or sum(one.probability for one in ranked) < 0.5:
        return ranked, "unexplained-weight"
    if ranked[0].session is None:
        return ranked, "person-without-session"
    if ranked[0].probability < state.settings.certainty:
        return ranked, "uncertain"
    if not _holds(state.sessions[ranked[0].session], ranked[0]):
        return ranked, "rests-on-review"
    return ranked, None


def _near(step: Step, change: ShelfChange, places: Sequence[PlatePlace]) -> dict[str | None, float]:
    """Return the likelihood of each session having been at the plates; None: somebody without one.

    Of two persons who were one body to the camera for a while, each may be the other.
    """
    persons = step.state.people.persons
    alone = {
        name: presence(person, places, change.since_ns, change.stable_ns)
        for name, person in persons.items()
    }
    bound = bound_persons(step)
    near: dict[str | None, float] = {}
    for name, person in persons.items():
        session = bound.get(name)
        key = session.id if session else None
        others = max((alone.get(other, 0.0) for other in person.mixed), default=None)
        likelihood = alone[name]
        if others is not None:
            likelihood = (1.0 - SWAPPED) * likelihood + SWAPPED * others
        near[key] = max(near.get(key, 0.0), likelihood)
    return {key: likelihood for key, likelihood in near.items() if likelihood > 1e-6}


def _holds(session: Session, one: Explanation) -> bool:
    """Tell whether a cart holds what it would put back: it may rest on an open review."""
    line = session.lines.get(one.guess.gtin)
    return one.direction == "pick" or (line is not None and line.quantity >= one.guess.quantity)


def _act(step: Step, shelf: str, stretch: Stretch, one: Explanation) -> Act:
    return Act(
        session=one.session,
        gtin=one.guess.gtin,
        quantity=one.guess.quantity,
        direction=one.direction,
        plate=step.layout.shelves[shelf].plates[stretch.main.plate].name,
        probability=round(one.probability, 4),
        misplaced=one.guess.misplaced,
    )


def _publish(step: Step, open_change: OpenChange, accepted: list[tuple[Act, float]]) -> None:
    change = open_change.change
    acts = [act for act, _ in accepted]
    for act, unit_g in accepted:
        _carry(step, act, unit_g)
    for direction, kind in (("pick", events.ItemPicked), ("put-back", events.ItemPutBack)):
        if any(act.direction == direction for act in acts):
            step.emit(
                kind,
                f"shelf/{open_change.shelf}",
                change.stable_ns,
                change=open_change.id,
                revision=0,
                acts=acts,
                weights=weights(step, open_change.shelf, change.plates),
                started=step.time(change.since_ns),
                ended=step.time(change.stable_ns),
            )


def _carry(step: Step, act: Act, unit_g: float) -> None:
    """Move units between a cart and a plate."""
    session = step.state.sessions.get(act.session or "")
    if session is not None:
        apply(session.lines, act, unit_g)
        products.use(step, act.gtin)
        step.touch("session", session.id)
    move_misplaced(step, act)


def move_misplaced(step: Step, act: Act) -> None:
    """Keep count of units that lie where they do not belong."""
    if not act.misplaced or act.plate not in step.layout.plates:
        return
    products.use(step, act.gtin)
    holding = step.state.holdings.setdefault(act.plate, Holding(weighed_g=None))
    sign = 1 if act.direction == "put-back" else -1
    count = holding.misplaced.get(act.gtin, 0) + sign * act.quantity
    holding.misplaced.pop(act.gtin, None)
    if count > 0:
        holding.misplaced[act.gtin] = count
    step.touch("holding", act.plate)


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


def _ask(
    step: Step,
    open_change: OpenChange,
    stretch: Stretch,
    ranked: list[Explanation],
    reason: str,
) -> None:
    """Ask a person about a stretch, or report it as unattended, or both."""
    unattended = reason in {"gateway-down", "device-down", "nobody-near"}
    sessions = [] if reason == "nobody-near" else sorted(step.state.sessions)
    review = Review(
        id=step.name(),
        change=open_change.id,
        candidates=[
            Candidate(
                probability=round(one.probability, 4),
                acts=[_act(step, open_change.shelf, stretch, one)],
            )
            for one in ranked
        ],
        sessions=sessions,
        weights=weights(step, open_change.shelf, stretch.plates),
        started=step.time(open_change.change.since_ns),
        ended=step.time(open_change.change.stable_ns),
    )
    # Where no shopper is, nobody's cart depends on an answer.
    asked = bool(sessions) or not unattended
    subject, at_ns = f"shelf/{open_change.shelf}", open_change.change.stable_ns
    if unattended:
        step.emit(
            events.ShelfChangedUnattended,
            subject,
            at_ns,
            change=review.change,
            reason=reason,
            weights=review.weights,
            review=review.id if asked else None,
        )
    if asked:
        _remember(step, review)
        step.emit(
            events.ReviewRequested,
            subject,
            at_ns,
            review=review.id,
            change=review.change,
            reason=reason,
            candidates=review.candidates,
            sessions=sessions,
            weights=review.weights,
            started=review.started,
            ended=review.ended,
        )


def _remember(step: Step, review: Review) -> None:
    """Keep a review until it is decided; the oldest of too many is forgotten."""
    for candidate in review.candidates:
        for act in candidate.acts:
            products.use(step, act.gtin)
    if step.keep("review", step.state.reviews, review.id, review, REVIEWS_MAX):
        drop(step, "gateway/reviews", "forgotten")


def weighed(step: Step, plate: str, weight_g: float) -> None:
    """Write down what a plate weighs now, so that a restart can compare."""
    weight_g = round(weight_g, 2)
    holding = step.state.holdings.setdefault(plate, Holding(weighed_g=weight_g))
    holding.weighed_g, holding.calibration = weight_g, step.layout.plates[plate].calibration
    step.touch("holding", plate)
