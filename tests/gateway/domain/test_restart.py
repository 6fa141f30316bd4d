# SPDX-License-Identifier: Apache-2.0
"""The gateway goes and comes back: durable rows and a gap."""

import msgspec
import pytest

from gateway.domain.inputs import (
    Dropped,
    GatewayStopping,
    PersonSeen,
    Tick,
)
from tests.gateway.domain.scene import (
    CRISPS,
    DOUBT_S,
    ENTRY_MM,
    EXIT_MM,
    JAM,
    TEA,
    Scene,
    corner_store,
    dropped,
    epoch_name,
    names,
)


@pytest.mark.parametrize("reboot", [False, True])
def test_a_restart_keeps_open_carts(shopping, reboot):
    shopping.restart(reboot=reboot)
    shopping.run(2.0)
    assert list(shopping.state.sessions) == [shopping.anna]
    shopping.act("anna", {"g1.s1.p3": -390.0})
    made = shopping.leave()
    assert shopping.receipt(shopping.anna) == {TEA: 1, JAM: 1}
    assert made[-1].data["reason"] == "exit"
    assert shopping.named("shelf.changed-unattended") == []
    assert shopping.named("cart.closed")[0]["open"] == []


@pytest.mark.parametrize("reboot", [False, True])
@pytest.mark.parametrize("changes_g", [{"g1.s1.p3": -390.0}, {"g1.s1.p2": +240.0}])
def test_what_changed_while_the_gateway_was_down_is_asked(shopping, reboot, changes_g):
    for plate, delta_g in changes_g.items():
        shopping.weights_g[plate] += delta_g
    shopping.restart(reboot=reboot)
    shopping.run(3.0)
    (unattended,) = shopping.named("shelf.changed-unattended")
    assert unattended["reason"] == "gateway-down"
    assert [one["plate"] for one in unattended["weights"]] == list(changes_g)
    assert unattended["weights"][0]["delta_g"] == pytest.approx(
        next(iter(changes_g.values())), abs=3.0
    )
    (review,) = shopping.named("review.requested")
    assert (review["review"], review["sessions"]) == (unattended["review"], [shopping.anna])
    shopping.leave()
    (cart,) = shopping.named("cart.closed")
    assert cart["open"] == [review["review"]]
    assert shopping.receipt(shopping.anna) == {TEA: 1}


def test_what_was_taken_while_down_comes_off_nobody_elses_cart(shopping):
    """Bert took a tea unseen and brings it back: Anna's own stays hers, and both are asked."""
    bert = shopping.enter("bert")
    shopping.weights_g["g1.s1.p2"] -= 240.0
    shopping.restart()
    shopping.run(3.0)
    shopping.bodies["anna"].floor_mm = (-500.0, 0.0)
    shopping.act("bert", {"g1.s1.p2": +240.0})
    shopping.leave("bert", DOUBT_S)
    assert [one["weights"][0]["delta_g"] > 0 for one in shopping.named("review.requested")] == [
        False,
        True,
    ]
    shopping.leave(wait_s=DOUBT_S)
    assert (shopping.receipt(bert), shopping.receipt(shopping.anna)) == ({}, {TEA: 1})


def test_what_changed_while_down_and_nobody_shopped_needs_no_review(scene):
    scene.weights_g["g1.s1.p3"] -= 390.0
    scene.restart()
    scene.run(3.0)
    (unattended,) = scene.named("shelf.changed-unattended")
    assert unattended["review"] is None
    assert scene.state.reviews == {}


@pytest.mark.parametrize(
    "drift_g",
    [
        {"g1.s1.p2": 8.0},
        {"g1.s1.p0": -9.0, "g1.s1.p3": 12.0},
        {f"g1.s1.p{n}": 5.5 for n in range(4)},
        {f"g1.s1.p{n}": -5.5 for n in range(4)},
    ],
)
def test_drift_while_the_gateway_was_down_is_silent(drift_g):
    products = corner_store().products
    light = msgspec.structs.replace(products[CRISPS], unit_g=50.0, tolerance_g=2.0)
    scene = Scene(store=corner_store(products=products | {CRISPS: light}))
    scene.run(2.0)
    anna = scene.enter("anna")
    scene.act("anna", {"g1.s1.p2": -240.0})
    for plate, delta_g in drift_g.items():
        scene.weights_g[plate] += delta_g
    scene.restart(down_s=600.0)
    scene.run(4.0)
    assert scene.named("shelf.changed-unattended") == []
    assert scene.named("review.requested") == []
    scene.act("anna", {"g1.s1.p3": -390.0})
    scene.leave()
    assert scene.receipt(anna) == {TEA: 1, JAM: 1}


