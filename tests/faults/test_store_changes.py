# SPDX-License-Identifier: Apache-2.0
"""The store changes under open carts: planogram, prices, products, plates; also over a restart."""

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gateway.domain.closing import CLOSED_HOLD_NS
from gateway.domain.inputs import StoreChanged
from gateway.domain.store import Calibration, Facing
from tests.faults.accounts import explained_g, told
from tests.gateway.domain.scene import (
    CRISPS,
    DOUBT_S,
    JAM,
    OIL,
    TEA,
    UNIT_G,
    Scene,
    corner_store,
)

LIES = {"g1.s1.p0": CRISPS, "g1.s1.p2": TEA, "g1.s1.p3": JAM, "g2.s1.p0": OIL}
PRICE = {TEA: 249, JAM: 399, CRISPS: 199, OIL: 899}


def priced(version="p1", **changed):
    store = corner_store(prices_version=version)
    products = {
        gtin: msgspec.structs.replace(product, price_minor=PRICE[gtin], currency="EUR")
        for gtin, product in store.products.items()
    }
    return msgspec.structs.replace(store, products=products, **changed)


def without(store, gtin):
    products = {key: one for key, one in store.products.items() if key != gtin}
    facings = tuple(one for one in store.facings if one.gtin != gtin)
    return msgspec.structs.replace(store, products=products, facings=facings)


def swapped(store):
    facings = (
        *(one for one in store.facings if one.gtin not in {TEA, JAM}),
        Facing(gtin=JAM, plates=("g1.s1.p2",)),
        Facing(gtin=TEA, plates=("g1.s1.p3",)),
    )
    return msgspec.structs.replace(store, facings=facings)


def smaller(store):
    """Return the store without its second shelf."""
    gone = {plate.name for plate in store.shelves[1].plates}
    facings = tuple(one for one in store.facings if gone.isdisjoint(one.plates))
    return msgspec.structs.replace(store, shelves=store.shelves[:1], facings=facings)


def recalibrated(store):
    plates = tuple(
        msgspec.structs.replace(
            plate, calibration=Calibration(id="new", zero_raw=0.0, counts_per_g=1.0)
        )
        for plate in store.shelves[0].plates
    )
    shelf = msgspec.structs.replace(store.shelves[0], plates=plates)
    return msgspec.structs.replace(store, shelves=(shelf, *store.shelves[1:]))


STORES = {
    "as it was": priced(),
    "new prices": priced("p2"),
    "no tea": without(priced(), TEA),
    "no jam": without(priced(), JAM),
    "swapped": swapped(priced()),
    "one shelf": smaller(priced()),
    "calibrated": recalibrated(priced()),
}


class Shop(Scene):
    """A scene whose devices go on as before, whatever the store file says."""

    def __init__(self):
        super().__init__(store=STORES["as it was"])
        self.taken_g = dict.fromkeys(LIES, 0.0)
        self.run(2.0)

    def restock(self, name):
        self.store = STORES[name]
        self.give(StoreChanged(at=self.stamp(), store=self.store))

    def move(self, who, plate, units, during=None):
        """Take units from a plate, or put them there; the store may change meanwhile."""
        delta_g = -units * UNIT_G[LIES[plate]]
        self.taken_g[plate] += delta_g
        self.reach(who, plate)
        self.run(0.6)
        self.weights_g[plate] += delta_g
        for tenth in range(40):
            if during is not None and tenth == during[0]:
                self.restock(during[1])
            if tenth == 8:
                self.bodies[who].wrist_mm = None
            self.run(0.1)
        self.bodies[who].floor_mm = (500.0, 0.0)

    def decide(self):
        """A person decides the oldest review as the gateway would have guessed."""
        for review in self.named("review.requested"):
            if review["review"] in self.state.reviews:
                acts = review["candidates"][0]["acts"] if review["candidates"] else []
                acts = [act | {"probability": 1.0} for act in acts]  # Somebody looked.
                body = {"review": review["review"], "acts": acts, "by": "clerk"}
                [answer], _ = self.command("review", body, command=f"d-{review['review']}")
                assert answer.status == "ok", answer
                return

    def folded(self):
        """Return each session's cart as a reader makes it of the events."""
        changes = {}
        for made in self.events:
            if made.name in {"item.picked", "item.put-back", "attribution.revised"}:
                known = changes.get(made.data["change"], {"revision": -1})
                if made.data["revision"] > known["revision"]:
                    changes[made.data["change"]] = made.data
        carts = {one["session"]: {} for one in self.named("session.started")}
        for change in changes.values():
            for act in change["acts"]:
                cart = carts.setdefault(act["session"], {})
                sign = 1 if act["direction"] == "pick" else -1
                cart[act["gtin"]] = cart.get(act["gtin"], 0) + sign * act["quantity"]
        return {
            session: {gtin: count for gtin, count in cart.items() if count > 0}
            for session, cart in carts.items()
        }

    def check(self):
        """Nothing is lost: every gram is told, every receipt is the sum of its acts and named."""
        for plate, delta_g in self.taken_g.items():
            assert explained_g(self, plate) == pytest.approx(delta_g, abs=12.0), plate
        carts = self.folded()
        for session in (one["session"] for one in self.named("session.started")):
            assert self.receipt(session) == carts[session]
        for cart in [*self.named("cart.closed"), *self.named("cart.adjusted")]:
            for line in cart["lines"]:
                assert line["name"] == line["gtin"][-3:]
                assert line["unit_price_minor"] == PRICE[line["gtin"]]
                assert line["price_version"] in {"p1", "p2"}


