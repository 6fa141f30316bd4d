# SPDX-License-Identifier: Apache-2.0
"""What plates hold, as evidence: what is sold out was not taken, and later acts tell so."""

from math import isnan

import msgspec
import pytest

from gateway.domain.engine import Engine
from gateway.domain.inputs import EngineSettings, GatewayStopping, Rezeroed, StoreChanged
from gateway.domain.stock import Stock, between
from gateway.domain.store import Calibration
from tests.gateway.domain.scene import AISLE_MM, JAM, TEA, Body, Scene, corner_store, names

TEAS, JAMS = "g1.s1.p2", "g1.s1.p3"


PLATE_MM = 150.0


def zeroed(store, name="zeroed"):
    """Return a store of narrow plates that weigh nothing when they are empty."""
    calibration = Calibration(id=name, zero_raw=0.0, counts_per_g=1.0)
    shelves = tuple(
        msgspec.structs.replace(
            shelf,
            plates=tuple(
                msgspec.structs.replace(
                    plate,
                    offset_mm=PLATE_MM * index,
                    width_mm=PLATE_MM,
                    calibration=calibration,
                )
                for index, plate in enumerate(shelf.plates)
            ),
        )
        for shelf in store.shelves
    )
    return msgspec.structs.replace(store, shelves=shelves)


def alike_store():
    """Jam weighs what tea weighs, beside it."""
    products = corner_store().products
    jam = msgspec.structs.replace(products[JAM], unit_g=240.0, tolerance_g=7.2)
    return zeroed(corner_store(products={**products, JAM: jam}))


def shop_with(teas_g, jams_g, *, without=(), store=None):
    scene = Scene(store=store or alike_store(), settings=EngineSettings(without=without))
    scene.weights_g |= {"g1.s1.p1": 150.0, TEAS: teas_g, JAMS: jams_g}
    scene.run(2.0)
    return scene


def standing(scene, plate=TEAS):
    """Return how many units a facing holds: from and to."""
    return between(scene.state.holdings[plate].stock.array(scene.now_ns))


def know(scene, units, plate=TEAS):
    """Let it be known how many units stand on a facing."""
    stock = scene.state.holdings[plate].stock
    shares = (0.001,) * units + (0.998, 0.001)
    scene.state.holdings[plate].stock = msgspec.structs.replace(stock, shares=shares)


def settle(scene):
    """Wait until nothing is open."""
    for track in list(scene.bodies):
        scene.leave(track, 16.0)
    scene.run(95.0)
    assert not scene.state.beliefs.open


def test_facings_are_counted_by_weight_then_act_by_act():
    scene = shop_with(480.0, 2_400.0)
    assert standing(scene)[0] <= 2 <= standing(scene)[1]
    know(scene, 2)
    scene.enter()
    scene.act("anna", {TEAS: -240.0})
    settle(scene)
    assert standing(scene) == (1, 1)


def test_without_a_calibration_nothing_is_counted():
    scene = shop_with(480.0, 2_400.0, store=corner_store())
    assert all(one.stock is None for one in scene.state.holdings.values())


def test_the_last_one_gone_leaves_none_and_the_plate_tells_what_it_weighs_empty():
    scene = shop_with(252.0, 1_200.0)
    know(scene, 1)
    scene.enter()
    scene.act("anna", {TEAS: -240.0})
    settle(scene)
    assert standing(scene) == (0, 0)
    assert scene.state.holdings[TEAS].empty_g == pytest.approx(12.0, abs=1.0)


def test_what_staff_bring_is_counted():
    scene = shop_with(0.0, 2_400.0)
    know(scene, 0)
    scene.bodies["staff"] = Body(AISLE_MM)
    scene.act("staff", {TEAS: +480.0})
    settle(scene)
    assert standing(scene) == (2, 2)


BETWEEN = {TEAS: -125.0, JAMS: -115.0}
"""A unit that stood on both plates: tea or jam, by weight and place."""


