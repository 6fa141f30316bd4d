# SPDX-License-Identifier: Apache-2.0
"""What people, planogram and weights say of the moves of one change."""

from collections.abc import Sequence
from math import exp, log
from typing import Final

from gateway.domain.choices import Who
from gateway.domain.closing import may_change
from gateway.domain.goods import OUT_OF_PLACE, Option, at_home, place_loglik, unknown
from gateway.domain.hands import NOBODY, Hands, Place, evidence, shares
from gateway.domain.output import Step
from gateway.domain.people import Person
from gateway.domain.readings import Move
from gateway.domain.sessions import bound_persons

SWAPPED: Final = 0.2
"""Probability that two persons who were one body to the camera came out as each other."""
HAND_WITHIN_MM: Final = 10.0
"""A hand takes things by their middle, this far within where they may stand."""
NEAR_LOGLIK: Final = -9.0
"""Whoever fits worse than this was not at the shelf."""
PARTLY: Final = -6.0
"""Where something may stand of which a plate beside has not told."""
OPTIONS_MAX: Final = 14
"""Products and counts that are thought of for one move."""
PUT_BACK_BOUND: Final = -3.0
"""What a put-back may be worth, before it is known what anybody holds."""
INSTANT_NS: Final = 150_000_000
"""Where samples are missing, hands are looked at this long before and after each instant."""
UNSEEN_SESSION: Final = -6.0
"""Evidence for a visit of which nobody has been seen."""

KnownHands = dict[tuple[Place, int, int, int], list[Hands]]
"""How well each person fits a place from one instant to another, with a hole in between: moves of
other sizes share it."""


