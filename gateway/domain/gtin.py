# SPDX-License-Identifier: Apache-2.0
"""GTINs: the check digit of all GS1 keys (GS1 General Specifications, 7.9).

Beside it the one of a weight or price inside an in-store number.
"""

from typing import Final

_TWO_MINUS: Final = (0, 2, 4, 6, 8, 9, 1, 3, 5, 7)
_THREE: Final = (0, 3, 6, 9, 2, 5, 8, 1, 4, 7)
_FIVE_PLUS: Final = (0, 5, 1, 6, 2, 7, 3, 8, 4, 9)
_FIVE_MINUS: Final = (0, 5, 9, 4, 8, 3, 7, 2, 6, 1)


def check_digit(payload: str) -> str:
    """Return the check digit of the digits before it: weights 3, 1, 3… from the right."""
    weighted = (
        int(digit) * (1 if index % 2 else 3) for index, digit in enumerate(reversed(payload))
    )
    return str(-sum(weighted) % 10)


def valid_gtin(gtin: str) -> bool:
    """Tell whether a text is a GTIN-14 with a right check digit."""
    if len(gtin) != 14 or not (gtin.isascii() and gtin.isdigit()):
        return False
    return check_digit(gtin[:-1]) == gtin[-1]


def value_check_digit(value: str) -> str:
    """Return the check digit of a weight or price of 4 or 5 digits inside an in-store number."""
    assert len(value) in (4, 5), "the store file's rules have been checked"
    four = len(value) == 4
    tables = (
        (_TWO_MINUS, _TWO_MINUS, _THREE, _FIVE_MINUS)
        if four
        else (_FIVE_PLUS, _TWO_MINUS, _FIVE_MINUS, _FIVE_PLUS, _TWO_MINUS)
    )
    total = sum(table[int(digit)] for table, digit in zip(tables, value, strict=True))
    return str(total * 3 % 10 if four else _FIVE_MINUS.index(-total % 10))
