# SPDX-License-Identifier: Apache-2.0
"""What a scan is, is decided by what its scanner is there for."""

import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from drivers.entry.tokens import Verified
from drivers.labels.judging import REJECTED_MAX, REJECTED_NS, Judge
from gateway.domain.inputs import EntryScanned, ProductScanned, ScanRejected
from tests.drivers.scanner_line import product_store
from tests.small_store import small_store, stamp

ROOT = Path(__file__).parents[3]
EAN = "4006381333931"


def make_judge(store=None):
    return Judge(store or product_store(), lambda text, _stamp: Verified("valid", shopper=text))


def heading(device="scanner/shop", mono_ns=0, seq=0):
    return {"at": stamp(mono_ns), "device": device, "boot": "b", "seq": seq}


def test_a_scanner_of_tokens_judges_tokens_whatever_it_reads():
    item = make_judge().judge(heading("scanner/gate"), EAN, None)
    assert isinstance(item, EntryScanned)
    assert item.shopper == EAN


@pytest.mark.parametrize(("text", "aim"), [(EAN, "]E0"), (f"]E0{EAN}", None)])
def test_the_aim_identifier_is_kept_wherever_it_comes_from(text, aim):
    item = make_judge().judge(heading(), text, aim)
    assert isinstance(item, ProductScanned)
    assert (item.gtin, item.aim) == (f"0{EAN}", "]E0")


def test_amounts_are_decimals_in_text_without_exponents():
    code = "0109521321123458310{}{}392{}{}"
    amounts = [(0, "100000", "1"), (5, "000001", "1234500"), (3, "000000", "0")]
    items = [
        make_judge().judge(heading(), code.format(places, weight, 2, price), "]C1")
        for places, weight, price in amounts
    ]
    assert [(item.weight_g, item.price) for item in items] == [
        ("100000000", "0.01"),
        ("0.01", "12345.00"),
        ("0", "0.00"),
    ]


def test_another_store_counts_from_then_on():
    judge = make_judge(small_store())
    assert not judge.reads_products("scanner/shop")
    assert isinstance(judge.judge(heading(), EAN, None), EntryScanned)
    judge.store_changed(product_store())
    assert judge.judge(heading(), "2812345004128", None).item == "1234"
    plain = msgspec.structs.replace(product_store(), in_store_numbers=msgspec.UNSET)
    judge.store_changed(plain)
    assert judge.judge(heading(), "2812345004128", None).gtin == "02812345004128"


def test_rejected_scans_are_told_so_many_times_a_while():
    judge = make_judge()
    told = [judge.judge(heading(mono_ns=at), "rubbish", None) for at in range(REJECTED_MAX + 5)]
    assert sum(item is None for item in told) == 5
    assert judge.judge(heading(mono_ns=REJECTED_NS), "rubbish", None) is not None
    assert isinstance(judge.judge(heading(mono_ns=30), EAN, None), ProductScanned)


@pytest.mark.parametrize("text", ["a.b.c", "]Q3a.b.c", "\ufffd\0\ud800", "x" * 2_000])
def test_what_was_rejected_is_not_in_the_input(text):
    item = make_judge().judge(heading(), text, None)
    assert isinstance(item, ScanRejected)
    assert item.code is None
    assert b"a.b.c" not in msgspec.json.encode(item)


def test_the_library_is_imported_once_a_scanner_of_products_is_there():
    code = """if True:
        import sys
        from drivers.labels.judging import Judge
        from tests.drivers.scanner_line import product_store
        from tests.small_store import small_store
        judge = Judge(small_store(), None)
        assert "biip" not in sys.modules
        judge.store_changed(product_store())
        assert "biip" in sys.modules
    """
    done = subprocess.run([sys.executable, "-c", code], check=False, cwd=ROOT)
    assert done.returncode == 0
