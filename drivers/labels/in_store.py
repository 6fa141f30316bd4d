# SPDX-License-Identifier: Apache-2.0
"""In-store numbers with a weight, a price or a count inside, by the store file's rules."""

from collections.abc import Sequence
from decimal import Decimal
from typing import NamedTuple

from gateway.domain.gtin import value_check_digit
from gateway.domain.store import NumberRule


class InStore(NamedTuple):
    """What a number says by a rule."""

    rule: NumberRule
    item: str
    value: Decimal | None
    """In kilograms, the store's currency or pieces; None where its own check digit is wrong."""


def by_rule(digits: str, rules: Sequence[NumberRule]) -> InStore | None:
    """Take a number apart.

    Args:
        digits: 13 of them, the check digit verified.
        rules: The store's; of those whose prefix fits, the longest counts.

    Returns:
        None when no rule is for it.
    """
    fitting = [rule for rule in rules if digits.startswith(rule.prefix)]
    if not fitting:
        return None
    rule = max(fitting, key=lambda one: len(one.prefix))
    first, last = rule.value
    value = digits[first:last]
    item = digits[slice(*rule.item)]
    if rule.inner_check != "none" and digits[first - 1] != value_check_digit(value):
        return InStore(rule, item, None)
    return InStore(rule, item, Decimal(value).scaleb(-rule.decimals))
