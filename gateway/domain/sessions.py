# SPDX-License-Identifier: Apache-2.0
"""Visits: opened by an entry scan, bound to a person, closed when the person has left."""

from collections.abc import Container
from hashlib import blake2b
from math import hypot
from typing import Final, Literal

from gateway.domain import events
from gateway.domain.closing import Open, close, hold_over
from gateway.domain.drops import drop
from gateway.domain.effects import OpenDoor
from gateway.domain.inputs import DoorNotOpened, EntryScanned
from gateway.domain.output import Step
from gateway.domain.people import LOST_NS_MAX, Person
from gateway.domain.state import Session
from gateway.domain.store import Zone
from gateway.domain.timekeeping import forgotten, outlived

CLOSE_WAIT_NS: Final = 800_000_000
"""A cart stays open this long after the person left: the last change may still settle."""
CLOSE_WAIT_NS_MAX: Final = 6_000_000_000
BESIDE_MM: Final = 2_000.0
"""Who shares somebody's session comes in no farther from them than this."""
BESIDE_NS: Final = 8_000_000_000
"""Nor later after the scan."""
APART_MM: Final = 1_000.0
APART_NS: Final = 2_000_000_000
PAST: Final = 2.0
"""What tells against sharing a session: distance and time, as multiples of these, and having
passed the scanner already when it read."""
PARTY_MAX: Final = 3.0
SCAN_MM: Final = 700.0
"""Whoever belongs to somebody's party scans only this near to the scanner."""
ZONE_EDGE_MM: Final = 300.0
"""Who is first seen this near to an entry zone came in through it."""
LEFT_MM: Final = 150.0
"""A body has left a zone when it is this far out of it."""
BLIND_NS_MAX: Final = 6_000_000_000
"""How long a camera that stopped is waited for when somebody was last seen at the exit."""
MOVED_MM: Final = 800.0
"""A person's place is written again after this much walking."""
ARRIVALS_MAX: Final = 10
ARRIVALS_NS: Final = 60_000_000_000
"""One shopper's tokens start at most so many visits in this long: a large family, and no bus."""
TOKENS_MAX: Final = 100_000
"""Tokens remembered where no clock says which have expired."""


def enter(step: Step, scan: EntryScanned) -> None:
    """Judge an entry scan: refuse a token seen before, otherwise start a session."""
    state = step.state
    device = scan.device
    scanner = device.removeprefix("scanner/")
    if scan.verdict != "valid" or scan.token_hash is None:
        drop(step, device, f"token-{scan.verdict}")
        return
    if scan.token_hash in state.tokens or outlived(step, scan.expires_utc_ns):
        drop(step, device, "token-replayed")
        return
    expires_utc_ns = scan.expires_utc_ns or step.at.utc_ns
    oldest_utc_ns = next(iter(state.tokens.values()), 0)
    if step.keep("token", state.tokens, scan.token_hash, expires_utc_ns, TOKENS_MAX):
        forgotten(step, oldest_utc_ns)
        drop(step, device, "token-forgotten")
    if scan.shopper is not None and _too_many(step, scan.shopper):
        drop(step, device, "token-too-many")
        return
    session = Session(
        id=step.name(),
        scanner=scanner,
        started_ns=step.now_ns,
        boot=step.at.boot,
        seen_ns=step.now_ns,
    )
    state.sessions[session.id] = session
    state.beliefs.join(session.id, {}, {})
    person = _waiting_at(step, scanner, set(bound_persons(step))) or _take_back(step, scanner)
    if person is not None:
        _bind(session, person)
        _note_party(step, session, person)
    step.touch("session", session.id)
    step.emit(
        events.SessionStarted,
        f"session/{session.id}",
        session=session.id,
        scanner=scanner,
        person=person.id if person else None,
        shopper=scan.shopper,
    )
    known = step.layout.scanners.get(scanner)
    if known is not None and known.door is not None:
        step.effects.append(OpenDoor(step.name(), known.door, session.id, step.now_ns))


