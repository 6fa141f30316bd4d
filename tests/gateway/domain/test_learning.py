# SPDX-License-Identifier: Apache-2.0
"""What products weigh is learned from certain picks: bounded, kept, told once."""

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.engine import Engine
from gateway.domain.inputs import EngineSettings, GatewayStopping, StoreChanged
from gateway.domain.learning import (
    COUNT_MAX,
    FAR,
    OFF_PART_MAX,
    SIGMA_MIN_G,
    TRUST,
    TRUST_RANGE,
    UNIT_PART,
    Learned,
    Trust,
    Weights,
    begin,
    drifted,
    observe,
    weight,
)
from gateway.domain.output import Step
from gateway.domain.store import Product
from gateway.tail import readable
from tests.gateway.domain.scene import CRISPS, JAM, OIL, TEA, Scene, corner_store

JUICE = Product(gtin=TEA, name="Juice", unit_g=538.0, tolerance_g=16.0)
TOLD = "product.weight-drifted"


def taught(product, weights_g, known=None, sigma_g=4.0):
    """Return what picks of one unit each teach."""
    known = known or begin(product)
    for weight_g in weights_g:
        known = observe(known, product, weight_g, sigma_g, 1)
    return known


def alone(product, learned):
    """Return what a product weighs where its tolerance is just right."""
    return weight(product, learned, trusted=1.0)


def picks(mean_g, count, seed=1, spread_g=4.0):
    return np.random.default_rng(seed).normal(mean_g, spread_g, count).tolist()


# The estimate


def test_the_further_a_pick_is_from_what_is_expected_the_less_it_counts():
    near, far = (taught(JUICE, [538.0 + away_g]) for away_g in (4.0, 55.0))
    assert near.precision > 1.2 * far.precision
    assert far.astray == 0


def test_without_a_pick_the_catalogue_is_believed():
    assert alone(JUICE, None) == alone(JUICE, begin(JUICE)) == (538.0, 16.0)


@pytest.mark.parametrize("true_g", [500.0, 538.0, 563.0])
def test_it_comes_to_the_true_weight(true_g):
    sigmas_g = [16.0]
    for count in (1, 4, 16, 40):
        known = taught(JUICE, picks(true_g, count))
        found = alone(JUICE, known)
        assert found.unit_g == pytest.approx(true_g, abs=16.0 / count**0.5 + 2.0)
        sigmas_g.append(found.sigma_g)
    assert sigmas_g == sorted(sigmas_g, reverse=True)
    assert known.picks == 40
    assert sigmas_g[-1] < 9.0


def test_how_far_units_spread_is_learned_too():
    wide = taught(JUICE, picks(538.0, 60, spread_g=12.0), sigma_g=1.0)
    narrow = taught(JUICE, picks(538.0, 60, spread_g=3.0), sigma_g=1.0)
    assert wide.spread_g == pytest.approx(12.0, rel=0.35)
    assert narrow.spread_g == pytest.approx(3.0, rel=0.35)


def test_a_pick_of_three_says_more_of_the_mean_than_one():
    one = observe(begin(JUICE), JUICE, 550.0, 1.0, 1)
    three = observe(begin(JUICE), JUICE, 550.0, 1.0, 3)
    assert three.error_g < one.error_g
    assert one.picks == three.picks == 1


def test_no_weight_is_known_better_than_plates_tell():
    known = taught(JUICE, [538.0] * 100, sigma_g=0.3)
    assert alone(JUICE, known).sigma_g >= 0.015 * 538.0
    mint = msgspec.structs.replace(JUICE, unit_g=25.0, tolerance_g=2.0)
    assert alone(mint, taught(mint, [25.0] * 100, sigma_g=0.3)).sigma_g >= SIGMA_MIN_G


def test_a_tolerance_that_is_smaller_still_is_kept():
    weighed = msgspec.structs.replace(JUICE, tolerance_g=0.5)
    known = taught(weighed, [538.0] * 30, sigma_g=0.3)
    assert alone(weighed, known).unit_g == pytest.approx(538.0)
    assert alone(weighed, known).sigma_g < 0.015 * 538.0


@pytest.mark.parametrize("count", [1, 5, 20])
@pytest.mark.parametrize("wrong_g", [300.0, 470.0, 600.0, 780.0])
def test_one_wrong_pick_does_not_spoil_it(count, wrong_g):
    before = taught(JUICE, picks(545.0, count))
    after = taught(JUICE, [wrong_g], before)
    expected = alone(JUICE, before)
    assert alone(JUICE, after).unit_g == pytest.approx(expected.unit_g, abs=expected.sigma_g)
    later = taught(JUICE, picks(545.0, 10, seed=2), after)
    assert alone(JUICE, later).unit_g == pytest.approx(545.0, abs=4.0)


