# SPDX-License-Identifier: Apache-2.0
"""The proxy of these tests does what it says: otherwise they would show nothing."""

import asyncio
import random

import pytest

from tests.brokers import run
from tests.faults.proxy import (
    BLACK_HOLE,
    NO_PUBACK,
    NONE,
    REFUSE,
    RESET,
    SLOW,
    Fault,
    Packets,
    proxied,
)


async def echo(reader, writer):
    while data := await reader.read(1_000):
        writer.write(data)
        await writer.drain()
    writer.close()


def with_proxy(play):
    """Run ``play(proxy)`` with a proxy before a server that sends everything back."""

    async def main():
        server = await asyncio.start_server(echo, "127.0.0.1", 0)
        async with server, proxied(server.sockets[0].getsockname()[1], seed=1) as proxy:
            await play(proxy)

    run(main())


async def dial(proxy):
    return await asyncio.open_connection("127.0.0.1", proxy.port)


async def ends(reader):
    """Read to the end; return what came, and None after a reset."""
    try:
        return await reader.read()
    except ConnectionResetError:
        return None


def test_without_a_fault_and_slowly_all_bytes_arrive_in_order():
    async def play(proxy):
        for fault in (NONE, SLOW):
            await proxy.set(fault)
            reader, writer = await dial(proxy)
            data = random.Random(1).randbytes(2_000)
            writer.write(data)
            assert await reader.readexactly(len(data)) == data
            writer.close()

    with_proxy(play)


@pytest.mark.parametrize("count", [0, 1, 699, 700])
@pytest.mark.parametrize("way", ["up", "down"])
def test_a_cut_lets_exactly_so_many_bytes_through(way, count):
    async def play(proxy):
        await proxy.set(Fault(**{f"cut_{way}": count}))
        reader, writer = await dial(proxy)
        writer.write(bytes(800))
        back = await ends(reader)
        await proxy.until(lambda: not proxy.links)
        assert proxy.last.passed[way] == count
        if way == "down":
            assert back == bytes(count)
        assert proxy.cuts == 1
        writer.close()

    with_proxy(play)


def test_what_is_held_arrives_when_the_fault_ends_and_not_before():
    async def play(proxy):
        reader, writer = await dial(proxy)
        writer.write(b"before")
        assert await reader.readexactly(6) == b"before"
        await proxy.set(BLACK_HOLE)
        writer.write(b"held")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await reader.read(1)
        await proxy.set(NONE)
        assert await reader.readexactly(4) == b"held"
        writer.close()

    with_proxy(play)


def test_it_refuses_resets_and_listens_on_the_same_port_again():
    async def play(proxy):
        reader, _ = await dial(proxy)
        await proxy.until(lambda: proxy.links)
        await proxy.set(REFUSE)
        with pytest.raises(ConnectionRefusedError):
            await dial(proxy)
        assert await proxy.cut() == 1
        assert await ends(reader) is None
        await proxy.set(RESET)
        reader, _ = await dial(proxy)
        assert await ends(reader) is None
        await proxy.set(NONE)
        reader, writer = await dial(proxy)
        writer.write(b"again")
        assert await reader.readexactly(5) == b"again"
        writer.close()

    with_proxy(play)


PACKETS = [
    bytes([0x20, 2, 0, 0]),  # CONNACK
    bytes([0x40, 2, 0, 1]),  # PUBACK
    bytes([0x30, 0xC8, 0x01]) + b"\x40\x02\x00\x09" * 50,  # PUBLISH that holds what looks like one
    bytes([0x40, 2, 0, 2]),
    bytes([0xD0, 0]),  # PINGRESP: nothing behind its header
    bytes([0x40, 3, 0, 3, 0x10]),
]


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1_000])
def test_packets_of_a_type_are_swallowed_however_the_bytes_are_chunked(size):
    packets, stream = Packets(), b"".join(PACKETS)
    kept = [
        packets.without(stream[at : at + size], lambda: NO_PUBACK.swallow)
        for at in range(0, len(stream), size)
    ]
    assert b"".join(kept) == PACKETS[0] + PACKETS[2] + PACKETS[4]
