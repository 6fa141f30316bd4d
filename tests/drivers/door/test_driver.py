# SPDX-License-Identifier: Apache-2.0
"""A door opens once for each effect, for a while, or it is told that it did not; virtual time."""

import asyncio
from contextlib import asynccontextmanager
from random import Random

import msgspec
import pytest

from drivers.door.config import RelayConfig
from drivers.registry import build
from gateway.domain.effects import OpenDoor
from gateway.domain.inputs import DeviceStatus, DoorNotOpened
from gateway.intake import Intake
from gateway.simulator.doors import Relay
from gateway.supervise import status_reporter, supervise
from tests.virtual_time import LoopClock, run_virtual

LOCKED = RelayConfig(name="front", url="emulated", when_dead="locked", hold_ms=3_000)
UNLOCKED = msgspec.structs.replace(LOCKED, when_dead="unlocked")


def effect(number):
    return OpenDoor(id=f"e{number}", door="front", session=f"s{number}")


class Board:
    """An emulated relay board at its end of a cable that can be pulled, or fail at a send."""

    def __init__(self):
        self.said = []
        loop = asyncio.get_running_loop()
        self.relay = Relay(lambda word: self.said.append((round(loop.time(), 1), word)))
        self.plugged = True
        self.refuses = 0
        self._pulled = asyncio.Event()

    def pull(self):
        self.plugged = False
        self.relay.unplugged()
        self._pulled.set()

    def put_back(self):
        self.plugged = True
        self._pulled.clear()

    async def send(self, data):
        await asyncio.sleep(0)
        if self.refuses or not self.plugged:
            self.refuses -= 1
            raise OSError(5, "Input/output error")
        self.relay.received(data)

    async def receive(self):
        await self._pulled.wait()
        raise OSError(5, "Input/output error")

    @asynccontextmanager
    async def open(self, _url, _baud):
        if not self.plugged:
            raise OSError(2, "No such file or directory")
        yield self


def with_board(config, body):
    """Run ``await body(board, driver)``; return the board's words and the driver's inputs."""

    async def main():
        board, clock = Board(), LoopClock()
        intake = Intake(clock)
        driver = build(config, clock=clock, open_stream=board.open, judge=None)
        assert not driver.open(effect(0)), "there is no line yet"
        async with asyncio.TaskGroup() as group:
            running = group.create_task(
                supervise(
                    config.device,
                    lambda came_up: driver.run(intake, came_up),
                    random=Random(1),
                    on_change=status_reporter(config.device, intake, clock),
                )
            )
            await asyncio.sleep(1)
            await body(board, driver)
            running.cancel()
        return board, intake.take(999)

    (board, items), _ = run_virtual(main())
    return board, items


def failed(items):
    return [(item.effect, item.reason) for item in items if isinstance(item, DoorNotOpened)]


def states(items):
    return [item.state for item in items if isinstance(item, DeviceStatus)]


def test_a_door_is_unlocked_for_as_long_as_it_holds_and_no_longer():
    async def body(_board, driver):
        assert driver.open(effect(1))
        await asyncio.sleep(10)

    board, items = with_board(LOCKED, body)
    assert board.said == [(1.0, "relay 1 energised"), (4.0, "relay 1 released")]
    assert (failed(items), states(items)) == ([], ["online"])


def test_who_comes_meanwhile_has_as_long_as_the_first_had():
    async def body(_board, driver):
        assert driver.open(effect(1))
        assert driver.open(effect(2))
        await asyncio.sleep(2)
        assert driver.open(effect(3))
        await asyncio.sleep(10)

    board, _ = with_board(LOCKED, body)
    assert board.said == [(1.0, "relay 1 energised"), (6.0, "relay 1 released")]


def test_a_door_that_is_open_without_a_gateway_is_locked_by_power_and_let_go_at_the_end():
    async def body(_board, driver):
        assert driver.open(effect(1))
        await asyncio.sleep(5)

    board, _ = with_board(UNLOCKED, body)
    assert board.said == [
        (0.0, "relay 1 energised"),
        (1.0, "relay 1 released"),
        (4.0, "relay 1 energised"),
        (6.0, "relay 1 released"),
    ]


