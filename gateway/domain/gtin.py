# SPDX-License-Identifier: Apache-2.0
"""GTINs: the check digit of all GS1 keys (GS1 General Specifications, 7.9)."""


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
