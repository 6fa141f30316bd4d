# SPDX-License-Identifier: Apache-2.0
"""What happens in a case, in true grams and millimetres, and what an honest witness notes.

Scripts tell the stage who does what; it moves units, lets plates feel hands, and keeps the truth.
Loads are sampled at the scales' rate for a whole case at once.
"""

import math
from dataclasses import dataclass, field
from typing import Final, Literal, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from gateway.simulator.exam.actors import Actor, Reach
from gateway.simulator.exam.conditions import Condition, Span
from gateway.simulator.exam.floor import Floor
from gateway.simulator.exam.room import Room, Spot, Unit
from gateway.simulator.stock import TrueAct, Truth

Floats = npt.NDArray[np.float64]

START_NS: Final = 1_000_000_000
"""The case's beginning on the gateway's clock."""
RATE_HZ: Final = 60
LONGEST_S: Final = 240.0
SAME_S: Final = 0.5
"""Two hands on the same product within this time cannot be told apart by any observer."""


def seconds(at_ns: int) -> float:
    """Return an instant of the gateway's clock as seconds of the case."""
    return (at_ns - START_NS) / 1e9


class Pace(NamedTuple):
    """How a hand works: how long it holds before the weight changes, and how long that takes."""

    hold_s: Span
    change_s: Span


BRISK: Final = Pace((0.06, 0.25), (0.12, 0.4))
EASY: Final = Pace((0.1, 0.5), (0.2, 0.7))
SLOW: Final = Pace((0.3, 0.8), (1.5, 4.0))


class Held(NamedTuple):
    """A unit in somebody's hands or bag, and on whose bill it is."""

    gtin: str
    weight_g: float
    owner: str


class Shake(NamedTuple):
    """Plates that tremble from a time on, dying away."""

    plates: tuple[int, ...]
    at_s: float
    amplitude_g: float
    fade_s: float


class Touch(NamedTuple):
    """A hand that changed a weight: what undecidable acts are found by."""

    act: int
    owner: str
    gtin: str
    spot: Spot
    at_s: float


