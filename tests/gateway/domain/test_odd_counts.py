# SPDX-License-Identifier: Apache-2.0
"""Counts of units where something odd happens: reviews, other stores, restarts, nobody looking."""

import msgspec
import pytest

from gateway.domain.inputs import GatewayStopping, Rezeroed, StoreChanged
from tests.gateway.domain.scene import JAM, TEA
from tests.gateway.domain.test_holdings import (
    JAMS,
    TEAS,
    alike_store,
    know,
    settle,
    shop_with,
    standing,
    zeroed,
)


def decide(scene, acts):
    """A person decides the latest review."""
    review = scene.named("review.requested")[-1]
    answers, made = scene.command("review", {"review": review["review"], "acts": acts, "by": "ben"})
    assert any(one.name == "review.resolved" for one in made), answers
    return made


def with_teas_on_both_plates():
    """Tea has the plate of jam, too."""
    store = alike_store()
    facings = tuple(
        msgspec.structs.replace(one, plates=(TEAS, JAMS)) if one.gtin == TEA else one
        for one in store.facings
        if one.gtin != JAM
    )
    return msgspec.structs.replace(store, facings=facings)


def pick(session, gtin=TEA, plate=TEAS):
    return {
        "session": session,
        "gtin": gtin,
        "quantity": 1,
        "direction": "pick",
        "plate": plate,
        "misplaced": False,
        "probability": 1.0,
    }


def test_what_a_person_decides_of_an_open_change_is_counted_once():
    scene = shop_with(1_200.0, 2_400.0)
    know(scene, 5)
    anna = scene.enter()
    scene.enter("bob")
    scene.stand("bob", TEAS)
    scene.act("anna", {TEAS: -130.0, JAMS: -110.0})
    scene.run(12.0)
    assert scene.state.beliefs.open
    decide(scene, [pick(anna)])
    scene.run(70.0)
    assert standing(scene) == (4, 4)


def test_what_nobody_saw_and_a_person_decides_is_counted_once():
    scene = shop_with(1_200.0, 2_400.0)
    know(scene, 5)
    scene.enter()
    scene.silent.add("camera/over")
    scene.status("camera/over", "offline")
    scene.run(3.0)
    scene.weights_g[TEAS] -= 240.0
    scene.run(62.0)
    assert scene.named("review.requested")
    assert standing(scene) == (4, 4)
    decide(scene, [pick(None)])
    scene.run(62.0)
    assert standing(scene) == (4, 4)


def test_another_product_on_a_facing_is_counted_anew():
    scene = shop_with(1_200.0, 2_400.0)
    know(scene, 5)
    store = alike_store()
    swap = {TEA: JAM, JAM: TEA}
    facings = tuple(
        msgspec.structs.replace(one, gtin=swap.get(one.gtin, one.gtin)) for one in store.facings
    )
    store = msgspec.structs.replace(store, facings=facings)
    scene.give(StoreChanged(at=scene.stamp(), store=store))
    assert scene.state.holdings[TEAS].stock is None


@pytest.mark.parametrize("live", [True, False])
def test_a_facing_that_gets_another_plate_is_counted_anew(live):
    scene = shop_with(1_200.0, 2_400.0)
    know(scene, 5)
    store = with_teas_on_both_plates()
    if live:
        scene.give(StoreChanged(at=scene.stamp(), store=store))
    else:
        scene.store = store
        scene.restart()
    assert scene.state.holdings[TEAS].stock is None


def test_another_calibration_right_after_a_zero_begins_anew():
    scene = shop_with(720.0, 2_400.0)
    know(scene, 3)
    scene.give(Rezeroed(at=scene.stamp(), device="shelf/g1.s1"))
    for place in scene.layout.shelves["g1.s1"].plates:
        scene.weights_g[place.name] = 0.0
    scene.give(StoreChanged(at=scene.stamp(), store=zeroed(alike_store(), "again")))
    holding = scene.state.holdings[TEAS]
    assert (holding.empty_g, holding.stock) == (None, None)


def test_a_second_plate_with_another_calibration_begins_anew():
    store = with_teas_on_both_plates()
    scene = shop_with(720.0, 720.0, store=store)
    know(scene, 6)
    scene.run(3.0)
    again = zeroed(store, "again")
    shelves = tuple(
        msgspec.structs.replace(
            new,
            plates=tuple(
                other if other.name == JAMS else one
                for one, other in zip(old.plates, new.plates, strict=True)
            ),
        )
        for old, new in zip(store.shelves, again.shelves, strict=True)
    )
    scene.weights_g[JAMS] = 240.0
    changed = msgspec.structs.replace(again, shelves=shelves)
    scene.give(StoreChanged(at=scene.stamp(), store=changed))
    assert scene.state.holdings[TEAS].stock is None


def test_what_comes_unseen_while_a_change_is_open_is_counted():
    scene = shop_with(480.0, 2_400.0)
    know(scene, 2)
    scene.enter()
    scene.act("anna", {TEAS: -240.0})
    assert scene.state.beliefs.open
    scene.silent.add("camera/over")
    scene.status("camera/over", "offline")
    scene.run(3)
    scene.weights_g[TEAS] += 6 * 240.0
    scene.run(6.0)
    scene.silent.clear()
    scene.status("camera/over", "online")
    settle(scene)
    assert standing(scene) == (7, 7)


def test_a_restart_between_two_open_picks_counts_both():
    scene = shop_with(1_200.0, 2_400.0)
    know(scene, 5)
    scene.enter()
    scene.act("anna", {TEAS: -240.0})
    scene.run(10.0)
    scene.act("anna", {TEAS: -240.0})
    while len(scene.state.beliefs.open) > 1:
        scene.run(0.5)
    scene.give(GatewayStopping(at=scene.stamp(), reason="test"))
    scene.restart()
    scene.run(70.0)
    assert standing(scene) == (3, 3)


def test_a_pick_that_settles_right_after_a_zero_is_counted_once():
    scene = shop_with(720.0, 2_400.0)
    know(scene, 3)
    scene.enter()
    scene.act("anna", {TEAS: -240.0})
    assert scene.state.beliefs.open
    scene.give(Rezeroed(at=scene.stamp(), device="shelf/g1.s1"))
    for place in scene.layout.shelves["g1.s1"].plates:
        scene.weights_g[place.name] = 0.0
    scene.silent.add("shelf/g1.s1")
    scene.leave(wait_s=1.0)
    scene.silent.clear()
    settle(scene)
    scene.run(95.0)
    assert standing(scene) == (2, 2)


def test_a_misplaced_thing_moves_no_count():
    scene = shop_with(720.0, 2_400.0)
    know(scene, 3)
    scene.enter()
    scene.act("anna", {"g2.s1.p0": -900.0})
    scene.act("anna", {TEAS: 900.0})
    scene.run(61)
    assert standing(scene) == (3, 3)
    settle(scene)
    assert standing(scene) == (3, 3)