def _too_many(step: Step, shopper: str) -> bool:
    """Note that a shopper comes in; tell whether they did so too often within a minute.

    A token opens once, so many of one shopper mean an app that gives them away. The pseudonym
    itself is not kept.
    """
    recent = step.state.arrivals
    for name, times_ns in list(recent.items()):
        times_ns[:] = [at_ns for at_ns in times_ns if step.now_ns - at_ns < ARRIVALS_NS]
        if not times_ns:
            del recent[name]
    times_ns = recent.setdefault(blake2b(shopper.encode(), digest_size=8).hexdigest(), [])
    if len(times_ns) >= ARRIVALS_MAX:
        return True
    times_ns.append(step.now_ns)
    return False


def shut_out(step: Step, item: DoorNotOpened) -> None:
    """Tell whose door did not open: their token is spent, and no other opening comes of it."""
    step.emit(
        events.DoorNotOpened,
        f"door/{item.door}",
        door=item.door,
        session=item.session,
        reason=item.reason,
    )


def _bind(session: Session, person: Person) -> None:
    session.persons.append(person.id)
    person.entering, person.party = False, None


def _take_back(step: Step, scanner: str) -> Person | None:
    """Return who stands at the scanner though bound to a session by no scan of their own.

    That binding was a guess; whoever is there when the scanner reads is who scanned.
    """
    bound = bound_persons(step)
    person = _waiting_at(step, scanner, who_scanned(step))
    if person is not None and (earlier := bound.get(person.id)) is not None:
        earlier.persons.remove(person.id)
        step.touch("session", earlier.id)
    return person


def who_scanned(step: Step) -> set[str]:
    """Return those who surely scanned: neither guessed nor somebody's companions."""
    sessions = step.state.sessions.values()
    return {session.persons[0] for session in sessions if session.persons and not session.guessed}


def _waiting_at(step: Step, scanner: str, bound: Container[str]) -> Person | None:
    """Return the person in the scanner's zone who is not bound, the one nearest to its middle."""
    known = step.layout.scanners.get(scanner)
    zone = step.layout.zones.get(known.zone) if known and known.zone else None
    if zone is None:
        return None
    middle_mm = (sum(zone.x_mm) / 2, sum(zone.y_mm) / 2)
    waiting = [
        person
        for person in step.state.people.persons.values()
        if person.id not in bound
        and step.now_ns - person.seen_ns < 1_000_000_000
        and person.inside([zone])
        and (person.party is None or person.distance_mm(middle_mm) < SCAN_MM)
    ]
    return min(waiting, key=lambda person: person.distance_mm(middle_mm), default=None)


def bound_persons(step: Step) -> dict[str, Session]:
    """Return the session of each person who has one."""
    return {
        person: session for session in step.state.sessions.values() for person in session.persons
    }


def seen(step: Step, present: list[str]) -> None:
    """Note who is there: bind waiting sessions, keep the saved places fresh."""
    state = step.state
    waiting = [
        session
        for session in state.sessions.values()
        if not session.persons
        and step.now_ns - session.started_ns < state.settings.entry_wait_ms * 1_000_000
    ]
    for session in waiting:
        person = _waiting_at(step, session.scanner, set(bound_persons(step)))
        if person is not None:
            _bind(session, person)
            session.guessed = True
            step.touch("session", session.id)
    _come_in(step, present)
    bound = bound_persons(step)
    for name in present:
        here = bound.get(name)
        if here is None:
            continue
        here.seen_ns, here.restored = step.now_ns, False
        if here.leaving_ns is not None and here.reason != "too-long":
            here.leaving_ns = None
        person = state.people.persons[name]
        if person.moved(MOVED_MM):
            step.touch("session", here.id)


def _come_in(step: Step, present: list[str]) -> None:
    """Settle with whom those came in who leave the entry zone without a scan of their own."""
    state = step.state
    persons = state.people.persons
    arriving = [
        persons[name]
        for name in present
        if persons[name].entering or persons[name].first_mm is not None
    ]
    for person in arriving:
        bound = bound_persons(step)
        if person.first_mm is not None:
            person.entering = _from_door(step, person)
            person.first_mm = None
            _find_party(step, person)
        if person.id in bound:
            person.entering = False
        if not person.entering or _in_zones(person.floor_mm, step.layout.entry, LEFT_MM):
            continue
        person.entering = False
        joined = _session_of(step, person)
        if joined is not None:
            _bind(joined, person)
            step.touch("session", joined.id)


