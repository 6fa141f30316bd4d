# SPDX-License-Identifier: Apache-2.0
"""Who comes to play which script, how they come in, and how they leave."""

import math
from dataclasses import dataclass
from typing import Final

import numpy as np

from gateway.simulator.exam import scenes
from gateway.simulator.exam.actors import Actor
from gateway.simulator.exam.conditions import Condition
from gateway.simulator.exam.room import build, ends, middle
from gateway.simulator.exam.scenes import KINDS, Kind
from gateway.simulator.exam.selling_out import APART
from gateway.simulator.exam.stage import LONGEST_S, Stage
from gateway.simulator.layout import Point2, distance_mm

MIXED: Final = "mixed"
STAFF: Final = "staff-1"
FIRST_S: Final = 3.0
"""When the first shopper comes: the shelves have settled by then."""
LAST_S: Final = LONGEST_S - 40.0
"""Nobody begins another scene after this."""
SHOPPERS: Final = (0.15, 0.35, 0.2, 0.15, 0.1, 0.05)
"""Probabilities of one to six shoppers in a mixed case, companions counted, staff not."""
HIDDEN_S: Final = 9.0
"""How long the way behind a gondola, a stay there and the way back take at most."""
COME_S: Final = 4.0
"""How long before an act somebody sets out to stand beside it."""
BESIDE_MM: Final = 450.0
REACH_S: Final = 0.6
"""Who arrives later than this before an act is too late to reach in beside it."""
FOLLOW_S: Final = (0.7, 2.5)
"""How closely people follow each other out."""
EVERYDAY: Final = {
    "one": 7.0,
    "row": 2.0,
    "several-same": 2.0,
    "put-back": 2.0,
    "near-weights": 1.0,
    "large-or-two-small": 1.0,
    "bag": 1.0,
}
"""How often scripts are played in mixed cases: most of what people do at shelves is ordinary."""
SELDOM: Final = 0.2
"""How often each of the others is."""
SCENES: Final = (2, 5)
"""Fewest and most scenes that each shopper of a mixed case plays."""


