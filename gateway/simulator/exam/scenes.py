# SPDX-License-Identifier: Apache-2.0
"""The scripts: what people do at shelves that makes it hard to tell who took what.

Each scene takes the stage and its cast, moves the actors' clocks on, and leaves acts in the truth.
"""

from collections.abc import Callable
from typing import Final, NamedTuple

from gateway.simulator.exam.actors import Actor
from gateway.simulator.exam.room import Spot, Unit
from gateway.simulator.exam.stage import BRISK, SLOW, Held, Pace, Stage

Cast = list[Actor]
Scene = Callable[[Stage, Cast], None]

ALIKE: Final = 0.04
"""Two weights within this part of each other are hard to tell apart."""
SIDE_REACH_MM: Final = 450.0
"""How far to the side one reaches from where one stands."""


class Kind(NamedTuple):
    """A script.

    Attributes:
        scene: What is played.
        cast: How many shoppers it takes.
        together: The second comes on the first one's token: ``adult`` or ``child``.
        staff: Somebody of the staff takes part, last in the cast.
        low: Of some products hardly any are left, and plates weigh nothing when they are empty.
    """

    scene: Scene
    cast: int = 1
    together: str = ""
    staff: bool = False
    low: bool = False


# What to take.


def some(stage: Stage, at_s: float, count: int = 1, near: Unit | None = None) -> list[Unit]:
    """Return units of one product in its place: of any, or of another one near a unit."""
    room = stage.room
    gtins = list(room.true_products)
    stage.rng.shuffle(gtins)
    best: list[Unit] = []
    for gtin in gtins:
        home = room.home(gtin)
        if near is not None and (
            gtin == near.gtin
            or home.shelf != near.shelf
            or not 60.0 < abs(home.at_mm - near.at_mm) < SIDE_REACH_MM
        ):
            continue
        units = room.standing(gtin, at_s, home.shelf)[:count]
        if len(units) > len(best):
            best = units
        if len(best) == count and (len(room.standing(gtin, at_s, home.shelf)) > count):
            return best
    return best


def spot_of(unit: Unit) -> Spot:
    """Return where a unit stands."""
    return Spot(unit.shelf, unit.at_mm)


def alike(stage: Stage, at_s: float, ratio: float) -> tuple[list[Unit], Spot] | None:
    """Return units of a product and the place of one beside it that weighs ``ratio`` as much."""
    room = stage.room
    gtins = list(room.true_products)
    stage.rng.shuffle(gtins)
    products = room.store.products
    for gtin in gtins:
        home = room.home(gtin)
        units = room.standing(gtin, at_s, home.shelf)
        for other in gtins:
            place = room.home(other)
            if other == gtin or place.shelf != home.shelf or not units:
                continue
            beside = abs(place.at_mm - home.at_mm) < 2.2 * room.plate_mm
            if beside and abs(products[other].unit_g / products[gtin].unit_g / ratio - 1.0) < ALIKE:
                return units, place
    return None


def _one(stage: Stage, actor: Actor) -> list[Unit]:
    units = some(stage, actor.now_s)
    stage.floor.approach(actor, spot_of(units[0]))
    return units


# One shopper.


def one(stage: Stage, cast: Cast) -> None:
    """One item."""
    stage.take(cast[0], _one(stage, cast[0]))


def row(stage: Stage, cast: Cast) -> None:
    """Several items quickly, one after another, from one place."""
    (actor,) = cast
    units = _one(stage, actor)
    first = units[0]
    stage.take(actor, units, BRISK)
    for _ in range(int(stage.rng.integers(2, 4))):
        more = some(stage, actor.now_s, near=first) or some(stage, actor.now_s)
        if more[0].shelf != first.shelf:
            return
        actor.wait(stage.span((0.0, 0.3)))
        stage.take(actor, more[:1], BRISK)


def several_same(stage: Stage, cast: Cast) -> None:
    """Two or three of one product at once."""
    (actor,) = cast
    units = some(stage, actor.now_s, int(stage.rng.integers(2, 4)))
    stage.floor.approach(actor, spot_of(units[0]))
    stage.take(actor, units)


