# SPDX-License-Identifier: Apache-2.0
"""Neighbours that weigh alike: which are found, and how they are told."""

import msgspec
import pytest

from gateway.domain import planogram
from gateway.domain.events import Units
from gateway.domain.inputs import StoreChanged
from gateway.domain.planogram import NOISE_G, SPREADS, TOLD_MAX, alike
from gateway.domain.store import Facing, Plate, Product, Shelf, Store
from gateway.tail import readable
from tests.gateway.domain.scene import CRISPS, JAM, OIL, TEA, Scene, corner_store, names


def row(*weights_g, tolerance_g=1.0, plates=None, shelves=1):
    """Return a store with these products on plates side by side: one each, or as ``plates`` say."""
    places = plates or [(n,) for n in range(len(weights_g))]
    count = 1 + max(n for where in places for n in where)
    made, facings, products = [], [], {}
    for number in range(shelves):
        name = f"g1.s{number + 1}"
        made.append(
            Shelf(
                name=name,
                gondola="g1",
                front_mm=(0.0, 0.0, 1_000.0, 0.0),
                z_mm=800.0,
                depth_mm=400.0,
                plates=tuple(
                    Plate(name=f"{name}.p{n}", offset_mm=90.0 * n, width_mm=90.0)
                    for n in range(count)
                ),
            )
        )
        for one, (unit_g, where) in enumerate(zip(weights_g, places, strict=True)):
            gtin = f"{number:07d}{one:07d}"
            products[gtin] = Product(
                gtin=gtin, name=gtin[-2:], unit_g=unit_g, tolerance_g=tolerance_g
            )
            facings.append(Facing(gtin=gtin, plates=tuple(f"{name}.p{n}" for n in where)))
    return Store(name="row", products=products, shelves=tuple(made), facings=tuple(facings))


def found(store):
    """Return quantities, last digits of GTINs and last parts of plates."""
    return [
        (
            f"{pair.one.quantity}x{int(pair.one.gtin[-7:])}",
            f"{pair.other.quantity}x{int(pair.other.gtin[-7:])}",
            " ".join(plate.rpartition(".")[2] for plate in pair.plates),
        )
        for pair in alike(store)
    ]


def test_neighbours_within_their_tolerances_are_alike():
    limit_g = SPREADS * 2.0**0.5 * 10.0
    assert found(row(300.0, 300.0 + limit_g - 0.1, tolerance_g=10.0)) == [("1x1", "1x0", "p0 p1")]
    assert found(row(300.0, 300.0 + limit_g + 0.1, tolerance_g=10.0)) == []


def test_two_small_ones_may_weigh_like_a_large_one():
    assert found(row(250.0, 500.0)) == [("1x1", "2x0", "p0 p1")]
    assert found(row(500.0, 250.0)) == [("1x0", "2x1", "p0 p1")]
    assert found(row(750.0, 250.0)) == [], "three of one are no pair"


def test_no_tolerance_is_finer_than_the_noise_of_plates():
    [near] = alike(row(300.0, 300.0 + NOISE_G, tolerance_g=0.0))
    assert not near.measurable
    assert found(row(300.0, 300.1 + NOISE_G, tolerance_g=0.0)) == []
    [wide] = alike(row(300.0, 310.0, tolerance_g=9.0))
    assert wide.measurable


def test_only_neighbours_are_compared():
    assert found(row(300.0, 900.0, 300.0)) == []
    assert found(row(300.0, 300.0, plates=[(0,), (0,)])) == [("1x0", "1x1", "p0")]
    assert found(row(300.0, 300.0, plates=[(0, 1), (1, 2)])) == [("1x0", "1x1", "p0 p1 p2")]
    two = row(300.0, 900.0, shelves=2)
    assert found(two) == [], "the same weight on another shelf"


