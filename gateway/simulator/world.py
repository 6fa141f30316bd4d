# SPDX-License-Identifier: Apache-2.0
"""A store that does not exist: shoppers and stock in virtual time, from one seed.

``World.step`` moves everything on by a little; nothing here knows a wall clock, a thread or a
device. What devices would see of it is worked out elsewhere.
"""

import random
from collections import deque
from dataclasses import dataclass

from gateway.domain.store import Store
from gateway.simulator.layout import Layout, Point2, distance_mm
from gateway.simulator.shoppers import DETOUR_MM, Errand, Pose, Shopper
from gateway.simulator.stock import FloatArray, Stock, Truth

ROOM_MM = 700.0
"""Nobody stands nearer to somebody else than this."""
STEP_MM = 200.0
"""Nobody makes room by less than this."""
WAY_MM = 900.0
"""Two walkers' ways in the store do not come nearer than this."""
PASS_MM = 620.0
"""Nobody passes somebody nearer than this without need."""
LANES_MM = (0.0, -120.0, 120.0, -240.0, 240.0)
DOUBLES_UP_TO_G = 500.0
"""Two units are taken at once only of products lighter than this."""


@dataclass(frozen=True, slots=True)
class Traffic:
    """How many shoppers come, and what they are like.

    Attributes:
        shoppers: How many in all; None: they keep coming.
        at_once: Greatest number in the store at the same time.
        first_s: When the first one comes: the shelves have settled by then.
        spacing_s: Least and greatest time between two arrivals.
        picks: Fewest and most picks of one visit.
        put_back: Probability that a pick is put back later.
        misplace: Every so many shoppers one puts something in a wrong place; 0: nobody does.
        touch: Probability of a reach that takes nothing, before a pick.
        apart_mm: Two shoppers never handle things nearer than this to each other.
        take_turns: Nobody walks where somebody else walks, so that cameras can tell them apart.
    """

    shoppers: int | None = 5
    at_once: int = 3
    first_s: float = 4.0
    spacing_s: tuple[float, float] = (6.0, 11.0)
    picks: tuple[int, int] = (2, 4)
    put_back: float = 0.2
    misplace: int = 4
    touch: float = 0.1
    apart_mm: float = 800.0
    take_turns: bool = True


