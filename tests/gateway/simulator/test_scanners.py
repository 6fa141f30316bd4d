# SPDX-License-Identifier: Apache-2.0
"""Emulated scanners against their drivers, end to end, with every fault."""

import asyncio
import os
import sys
from contextlib import asynccontextmanager

import pytest

from drivers import registry
from drivers.errors import DeviceGoneError
from drivers.keyboard.codec import Decoder
from drivers.keyboard.config import KeyboardConfig
from drivers.labels.judging import Judge
from drivers.network_port import open_port
from drivers.scanner.codec import SCAN_BYTES_MAX, Scan, TooLong
from drivers.scanner.config import ScannerConfig
from drivers.ssi.config import SsiConfig
from gateway.intake import Intake
from gateway.simulator.scanners.command import Commands, Plug
from gateway.simulator.scanners.player import FAULTS, FLOOD, TRIES, Player
from gateway.simulator.scanners.typing import lost_keys, typed
from tests.drivers.scanner_line import product_store
from tests.virtual_time import LoopClock, run_virtual

ACK, NAK = 0xD0, 0xD1
EAN, SHORT = "]E04006381333931", "]E496385074"
GTINS = ["04006381333931", "00000096385074"]
CONFIGS = {
    "scanner": ScannerConfig(name="shop", url="emulated", prefix="\x02"),
    "ssi": SsiConfig(name="shop", url="emulated"),
    "keyboard": KeyboardConfig(name="shop", url="emulated"),
}


class Wire:
    """Joins an emulated scanner and a driver in one process; virtual time passes on it."""

    def __init__(self, protocol):
        self.bytes = bytearray()
        self.came = asyncio.Event()
        self.pulled = False
        self.player = Player(
            protocol,
            self.write,
            later=asyncio.get_running_loop().call_later,
            unplug=self.unplug,
            prefix=b"\x02",
        )

    def write(self, data):
        self.bytes += data
        self.came.set()

    def unplug(self):
        self.pulled = True
        self.came.set()

    async def receive(self):
        await self.came.wait()
        if self.pulled:
            raise OSError(5, "Input/output error")
        data = bytes(self.bytes[:64])
        del self.bytes[:64]
        if not self.bytes:
            self.came.clear()
        return data

    async def send(self, data):
        self.player.received(data)

    @asynccontextmanager
    async def open(self, _url, _baud):
        yield self


def play(protocol, *script):
    """Return the inputs and drops that a script of codes, ``!faults`` and pauses in s makes."""

    async def main():
        wire, clock = Wire(protocol), LoopClock()
        intake = Intake(clock)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(registry, "keyboard_opener", lambda: wire.open)
            driver = registry.build(
                CONFIGS[protocol],
                clock=clock,
                open_stream=wire.open,
                judge=Judge(product_store(), None),
            )
        async with asyncio.TaskGroup() as group:
            running = group.create_task(_until_gone(driver, intake))
            commands = Commands(wire.player, asyncio.Event())
            for one in script:
                if isinstance(one, str):
                    commands.take(one.encode() + b"\n")
                else:
                    await asyncio.sleep(one)
            await asyncio.sleep(20)
            wire.player.order("unplug")
            error = await running
        assert error.device == "scanner/shop"
        return intake.take(99), intake.totals, wire.player.answers

    (items, totals, answers), _ = run_virtual(main())
    return [item.gtin for item in items], totals, answers


async def _until_gone(driver, intake, came_up=lambda: None):
    try:
        await driver.run(intake, came_up)
    except DeviceGoneError as error:
        return error


@pytest.mark.parametrize("protocol", CONFIGS)
def test_codes_are_read_with_their_identifiers(protocol):
    gtins, totals, answers = play(protocol, EAN, SHORT, "]C10109521321123458\\x1d10LOT")
    assert gtins == [*GTINS, "09521321123458"]
    assert totals == {}
    assert answers == ([ACK] * 3 if protocol == "ssi" else [])


@pytest.mark.parametrize(
    ("protocol", "fault", "gtins", "totals", "answers"),
    [
        ("scanner", "half", GTINS[1:], {"malformed": 1}, []),
        ("scanner", "repeat", GTINS, {}, []),
        ("scanner", "flood", GTINS, {}, []),
        ("keyboard", "half", GTINS[1:], {"malformed": 1}, []),
        ("keyboard", "repeat", GTINS, {}, []),
        ("keyboard", "flood", GTINS, {"too-long": 1}, []),
        ("ssi", "half", GTINS, {"malformed": 1}, [ACK] * 2),
        ("ssi", "checksum", GTINS, {"checksum": 1}, [NAK, ACK, ACK]),
        ("ssi", "repeat", GTINS, {}, [ACK] * 3),
        ("ssi", "flood", GTINS, {"malformed": 1}, [ACK] * 2),
    ],
)
def test_a_fault_costs_no_more_than_what_it_hits(protocol, fault, gtins, totals, answers):
    assert play(protocol, f"!{fault}", EAN, 5, SHORT) == (gtins, totals, answers)


