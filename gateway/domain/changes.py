# SPDX-License-Identifier: Apache-2.0
"""Settled changes become acts in carts, reviews, or unattended changes."""

from collections.abc import Container, Sequence
from typing import Final, Literal

import msgspec

from gateway.domain import events, holdings, lessons, looking, products
from gateway.domain.beliefs import Attribution
from gateway.domain.carts import apply
from gateway.domain.choices import Scenery, Sketch
from gateway.domain.events import Act, Direction
from gateway.domain.explanations import extend
from gateway.domain.output import Step
from gateway.domain.readings import Move, Reading, hidden, plausible, read, unread_g
from gateway.domain.reviews import ask, candidates_of, taken_unseen, weights
from gateway.domain.state import ClosedCart, OpenChange, Review
from gateway.domain.telling import (
    answers_review,
    doubtful,
    forget_doubt,
    remember_told,
    sessions_of,
    tell,
    unexplained,
)
from gateway.domain.unattended import decide_unattended
from gateway.domain.watching import KnownHands, Watching
from gateway.domain.weighing import PlateChange, ShelfChange, net

LOOK_NS: Final = 700_000_000
"""How long a settled change waits for cameras that are late."""
OPEN_MAX: Final = 48
"""Changes that may still be revised; of more, the oldest is settled as it stands."""
AGREED_NS: Final = 15_000_000_000
"""A change of which all explanations say the same is settled after this long."""
UNNAMED_NS: Final = 90_000_000_000
"""One that is no session's, whatever it was, is settled after this long: no cart depends on it, and
it has been asked about if it is doubtful."""
REVIEW_NS: Final = 10_000_000_000
"""How long later changes may tell what a doubtful one was, before a person is asked."""
LOAD_NS: Final = 30_000_000_000
"""After so long what a hand pressed or lifted is no more thought to let go."""
UNTOLD_G_MAX: Final = 50.0
"""A settled change beyond this is asked about, also where the lightest unit weighs far more."""

Reason = Literal["attended", "gateway-down", "device-down"]


def settled(step: Step, shelf: str, change: ShelfChange) -> None:
    """Take a change from the scale; it waits shortly for what the cameras saw of it."""
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
    """Decide every change whose evidence is complete, oldest first, and a shelf's in their order.

    What a plate weighed before and after holds only where what came first is decided first.
    """
    state = step.state
    if not state.changes:
        return
    frames = state.people.frame_ns.values()
    looked_ns = min(frames) if frames else step.now_ns
    waiting: list[OpenChange] = []
    due: list[OpenChange] = []
    held: set[str] = set()
    hands: dict[str, KnownHands] = {}
    for change in sorted(state.changes, key=lambda one: one.change.since_ns):
        complete = change.reason != "attended" or looked_ns >= change.change.stable_ns
        complete = complete and not change.looks
        ready = complete or step.now_ns >= change.due_ns
        if not ready or _looks_again(step, change, hands) or change.shelf in held:
            waiting.append(change)
            held.add(change.shelf)
        else:
            due.append(change)
    state.changes = waiting
    _decide_all(step, due, hands)


def _looks_again(step: Step, change: OpenChange, hands: dict[str, KnownHands]) -> bool:
    """Ask for a second look at a change where that may tell whose hand it was: then it waits."""
    if not looking.worth(step, change):
        return False
    watching = Watching(step, change.shelf, hands.setdefault(change.id, {}))
    return looking.ask(step, change, readings_of(step, change, watching)[0], watching)


def decide_shelves(step: Step, shelves: Container[str]) -> None:
    """Decide at once what waits on these shelves."""
    state = step.state
    due = [change for change in state.changes if change.shelf in shelves]
    state.changes = [change for change in state.changes if change.shelf not in shelves]
    _decide_all(step, due, {})


def _decide_all(step: Step, due: list[OpenChange], hands: dict[str, KnownHands]) -> None:
    for change in sorted(due, key=lambda one: one.change.since_ns):
        _decide(step, change, hands.get(change.id))


