# SPDX-License-Identifier: Apache-2.0
"""Emulated scales on real pseudo-terminals and TCP, before the driver that opens them."""

import argparse
import asyncio
import os
import signal
import sys
import tomllib
from decimal import Decimal

import msgspec
import pytest

from drivers.errors import DeviceGoneError
from drivers.modbus.codec import Question
from drivers.modbus.driver import ModbusDriver
from drivers.modbus.line import Lines
from drivers.modbus.maps import Read, load, problems, shipped
from drivers.network_port import open_port
from drivers.registry import AnyDriverConfig
from drivers.scale.driver import ScaleDriver
from gateway.intake import Intake
from gateway.simulator.scales.command import _player, _table
from gateway.simulator.scales.dialects import DIALECTS
from gateway.simulator.scales.modbus import Transmitters
from gateway.simulator.scales.player import FAULTS, ONCE, Player
from gateway.simulator.scales.ports import PtyPort, TcpPort
from gateway.simulator.simulate import add_arguments, run_simulate
from tests.virtual_time import LoopClock

QUICK = {"poll_ms": 50, "period_ms": 20, "block_ms": 20}


class Watched(Intake):
    """An intake that says when a weight has come."""

    def __init__(self):
        super().__init__(LoopClock())
        self.weights = []
        self.weighed = asyncio.Event()

    def offer(self, item):
        self.weights += [row[0] for row in item.w if row[0] is not None]
        if self.weights:
            self.weighed.set()
        return True


async def read_until_unplugged(protocol, port):
    """Let a driver read a weight; pull the plug; return the weights and why it ended."""
    player = Player(protocol, port.write, unplug=port.unplug, rate=100)
    port.received = player.received
    said = _table(argparse.Namespace(device=protocol), port.url)
    table = tomllib.loads(said)["device"][0]
    config = msgspec.convert(table | QUICK, AnyDriverConfig)
    intake = Watched()
    driver = ScaleDriver(config, clock=LoopClock(), open_stream=open_port)
    async with asyncio.TaskGroup() as group:
        playing = group.create_task(player.play())
        reading = group.create_task(ended(driver, intake))
        await intake.weighed.wait()
        player.order("unplug")
        error = await reading
        playing.cancel()
    port.close()
    return intake, error


async def ended(driver, intake):
    with pytest.raises(DeviceGoneError) as raised:
        await driver.run(intake, lambda: None)
    return raised.value


def test_a_transmitter_on_tcp_knows_nothing_of_the_connection_before():
    async def run():
        port = TcpPort()
        await port.listen(0)
        made = argparse.Namespace(device="modbus", map="tuna-id551pn", framing="tcp")
        port.received = _player(made, port).received
        question = Question(1, 3, Read(2, 2), framing="tcp", transaction=7)
        try:
            async with open_port(port.url, 9_600) as stream:
                await stream.send(b"W\r\n")
            async with open_port(port.url, 9_600) as stream, asyncio.timeout(30):
                await stream.send(question.request)
                return question.feed(await stream.receive())
        finally:
            port.close()

    assert asyncio.run(run()).values == (0x3ED2, 0xF1AA)


@pytest.mark.parametrize("protocol", DIALECTS)
def test_a_scale_on_a_pseudo_terminal_is_read_until_it_is_unplugged(protocol, tmp_path):
    async def main():
        return await read_until_unplugged(protocol, PtyPort(tmp_path / "scale", plug_s=60))

    intake, error = asyncio.run(main())
    assert set(intake.weights) == {412.0}
    assert "Check the cable" in str(error)


@pytest.mark.parametrize("protocol", ["mt-sics", "cas"])
def test_a_scale_on_tcp_is_read_until_it_is_unplugged(protocol):
    async def main():
        port = TcpPort()
        await port.listen(0)
        return await read_until_unplugged(protocol, port)

    intake, error = asyncio.run(main())
    assert set(intake.weights) == {412.0}
    assert "socket://127.0.0.1:" in str(error)


def test_a_pseudo_terminal_is_plugged_in_again(tmp_path):
    async def main():
        port = PtyPort(tmp_path / "scale", plug_s=0.0)
        port.unplug()
        assert not (tmp_path / "scale").exists()
        plugged = asyncio.Event()
        asyncio.get_running_loop().call_later(0.0, plugged.set)
        await plugged.wait()
        async with open_port(port.url, 9_600) as stream:
            port.write(b"again")
            assert await stream.receive() == b"again"
        port.close()

    asyncio.run(main())