class Watching:
    """Weighs one change's moves by everything but carts, each of them once."""

    def __init__(self, step: Step, shelf: str, hands: KnownHands | None = None) -> None:
        """Begin to watch.

        Args:
            step: Where the change is weighed.
            shelf: Its shelf.
            hands: What this step has weighed of it already, and where more is put. What products
                weigh may be learned in between, so nothing else is kept.
        """
        self._step = step
        self._shelf = shelf
        self._places = step.layout.shelves[shelf]
        self.known = step.known_weights()
        self._without = step.state.settings.without
        self.sessions = {name: session.id for name, session in bound_persons(step).items()}
        """Sessions by person."""
        departed = step.state.people.departed
        self.persons = step.state.people.persons | {
            name: one.person for name, one in departed.items()
        }
        """Everybody who may have done it: also those who have left since."""
        self.sessions |= {
            name: one.session for name, one in departed.items() if may_change(step, one.session)
        }
        self._hands: KnownHands = {} if hands is None else hands
        self._home: dict[Move, list[Option]] = {}
        self._bounds: dict[Move, float] = {}
        self._fits: dict[tuple[Move, str], float] = {}
        self.strangers = False
        """Somebody without a session was near."""
        self.near: set[str] = set()
        """Sessions of those who were."""

    def why_unseen(self, since_ns: int) -> str:
        """Return why nobody can be named for what began then: none looked, or nobody was near."""
        state = self._step.state
        frame_ns = state.people.frame_ns
        cameras = self._step.layout.store.cameras
        looked = all(frame_ns.get(camera.name, 0) >= since_ns for camera in cameras)
        blind = bool(self._without_persons())
        return "no-camera" if blind or not frame_ns or not looked else "nobody-near"

    def hands(self, move: Move) -> list[Hands]:
        """Return how well each person fits a move."""
        wanted = (self.place_of(move), move.since_ns, move.until_ns, move.hole_ns)
        found = self._hands.get(wanted)
        if found is None:
            found = self._hands[wanted] = self._weigh(*wanted)
        for one in found:
            if one.score > NEAR_LOGLIK and one.person in self.sessions:
                self.near.add(self.sessions[one.person])
            elif one.score > NEAR_LOGLIK:
                self.strangers = True
        return found

    def _weigh(self, place: Place, since_ns: int, until_ns: int, hole_ns: int) -> list[Hands]:
        found = []
        for person in self.persons.values():
            one = self._evidence(person, place, since_ns, until_ns)
            if one is not None and hole_ns:
                one = self._at_any_time(person, place, (since_ns + until_ns) // 2, hole_ns, one)
            if one is not None:
                found.append(one)
        alone = {one.person: one.score for one in found}
        for index, one in enumerate(found):
            others = [alone[name] for name in self.persons[one.person].mixed if name in alone]
            if others:
                share = (1.0 - SWAPPED) * exp(one.score) + SWAPPED * exp(max(others))
                found[index] = one._replace(score=log(share + 1e-12))
        return found

    def _evidence(self, person: Person, place: Place, since_ns: int, until_ns: int) -> Hands | None:
        wrists = "wrists" not in self._without
        return evidence(person, self._places, place, since_ns, until_ns, wrists=wrists)

    def _at_any_time(
        self, person: Person, place: Place, middle_ns: int, hole_ns: int, over_all: Hands
    ) -> Hands:
        """Return the evidence of one who may have acted at any time of a hole in the samples."""
        parts = hole_ns // INSTANT_NS + 1
        scores = []
        for number in range(parts):
            at_ns = middle_ns - hole_ns // 2 + (2 * number + 1) * hole_ns // (2 * parts)
            one = self._evidence(person, place, at_ns - INSTANT_NS, at_ns + INSTANT_NS)
            scores.append(over_all.score if one is None else one.score)
        likely = sum(map(exp, scores)) / parts
        return over_all._replace(score=log(likely + 1e-12))

    def shares(self, moves: Sequence[Move]) -> dict[str, float]:
        """Return each session near, with how likely the largest move was by a hand of theirs."""
        if not moves:
            return dict.fromkeys(sorted(self.near), 0.0)
        who = self.who(max(moves, key=lambda move: abs(move.total_g)))
        return {name: exp(who[name]) if name in who else 0.0 for name in sorted(self.near)}

    def place_of(self, move: Move) -> Place:
        """Return where the hand was that made a move."""
        aside_mm = max(move.slack_mm - HAND_WITHIN_MM, 0.0)
        return Place(self._shelf, move.x_mm - aside_mm, move.x_mm + aside_mm)

    def seen(self, move: Move) -> bool:
        """Tell whether anybody may have been at the place of a move."""
        return any(one.score > NEAR_LOGLIK for one in self.hands(move))

    def may_reach(self, move: Move) -> set[str]:
        """Return the sessions of those who were near a move, or whom nobody sees."""
        near = {
            self.sessions[one.person]
            for one in self.hands(move)
            if one.score > NEAR_LOGLIK and one.person in self.sessions
        }
        return near | self._without_persons()

    def _without_persons(self) -> set[str]:
        """Return the visits of which nobody has been seen."""
        sessions = self._step.state.sessions.values()
        return {session.id for session in sessions if not session.persons}

    def who(self, move: Move) -> Who:
        """Return the logarithm of each session's probability to have made a move."""
        scores: list[tuple[str | None, float]] = [
            (self.sessions.get(one.person), one.score) for one in self.hands(move)
        ]
        scores += [(session, UNSEEN_SESSION) for session in sorted(self._without_persons())]
        return shares(scores, nobody=NOBODY, alone=not move.twin)

    def home(self, move: Move) -> list[Option]:
        """Return what a move may have been of what belongs on its shelf."""
        known = self._home.get(move)
        if known is None:
            shares_count = "plate-shares" not in self._without
            known = at_home(
                move, self._places.facings, self.known, place=shares_count, most=OPTIONS_MAX
            )
            self._home[move] = known
        return known

    def place(self, move: Move, gtin: str) -> float:
        """Return how well a move's place fits where a product belongs."""
        if "plate-shares" in self._without:
            return 0.0
        fit = self._fits.get((move, gtin))
        if fit is None:
            facings = [facing for facing in self._places.facings if facing.gtin == gtin]
            fits = (place_loglik(move, facing) for facing in facings)
            fit = self._fits[move, gtin] = max(fits, default=OUT_OF_PLACE)
        return fit

    def wide(self, move: Move) -> list[float]:
        """Return what units of which a part may have gone unnoticed at a move would weigh."""
        return sorted(
            {
                quantity * self.known[facing.gtin].unit_g
                for facing in self._places.facings
                if place_loglik(move, facing) > PARTLY
                for quantity in (1, 2, 3)
            }
        )

    def bound(self, move: Move) -> float:
        """Return about the best that any explanation can say of a move."""
        known = self._bounds.get(move)
        if known is None:
            options = self.home(move) if move.total_g < 0 else []
            home = options[0].loglik if options else PUT_BACK_BOUND
            known = self._bounds[move] = max(home, unknown(move))
        return known