def _session_of(step: Step, person: Person) -> Session | None:
    """Return the session of somebody who came in without being seen to scan."""
    wait_ns = step.state.settings.entry_wait_ms * 1_000_000
    for session in reversed(step.state.sessions.values()):
        if not session.persons and step.now_ns - session.started_ns < wait_ns:
            session.guessed = True  # No camera saw who scanned.
            return session
    if not step.state.settings.companions:
        return None
    shared = step.state.sessions.get(person.party or "")
    return shared if shared is not None and shared.leaving_ns is None else None


def _note_party(step: Step, session: Session, scanned: Person) -> None:
    """Note who is beside somebody who scans: they may have come together."""
    for person in step.state.people.persons.values():
        if person.entering and step.now_ns - person.seen_ns < BESIDE_NS // 4:
            _may_share(step, person, session, scanned, 0)


def _find_party(step: Step, person: Person) -> None:
    """Note with whom somebody new may have come who is in already."""
    for session in step.state.sessions.values():
        late_ns = step.now_ns - session.started_ns
        scanned = step.state.people.persons.get(session.persons[0]) if session.persons else None
        if person.entering and scanned is not None and late_ns < BESIDE_NS:
            _may_share(step, person, session, scanned, late_ns)


def _may_share(step: Step, person: Person, session: Session, scanned: Person, late_ns: int) -> None:
    """Note a session that somebody may share, if it is likelier than what was noted before."""
    apart_mm = person.distance_mm(scanned.floor_mm)
    if person.id == scanned.id or apart_mm > BESIDE_MM:
        return
    cost = apart_mm / APART_MM + late_ns / APART_NS
    if not late_ns:
        born_ns = person.places[0][0] if person.places else step.now_ns
        cost += min((step.now_ns - born_ns) / APART_NS, PAST)
        cost += PAST if _ahead(step, person, scanned) else 0.0
    if cost < PARTY_MAX and (person.party is None or cost < person.party_cost):
        person.party, person.party_cost = session.id, cost


def _ahead(step: Step, person: Person, scanned: Person) -> bool:
    """Tell whether somebody is farther in the store than who scans, by more than a step."""
    x_mm, y_mm = _inwards(step, scanned.floor_mm)
    far_mm = hypot(x_mm, y_mm) or 1.0
    dx_mm = person.floor_mm[0] - scanned.floor_mm[0]
    dy_mm = person.floor_mm[1] - scanned.floor_mm[1]
    return (dx_mm * x_mm + dy_mm * y_mm) / far_mm > SCAN_MM


def _inwards(step: Step, from_mm: tuple[float, float]) -> tuple[float, float]:
    """Return the way from a place to the middle of all plates."""
    fronts = [place.front_mm for place in step.layout.plates.values()]
    count = max(len(fronts), 1)
    x_mm, y_mm = (sum(front[axis] for front in fronts) / count for axis in (0, 1))
    return x_mm - from_mm[0], y_mm - from_mm[1]


def _from_door(step: Step, person: Person) -> bool:
    """Tell whether somebody new came in through the door: not from the back, as staff does."""
    first_mm = person.first_mm or person.floor_mm
    if _in_zones(first_mm, step.layout.entry, ZONE_EDGE_MM + person.roam_mm):
        return True
    for zone in step.layout.entry:
        middle_mm = (sum(zone.x_mm) / 2, sum(zone.y_mm) / 2)
        x_mm, y_mm = _inwards(step, middle_mm)
        if (first_mm[0] - middle_mm[0]) * x_mm + (first_mm[1] - middle_mm[1]) * y_mm < 0.0:
            return True
    return False


def _in_zones(at_mm: tuple[float, float], zones: list[Zone], margin_mm: float) -> bool:
    """Tell whether a place is in one of the zones or this near to it."""
    return any(
        zone.x_mm[0] - margin_mm <= at_mm[0] <= zone.x_mm[1] + margin_mm
        and zone.y_mm[0] - margin_mm <= at_mm[1] <= zone.y_mm[1] + margin_mm
        for zone in zones
    )


