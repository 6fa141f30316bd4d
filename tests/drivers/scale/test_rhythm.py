# SPDX-License-Identifier: Apache-2.0
"""A scale whose clock is a little off ours: each of its readings is a row of its own."""

import asyncio
from decimal import Decimal

import pytest

from drivers.scale.session import Memory, Session
from gateway.domain.inputs import Samples
from gateway.intake import Intake
from gateway.simulator.scales.dialects import DIALECTS
from gateway.simulator.scales.plate import Plate
from tests.drivers.scale.vectors import config
from tests.virtual_time import LoopClock, run_virtual

BAUD = 9_600
READINGS = 1_000
PIECE_BYTES = 4


class Trickle:
    """A line on which frames come at a period, piece by piece, as fast as the line is."""

    def __init__(self, frame, period_s):
        self._pieces = [
            (number * period_s + (first + PIECE_BYTES) * 10 / BAUD, frame[first:][:PIECE_BYTES])
            for number in range(READINGS)
            for first in range(0, len(frame), PIECE_BYTES)
        ]

    async def receive(self):
        loop = asyncio.get_running_loop()
        if not self._pieces:
            raise OSError(5, "the line was hung up")
        await asyncio.sleep(self._pieces[0][0] - loop.time())
        came = b""
        while self._pieces and self._pieces[0][0] <= loop.time() + 1e-9:
            came += self._pieces.pop(0)[1]
        return came


@pytest.mark.parametrize("period_ms", [99.5, 99.9, 100.0, 100.1, 100.3, 333.0])
def test_hardly_a_row_is_a_hole(period_ms):
    async def main():
        intake = Intake(LoopClock(), stream_max=READINGS)
        session = Session(
            config("cas"),
            stream=Trickle(DIALECTS["cas"].frame(Plate(grams=Decimal(412))), period_ms / 1_000),
            intake=intake,
            clock=LoopClock(),
            memory=Memory(None),
            alive=lambda: None,
            boot="b",
        )
        with pytest.raises(OSError, match="hung up"):
            await session.run()
        return intake.take(READINGS)

    blocks = [item for item in run_virtual(main())[0] if isinstance(item, Samples)]
    rows = [row[0] for block in blocks for row in block.w]
    assert len(rows) > 0.9 * READINGS
    assert rows.count(None) < 0.01 * len(rows)