def test_a_change_among_drift_while_the_gateway_was_down_is_found(shopping):
    for n, delta_g in enumerate((-4.0, -150.0, 5.0, -5.0)):
        shopping.weights_g[f"g1.s1.p{n}"] += delta_g
    shopping.restart(down_s=600.0)
    shopping.run(4.0)
    (unattended,) = shopping.named("shelf.changed-unattended")
    assert [one["plate"] for one in unattended["weights"]] == ["g1.s1.p1"]
    (review,) = shopping.named("review.requested")
    assert review["candidates"][0]["acts"][0]["gtin"] == CRISPS


def test_a_pick_that_straddles_the_kill_is_not_lost(shopping):
    shopping.reach("anna", "g1.s1.p3")
    shopping.run(0.3)
    shopping.weights_g["g1.s1.p3"] -= 390.0
    shopping.run(0.2)  # The plate moves, but has not settled.
    shopping.restart(down_s=1.0)
    shopping.run(3.0)
    shopping.bodies["anna"].wrist_mm = None
    (review,) = shopping.named("review.requested")
    shopping.leave()
    assert shopping.named("cart.closed")[0]["open"] == [review["review"]]


def test_whoever_left_while_the_gateway_was_down_gets_a_receipt(shopping):
    shopping.bodies["anna"].floor_mm = EXIT_MM
    shopping.run(0.5)
    del shopping.bodies["anna"]
    shopping.restart(down_s=20.0)
    shopping.run(5.0)
    assert shopping.receipt(shopping.anna) == {TEA: 1}
    assert shopping.named("session.ended")[0]["reason"] == "exit"


def test_restarts_one_after_another_lose_nothing(shopping):
    for _ in range(4):
        shopping.restart(down_s=1.0)
        shopping.run(0.3)
    shopping.weights_g["g1.s1.p3"] -= 390.0
    shopping.restart(down_s=1.0)
    shopping.run(0.3)
    shopping.restart(down_s=1.0)
    shopping.run(3.0)
    assert len(shopping.named("shelf.changed-unattended")) == 1
    assert list(shopping.state.sessions) == [shopping.anna]


def test_the_marks_hold_over_a_restart(scene):
    item = scene.block("g1.s1")
    scene.give(item)
    scene.give(Tick(at=scene.stamp()))
    scan = scene.seqs["scanner/gate"]
    scene.scan("anna", token="one")
    scene.restart()
    assert scene.scan("bert", token="two", seq=scan) == []
    assert "scanner/gate repeat" in dropped(scene)


def test_a_start_names_the_epoch_before(scene):
    scene.restart()
    first, second = scene.named("gateway.started")
    assert (first["previous_epoch"], first["previous_sequence"]) == (None, None)
    assert second["previous_epoch"] == epoch_name(1)


def test_a_stop_tells_what_was_dropped_first(scene):
    scene.give(Dropped(at=scene.stamp(), device="shelf/g1.s1", reason="malformed", count=3))
    made = scene.give(GatewayStopping(at=scene.stamp(), reason="SIGTERM"))
    assert names(made) == ["inputs.dropped", "gateway.stopped"]
    assert made[1].data["reason"] == "SIGTERM"


def test_a_shopper_who_left_while_the_gateway_was_down_gets_a_receipt_soon(shopping):
    del shopping.bodies["anna"]  # From the middle of the aisle.
    shopping.restart(down_s=5.0)
    shopping.run(15.0)
    assert shopping.named("cart.closed") == []
    shopping.run(10.0)
    assert shopping.receipt(shopping.anna) == {TEA: 1}
    assert shopping.named("session.ended")[0]["reason"] == "unseen"


def test_with_the_camera_still_away_nobody_has_left(shopping):
    shopping.restart(down_s=5.0)
    shopping.silent = {"camera/over"}
    shopping.run(40.0)
    shopping.silent = set()
    shopping.run(5.0)
    assert shopping.named("cart.closed") == []
    shopping.leave()
    assert shopping.receipt(shopping.anna) == {TEA: 1}


