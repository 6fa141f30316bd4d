# SPDX-License-Identifier: Apache-2.0
"""The simulated store: units are conserved, bodies behave, and the seed decides everything."""

import itertools
import math
from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest

from gateway.config_store import read_store
from gateway.domain.inputs import EntryScanned, People, Samples
from gateway.simulator.layout import distance_mm
from gateway.simulator.stores import nano_store
from gateway.simulator.virtual import START_MONO_NS, virtual_inputs
from gateway.simulator.world import Traffic, World

DEMO = Path(__file__).parents[3] / "fixtures" / "stores" / "demo.toml"
DT_S = 1 / 60


@pytest.fixture(scope="module")
def demo_store():
    read = read_store(DEMO)
    store, problems = read.store, read.problems
    assert not problems
    return store


def lived(world, each_step=lambda: None, limit_s=400):
    while not world.over:
        world.step(DT_S)
        each_step()
        assert world.now_s < limit_s, "somebody never leaves"
    return world


@pytest.mark.parametrize("seed", range(6))
def test_units_are_moved_and_never_made_or_lost(demo_store, seed):
    world = lived(World(demo_store, seed, open_doors=True))
    counted = Counter(world.stock.units())
    for basket in world.truth.baskets.values():
        counted.update(basket)
    assert counted == Counter(world.initial_units)
    net = Counter()
    for act in world.truth.acts:
        net[act.shopper, act.gtin] += act.quantity if act.direction == "pick" else -act.quantity
    baskets = {
        (shopper, gtin): count
        for shopper, basket in world.truth.baskets.items()
        for gtin, count in basket.items()
    }
    assert {key: count for key, count in net.items() if count} == baskets


@pytest.mark.parametrize("seed", range(6))
def test_the_plates_weigh_what_lies_on_them(demo_store, seed):
    world = World(demo_store, seed, open_doors=True)
    before = world.load_g().sum()
    lived(world)
    world.step(2.0)
    gone = dict.fromkeys(demo_store.products, 0)
    for basket in world.truth.baskets.values():
        for gtin, count in basket.items():
            gone[gtin] += count
    expected = before - sum(world.stock.true_unit_g[gtin] * n for gtin, n in gone.items())
    assert world.load_g().sum() == pytest.approx(expected, abs=0.02 * (before - expected) + 1)


def test_a_hand_leans_and_the_weight_follows_within_half_a_second(demo_store):
    stock = World(demo_store, 1).stock
    before = stock.load_g(0.0)
    [unit], handling = stock.take(0, demo_store.facings[0].gtin, 1, 10.0)
    [(plate, change)] = handling.changes_g
    assert change == -unit.weight_g
    assert 0.2 < handling.end_s - handling.start_s < 0.7
    steps = [10.0 + n / 100 for n in range(100)]
    course = [stock.load_g(at_s)[plate] - before[plate] for at_s in steps]
    assert course[0] == pytest.approx(0, abs=5)
    assert course[-1] == pytest.approx(change)
    assert max(abs(b - a) for a, b in pairwise(course)) < 0.15 * unit.weight_g
    assert max(course) > 1 or min(course) < change - 1 or handling.lean_g < 0


@pytest.mark.parametrize("seed", range(6))
def test_bodies_walk_reach_and_keep_apart_like_people(demo_store, seed):
    world = World(demo_store, seed, open_doors=True)
    before = {}
    least = [math.inf]
    together = [0]

    def look():
        poses = {pose.shopper: pose for pose in world.poses()}
        together[0] = max(together[0], len(poses))
        for name, pose in poses.items():
            if name in before:
                assert distance_mm(before[name].floor_mm, pose.floor_mm) <= 2_500 * DT_S + 1
                for was, now in zip(before[name].wrists_mm, pose.wrists_mm, strict=True):
                    assert math.dist(was, now) < 6_000 * DT_S
            for wrist in pose.wrists_mm:
                assert distance_mm(wrist[:2], pose.floor_mm) < 800
                assert 600 < wrist[2] < 1_560
            assert all(
                not (x0 < pose.floor_mm[0] < x1 and y0 < pose.floor_mm[1] < y1)
                for x0, y0, x1, y1 in world.layout.boxes
            )
        for one, other in itertools.combinations(poses.values(), 2):
            least[0] = min(least[0], distance_mm(one.floor_mm, other.floor_mm))
        before.clear()
        before.update(poses)

    lived(world, look)
    assert least[0] > 495
    assert 2 <= together[0] <= 3


