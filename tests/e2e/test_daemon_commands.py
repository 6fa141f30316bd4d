# SPDX-License-Identifier: Apache-2.0
"""Commands from upstream, and a store file that changes while the daemon runs."""

import json
import os
import secrets
import signal
from itertools import count

import pytest

from tests.e2e.helpers import GATEWAY, until
from tests.e2e.shop import (
    BRIDGE,
    CRISPS,
    FILE,
    JAM,
    PERIOD_US,
    ROOT,
    ROWS,
    TEA,
    bought,
    complete,
    open_shop,
    visit,
)

COMMANDS = f"{ROOT}/{GATEWAY}/commands"
COUNTER = """
[[scanner]]
name = "counter"
reads = "products"
[[in_store_number]]
prefix = "28"
item = [2, 6]
measure = "weight"
value = [7, 12]
decimals = 3
inner_check = "gs1-5"
"""


@pytest.fixture(scope="module")
def at(tmp_path_factory):
    """A shop whose door was opened once, with its integrator."""
    with open_shop(tmp_path_factory.mktemp("commands")) as shop:
        yield shop


def test_prices_stand_on_the_next_receipt(at):
    prices = [{"gtin": CRISPS, "unit_price_minor": 249, "currency": "EUR"}]
    reply = at.witness.command("prices", "prices-1", version="p7", prices=prices)
    assert reply == {"id": "prices-1", "status": "ok", "message": ""}
    [line] = visit(at, "1", [("g1.s1.p1", -330.0)])["data"]["lines"]
    assert (line["quantity"], line["unit_price_minor"], line["currency"]) == ("2", 249, "EUR")
    assert line["price_version"] == "p7"


def test_a_planogram_decides_what_a_plate_holds(at):
    facings = [
        {"gtin": JAM, "plates": ["g1.s1.p1"]},
        {"gtin": TEA, "plates": ["g1.s1.p2"]},
        {"gtin": CRISPS, "plates": ["g1.s1.p3"]},
    ]
    assert at.witness.command("planogram", "plan-1", facings=facings)["status"] == "ok"
    assert bought(visit(at, "2", [("g1.s1.p1", -330.0)])) == {JAM: 1}
    back = [{"gtin": gtin, "plates": [f"g1.s1.p{place}"]}
            for place, gtin in enumerate((CRISPS, TEA, JAM), 1)]  # fmt: skip
    assert at.witness.command("planogram", "plan-2", facings=back)["status"] == "ok"


def test_a_review_is_asked_for_decided_and_adjusts_the_cart(at):
    """330 g of crisps or of jam is clear by the plate; a weight that fits nothing is not."""
    shop, witness = at.shop, at.witness
    carts = len(witness.named("cart.closed"))
    shop.stand("3", -1_500.0)
    shop.scan(shop.tokens.token("carla"))
    session = witness.event("session.started", lambda e: e["data"]["shopper"] == "carla")
    session = session["data"]["session"]
    shop.reach("3", "g1.s1.p2", -113.0)
    asked = witness.event("review.requested")["data"]
    assert asked["reason"] == "unexplained-weight"
    assert asked["sessions"] == [session]
    shop.leave("3")
    cart = witness.event("cart.closed", count=carts + 1)["data"]
    assert (cart["lines"], cart["open"]) == ([], [asked["review"]])
    act = {"session": session, "gtin": TEA, "quantity": 1, "direction": "pick",
           "plate": "g1.s1.p2", "probability": 1.0, "misplaced": False}  # fmt: skip
    decision = {"review": asked["review"], "acts": [act], "by": "till-3"}
    assert witness.command("review", "review-1", **decision)["status"] == "ok"
    adjusted = witness.event("cart.adjusted")["data"]
    assert [(line["gtin"], line["quantity"]) for line in adjusted["lines"]] == [(TEA, "1")]
    assert (adjusted["open"], adjusted["revision"]) == ([], 1)
    assert witness.event("review.resolved")["data"]["by"] == "till-3"
    revised = witness.event("attribution.revised")["data"]
    assert (revised["change"], revised["acts"]) == (asked["change"], [act])
    # Decided once: what is decided again is refused, and changes nothing.
    again = witness.command("review", "review-2", **decision)
    assert again["status"] == "error"
    assert "is not open" in again["message"]
    assert len(witness.named("cart.adjusted")) == 1