@pytest.mark.parametrize("pause_s", [0.0, 0.4, 1.2])
def test_whoever_comes_in_after_a_restart_is_not_somebody_who_left(shopping, pause_s):
    shopping.bodies["anna"].floor_mm = (-200.0, 0.0)
    shopping.run(0.5)
    del shopping.bodies["anna"]
    shopping.restart(down_s=3.0)
    seen_before = shopping.frame(
        people=[PersonSeen(track="bert", floor_mm=ENTRY_MM)],
        host_boot=shopping.boot,
        host_mono_ms=(shopping.now_ns - 300_000_000) / 1e6,
    )
    if not pause_s:
        shopping.give(seen_before)
    shopping.run(pause_s)
    bert = shopping.enter("bert")
    shopping.act("bert", {"g1.s1.p3": -390.0})
    shopping.leave("bert")
    assert shopping.receipt(bert) == {JAM: 1}
    shopping.run(20.0)
    assert shopping.receipt(shopping.anna) == {TEA: 1}


def test_a_put_back_of_what_only_a_review_may_have_given_is_asked_too(shopping):
    # Two teas weigh nearly as much as what goes from the scale unseen.
    shopping.act("anna", {"g1.s1.p2": -240.0})
    shopping.weights_g["g1.s1.p3"] -= 400.0
    shopping.weights_g["g2.s1.p0"] -= 900.0
    shopping.restart(down_s=1.0)
    shopping.run(3.0)
    oil, jam = sorted(
        shopping.named("review.requested"), key=lambda one: one["weights"][0]["delta_g"]
    )
    assert jam["candidates"][0]["acts"][0]["gtin"] == JAM
    shopping.act("anna", {"g1.s1.p3": +400.0})
    shopping.leave()
    back = shopping.named("review.requested")[-1]
    assert [one["plate"] for one in back["weights"]] == ["g1.s1.p3"]
    assert back["weights"][0]["delta_g"] > 0
    (cart,) = shopping.named("cart.closed")
    assert shopping.receipt(shopping.anna) == {TEA: 2}
    assert sorted(cart["open"]) == sorted([oil["review"], jam["review"], back["review"]])


def test_what_was_about_to_be_asked_is_asked_after_a_kill(shopping):
    bert = shopping.enter("bert")
    shopping.reach("bert", "g1.s1.p3")
    shopping.act("anna", {"g1.s1.p3": -390.0})
    assert shopping.named("review.requested") == []
    shopping.restart()
    (review,) = shopping.named("review.requested")
    assert review["reason"] == "uncertain"
    assert {one["acts"][0]["session"] for one in review["candidates"][:2]} == {shopping.anna, bert}
    shopping.restart()
    shopping.run(12.0)
    assert len(shopping.named("review.requested")) == 1
    shopping.leave("anna")
    assert shopping.named("cart.closed")[0]["open"] == [review["review"]]
    act = review["candidates"][0]["acts"][0]
    for session, command in ((bert, "c1"), (shopping.anna, "c2")):
        body = {"review": review["review"], "acts": [act | {"session": session}], "by": "x"}
        shopping.command("review", body, command)
    shopping.leave("bert")
    assert shopping.receipt(shopping.anna) == {TEA: 1}
    assert shopping.receipt(bert) == {JAM: 1}


def test_a_weight_that_nothing_explains_is_not_lost_with_a_kill(shopping):
    shopping.act("anna", {"g1.s1.p3": -75.0})
    shopping.restart()
    shopping.leave("anna")
    (review,) = shopping.named("review.requested")
    assert review["reason"] == "unexplained-weight"
    assert shopping.named("cart.closed")[0]["open"] == [review["review"]]


def test_what_later_changes_answered_is_asked_by_no_start(shopping):
    shopping.act("anna", {"g1.s1.p3": +75.0})
    shopping.act("anna", {"g1.s1.p3": -75.0})
    shopping.restart()
    assert shopping.named("review.requested") == []
    assert not [key for key in shopping.rows if key[0] == "doubt"]
    shopping.leave("anna")
    assert shopping.named("cart.closed")[0]["open"] == []


def test_a_receipt_is_not_emptied_by_a_kill_after_it(shopping):
    shopping.leave("anna")
    shopping.restart()
    bert = shopping.enter("bert")
    shopping.act("bert", {"g1.s1.p3": -390.0})
    shopping.leave("bert")
    assert shopping.named("cart.adjusted") == []
    assert shopping.receipt(shopping.anna) == {TEA: 1}
    assert shopping.receipt(bert) == {JAM: 1}