def test_a_daemon_that_stops_while_a_door_is_open_locks_it():
    async def body(_board, driver):
        assert driver.open(effect(1))
        await asyncio.sleep(1)

    board, _ = with_board(LOCKED, body)
    assert board.said == [(1.0, "relay 1 energised"), (2.0, "relay 1 released")]


def test_a_board_that_was_reset_is_told_again_what_to_be():
    async def body(board, _driver):
        board.relay.energised.clear()
        await asyncio.sleep(30)
        assert board.relay.energised == {1: True}

    board, _ = with_board(UNLOCKED, body)
    assert board.relay.commands == 5


def test_a_board_that_is_pulled_is_lost_and_opens_for_nobody_until_it_is_back():
    async def body(board, driver):
        board.pull()
        await asyncio.sleep(1)
        assert not driver.open(effect(1))
        board.put_back()
        await asyncio.sleep(3)
        assert driver.open(effect(2))
        await asyncio.sleep(1)

    board, items = with_board(LOCKED, body)
    assert states(items) == ["online", "offline", "online"]
    energised = [word for _, word in board.said if "energised" in word]
    assert len(energised) == 1
    assert failed(items) == []


def test_a_line_that_fails_at_the_very_moment_is_told_with_whom_it_shut_out():
    async def body(board, driver):
        board.refuses = 1
        assert driver.open(effect(1))
        assert driver.open(effect(2))
        await asyncio.sleep(5)

    board, items = with_board(LOCKED, body)
    assert failed(items) == [("e1", "lost"), ("e2", "lost")]
    assert board.said == []
    assert states(items) == ["online", "offline", "online"]


def slow_to_send(board, seconds):
    """Let each word to the board take a while, as on a busy line."""
    send = board.send

    async def slowly(data):
        await asyncio.sleep(seconds)
        await send(data)

    board.send = slowly


def test_who_comes_while_the_board_is_told_to_lock_is_let_in_at_once():
    async def body(board, driver):
        slow_to_send(board, 0.5)
        assert driver.open(effect(1))
        await asyncio.sleep(3.2)
        assert driver.open(effect(2))
        await asyncio.sleep(9)

    board, items = with_board(LOCKED, body)
    assert board.said == [
        (1.5, "relay 1 energised"),
        (4.5, "relay 1 released"),
        (5.0, "relay 1 energised"),
        (8.0, "relay 1 released"),
    ]
    assert failed(items) == []


def test_a_door_opens_for_nobody_while_the_daemon_stops():
    answers = []

    async def body(board, driver):
        slow_to_send(board, 0.5)
        loop = asyncio.get_running_loop()
        loop.call_later(0.1, lambda: answers.append(driver.open(effect(1))))

    board, _ = with_board(LOCKED, body)
    assert answers == [False]
    assert board.said == []


def test_a_line_that_takes_nothing_is_lost_and_opens_for_nobody_later():
    async def body(board, driver):
        slow_to_send(board, 60)
        assert driver.open(effect(1))
        await asyncio.sleep(5)

    board, items = with_board(LOCKED, body)
    assert failed(items) == [("e1", "lost")]
    assert states(items)[:2] == ["online", "offline"]
    assert board.said == []


def test_more_than_can_wait_are_refused():
    async def body(_board, driver):
        taken = [driver.open(effect(number)) for number in range(30)]
        assert taken == [True] * 16 + [False] * 14
        await asyncio.sleep(1)

    with_board(LOCKED, body)


@pytest.mark.parametrize("noise", [b"\xa0", b"\xa0\x01\x01\xa3", b"\xa0\x01\x02\xa3", b"\x00\xff"])
def test_the_emulated_board_takes_no_damaged_command(noise):
    words = []
    relay = Relay(words.append)
    relay.received(noise)
    assert words == []
    relay.received(bytes.fromhex("A00101A2"))
    relay.received(bytes.fromhex("A00101A2"))
    assert words == ["relay 1 energised"]