NAMES = st.sampled_from(sorted(STORES))
MEANWHILE = st.none() | st.tuples(
    st.integers(0, 14), st.sampled_from(["as it was", "new prices", "no tea", "no jam", "swapped"])
)
STEPS = st.one_of(
    st.tuples(st.just("take"), st.sampled_from(sorted(LIES)), MEANWHILE),
    st.tuples(st.just("take"), st.sampled_from(["g1.s1.p2", "g1.s1.p3"]), MEANWHILE),
    st.tuples(st.just("back"), st.sampled_from(sorted(LIES)), MEANWHILE),
    st.tuples(st.just("restock"), NAMES, st.none()),
    st.tuples(st.just("restart"), NAMES, st.none()),
    st.tuples(st.just("decide"), st.none(), st.none()),
)


@settings(max_examples=25, deadline=None)
@given(st.lists(STEPS, min_size=2, max_size=9))
@example(
    [
        ("take", "g1.s1.p2", None),
        ("restart", "no tea", None),
        ("back", "g1.s1.p2", None),
        ("take", "g1.s1.p2", None),
        ("decide", None, None),
    ]
)
@example([("take", "g1.s1.p3", (9, "swapped")), ("take", "g1.s1.p3", (12, "no jam"))])
@example([("take", "g1.s1.p0", (0, "no tea")), ("take", "g1.s1.p2", (6, "as it was"))])
@example([("take", "g2.s1.p0", None), ("restock", "one shelf", None), ("take", "g1.s1.p2", None)])
def test_whatever_changes_under_open_carts_nothing_is_lost(steps):
    shop = Shop()
    shop.enter("anna")
    held = dict.fromkeys(LIES, 0)
    gone = set()
    for step, what, meanwhile in steps:
        # Plates and calibrations change when nobody touches them; the rest whenever.
        during = None if shop.store in (STORES["calibrated"], STORES["one shelf"]) else meanwhile
        if step == "take" and what not in gone:
            shop.move("anna", what, 1, during)
            held[what] += 1
        elif step == "back" and held.get(what) and what not in gone:
            shop.move("anna", what, -1, during)
            held[what] -= 1
        elif step in {"restock", "restart"}:
            shop.run(2.5)
            if step == "restock":
                shop.restock(what)
            else:
                shop.store = STORES[what]
                shop.restart()
            shop.run(2.5)
        elif step == "decide":
            shop.decide()
        gone = {"g2.s1.p0"} if shop.store is STORES["one shelf"] else set()
    shop.leave("anna", DOUBT_S)
    while shop.state.reviews:
        shop.decide()
    shop.check()


def test_a_review_about_what_the_store_dropped_can_still_be_decided():
    shop = Shop()
    anna, bert = shop.enter("anna"), shop.enter("bert")
    shop.reach("bert", "g1.s1.p2")
    shop.move("anna", "g1.s1.p2", 1)  # Whose is it?
    shop.run(11.0)
    [review] = shop.named("review.requested")
    shop.leave("anna", DOUBT_S)
    shop.restock("no tea")
    shop.run(1.0)
    shop.restart()
    act = review["candidates"][0]["acts"][0] | {"session": anna}
    [answer], _ = shop.command("review", {"review": review["review"], "acts": [act], "by": "clerk"})
    assert answer.status == "ok"
    [cart] = [one for one in shop.named("cart.adjusted") if one["session"] == anna]
    [line] = cart["lines"]
    assert (line["gtin"], line["name"], line["unit_price_minor"]) == (TEA, TEA[-3:], 249)
    assert bert in shop.state.sessions