def several_different(stage: Stage, cast: Cast) -> None:
    """Two products at once, one in each hand."""
    (actor,) = cast
    units = _one(stage, actor)
    other = some(stage, actor.now_s, near=units[0])
    both = sorted([units[0], *other[:1]], key=lambda unit: unit.at_mm)
    began_s = actor.now_s
    lift_s = 0.0
    ends_s = []
    for side, unit in enumerate(both):
        actor.now_s = began_s
        at_s = lift_s + stage.span((-0.2, 0.8)) if side else None
        lift_s = stage.take(actor, [unit], BRISK, at_s=at_s, side=side)
        ends_s.append(actor.now_s)
    actor.wait_until(max(ends_s))


def near_weights(stage: Stage, cast: Cast) -> None:
    """A product beside one of nearly the same weight."""
    (actor,) = cast
    found = alike(stage, actor.now_s, 1.0)
    units = found[0][:1] if found else some(stage, actor.now_s)
    stage.floor.approach(actor, spot_of(units[0]))
    stage.take(actor, units)


def large_or_two_small(stage: Stage, cast: Cast) -> None:
    """A large bottle beside small ones of half its weight: one of it, or two of them."""
    (actor,) = cast
    double = stage.chance(0.5)
    found = alike(stage, actor.now_s, 2.0 if double else 0.5)
    units = found[0][: 2 if double else 1] if found else some(stage, actor.now_s, 2)
    stage.floor.approach(actor, spot_of(units[0]))
    stage.take(actor, units)


def put_back(stage: Stage, cast: Cast) -> None:
    """Taken, looked at, and put back in its place."""
    (actor,) = cast
    units = _one(stage, actor)
    before = spot_of(units[0])
    stage.take(actor, units)
    held = stage.held[actor.name][-1:]
    actor.wait(stage.span((0.6, 3.0)))
    aside = float(stage.rng.normal(0.0, 20.0))
    stage.put(actor, held, Spot(before.shelf, before.at_mm + aside))
    if stage.chance(0.5):
        actor.wait(stage.span((0.2, 0.8)))
        stage.take(actor, some(stage, actor.now_s, near=units[0]) or _one(stage, actor))


def misplace(stage: Stage, cast: Cast) -> Unit:
    """Taken, and put back in a wrong place; often where the neighbour weighs the same."""
    actor = cast[0]
    found = alike(stage, actor.now_s, 1.0) if stage.chance(0.5) else None
    units = found[0][:1] if found else some(stage, actor.now_s)
    stage.floor.approach(actor, spot_of(units[0]))
    stage.take(actor, units)
    held = stage.held[actor.name][-1:]
    wrong = found[1] if found else stage.room.home(_other(stage, held[0].gtin))
    if wrong.shelf != units[0].shelf or abs(wrong.at_mm - units[0].at_mm) > SIDE_REACH_MM:
        stage.floor.approach(actor, wrong)
    actor.wait(stage.span((0.5, 2.0)))
    return stage.put(actor, held, wrong)[0]


def _other(stage: Stage, gtin: str) -> str:
    others = [other for other in stage.room.true_products if other != gtin]
    return others[int(stage.rng.integers(len(others)))]


def misplace_alone(stage: Stage, cast: Cast) -> None:
    """Put back in a wrong place."""
    misplace(stage, cast)


def touch(stage: Stage, cast: Cast) -> None:
    """Touched, tilted, and left."""
    (actor,) = cast
    units = _one(stage, actor)
    for _ in range(int(stage.rng.integers(1, 3))):
        work_s = stage.span((0.4, 2.0))
        arrives, _ = stage.hand(actor, spot_of(units[0]), work_s)
        lift = -units[0].weight_g * stage.span((0.1, 0.9))
        force_g = lift if stage.chance(0.5) else stage.span((30.0, 400.0))
        stage.press(units[0].shares, arrives + 0.05, work_s - 0.1, force_g, hold=True)
        stage.shake(units[0].shelf, arrives, stage.condition.scales.shake_g, 0.3)


