# SPDX-License-Identifier: Apache-2.0
"""Doors that have a relay each on one board share its port, and lose and find it together."""

import asyncio
from contextlib import asynccontextmanager
from random import Random

import msgspec

from drivers.door.board import Boards
from drivers.door.config import RelayConfig
from drivers.network_port import open_port
from drivers.registry import build
from gateway.domain.effects import OpenDoor
from gateway.domain.inputs import DeviceStatus, DoorNotOpened
from gateway.intake import Intake
from gateway.simulator.doors import Relay
from gateway.simulator.scales.ports import PtyPort
from gateway.supervise import status_reporter, supervise
from tests.drivers.door.test_driver import Board
from tests.virtual_time import LoopClock, run_virtual

FRONT = RelayConfig(name="front", url="emulated", when_dead="locked", hold_ms=1_000)
BACK = msgspec.structs.replace(FRONT, name="back", channel=2)


class OnePort(Board):
    """A board whose port is for one owner, and for one who listens."""

    def __init__(self):
        super().__init__()
        self.opened, self.listening, self.opens = False, False, 0

    async def receive(self):
        assert not self.listening
        self.listening = True
        try:
            return await super().receive()
        finally:
            self.listening = False

    @asynccontextmanager
    async def open(self, url, baud):
        if self.opened:
            raise OSError(16, "Device or resource busy")
        async with super().open(url, baud):
            self.opened, self.opens = True, self.opens + 1
            try:
                await asyncio.sleep(0.01)
                yield self
            finally:
                self.opened = False


def with_doors(body):
    """Run ``await body(board, drivers, tasks)``; return the board and the inputs."""

    async def main():
        board, clock = OnePort(), LoopClock()
        intake, boards = Intake(clock), Boards(board.open)
        drivers = [
            build(config, clock=clock, open_stream=None, judge=None, boards=boards)
            for config in (FRONT, BACK)
        ]
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(
                    supervise(
                        config.device,
                        lambda came_up, driver=driver: driver.run(intake, came_up),
                        random=Random(1),
                        on_change=status_reporter(config.device, intake, clock),
                    )
                )
                for config, driver in zip((FRONT, BACK), drivers, strict=True)
            ]
            await asyncio.sleep(1)
            await body(board, drivers, tasks)
            for task in tasks:
                task.cancel()
        assert not board.opened, "the last one closes the port"
        return board, intake.take(999)

    return run_virtual(main())[0]


def effect(number, door):
    return OpenDoor(id=f"e{number}", door=door, session=f"s{number}")


def states(items, device):
    return [
        one.state
        for one in items
        if isinstance(one, DeviceStatus) and one.device == f"door/{device}"
    ]


def test_each_door_has_its_relay():
    async def body(_board, drivers, _tasks):
        assert drivers[0].open(effect(1, "front"))
        await asyncio.sleep(0.5)
        assert drivers[1].open(effect(2, "back"))
        await asyncio.sleep(5)

    board, items = with_doors(body)
    assert [word for _, word in board.said] == [
        "relay 1 energised",
        "relay 2 energised",
        "relay 1 released",
        "relay 2 released",
    ]
    assert board.opens == 1
    assert not [one for one in items if isinstance(one, DoorNotOpened)]


def test_a_board_that_is_pulled_is_lost_to_both_and_found_by_both():
    async def body(board, drivers, _tasks):
        board.pull()
        await asyncio.sleep(2)
        assert not any(driver.open(effect(1, "front")) for driver in drivers)
        board.put_back()
        await asyncio.sleep(4)
        assert drivers[0].open(effect(2, "front"))
        assert drivers[1].open(effect(3, "back"))
        await asyncio.sleep(0.5)
        assert board.relay.energised == {1: True, 2: True}

    _, items = with_doors(body)
    for door in ("front", "back"):
        assert states(items, door) == ["online", "offline", "online"]


def test_a_command_that_fails_is_a_loss_to_both():
    async def body(board, drivers, _tasks):
        board.refuses = 1
        assert drivers[0].open(effect(1, "front"))
        await asyncio.sleep(0.5)
        board.pull()  # As a port that fails is hung up for whoever listens, too.
        board.put_back()
        await asyncio.sleep(15)
        assert drivers[1].open(effect(2, "back"))
        await asyncio.sleep(0.5)
        assert board.relay.energised[2]

    board, items = with_doors(body)
    assert board.opens == 2
    assert states(items, "front") == states(items, "back") == ["online", "offline", "online"]


def test_a_door_that_is_stopped_leaves_the_port_to_the_other():
    async def body(board, drivers, tasks):
        tasks[0].cancel()
        await asyncio.sleep(1)
        assert drivers[1].open(effect(1, "back"))
        await asyncio.sleep(0.5)
        assert board.relay.energised[2]

    board, _ = with_doors(body)
    assert board.opens == 1


def test_on_a_pseudo_terminal_two_doors_switch_their_relays(tmp_path):
    async def main():
        words = asyncio.Queue()
        relay, port = Relay(words.put_nowait), PtyPort(tmp_path / "relay")
        port.received = relay.received
        clock = LoopClock()
        intake, boards = Intake(clock), Boards(open_port)
        up = [asyncio.Event(), asyncio.Event()]
        drivers = [
            build(
                msgspec.structs.replace(config, url=port.url),
                clock=clock,
                open_stream=open_port,
                judge=None,
                boards=boards,
            )
            for config in (FRONT, BACK)
        ]
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(driver.run(intake, event.set))
                for driver, event in zip(drivers, up, strict=True)
            ]
            for event in up:
                await event.wait()
            assert drivers[1].open(effect(1, "back"))
            assert await words.get() == "relay 2 energised"
            assert drivers[0].open(effect(2, "front"))
            assert await words.get() == "relay 1 energised"
            for task in tasks:
                task.cancel()
        port.close()

    asyncio.run(main())
