# SPDX-License-Identifier: Apache-2.0
"""What holds whatever shoppers do: units are conserved, order and bystanders change no receipt."""

from collections import Counter, defaultdict

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.domain.engine import Engine, fold
from gateway.domain.inputs import People, Samples
from gateway.domain.store import Calibration, Facing, Plate, Product, Shelf
from tests.gateway.domain.scene import (
    BLOCK,
    DOUBT_S,
    JAM,
    OIL,
    STEP_NS,
    TEA,
    UNIT_G,
    Scene,
    corner_store,
)

PLATES = {TEA: "g1.s1.p2", JAM: "g1.s1.p3", OIL: "g2.s1.p0"}
BYSTANDER_MM = (-400.0, -1_700.0)
FAR = {n: f"g9.s1.p{n}" for n in range(4)}
FAR_UNIT_G = (200.0, 210.0, 320.0, 330.0)


def together():
    """Return the store with both shelves in one gondola and all plates calibrated.

    They tremble together, and units on them are counted.
    """
    store = corner_store()
    calibration = Calibration(id="zeroed", zero_raw=0.0, counts_per_g=1.0)
    return corner_store(
        shelves=tuple(
            msgspec.structs.replace(
                shelf,
                gondola="g1",
                plates=tuple(
                    msgspec.structs.replace(plate, calibration=calibration)
                    for plate in shelf.plates
                ),
            )
            for shelf in store.shelves
        )
    )


stores = st.sampled_from([corner_store(), together()])
goods = st.sampled_from(list(PLATES))
wishes = st.lists(
    st.tuples(
        st.sampled_from(["anna", "bert"]),
        goods,
        st.sampled_from(["take", "take two", "put back", "misplace", "crowd"]),
    ),
    min_size=1,
    max_size=6,
)


def with_far_shelf(store):
    """Return a store with a shelf far off, whose neighbours are hard to tell apart by weight."""
    [near, *_] = store.shelves
    plates = tuple(Plate(name=name, offset_mm=n * 250.0, width_mm=250.0) for n, name in FAR.items())
    shelf = Shelf(
        name="g9.s1",
        gondola="g9",
        front_mm=(9_000.0, 1_000.0, 10_000.0, 1_000.0),
        z_mm=near.z_mm,
        depth_mm=near.depth_mm,
        plates=plates,
    )
    goods = {
        f"{2_000_000_000_000 + n:013}".zfill(14): (name, FAR_UNIT_G[n]) for n, name in FAR.items()
    }
    return msgspec.structs.replace(
        store,
        shelves=(*store.shelves, shelf),
        products=store.products
        | {
            gtin: Product(gtin=gtin, name=name, unit_g=unit_g, tolerance_g=0.03 * unit_g)
            for gtin, (name, unit_g) in goods.items()
        },
        facings=(
            *store.facings,
            *(Facing(gtin=gtin, plates=(name,)) for gtin, (name, _) in goods.items()),
        ),
    )


class Shop:
    """Two shoppers who do as they are told, and what they truly hold."""

    def __init__(self, store, *, bystander=False):
        self.scene = Scene(store=store)
        self.scene.run(2.0)
        if bystander:
            self.scene.enter("carl")
            self.scene.bodies["carl"].floor_mm = BYSTANDER_MM
            self.scene.run(1.0)
        self.sessions = {name: self.scene.enter(name) for name in ("anna", "bert")}
        self.held = {"anna": Counter(), "bert": Counter()}
        self.left = Counter()
        self.about = Counter()

    def do(self, who, gtin, what):
        """Carry out a wish, as far as it can be."""
        scene, plate, held = self.scene, PLATES[gtin], self.held[who]
        other = "bert" if who == "anna" else "anna"
        scene.bodies[other].floor_mm = (500.0, 0.0)
        scene.run(0.5)  # Two who leap onto each other's place at once may have exchanged tracks.
        n = 2 if what == "take two" else 1
        if what in {"put back", "misplace"}:
            if not held[gtin]:
                return
            n = -1
            if what == "misplace":
                plate = PLATES[next(one for one in PLATES if one != gtin)]
        if what == "crowd":
            scene.reach(other, plate)
        elif what == "beside":
            scene.stand(other, plate)
        scene.act(who, {plate: -n * UNIT_G[gtin]}, wait_s=1.6)
        scene.bodies[other].wrist_mm = None
        held[gtin] += n
        self.left[gtin] += n

    def close(self):
        """Both leave."""
        self.scene.leave("anna", wait_s=0.5)
        self.scene.leave("bert", DOUBT_S)

    def receipts(self):
        return {name: self.scene.receipt(session) for name, session in self.sessions.items()}