def arguments(*words):
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return parser.parse_args(words)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "Add --lines DIR or --tcp PORT"),
        (["--tcp", "70000"], "no port"),
        (["--tcp", "0", "--grams", "much"], "no weight"),
        (["--tcp", "0", "--rate", "0"], "out of range"),
        (["--tcp", "0", "--fault", "fire@1"], "Known are half, checksum"),
        (["--tcp", "0", "--fault", "half"], "Write for example half@5"),
    ],
)
def test_a_wrong_argument_is_refused_with_a_remedy(words, said, capsys):
    assert asyncio.run(run_simulate(arguments("--device", "ohaus", *words))) == 2
    assert said in capsys.readouterr().err


def test_a_transmitter_refuses_wrong_arguments_with_a_remedy(capsys):
    words = ("--tcp", "0", "--framing", "tcp", "--fault")
    assert asyncio.run(run_simulate(arguments("--device", "modbus", *words, "fire@1"))) == 2
    assert "Known are half, checksum, flood" in capsys.readouterr().err

    async def main(name="eagle-ei"):
        return Transmitters(load(name), lambda _data: None, framing="tcp")

    peer = asyncio.run(main())
    for fault, said in (("checksum", "have none"), ("fire", "Known are half")):
        with pytest.raises(ValueError, match=said):
            peer.order(fault)
    peer.order("overload")
    with pytest.raises(ValueError, match="is not known"):
        asyncio.run(main("dingsong")).order("overload")


@pytest.mark.parametrize("name", shipped())
def test_an_emulated_transmitter_is_read_with_the_settings_that_are_printed(name, tmp_path):
    async def main():
        port = PtyPort(tmp_path / "scale", plug_s=60)
        made = argparse.Namespace(device="modbus", map=name, framing="rtu")
        peer = _player(made, port)
        port.received = peer.received
        peer.put(Decimal(206))
        table = tomllib.loads(_table(made, port.url))["device"][0]
        config = msgspec.convert(table | {"poll_ms": 20, "block_ms": 20}, AnyDriverConfig)
        assert problems(config) == []
        intake = Watched()
        driver = ModbusDriver(config, clock=LoopClock(), open_line=Lines(open_port).opener(config))
        async with asyncio.TaskGroup() as group:
            reading = group.create_task(ended(driver, intake))
            await intake.weighed.wait()
            peer.order("unplug")
            error = await reading
        port.close()
        return intake, error

    intake, error = asyncio.run(main())
    assert set(intake.weights) == {206.0}
    assert "Check the cable" in str(error)


def test_faults_that_a_protocol_cannot_have_are_refused():
    player = Player("toledo-8217", lambda _data: None)
    for fault in ("checksum", "unit"):
        with pytest.raises(ValueError, match=r"none\. Order"):
            player.order(fault)
    with pytest.raises(ValueError, match="is not known"):
        Player("ohaus", lambda _data: None).order("overload")
    with pytest.raises(ValueError, match="Known are mt-sics"):
        Player("abacus", lambda _data: None)
    assert set(FAULTS) >= ONCE


def test_the_command_weighs_what_standard_input_says(tmp_path):
    async def main():
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "gateway.simulator.simulate", "--device", "cas"),
            *("--lines", str(tmp_path), "--grams", "100", "--rate", "50"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=dict(os.environ),
        )
        told = b""
        while b"so many grams on it; a word orders a fault: half, " not in told:
            told += await process.stdout.readline()
        assert b'protocol = "cas"' in told
        async with open_port(str(tmp_path / "scale-cas"), 9_600) as stream:
            await read_until(stream, b"0.100 kg")
            process.stdin.write(b"overlaod\n")
            await process.stdin.drain()
            words = await process.stderr.readline()
            assert b"overlaod: neither grams nor a fault. Known are half, " in words
            process.stdin.write(b"250 overload\n")
            await process.stdin.drain()
            await read_until(stream, b"OL,GS,1\x80,+  0.250 kg")
        process.send_signal(signal.SIGTERM)
        assert await process.wait() == 0

    asyncio.run(main())


async def read_until(stream, wanted):
    seen = b""
    while wanted not in seen:
        seen = seen[-100:] + await stream.receive()