@dataclass(slots=True)
class Director:
    """Brings people in and out of one stage."""

    stage: Stage
    door_free_s: float = FIRST_S
    exit_free_s: float = 0.0

    def come_in(self, *, together: str = "") -> list[Actor]:
        """Let a shopper come in through the door, with a companion if there is one."""
        stage = self.stage
        number = len(stage.truth.scans) + 1
        name = f"shopper-{number}"
        leader = self._actor(name, self.door_free_s, owner=name)
        party = [leader]
        if together:
            companion = self._actor(
                f"{together}-{number}", leader.now_s + 0.5, owner=name, child=together == "child"
            )
            party.append(companion)
        scan_mm = middle(stage.room.store.zones[0])
        leader.walk(scan_mm)
        leader.wait(stage.span((0.4, 0.9)))
        scan_s = leader.now_s
        stage.scans.append((scan_s, name))
        stage.truth.scans[name] = 1
        stage.truth.baskets[name] = {}
        leader.wait(stage.span((0.7, 1.2)))
        stage.truth.entered_ns[name] = stage.stamp_ns(leader.now_s)
        inner = stage.room.store.zones[0].x_mm[1] + 150.0
        leader.walk((inner, stage.span((-200.0, 200.0))))
        for companion in party[1:]:
            companion.walk((scan_mm[0] - 550.0, stage.span((-250.0, 250.0))))
            companion.wait_until(leader.now_s - 0.6)
            companion.walk((inner - 200.0, stage.span((-300.0, 300.0))))
        # The next one may follow right behind.
        self.door_free_s = leader.now_s + stage.span((-1.0, 2.5))
        return party

    def staff(self) -> Actor:
        """Let somebody of the staff come from the back, who has no token."""
        stage = self.stage
        x, y = self._back()
        actor = self._actor(STAFF, 0.5, owner=STAFF, at_mm=(x, y))
        actor.walk((x, 0.0))
        actor.wait(stage.span((0.0, 2.0)))
        return actor

    def go_back(self, actor: Actor) -> None:
        """Walk behind a gondola, out of sight, for some seconds."""
        stage = self.stage
        if not stage.floor.hide(actor.now_s, actor.now_s + HIDDEN_S):
            return
        x, y = self._back()
        stage.floor.leave(actor, (x, stage.span((-200.0, 200.0))))
        actor.walk((x, y))
        actor.wait(self.stage.span((1.0, 5.0)))
        actor.walk((x, self.stage.span((-200.0, 200.0))))

    def leave(self, actor: Actor) -> None:
        """Walk out through the exit."""
        stage = self.stage
        exit_zone = stage.room.store.zones[1]
        aside_mm = stage.span((-300.0, 300.0))
        actor.wait(stage.span((0.3, 2.0)))
        # Right behind one another, but not through one another.
        walk_s = distance_mm(actor.at_mm, ends(stage.room)[1]) / actor.speed_mm_s
        actor.wait_until(self.exit_free_s - walk_s)
        self.exit_free_s = actor.now_s + walk_s + stage.span(FOLLOW_S)
        stage.floor.leave(actor, (actor.at_mm[0] * 0.7 + exit_zone.x_mm[0] * 0.3, aside_mm))
        actor.walk((exit_zone.x_mm[0] + 300.0, aside_mm))
        actor.walk(ends(stage.room)[1])
        owner = stage.owners[actor.name]
        if owner in stage.truth.baskets:
            left_ns = stage.stamp_ns(actor.now_s)
            stage.truth.left_ns[owner] = max(left_ns, stage.truth.left_ns.get(owner, 0))

    def play(self, kind: Kind, cast: list[Actor]) -> None:
        """Play a scene with what happens beside it."""
        stage = self.stage
        crowd = stage.condition.crowd
        before = len(stage.touches)
        kind.scene(stage, cast)
        for touch in stage.touches[before:]:
            if stage.chance(crowd.knock / 2):
                scenes.jolt(stage, touch.spot.shelf, touch.at_s + stage.span((-1.5, 1.5)))
            if stage.chance(crowd.lean):
                self._lean(touch.spot.shelf, touch.at_s)
        for actor in cast:
            if stage.chance(crowd.hidden) and actor.name != STAFF:
                self.go_back(actor)

    def accompany(self, actor: Actor, before: int) -> None:
        """Let somebody stand beside who acts, reach in near, and take nothing.

        Args:
            actor: Who.
            before: Number of the first touch that may be accompanied.
        """
        stage = self.stage
        for touch in stage.touches[before:]:
            if touch.owner == stage.owners[actor.name] or touch.at_s - COME_S < actor.now_s:
                continue
            actor.wait_until(touch.at_s - COME_S)
            stage.floor.approach(actor, touch.spot, BESIDE_MM if stage.chance(0.5) else -BESIDE_MM)
            if actor.now_s < touch.at_s - REACH_S:
                scenes.reach_beside(stage, actor, touch.spot, touch.at_s)

    def _actor(
        self,
        name: str,
        now_s: float,
        *,
        owner: str,
        child: bool = False,
        at_mm: Point2 | None = None,
    ) -> Actor:
        stage = self.stage
        if at_mm is None:
            x, y = ends(stage.room)[0]
            at_mm = (x, y + stage.span((-300.0, 300.0)))
        actor = Actor(name, at_mm, now_s, stage.rng, child=child)
        stage.actors.append(actor)
        stage.owners[name] = owner
        stage.held[name] = []
        return actor

    def _back(self) -> tuple[float, float]:
        """Return a place behind the gondolas, beyond every camera's view."""
        boxes = self.stage.room.layout.boxes
        low, high = min(box[0] for box in boxes), max(box[2] for box in boxes)
        x = low - 250.0 if self.stage.chance(0.5) else high + 250.0
        return x, max(box[3] for box in boxes) + 500.0

    def _lean(self, shelf: int, at_s: float) -> None:
        """Lean on a shelf's edge: all its plates feel it, one way or the other."""
        stage = self.stage
        plates = stage.room.layout.shelf_plates[shelf]
        parts = stage.rng.normal(0.0, 1.0, len(plates))
        shares = tuple((plate, float(part)) for plate, part in zip(plates, parts, strict=True))
        start_s = at_s + stage.span((-4.0, 1.0))
        stage.press(shares, start_s, stage.span((1.0, 5.0)), stage.span((2.0, 15.0)), hold=True)