def test_another_package_is_followed():
    before = taught(JUICE, picks(538.0, 500))
    small = taught(JUICE, picks(550.0, 2 * COUNT_MAX), before)
    assert alone(JUICE, small).unit_g == pytest.approx(550.0, abs=5.0)
    large = taught(JUICE, picks(590.0, 8), before)
    assert alone(JUICE, large).unit_g == pytest.approx(590.0, abs=6.0)
    assert large.picks == 6, "counted since it changed"


def test_set_aside_now_and_then_on_both_sides_is_no_other_package():
    known = taught(JUICE, picks(538.0, 30))
    for weight_g in (440.0, 640.0) * 5:
        known = taught(JUICE, [weight_g], known)
    assert known.picks == 30
    assert abs(known.astray) == 1


def test_what_weighs_quite_differently_is_another_product():
    known = taught(JUICE, picks(680.0, 20))
    assert known.mean_g == pytest.approx(680.0, abs=5.0)
    assert alone(JUICE, known) == (538.0, 16.0)
    assert drifted(known) is True, "it is told all the same"


def test_another_catalogue_weight_is_believed_at_once():
    known = taught(JUICE, picks(563.0, 20))
    corrected = msgspec.structs.replace(JUICE, unit_g=563.0)
    assert alone(corrected, known) == (563.0, 16.0)


def test_the_weights_of_a_store_are_those_of_its_products():
    known = {TEA: taught(JUICE, picks(563.0, 20))}
    weights_of = {TEA: JUICE, JAM: JUICE}
    trusted = Trust.of(weights_of, known).part
    weights = Weights(weights_of, known, trusted)
    assert list(weights) == [TEA, JAM]
    assert len(weights) == 2
    assert weights[JAM] == (538.0, trusted * 16.0)
    assert weights[TEA] == weight(JUICE, known[TEA], trusted=trusted)
    with pytest.raises(KeyError):
        weights[OIL]


def test_products_that_weigh_what_they_should_make_the_catalogue_trusted():
    """Tolerances are round figures: how far they go is seen where something was picked."""
    store = {str(number): JUICE for number in range(20)}

    def trusted(off_g, count):
        """Return what so many products tell that weigh so much more or less than they should."""
        signs = [1 if number % 2 else -1 for number in range(count)]
        known = {
            str(number): taught(JUICE, picks(JUICE.unit_g + sign * off_g, 6, seed=number))
            for number, sign in enumerate(signs)
        }
        return Trust.of(store, known).part

    assert Trust().part == pytest.approx(TRUST)
    assert trusted(0.0, 20) < trusted(0.0, 4) < TRUST
    assert trusted(0.0, 20) < 0.55
    assert TRUST < trusted(22.0, 20) <= TRUST_RANGE[1]


def test_what_one_product_tells_of_the_catalogue_is_what_the_formula_says():
    """One that is off by twice what it may, and one so far off that it is cut."""
    part_g2 = (1.0 - UNIT_PART**2) * 16.0**2
    for off_g, counted_g2 in ((2.0 * part_g2**0.5, 4.0 * part_g2), (70.0, FAR**2 * part_g2)):
        row = Learned(538.0, 538.0 + off_g, 4.0, precision=3.0 / part_g2, picks=9)
        error_g2 = part_g2 / 3.0 + (0.003 * row.mean_g) ** 2
        share = (part_g2 / (part_g2 + error_g2)) ** 2
        mean = (6.0 * 0.85**2 + share * (counted_g2 - error_g2) / part_g2) / (6.0 + share)
        assert Trust.of({TEA: JUICE}, {TEA: row}).part == pytest.approx(mean**0.5)


def test_picks_make_no_weight_less_known():
    """Where a catalogue is trusted most, the floor is the same for what was picked and what not."""
    tea = Product(gtin=TEA, name="Tea", unit_g=500.0, tolerance_g=10.0)
    unseen = weight(tea, None, trusted=0.4)
    seen = weight(tea, taught(tea, picks(500.0, 10, spread_g=2.0)), trusted=0.4)
    assert unseen.sigma_g == pytest.approx(7.5)
    assert seen.sigma_g <= unseen.sigma_g
    heavy = taught(tea, [515.0])
    doubted = weight(tea, heavy, trusted=1.25).unit_g
    assert 500.0 < weight(tea, heavy, trusted=0.4).unit_g < doubted - 2.0