def held_long(stage: Stage, cast: Cast) -> None:
    """Held on the plate for ten seconds, then taken or left."""
    (actor,) = cast
    units = _one(stage, actor)
    hold_s, lifted = stage.span((8.0, 12.0)), stage.span((0.2, 0.8))
    force_g = -units[0].weight_g * lifted
    if stage.chance(0.5):
        lift_s = stage.take(actor, units, Pace((hold_s, hold_s), BRISK.change_s), lifted=lifted)
        since_s, release = lift_s - hold_s, False
    else:
        since_s, _ = stage.hand(actor, spot_of(units[0]), hold_s, wander_mm=25.0)
        release = True
    stage.press(units[0].shares, since_s, hold_s, force_g, hold=True, release=release)


def slowly(stage: Stage, cast: Cast) -> None:
    """Taken very slowly."""
    stage.take(cast[0], _one(stage, cast[0]), SLOW)


def bag(stage: Stage, cast: Cast) -> None:
    """A bag that leans on three plates."""
    (actor,) = cast
    products = stage.room.store.products
    bags = [gtin for gtin, product in products.items() if product.name.startswith("Bag")]
    units = stage.room.standing(bags[int(stage.rng.integers(len(bags)))], actor.now_s)
    if not units:
        return
    stage.floor.approach(actor, spot_of(units[0]))
    stage.take(actor, units[: int(stage.rng.integers(1, 3))])
    if stage.chance(0.4):
        actor.wait(stage.span((0.5, 2.0)))
        stage.put(actor, stage.held[actor.name][-1:], spot_of(units[0]))


def rest(stage: Stage, cast: Cast) -> None:
    """A hand rests on the shelf; often the other one takes something meanwhile."""
    (actor,) = cast
    units = _one(stage, actor)
    spot = spot_of(units[0])
    rest_s = stage.span((2.5, 8.0))
    side = int(stage.rng.integers(2))
    leant = Spot(spot.shelf, spot.at_mm + (-220.0 if side == 0 else 220.0))
    began_s = actor.now_s
    arrives, _ = stage.hand(actor, leant, rest_s, side=side, wander_mm=15.0)
    shares = stage.room.shares(leant, 120.0, stage.rng)
    stage.press(shares, arrives, rest_s, stage.span((150.0, 1_500.0)), hold=True)
    ends_s = actor.now_s
    if stage.chance(0.6):
        actor.now_s = began_s
        stage.take(actor, units, at_s=arrives + stage.span((0.8, rest_s - 1.0)), side=1 - side)
    actor.wait_until(ends_s)


def knock(stage: Stage, cast: Cast) -> None:
    """Somebody knocks against a shelf, and something is taken before or after."""
    (actor,) = cast
    units = _one(stage, actor)
    jolt(stage, units[0].shelf, actor.now_s + stage.span((-1.0, 0.5)))
    if stage.chance(0.7):
        actor.wait(stage.span((0.0, 1.5)))
        stage.take(actor, units)


def jolt(stage: Stage, shelf: int, at_s: float) -> None:
    """Knock a gondola: it rings, and what leans on two plates shifts a little."""
    stage.shake(shelf, at_s, stage.span((40.0, 250.0)), stage.span((0.3, 0.9)))
    plates = stage.room.gondola_plates(shelf)
    first = stage.index(at_s)
    for _ in range(int(stage.rng.integers(0, 3))):
        plate = plates[int(stage.rng.integers(len(plates) - 1))]
        if stage.room.layout.plates[plate].shelf == stage.room.layout.plates[plate + 1].shelf:
            shifted_g = stage.span((-12.0, 12.0))
            stage.loads_g[first:, plate] += shifted_g
            stage.loads_g[first:, plate + 1] -= shifted_g


# Two shoppers.


def _meet(
    stage: Stage, cast: Cast, spots: tuple[Spot, Spot], asides_mm: tuple[float, float]
) -> float:
    """Bring two before spots; return when both are there."""
    for actor, spot, aside_mm in zip(cast[:2], spots, asides_mm, strict=True):
        stage.floor.approach(actor, spot, aside_mm, beside=cast)
    meet_s = max(actor.now_s for actor in cast[:2]) + 0.8
    for actor in cast[:2]:
        actor.wait_until(meet_s - 0.7)
    return meet_s