def _decide(step: Step, change: OpenChange, hands: KnownHands | None) -> None:
    if step.observe is not None:
        step.observe(step, change)
    places = step.layout.shelves[change.shelf].plates
    for one in net(change.change):
        holdings.weighed(step, places[one.plate].name, one.after_g)
    if change.reason != "attended":
        _leave_undecided(step, change)
    else:
        _explain(step, change, hands)


def _leave_undecided(step: Step, change: OpenChange, reason: str | None = None) -> None:
    """Tell of a change that nobody is known to have made; what plates hold follows by weight."""
    decide_unattended(step, change, reason)
    holdings.remember_misplaced(step)
    places = step.layout.shelves[change.shelf].plates
    plates = (places[one.plate].name for one in net(change.change))
    holdings.count(step, holdings.touched(step, plates))


def _explain(step: Step, change: OpenChange, hands: KnownHands | None) -> None:
    """Let every explanation take in a change, and tell what follows."""
    state, shelf = step.state, step.layout.shelves[change.shelf]
    without = state.settings.without
    watching = Watching(step, change.shelf, hands)
    readings = readings_of(step, change, watching)
    if readings[0].moves and not any(watching.seen(move) for move in readings[0].moves):
        _leave_undecided(step, change, watching.why_unseen(change.change.since_ns))
        return
    beliefs = state.beliefs
    scenery = Scenery(
        change=change.id,
        shelf=change.shelf,
        plate_names=[place.name for place in shelf.plates],
        who=watching.who,
        home=watching.home,
        bound=watching.bound,
        known=watching.known,
        place=watching.place,
        unseen=taken_unseen(step),
        met=_met(step),
        near=watching.may_reach,
        carts="carts" not in without,
    )
    pressed = {load.change for load in beliefs.best.loads if load.shelf == change.shelf}
    beliefs.beam, options, moves = extend(beliefs.beam, change.id, readings, scenery, beliefs.asked)
    told = beliefs.open[change.id] = _attribution(step, change, watching, options, moves)
    told.near = watching.shares(readings[0].moves)
    holdings.weigh(step)
    tell(step)
    best = beliefs.best.chosen[change.id]
    if lessons.learn(step, change.id, options[best], moves[best]):
        tell(step)
    let_go = pressed - {load.change for load in beliefs.best.loads}
    # Who was asked about a hand that pressed hears of its letting go, too.
    answers = bool(let_go) and all(
        name in beliefs.open and not beliefs.open[name].asked for name in let_go
    )
    if unread_g(change.change.plates) > UNTOLD_G_MAX:
        _ask(step, told, "unexplained-weight")
    _ask_if_strange(step, told, watching, answers=answers)
    if "look-back" in without:
        _settle(step, change.id)
        beliefs.forget_loads()
    tidy(step)


def _attribution(
    step: Step,
    change: OpenChange,
    watching: Watching,
    options: list[tuple[Sketch, ...]],
    moves: Sequence[Sequence[Move]],
) -> Attribution:
    """Return what is kept of a change while it may be revised.

    Args:
        step: Where it is decided.
        change: The change.
        watching: Who was there.
        options: What it may have been.
        moves: By option, what the plates felt of each act.
    """
    return Attribution(
        change=change.id,
        subject=f"shelf/{change.shelf}",
        since_ns=change.change.since_ns,
        stable_ns=change.change.stable_ns,
        options=options,
        weights=weights(step, change.shelf, net(change.change)),
        started=step.time(change.change.since_ns),
        ended=step.time(change.change.stable_ns),
        moved_g=[tuple((one.total_g, one.sigma_g) for one in felt) for felt in moves],
        takes=[holdings.takes(step, option) for option in options],
        known={
            act.gtin: watching.known[act.gtin]
            for option in options
            for act in option
            if act.gtin in watching.known
        },
    )


def _met(step: Step) -> dict[str, set[str]]:
    """Return of each cart that is closed who had come by then, of those who are there."""
    came_ns = {one.id: one.started_ns for one in step.state.sessions.values()}
    return {
        name: {one for one, ns in came_ns.items() if ns <= cart.closed_ns}
        for name, cart in step.state.closed.items()
        if cart.closed_ns is not None
    }


