# SPDX-License-Identifier: Apache-2.0
"""Classes of events, in the order in which they are given up when there is no room for them."""

from typing import Final

CLASSES: Final[dict[str, frozenset[str]]] = {
    "diagnostics": frozenset(
        {
            "inputs.dropped",
            "planogram.ambiguous",
            "plate.noise-changed",
            "plate.unweighed",
            "product.weight-drifted",
            "scan.rejected",
        }
    ),
    "devices": frozenset({"device.lost", "device.recovered", "door.not-opened", "product.scanned"}),
    "items": frozenset({"item.picked", "item.put-back", "attribution.revised"}),
    "visits": frozenset(
        {
            "clock.stepped",
            "gateway.stopped",
            "session.ended",
            "session.started",
            "shelf.changed-unattended",
        }
    ),
    "receipts": frozenset({"cart.adjusted", "cart.closed", "review.requested", "review.resolved"}),
    "starts": frozenset({"database.recovered", "gateway.started"}),
}
"""Names by class. Of ``items`` those of closed carts go first: their receipt contains them; the
others go with ``visits``. ``events.dropped`` is in none: it is never given up."""

CONTAINED: Final = "items"
"""The class of which first only what a receipt contains is given up."""
EARLY: Final = ("diagnostics", "devices", CONTAINED)
"""What an operator may give up by hand: receipts stay true without it."""


def names_of(wanted: str) -> frozenset[str]:
    """Return the names of the events that go with a class, once the classes before are gone."""
    return CLASSES["items"] | CLASSES["visits"] if wanted == "visits" else CLASSES[wanted]