def same_moment(stage: Stage, cast: Cast) -> None:
    """Two at the same plate at the same moment; one of them may only touch."""
    units = some(stage, max(actor.now_s for actor in cast), 2)
    spot = spot_of(units[0])
    meet_s = _meet(stage, cast, (spot, spot), (-240.0, 240.0))
    stage.take(cast[0], units[:1], BRISK, at_s=meet_s)
    apart_s = stage.span((0.0, 1.6))
    if len(units) > 1 and stage.chance(0.7):
        stage.take(cast[1], units[1:2], BRISK, at_s=meet_s + apart_s)
    else:
        beside = Spot(spot.shelf, spot.at_mm + stage.room.plate_mm)
        stage.hand(cast[1], beside, stage.span((0.3, 0.8)), at_s=meet_s + 0.5 * apart_s)


def _two_products(stage: Stage, cast: Cast, apart_mm: float) -> tuple[list[Unit], list[Unit]]:
    """Return two products on one shelf, about so far apart, from left to right."""
    now_s = max(actor.now_s for actor in cast)
    best: tuple[float, list[Unit], list[Unit]] | None = None
    for _ in range(12):
        left = some(stage, now_s)
        right = some(stage, now_s, near=left[0])
        if not right:
            continue
        gap = right[0].at_mm - left[0].at_mm
        pair = (left, right) if gap > 0 else (right, left)
        off_mm = abs(abs(gap) - apart_mm)
        if best is None or off_mm < best[0]:
            best = (off_mm, *pair)
    assert best is not None, "shelves hold several products"
    return best[1], best[2]


def crossed(stage: Stage, cast: Cast) -> None:
    """Arms crossed: each takes what stands before the other."""
    left, right = _two_products(stage, cast, 450.0)
    spots = (spot_of(left[0]), spot_of(right[0]))
    meet_s = _meet(stage, cast, spots, (0.0, 0.0))
    stage.take(cast[0], right, at_s=meet_s)
    stage.take(cast[1], left, at_s=meet_s + stage.span((0.0, 2.5)))


def shoulders(stage: Stage, cast: Cast) -> None:
    """Shoulder to shoulder, each taking from their own side."""
    left, right = _two_products(stage, cast, 250.0)
    spots = (spot_of(left[0]), spot_of(right[0]))
    meet_s = _meet(stage, cast, spots, (-120.0, 120.0))
    stage.take(cast[0], left, at_s=meet_s)
    stage.take(cast[1], right, at_s=meet_s + stage.span((0.0, 2.5)))


def reached_past(stage: Stage, cast: Cast) -> None:
    """One takes; the other stands close and reaches, and takes nothing."""
    units = some(stage, max(actor.now_s for actor in cast))
    spot = spot_of(units[0])
    meet_s = _meet(stage, cast, (spot, spot), (-60.0, 400.0))
    lift_s = stage.take(cast[0], units, at_s=meet_s)
    reach_beside(stage, cast[1], spot, lift_s)


def reach_beside(stage: Stage, actor: Actor, spot: Spot, lift_s: float) -> None:
    """Let a hand be in the shelf near a spot at a time, touch, and leave with nothing."""
    side = 1.0 if stage.floor.along_mm(actor, spot.shelf) > spot.at_mm else -1.0
    wide_mm = len(stage.room.layout.shelf_plates[spot.shelf]) * stage.room.plate_mm
    at_mm = spot.at_mm + side * stage.span((200.0, 450.0))
    beside = Spot(spot.shelf, min(max(at_mm, 30.0), wide_mm - 30.0))
    work_s = stage.span((0.4, 1.6))
    arrives, _ = stage.hand(actor, beside, work_s, at_s=lift_s - stage.span((0.0, work_s)))
    shares = stage.room.shares(beside, 70.0, stage.rng)
    stage.press(shares, arrives, work_s, stage.span((-25.0, 60.0)))


def handed_over(stage: Stage, cast: Cast) -> None:
    """Handed to another, who keeps it or puts it back; the bill is the taker's."""
    giver, taker = cast[:2]
    units = _one(stage, giver)
    spot = spot_of(units[0])
    stage.take(giver, units)
    held = stage.held[giver.name][-1]
    stage.floor.approach(taker, spot, 550.0, beside=cast)
    stage.hand_over(giver, taker, held)
    if stage.chance(0.5):
        stage.floor.approach(taker, spot)
        stage.put(taker, [held], spot)
    elif stage.chance(0.5):
        stage.take(taker, some(stage, taker.now_s, near=units[0]) or _one(stage, taker))