def readings_of(step: Step, change: OpenChange, watching: Watching) -> list[Reading]:
    """Return the ways to read a change that are worth weighing, most likely first."""
    felt, shelf = change.change.plates, step.layout.shelves[change.shelf]
    if "plate-shares" in step.state.settings.without:
        return read([_summed(felt)], shelf, watching.bound)
    readings = read(felt, shelf, watching.bound)
    return plausible([*readings, *hidden(readings, watching.wide)], watching.bound)


def _summed(felt: list[PlateChange]) -> PlateChange:
    """Return a shelf's changes as if it were one plate."""
    largest = max(felt, key=lambda one: abs(one.delta_g))
    return largest._replace(
        delta_g=sum(one.delta_g for one in felt),
        sigma_g=sum(one.sigma_g**2 for one in felt) ** 0.5,
    )


def _ask_if_strange(step: Step, one: Attribution, watching: Watching, *, answers: bool) -> None:
    """Ask at once about what no later change will explain.

    Args:
        step: The step.
        one: What was just told.
        watching: Who was there.
        answers: It ends what a hand began of which nobody has been asked.
    """
    assert one.told is not None, "it was just told"
    best = one.options[one.told]
    felt_g = [weight.delta_g for weight in one.weights]
    if not best and min(max(map(abs, felt_g)), abs(sum(felt_g))) > UNTOLD_G_MAX:
        if not answers:
            _ask(step, one, "unexplained-weight")
    elif any(act.gtin and act.session is None and act.direction == "pick" for act in best):
        near = "uncertain" if watching.near else "nobody-near"
        _ask(step, one, "person-without-session" if watching.strangers else near)


def _ask(step: Step, one: Attribution, reason: str) -> None:
    if one.asked:
        return
    options = step.state.beliefs.options(one.change)
    one.asked = ask(
        step,
        subject=one.subject,
        change=one.change,
        reason=reason,
        candidates=candidates_of(options),
        felt=one.weights,
        times=(one.started, one.ended),
        at_ns=one.stable_ns,
        near=one.near,
    )
    if one.asked:
        forget_doubt(step, one.change)
        remember_told(step, one)


def ask_if_doubtful(step: Step, one: Attribution) -> None:
    """Ask about a change that is not certain enough, or that nothing explains."""
    reason = None if one.asked else doubtful(step, one)
    if reason is not None:
        _ask(step, one, reason)


def ask_before_closing(step: Step, session: str) -> None:
    """Ask about what may still change a cart that is about to be closed."""
    for one in list(step.state.beliefs.open.values()):
        named = any(act.session == session for option in one.options for act in option)
        beside = session in one.near and (unexplained(step, one) or answers_review(step, one))
        if named or beside:
            ask_if_doubtful(step, one)


def tidy(step: Step) -> None:
    """Ask about what has stayed doubtful; settle what all agree on, and the oldest of too many."""
    beliefs = step.state.beliefs
    for name, one in list(beliefs.open.items()):
        age_ns = step.now_ns - one.stable_ns
        if age_ns < REVIEW_NS:
            continue
        ask_if_doubtful(step, one)
        if age_ns > LOAD_NS and beliefs.forget_loads(name):  # No hand rests for so long.
            tell(step)
        best = beliefs.best.chosen[name]
        agreed = all(other.chosen[name] == best for other in beliefs.beam)
        named = any(act.session for option in one.options for act in option)
        if (agreed and age_ns > AGREED_NS) or (not named and age_ns > UNNAMED_NS):
            _settle(step, name)
    while len(beliefs.open) > OPEN_MAX:
        oldest = next(iter(beliefs.open))
        ask_if_doubtful(step, beliefs.open[oldest])
        _settle(step, oldest)


def give_up_loads(step: Step) -> None:
    """Ask about what hands still press, and think no more that they will let go."""
    for one in list(step.state.beliefs.open.values()):
        if unexplained(step, one):
            ask_if_doubtful(step, one)
    if step.state.beliefs.forget_loads():
        tell(step)


def settle_at(step: Step, plates: Container[str]) -> None:
    """Hold for true what is told of plates that are to be counted otherwise."""
    for name, one in list(step.state.beliefs.open.items()):
        felt = {weight.plate for weight in one.weights}
        felt |= {first for option in one.takes for first, _ in option}
        if any(plate in plates for plate in felt):
            ask_if_doubtful(step, one)
            _settle(step, name)


