# SPDX-License-Identifier: Apache-2.0
"""Scans of products: told as they are. They put nothing into a cart."""

from gateway.domain import events
from gateway.domain.inputs import ProductScanned, ScanRejected
from gateway.domain.output import Step


def tell(step: Step, scan: ProductScanned | ScanRejected) -> None:
    """Tell upstream what a scanner of products read."""
    scanner = scan.device.removeprefix("scanner/")
    if isinstance(scan, ScanRejected):
        step.emit(
            events.ScanRejected,
            scan.device,
            scanner=scanner,
            reason=scan.reason,
            detail=scan.detail,
            code=scan.code,
        )
        return
    gtin = scan.gtin if scan.item is None else _by_sku(step, scan.item)
    step.emit(
        events.ProductScanned,
        scan.device,
        scanner=scanner,
        code=scan.code,
        gtin=gtin,
        known=gtin in step.layout.store.products,
        item=scan.item,
        aim=scan.aim,
        quantity=scan.quantity,
        weight_g=scan.weight_g,
        price=scan.price,
        currency=scan.currency,
        lot=scan.lot,
        serial=scan.serial,
        expiry=scan.expiry,
        best_before=scan.best_before,
    )


def _by_sku(step: Step, item: str) -> str | None:
    """Return the product whose own number this is; None where none is, or several are."""
    products = step.layout.store.products.values()
    found = [product.gtin for product in products if product.sku == item]
    return found[0] if len(found) == 1 else None
