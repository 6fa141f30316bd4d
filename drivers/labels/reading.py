# SPDX-License-Identifier: Apache-2.0
"""What a product's code says, without I/O: text and its AIM identifier in, one value out.

GTINs of 8 to 14 digits, UPC-E, GS1 element strings and GS1 Digital Link. The AIM identifier says
which of them a text is; without one, its form does. Total: any text has an answer, and whatever
does not check is refused with its reason. Nothing is guessed, and no address is ever opened.

Digits stay text, amounts are decimals.
"""

import calendar
from collections.abc import Sequence
from dataclasses import replace
from datetime import date
from decimal import Decimal
from typing import Final, NamedTuple, TypeVar

from biip import ParseConfig, ParseError
from biip.gs1_digital_link_uris import GS1DigitalLinkURI
from biip.gs1_element_strings import GS1ElementStrings
from biip.gs1_messages import GS1Message
from biip.upc import Upc

from drivers.labels.in_store import by_rule
from drivers.labels.label import Label, Refused
from gateway.domain.gtin import check_digit, valid_gtin
from gateway.domain.inputs import ScanFault
from gateway.domain.store import NumberRule

Told = TypeVar("Told")

TEXT_MAX: Final = 1_024
SEPARATOR: Final = "\x1d"
LENGTHS: Final = (8, 12, 13, 14)
GRAMS: Final = {"310": Decimal(1_000), "320": Decimal("453.59237")}
"""Net weight by the first digits of its identifier: kilograms, pounds."""
QUALIFIERS: Final = {"22", "10", "21"}
"""What may follow a GTIN in a Digital Link's path beside 235, which stands alone."""
YEAR_MIN: Final = 2026
"""A clock that nobody set says 1970; no label that is read is older than this software."""

_EAN: Final = {"]E0", "]E3"}
_ADD_ON: Final = {"]E1", "]E2"}
_EAN_8: Final = "]E4"
_ITF: Final = {"]I0", "]I1"}
_ELEMENTS: Final = {"]C1", "]e0", "]e1", "]e2", "]d2", "]Q3", "]J1"}
_LINKS: Final = ("]Q", "]d", "]z")
"""QR, DataMatrix and Aztec, whatever the modifier: they may hold an address."""

# Dates are read here: biip asks the machine's clock for the century.
_CONFIG: Final = ParseConfig(gs1_element_strings_verify_date=False)


class _Refusal(Exception):  # noqa: N818 - it never leaves this module, and is no error.
    def __init__(self, reason: ScanFault, detail: str, code: str | None = None) -> None:
        super().__init__(detail)
        self.refused = Refused(reason, detail, code)


def read_label(
    text: str, aim: str | None, rules: Sequence[NumberRule] = (), *, year: int = YEAR_MIN
) -> Label | Refused:
    """Say what a product's code says.

    Args:
        text: Without the AIM identifier, GS as U+001D.
        aim: The AIM identifier, for example ``]C1``; None where the scanner gives none.
        rules: How the store's in-store numbers are built.
        year: The year now, for years of two digits; what is before 2026 counts as 2026.
    """
    try:
        return _read(text, aim, rules, max(year, YEAR_MIN))
    except _Refusal as refusal:
        return refusal.refused


def _read(text: str, aim: str | None, rules: Sequence[NumberRule], year: int) -> Label:
    if len(text) > TEXT_MAX or not text.isascii():
        raise _Refusal("malformed", "not ASCII, or longer than 1 kB")
    address = text[:8].lower().startswith(("http://", "https://"))
    if address and (aim is None or aim.startswith(_LINKS)):
        return _by_link(text, year)
    if aim is None:
        return _by_form(text, rules, year)
    if aim in _ELEMENTS:
        return _by_elements(text, year)
    return _by_rule(_number(text, aim), rules)


def _by_form(text: str, rules: Sequence[NumberRule], year: int) -> Label:
    """Read what no AIM identifier tells of."""
    if text.isdigit() and len(text) in LENGTHS:
        return _by_rule(_plain(text), rules)
    if text[:2] in ("01", "02") or SEPARATOR in text:
        return _by_elements(text, year)
    raise _Refusal("not-a-product", "no kind of code that products have")


def _number(text: str, aim: str) -> Label:
    """Read a number of a linear code that holds nothing else."""
    if aim in _ADD_ON:
        raise _Refusal("not-a-product", "only the add-on beside a code. Scan the code again")
    if aim not in _EAN | _ITF | {_EAN_8}:
        raise _Refusal("not-a-product", "no kind of code that products have")
    if not text.isdigit():
        raise _Refusal("malformed", "not digits alone")
    if aim in _ITF or aim == _EAN_8:
        return _gtin(text, 14 if aim in _ITF else 8)
    if aim == "]E3":
        text = _without_add_on(text)
    return _upc_e(text) if len(text) == 8 else _gtin(text, 12, 13)


def _without_add_on(text: str) -> str:
    """Return the number of a code with an add-on of 2 or 5 digits."""
    if len(text) not in (15, 18):
        raise _Refusal("malformed", f"{len(text)} digits with an add-on, where 15 or 18 can be")
    return text[:13]


# Numbers.


def _plain(text: str) -> Label:
    """Read a number that only its length tells of.

    Eight digits may be a GTIN-8 or a UPC-E. With a leading 0 a GTIN-8 is a company's own, and rare:
    there, what checks as a UPC-E is one.
    """
    if len(text) != 8:
        return _gtin(text, *LENGTHS)
    if text[0] == "0" or check_digit(text[:-1]) != text[-1]:
        try:
            return _upc_e(text)
        except _Refusal:
            return _gtin(text, 8)
    return _gtin(text, 8)


