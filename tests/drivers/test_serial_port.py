# SPDX-License-Identifier: Apache-2.0
"""Serial ports on real pseudo-terminals."""

import asyncio
import os
import termios
import tty
from contextlib import asynccontextmanager, suppress

import pytest

from drivers.bridge.config import BridgeConfig
from drivers.entry.tokens import Verified
from drivers.errors import DeviceGoneError
from drivers.labels.judging import Judge
from drivers.network_port import open_port
from drivers.registry import build
from drivers.scanner.config import ScannerConfig
from drivers.serial_port import READ_BYTES, open_serial
from gateway.intake import Intake
from tests.small_store import small_store
from tests.virtual_time import LoopClock


class Pty:
    """Both ends of a pseudo-terminal: we hold the device's."""

    def __init__(self):
        self.device, self.host = os.openpty()
        tty.setraw(self.host)
        self.path = os.ttyname(self.host)

    def unplug(self):
        if self.device >= 0:
            os.close(self.device)
            os.close(self.host)
            self.device = -1


@pytest.fixture
def pty():
    ends = Pty()
    yield ends
    ends.unplug()


def test_bytes_travel_both_ways(pty):
    async def main():
        async with open_serial(pty.path, 115_200) as port:
            os.write(pty.device, b"half a li")
            first = await port.receive()
            asyncio.get_running_loop().call_later(0.01, os.write, pty.device, b"ne\r\n")
            second = await port.receive()
            await port.send(b"answer")
            return first, second, os.read(pty.device, 99)

    assert asyncio.run(main()) == (b"half a li", b"ne\r\n", b"answer")


@pytest.mark.parametrize(
    ("bits", "wanted"),
    [
        ("8N1", 0),
        ("8N2", termios.CSTOPB),
        ("8E1", 0),
        ("8O1", termios.PARODD),
    ],
)
def test_a_character_has_the_bits_that_are_asked_for(pty, bits, wanted):
    async def main():
        async with open_port(pty.path, 19_200, bits):
            return termios.tcgetattr(pty.host)[2]

    # A pseudo-terminal takes no PARENB.
    assert asyncio.run(main()) & (termios.CSTOPB | termios.PARODD) == wanted


def test_a_hang_up_is_an_error_though_bytes_before_it_are_read(pty):
    async def main():
        async with open_serial(pty.path, 115_200) as port:
            os.write(pty.device, b"last words")
            first = await port.receive()
            asyncio.get_running_loop().call_later(0.01, pty.unplug)
            with pytest.raises(OSError, match=r"Input/output error|hung up"):
                await port.receive()
            with pytest.raises(OSError, match="Input/output error"):
                await port.send(b"anyone?")
            return first

    assert asyncio.run(main()) == b"last words"


def test_one_read_is_bounded_and_nothing_is_lost(pty):
    async def main():
        received = b""
        async with open_serial(pty.path, 115_200) as port:
            os.set_blocking(pty.device, False)
            sent = 0
            while len(received) < 100_000:
                with suppress(BlockingIOError):
                    sent += os.write(pty.device, b"x" * min(3_000, 100_000 - sent))
                chunk = await port.receive()
                assert len(chunk) <= READ_BYTES
                received += chunk
        return received

    assert asyncio.run(main()) == b"x" * 100_000


def test_sending_waits_while_the_line_is_busy(pty):
    async def main():
        async with open_serial(pty.path, 115_200) as port, asyncio.TaskGroup() as group:
            sending = group.create_task(port.send(b"y" * 200_000))
            await asyncio.sleep(0.01)
            assert not sending.done()
            os.set_blocking(pty.device, False)
            received = 0
            while received < 200_000:
                try:
                    received += len(os.read(pty.device, 65_536))
                except BlockingIOError:
                    await asyncio.sleep(0)
            return received

    assert asyncio.run(main()) == 200_000


def test_a_receive_that_is_cancelled_leaves_no_watch_behind(pty):
    async def main():
        async with open_serial(pty.path, 115_200) as port:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.01):
                    await port.receive()
            assert not asyncio.get_running_loop().remove_reader(port._descriptor)
            os.write(pty.device, b"later")
            return await port.receive()

    assert asyncio.run(main()) == b"later"


def test_a_port_has_one_owner(pty):
    async def main():
        async with open_serial(pty.path, 115_200):
            with pytest.raises(OSError, match="lock"):
                async with open_serial(pty.path, 115_200):
                    pass
        async with open_serial(pty.path, 115_200):
            pass

    asyncio.run(main())


@pytest.mark.parametrize(("path", "baud"), [("/dev/none", 9_600), ("/dev/null", 9_600)])
def test_what_is_no_port_is_an_error(path, baud):
    async def main():
        async with open_serial(path, baud):
            pass

    with pytest.raises(OSError, match=r"could not|Could not"):
        asyncio.run(main())


BRIDGE = b'{"v":1,"boot":"9f3a","seq":%d,"t":%d,"sps":10,"ch":[[0,123],[1,null]]}\n'


def test_a_bridge_on_a_pseudo_terminal_is_read_until_it_is_unplugged(pty):
    async def main():
        intake, up = Intake(LoopClock()), asyncio.Event()
        config = BridgeConfig(name="g2.s1", url=pty.path, channels=(0, 1))
        opened = asyncio.Event()

        @asynccontextmanager
        async def opening(url, baud):
            async with open_serial(url, baud) as port:  # What came before is not read.
                opened.set()
                yield port

        driver = build(config, clock=LoopClock(), open_stream=opening, judge=None)
        async with asyncio.TaskGroup() as group:
            running = group.create_task(_until_gone(driver, intake, up.set))
            first, second = BRIDGE % (0, 0), BRIDGE % (1, 100)
            await opened.wait()
            os.write(pty.device, b'"seq":12}\n' + first + second[:20])
            await up.wait()
            os.write(pty.device, second[20:])
            [item] = await intake.drain(9)
            pty.unplug()
            error = await running
        return item, intake.totals, error

    item, totals, error = asyncio.run(main())
    assert item.w == [[123.0, None], [123.0, None]]
    assert totals == {"malformed": 1}
    assert error.device == "shelf/g2.s1"


def test_a_scanner_on_a_pseudo_terminal_is_read_until_it_is_unplugged(pty):
    async def main():
        intake, up = Intake(LoopClock()), asyncio.Event()
        config = ScannerConfig(name="gate", url=pty.path)
        driver = build(
            config,
            clock=LoopClock(),
            open_stream=open_port,
            judge=Judge(small_store(), lambda text, _stamp: Verified("valid", shopper=text)),
        )
        async with asyncio.TaskGroup() as group:
            running = group.create_task(_until_gone(driver, intake, up.set))
            await up.wait()
            os.write(pty.device, b"first.token.x\rsecond")
            [first] = await intake.drain(9)
            os.write(pty.device, b".token.x\r")
            [second] = await intake.drain(9)
            pty.unplug()
            error = await running
        return first.shopper, second.shopper, error

    first, second, error = asyncio.run(main())
    assert (first, second) == ("first.token.x", "second.token.x")
    assert error.device == "scanner/gate"


async def _until_gone(driver, intake, came_up):
    try:
        await driver.run(intake, came_up)
    except DeviceGoneError as error:
        return error