@pytest.mark.parametrize(("without", "sure"), [((), True), (("stock",), False)])
def test_a_facing_that_is_sold_out_gives_nothing(without, sure):
    scene = shop_with(365.0, 1_315.0, without=without)
    if not without:
        know(scene, 1)
        know(scene, 5, JAMS)
    scene.enter()
    scene.act("anna", {TEAS: -240.0})
    [told] = [one for one in scene.act("anna", BETWEEN) if one.name == "item.picked"]
    [act] = told.data["acts"]
    assert (act["probability"] > 0.9) is sure
    assert act["gtin"] == JAM or not sure


def test_what_is_taken_later_tells_that_it_was_not_taken_before():
    scene = shop_with(365.0, 1_315.0)
    know(scene, 1)
    know(scene, 5, JAMS)
    anna = scene.enter()
    told = scene.act("anna", {TEAS: -145.0, JAMS: -95.0})
    assert [one.data["acts"][0]["gtin"] for one in told if one.name == "item.picked"] == [TEA]
    later = scene.act("anna", {TEAS: -240.0})
    assert "attribution.revised" in names(later)
    scene.leave(wait_s=16.0)
    assert scene.receipt(anna) == {TEA: 1, JAM: 1}


def test_counts_outlive_a_restart_and_follow_what_happened_meanwhile():
    scene = shop_with(720.0, 2_400.0)
    know(scene, 3)
    scene.state.uncounted[TEAS] = None
    scene.give(GatewayStopping(at=scene.stamp(), reason="test"))
    scene.weights_g[TEAS] -= 240.0
    scene.restart(reboot=True)
    scene.run(62.0)
    assert standing(scene) == (2, 2)


def test_drift_moves_the_empty_weight_and_no_count():
    scene = shop_with(720.0, 2_400.0)
    know(scene, 3)
    for _ in range(150):
        scene.weights_g[TEAS] += 1.0
        scene.run(1.0)
    assert standing(scene) == (3, 3)
    assert scene.state.holdings[TEAS].empty_g == pytest.approx(150.0, abs=65.0)


def test_a_plate_that_never_weighed_anything_is_not_counted():
    scene = Scene(store=alike_store())
    scene.weights_g |= {TEAS: 480.0, JAMS: float("nan")}
    told = scene.block
    scene.block = lambda shelf: msgspec.structs.replace(
        one := told(shelf), w=[[None if isnan(gram) else gram for gram in row] for row in one.w]
    )
    scene.run(70.0)
    scene.enter()
    assert "item.picked" in names(scene.act("anna", {TEAS: -240.0}))
    settle(scene)
    assert scene.state.holdings[JAMS].stock is None
    assert scene.state.holdings[JAMS].weighed_g is None


def test_a_snapshot_goes_on_where_it_was_taken():
    scene = shop_with(365.0, 1_315.0)
    know(scene, 1)
    scene.enter()
    scene.act("anna", BETWEEN)
    copy = Engine.restore(scene.engine.snapshot())
    assert copy.state.holdings == scene.state.holdings
    assert copy.state.beliefs.beam == scene.state.beliefs.beam
    assert [one.counted for one in copy.state.beliefs.beam] != [0.0] * len(copy.state.beliefs.beam)


def test_another_calibration_begins_anew():
    scene = shop_with(720.0, 2_400.0)
    know(scene, 7)
    scene.give(StoreChanged(at=scene.stamp(), store=zeroed(alike_store(), "again")))
    assert scene.state.holdings[TEAS].stock is None
    scene.run(62.0)
    assert isinstance(scene.state.holdings[TEAS].stock, Stock)
    assert standing(scene)[1] < 7


def test_a_zero_that_is_set_anew_moves_no_count():
    scene = shop_with(720.0, 2_400.0)
    know(scene, 3)
    scene.give(Rezeroed(at=scene.stamp(), device="shelf/g1.s1"))
    for place in scene.layout.shelves["g1.s1"].plates:
        scene.weights_g[place.name] = 0.0
    scene.run(70.0)
    assert standing(scene) == (3, 3)
    assert scene.state.holdings[TEAS].empty_g == pytest.approx(-720.0, abs=3.0)
