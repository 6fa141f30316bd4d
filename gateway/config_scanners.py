# SPDX-License-Identifier: Apache-2.0
"""Scanners of the store file, and the rules of its in-store numbers."""

from collections.abc import Iterable
from typing import Final

from msgspec import UNSET

from gateway.config_tables import NumberTable, ScannerTable
from gateway.config_toml import Problems, Where
from gateway.domain.store import NumberRule, Scanner

IN_STORE: Final = ("2", "02", "04")
"""What numbers begin with that every store may give itself, written with 13 digits."""
CHECKED: Final = {"gs1-4": 4, "gs1-5": 5}
"""Digits of a value that has a check digit of its own."""


def scanner_of(where: Where, table: ScannerTable, problems: Problems) -> Scanner:
    """Return a scanner; what it reads decides what else it needs."""
    products = table.reads == "products"
    if not products and table.zone is None:
        remedy = "Give the name of the entry zone that it stands in"
        problems.add(where.at("zone"), "missing", remedy)
    for key, value in (("zone", table.zone), ("door", table.door)):
        if products and value is not None:
            remedy = 'Remove it, or write reads = "tokens"'
            problems.add(where.at(key), "is for scanners of entry tokens", remedy)
    return Scanner(
        name=table.name,
        zone=table.zone,
        door=table.door,
        reads="products" if products else UNSET,
    )


def number_rules(
    tables: Iterable[tuple[Where, NumberTable]], problems: Problems
) -> list[NumberRule]:
    """Return the rules of in-store numbers, each checked by itself and against the others."""
    rules: list[NumberRule] = []
    places: dict[str, Where] = {}
    for where, table in tables:
        first = places.setdefault(table.prefix, where)
        if first is not where:
            problem = f"{table.prefix} is already at {first.document.path.name}:{first.line}"
            problems.add(where.at("prefix"), problem, "Keep one of the two, or give more digits")
        _check_number(where, table, problems)
        rules.append(
            NumberRule(
                prefix=table.prefix,
                item=table.item,
                measure=table.measure,
                value=table.value,
                decimals=table.decimals,
                inner_check=table.inner_check,
                currency=table.currency,
            )
        )
    return rules


def _check_number(where: Where, table: NumberTable, problems: Problems) -> None:
    if not table.prefix.startswith(IN_STORE):
        problem = f"{table.prefix} begins numbers that belong to other companies"
        remedy = "In-store numbers begin with 2, 02 or 04; give the prefix of 13 digits"
        problems.add(where.at("prefix"), problem, remedy)
    _check_places(where, table, problems)
    size, given = CHECKED.get(table.inner_check), table.value[1] - table.value[0]
    if size not in (None, given):
        problem = f"is for {size} digits, and value has {given}"
        problems.add(where.at("inner_check"), problem, "Correct value, or write the other check")
    if table.measure == "count" and table.decimals:
        problems.add(where.at("decimals"), "is given for a count", "Write decimals = 0")
    if table.measure != "price" and table.currency is not None:
        problems.add(where.at("currency"), "is given without a price", "Remove it")


def _check_places(where: Where, table: NumberTable, problems: Problems) -> None:
    """Check that every part of the number has digits of its own."""
    parts = {"item": table.item, "value": table.value}
    for key, (first, behind) in parts.items():
        if first >= behind:
            remedy = "Give the first place and the one behind the last, counted from 0"
            problems.add(where.at(key), f"[{first}, {behind}] is empty", remedy)
            return
    # An item may begin with the prefix: some retailers count it in.
    apart = [("value", "prefix"), ("value", "item")]
    parts["prefix"] = (0, len(table.prefix))
    if table.inner_check != "none":
        check = "the check digit before value"
        parts[check] = (table.value[0] - 1, table.value[0])
        apart += [(check, "prefix"), (check, "item")]
    for one, other in apart:
        if parts[one][0] < parts[other][1] and parts[other][0] < parts[one][1]:
            remedy = "Count the places from 0; the last of 13 digits is the check digit"
            problems.add(where.at("value"), f"{one} overlaps {other}", remedy)
