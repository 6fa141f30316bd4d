# SPDX-License-Identifier: Apache-2.0
"""The store file changes while the daemon runs."""

import msgspec
import pytest

from gateway.domain.inputs import (
    StoreChanged,
)
from gateway.domain.store import Calibration, Facing, Plate
from tests.gateway.domain.scene import (
    OIL,
    STEP_NS,
    TEA,
    Scene,
    corner_store,
    names,
)

S = 1_000_000_000


def change_store(scene, store):
    made = scene.give(StoreChanged(at=scene.stamp(), store=store))
    scene.store = store
    return made


def test_a_new_planogram_holds_from_now_on(shopping):
    old = shopping.store.version
    facings = (
        Facing(gtin=OIL, plates=("g1.s1.p3",)),
        Facing(gtin=TEA, plates=("g1.s1.p2",)),
    )
    change_store(shopping, corner_store(facings=facings))
    shopping.act("anna", {"g1.s1.p3": -900.0})
    shopping.leave()
    assert shopping.receipt(shopping.anna) == {TEA: 1, OIL: 1}
    versions = [one["store_version"] for one in shopping.named("item.picked")]
    assert versions == [old, shopping.store.version]
    assert old != shopping.store.version


def test_weights_of_plates_that_stay_are_kept(shopping):
    references = shopping.state.shelves["g1.s1"].reference_g.copy()
    change_store(shopping, corner_store(prices_version="p2"))
    assert (shopping.state.shelves["g1.s1"].reference_g == references).all()
    assert shopping.run(2.0) == []


def test_a_calibration_begins_anew_and_is_named(shopping):
    store = corner_store()
    calibrated = tuple(
        msgspec.structs.replace(
            plate, calibration=Calibration(id="cal-7", zero_raw=1_000.0, counts_per_g=10.0)
        )
        for plate in store.shelves[0].plates
    )
    shelf = msgspec.structs.replace(store.shelves[0], plates=calibrated)
    change_store(shopping, corner_store(shelves=(shelf, store.shelves[1])))
    before = len(shopping.events)
    shopping.silent = {"shelf/g1.s1"}
    weights_g = dict(shopping.weights_g)

    def raw_seconds(seconds):
        for _ in range(round(seconds * 5)):
            shopping.run(0.2)
            grams = [weights_g[f"g1.s1.p{n}"] for n in range(4)]
            w = [[1_000.0 + 10.0 * g + n % 3 for g in grams] for n in range(12)]
            shopping.give(shopping.block("g1.s1", w=w, unit="raw"))

    raw_seconds(2.0)
    assert names(shopping.events[before:]) == []
    shopping.reach("anna", "g1.s1.p3")
    raw_seconds(0.6)
    weights_g["g1.s1.p3"] -= 390.0
    raw_seconds(2.0)
    (picked,) = [one for one in shopping.events[before:] if one.name == "item.picked"]
    assert picked.data["weights"][0]["calibration"] == "cal-7"
    assert picked.data["weights"][0]["delta_g"] == pytest.approx(-390.0, abs=1.0)


def test_raw_counts_without_a_calibration_mean_nothing(scene):
    for _ in range(10):
        scene.now_ns += 2 * STEP_NS
        w = [[8_000_000.0, 1.0, 2.0, 1e300] for _ in range(12)]
        assert scene.give(scene.block("g1.s1", w=w, unit="raw")) == []


def test_what_waits_on_a_shelf_that_goes_is_decided_first(shopping):
    shopping.reach("anna", "g2.s1.p0")
    shopping.run(0.4)
    shopping.weights_g["g2.s1.p0"] -= 900.0
    shopping.silent = {"camera/over"}  # What it saw is still to come.
    while not shopping.state.changes:
        shopping.run(0.1)
    shopping.silent = set()
    store = corner_store()
    facings = tuple(one for one in store.facings if one.gtin != OIL)
    smaller = corner_store(shelves=store.shelves[:1], facings=facings)
    change_store(shopping, smaller)
    assert set(shopping.state.shelves) == {"g1.s1"}
    assert not any(plate.startswith("g2") for plate in shopping.state.holdings)
    assert not any(key.startswith("g2") for kind, key in shopping.rows if kind == "holding")
    shopping.layout.shelves.pop("g2.s1")
    shopping.bodies["anna"].wrist_mm = None
    shopping.run(2.0)
    shopping.leave()
    assert shopping.receipt(shopping.anna) == {TEA: 1, OIL: 1}


