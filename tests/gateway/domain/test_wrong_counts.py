# SPDX-License-Identifier: Apache-2.0
"""Counts that are doubtful or wrong say nothing: what the plates weigh has to agree with them."""

import msgspec
import pytest

from gateway.domain.inputs import GatewayStopping, StoreChanged
from gateway.domain.layout import Layout
from gateway.domain.store import Facing
from tests.gateway.domain.scene import AISLE_MM, CRISPS, JAM, OIL, TEA, Body
from tests.gateway.domain.test_holdings import (
    JAMS,
    TEAS,
    alike_store,
    know,
    settle,
    shop_with,
    standing,
)

LEFT = "g1.s1.p0"
LEANING = {TEAS: -150.0, JAMS: -90.0}
"""A tea that leans over to the jam."""


def planned(*facings):
    return msgspec.structs.replace(
        alike_store(), facings=tuple(Facing(gtin=gtin, plates=plates) for gtin, plates in facings)
    )


SHARED = planned(
    (CRISPS, (LEFT,)), (TEA, (LEFT,)), (TEA, (TEAS,)), (JAM, (JAMS,)), (OIL, ("g2.s1.p0",))
)
"""Tea stands on a plate of its own, and on one that it shares with crisps: not counted."""
WIDE = planned((TEA, ("g1.s1.p1", TEAS)), (JAM, (JAMS,)), (OIL, ("g2.s1.p0",)))


def bring(scene, changes_g):
    """Staff fill a shelf, and go."""
    scene.bodies["staff"] = Body(AISLE_MM)
    scene.act("staff", changes_g)
    scene.leave("staff", wait_s=16.0)


def test_picks_from_a_facing_that_is_not_counted_leave_the_count_of_another():
    scene = shop_with(720.0, 2_400.0, store=SHARED)
    know(scene, 3)
    scene.enter()
    for _ in range(2):
        scene.act("anna", {LEFT: -240.0})
    settle(scene)
    assert standing(scene) == (3, 3)


def test_a_pick_belongs_to_the_facing_with_the_nearest_plate():
    teas = tuple(f"g1.s1.p{number}" for number in range(2))
    layout = Layout(planned((TEA, teas), (JAM, (TEAS,)), (TEA, (JAMS,))))
    nearest = [layout.facing_of(TEA, f"g1.s1.p{number}") for number in range(4)]
    assert nearest == [LEFT, LEFT, LEFT, JAMS]
    assert layout.facing_of(TEA, "g2.s1.p0") is None
    assert layout.facing_of(TEA, "gone") is None


@pytest.mark.parametrize("units", [5, 6, 8, 12])
def test_a_tray_that_is_put_at_once_is_counted_by_weight(units):
    scene = shop_with(240.0, 2_400.0)
    know(scene, 1)
    bring(scene, {TEAS: 240.0 * units})
    scene.run(100.0)
    assert not scene.state.beliefs.open
    low, high = standing(scene)
    assert low < high >= 1 + units


def test_a_full_plate_is_not_taken_for_an_empty_one():
    scene = shop_with(0.0, 2_400.0)
    know(scene, 0)
    bring(scene, {TEAS: 240.0 * 8})
    scene.run(100.0)
    assert scene.state.holdings[TEAS].empty_g == pytest.approx(0.0, abs=5.0)


@pytest.mark.parametrize("wait_s", [0.0, 100.0])
@pytest.mark.parametrize(("store", "first"), [(alike_store(), TEAS), (WIDE, "g1.s1.p1")])
def test_after_a_tray_its_picks_are_not_the_neighbours(store, first, wait_s):
    """Right after it, while it is still open, and once it is settled."""
    scene = shop_with(240.0, 2_400.0, store=store)
    know(scene, 1, first)
    know(scene, 10, JAMS)
    bring(scene, {first: 240.0 * 8} | {TEAS: 240.0 * 8})
    scene.run(wait_s)
    bert = scene.enter("bert")
    scene.act("bert", {TEAS: -240.0})
    scene.act("bert", LEANING)
    scene.leave("bert", wait_s=16.0)
    assert scene.receipt(bert) == {TEA: 2}


def test_a_doubtful_act_leaves_a_doubtful_count():
    """A jam that leans over is told as a tea, with some 60 %."""
    scene = shop_with(480.0, 1_315.0)
    know(scene, 2)
    know(scene, 10, JAMS)
    scene.enter()
    scene.act("anna", {TEAS: -130.0, JAMS: -110.0})
    settle(scene)
    assert standing(scene) == (1, 2)
    bert = scene.enter("bert")
    scene.act("bert", {TEAS: -240.0})
    scene.act("bert", LEANING)
    scene.leave("bert", wait_s=16.0)
    assert scene.receipt(bert) == {TEA: 2}