def carts_of(scene):
    """Return the units of each session, and under None of nobody, by each change's last acts."""
    acts = {}
    for made in scene.events:
        if "acts" in made.data and "revision" in made.data:
            acts[made.data["change"]] = made.data["acts"]
    carts = defaultdict(Counter)
    for act in (act for one in acts.values() for act in one):
        sign = 1 if act["direction"] == "pick" else -1
        carts[act["session"]][act["gtin"]] += sign * act["quantity"]
    return carts


@settings(max_examples=30)
@given(stores, wishes)
def test_what_left_the_shelves_is_on_the_carts(store, wanted):
    """Also where nobody can tell whose it is: it is on one cart, not on none or on two."""
    shop = Shop(store)
    for one in wanted:
        shop.do(*one)
        told = carts_of(shop.scene)
        for name, session in shop.scene.state.sessions.items():
            lines = {gtin: line.quantity for gtin, line in session.lines.items()}
            assert lines == dict(+told[name])
            assert all(n > 0 for n in lines.values())
    shop.close()
    told = carts_of(shop.scene)
    receipts = shop.receipts()
    for name, session in shop.sessions.items():
        assert receipts[name] == dict(+told[session])
        assert not -told[session]
    assert told[None] == {}
    assert sum(map(Counter, receipts.values()), Counter()) == +shop.left
    if all(what != "crowd" for *_, what in wanted):
        assert receipts == {name: dict(+held) for name, held in shop.held.items()}


@settings(max_examples=30)
@given(stores, wishes)
def test_somebody_far_away_changes_no_receipt(store, wanted):
    alone, watched = Shop(store), Shop(store, bystander=True)
    for shop in (alone, watched):
        for one in wanted:
            if one[2] != "crowd":
                shop.do(*one)
        shop.close()
    assert alone.receipts() == watched.receipts()


@pytest.mark.parametrize("store", [corner_store(), together()])
@pytest.mark.parametrize("gtin", list(PLATES))
@pytest.mark.parametrize("bystander", [False, True])
def test_what_comes_back_after_its_buyer_left_stays_bought(store, gtin, bystander):
    """Whoever brings it came later; those who met the buyer are elsewhere, or far away."""
    shop = Shop(store, bystander=bystander)
    scene = shop.scene
    shop.do("bert", gtin, "take")
    scene.leave("bert", DOUBT_S)
    dora = scene.enter("dora")
    scene.act("dora", {PLATES[gtin]: UNIT_G[gtin]}, wait_s=1.6)
    scene.leave("dora", 0.5)
    scene.leave("anna", DOUBT_S)
    assert shop.receipts() == {"anna": {}, "bert": {gtin: 1}}
    assert scene.receipt(dora) == {}


def test_what_comes_back_by_whoever_met_its_buyer_may_be_the_buyers():
    """The two were there together: one may have handed it to the other. A person is asked."""
    shop = Shop(corner_store())
    scene = shop.scene
    shop.do("bert", JAM, "take")
    scene.leave("bert", DOUBT_S)
    scene.act("anna", {PLATES[JAM]: UNIT_G[JAM]}, wait_s=1.6)
    scene.leave("anna", DOUBT_S)
    assert shop.receipts() == {"anna": {}, "bert": {}}
    assert scene.named("review.requested")


def test_whoever_is_out_of_sight_is_asked_about_where_nobody_was_near():
    """Behind a pillar, or somebody; those who were seen elsewhere all the while are not."""
    shop = Shop(corner_store(), bystander=True)
    scene = shop.scene
    scene.stand("anna", PLATES[JAM])
    scene.run(1.0)
    anna = scene.bodies.pop("anna")
    scene.run(4.0)
    scene.weights_g[PLATES[JAM]] -= UNIT_G[JAM]
    scene.run(4.0)
    scene.bodies["anna"] = anna
    scene.run(1.0)
    shop.close()
    [review] = scene.named("review.requested")
    assert (review["reason"], review["sessions"]) == ("nobody-near", [shop.sessions["anna"]])


@settings(max_examples=15)
@given(
    stores,
    wishes,
    st.integers(1, 5),
    st.lists(st.tuples(st.sampled_from(list(FAR)), st.sampled_from([-2, -1, 1])), min_size=2),
)
def test_a_crowd_far_away_that_nobody_can_tell_apart_changes_no_receipt(store, wanted, count, acts):
    """Its members reach for the same at once, and share the explanations that are kept."""
    alone, beside = Shop(with_far_shelf(store)), Shop(with_far_shelf(store))
    crowd = [f"far-{number}" for number in range(count)]
    for name in crowd:
        alone.scene.run(0.8)
        beside.scene.enter(name)
    for shop in (alone, beside):
        scene, others = shop.scene, iter(acts * len(wanted))
        for one in wanted:
            number, units = next(others)
            if shop is beside:
                for name in crowd:
                    scene.reach(name, FAR[number])
                scene.weights_g[FAR[number]] += units * FAR_UNIT_G[number]
            scene.run(0.8)
            if one[2] != "crowd":
                shop.do(*one)
        shop.close()
    assert any(made.event.subject == "shelf/g9.s1" for made in beside.scene.events)
    assert alone.receipts() == beside.receipts()