def test_a_shelf_that_is_added_is_weighed(shopping):
    store = corner_store()
    added = msgspec.structs.replace(
        store.shelves[1],
        name="g3.s1",
        front_mm=(1_500.0, -1_000.0, 1_000.0, -1_000.0),
        plates=(Plate(name="g3.s1.p0", offset_mm=0.0, width_mm=250.0),),
    )
    bigger = corner_store(
        shelves=(*store.shelves, added),
        facings=(*store.facings, Facing(gtin=OIL, plates=("g3.s1.p0",))),
    )
    change_store(shopping, bigger)
    shopping.layout = type(shopping.layout)(bigger)
    shopping.boots["shelf/g3.s1"] = "boot"
    shopping.weights_g["g3.s1.p0"] = 9_000.0
    shopping.run(2.0)
    shopping.act("anna", {"g3.s1.p0": -900.0})
    shopping.leave()
    assert shopping.receipt(shopping.anna) == {TEA: 1, OIL: 1}


def test_a_plate_weighed_under_another_calibration_has_not_changed(shopping):
    shopping.restart()
    shopping.run(15.0)
    store = shopping.store
    calibrated = tuple(
        msgspec.structs.replace(
            plate, calibration=Calibration(id="cal-8", zero_raw=4_000.0, counts_per_g=10.0)
        )
        for plate in store.shelves[0].plates
    )
    shelf = msgspec.structs.replace(store.shelves[0], plates=calibrated)
    change_store(shopping, corner_store(shelves=(shelf, store.shelves[1])))
    shopping.silent = {"shelf/g1.s1"}
    for _ in range(15):
        shopping.run(0.2)
        w = [[30_000.0 + n % 3] * 4 for n in range(12)]
        shopping.give(shopping.block("g1.s1", w=w, unit="raw"))
    assert shopping.named("shelf.changed-unattended") == []
    assert shopping.named("review.requested") == []


def in_raw_counts(zero_raw):
    """Return a store all of whose plates have a calibration of one id."""
    store = corner_store()
    calibration = Calibration(id="cal-1", zero_raw=zero_raw, counts_per_g=10.0)
    return corner_store(
        shelves=tuple(
            msgspec.structs.replace(
                shelf,
                plates=tuple(
                    msgspec.structs.replace(plate, calibration=calibration)
                    for plate in shelf.plates
                ),
            )
            for shelf in store.shelves
        )
    )


@pytest.mark.parametrize("down", [False, True])
def test_numbers_mended_under_the_id_of_a_calibration_are_no_change(down):
    """Whether the store file is read by a daemon that runs, or by the next one."""
    scene = Scene(store=in_raw_counts(0.0))
    told = scene.block

    def in_counts(shelf):
        grams = told(shelf)
        counts = [[10.0 * one for one in row] for row in grams.w]
        return msgspec.structs.replace(grams, unit="raw", w=counts)

    scene.block = in_counts
    scene.run(65.0)
    if down:
        scene.store = in_raw_counts(-2_400.0)
        scene.restart()
    else:
        change_store(scene, in_raw_counts(-2_400.0))
    scene.run(65.0)
    assert scene.named("shelf.changed-unattended") == []
    assert scene.named("review.requested") == []
    assert scene.state.holdings["g1.s1.p2"].weighed_g == pytest.approx(3_240.0, abs=2.0)


def test_a_reload_long_after_a_restart_blames_no_downtime(shopping):
    shopping.restart()
    shopping.run(3.0)
    assert shopping.state.gap_since_ns is None


def test_what_waits_is_decided_by_the_plates_that_felt_it(shopping):
    shopping.reach("anna", "g1.s1.p3")
    shopping.run(0.4)
    shopping.weights_g["g1.s1.p3"] -= 390.0
    shopping.silent = {"camera/over"}
    while not shopping.state.changes:
        shopping.run(0.1)
    shopping.silent = set()
    shelf = shopping.store.shelves[0]
    fewer = msgspec.structs.replace(shelf, plates=shelf.plates[:3])
    facings = tuple(one for one in shopping.store.facings if one.plates != ("g1.s1.p3",))
    change_store(
        shopping, corner_store(shelves=(fewer, shopping.store.shelves[1]), facings=facings)
    )
    (picked, later) = shopping.named("item.picked")
    assert picked["acts"][0]["gtin"] == TEA
    assert later["acts"][0]["plate"] == "g1.s1.p3"


def test_a_file_read_again_unchanged_keeps_prices_that_came_by_command(scene):
    price = {"gtin": TEA, "unit_price_minor": 249, "currency": "EUR"}
    scene.command("prices", {"version": "w47", "prices": [price]})
    assert change_store(scene, scene.store) == []
    assert scene.state.store.products[TEA].price_minor == 249
    assert scene.state.overrides is not None
