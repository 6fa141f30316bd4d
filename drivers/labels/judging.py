# SPDX-License-Identifier: Apache-2.0
"""What a scan is: an entry token or a product, by what its scanner is there for."""

from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Final

from msgspec import UNSET

from drivers.entry.tokens import Verified
from drivers.instore.codec import Heading
from drivers.labels.label import Label, Refused
from drivers.scanner.codec import split_aim
from gateway.domain.inputs import EntryScanned, ProductScanned, ScanRejected, Stamp
from gateway.domain.store import Store

Verify = Callable[[str, Stamp], Verified]
"""Judges an entry token: ``Verifier.verify``."""

REJECTED_MAX: Final = 20
"""Rejected scans of one scanner that are told in ``REJECTED_NS``; more are only counted."""
REJECTED_NS: Final = 10_000_000_000
_UTC_S_MAX: Final = 253_402_300_799


class Judge:
    """Turns what a scanner read into an input; what it read goes no further by itself."""

    def __init__(self, store: Store, verify: Verify) -> None:
        """Prepare.

        Args:
            store: Says what each scanner reads, and how in-store numbers are built.
            verify: Judges entry tokens.
        """
        self._verify = verify
        self._rejected: dict[str, deque[int]] = {}
        self._read: Callable[..., Label | Refused] | None = None
        self.store_changed(store)

    def store_changed(self, store: Store) -> None:
        """Judge by this store from now on."""
        self._products = {
            f"scanner/{scanner.name}" for scanner in store.scanners if scanner.reads == "products"
        }
        self._rules = () if store.in_store_numbers is UNSET else store.in_store_numbers
        if self._products and self._read is None:
            # It takes memory that only stores with such a scanner have to spend.
            from drivers.labels.reading import read_label  # noqa: PLC0415

            self._read = read_label

    def reads_products(self, device: str) -> bool:
        """Tell whether a scanner is there for products; others are for entry tokens."""
        return device in self._products

    def judge(
        self, heading: Heading, text: str, aim: str | None
    ) -> EntryScanned | ProductScanned | ScanRejected | None:
        """Judge one scan.

        Args:
            heading: Who sent it, when, and its number.
            text: What was read.
            aim: Its AIM identifier, where that is known; of a product it may lead the text.

        Returns:
            The input; None where the scanner has had too many rejected of late.
        """
        device = heading["device"]
        if self._read is None or not self.reads_products(device):
            return self._entry(heading, text)
        if aim is None:
            led, rest = split_aim(text.encode("utf-8", errors="replace"))
            aim, text = led, rest.decode("utf-8") if led else text
        at = heading["at"]
        label = self._read(text, aim, self._rules, year=_year(at))
        if isinstance(label, Refused):
            if not self._may_tell(device, at.mono_ns):
                return None
            return ScanRejected(
                **heading, reason=label.reason, detail=label.detail, code=label.code
            )
        return _product(heading, label, aim)

    def _entry(self, heading: Heading, text: str) -> EntryScanned:
        verified = self._verify(text, heading["at"])
        return EntryScanned(
            **heading,
            verdict=verified.verdict,
            shopper=verified.shopper,
            token_hash=verified.token_hash,
            expires_utc_ns=verified.expires_utc_ns,
        )

    def _may_tell(self, device: str, now_ns: int) -> bool:
        """Tell whether one more rejected scan is told by itself; noise must not fill a card."""
        told = self._rejected.setdefault(device, deque(maxlen=REJECTED_MAX))
        if len(told) == REJECTED_MAX and now_ns - told[0] < REJECTED_NS:
            return False
        told.append(now_ns)
        return True


def _product(heading: Heading, label: Label, aim: str | None) -> ProductScanned:
    weight_g = None if label.weight_g is None else label.weight_g.normalize()
    return ProductScanned(
        **heading,
        code=label.code,
        gtin=label.gtin,
        item=label.item,
        aim=aim,
        quantity=label.quantity,
        weight_g=_text(weight_g),
        price=_text(label.price),
        currency=label.currency,
        lot=label.lot,
        serial=label.serial,
        expiry=label.expiry.isoformat() if label.expiry else None,
        best_before=label.best_before.isoformat() if label.best_before else None,
    )


def _text(amount: Decimal | None) -> str | None:
    """Write a decimal with its places and no exponent."""
    return None if amount is None else f"{amount:f}"


def _year(at: Stamp) -> int:
    return datetime.fromtimestamp(min(max(at.utc_ns // 1_000_000_000, 0), _UTC_S_MAX), UTC).year
