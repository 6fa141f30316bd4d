# SPDX-License-Identifier: Apache-2.0
"""A scanner's end of a cable, and a store whose scanner reads products."""

import asyncio
from contextlib import asynccontextmanager

import msgspec
import pytest

from drivers.errors import DeviceGoneError
from gateway.domain.store import NumberRule, Scanner
from tests.small_store import small_store

GERMAN = NumberRule(
    prefix="28", item=(2, 6), measure="weight", value=(7, 12), decimals=3, inner_check="gs1-5"
)


def product_store():
    """Return the small store with a scanner of products beside the one of tokens."""
    store = small_store()
    shop = Scanner(name="shop", zone=None, reads="products")
    return msgspec.structs.replace(
        store, scanners=(*store.scanners, shop), in_store_numbers=(GERMAN,)
    )


class Cable:
    """``(pause in seconds, bytes)``; at the end it is unplugged.

    Keeps its own time: neither a receive that was cancelled nor a gateway that reads late makes the
    next one wait anew, and what waited meanwhile comes in one piece, as from a real port.
    """

    def __init__(self, *script):
        self.script = list(script)
        self.came_s = None
        """When the last piece came."""
        self.sent = []

    async def receive(self):
        loop = asyncio.get_running_loop()
        self.came_s = loop.time() if self.came_s is None else self.came_s
        due_s = self.came_s + (self.script[0][0] if self.script else 0)
        await asyncio.sleep(max(0, due_s - loop.time()))
        if not self.script:
            raise OSError(5, "Input/output error")
        data = b""
        while self.script and (not data or self.came_s + self.script[0][0] < loop.time()):
            pause_s, piece = self.script.pop(0)
            self.came_s += pause_s
            data += piece
        return data

    async def send(self, data):
        self.sent.append(data)

    @asynccontextmanager
    async def open(self, _url, _baud):
        yield self


async def run_until_unplugged(driver, cable, intake):
    """Return a driver's inputs, what was dropped, and what it sent."""
    ups = []
    with pytest.raises(DeviceGoneError, match="Input/output error"):
        await driver.run(intake, lambda: ups.append(1))
    assert ups == [1]
    return intake.take(99), intake.totals, cable.sent
