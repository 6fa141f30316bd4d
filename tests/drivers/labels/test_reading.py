# SPDX-License-Identifier: Apache-2.0
"""What codes on products say, and which of them are refused."""

from datetime import date
from decimal import Decimal

import pytest
from biip.checksums import gs1_price_weight_check_digit, gs1_standard_check_digit
from hypothesis import given
from hypothesis import strategies as st

from drivers.labels.reading import GRAMS, Label, Refused, read_label
from gateway.domain.gtin import check_digit, value_check_digit
from gateway.domain.store import NumberRule

GTIN = "09521321123458"
GERMAN = NumberRule(
    prefix="28", item=(2, 6), measure="weight", value=(7, 12), decimals=3, inner_check="gs1-5"
)
BRITISH = NumberRule(
    prefix="20",
    item=(2, 7),
    measure="price",
    value=(8, 12),
    decimals=2,
    inner_check="gs1-4",
    currency="GBP",
)
NORDIC = NumberRule(prefix="23", item=(2, 8), measure="weight", value=(8, 12), decimals=3)
PIECES = NumberRule(prefix="0212", item=(4, 8), measure="count", value=(8, 12), decimals=0)
RULES = (GERMAN, BRITISH, NORDIC, PIECES)


def read(code, rules=(), **options):
    """Read a code with its AIM identifier before it, as a scanner sends it."""
    aim, text = (code[:3], code[3:]) if code.startswith("]") else (None, code)
    return read_label(text, aim, rules, **options)


@pytest.mark.parametrize(
    ("code", "gtin"),
    [
        ("96385074", "00000096385074"),
        ("012345678905", "00012345678905"),
        ("4006381333931", "04006381333931"),
        ("09521321123458", "09521321123458"),
        ("]E496385074", "00000096385074"),
        ("]E0012345678905", "00012345678905"),
        ("]E00012345678905", "00012345678905"),
        ("]E04006381333931", "04006381333931"),
        ("]E3400638133393112", "04006381333931"),
        ("]E3400638133393112345", "04006381333931"),
        ("]I109521321123458", "09521321123458"),
    ],
)
def test_numbers_become_14_digits_and_keep_how_they_were_printed(code, gtin):
    label = read(code)
    assert label.gtin == gtin
    assert label.code.zfill(14) == gtin
    assert len(label.code) in {8, 12, 13, 14}


@pytest.mark.parametrize(
    ("short", "full"),
    [
        ("01234505", "012000003455"),
        ("01234531", "012300000451"),
        ("01234543", "012340000053"),
        ("01234558", "012345000058"),
        ("06543217", "065100004327"),
    ],
)
@pytest.mark.parametrize("aim", ["", "]E0"])
def test_upc_e_becomes_the_number_that_it_stands_for(short, full, aim):
    label = read(aim + short)
    assert (label.code, label.gtin) == (short, full.zfill(14))


def test_eight_digits_are_a_gtin_8_where_the_scanner_says_so_or_a_upc_e_does_not_fit():
    assert read("]E401234558").gtin == "00000001234558"
    assert read("01234558").gtin == "00012345000058", "both fit: a leading 0 is a UPC-E"
    assert read("12345670").gtin == "00000012345670", "both could be: others are a GTIN-8"


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (
            f"]C101{GTIN}310300041217261231",
            {"weight_g": Decimal(412), "expiry": date(2026, 12, 31)},
        ),
        (
            f"]C101{GTIN}310300041210LOT42\x1d21SN-0007",
            {"weight_g": Decimal(412), "lot": "LOT42", "serial": "SN-0007"},
        ),
        (f"]d201{GTIN}\x1d10ABC", {"lot": "ABC"}),
        (f"]Q301{GTIN}10LOT\x1d3922123", {"lot": "LOT", "price": Decimal("1.23")}),
        (f"]e001{GTIN}320300041237\x1d", None),
        (f"]e001{GTIN}3203000412", {"weight_g": Decimal("186.88005644")}),
        (f"]C101{GTIN}39329780999", {"price": Decimal("9.99"), "currency": "978"}),
        (f"]J102{GTIN}3712", {"quantity": 12}),
        (f"\x1d01{GTIN}30002\x1d15991200", {"quantity": 2, "best_before": date(1999, 12, 31)}),
        (f"01{GTIN}3922" + "0" * 15, {"price": Decimal("0.00")}),
        (
            f"https://id.gs1.org/01/{GTIN}/10/LOT42?3103=000412",
            {"weight_g": Decimal(412), "lot": "LOT42"},
        ),
        (
            f"]Q1HTTPS://Shop.Example/de/01/{GTIN[1:]}/22/2A/10/a%2Fb/21/7?17=261200&utm_x=1#top",
            {"lot": "a/b", "serial": "7", "expiry": date(2026, 12, 31)},
        ),
    ],
)
def test_elements_and_links_keep_what_stands_beside_the_number(code, expected):
    label = read(code)
    if expected is None:
        assert label.reason == "malformed"
        return
    assert label == Label(code=GTIN, gtin=GTIN, **expected)