def forget_cart(step: Step, session: str) -> None:
    """Hold for true what was told of a cart that no later change can touch, and forget it."""
    beliefs = step.state.beliefs
    for name in beliefs.concerning(session):
        _settle(step, name)
    beliefs.leave(session)
    tell(step)


def _settle(step: Step, change: str) -> None:
    """Hold for true what is told of a change; what becomes likelier by it is told, too."""
    beliefs = step.state.beliefs
    if beliefs.forget_loads(change):
        tell(step)
    one = beliefs.open[change]
    facings = holdings.touched_by(step, one)
    holdings.count(step, facings)
    ways = [(share, holdings.takes(step, acts)) for share, acts in beliefs.options(change)]
    holdings.settle(step, facings, ways, closing=one)
    beliefs.settle(change)
    forget_doubt(step, change)
    tell(step)


def decide(step: Step, review: Review, acts: list[Act]) -> None:
    """Carry out a person's decision: tell the change's acts, and what follows for others."""
    state, beliefs = step.state, step.state.beliefs
    told = state.decided.pop(review.change, None)
    step.touch("decided", review.change)
    before = list(told.acts) if told else []
    thought = beliefs.open.get(review.change)
    step.emit(
        events.AttributionRevised,
        f"change/{review.change}",
        change=review.change,
        revision=(told.revision if told else -1) + 1,
        acts=acts,
        weights=review.weights,
        started=review.started,
        ended=review.ended,
        reason=f"review {review.id}",
        sessions=sessions_of(before, thought.acts if thought else [], acts),
    )
    facings, taken = _counts_decided(step, thought, before, acts)
    if thought is None and told is None:
        facings = set()  # What was never explained was counted by weight.
    holdings.count(step, facings)
    undone = [act.gtin for option in thought.options for act in option] if thought else []
    unit_g = {}
    for gtin in [*undone, *(act.gtin for act in [*before, *acts])]:
        products.use(step, gtin)
        product = products.find(state, gtin)
        unit_g[gtin] = product.unit_g if product is not None else 1.0
    beliefs.hold(
        review.change,
        [_sketch(step, act) for act in before],
        [_sketch(step, act) for act in acts],
        unit_g,
    )
    holdings.settle(step, facings, [(1.0, taken)])
    holdings.weigh(step)
    for cart in state.closed.values():
        if cart.closed_ns is None:  # No explanation holds it any more.
            _replace(cart, before, acts)
    for act in acts:
        if act.session is None and act.direction == "pick":
            state.unseen[act.gtin] = step.now_ns
    tell(step, f"review {review.id}", review)


def _counts_decided(
    step: Step, thought: Attribution | None, before: list[Act], acts: list[Act]
) -> tuple[set[str], list[tuple[str, int]]]:
    """Return which facings a decision is about, and the units that it takes from them.

    Args:
        step: The step.
        thought: The change, if it is still open.
        before: Its acts as they were told.
        acts: As they were.
    """
    taken = list(holdings.takes(step, acts))
    if thought is not None:
        return holdings.touched_by(step, thought) | holdings.touched(step, (), taken), taken
    taken += [(first, -units) for first, units in holdings.takes(step, before)]
    return holdings.touched(step, (act.plate for act in [*before, *acts]), taken), taken


def _replace(cart: ClosedCart, before: list[Act], after: list[Act]) -> None:
    """Put other acts into a closed cart than were told."""
    for act in before:
        if act.session == cart.session:
            direction: Direction = "put-back" if act.direction == "pick" else "pick"
            apply(cart.lines, msgspec.structs.replace(act, direction=direction, probability=1.0))
    for act in after:
        if act.session == cart.session:
            apply(cart.lines, act)


def _sketch(step: Step, act: Act) -> Sketch:
    shelf = step.layout.shelf_of.get(act.plate, "")
    place = step.layout.plates.get(act.plate)
    x_mm = place.middle_mm if place is not None else 0.0
    return Sketch(
        act.session,
        act.gtin,
        act.quantity,
        act.direction,
        act.plate,
        act.misplaced and place is not None,
        shelf,
        x_mm,
    )
