# SPDX-License-Identifier: Apache-2.0
"""The driver before an emulated bridge, with each fault that it can be ordered."""

import argparse
import asyncio
import tomllib
from contextlib import asynccontextmanager
from random import Random

import msgspec
import pytest

from drivers.bridge.codec import Decoder
from drivers.bridge.driver import BridgeDriver
from drivers.registry import AnyDriverConfig
from gateway.domain.inputs import DeviceStatus, Samples
from gateway.intake import Intake
from gateway.simulator.scales.bridge import COUNTS_PER_G, FAULTS, ZERO_RAW, BridgeBoard
from gateway.simulator.scales.command import _table
from gateway.supervise import status_reporter, supervise
from tests.drivers.test_device_pages import PAGE
from tests.virtual_time import LoopClock, run_virtual

LOADED = ZERO_RAW + 412 * COUNTS_PER_G
USUAL = [LOADED, ZERO_RAW]


class Cable:
    """Between a board and the gateway."""

    def __init__(self):
        self.queue = asyncio.Queue()
        self.write = self.queue.put_nowait

    def unplug(self):
        self.queue.put_nowait(b"")

    async def receive(self):
        data = await self.queue.get()
        if not data:
            raise OSError(5, "Input/output error")
        return data

    @asynccontextmanager
    async def open(self, _url, _baud):
        yield self


def played(*faults, seconds=3.0):
    """Let a board send, order faults, let it go on; return rows, drops and states since."""

    async def main():
        clock, cable = LoopClock(), Cable()
        intake, items = Intake(clock), []
        board = BridgeBoard(cable.write, unplug=cable.unplug)
        table = tomllib.loads(_table(argparse.Namespace(device="bridge"), "/dev/ttyACM0"))
        config = msgspec.convert(table["device"][0], AnyDriverConfig)
        driver = BridgeDriver(config, clock=clock, open_stream=cable.open)
        watched = supervise(
            config.device,
            lambda came_up: driver.run(intake, came_up),
            random=Random(1),
            on_change=status_reporter(config.device, intake, clock),
        )
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(board.play()), group.create_task(watched)]
            await asyncio.sleep(1.05)
            intake.take(10_000)
            for fault, after_s in faults:
                board.order(fault)
                await asyncio.sleep(after_s)
            await asyncio.sleep(seconds)
            items += intake.take(10_000)
            for task in tasks:
                task.cancel()
        rows = [row for item in items if isinstance(item, Samples) for row in item.w]
        states = [item.state for item in items if isinstance(item, DeviceStatus)]
        return rows, dict(intake.totals), states

    return run_virtual(main())[0]


@pytest.mark.parametrize(
    ("fault", "lost", "drops"),
    [
        ("half", 2, {"malformed": 1, "gap": 2}),
        ("checksum", 1, {"malformed": 1, "gap": 1}),
        ("flood", 0, {"too-long": 1}),
        ("gap", 1, {"gap": 1}),
    ],
)
def test_a_fault_of_one_line_costs_that_line_and_is_counted(fault, lost, drops):
    rows, counted, states = played((fault, 0))
    before, _, _ = played()
    assert counted == drops
    assert states == []
    assert all(row == USUAL for row in rows)
    assert lost <= len(before) - len(rows) <= lost + 1  # The last block may be one row short.


@pytest.mark.parametrize("fault", ["not-ready", "overload"])
def test_a_channel_without_a_value_is_none_and_the_other_goes_on(fault):
    rows, counted, states = played((fault, 2.0), (fault, 0.0))
    assert {tuple(row) for row in rows} == {tuple(USUAL), (None, ZERO_RAW)}
    assert rows[-1] == USUAL
    assert (counted, states) == ({}, [])


@pytest.mark.parametrize("faults", [[("silence", 10.0), ("silence", 0.0)], [("unplug", 0.0)]])
def test_a_bridge_that_was_gone_is_told_once_each_way(faults):
    rows, _, states = played(*faults)
    assert states == ["offline", "online"]
    assert rows[-1] == USUAL


def test_another_bridge_on_the_line_is_refused():
    rows, _, states = played(("other", 5.0))
    assert states == ["offline"]
    assert len(rows) < 5


def test_the_page_says_what_a_line_is_and_which_faults_can_be_ordered():
    section = PAGE.partition("\n## Bridges\n")[2].partition("\n## ")[0]
    [line] = [line for line in section.splitlines() if line.startswith('{"v":1')]
    [reading] = Decoder(crc_required=True).feed(line.encode() + b"\n")
    assert (reading.dev, reading.raw) == ("sh07", {0: 123_456, 1: None})
    told = PAGE.partition("--device bridge")[2].partition("\n\n")[0]
    assert all(f"`{fault}`" in told for fault in FAULTS)