@pytest.mark.parametrize(
    ("code", "reason", "told"),
    [
        # The number of the format's published examples, whose last digit does not check.
        ("09521321123453", "check-digit", "should be 8"),
        ("]C10109521321123453310300041217261231", "check-digit", "should be 8"),
        ("]C10109521321123454", "check-digit", "should be 8"),
        ("https://id.gs1.org/01/09521321123453/10/LOT42?3103=000412", "check-digit", "8"),
        ("4006381333932", "check-digit", "should be 1"),
        ("]E04006381333932", "check-digit", "should be 1"),
        ("]E496385075", "check-digit", "should be 4"),
        ("]E001234506", "check-digit", "UPC-E"),
        ("]C04006381333931", "not-a-product", "no kind of code"),
        ("]Q14006381333931", "not-a-product", "no kind of code"),
        ("]A0HELLO", "not-a-product", "no kind of code"),
        ("]E112", "not-a-product", "add-on"),
        ("]E0400638133393", "check-digit", "should be 0"),
        ("]E040063813", "check-digit", "UPC-E"),
        ("]E040063813339", "malformed", "11 digits, where 12 or 13 can be"),
        ("]E0400638133393X", "malformed", "not digits"),
        ("]E3400638133393", "malformed", "12 digits with an add-on"),
        ("]E49638507", "malformed", "7 digits"),
        (f"]C101{GTIN}10" + "L" * 20 + "217", "malformed", "(10) is too long"),
        (f"]C101{GTIN}17261331", "malformed", "not a GS1"),
        (f"]C101{GTIN}17260231", "malformed", "(17) is no date"),
        (f"]C101{GTIN}10A\x1d10B", "contradictory", "(10) twice"),
        (f"]C101{GTIN}310300041231020012", "malformed", "not a GS1"),
        (f"]C101{GTIN}31030004123102000999", "contradictory", "2 different weights"),
        (f"]C101{GTIN}02{GTIN}3701", "not-a-product", "no GTIN in it, or more"),
        ("]C100095213211234567891", "not-a-product", "no GTIN in it"),
        ("]C1", "not-a-product", "no GTIN in it"),
        (f"]C1 01{GTIN}", "malformed", "spaces"),
        ("https://shop.example/offers/7", "not-a-product", "no GS1 Digital Link"),
        (f"https://id.gs1.org/01/{GTIN}/21/7/10/L", "not-a-product", "no GS1 Digital Link"),
        (f"https://id.gs1.org/01/{GTIN}/10/L/235/X", "malformed", "(235) beside"),
        (f"https://id.gs1.org/01/{GTIN}/10/L?10=M", "contradictory", "(10) twice"),
        ("https://id.gs1.org/414/9521321000010/254/7", "not-a-product", "no GTIN"),
        ("http://[", "not-a-product", "no GS1 Digital Link"),
        ("a.b.c", "not-a-product", "no kind of code"),
        ("", "not-a-product", "no kind of code"),
        ("4006381333931\u0660", "malformed", "not ASCII"),
        ("https://id.gs1.org/01/" + "%D9%A0" * 14, "malformed", "letters"),
        ("4" * 1_025, "malformed", "longer than 1 kB"),
    ],
)
def test_what_does_not_check_is_refused_with_its_reason(code, reason, told):
    refused = read(code)
    assert isinstance(refused, Refused)
    assert refused.reason == reason
    assert told in refused.detail


