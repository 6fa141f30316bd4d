# SPDX-License-Identifier: Apache-2.0
"""What later picks teach of a product's weight is held against earlier changes that are open."""

from math import log

import msgspec
import pytest

from gateway.domain.choices import Sketch
from gateway.domain.engine import Engine
from gateway.domain.explanations import probability
from gateway.domain.goods import Known
from gateway.domain.inputs import EngineSettings
from gateway.domain.lessons import GAIN_MAX, gain_of
from tests.gateway.domain.joint import Story
from tests.gateway.domain.scene import JAM, TEA, Scene, corner_store, names
from tests.gateway.domain.test_holdings import JAMS, TEAS, zeroed


def shop(*without):
    """Open a store where jam, beside tea, weighs little more."""
    products = corner_store().products
    tea = msgspec.structs.replace(products[TEA], unit_g=240.0, tolerance_g=10.0)
    jam = msgspec.structs.replace(products[JAM], unit_g=262.0, tolerance_g=10.0)
    store = zeroed(corner_store(products={**products, TEA: tea, JAM: jam}))
    scene = Scene(store=store, settings=EngineSettings(without=("stock", *without)))
    scene.run(2.0)
    scene.enter()
    return scene


def picked(session="anna", gtin=TEA, direction="pick", *, misplaced=False):
    return Sketch(session, gtin, 1, direction, TEAS, misplaced)


def taken_between(scene):
    """Take one that stood on both plates, and weighs more like jam; return its change."""
    [told] = [
        one
        for one in scene.act("anna", {TEAS: -128.0, JAMS: -130.0}, 1.0)
        if one.name == "item.picked"
    ]
    assert told.data["acts"][0]["gtin"] == JAM
    return told.data["change"]


def tea(scene, change):
    """Return how likely it is that a change was a pick of tea."""
    return sum(
        share
        for share, acts in scene.state.beliefs.options(change)
        if [act.gtin for act in acts] == [TEA]
    )


@pytest.mark.parametrize("without", [(), ("learning",)])
def test_a_weight_that_is_learned_later_overturns_what_was_told(without):
    scene = shop(*without)
    change = taken_between(scene)
    before = tea(scene, change)
    made = [one for _ in range(3) for one in scene.act("anna", {TEAS: -252.0}, 1.0)]
    if without:
        assert tea(scene, change) == pytest.approx(before, abs=0.02)
        assert "attribution.revised" not in names(made)
        return
    assert tea(scene, change) > before + 0.2
    [revised] = [one.data for one in made if one.name == "attribution.revised"]
    assert (revised["change"], revised["acts"][0]["gtin"]) == (change, TEA)
    assert Engine.restore(scene.engine.snapshot()).state.beliefs == scene.state.beliefs


def test_what_taught_a_weight_is_not_weighed_by_it():
    scene = shop()
    [told] = [one for one in scene.act("anna", {TEAS: -252.0}, 1.0) if one.name == "item.picked"]
    one = scene.state.beliefs.open[told.data["change"]]
    assert scene.state.learned[TEA].picks == 1
    assert one.known[TEA].unit_g > 245.0


def test_gains_make_explanations_and_their_ways_likelier_and_sum_to_1():
    story = Story("anna", "bert")
    first = story.act(-240.0, 0, {"anna": 0.6, "bert": 0.4})
    story.act(+240.0, 0, {"anna": 0.5, "bert": 0.5})
    beliefs = story.beliefs
    who = [option[0].session for option in beliefs.open[first].options]
    before = dict.fromkeys(who, 0.0)
    for share, (act,) in beliefs.options(first):
        before[act.session] += share
    beliefs.weigh_again(first, [log(3.0) if name == "bert" else 0.0 for name in who])
    after = {act.session: share for share, (act,) in beliefs.options(first)}
    assert sum(map(probability, beliefs.beam)) == pytest.approx(1.0)
    ratio = before["bert"] / before["anna"]
    assert after["bert"] / after["anna"] == pytest.approx(3.0 * ratio, rel=0.05)


@pytest.mark.parametrize(
    ("act", "gain"),
    [
        (picked(), GAIN_MAX),
        (picked(misplaced=True), 0.0),
        (picked(direction="put-back"), 0.0),
        (picked(session=None, direction="put-back"), GAIN_MAX),
        (picked(gtin=JAM), 0.0),
    ],
)
def test_what_has_a_weight_of_its_own_is_not_weighed_again_and_a_lesson_is_bounded(act, gain):
    """Tea is learned to weigh 300 g, and 300 g is what was felt."""
    before, now = Known(240.0, 3.0), Known(300.0, 3.0)
    assert gain_of([act], [(-300.0, 2.0)], TEA, (before, now)) == gain
    assert gain_of([act], [(-240.0, 2.0)], TEA, (before, now)) == -gain
