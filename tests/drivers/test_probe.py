# SPDX-License-Identifier: Apache-2.0
"""What is on a port: every emulated device is found, and nothing that sends is ever written to."""

import asyncio
import errno
from contextlib import asynccontextmanager
from decimal import Decimal
from random import Random

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drivers.modbus import maps
from drivers.probe import judging, modbus
from drivers.probe.judging import findings, text_lines
from drivers.probe.probe import RATES, probe, question_of
from drivers.registry import AnyDriverConfig, problems
from drivers.scale.protocols import PROTOCOLS
from gateway.simulator.scales.dialects import DIALECTS
from gateway.simulator.scales.modbus import Transmitters
from gateway.simulator.scales.player import Player
from tests.drivers.scale.test_captures import CAPTURES, captured
from tests.small_store import small_store
from tests.virtual_time import run_virtual


class Cable:
    """A device at its end of a cable, which understands one rate alone."""

    def __init__(self, baud):
        self.baud = baud
        self.asked = []
        self.opened = []
        self.hears = bytes
        self.connected = str
        self._random = Random(1)

    @asynccontextmanager
    async def open(self, _url, baud):
        self.opened.append(baud)
        self._at, self._queue = baud, asyncio.Queue()
        self.connected()
        yield self

    def write(self, data):
        if self._at != self.baud:
            data = self._random.randbytes(len(data))
        self._queue.put_nowait(data)

    async def send(self, data):
        self.asked.append((self._at, data))
        if self._at == self.baud:
            self.hears(data)

    async def receive(self):
        return await self._queue.get()


def probed(protocol, *, streams=None):
    """Probe an emulated scale; return what was found, and its cable."""

    async def main():
        cable = Cable(PROTOCOLS[protocol].baud)
        player = Player(protocol, cable.write)
        if streams is not None:
            player._repeats = streams
        cable.hears = player.received
        cable._queue, cable._at = asyncio.Queue(), cable.baud
        async with asyncio.TaskGroup() as group:
            playing = group.create_task(player.play())
            result = await probe("/dev/ttyUSB0", cable.open)
            playing.cancel()
        return result, cable

    return run_virtual(main())[0]


def probed_modbus(name, url="/dev/ttyUSB0", *, unit_ids=(1,), framing="rtu"):
    """Probe emulated transmitters; return what was found, and their cable."""

    async def main():
        cable = Cable(9_600)
        cable._queue, cable._at = asyncio.Queue(), 0
        peer = Transmitters(maps.load(name), cable.write, unit_ids=unit_ids, framing=framing)
        peer.put(Decimal(412))
        cable.hears, cable.connected = peer.received, peer.connect
        return await probe(url, cable.open), cable

    return run_virtual(main())[0]


STREAMING = [name for name in DIALECTS if DIALECTS[name].streams]
ASKED = [name for name in DIALECTS if question_of(name)]


@pytest.mark.parametrize("protocol", STREAMING)
def test_a_scale_that_sends_is_found_and_never_written_to(protocol):
    result, cable = probed(protocol)
    assert [one.table["protocol"] for one in result.found] == [protocol]
    assert result.baud == PROTOCOLS[protocol].baud
    assert result.found[0].shows == "412 g"
    assert cable.asked == []


@pytest.mark.parametrize("protocol", ASKED)
def test_a_scale_that_is_silent_is_asked_and_found(protocol):
    result, _ = probed(protocol, streams=False)
    assert [one.table["protocol"] for one in result.found] == [protocol]
    assert result.baud == PROTOCOLS[protocol].baud
    talk = PROTOCOLS[protocol].talk == "listen" and bool(PROTOCOLS[protocol].poll)
    assert result.found[0].table.get("talk") == ("poll" if talk else None)


@pytest.mark.parametrize("protocol", DIALECTS)
def test_what_is_printed_is_a_table_that_can_be_used(protocol):
    result, _ = probed(protocol)
    table = {"name": "g1.s1", "url": "/dev/ttyUSB0"} | result.found[0].table
    config = msgspec.convert(table, AnyDriverConfig)
    [problem] = problems(config, small_store())
    plates = "1 channels for 3 plates" if protocol == "lines" else "this shelf has 3"
    assert plates in problem


@pytest.mark.parametrize("name", maps.shipped())
@pytest.mark.parametrize(("url", "framing"), [("/dev/ttyUSB0", "rtu"), ("socket://h:1", "tcp")])
def test_a_transmitter_is_found_by_its_registers_and_only_read(name, url, framing):
    result, cable = probed_modbus(name, url, framing=framing)
    found = next(one for one in result.found if one.table["map"] == name)
    assert found.shows == "412 g"
    assert found.table.get("framing", "rtu") == framing
    assert result.baud == (9_600 if framing == "rtu" else None)
    codes = {data[7 if framing == "tcp" else 1] for _, data in cable.asked[len(ASKED) :]}
    assert {3} == codes if framing == "rtu" else 3 in codes
    config = msgspec.convert({"name": "g1.s1", "url": url} | found.table, AnyDriverConfig)
    assert problems(config, small_store()) == [
        "shelf/g1.s1: 1 channels for 3 plates. Give one channel for each plate"
    ]


def test_all_transmitters_of_a_line_are_found_and_the_map_that_makes_sense_comes_first():
    result, _ = probed_modbus("tuna-id551pn", unit_ids=(2, 5))
    assert result.found[0].table["unit_ids"] == [2, 5]
    assert result.found[0].table["map"] == "tuna-id551pn"