def test_a_pair_is_named_once_a_shelf_in_the_quantities_nearest_to_each_other():
    assert found(row(300.0, 310.0, 300.0, tolerance_g=200.0)) == [
        ("1x1", "1x0", "p0 p1"),
        ("1x1", "1x2", "p1 p2"),
    ]
    store = row(300.0, 305.0, tolerance_g=5.0)
    facings = (*store.facings, Facing(gtin=store.facings[0].gtin, plates=("g1.s1.p0",)))
    again = msgspec.structs.replace(store, facings=facings)
    assert found(again) == found(store) == [("1x1", "1x0", "p0 p1")]
    assert alike(store)[0].one == Units("00000000000001", 1, 305.0)


def test_a_planogram_that_puts_everything_on_one_plate_is_bounded(monkeypatch):
    monkeypatch.setattr(planogram, "COMPARED_MAX", 1_000)
    crowd = row(*[300.0] * 200, plates=[(0,)] * 200)
    assert len(alike(crowd)) == 1_000


def lookalikes(**changed):
    """Return the corner store with a jam that weighs what its neighbour does."""
    store = corner_store()
    jam = msgspec.structs.replace(store.products[JAM], unit_g=250.0)
    return corner_store(products={**store.products, JAM: jam}, **changed)


def told(scene):
    return scene.named("planogram.ambiguous")


def test_a_planogram_without_pairs_is_not_told_of(scene):
    assert alike(scene.store) == told(scene) == []


def test_a_start_tells_the_pairs_of_its_store():
    scene = Scene(store=lookalikes())
    assert names(scene.events)[0] == "gateway.started"
    assert names(scene.events)[-1] == "planogram.ambiguous"
    [data] = told(scene)
    assert data["store_version"] == scene.store.version
    assert data["more"] == 0
    assert data["pairs"] == [
        {
            "one": {"gtin": JAM, "quantity": 1, "weight_g": 250.0},
            "other": {"gtin": TEA, "quantity": 1, "weight_g": 240.0},
            "plates": ["g1.s1.p2", "g1.s1.p3"],
            "measurable": True,
        }
    ]
    scene.restart(1.0)
    assert len(told(scene)) == 2, "an integrator may have come between"


def test_a_store_file_that_brings_pairs_is_told_once(scene):
    store = lookalikes()
    for _ in range(2):
        scene.give(StoreChanged(at=scene.stamp(), store=store))
        scene.run(1.0)
    assert [data["store_version"] for data in told(scene)] == [store.version]
    scene.give(StoreChanged(at=scene.stamp(), store=corner_store()))
    assert len(told(scene)) == 1, "none is not told"


def test_a_planogram_by_command_that_brings_pairs_is_told(scene):
    facings = [
        {"gtin": gtin, "plates": [plate]}
        for gtin, plate in ((CRISPS, "g1.s1.p0"), (OIL, "g1.s1.p1"))
    ]
    small = {"gtin": OIL, "name": "Small oil", "unit_g": 75.0}
    body = {"facings": facings, "products": [small], "id": "c"}
    for _ in range(2):
        scene.command("planogram", body)
    [data] = told(scene)
    assert data["pairs"][0]["one"]["gtin"] == CRISPS
    assert data["pairs"][0]["other"] == {"gtin": OIL, "quantity": 2, "weight_g": 150.0}


def test_only_so_many_are_told_one_by_one():
    scene = Scene(store=row(*[300.0] * 21, plates=[(0,)] * 21))
    [data] = told(scene)
    assert (len(data["pairs"]), data["more"]) == (TOLD_MAX, 21 * 20 // 2 - TOLD_MAX)
    event = next(made.event for made in scene.events if made.name == "planogram.ambiguous")
    line = readable(
        msgspec.json.encode({"type": event.type, "time": event.time, "data": event.data})
    )
    assert line.endswith("; 110 more pairs")
    assert "1 x 00000000000000 weighs like 1 x 00000000000001 at g1.s1.p0; " in line


@pytest.mark.parametrize("count", [1, 40])
def test_the_same_store_gives_the_same_pairs(count):
    store = row(*[300.0, 150.0] * count, tolerance_g=4.0)
    copy = msgspec.json.decode(msgspec.json.encode(store), type=Store)
    assert alike(copy) == alike(store)
    assert len(found(store)) == 2 * count - 1