def test_only_a_number_is_repeated_in_a_refusal():
    assert read("4006381333932").code == "4006381333932"
    assert read("header.claims.signature") == Refused(
        "not-a-product", "no kind of code that products have"
    )
    assert read(f"]C101{GTIN}10A\x1d10B").code is None


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("2812345004128", {"item": "1234", "weight_g": Decimal(412)}),
        ("2011122912346", {"item": "11122", "price": Decimal("12.34"), "currency": "GBP"}),
        ("2312345604125", {"item": "123456", "weight_g": Decimal(412)}),
        ("212123400074", {"item": "1234", "quantity": 7}),
    ],
)
def test_in_store_numbers_are_taken_apart_by_the_stores_rules(code, expected):
    assert check_digit(code[:-1]) == code[-1]
    assert read(code, RULES) == Label(code=code, gtin=None, **expected)
    assert read(f"]E0{code.zfill(13)}", RULES).item == expected["item"]
    assert read(code) == Label(code=code, gtin=code.zfill(14)), "without a rule: a number like any"


def test_a_wrong_inner_check_digit_is_refused():
    code = "281234600412"
    refused = read(code + check_digit(code), RULES)
    assert (refused.reason, refused.detail) == (
        "inner-check-digit",
        "the weight's own check digit does not fit",
    )


def test_the_longest_prefix_counts_and_case_codes_have_no_rules():
    longer = NumberRule(prefix="281", item=(3, 6), measure="price", value=(7, 12), decimals=2)
    assert read("2812345004128", (*RULES, longer)).item == "234"
    assert read("]I102812345004128"[:17], RULES) == read("]I102812345004128"[:17])


@pytest.mark.parametrize(
    ("value", "digit"),
    [("0000", 0), ("1234", 9), ("0412", 0), ("9999", 6), ("00000", 0), ("00412", 5), ("12345", 8)],
)
def test_the_check_digit_of_a_weight_or_price(value, digit):
    assert value_check_digit(value) == str(digit)


def test_check_digits_are_those_that_the_library_finds():
    for number in range(0, 10_000, 3):
        assert value_check_digit(f"{number:04}") == str(
            gs1_price_weight_check_digit(f"{number:04}")
        )
    for number in range(0, 100_000, 41):
        assert value_check_digit(f"{number:05}") == str(
            gs1_price_weight_check_digit(f"{number:05}")
        )
        assert check_digit(f"{number:07}") == str(gs1_standard_check_digit(f"{number:07}"))


def test_years_of_two_digits_lie_around_now_and_a_clock_that_nobody_set_is_no_now():
    code = f"01{GTIN}17{{}}0101"
    years = [
        read(code.format(short), year=year).expiry.year
        for short, year in [("76", 2026), ("77", 2026), ("76", 1970), ("26", 1970), ("20", 2069)]
    ]
    assert years == [2076, 1977, 2076, 2026, 2020]


@given(st.integers(0, 999_999), st.integers(0, 5), st.sampled_from(["310", "320"]))
def test_weights_are_exact(digits, places, kind):
    label = read(f"01{GTIN}{kind}{places}{digits:06}")
    assert label.weight_g == Decimal(digits).scaleb(-places) * GRAMS[kind]


AIMS = st.sampled_from([None, "]E0", "]E3", "]E4", "]I1", "]C1", "]e0", "]d2", "]Q3", "]Q1", "]J1"])
AI_LIKE = ["01", GTIN, "10", "3103", "3929", "3932978", "17", "000412", "261231", "8200", "235"]
SIGNS = ["\x1d", "http://a/01/", "/", "?", "%1d", "%ff", "=", "&", "\n", " ", "00", "LOT", "\xb2"]
PARTS = st.sampled_from([*AI_LIKE, *SIGNS])


@given(
    st.one_of(
        st.binary(max_size=40).map(lambda data: data.decode("latin-1")),
        st.lists(PARTS, max_size=9).map("".join),
    ),
    AIMS,
)
def test_any_text_has_an_answer(text, aim):
    answer = read_label(text, aim, RULES)
    if isinstance(answer, Refused):
        assert answer.code is None or answer.code.isdigit()
        return
    assert (answer.gtin is None) == (answer.item is not None)
    assert answer.gtin is None or check_digit(answer.gtin[:-1]) == answer.gtin[-1]
    for kept in (answer.lot, answer.serial):
        assert kept is None or (kept.isascii() and kept.isprintable() and 1 <= len(kept) <= 20)