def rehearse(kind: str, condition: Condition, rng: np.random.Generator) -> Stage:
    """Plan a whole case.

    Args:
        kind: A script, or ``mixed``.
        condition: How badly everything behaves.
        rng: Decides everything.
    """
    script = {**KINDS, **APART}.get(kind)
    room = build(rng, condition.goods)
    if script is not None and script.low:
        room.run_low(rng)
    stage = Stage(room, condition, rng)
    director = Director(stage)
    if script is None:
        _mixed(director)
    else:
        _alone(director, script)
    stage.mark_undecidable()
    return stage


def _alone(director: Director, kind: Kind) -> None:
    """Play one script once or twice, perhaps with a bystander, and something ordinary."""
    stage = director.stage
    bystander = None
    if stage.chance(stage.condition.crowd.company):
        [bystander] = director.come_in()
        scenes.one(stage, [bystander])
    cast = director.come_in(together=kind.together)
    while len(cast) < kind.cast:
        cast += director.come_in()
    if kind.staff:
        cast.append(director.staff())
    for _ in range(1 if stage.chance(0.6) else 2):
        before = len(stage.touches)
        director.play(kind, cast)
        if bystander is not None:
            director.accompany(bystander, before)
    for actor in cast:
        if actor.name.startswith("shopper") and stage.chance(0.5):
            scenes.one(stage, [actor])
    _leave(director, [*cast, *([bystander] if bystander else [])])


def _mixed(director: Director) -> None:
    """Let one to six shoppers play scripts at once."""
    stage = director.stage
    parties: list[list[Actor]] = []
    count = int(stage.rng.choice(len(SHOPPERS), p=SHOPPERS)) + 1
    while sum(map(len, parties)) < count:
        together = ""
        if stage.chance(0.15):
            together = "child" if stage.chance(0.5) else "adult"
        parties.append(director.come_in(together=together))
    staff = director.staff() if stage.chance(0.2) else None
    left = {party[0].name: int(stage.rng.integers(*SCENES)) for party in parties}
    while any(left.values()):
        waiting = [party for party in parties if left[party[0].name]]
        party = min(waiting, key=lambda party: party[0].now_s)
        if party[0].now_s > LAST_S:
            break
        _scene(director, parties, party, staff, left)
    _leave(director, [actor for party in parties for actor in party] + ([staff] if staff else []))


def _scene(
    director: Director,
    parties: list[list[Actor]],
    party: list[Actor],
    staff: Actor | None,
    left: dict[str, int],
) -> None:
    """Play one scene of a mixed case; whoever idles may stand beside it."""
    stage = director.stage
    others = sorted((other for other in parties if other is not party), key=lambda o: o[0].now_s)
    fitting = {
        name: kind
        for name, kind in KINDS.items()
        if (kind.together == "" or len(party) > 1)
        and (not kind.staff or staff is not None)
        and (kind.cast == 1 or kind.together or others)
    }
    names = list(fitting)
    usual = np.array([EVERYDAY.get(name, SELDOM) for name in names])
    kind = fitting[names[int(stage.rng.choice(len(names), p=usual / usual.sum()))]]
    cast = [party[0]]
    if kind.together:
        cast.append(party[1])
    elif kind.cast > 1:
        cast.append(others[0][0])
        left[others[0][0].name] = max(left[others[0][0].name] - 1, 0)
    if kind.staff and staff is not None:
        cast.append(staff)
    left[party[0].name] -= 1
    before = len(stage.touches)
    director.play(kind, cast)
    idle = [actor for other in parties for actor in other if actor not in cast]
    if idle and stage.chance(stage.condition.crowd.company):
        director.accompany(min(idle, key=lambda actor: actor.now_s), before)


def _leave(director: Director, actors: list[Actor]) -> None:
    """Let everybody go, companions with whom they came; some right behind one another."""
    stage = director.stage
    parties = [
        [actor for actor in actors if stage.owners[actor.name] == owner]
        for owner in dict.fromkeys(stage.owners[actor.name] for actor in actors)
    ]
    # Who is done first leaves first, while others still shop.
    for party in sorted(parties, key=lambda party: max(actor.now_s for actor in party)):
        if party[0].name == STAFF:
            director.go_back(party[0])
            continue
        together_s = max(actor.now_s for actor in party)
        for actor in party:
            if len(party) > 1:
                actor.wait_until(together_s + stage.span((0.0, 0.6)))
            director.leave(actor)


def length_s(stage: Stage) -> float:
    """Return how long a planned case lasts."""
    return math.ceil(max(actor.end_s for actor in stage.actors))