def corrected(step: Step) -> None:
    """Follow what the cameras made good: persons who were others all along."""
    people = step.state.people
    for gone, kept, _ in people.merged:
        for session in step.state.sessions.values():
            if gone in session.persons:
                session.persons.remove(gone)
                if kept not in bound_persons(step):
                    session.persons.append(kept)
                step.touch("session", session.id)
    for one, other, since_ns in people.exchanged:
        renamed = {one: other, other: one}
        for session in step.state.sessions.values():
            if session.started_ns > since_ns:  # Who scanned is the body, whatever its name.
                session.persons = [renamed.get(name, name) for name in session.persons]
                step.touch("session", session.id)


def tick(step: Step, changes: Open) -> None:
    """Let sessions end whose persons have left or whose time is over.

    Args:
        step: The step.
        changes: What is to be done about open changes before a cart is closed, and when it is over.
    """
    settings = step.state.settings
    exit_ns = settings.exit_after_ms * 1_000_000
    for session in list(step.state.sessions.values()):
        if session.leaving_ns is None:
            persons = [
                person
                for name in session.persons
                if (person := step.state.people.persons.get(name)) is not None
            ]
            unseen_ns = step.now_ns - session.seen_ns
            gone = persons and all(person.inside(step.layout.exit) for person in persons)
            # A camera that says nothing does not say that they are gone.
            looked = unseen_ns > BLIND_NS_MAX or all(
                step.state.people.unseen_ns(person) > exit_ns for person in persons
            )
            if gone and looked and unseen_ns > exit_ns:
                _leave(session, session.seen_ns, "exit")
            elif unseen_ns > _unseen_max_ns(step, session):
                _leave(session, step.now_ns, "unseen" if session.persons else "no-person")
            elif step.now_ns - session.started_ns > settings.visit_max_s * 1_000_000_000:
                _leave(session, step.now_ns, "too-long")
        if session.leaving_ns is not None and _may_close(step, session.id, session.leaving_ns):
            changes.ask(step, session.id)
            close(step, session, changes)
    hold_over(step, changes)


def _unseen_max_ns(step: Step, session: Session) -> int:
    """Return how long a session goes on unseen: less when its persons left while nobody looked."""
    longest_ns = step.state.settings.unseen_max_s * 1_000_000_000
    if session.restored and session.persons and step.state.people.frame_ns:
        return min(longest_ns, LOST_NS_MAX)
    return longest_ns


def _leave(
    session: Session, at_ns: int, reason: Literal["exit", "unseen", "too-long", "no-person"]
) -> None:
    session.leaving_ns, session.reason = at_ns, reason


def _may_close(step: Step, session: str, left_ns: int) -> bool:
    """Tell whether nothing that is open can change a cart any more, or it has waited enough."""
    waited_ns = step.now_ns - left_ns
    if waited_ns < CLOSE_WAIT_NS:
        return False
    settings = step.state.settings
    in_doubt = step.state.beliefs.sure_of_cart(session) < settings.certainty
    if in_doubt and waited_ns < settings.doubt_wait_ms * 1_000_000:
        return False
    if waited_ns > CLOSE_WAIT_NS_MAX:
        return True
    # No change may come any more that began before the person left.
    if not _heard_up_to(step, left_ns):
        return False
    if any(change.change.since_ns <= left_ns for change in step.state.changes):
        return False
    return not any(
        bool((shelf.moving & (shelf.since_ns != 0) & (shelf.since_ns <= left_ns)).any())
        or shelf.pending
        for shelf in step.state.shelves.values()
    )


def _heard_up_to(step: Step, at_ns: int) -> bool:
    """Tell whether every shelf that is there has told what it felt up to a moment."""
    devices = step.state.devices
    return all(
        shelf.end_ns >= at_ns or devices[f"shelf/{name}"].lost_ns is not None
        for name, shelf in step.state.shelves.items()
        if f"shelf/{name}" in devices
    )
