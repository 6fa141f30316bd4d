# SPDX-License-Identifier: Apache-2.0
"""A start: what it tells, and what becomes of durable rows that are of another time.

In an older copy of the database, or one from another machine, whatever was open has gone on without
this gateway. Receipts may have been sent and reviews decided since; their revision numbers are
taken. So nothing that was open is carried on: visits end without a receipt, reviews and carts are
given up and named, and the integrator, who has their events, decides alone. What the plates weighed
then is forgotten too: what changed since was told already, by the gateway that saw it.
"""

from gateway.domain import events, lessons, presence
from gateway.domain.beliefs import Beliefs
from gateway.domain.drops import tell_drops
from gateway.domain.inputs import GatewayStarted, Recovery
from gateway.domain.output import Step
from gateway.domain.restock import check_holdings, tell_alike
from gateway.domain.reviews import ask


def started(step: Step, item: GatewayStarted) -> None:
    """Tell a start, what happened to the database, and which rows could not be read."""
    previous = item.previous_sequence
    step.emit(
        events.GatewayStartedData,
        "gateway",
        version=item.version,
        previous_epoch=item.previous_epoch,
        previous_sequence=None if previous is None else f"{previous:020d}",
    )
    if item.recovery is not None:
        _recovered(step, item.recovery)
    _ask_what_waited(step)
    check_holdings(step)
    lessons.check(step)
    presence.begin(step)
    if step.state.drops:
        tell_drops(step)
    tell_alike(step)


def _ask_what_waited(step: Step) -> None:
    """Ask what the life before had not asked yet: nothing that comes later can answer it."""
    state = step.state
    for doubt in list(state.doubts.values()):
        ask(
            step,
            subject=doubt.subject,
            change=doubt.change,
            reason=doubt.reason,
            candidates=doubt.candidates,
            felt=doubt.weights,
            times=(doubt.started, doubt.ended),
            at_ns=step.now_ns,
            near=doubt.near,
        )
        state.decided[doubt.change] = doubt.told
        step.touch("decided", doubt.change)
        del state.doubts[doubt.change]
        step.touch("doubt", doubt.change)


def _recovered(step: Step, recovery: Recovery) -> None:
    state = step.state
    of_the_past = recovery.reason != "corrupt"
    sessions = sorted(state.sessions) if of_the_past else []
    reviews = sorted(state.reviews) if of_the_past else []
    step.emit(
        events.DatabaseRecovered,
        "gateway",
        reason=recovery.reason,
        set_aside=recovery.set_aside,
        events_kept=recovery.events_kept,
        rows_kept=recovery.rows_kept,
        complete=recovery.complete,
        sessions=sessions,
        reviews=reviews,
    )
    if not of_the_past:
        return
    for name in sessions:
        session = state.sessions.pop(name)
        for person in session.persons:
            state.people.forget(person)
        step.touch("session", name)
        step.emit(events.SessionEnded, f"session/{name}", session=name, reason="restored")
    for kind, table in (
        ("review", state.reviews),
        ("closed", state.closed),
        ("decided", state.decided),
        ("doubt", state.doubts),
        ("holding", state.holdings),
    ):
        for key in table:
            step.touch(kind, key)
        table.clear()
    state.beliefs = Beliefs()