def test_another_package_says_nothing_of_the_catalogue():
    known = {TEA: taught(JUICE, picks(680.0, 20))}
    assert Trust.of({TEA: JUICE, JAM: JUICE}, known).part == pytest.approx(TRUST)


def test_trust_follows_what_is_learned_as_if_it_were_worked_out_anew():
    store, known, trusted = {TEA: JUICE, JAM: JUICE}, {}, Trust()
    for number, weight_g in enumerate(picks(560.0, 40, spread_g=12.0)):
        gtin = (TEA, JAM)[number % 2]
        before = known.get(gtin, begin(JUICE))
        known[gtin] = taught(JUICE, [weight_g], before)
        trusted.add(JUICE, before, -1)
        trusted.add(JUICE, known[gtin])
        assert trusted.part == pytest.approx(Trust.of(store, known).part)


@pytest.mark.parametrize("precision", [0.0, 1e-320])
def test_a_row_that_tells_of_picks_and_no_mean_is_not_used(precision):
    row = Learned(538.0, 700.0, 4.0, precision=precision, picks=30)
    assert alone(JUICE, row) == (538.0, 16.0)
    assert drifted(row) is None
    assert Trust.of({TEA: JUICE}, {TEA: row}) == Trust()
    assert observe(row, JUICE, 540.0, 4.0, 1).error_g < 20.0


@given(
    unit_g=st.floats(2.0, 20_000.0),
    part=st.floats(0.0, 0.3),
    seen=st.lists(
        st.tuples(st.floats(0.5, 1.5), st.floats(0.3, 60.0), st.integers(1, 3)), max_size=80
    ),
)
def test_whatever_is_seen_the_estimate_stays_within_bounds(unit_g, part, seen):
    product = Product(gtin=TEA, name="any", unit_g=unit_g, tolerance_g=part * unit_g)
    known = begin(product)
    for times, sigma_g, quantity in seen:
        known = observe(known, product, times * unit_g, sigma_g, quantity)
        found = alone(product, known)
        assert abs(found.unit_g - unit_g) <= OFF_PART_MAX * unit_g * (1 + 1e-9)
        least_g = min(max(0.015 * unit_g, SIGMA_MIN_G), product.tolerance_g)
        assert least_g <= found.sigma_g <= max(product.tolerance_g, 1.0) + 0.2 * unit_g
        again = msgspec.json.decode(msgspec.json.encode(known), type=Learned)
        assert again == known, "it can be written down and read"


# What is told


def test_drift_is_told_when_it_is_clear_and_again_when_it_moves():
    assert drifted(taught(JUICE, picks(563.0, 7))) is None, "too few"
    assert drifted(taught(JUICE, picks(546.0, 40))) is None, "too little"
    known = taught(JUICE, picks(563.0, 8))
    assert drifted(known) is True
    known = msgspec.structs.replace(known, told_g=known.mean_g)
    assert drifted(known) is None
    assert drifted(taught(JUICE, picks(566.0, 40), known)) is None
    assert drifted(taught(JUICE, picks(585.0, 60), known)) is True
    assert drifted(taught(JUICE, picks(546.0, 80), known)) is None, "between"
    assert drifted(taught(JUICE, picks(539.0, 80), known)) is False


def test_a_heavier_spread_takes_more_picks():
    loose = msgspec.structs.replace(JUICE, tolerance_g=60.0)
    assert drifted(taught(loose, [500.0, 610.0] * 4, sigma_g=1.0)) is None


# In the engine


@pytest.fixture
def shop():
    scene = Scene()
    scene.run(2.0)
    scene.enter()
    return scene


def take(scene, count, delta_g=-255.0):
    """Somebody takes teas one at a time."""
    for _ in range(count):
        scene.act("anna", {"g1.s1.p2": delta_g}, 1.0)


def test_picks_teach_and_are_told_once(shop):
    take(shop, 8)
    learned = shop.state.learned[TEA]
    assert learned.picks == 8
    assert learned.mean_g == pytest.approx(255.0, abs=1.0)
    [told] = shop.named(TOLD)
    assert (told["gtin"], told["name"], told["catalogue_g"]) == (TEA, "026", 240.0)
    assert told["learned_g"] == pytest.approx(255.0, abs=1.0)
    assert (told["picks"], told["drifted"], told["used"]) == (8, True, True)
    assert told["store_version"] == shop.store.version
    take(shop, 2)
    assert len(shop.named(TOLD)) == 1


def test_what_is_told_can_be_read(shop):
    take(shop, 8)
    event = next(made.event for made in shop.events if made.name == TOLD)
    line = readable(
        msgspec.json.encode({"type": event.type, "time": event.time, "data": event.data})
    )
    assert event.subject == f"product/{TEA}"
    assert f"026 ({TEA}): catalogue 240 g, seen 25" in line
    assert line.endswith("in 8 picks")