@pytest.mark.parametrize("protocol", CONFIGS)
def test_silence_ends_as_it_began(protocol):
    gtins, totals, _ = play(protocol, "!silence", EAN, 5, "!silence", SHORT)
    assert (gtins, totals) == (GTINS[1:], {})


def test_ssi_gives_up_after_three_tries_and_goes_on():
    faults = ["!half"] * TRIES
    gtins, totals, answers = play("ssi", *faults, EAN, 10, SHORT)
    assert (gtins, totals, answers) == (GTINS[1:], {"malformed": TRIES}, [ACK])


def test_what_is_sent_again_says_so():
    sent = []
    player = Player("ssi", sent.append, later=lambda _after_s, _back: None)
    player.scan(EAN)
    player.received(bytes.fromhex("05D1040001FF25"))
    assert [packet[3] for packet in sent] == [0, 1]
    assert [sum(packet[:-2]) + int.from_bytes(packet[-2:], "big") for packet in sent] == [
        65_536
    ] * 2


def test_a_fault_that_a_protocol_cannot_have_is_told(capsys):
    play("scanner", "!checksum", "!fire", EAN)
    told = capsys.readouterr().err
    assert "checksum: only ssi has one. Order half" in told
    assert f"!fire: no fault. Known are {', '.join(FAULTS)}" in told


def test_a_letter_without_a_key_is_told_and_types_nothing(capsys):
    gtins, totals, _ = play("keyboard", "\N{DEGREE SIGN}", EAN)
    assert (gtins, totals) == (GTINS[:1], {})
    assert "no key types it. Give letters of a US keyboard" in capsys.readouterr().err


def test_every_letter_of_a_keyboard_is_read_as_it_was_typed():
    ascii_ = "".join(map(chr, range(0x20, 0x7F)))
    assert Decoder().feed(typed(f"{ascii_}\x1d{ascii_}")) == [
        Scan(f"{ascii_}\x1d{ascii_}".encode())
    ]


def test_a_flood_is_longer_than_any_scan_and_any_packet():
    assert len(FLOOD) > SCAN_BYTES_MAX + 257
    assert Decoder().feed(lost_keys()) == [TooLong()]


@pytest.mark.parametrize("protocol", CONFIGS)
def test_on_a_pseudo_terminal_a_scanner_is_read_until_it_is_unplugged(protocol, tmp_path):
    async def main():
        plug = Plug(tmp_path / "port", protocol, prefix="\x02")
        clock = LoopClock()
        intake, up = Intake(clock), asyncio.Event()
        config = type(CONFIGS[protocol])
        more = {"prefix": "\x02"} if protocol == "scanner" else {}
        driver = registry.build(
            config(name="shop", url=str(plug.link), **more),
            clock=clock,
            open_stream=open_port,
            judge=Judge(product_store(), None),
        )
        async with asyncio.TaskGroup() as group:
            running = group.create_task(_until_gone(driver, intake, up.set))
            await up.wait()
            plug.player.scan(EAN)
            [item] = await intake.drain(9)
            plug.player.order("unplug")
            error = await running
        plug.close()
        return item.gtin, error

    gtin, error = asyncio.run(main())
    assert gtin == GTINS[0]
    assert error.device == "scanner/shop"
    assert not os.path.lexists(tmp_path / "port")


def test_the_command_scans_what_its_input_says(tmp_path):
    async def main():
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "gateway.simulator.simulate", "--device", "scanner", "--lines", str(tmp_path)),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        told = (await process.stdout.readuntil(b"Faults:")).decode()
        async with open_port(str(tmp_path / "scanner"), 115_200) as port:
            process.stdin.write(EAN.encode() + b"\n")
            read = b""
            while not read.endswith(b"\r"):
                read += await port.receive()
        process.stdin.close()
        return told, read, await process.wait()

    told, read, status = asyncio.run(main())
    assert f'driver = "scanner"\nname = "the scanner in the store file"\nurl = "{tmp_path}' in told
    assert read == EAN.encode() + b"\r"
    assert status == 0