def test_a_backfill_sends_old_events_again(at):
    rows = at.daemon.rows()
    first = min(row[1] for row in rows)
    repeated = at.witness.repeated
    until(lambda: not at.daemon.rows("SELECT 1 FROM events WHERE acknowledged = 0"), "every mark")
    reply = at.witness.command("backfill", "back-1", epoch=rows[0][0], **{"from": f"{first:020d}"})
    assert reply["status"] == "ok"
    assert reply["backfill"]["count"] == len(rows)
    at.witness.wait(lambda: at.witness.repeated >= repeated + len(rows), "repeats")
    raw = {event["id"]: event["raw"] for event in at.witness.events.values()}
    again = [
        (json.loads(payload)["id"], payload)
        for _, topic, payload, _ in at.witness.messages
        if "/events/" in topic
    ]
    assert all(raw[name] == payload for name, payload in again)


def test_an_erased_shopper_is_named_nowhere(at):
    visit(at, "7", [], shopper="erika-4711")
    query = "SELECT name FROM events WHERE shopper = 'erika-4711'"
    assert at.daemon.rows(query) == [("session.started",)]
    reply = at.witness.command("erase", "erase-1", shopper="erika-4711")
    assert reply["status"] == "ok"
    assert reply["message"].startswith("1 event")
    assert at.daemon.rows(query) == []
    files = [file for file in at.daemon.database.parent.glob("gateway.db*") if file.is_file()]
    assert at.daemon.database in files
    for file in files:  # Not the socket beside them.
        assert b"erika-4711" not in file.read_bytes()
    reply = at.witness.command("erase", "erase-2", shopper="erika-4711")
    assert (reply["status"], reply["message"][:2]) == ("ok", "0 ")


@pytest.mark.parametrize(
    ("name", "data", "problem"),
    [
        ("dance", {}, "unknown command"),
        ("prices", {"version": "p8"}, "prices"),
        ("prices", {"version": "p8", "prices": [{"gtin": "1", "unit_price_minor": 1,
                                                 "currency": "EUR"}]}, "product 1: no GTIN"),
        ("prices", {"version": "p8", "prices": [{"gtin": "09521321123458", "unit_price_minor": 1,
                                                 "currency": "EUR"}]}, "09521321123458"),
        ("planogram", {"facings": [{"gtin": CRISPS, "plates": ["nowhere"]}]}, "nowhere"),
        ("review", {"review": "none", "acts": [], "by": "me"}, "not open"),
        ("backfill", {"epoch": "e", "from": "-1"}, "from"),
        ("backfill", {"epoch": "e", "from": 1}, "from"),
        ("prices", {"version": "p8", "prices": [], "extra": 1}, "extra"),
    ],
)  # fmt: skip
def test_a_command_that_cannot_be_done_is_answered_with_why(at, name, data, problem):
    reply = at.witness.command(name, f"bad-{secrets.token_hex(4)}", **data)
    assert reply["status"] == "error"
    assert problem in reply["message"]


def test_malformed_commands_harm_nothing(at):
    for payload in (
        b"",
        b"{",
        b"[]",
        b"\xff",
        b"null",
        b'{"id":7}',
        b'{"id":"a/b"}',
        b"x" * 70_000,
    ):
        at.witness.send(f"{COMMANDS}/prices", payload)
    at.witness.send(f"{COMMANDS}/prices", b'{"id":"nan-1","version":NaN}')
    reply = at.witness.command("dance", "after-malformed")
    assert reply["status"] == "error"
    assert "Traceback" not in at.daemon.program.words()