@pytest.mark.parametrize("swapped", [True, False])
def test_what_was_taken_under_another_planogram_is_off_no_new_count(swapped):
    scene = shop_with(1_800.0, 1_200.0)
    know(scene, 7)
    anna = scene.enter()
    scene.act("anna", {TEAS: -240.0}, wait_s=2.0)
    [name] = scene.state.beliefs.open
    other = {TEA: OIL, OIL: TEA} if swapped else {}
    facings = tuple(
        msgspec.structs.replace(facing, gtin=other.get(facing.gtin, facing.gtin))
        for facing in scene.store.facings
    )
    store = msgspec.structs.replace(scene.store, facings=facings, prices_version="p2")
    scene.give(StoreChanged(at=scene.stamp(), store=store))
    assert (name in scene.state.beliefs.open) is not swapped
    scene.run(62.0)
    if swapped:
        know(scene, 2)
    settle(scene)
    assert standing(scene) == ((2, 2) if swapped else (6, 6))
    assert scene.receipt(anna) == {TEA: 1}


def test_a_count_by_weight_alone_is_no_evidence():
    scene = shop_with(365.0, 1_315.0)
    low, high = standing(scene)
    assert low < high
    scene.enter()
    for changes_g in ({TEAS: -240.0}, {TEAS: -125.0, JAMS: -115.0}):
        scene.act("anna", changes_g)
        assert [one.counted for one in scene.state.beliefs.beam if one.counted] == []


def test_what_was_put_back_since_had_to_be_there_when_it_was_taken():
    """Two of one tea: that one came back does not make it likelier that there were two."""
    scene = shop_with(365.0, 1_315.0)
    know(scene, 1)
    know(scene, 5, JAMS)
    scene.enter()
    for changes_g in ({TEAS: -240.0}, {TEAS: -125.0, JAMS: -115.0}, {TEAS: 240.0}):
        scene.act("anna", changes_g)
    beliefs = scene.state.beliefs
    twice = [one for one in beliefs.beam if len(_taken(beliefs, one, TEA)) == 2]
    once = [one for one in beliefs.beam if len(_taken(beliefs, one, TEA)) == 1]
    assert twice
    assert once
    assert max(one.counted for one in twice) < min(one.counted for one in once) - 2.0


def _taken(beliefs, one, gtin):
    """Return an explanation's picks of a product in open changes."""
    return [
        act
        for name, index in one.chosen.items()
        for act in beliefs.open[name].options[index]
        if act.gtin == gtin and act.direction == "pick"
    ]


def test_a_plate_with_something_misplaced_on_it_does_not_tell_what_it_weighs_empty():
    scene = shop_with(240.0, 2_400.0)
    know(scene, 1)
    scene.enter()
    scene.act("anna", {"g2.s1.p0": -900.0})
    scene.act("anna", {TEAS: 900.0})
    scene.act("anna", {TEAS: -240.0})
    settle(scene)
    holding = scene.state.holdings[TEAS]
    assert holding.misplaced == {OIL: 1}
    assert holding.empty_g == pytest.approx(0.0, abs=5.0)
    assert standing(scene) == (0, 0)


def test_what_went_while_nobody_looked_is_off_the_count_at_once():
    scene = shop_with(720.0, 2_400.0)
    know(scene, 3)
    scene.state.uncounted[TEAS] = None
    scene.give(GatewayStopping(at=scene.stamp(), reason="test"))
    scene.weights_g[TEAS] -= 240.0
    scene.restart()
    scene.run(0.9)
    assert scene.named("shelf.changed-unattended")
    assert standing(scene) == (2, 2)


def test_a_decision_on_what_was_settled_moves_both_counts():
    """A person says that it was a jam: the tea is there still, and a jam is gone."""
    scene = shop_with(480.0, 1_315.0)
    anna = scene.enter()
    scene.act("anna", {TEAS: -125.0, JAMS: -115.0})
    settle(scene)
    [review] = scene.named("review.requested")
    know(scene, 1)
    know(scene, 5, JAMS)
    act = {"session": anna, "gtin": JAM, "quantity": 1, "direction": "pick"}
    act |= {"plate": JAMS, "probability": 1.0}
    scene.command("review", {"review": review["review"], "acts": [act], "by": "x"})
    assert scene.receipt(anna) == {JAM: 1}
    assert (standing(scene), standing(scene, JAMS)) == ((2, 2), (4, 4))