def test_a_review_about_a_plate_that_is_gone_can_still_be_decided():
    shop = Shop()
    anna = shop.enter("anna")
    shop.enter("bert")
    shop.reach("bert", "g2.s1.p0")
    shop.move("anna", "g2.s1.p0", 1)
    shop.run(11.0)
    [review] = shop.named("review.requested")
    shop.restock("one shelf")
    act = review["candidates"][0]["acts"][0] | {"session": anna, "misplaced": True}
    [answer], _ = shop.command("review", {"review": review["review"], "acts": [act], "by": "clerk"})
    assert answer.status == "ok"
    assert "g2.s1.p0" not in shop.state.holdings
    shop.leave("anna")
    assert shop.receipt(anna) == {OIL: 1}


def test_products_that_nothing_names_are_forgotten():
    shop = Shop()
    shop.enter("anna")
    shop.move("anna", "g1.s1.p2", 1)
    shop.restock("no tea")
    assert list(shop.state.products) == [TEA]
    shop.leave("anna")
    shop.run(62.0)
    assert list(shop.state.products) == [TEA]  # Later evidence may still adjust the cart.
    shop.run(CLOSED_HOLD_NS / 1e9)
    assert shop.state.products == {}
    assert not [key for kind, key in shop.rows if kind == "product"]


def test_a_plate_replaced_while_it_moves_is_told():
    shop = Shop()
    shop.enter("anna")
    shop.reach("anna", "g1.s1.p3")
    shop.run(0.4)
    shop.weights_g["g1.s1.p3"] -= 390.0
    shop.run(0.2)
    shop.restock("calibrated")
    assert told(shop)["shelf/g1.s1", "moving-when-replaced"] == 1


def test_a_calibration_that_changed_while_the_gateway_was_down_compares_with_nothing():
    shop = Shop()
    shop.enter("anna")
    shop.move("anna", "g1.s1.p3", 1)
    for plate in ("g1.s1.p0", "g1.s1.p2"):
        shop.weights_g[plate] *= 1.1  # What the new calibration makes of the same weight.
    shop.store = STORES["calibrated"]
    shop.restart()
    shop.run(4.0)
    assert shop.named("shelf.changed-unattended") == []
    shop.restart()
    shop.weights_g["g1.s1.p3"] -= 390.0
    shop.run(4.0)
    assert len(shop.named("shelf.changed-unattended")) == 1


def test_devices_that_the_store_dropped_are_forgotten(scene):
    scene.silent = {"shelf/g2.s1"}
    scene.run(6.0)
    assert scene.state.devices["shelf/g2.s1"].lost_ns is not None
    scene.give(StoreChanged(at=scene.stamp(), store=smaller(corner_store())))
    assert "shelf/g2.s1" not in scene.state.devices
    assert ("marks", "shelf/g2.s1") not in scene.rows
    scene.store = smaller(corner_store(cameras=()))
    scene.restart()
    assert "camera/over" not in scene.state.devices


def test_the_last_price_of_a_product_that_is_gone_counts():
    shop = Shop()
    anna = shop.enter("anna")
    shop.move("anna", "g1.s1.p2", 1)
    shop.restock("new prices")
    shop.restock("no tea")
    shop.leave("anna")
    [cart] = shop.named("cart.closed")
    assert [line["price_version"] for line in cart["lines"]] == ["p2"]
    assert shop.receipt(anna) == {TEA: 1}


@pytest.mark.parametrize("beside", [False, True])
def test_what_was_felt_before_a_planogram_is_decided_by_the_old_one(beside):
    """Also what still waits for the plate beside it to come to rest."""
    shop = Shop()
    anna = shop.enter("anna")
    shop.reach("anna", "g1.s1.p3")
    shop.run(0.6)
    shop.weights_g["g1.s1.p3"] -= 390.0
    level_g = shop.weights_g["g1.s1.p2"]
    for n in range(20):
        if beside:
            shop.weights_g["g1.s1.p2"] = level_g + (80.0 if n % 2 else -80.0)
        else:
            shop.silent = {"camera/over"}
        shop.run(0.2)
        if shop.state.changes or shop.state.shelves["g1.s1"].pending:
            break
    assert bool(shop.state.shelves["g1.s1"].pending) is beside
    shop.restock("swapped")
    [picked] = shop.named("item.picked")
    assert [(act["gtin"], act["session"]) for act in picked["acts"]] == [(JAM, anna)]


def test_what_is_taken_from_a_plate_without_a_product_is_asked_whatever_others_hold():
    shop = Shop()
    shop.enter("anna")
    shop.move("anna", "g2.s1.p0", 1)  # A heavy oil: 150 g are nothing beside it.
    shop.restock("no tea")
    shop.move("anna", "g1.s1.p2", 1)
    shop.leave("anna")
    [review] = shop.named("review.requested")
    assert review["reason"] == "unexplained-weight"
    assert review["weights"][0]["delta_g"] == pytest.approx(-240.0, abs=3.0)