def _gtin(text: str, *lengths: int) -> Label:
    if len(text) not in lengths:
        wanted = " or ".join(map(str, lengths))
        raise _Refusal("malformed", f"{len(text)} digits, where {wanted} can be")
    gtin = text.zfill(14)
    if not valid_gtin(gtin):
        expected = check_digit(text[:-1])
        raise _Refusal("check-digit", f"the check digit should be {expected}", text)
    return Label(code=text, gtin=gtin)


def _upc_e(text: str) -> Label:
    try:
        full = Upc.parse(text).as_upc_a()
    except ParseError as error:
        raise _Refusal("check-digit", "neither a UPC-E's nor its check digit fits", text) from error
    return replace(_gtin(full, 12), code=text)


def _by_rule(label: Label, rules: Sequence[NumberRule]) -> Label:
    """Take an in-store number apart, where a rule is for it."""
    if len(label.code) not in (12, 13):
        return label
    found = by_rule(label.code.zfill(13), rules)
    if found is None:
        return label
    if found.value is None:
        detail = f"the {found.rule.measure}'s own check digit does not fit"
        raise _Refusal("inner-check-digit", detail, label.code)
    label = replace(label, gtin=None, item=found.item)
    match found.rule.measure:
        case "weight":
            return replace(label, weight_g=found.value * 1_000)
        case "price":
            return replace(label, price=found.value, currency=found.rule.currency)
        case "count":
            return replace(label, quantity=int(found.value))


# Elements.


class _Element(NamedTuple):
    ai: str
    value: str
    groups: list[str]


def _by_elements(text: str, year: int) -> Label:
    text = text.strip(SEPARATOR)
    if text != text.strip():  # biip would take it off.
        raise _Refusal("malformed", "spaces around it")
    try:
        strings = GS1Message.parse(text, config=_CONFIG).element_strings
    except (ParseError, ValueError, ArithmeticError) as error:
        raise _Refusal("malformed", "not a GS1 element string") from error
    at = 0
    for string in strings:
        at += len(string)
        # What has no fixed length ends at a separator, or it has swallowed what follows.
        if string.ai.separator_required and text[at : at + 1] not in ("", SEPARATOR):
            raise _Refusal("malformed", f"({string.ai.ai}) is too long, or a separator is missing")
        while text[at : at + 1] == SEPARATOR:
            at += 1
    return _combined(_elements_of(strings), year)


def _by_link(text: str, year: int) -> Label:
    try:
        strings = GS1DigitalLinkURI.parse(text, config=_CONFIG).element_strings
    except (ParseError, ValueError, ArithmeticError) as error:
        raise _Refusal("not-a-product", "an address that is no GS1 Digital Link") from error
    elements = _elements_of(strings)
    keys = {element.ai for element in elements}
    if "235" in keys and keys & QUALIFIERS:
        raise _Refusal("malformed", "(235) beside other qualifiers")
    return _combined(elements, year)


def _elements_of(strings: GS1ElementStrings) -> list[_Element]:
    elements = [_Element(one.ai.ai, one.value, one.pattern_groups) for one in strings]
    for element in elements:
        # Percent signs may hide anything, and digits of other scripts count as digits to some.
        if not (element.value.isascii() and element.value.isprintable()):
            raise _Refusal("malformed", f"({element.ai}) has letters that it may not have")
    return elements


def _combined(elements: list[_Element], year: int) -> Label:
    """Join the elements of one code; what is told twice has to be the same."""
    told: dict[str, str] = {}
    for ai, value, _ in elements:
        if told.setdefault(ai, value) != value:
            raise _Refusal("contradictory", f"({ai}) twice, with different content")
    if {"01", "02"} <= told.keys() or ("01" not in told and "02" not in told):
        raise _Refusal("not-a-product", "no GTIN in it, or more than one")
    label = _gtin(told.get("01") or told["02"], 14)
    count = told.get("30") or told.get("37")
    price, currency = _price(elements)
    return replace(
        label,
        quantity=None if count is None else int(count),
        lot=told.get("10"),
        serial=told.get("21"),
        expiry=_date("17", told, year),
        best_before=_date("15", told, year),
        weight_g=_weight(elements),
        price=price,
        currency=currency,
    )


def _amount(element: _Element) -> Decimal:
    """Return a decimal whose places the last digit of its identifier counts."""
    return Decimal(element.groups[-1]).scaleb(-int(element.ai[3]))


def _weight(elements: list[_Element]) -> Decimal | None:
    found = {
        _amount(element) * GRAMS[element.ai[:3]]
        for element in elements
        if element.ai[:3] in GRAMS and len(element.ai) == 4
    }
    return _only(found, "weights")


def _price(elements: list[_Element]) -> tuple[Decimal | None, str | None]:
    found = {
        (_amount(element), element.groups[0] if element.ai[:3] == "393" else None)
        for element in elements
        if element.ai[:3] in ("392", "393") and len(element.ai) == 4
    }
    return _only(found, "prices") or (None, None)


def _only(found: set[Told], what: str) -> Told | None:
    if len(found) > 1:
        raise _Refusal("contradictory", f"{len(found)} different {what}")
    return next(iter(found), None)


def _date(ai: str, told: dict[str, str], year: int) -> date | None:
    """Return a date of six digits: the year within 49 back and 50 ahead, day 00 is the last."""
    text = told.get(ai)
    if text is None:
        return None
    short, month, day = int(text[:2]), int(text[2:4]), int(text[4:])
    full = year - 49 + (short - (year - 49)) % 100
    try:
        return date(full, month, day or calendar.monthrange(full, month)[1])
    except (ValueError, IndexError) as error:
        raise _Refusal("malformed", f"({ai}) is no date") from error