def test_what_is_doubtful_or_unusual_teaches_nothing(shop):
    shop.act("anna", {"g1.s1.p0": -75.0, "g1.s1.p1": -75.0})
    assert shop.state.learned == {}, "over two plates"
    shop.act("anna", {"g1.s1.p2": +150.0})
    shop.act("anna", {"g1.s1.p2": -150.0})
    assert CRISPS not in shop.state.learned, "misplaced"
    shop.act("anna", {"g1.s1.p3": -470.0})
    assert JAM not in shop.state.learned, "two teas, or one jam?"


def test_learning_can_be_left_out():
    scene = Scene(settings=EngineSettings(without=("learning",)))
    scene.run(2.0)
    scene.enter()
    take(scene, 3)
    assert scene.state.learned == {}


def test_it_is_written_down_once_a_minute_and_at_the_end(shop):
    shop.run(60.0)
    take(shop, 2)
    assert ("learned", TEA) not in shop.rows or shop.state.learned[TEA].picks == 2
    shop.run(61.0)
    row = shop.rows["learned", TEA]
    take(shop, 1)
    assert shop.rows["learned", TEA] == row, "not yet"
    shop.give(GatewayStopping(at=shop.stamp(), reason="test"))
    assert msgspec.json.decode(shop.rows["learned", TEA].value)["picks"] == 3


def test_a_restart_keeps_it_and_does_not_tell_it_again(shop):
    take(shop, 9)
    told = shop.named(TOLD)
    shop.restart()
    assert shop.state.learned[TEA].picks >= 8, "written down with what was told"
    assert shop.state.learned[TEA].told_g is not None
    shop.run(2.0)
    take(shop, 3)
    assert shop.named(TOLD) == told


def test_a_snapshot_goes_on_where_it_was_taken(shop):
    take(shop, 4)
    copy = Engine.restore(shop.engine.snapshot())
    assert copy.state.learned == shop.state.learned
    assert copy.state.unsaved == shop.state.unsaved


@pytest.mark.parametrize("how", ["file", "command", "while down"])
def test_another_catalogue_weight_begins_anew(shop, how):
    take(shop, 4)
    shop.give(GatewayStopping(at=shop.stamp(), reason="test"))
    assert ("learned", TEA) in shop.rows
    tea = msgspec.structs.replace(shop.store.products[TEA], unit_g=255.0)
    store = corner_store(products={**shop.store.products, TEA: tea})
    if how == "file":
        shop.give(StoreChanged(at=shop.stamp(), store=store))
    elif how == "while down":
        shop.store = store
        shop.restart()
    else:
        facings = [{"gtin": one.gtin, "plates": one.plates} for one in shop.store.facings]
        product = {"gtin": TEA, "name": "Tea", "unit_g": 255.0}
        shop.command("planogram", {"facings": facings, "products": [product], "id": "c"})
    assert shop.state.learned == {}
    assert ("learned", TEA) not in shop.rows
    shop.run(2.0)
    take(shop, 1)
    assert shop.state.learned[TEA].picks == 1
    assert shop.state.learned[TEA].catalogue_g == 255.0


def test_a_price_or_name_changes_nothing(shop):
    take(shop, 4)
    before = shop.state.learned[TEA]
    tea = msgspec.structs.replace(
        shop.store.products[TEA], name="Tea", price_minor=5, currency="EUR"
    )
    store = corner_store(products={**shop.store.products, TEA: tea})
    shop.give(StoreChanged(at=shop.stamp(), store=store))
    assert shop.state.learned[TEA] == before


def test_what_leaves_the_store_is_forgotten(shop):
    take(shop, 4)
    products = {gtin: one for gtin, one in shop.store.products.items() if gtin != TEA}
    facings = tuple(one for one in shop.store.facings if one.gtin != TEA)
    store = corner_store(products=products, facings=facings)
    shop.give(StoreChanged(at=shop.stamp(), store=store))
    assert shop.state.learned == shop.state.unsaved == {}


def test_the_engine_weighs_by_what_it_learned(shop):
    take(shop, 8)
    products, learned = shop.state.store.products, shop.state.learned
    known = Weights(products, learned, Trust.of(products, learned).part)[TEA]
    assert known.unit_g == pytest.approx(255.0, abs=2.0)
    assert known.sigma_g < 0.7 * shop.store.products[TEA].tolerance_g
    step = Step(shop.state, shop.layout, 0, shop.stamp())
    assert step.known_weights()[TEA] == known
