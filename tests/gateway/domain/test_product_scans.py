# SPDX-License-Identifier: Apache-2.0
"""Scans of products are told as they are, and change no cart."""

import msgspec
import pytest

from gateway.domain.engine import Engine
from gateway.domain.inputs import ProductScanned, ScanRejected
from tests.drivers.scanner_line import product_store
from tests.schema_check import check_data
from tests.small_store import GTIN, stamp, started


def engine():
    store = product_store()
    crisps = msgspec.structs.replace(store.products[GTIN], sku="1234")
    made = Engine()
    made.step(1, started(msgspec.structs.replace(store, products={GTIN: crisps})))
    return made


def step(made, item):
    stepped = made.step(made.number + 1, item)
    for event in stepped.events:
        check_data(event.name, bytes(event.data))
    assert not stepped.effects
    return [
        (event.name, event.subject, msgspec.json.decode(event.data)) for event in stepped.events
    ]


def scanned(seq=0, **fields):
    heading = {"at": stamp(10**9), "device": "scanner/shop", "boot": "b", "seq": seq}
    return ProductScanned(**heading, **{"code": GTIN, "gtin": GTIN, **fields})


def test_a_product_is_told_with_what_stood_beside_it():
    beside = {
        "aim": "]C1",
        "quantity": 2,
        "weight_g": "412",
        "price": "1.23",
        "currency": "978",
        "lot": "LOT42",
        "serial": "SN-7",
        "expiry": "2026-12-31",
        "best_before": "2026-11-30",
    }
    [(name, subject, data)] = step(engine(), scanned(**beside))
    assert (name, subject) == ("product.scanned", "scanner/shop")
    assert data.items() >= {**beside, "scanner": "shop", "gtin": GTIN, "known": True}.items()


def test_an_in_store_number_is_the_products_whose_own_number_it_holds():
    made = engine()
    [(_, _, known)] = step(made, scanned(0, code="2812345004128", gtin=None, item="1234"))
    [(_, _, other)] = step(made, scanned(1, code="2899995004128", gtin=None, item="9999"))
    assert (known["gtin"], known["item"], known["known"]) == (GTIN, "1234", True)
    assert (other["gtin"], other["item"], other["known"]) == (None, "9999", False)


def test_a_product_that_the_store_does_not_have_is_told_as_such():
    [(_, _, data)] = step(engine(), scanned(gtin="04006381333931", code="4006381333931"))
    assert (data["gtin"], data["known"]) == ("04006381333931", False)


def test_what_is_no_product_is_told_with_its_reason():
    item = ScanRejected(
        at=stamp(10**9),
        device="scanner/shop",
        boot="b",
        seq=0,
        reason="check-digit",
        detail="the check digit should be 1",
        code="4006381333932",
    )
    [(name, _, data)] = step(engine(), item)
    assert name == "scan.rejected"
    assert (data["reason"], data["code"]) == ("check-digit", "4006381333932")


@pytest.mark.parametrize("again", [0, 1])
def test_a_message_that_comes_twice_is_told_once_also_after_a_restart(again):
    made = engine()
    step(made, scanned(0))
    if again:
        rows = [row for row in made.changed_rows() if not row.deletes]
        made = Engine()
        made.step(1, msgspec.structs.replace(started(product_store()), state=rows))
    assert step(made, scanned(0)) == []
    assert [name for name, _, _ in step(made, scanned(1))] == ["product.scanned"]


def test_no_cart_and_no_session_comes_of_a_scan():
    made = engine()
    before = made.state.sessions, made.state.closed
    step(made, scanned())
    assert (made.state.sessions, made.state.closed) == before == ({}, {})