class World:
    """The store, its stock and whoever is in it."""

    def __init__(
        self,
        store: Store,
        seed: int,
        traffic: Traffic | None = None,
        *,
        origin_ns: int = 0,
        open_doors: bool = False,
    ) -> None:
        """Fill the shelves.

        Args:
            store: Layout, products, planogram.
            seed: Decides everything.
            traffic: Who comes.
            origin_ns: The clock of the truth at the world's start.
            open_doors: Let every scan in by itself; otherwise ``door_opened`` has to be called.
        """
        self.layout = Layout(store)
        self.traffic = traffic or Traffic()
        self.truth = Truth()
        self.now_s = 0.0
        self.dt_s = 1.0 / 60.0
        self.scans: deque[tuple[str, str]] = deque()
        """Scanner and shopper of every scan that no device has sent yet."""
        self._rng = random.Random(f"world-{seed}")
        self.stock = Stock(self.layout, random.Random(f"stock-{seed}"))
        self.initial_units = self.stock.units()
        self.shoppers: list[Shopper] = []
        self._origin_ns = origin_ns
        self._open_doors = open_doors
        self._came = 0
        self._next_s: float | None = self.traffic.first_s
        self._places: dict[str, Point2] = {}
        self._ways: dict[str, tuple[Point2, Point2]] = {}
        self._waiting: str | None = None
        self._let_in: set[str] = set()

    def hold(self) -> None:
        """Keep everybody away until ``begin``."""
        self._next_s = None

    def begin(self) -> None:
        """Let shoppers come from now on, the first one soon."""
        if self._next_s is None:
            self._next_s = self.now_s + 0.5

    @property
    def over(self) -> bool:
        """Whether everybody who was to come has left."""
        return self._came == self.traffic.shoppers and not self.shoppers

    def step(self, dt_s: float) -> None:
        """Move on by ``dt_s`` seconds, a sixtieth or less for smooth hands."""
        self.dt_s = dt_s
        self.now_s += dt_s
        self._arrive()
        for shopper in self.shoppers:
            shopper.step()
        if any(shopper.done for shopper in self.shoppers):
            for shopper in self.shoppers:
                if shopper.done:
                    self._let_in.discard(shopper.name)
            self.shoppers = [shopper for shopper in self.shoppers if not shopper.done]

    def load_g(self) -> FloatArray:
        """Return the ``(plates,)`` true load now, in grams."""
        return self.stock.load_g(self.now_s)

    def poses(self) -> list[Pose]:
        """Return every body that is there now, in the order of arrival."""
        return [shopper.pose() for shopper in self.shoppers if shopper.present]

    def door_opened(self, door: str) -> None:
        """Let in whoever scanned last and waits before this door."""
        _, own, _ = self.layout.scan_point()
        if self._waiting is not None and door == own:
            self._let_in.add(self._waiting)
            self._waiting = None

    # What shoppers may ask (see shoppers.Crowd).

    def stamp_ns(self, at_s: float) -> int:
        """Return an instant of the world on the clock of the truth."""
        return self._origin_ns + round(at_s * 1e9)

    def others(self, shopper: str) -> list[Point2]:
        """Return where the other bodies are."""
        return [one.position for one in self.shoppers if one.present and one.name != shopper]

    def entry_is_free(self, shopper: str) -> bool:
        """Return whether nobody else waits at the entry."""
        way_in = self.layout.way_in()
        return not any(
            one.present
            and one.name != shopper
            and (
                one.name not in self.truth.baskets
                or (
                    one.name not in self.truth.left_ns
                    and (
                        self.layout.in_entry(one.position)
                        or distance_mm(one.position, way_in) < DETOUR_MM
                    )
                )
            )
            for one in self.shoppers
        )

    def scan(self, shopper: str) -> None:
        """Hold a token to the entry scanner."""
        scanner, _, _ = self.layout.scan_point()
        self._waiting = shopper
        self.truth.scans[shopper] = self.truth.scans.get(shopper, 0) + 1
        if scanner is not None:
            self.scans.append((scanner, shopper))
        if self._open_doors or scanner is None:
            self._let_in.add(shopper)

    def let_in(self, shopper: str) -> bool:
        """Return whether the door opened for this shopper."""
        return shopper in self._let_in

    def reserve(self, shopper: str, point: Point2 | None) -> bool:
        """Claim a place at a shelf, or give it up."""
        self._places.pop(shopper, None)
        if point is None:
            return True
        apart_mm = self.traffic.apart_mm
        if any(distance_mm(point, other) < apart_mm for other in self._places.values()):
            return False
        # Who stands about, done or waiting, only takes room.
        idle = (
            one.position
            for one in self.shoppers
            if one.present and one.name != shopper and one.name not in self._ways
        )
        if any(distance_mm(point, other) < ROOM_MM for other in idle):
            return False
        self._places[shopper] = point
        return True

    def refuge(self, shopper: str) -> Point2 | None:
        """Return the place at a shelf that is in the fewest others' way; None: stay."""
        [one] = [one for one in self.shoppers if one.name == shopper]
        others = [other for other in self.shoppers if other.present and other is not one]
        wishes = [wanted for other in others if (wanted := other.wanted())]
        taken = [place for name, place in self._places.items() if name != shopper]
        taken += [other.position for other in others]

        def burden(point: Point2) -> tuple[int, int]:
            """Count who could do nothing because of who stands there, and what they could not."""
            near = [[distance_mm(point, place) < ROOM_MM for place in wanted] for wanted in wishes]
            return sum(map(all, near)), sum(map(sum, near))

        free = [
            place.stand_mm
            for place in self.layout.plates
            if distance_mm(place.stand_mm, one.position) > STEP_MM
            and all(distance_mm(place.stand_mm, other) >= ROOM_MM for other in taken)
        ]
        best = min(
            free, key=lambda point: (burden(point), distance_mm(point, one.position)), default=None
        )
        return best if best is not None and burden(best) < burden(one.position) else None

    def claim_way(self, shopper: str, target: Point2, *, squeeze: bool) -> float | None:
        """Claim the way from where a shopper is; ways that come near each other exclude."""
        if not self.traffic.take_turns:
            return 0.0
        [start] = [one.position for one in self.shoppers if one.name == shopper]
        if any(_near((start, target), way) for way in self._ways.values()):
            return None
        lane_mm, room_mm = self._lane(shopper, start, target)
        if room_mm < PASS_MM and not squeeze:
            return None
        self._ways[shopper] = (start, target)
        return lane_mm

    def _lane(self, shopper: str, start: Point2, target: Point2) -> tuple[float, float]:
        """Return the line beside the aisle's middle with most room to whoever stands, and that."""
        along = self.layout.along
        low = min(start[along], target[along]) - PASS_MM / 2
        high = max(start[along], target[along]) + PASS_MM / 2
        middle = self.layout.middle_mm[1 - along]
        asides = [
            one.position[1 - along] - middle
            for one in self.shoppers
            if one.present and one.name != shopper and low < one.position[along] < high
        ]

        def room_mm(lane_mm: float) -> float:
            return min((abs(aside - lane_mm) for aside in asides), default=9_999.0)

        best = max(LANES_MM, key=room_mm)
        return best, room_mm(best)

    def release_way(self, shopper: str) -> None:
        """Give a way up."""
        self._ways.pop(shopper, None)

    def _arrive(self) -> None:
        traffic = self.traffic
        if self._came == traffic.shoppers or self._next_s is None or self.now_s < self._next_s:
            return
        if len(self.shoppers) >= traffic.at_once:
            return
        self._came += 1
        self._next_s = self.now_s + self._rng.uniform(*traffic.spacing_s)
        misplaces = traffic.misplace > 0 and self._came % traffic.misplace == 2 % traffic.misplace
        rng = random.Random(self._rng.random())
        errands = self._plan(rng, misplaces=misplaces)
        self.shoppers.append(Shopper(f"shopper-{self._came}", self, errands, rng))

    def _plan(self, rng: random.Random, *, misplaces: bool) -> list[Errand]:
        """Draw what a shopper does; put-backs are of things picked in the same visit."""
        stocked = [
            number
            for number, place in enumerate(self.layout.plates)
            if place.gtin is not None and place.facing[0] == number
        ]
        wanted = rng.randint(*self.traffic.picks)
        errands: list[Errand] = []
        returns: list[Errand] = []
        for plate in rng.sample(stocked, min(wanted, len(stocked))):
            gtin = self.layout.plates[plate].gtin
            assert gtin is not None
            double = self.stock.true_unit_g[gtin] < DOUBLES_UP_TO_G and rng.random() < 0.35
            if rng.random() < self.traffic.touch:
                errands.append(Errand("touch", rng.choice(stocked), ""))
            errands.append(Errand("pick", plate, gtin, 2 if double else 1))
            if rng.random() < self.traffic.put_back:
                returns.append(Errand("put-back", plate, gtin))
        returns = returns[: wanted - 1 - misplaces]  # Nobody leaves with nothing.
        if misplaces and errands:
            picks = [errand for errand in errands if errand.kind == "pick"]
            clear = [errand for errand in picks if self._unlike(errand, picks)]
            one = rng.choice(clear or picks)
            returns = [errand for errand in returns if errand.gtin != one.gtin]
            wrong = self._wrong_place(rng, one, {errand.plate for errand in picks}, stocked)
            if wrong is not None:
                errands.remove(one)
                errands.insert(0, one)
                returns.append(Errand("put-back", wrong, one.gtin))
        return errands + returns

    def _unlike(self, pick: Errand, picks: list[Errand]) -> bool:
        """Return whether a unit weighs clearly more or less than one or two of the others."""
        weight = self.stock.true_unit_g[pick.gtin]
        others = [self.stock.true_unit_g[one.gtin] for one in picks if one.gtin != pick.gtin]
        return all(abs(weight / (n * other) - 1) > 0.1 for other in others for n in (1, 2))

    def _wrong_place(
        self, rng: random.Random, pick: Errand, taken: set[int], stocked: list[int]
    ) -> int | None:
        """Return a plate of another, clearly different product."""
        weight = self.stock.true_unit_g[pick.gtin]
        fitting = []
        for plate in stocked:
            gtin = self.layout.plates[plate].gtin
            if plate in taken or gtin is None or len(self.layout.plates[plate].facing) > 1:
                continue
            ratio = weight / self.stock.true_unit_g[gtin]
            # Not near one or two of what belongs there.
            if all(abs(ratio / units - 1.0) > 0.15 for units in (1, 2, 3)):
                fitting.append(plate)
        return rng.choice(fitting) if fitting else None


def _near(one: tuple[Point2, Point2], other: tuple[Point2, Point2]) -> bool:
    """Return whether the boxes around two ways come nearer than ``WAY_MM``."""
    return all(
        min(one[0][axis], one[1][axis]) - WAY_MM < max(other[0][axis], other[1][axis])
        and min(other[0][axis], other[1][axis]) - WAY_MM < max(one[0][axis], one[1][axis])
        for axis in (0, 1)
    )