def on_the_floor(stage: Stage, cast: Cast) -> None:
    """Laid on the floor; the other may pick it up and put it back on the shelf."""
    dropper, finder = cast[:2]
    units = _one(stage, dropper)
    spot = spot_of(units[0])
    stage.take(dropper, units)
    held = stage.held[dropper.name][-1]
    dropper.wait(stage.span((0.3, 1.5)))
    stage.lay_down(dropper)
    stage.held[dropper.name].remove(held)
    if stage.chance(0.5):
        finder.wait_until(dropper.now_s + stage.span((0.5, 3.0)))
        stage.floor.approach(finder, spot)
        stage.lay_down(finder)
        stage.held[finder.name].append(held)
        stage.put(finder, [held], spot)
    else:
        stage.take(finder, _one(stage, finder))


def misplaced_then_taken(stage: Stage, cast: Cast) -> None:
    """Put back in a wrong place, and taken from there by somebody else."""
    unit = misplace(stage, cast[:1])
    cast[1].wait_until(cast[0].now_s + stage.span((0.0, 2.0)))
    stage.floor.approach(cast[1], spot_of(unit), 300.0)
    stage.take(cast[1], [unit])


def side_by_side(stage: Stage, cast: Cast) -> None:
    """Two who came on one token, or a parent and a child: each takes something at one shelf."""
    left, right = _two_products(stage, cast, 400.0)
    pairs = [(cast[0], left), (cast[1], right)]
    if stage.chance(0.5):
        pairs = pairs[1:]  # Only the one without a token takes.
    meet_s = _meet(stage, cast, (spot_of(left[0]), spot_of(right[0])), (-100.0, 100.0))
    for actor, units in pairs:
        stage.take(actor, units, at_s=meet_s + stage.span((0.0, 4.0)))


def restock(stage: Stage, cast: Cast) -> None:
    """Staff fills a facing while somebody shops there."""
    shopper, staff = cast[0], cast[-1]
    gtin = _other(stage, "")
    home = stage.room.home(gtin)
    stage.floor.approach(staff, home, -300.0)
    for _ in range(int(stage.rng.integers(2, 5))):
        weight_g = stage.room.true_products[gtin].weight_g
        fresh = [
            Held(
                gtin,
                weight_g * (1.0 + float(stage.rng.normal(0, stage.room.goods.unit))),
                staff.name,
            )
            for _ in range(int(stage.rng.integers(1, 3)))
        ]
        stage.held[staff.name] += fresh
        stage.put(staff, fresh, Spot(home.shelf, home.at_mm + float(stage.rng.normal(0.0, 15.0))))
        staff.wait(stage.span((0.5, 1.5)))
    beside = some(stage, shopper.now_s, near=stage.room.standing(gtin, shopper.now_s)[0])
    units = beside or some(stage, shopper.now_s)
    stage.floor.approach(shopper, spot_of(units[0]), 250.0)
    stage.take(shopper, units)


KINDS: Final[dict[str, Kind]] = {
    "one": Kind(one),
    "row": Kind(row),
    "several-same": Kind(several_same),
    "several-different": Kind(several_different),
    "near-weights": Kind(near_weights),
    "large-or-two-small": Kind(large_or_two_small),
    "put-back": Kind(put_back),
    "misplace": Kind(misplace_alone),
    "misplaced-then-taken": Kind(misplaced_then_taken, cast=2),
    "touch": Kind(touch),
    "held-long": Kind(held_long),
    "slowly": Kind(slowly),
    "same-moment": Kind(same_moment, cast=2),
    "crossed": Kind(crossed, cast=2),
    "shoulders": Kind(shoulders, cast=2),
    "reached-past": Kind(reached_past, cast=2),
    "handed-over": Kind(handed_over, cast=2),
    "on-the-floor": Kind(on_the_floor, cast=2),
    "bag": Kind(bag),
    "rest": Kind(rest),
    "knock": Kind(knock),
    "restock": Kind(restock, staff=True),
    "child": Kind(side_by_side, cast=2, together="child"),
    "group": Kind(side_by_side, cast=2, together="adult"),
}
"""Every script that can be played alone; ``mixed`` plays several of them at once."""