@dataclass(slots=True)
class Stage:
    """One case while it is planned."""

    room: Room
    condition: Condition
    rng: np.random.Generator
    loads_g: Floats = field(init=False)
    floor: Floor = field(init=False)
    actors: list[Actor] = field(default_factory=list)
    owners: dict[str, str] = field(default_factory=dict)
    """Whose cart an actor's hands fill: of a group, whoever scanned. Staff has none."""
    held: dict[str, list[Held]] = field(default_factory=dict)
    truth: Truth = field(default_factory=Truth)
    scans: list[tuple[float, str]] = field(default_factory=list)
    shakes: list[Shake] = field(default_factory=list)
    touches: list[Touch] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.floor = Floor(self.room, self.rng, self.actors)
        self.loads_g = np.zeros((int(LONGEST_S * RATE_HZ), len(self.room.layout.plates)))
        for unit in self.room.units:
            for plate, share in unit.shares:
                self.loads_g[:, plate] += share * unit.weight_g

    # Random numbers.

    def span(self, limits: Span) -> float:
        """Return a number between two."""
        return float(self.rng.uniform(*limits))

    def chance(self, probability: float) -> bool:
        """Return whether something that happens with this probability does."""
        return bool(self.rng.random() < probability)

    # Hands.

    def hand(
        self,
        actor: Actor,
        spot: Spot,
        work_s: float,
        *,
        at_s: float | None = None,
        side: int | None = None,
        wander_mm: float = 8.0,
    ) -> tuple[float, int]:
        """Plan a hand in a shelf; return when it arrives, and which hand it is.

        Args:
            actor: Whose; stands there.
            spot: Where; the hand goes where the product is.
            work_s: How long it stays.
            at_s: When it arrives, if that is not too early.
            side: 0 left, 1 right.
            wander_mm: How much it moves about.
        """
        out_s, back_s = self.span((0.4, 0.75)), self.span((0.4, 0.7))
        if at_s is not None:
            actor.wait_until(at_s - out_s)
        side = int(self.rng.integers(2)) if side is None else side
        leaves = actor.now_s
        arrives = leaves + out_s
        target = self.room.point(
            Spot(spot.shelf, spot.at_mm + float(self.rng.normal(0.0, 12.0))),
            inward_mm=self.span((80.0, 260.0)),
            above_mm=self.span((60.0, 160.0)),
        )
        times = (leaves, arrives, arrives + work_s, arrives + work_s + back_s)
        actor.reach(Reach(side, times, target, wander_mm, inside=True))
        brush_g = self.condition.scales.brush_g
        for plate in self._beside(spot):
            for start in (arrives - 0.15, arrives + work_s):
                force_g = float(self.rng.normal(0.0, brush_g))
                self.press(((plate, 1.0),), start, self.span((0.15, 0.35)), force_g)
        return arrives, side

    def take(
        self,
        actor: Actor,
        units: list[Unit],
        pace: Pace = EASY,
        *,
        at_s: float | None = None,
        side: int | None = None,
        lifted: float = 0.0,
    ) -> float:
        """Take units with one hand; return when their weight began to change.

        Args:
            actor: Who; stands there.
            units: What; nobody may have taken it.
            pace: How.
            at_s: When the hand arrives, if that is not too early.
            side: 0 left, 1 right.
            lifted: Share of the weight that was off the plate before: held, not yet taken.
        """
        assert all(unit.gone_s == math.inf for unit in units), "a unit is taken once"
        spot = Spot(units[0].shelf, units[0].at_mm)
        hold_s, change_s = self.span(pace.hold_s), self.span(pace.change_s)
        work_s = hold_s + change_s + self.span((0.0, 0.15))
        arrives, _ = self.hand(actor, spot, work_s, at_s=at_s, side=side)
        lift_s = arrives + hold_s
        owner = self.owners.get(actor.name, actor.name)
        for unit in units:
            unit.gone_s = lift_s
            self.change(unit, lift_s, change_s, sign=-1, begun=lifted)
            self.held[actor.name].append(Held(unit.gtin, unit.weight_g, owner))
        self._grip(units, arrives, hold_s)
        self._note(actor, owner, "pick", units, (arrives, lift_s, lift_s + change_s))
        return lift_s

    def put(
        self,
        actor: Actor,
        held: list[Held],
        spot: Spot,
        pace: Pace = EASY,
        *,
        at_s: float | None = None,
    ) -> list[Unit]:
        """Put held units of one bill down at a spot; return them as they lie there."""
        hold_s, change_s = self.span(pace.hold_s), self.span(pace.change_s)
        work_s = hold_s + change_s + self.span((0.0, 0.2))
        arrives, _ = self.hand(actor, spot, work_s, at_s=at_s)
        down_s = arrives + hold_s
        units = []
        for one in held:
            self.held[actor.name].remove(one)
            width_mm = self.room.true_products[one.gtin].width_mm
            shares = self.room.shares(spot, width_mm, self.rng)
            unit = Unit(one.gtin, one.weight_g, spot.shelf, spot.at_mm, shares, down_s + change_s)
            self.room.units.append(unit)
            self.change(unit, down_s, change_s, sign=1)
            units.append(unit)
        self._grip(units, down_s + change_s, 0.2)
        self._note(actor, held[0].owner, "put-back", units, (arrives, down_s, down_s + change_s))
        for other in self.actors:
            if other.name == held[0].owner:
                other.wait_until(actor.now_s)  # A receipt cannot know what comes after it.
        return units

    def lay_down(self, actor: Actor) -> None:
        """Reach to the floor beside the feet."""
        x, y = actor.at_mm
        floor = (x + self.span((-150.0, 150.0)), y + self.span((-150.0, 150.0)), 120.0)
        self._gesture(actor, floor)

    def hand_over(self, giver: Actor, taker: Actor, held: Held) -> None:
        """Give a unit to somebody who stands near; it stays on the bill of who took it."""
        at_s = max(giver.now_s, taker.now_s) + 0.6
        x = (giver.at_mm[0] + taker.at_mm[0]) / 2
        y = (giver.at_mm[1] + taker.at_mm[1]) / 2
        for actor in (giver, taker):
            actor.wait_until(at_s - 0.5)
            self._gesture(actor, (x, y, 1_050.0))
        self.held[giver.name].remove(held)
        self.held[taker.name].append(held)

    def _gesture(self, actor: Actor, target: tuple[float, float, float]) -> None:
        now = actor.now_s
        times = (now, now + 0.5, now + 0.5 + self.span((0.2, 0.5)), now + 1.5)
        actor.reach(Reach(int(self.rng.integers(2)), times, target, 10.0, inside=False))

    # Forces.

    def change(
        self, unit: Unit, start_s: float, for_s: float, *, sign: int, begun: float = 0.0
    ) -> None:
        """Let a unit's weight come or go, smoothly or in fits, and the plates ring after it."""
        first = self.index(start_s)
        count = max(int(for_s * RATE_HZ), 2)
        u = np.linspace(0.0, 1.0, count)
        profile = u * u * (3.0 - 2.0 * u)
        if for_s > 1.0:
            # Slowly means in fits: it stops, gives a little, stops again.
            pushes = np.repeat(self.rng.gamma(0.7, 1.0, count // 8 + 1), 8)[:count]
            profile = np.cumsum(pushes) / pushes.sum()
        profile = begun + (1.0 - begun) * profile
        if sign < 0 and not begun and self.chance(0.3):
            profile = profile - self.span((0.0, 0.15)) * np.sin(math.pi * u)
        ring_s = 0.5
        t = np.arange(int(ring_s * RATE_HZ)) / RATE_HZ
        ring = np.sin(2 * math.pi * self.span((6.0, 11.0)) * t) * np.exp(-t / 0.12)
        size = self.span((0.01, 0.06))
        for plate, share in unit.shares:
            delta = sign * share * unit.weight_g
            self.loads_g[first : first + count, plate] += delta * profile
            self.loads_g[first + count :, plate] += delta
            self.loads_g[first + count : first + count + len(ring), plate] += size * delta * ring

    def press(
        self,
        shares: tuple[tuple[int, float], ...],
        start_s: float,
        for_s: float,
        force_g: float,
        *,
        hold: bool = False,
        release: bool = True,
    ) -> None:
        """Press on plates for a while: a bump, or with ``hold`` a restless plateau.

        Without ``release`` the plateau ends at once: something else goes on from there.
        """
        first = self.index(start_s)
        count = max(int(for_s * RATE_HZ), 2)
        u = np.linspace(0.0, 1.0, count)
        shape = np.sin(math.pi * u)
        if hold:
            edge = max(int(0.25 * RATE_HZ), 1)
            shape = np.clip(np.arange(count) / edge, 0.0, 1.0)
            if release:
                shape = np.minimum(shape, shape[::-1])
            t = np.arange(count) / RATE_HZ
            sway = sum(
                self.span((0.02, 0.12)) * np.sin(2 * math.pi * f * t + self.span((0.0, 6.28)))
                for f in (0.35, 0.9, 2.1)
            )
            shape = shape * (1.0 + sway)
        for plate, share in shares:
            self.loads_g[first : first + count, plate] += share * force_g * shape

    def shake(self, shelf: int, at_s: float, amplitude_g: float, fade_s: float) -> None:
        """Let all plates of a gondola tremble."""
        plates = tuple(self.room.gondola_plates(shelf))
        self.shakes.append(Shake(plates, at_s, amplitude_g, fade_s))

    def index(self, at_s: float) -> int:
        """Return the number of the sample at a time."""
        return max(int(at_s * RATE_HZ), 0)

    def _beside(self, spot: Spot) -> list[int]:
        plates = self.room.layout.shelf_plates[spot.shelf]
        plate = self.room.plate_of(spot)
        return [other for other in (plate - 1, plate + 1) if other in plates]

    def _grip(self, units: list[Unit], at_s: float, for_s: float) -> None:
        """Let a hand lean on what it grips, and shake the shelf."""
        force_g = self.span((-40.0, 150.0))
        self.press(units[0].shares, at_s, min(max(for_s, 0.08), 0.6), force_g)
        self.shake(
            units[0].shelf, at_s, self.condition.scales.shake_g * self.span((0.3, 1.5)), 0.35
        )

    # Truth.

    def stamp_ns(self, at_s: float) -> int:
        """Return an instant of the case on the gateway's clock."""
        return START_NS + round(at_s * 1e9)

    def _note(
        self,
        actor: Actor,
        owner: str,
        direction: Literal["pick", "put-back"],
        units: list[Unit],
        times_s: tuple[float, float, float],
    ) -> None:
        """Write down an act for each product."""
        start_s, lift_s, end_s = times_s
        for gtin in dict.fromkeys(unit.gtin for unit in units):
            moved = [unit for unit in units if unit.gtin == gtin]
            plates = sorted({plate for unit in moved for plate, _ in unit.shares})
            places = self.room.layout.plates
            home = {places[plate].gtin for plate in plates}
            spot = Spot(moved[0].shelf, moved[0].at_mm)
            if direction == "pick":
                self.touches.append(Touch(len(self.truth.acts), owner, gtin, spot, lift_s))
            self.truth.note(
                TrueAct(
                    shopper=owner,
                    gtin=gtin,
                    quantity=len(moved),
                    direction=direction,
                    plates=tuple(places[plate].name for plate in plates),
                    start_ns=self.stamp_ns(start_s),
                    end_ns=self.stamp_ns(end_s),
                    misplaced=gtin not in home,
                    lift_ns=self.stamp_ns(lift_s),
                    hand=actor.name if actor.name != owner else None,
                )
            )

    def mark_undecidable(self) -> None:
        """Mark picks of one product from one plate by two people in the same half second."""
        marked = set()
        for one in self.touches:
            for other in self.touches:
                same = one.gtin == other.gtin and one.spot.shelf == other.spot.shelf
                near = abs(one.spot.at_mm - other.spot.at_mm) < self.room.plate_mm
                if (
                    same
                    and near
                    and one.owner != other.owner
                    and abs(one.at_s - other.at_s) < SAME_S
                ):
                    marked |= {one.act, other.act}
        for act in marked:
            marking = self.truth.acts[act]
            self.truth.acts[act] = msgspec.structs.replace(marking, undecidable=True)
