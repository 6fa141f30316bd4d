# SPDX-License-Identifier: Apache-2.0
"""Scanners and in-store numbers in the store file: what they mean, and each mistake's remedy."""

import pytest
from msgspec import UNSET

from gateway.config import check, load_store
from gateway.domain.store import NumberRule, Scanner
from tests.gateway.config.files import SETTINGS, STORE, problems_of

SHOP = '\n[[scanner]]\nname = "shop"\nreads = "products"\n'
RULE = """
[[in_store_number]]
prefix = "28"
item = [2, 6]
measure = "weight"
value = [7, 12]
decimals = 3
inner_check = "gs1-5"
"""


def test_a_scanner_of_products_needs_no_zone(folder):
    (folder / "store.toml").write_text(STORE + SHOP)
    entry, shop = load_store(folder / "store.toml").scanners
    assert entry == Scanner(name="entry", zone="in", door="gate")
    assert shop == Scanner(name="shop", zone=None, reads="products")


def test_rules_of_in_store_numbers_become_the_stores(folder):
    (folder / "store.toml").write_text(STORE + RULE)
    assert load_store(folder / "store.toml").in_store_numbers == (
        NumberRule(
            prefix="28",
            item=(2, 6),
            measure="weight",
            value=(7, 12),
            decimals=3,
            inner_check="gs1-5",
        ),
    )


def test_a_store_without_them_keeps_its_version(folder):
    store = load_store(folder / "store.toml")
    assert store.in_store_numbers is UNSET
    assert store.scanners[0].reads is UNSET
    assert store.version == "6790817d36df375d"


def test_a_store_whose_scanners_read_products_alone_needs_no_keys(folder):
    def told():
        problems = check(folder / "settings.toml", folder / "store.toml")
        return [problem.key for problem in problems if problem.severity == "warning"]

    (folder / "store.toml").write_text(STORE + SHOP)
    assert "entry" in told()
    head, _, tail = STORE.partition("[[scanner]]")
    tail = tail[tail.index("[[camera]]") :]
    (folder / "store.toml").write_text(f"{head}{SHOP}{tail}")
    assert "entry" not in told()


@pytest.mark.parametrize(
    ("text", "old", "new", "expected"),
    [
        (STORE, 'zone = "in"\ndoor', "door", "scanner[0].zone: missing. Give the name of the e"),
        (SHOP, '"products"', '"products"\nzone = "in"', "zone: is for scanners of entry tokens"),
        (SHOP, '"products"', '"products"\ndoor = "gate"', "door: is for scanners of entry tok"),
        (SHOP, '"products"', '"goods"', 'reads: is "goods"'),
        (RULE, '"28"', '"40"', "40 begins numbers that belong to other companies. In-store numb"),
        (RULE, '"28"', '"2x"', 'prefix: is "2x". Give the digits that such numbers begin with'),
        (RULE, "[2, 6]", "[6, 2]", "item: [6, 2] is empty. Give the first place"),
        (RULE, "[2, 6]", "[2, 7]", "the check digit before value overlaps item. Count the plac"),
        (RULE, "[2, 6]", "[2, 8]", "value overlaps item"),
        (RULE, "[7, 12]", "[8, 12]", "inner_check: is for 5 digits, and value has 4. Correct"),
        (RULE, "[7, 12]", "[8, 13]", "value[1]: is 13. Give first place and the one behind"),
        (RULE, '"28"', '"28123456"', "value overlaps prefix"),
        (RULE, '"weight"', '"count"', "decimals: is given for a count. Write decimals = 0"),
        (RULE, '"weight"', '"weight"\ncurrency = "EUR"', "currency: is given without a price"),
        (RULE, '"weight"', '"price"\ncurrency = "euro"', "currency: is"),
        (RULE, "decimals = 3", "decimal = 3", "decimal: unknown key. Did you mean decimals?"),
        (RULE, RULE, RULE + RULE, "prefix: 28 is already at store.toml:"),
    ],
)
def test_a_mistake_is_told_with_its_remedy(folder, text, old, new, expected):
    whole = STORE if text is STORE else STORE + text
    changed = text.replace(old, new)
    assert changed != text
    problems = problems_of(folder, whole.replace(text, changed))
    assert any(expected in problem for problem in problems), problems


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("udp://a:1", "url: udp:// is not known. Write socket://, listen:// or a path"),
        ("socket://reader", "url: no host and port in it. Write socket://host:port"),
        ("listen://0.0.0.0:99999", "url: no host and port in it. Write listen://host:port"),
    ],
)
@pytest.mark.parametrize("driver", ["scanner", "ssi"])
def test_a_port_that_is_no_address_is_told_whatever_the_store_says(folder, driver, url, expected):
    text = f'\n[[device]]\ndriver = "{driver}"\nname = "shop"\nurl = "{url}"\n'
    [problem] = problems_of(folder, SETTINGS + text, "settings.toml")
    assert problem.endswith(f"device[1].{expected}")