def test_a_repeated_command_is_answered_again_and_not_done_again(at):
    prices = [{"gtin": TEA, "unit_price_minor": 99, "currency": "EUR"}]
    first = at.witness.command("prices", "prices-9", version="p9", prices=prices)
    del at.witness.replies["prices-9"]
    prices[0]["unit_price_minor"] = 1
    assert at.witness.command("prices", "prices-9", version="p10", prices=prices) == first
    [line] = visit(at, "4", [("g1.s1.p2", -80.0)])["data"]["lines"]
    assert (line["unit_price_minor"], line["price_version"]) == (99, "p9")


def test_a_broken_store_file_is_refused_and_a_good_one_taken(at):
    old = at.witness.named("cart.closed")[-1]["data"]["store_version"]
    at.file.write_text(FILE.replace("depth_mm", "depht_mm"))
    hang_up(at, "The store file is not taken over")
    words = at.daemon.program.words()
    assert "store.toml:" in words
    assert "depth_mm" in words.partition("not taken over")[2]
    cart = visit(at, "5", [("g1.s1.p1", -165.0)])
    assert (bought(cart), cart["data"]["store_version"]) == ({CRISPS: 1}, old)
    at.file.write_text(FILE.replace('name = "corner"', 'name = "other"'))
    hang_up(at, "names another store")
    at.file.write_text(FILE.replace("unit_g = 165", "unit_g = 110").replace("Crisps", "Rings"))
    hang_up(at, "The store file was read again")
    cart = visit(at, "6", [("g1.s1.p1", -220.0)])
    assert bought(cart) == {CRISPS: 2}
    assert cart["data"]["lines"][0]["name"] == "Rings"
    assert cart["data"]["store_version"] != old
    complete(at)


def test_a_shelf_that_is_new_in_the_store_file_is_heard(at):
    query = "SELECT key FROM state WHERE kind = 'holding'"
    before = set(at.daemon.rows(query))
    at.file.write_text(FILE + BRIDGE)
    hang_up(at, "The store file was read again: version")
    boot, numbers = secrets.token_hex(8), count()

    def weighed():
        at.shop.frames(2)
        message = {"v": 1, "boot": boot, "seq": next(numbers), "t_ms": at.shop.t_ms(200)}
        message |= {"period_us": PERIOD_US, "unit": "g", "w": [[900.0, 1_200.0]] * ROWS}
        at.shop.send(f"{ROOT}/shelf/g2.s1/samples", message, qos=0)
        return len(set(at.daemon.rows(query)) - before) == 2

    until(weighed, "the weights of the new shelf")


def hang_up(at, words):
    """Let the daemon read its store file again, and wait until it has."""
    times = at.daemon.program.words().count(words)
    os.kill(at.daemon.program.pid, signal.SIGHUP)
    until(lambda: at.daemon.program.words().count(words) > times, words)


def test_a_scanner_of_products_that_is_new_in_the_store_file_is_understood(at):
    at.file.write_text(f"{FILE}\n{COUNTER}")
    hang_up(at, "The store file was read again: version")
    for seq, text in enumerate(("]E02812345004128", "4006381333932", "header.claims.signature")):
        scan = {"v": 1, "boot": "counter", "seq": seq, "text": text}
        at.shop.send(f"{ROOT}/scanner/counter/scan", scan)
    product = at.witness.event("product.scanned")["data"]
    assert (product["item"], product["weight_g"], product["aim"]) == ("1234", "412", "]E0")
    at.witness.event("scan.rejected", count=2)
    wrong, token = (event["data"] for event in at.witness.named("scan.rejected"))
    assert (wrong["reason"], wrong["code"]) == ("check-digit", "4006381333932")
    assert (token["reason"], token["code"]) == ("not-a-product", None)