def closed(events, inputs):
    """Return each shopper's receipts."""
    shoppers, carts = {}, defaultdict(list)
    for event in events:
        data = msgspec.json.decode(event.data)
        if event.name == "session.started":
            shoppers[data["session"]] = event.shopper
        elif event.name == "cart.closed":
            lines = [(line["gtin"], line["quantity"]) for line in data["lines"]]
            carts[shoppers[data["session"]]].append((lines, len(data["open"])))
    assert carts, len(inputs)
    return carts


@settings(max_examples=30)
@given(
    stores,
    st.lists(
        st.tuples(
            st.sampled_from(["anna", "bert"]),
            goods,
            st.sampled_from(["take", "put back", "beside"]),  # There hands decide.
        ),
        min_size=1,
        max_size=4,
    ),
    st.integers(0, 2**32),
    st.sampled_from([50, 150, 300, 600]),
)
def test_messages_that_are_late_against_each_other_change_no_receipt(store, wanted, seed, late_ms):
    """Shelves' blocks are late, in order; cameras' frames are late and overtake each other."""
    shop = Shop(store)
    settled_ns = shop.scene.now_ns
    for one in wanted:
        shop.do(*one)
    shop.close()
    inputs = [item for _, item in shop.scene.inputs]
    told = closed([made.event for made in shop.scene.events], inputs)
    rng = np.random.default_rng(seed)
    due_ns, order = {}, []
    for number, item in enumerate(inputs):
        at_ns = item.at.mono_ns
        if isinstance(item, Samples | People) and at_ns > settled_ns:
            at_ns += int(rng.integers(0, late_ms * 1_000_000))
            if isinstance(item, Samples):
                at_ns = due_ns[item.device] = max(at_ns, due_ns.get(item.device, 0))
        order.append((at_ns, number, item))
    later = [
        msgspec.structs.replace(
            item,
            at=msgspec.structs.replace(
                item.at, mono_ns=at_ns, utc_ns=item.at.utc_ns + at_ns - item.at.mono_ns
            ),
        )
        for at_ns, _, item in sorted(order, key=lambda one: one[:2])
    ]
    assert [type(item) for item in later] != [type(item) for item in inputs]
    assert closed(fold(Engine(), enumerate(later, 1)), later) == told


class Restless(Scene):
    """A scene whose cells drift, and spike for one sample now and then."""

    drift_g_per_s = 0.0
    spikes = ()
    blocks = 0

    def block(self, shelf, **changed):
        for place in self.layout.shelves[shelf].plates:
            sign = 1 if place.index % 2 else -1
            self.weights_g[place.name] += sign * self.drift_g_per_s * 2 * STEP_NS / 1e9
        item = super().block(shelf, **changed)
        self.blocks += 1
        for block, sample, plate, height_g in self.spikes:
            if block == self.blocks and plate < len(item.w[0]):
                item.w[sample][plate] += height_g
        return item


@settings(max_examples=30)
@given(
    st.floats(-0.3, 0.3),
    st.lists(
        st.tuples(
            st.integers(20, 90),
            st.integers(0, BLOCK - 1),
            st.integers(0, 3),
            st.floats(-20_000.0, 20_000.0),
        ),
        max_size=4,
        unique_by=lambda spike: spike[0] // 6,  # In different blocks of a shelf.
    ),
)
def test_drift_and_spikes_alone_make_no_event(drift_g_per_s, spikes):
    scene = Restless()
    scene.run(1.5)
    anna = scene.enter("anna")
    scene.reach("anna", PLATES[JAM])  # Whoever stands there took nothing all the same.
    before = len(scene.events)
    scene.drift_g_per_s, scene.spikes = drift_g_per_s, spikes
    scene.run(10.0)
    assert scene.events[before:] == []
    scene.bodies["anna"].wrist_mm = None
    scene.leave("anna")
    assert scene.receipt(anna) == {}
    assert scene.named("review.requested") == []


@pytest.mark.parametrize("drift_g_per_min", [-5.0, 5.0])
def test_long_drift_is_no_event_and_hides_none(drift_g_per_min):
    """Of a warm morning, in which every plate comes to weigh fifty grams more, or less."""
    scene = Restless()
    scene.run(1.5)
    anna = scene.enter("anna")
    before = len(scene.events)
    scene.drift_g_per_s = drift_g_per_min / 60.0
    scene.run(600.0)
    told = [made.name for made in scene.events[before:] if made.event.subject != "door/front"]
    assert told == [], "but for the door, which says nothing here"
    scene.act("anna", {PLATES[JAM]: -UNIT_G[JAM]})
    scene.leave("anna")
    assert scene.receipt(anna) == {JAM: 1}
