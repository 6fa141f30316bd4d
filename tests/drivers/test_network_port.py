# SPDX-License-Identifier: Apache-2.0
"""Scanners on a network, as servers and as clients, over real sockets on loopback."""

import asyncio
import socket

import pytest

from drivers.errors import DeviceGoneError
from drivers.labels.judging import Judge
from drivers.network_port import Address, TcpStream, address_of, open_port
from drivers.registry import build
from drivers.scanner.config import ScannerConfig
from gateway.intake import Intake
from tests.brokers import free_port
from tests.drivers.scanner_line import product_store
from tests.virtual_time import LoopClock


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("socket://reader.shop:9000", Address(False, "reader.shop", 9000)),
        ("socket://[fd00::7]:1", Address(False, "fd00::7", 1)),
        ("listen://0.0.0.0:65535", Address(True, "0.0.0.0", 65535)),
        ("/dev/serial/by-id/usb:1", None),
    ],
)
def test_addresses_are_told_from_paths(url, address):
    assert address_of(url) == address


@pytest.mark.parametrize(
    "url",
    ["udp://a:1", "socket://a", "socket://:1", "socket://a:0", "socket://a:65536", "socket://a:²"],
)
def test_what_is_no_address_is_refused(url):
    with pytest.raises(ValueError, match="Write "):
        address_of(url)


def driver_of(url):
    config = ScannerConfig(name="shop", url=url)
    judge = Judge(product_store(), None)
    return build(config, clock=LoopClock(), open_stream=open_port, judge=judge)


async def until_gone(driver, intake, came_up):
    try:
        await driver.run(intake, came_up)
    except DeviceGoneError as error:
        return error


def test_a_scanner_that_is_a_server_is_read_until_it_goes():
    async def main():
        connected = asyncio.get_running_loop().create_future()
        server = await asyncio.start_server(
            lambda _reader, writer: connected.set_result(writer), "127.0.0.1", 0
        )
        port = server.sockets[0].getsockname()[1]
        intake, up = Intake(LoopClock()), asyncio.Event()
        async with asyncio.TaskGroup() as group:
            driver = driver_of(f"socket://127.0.0.1:{port}")
            running = group.create_task(until_gone(driver, intake, up.set))
            writer = await connected
            await up.wait()
            writer.write(b"]E04006381333931\r\n")
            [item] = await intake.drain(9)
            writer.close()
            error = await running
        server.close()
        return item.gtin, error

    gtin, error = asyncio.run(main())
    assert gtin == "04006381333931"
    assert "the other side closed the connection" in str(error)


def test_a_scanner_that_is_a_client_is_taken_one_at_a_time():
    async def main():
        port = free_port()
        intake, up = Intake(LoopClock()), asyncio.Event()
        async with asyncio.TaskGroup() as group:
            driver = driver_of(f"listen://127.0.0.1:{port}")
            running = group.create_task(until_gone(driver, intake, up.set))
            _, scanner = await _connected(port)
            await up.wait()
            reader, second = await _connected(port)
            assert await _closed(reader), "another one is refused while it is there"
            scanner.write(b"96385074\r")
            [item] = await intake.drain(9)
            scanner.close()
            error = await running
        second.close()
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", port)
        return item.gtin, error

    gtin, error = asyncio.run(main())
    assert gtin == "00000096385074"
    assert error.device == "scanner/shop"


def test_a_scanner_that_is_not_there_is_a_device_that_is_gone():
    async def main():
        driver = driver_of(f"socket://127.0.0.1:{free_port()}")
        return await until_gone(driver, Intake(LoopClock()), lambda: None)

    assert isinstance(asyncio.run(main()), DeviceGoneError)


async def _connected(port):
    """Connect as soon as somebody listens."""
    while True:
        try:
            return await asyncio.open_connection("127.0.0.1", port)
        except ConnectionRefusedError:
            await asyncio.sleep(0)


async def _closed(reader):
    try:
        return await reader.read() == b""
    except ConnectionResetError:
        return True


def test_a_peer_that_is_gone_is_noticed_by_silence_and_by_what_it_does_not_acknowledge():
    async def main():
        server = await asyncio.start_server(lambda _, peer: peer.close(), "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        TcpStream(reader, writer)
        connection = writer.get_extra_info("socket")
        told = [
            connection.getsockopt(socket.IPPROTO_TCP, option)
            for option in (
                socket.TCP_KEEPIDLE,
                socket.TCP_KEEPINTVL,
                socket.TCP_KEEPCNT,
                socket.TCP_USER_TIMEOUT,
            )
        ]
        await reader.read()
        writer.close()
        server.close()
        return told

    idle_s, every_s, tries, gone_ms = asyncio.run(main())
    assert 1_000 * (idle_s + every_s * tries) == gone_ms == 25_000
