# SPDX-License-Identifier: Apache-2.0
"""The driver before pymodbus's own servers, on TCP and on a real pseudo-terminal."""

import asyncio
import os
import pty
import tty
from contextlib import asynccontextmanager

import pytest
from pymodbus import FramerType
from pymodbus.constants import ExcCodes
from pymodbus.server import ModbusSerialServer, ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

from drivers.errors import DeviceGoneError, DeviceSilentError
from drivers.modbus.driver import ModbusDriver
from drivers.modbus.line import Lines
from drivers.network_port import open_port
from gateway.domain.inputs import Samples
from gateway.intake import Intake
from tests.drivers.modbus.vectors import config
from tests.virtual_time import LoopClock

QUICK = {"poll_ms": 20, "block_ms": 20, "answer_ms": 1_000}


class Watched(Intake):
    """An intake whose weights can be waited for."""

    def __init__(self):
        super().__init__(LoopClock())
        self.rows = []
        self.changed = asyncio.Event()

    def offer(self, item):
        if isinstance(item, Samples):
            self.rows += item.w
            self.changed.set()
        return True

    async def shows(self, row):
        while row not in self.rows:
            self.changed.clear()
            await self.changed.wait()


def transmitters(refuses=None):
    """Return two transmitters: 412 g and 38 g less than nothing, in registers 2 and 3."""

    async def action(*_asked):
        return None if refuses is None else refuses.get("code")

    return [
        SimDevice(unit, SimData(1, values=words, datatype=DataType.REGISTERS), action=action)
        for unit, words in ((1, [0, 412]), (2, [0xFFFF, 0xFFDA]))
    ]


@asynccontextmanager
async def tcp(framing, refuses=None):
    framer = FramerType.RTU if framing == "rtu" else FramerType.SOCKET
    server = ModbusTcpServer(transmitters(refuses), framer=framer, address=("127.0.0.1", 0))
    await server.serve_forever(background=True)
    try:
        port = server.transport.sockets[0].getsockname()[1]
        yield server, f"socket://127.0.0.1:{port}"
    finally:
        await server.shutdown()


@asynccontextmanager
async def serial():
    """Two pseudo-terminals back to back: the server opens one and the gateway the other."""
    loop, ends = asyncio.get_running_loop(), [pty.openpty() for _ in range(2)]
    for (near, far), (other, _) in zip(ends, reversed(ends), strict=True):
        tty.setraw(far)
        os.set_blocking(near, False)
        loop.add_reader(near, lambda near=near, other=other: os.write(other, os.read(near, 4_096)))
    server = ModbusSerialServer(
        transmitters(), framer=FramerType.RTU, port=os.ttyname(ends[0][1]), baudrate=19_200
    )
    await server.serve_forever(background=True)
    try:
        yield server, os.ttyname(ends[1][1])
    finally:
        await server.shutdown()
        for near, far in ends:
            loop.remove_reader(near)
            os.close(near)
            os.close(far)


async def reading(url, intake, **settings):
    shelf = config(url=url, unit_ids=(1, 2), **(QUICK | settings))
    driver = ModbusDriver(shelf, clock=LoopClock(), open_line=Lines(open_port).opener(shelf))
    await driver.run(intake, lambda: None)


GOOD = [412.0, -38.0]


@pytest.mark.parametrize("framing", ["rtu", "tcp"])
def test_a_server_on_tcp_is_read_until_it_is_gone(framing):
    async def main():
        intake = Watched()
        async with tcp(framing) as (server, url), asyncio.TaskGroup() as group:
            task = group.create_task(ended(url, intake, framing=framing))
            await intake.shows(GOOD)
            await server.shutdown()
            error = await task
        return intake, error

    intake, error = asyncio.run(main())
    assert isinstance(error, DeviceGoneError)
    assert all(row == GOOD for row in intake.rows if None not in row)


async def ended(url, intake, **settings):
    with pytest.raises((DeviceGoneError, DeviceSilentError)) as raised:
        await reading(url, intake, **settings)
    return raised.value


def test_a_server_on_a_serial_line_is_read():
    async def main():
        intake = Watched()
        async with serial() as (_, url), asyncio.TaskGroup() as group:
            task = group.create_task(reading(url, intake, baud=19_200, line="8E1"))
            await intake.shows(GOOD)
            task.cancel()

    asyncio.run(main())


def test_a_server_that_refuses_is_told_and_is_read_again_once_it_answers():
    async def main():
        intake, refuses = Watched(), {}
        async with tcp("tcp", refuses) as (_, url), asyncio.TaskGroup() as group:
            refuses["code"] = ExcCodes.DEVICE_BUSY
            error = await ended(url, intake, framing="tcp", silence_ms_max=100)
            assert intake.rows == []
            refuses.clear()
            task = group.create_task(reading(url, intake, framing="tcp"))
            await intake.shows(GOOD)
            task.cancel()
        return error

    error = asyncio.run(main())
    assert isinstance(error, DeviceSilentError)
    assert "unit 1 on socket://127.0.0.1:" in str(error)
    assert "exception 6, device busy" in str(error)
