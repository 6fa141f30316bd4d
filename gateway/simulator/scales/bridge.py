# SPDX-License-Identifier: Apache-2.0
"""An emulated HX711-class bridge of two plates, with faults to order."""

import asyncio
from collections import deque
from collections.abc import Callable
from decimal import Decimal
from typing import Final, NoReturn

from gateway.simulator.lines import Bridge
from gateway.simulator.scales.player import FLOOD

FAULTS: Final = (
    "half",
    "checksum",
    "flood",
    "gap",
    "silence",
    "not-ready",
    "overload",
    "unplug",
    "other",
)
"""``half`` a line, a wrong ``checksum``, a ``flood`` of garbage, a ``gap`` of one line;
``silence``, the first converter ``not-ready``, or its ``overload``; ``unplug`` the line, which
restarts it; ``other``: plug another bridge in."""
ONCE: Final = frozenset({"half", "checksum", "flood", "gap"})
NAME: Final = "emulated"
ZERO_RAW: Final = -28_122
COUNTS_PER_G: Final = 211
SATURATED: Final = 0x7FFFFF


class BridgeBoard:
    """A controller that streams counts of its two channels; the second one's plate is empty."""

    faults: Final = FAULTS

    def __init__(
        self,
        write: Callable[[bytes], None],
        *,
        unplug: Callable[[], None] = lambda: None,
        rate: float = 10.0,
    ) -> None:
        """Prepare; an event loop has to run.

        Args:
            write: Sends bytes to the gateway.
            unplug: Pulls the plug, and puts it in again soon.
            rate: Samples a second.
        """
        self._wire = write
        self._unplug = unplug
        self._rate = rate
        self._grams = Decimal(412)
        self._loop = asyncio.get_running_loop()
        self._lasting: set[str] = set()
        self._orders: deque[str] = deque()
        self._name = NAME
        self._start()

    def order(self, fault: str) -> None:
        """Misbehave: with the next line, or from now on until it is ordered again.

        Raises:
            ValueError: There is no such fault.
        """
        if fault not in FAULTS:
            raise ValueError(f"{fault}: not known. Known are {', '.join(FAULTS)}")
        if fault in ONCE:
            self._orders.append(fault)
        elif fault in {"unplug", "other"}:
            if fault == "other":
                self._name += "-2"
            self._start()
            self._unplug()
        else:
            self._lasting ^= {fault}

    def put(self, grams: Decimal) -> None:
        """Let so much lie on the first plate."""
        self._grams = grams

    def received(self, data: bytes) -> None:
        """Take what the gateway sent: nothing listens."""

    async def play(self) -> NoReturn:
        """Send sample after sample, until cancelled."""
        while True:
            await asyncio.sleep(1 / self._rate)
            self._bridge.sample(
                [self._counts(), ZERO_RAW], round((self._loop.time() - self._began_s) * 1_000)
            )

    def write(self, line: bytes) -> None:
        """Send a line, or what a fault makes of it."""
        if "silence" in self._lasting:
            return
        fault = self._orders.popleft() if self._orders else None
        if fault == "half":
            line = line[: len(line) // 2]
        elif fault == "checksum":
            line = line.replace(b'"seq":', b'"seq":1', 1)
        elif fault == "flood":
            line = FLOOD + b"\n" + line
        if fault != "gap":
            self._wire(line)

    def _start(self) -> None:
        self._began_s = self._loop.time()
        self._bridge = Bridge(self, self._name, self._rate)

    def _counts(self) -> int | None:
        if "not-ready" in self._lasting:
            return None
        if "overload" in self._lasting:
            return SATURATED
        return round(ZERO_RAW + self._grams * COUNTS_PER_G)
