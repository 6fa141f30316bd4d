# SPDX-License-Identifier: Apache-2.0
"""Devices behind a TCP address, on real sockets of loopback."""

import asyncio

import pytest

from drivers import tcp_port
from drivers.opening import open_line
from drivers.tcp_port import split_address


async def served(handle):
    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    return server, f"socket://127.0.0.1:{server.sockets[0].getsockname()[1]}"


def test_bytes_travel_both_ways_and_a_close_is_an_error():
    async def echo(reader, writer):
        writer.write(await reader.readexactly(5))
        writer.close()

    async def main():
        server, url = await served(echo)
        async with server, open_line(url, 9_600) as stream:
            await stream.send(b"hello")
            assert await stream.receive() == b"hello"
            with pytest.raises(OSError, match="the other side closed the connection"):
                await stream.receive()

    asyncio.run(main())


def test_nobody_there_is_an_error():
    async def main():
        server, url = await served(lambda _reader, writer: writer.close())
        server.close()
        await server.wait_closed()
        with pytest.raises(ConnectionRefusedError):
            async with open_line(url, 9_600):
                pass

    asyncio.run(main())


def test_no_answer_is_an_error_and_not_a_silent_device(monkeypatch):
    async def never(*_args, **_more):
        await asyncio.Event().wait()

    async def main():
        async with open_line("socket://192.0.2.1:4001", 9_600):
            pass

    monkeypatch.setattr(tcp_port, "CONNECT_S", 0.01)
    monkeypatch.setattr(asyncio, "open_connection", never)
    with pytest.raises(OSError, match=r"no answer within 0\.01 s") as raised:
        asyncio.run(main())
    # The driver takes a TimeoutError for the silence of a device that is there.
    assert not isinstance(raised.value, TimeoutError)


def test_a_connection_that_the_kernel_gives_up_is_lost():
    class Reader:
        async def read(self, _count):
            raise TimeoutError(110, "Connection timed out")

    async def main():
        with pytest.raises(OSError, match="the connection was lost") as raised:
            await tcp_port.TcpPort(Reader(), None).receive()
        assert not isinstance(raised.value, TimeoutError)

    asyncio.run(main())


@pytest.mark.parametrize("url", ["socket://", "socket://host", "socket://:1", "socket://h:0x1"])
def test_what_is_no_address_is_told(url):
    with pytest.raises(OSError, match="not socket://host:port"):
        split_address(url)


def test_an_address_of_six_may_have_brackets():
    assert split_address("socket://[::1]:4001") == ("::1", 4001)
