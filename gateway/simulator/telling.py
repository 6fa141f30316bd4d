# SPDX-License-Identifier: Apache-2.0
"""What happens in the simulated store, told to a person: one line for each thing."""

import logging
import time
from collections.abc import Callable

from drivers.errors import DriverError
from gateway.domain.store import Store
from gateway.simulator.shoppers import RESCAN_S
from gateway.simulator.stock import TrueAct, Truth

log = logging.getLogger(__name__)


class Teller:
    """Says once what is new: scans, acts, who came in and who left."""

    def __init__(self, store: Store, say: Callable[[str], None]) -> None:
        """Begin with nothing told.

        Args:
            store: For the names of products.
            say: Takes each line.
        """
        self._store = store
        self._say = say
        self._acts = 0
        self._came: set[str] = set()
        self._left: set[str] = set()
        self._waiting: set[str] = set()

    def scanned(self, scanner: str, shopper: str) -> None:
        """Tell of a token that was held to a scanner, and of one before it that opened nothing."""
        if shopper in self._waiting:
            log.warning(
                "%s scanned, no door opened within %.0f s. Check that the daemon runs, reaches"
                " scanner/%s and has the [entry] of these keys",
                shopper,
                RESCAN_S,
                scanner,
            )
        self._waiting.add(shopper)
        self._line(f"{shopper} scans at {scanner}")

    def tell(self, truth: Truth) -> None:
        """Tell what the truth holds beyond what was told."""
        for shopper in truth.entered_ns.keys() - self._came:
            self._came.add(shopper)
            self._waiting.discard(shopper)
            self._line(f"{shopper} comes in")
        for act in truth.acts[self._acts :]:
            self._line(self._act(act))
        self._acts = len(truth.acts)
        for shopper in truth.left_ns.keys() - self._left:
            self._left.add(shopper)
            basket = truth.baskets[shopper].items()
            things = ", ".join(f"{count} x {self._name(gtin)}" for gtin, count in basket)
            self._line(f"{shopper} leaves with {things or 'nothing'}")

    def _act(self, act: TrueAct) -> str:
        thing = f"{act.quantity} x {self._name(act.gtin)}"
        place = " and ".join(act.plates)
        if act.direction == "pick":
            return f"{act.shopper} takes {thing} from {place}"
        wrong = ", a wrong place" if act.misplaced else ""
        return f"{act.shopper} puts back {thing} on {place}{wrong}"

    def _name(self, gtin: str) -> str:
        product = self._store.products.get(gtin)
        return gtin if product is None else product.name

    def _line(self, text: str) -> None:
        self._say(f"{time.strftime('%H:%M:%S')}  {text}")


class Links:
    """The devices' connections as one link: its outage is logged when it starts and ends."""

    def __init__(self, broker: str, devices: int) -> None:
        self._broker = broker
        self._devices = devices
        self._up: set[str] = set()
        self._down: set[str] = set()
        self._told_up = False

    def failed(self, device: str, error: DriverError) -> None:
        """Note that a device has no connection."""
        if not self._down:
            log.warning("Broker is down for %s: %s", device, error)
        self._up.discard(device)
        self._down.add(device)

    def came_up(self, device: str) -> None:
        """Note that a device has a connection."""
        self._up.add(device)
        self._down.discard(device)
        if len(self._up) < self._devices:
            return
        if self._told_up:
            log.info("Broker is back for all devices")
        else:
            log.info("%d devices are on the broker %s", self._devices, self._broker)
        self._told_up = True