def test_a_transmitter_of_no_known_map_is_told_as_one(monkeypatch):
    one = maps.load("pavone-jbx8")
    monkeypatch.setattr(maps, "shipped", lambda: ["eagle-ei"])
    monkeypatch.setattr(maps, "load", {"pavone-jbx8": one, "eagle-ei": maps.load("eagle-ei")}.get)
    [found] = probed_modbus("pavone-jbx8")[0].found
    assert found.table == {
        "driver": "modbus",
        "unit_ids": [1],
        "map_file": modbus.MAP_FILE,
        "unit": "kg",
    }


def test_a_server_that_hangs_up_at_what_it_does_not_know_is_asked_all_the_same():
    """Each strange question costs a connection, as with servers that are strict."""

    async def main():
        cable = Cable(9_600)
        cable._queue, cable._at = asyncio.Queue(), 0
        peer = Transmitters(maps.load("tuna-id551pn"), cable.write, framing="tcp")
        receive = cable.receive

        def hears(data):
            if data[2:4] == bytes(2):
                peer.received(data)
            else:
                cable.write(b"")

        async def received():
            data = await receive()
            if not data:
                raise OSError(errno.ECONNRESET, "the other side closed the connection")
            return data

        cable.hears, cable.receive, cable.connected = hears, received, peer.connect
        return await probe("socket://h:1", cable.open)

    result = run_virtual(main())[0]
    assert result.found[0].table["framing"] == "tcp"


def test_what_is_asked_harms_nobody():
    """No letter in it zeroes, tares or clears a scale of any protocol."""
    harmful = {facts.zero for facts in PROTOCOLS.values()}
    harmful |= {facts.tare for facts in PROTOCOLS.values()}
    for protocol in ASKED:
        question = question_of(protocol)
        assert question not in harmful
        assert not set(question) & set(b"ZTCRU@"), question
    for unit_id in modbus.UNITS:
        for framing in ("rtu", "tcp"):
            request = modbus.first_question(unit_id, framing).request
            assert not {byte & 0x7F for byte in request} & set(b"ZTCRU@\r")


def test_where_nothing_comes_and_nobody_answers_each_question_was_asked_once():
    async def main():
        cable = Cable(9_600)
        cable.baud = 0
        return await probe("/dev/ttyUSB0", cable.open), cable

    (result, cable), seconds = run_virtual(main())
    assert not result.found
    assert not result.received
    assert len(cable.asked) == len(ASKED) + len(modbus.UNITS)
    assert seconds < 20


def test_text_that_nothing_understands_is_shown_and_not_answered():
    async def main():
        cable = Cable(2_400)

        async def send():
            while True:
                await asyncio.sleep(0.1)
                cable.write(b"W  0.412 kg ok\r\n")

        cable._queue, cable._at = asyncio.Queue(), 0
        async with asyncio.TaskGroup() as group:
            sending = group.create_task(send())
            result = await probe("/dev/ttyUSB0", cable.open)
            sending.cancel()
        return result, cable

    result, cable = run_virtual(main())[0]
    assert (result.found, result.baud) == ([], 2_400)
    assert result.lines == ["W  0.412 kg ok"] * 5
    assert cable.asked == []
    assert cable.opened == list(RATES[: RATES.index(2_400) + 1])


def test_a_network_port_has_no_rates():
    async def main():
        cable = Cable(9_600)
        cable._queue = asyncio.Queue()
        return await probe("socket://10.0.0.1:1", cable.open), cable

    (_, cable), _ = run_virtual(main())
    assert cable.opened[0] == RATES[0]
    assert cable.opened.count(RATES[0]) == 3 + sum(
        PROTOCOLS[name].baud == RATES[0] for name in ASKED
    )


@pytest.mark.parametrize("name", sorted(set(CAPTURES) - {"jik-6cab"}))
def test_a_capture_is_found_for_what_it_is(name):
    [found] = findings(captured(name))
    expected = {"protocol": "lines"} | CAPTURES[name][0]
    assert {key: found.table[key] for key in expected} == expected


BRIDGE = b'{"v":1,"boot":"9f3a","seq":%d,"t":%d,"sps":10,"ch":[[0,123],[1,null]]}\n'
CODES = b"]E04006381333931\r4006381333931\r"
TOKEN = b"eyJhbGciOiJFZERTQSJ9.eyJzdWIiOiJhbm5hIn0.c2lnbmF0dXJl\r"


@pytest.mark.parametrize(
    ("data", "table"),
    [
        (
            b"".join(BRIDGE % (n, n * 100) for n in range(5)),
            {"driver": "bridge", "channels": [0, 1]},
        ),
        (
            b"".join(b"%d,%d,123456,-8821,\r\n" % (n, n * 100) for n in range(5)),
            {"driver": "bridge", "channels": [0, 1, 2], "format": "csv"},
        ),
        (CODES, {"driver": "scanner"}),
        (TOKEN * 2, {"driver": "scanner"}),
        (
            bytes.fromhex("12F300000B34303036333831333333393331FC54") * 2,
            {"driver": "ssi"},
        ),
    ],
)
def test_bridges_and_scanners_are_found_for_what_they_are(data, table):
    [found] = findings(data)
    assert found.table == table
    assert "eyJ" not in repr(found)


def test_numbers_between_commas_that_count_nothing_are_no_bridge():
    assert findings(b"7,100,123\n7,100,123\n7,100,123\n") == []


@settings(deadline=None, max_examples=50)
@given(st.one_of(st.binary(max_size=300), st.text(max_size=300).map(str.encode)))
def test_any_bytes_are_judged(data):
    for found in findings(data):
        assert found.good >= judging.READINGS_MIN
    assert all(len(line) <= judging.SHOWN_LETTERS_MAX for line in text_lines(data))
    assert all(line.isprintable() for line in text_lines(data))