@pytest.mark.parametrize("seed", range(6))
def test_no_two_shoppers_handle_one_plate_at_a_time(demo_store, seed):
    acts = lived(World(demo_store, seed, open_doors=True)).truth.acts
    for one, other in itertools.combinations(acts, 2):
        if one.shopper != other.shopper and set(one.plates) & set(other.plates):
            assert one.end_ns < other.start_ns or other.end_ns < one.start_ns


def test_somebody_misplaces_something_and_somebody_puts_back(demo_store):
    acts = [
        act
        for seed in range(6)
        for act in lived(World(demo_store, seed, open_doors=True)).truth.acts
    ]
    assert any(act.misplaced for act in acts)
    assert any(act.direction == "put-back" and not act.misplaced for act in acts)
    assert any(act.quantity == 2 for act in acts)


@pytest.mark.parametrize("seeds", [range(1, 11), range(11, 21), range(21, 31)])
def test_every_story_has_its_wrong_place_and_never_stands_still(demo_store, seeds):
    for seed in seeds:
        world = lived(World(demo_store, seed, open_doors=True), limit_s=100)
        acts = world.truth.acts
        assert sum(act.misplaced for act in acts) == 1, f"seed {seed}"
        starts = sorted(act.start_ns for act in acts)
        longest_s = max(after - before for before, after in pairwise(starts)) / 1e9
        assert longest_s < 15, f"seed {seed}"


def test_nobody_gets_in_before_the_door_opens(demo_store):
    world = World(demo_store, 1, Traffic(shoppers=1))
    for _ in range(60 * 30):
        world.step(DT_S)
    assert not world.truth.baskets
    assert len(world.scans) >= 3, "who waits at a shut door scans again"
    world.door_opened("another")
    world.step(DT_S)
    assert not world.truth.baskets
    world.door_opened("front")
    lived(world)
    assert world.truth.baskets


def test_a_run_is_the_same_for_the_same_seed_and_differs_for_another(demo_store):
    def run(seed):
        return list(virtual_inputs(demo_store, seed, shoppers=1, open_doors=True))

    assert run(3) == run(3)
    assert run(3) != run(4)


def test_inputs_arrive_in_order_and_devices_count(demo_store):
    run = virtual_inputs(demo_store, 2, open_doors=True)
    last_ns = 0
    seqs = {}
    scans = 0
    for item in run:
        assert item.at.mono_ns >= last_ns
        last_ns = item.at.mono_ns
        if isinstance(item, Samples | People | EntryScanned):
            assert item.seq == seqs.get(item.device, -1) + 1
            seqs[item.device] = item.seq
        if isinstance(item, Samples):
            assert len(item.w) == 12
            assert {len(row) for row in item.w} == {4}
        scans += isinstance(item, EntryScanned)
    assert scans == 5 == len(run.truth.left_ns)
    assert all(START_MONO_NS < act.start_ns < act.end_ns < last_ns for act in run.truth.acts)


def test_the_door_lets_in_when_it_is_opened_while_iterating(demo_store):
    run = virtual_inputs(demo_store, 5, shoppers=2)
    for item in run:
        if isinstance(item, EntryScanned):
            run.door_opened("front")
    assert len(run.truth.left_ns) == 2


def test_a_run_without_end_is_refused(demo_store):
    with pytest.raises(ValueError, match="never end"):
        virtual_inputs(demo_store, 1, shoppers=None)


def test_the_nano_store_has_the_size_it_is_named_for():
    store = nano_store()
    assert len(store.shelves) == 26
    assert sum(len(shelf.plates) for shelf in store.shelves) == 306
    assert len(store.cameras) == 3
    traffic = Traffic(shoppers=None, at_once=10, spacing_s=(1, 2))
    run = virtual_inputs(store, 1, duration_s=45, traffic=traffic, open_doors=True)
    assert sum(isinstance(item, Samples) for item in run) > 26 * 5 * 44
    assert len(run.world.shoppers) >= 6
