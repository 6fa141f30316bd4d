# SPDX-License-Identifier: Apache-2.0
"""A restart in the middle of a visit: carts, tokens and weights are still known."""

from gateway.simulator.keys import TokenMaker
from tests.e2e.helpers import Witness, closed, daemon, outside_broker, until
from tests.e2e.shop import (
    CRISPS,
    FILE,
    JAM,
    PERIOD_US,
    ROOT,
    STORE,
    Shop,
    bought,
    complete,
    open_shop,
    settled,
)


def test_a_cart_outlives_a_restart_and_what_nobody_saw_is_never_guessed(tmp_path):
    with open_shop(tmp_path) as at:
        shop, witness = at.shop, at.witness
        shop.stand("7", -1_500.0)
        token = shop.tokens.token("anna")
        shop.scan(token)
        session = witness.event("session.started")["data"]["session"]
        shop.reach("7", "g1.s1.p1", -165.0)
        witness.event("item.picked")
        shop.stand("7", -200.0)
        at.daemon.program.kill()
        # The in-store broker died with it: while it is away, tea is taken.
        shop.load_g["g1.s1.p2"] -= 80.0
        at.daemon.start()
        unseen = witness.event("shelf.changed-unattended")["data"]
        assert unseen["reason"] == "gateway-down"
        assert [felt["plate"] for felt in unseen["weights"]] == ["g1.s1.p2"]
        assert unseen["review"] is not None
        shop.scan(token)
        shop.reach("7", "g1.s1.p3", -330.0)
        witness.event("item.picked", count=2)
        shop.leave("7")
        cart = witness.event("cart.closed")
        assert cart["data"]["session"] == session
        assert bought(cart) == {CRISPS: 1, JAM: 1}
        assert cart["data"]["open"] == [unseen["review"]]
        assert at.daemon.stop()[0] == 0
        complete(at)
        assert len(witness.named("session.started")) == 1
        reasons = {event["data"]["reason"] for event in witness.named("inputs.dropped")}
        assert "token-replayed" in reasons
        doors = [topic for _, topic, _, _ in shop.messages]
        assert len(doors) == 1


def test_retained_messages_are_taken_on_status_only(tmp_path):
    """What a broker kept is of unknown age: no weight, no scan and no person of it counts."""
    file = tmp_path / "store.toml"
    file.write_text(FILE)
    tokens = TokenMaker.in_directory(STORE, tmp_path / "keys")
    with (
        outside_broker(tmp_path) as upstream,
        outside_broker(tmp_path, "in-store") as instore,
        closed(Witness(upstream.port, STORE)) as witness,
        daemon(tmp_path, file, upstream=upstream.port, instore=instore.port) as one,
    ):
        with closed(Witness(instore.port, STORE)) as device:
            boot = {"v": 1, "boot": "old", "seq": 5}
            rows = {"period_us": PERIOD_US, "unit": "g", "w": [[9.0, 9.0, 9.0]]}
            for leaf, message in {
                "shelf/g1.s1/samples": {**boot, **rows},
                "scanner/entrance/scan": {**boot, "text": tokens.token("ghost")},
                "camera/top/people": {**boot, "people": []},
                "door/gate/state": {**boot, "open": True},
                "shelf/g1.s1/status": {"v": 1, "state": "offline", "boot": "old"},
            }.items():
                device.send(f"{ROOT}/{leaf}", message, retain=True)
        one.start()
        lost = witness.event("device.lost")["data"]
        assert (lost["device"], lost["reason"]) == ("shelf/g1.s1", "offline")
        with closed(Shop(instore.port, tmp_path / "keys")) as shop:
            settled(one)
            shop.scan(tokens.token("anna"))
            witness.event("session.started")
            witness.event("device.recovered", lambda e: e["data"]["device"] == "shelf/g1.s1")
        assert one.stop()[0] == 0
        witness.event("gateway.stopped")
        dropped = {
            event["data"]["device"]: event["data"]["count"]
            for event in witness.named("inputs.dropped")
            if event["data"]["reason"] == "retained"
        }
        assert dropped == dict.fromkeys(
            ("shelf/g1.s1", "scanner/entrance", "camera/top", "door/gate"), 1
        )
        assert [e["data"]["shopper"] for e in witness.named("session.started")] == ["anna"]
        until(lambda: len(one.rows()) == len(witness.events), "every committed event")
