# SPDX-License-Identifier: Apache-2.0
"""HX711 bridges: the codec against any bytes, blocks, and the driver over a null modem."""

import asyncio
import json
import re
from contextlib import asynccontextmanager
from itertools import pairwise

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.bridge.codec import (
    LINE_BYTES_MAX,
    RAW_MAX,
    RAW_MIN,
    Decoder,
    Noise,
    Reading,
    crc_ccitt_false,
)
from drivers.bridge.config import BridgeConfig
from drivers.bridge.driver import Blocks, BridgeDriver
from drivers.errors import DeviceGoneError, DeviceSilentError, DriverError, OtherDeviceError
from drivers.gathering import GATHER_S
from gateway.intake import Intake
from tests.test_tidy import ROOT
from tests.virtual_time import LoopClock, run_virtual

CONFIG = BridgeConfig(name="g2.s1", url="/dev/ttyUSB0", channels=(1, 0))


def json_line(seq=0, t=0, ch=((0, 10), (1, -20)), *, crc=True, **more):
    fields = {"v": 1, "boot": "9f3a", "seq": seq, "t": t, "sps": 10, "ch": ch} | more
    text = json.dumps(fields, separators=(",", ":"))[:-1]
    if crc:
        text += f',"crc":"{crc_ccitt_false(text.encode()):04X}"'
    return text.encode() + b"}\n"


# The codec.


def test_the_checksum_is_ccitt_false():
    assert crc_ccitt_false(b"123456789") == 0x29B1


def test_the_documented_line_is_read():
    line = (
        b'{"v":1,"dev":"sh07","boot":"9f3a","seq":1234,"t":1583245,"sps":10,'
        b'"ch":[[0,123456],[1,-8821],[2,null]]}\r\n'
    )
    [reading] = Decoder().feed(line)
    assert reading == Reading("9f3a", 1234, 1583245, 10.0, {0: 123456, 1: -8821, 2: None}, "sh07")


def test_the_line_of_the_contract_has_the_checksum_that_it_says():
    page = (ROOT / "docs" / "contract-in-store.md").read_text("utf-8")
    [line] = re.findall(r"^.*sps.*crc.*$", page, re.MULTILINE)
    [reading] = Decoder(crc_required=True).feed(f"{line}\n".encode())
    assert reading.raw == {0: 123456, 1: None}


def test_csv_is_read_with_empty_cells_and_its_header_is_no_noise():
    stream = b"seq,t_ms,ch0,ch1,ch2\n7,1200,5,,-6\r\n8,1300,null,nan, 4\n"
    assert Decoder(form="csv").feed(stream) == [
        Reading(None, 7, 1200, None, {0: 5, 1: None, 2: -6}),
        Reading(None, 8, 1300, None, {0: None, 1: None, 2: 4}),
    ]


# The ADC's word, what offset-binary firmware prints, and the counts meant.
WORDS = [
    (0x000000, 8_388_608, 0),
    (0x7FFFFF, 16_777_215, None),
    (0x800000, 0, None),
    (0xFFFFFF, 8_388_607, -1),
    (0x81FC3D, 130_109, -8_258_499),
]


@pytest.mark.parametrize(("word", "printed", "counts"), WORDS)
def test_both_encodings_mean_the_same_and_both_ends_are_saturated(word, printed, counts):
    signed = word - (1 << 24) if word & 0x800000 else word
    [plain] = Decoder().feed(json_line(ch=[[0, signed]]))
    [offset] = Decoder(encoding="offset-binary").feed(json_line(ch=[[0, printed]]))
    [csv] = Decoder(form="csv", encoding="offset-binary").feed(b"0,0,%d\n" % printed)
    assert plain.raw == offset.raw == csv.raw == {0: counts}


def with_bad_crc():
    line = json_line()
    return line.replace(b"10]", b"11]", 1)


NOISE = {
    "checksum": ({}, with_bad_crc()),
    "checksum missing": ({"crc_required": True}, json_line(crc=False)),
    "checksum short": ({}, json_line(crc=False)[:-2] + b',"crc":"1D0"}\n'),
    "checksum no text": ({}, json_line(crc=False)[:-2] + b',"crc":7439}\n'),
    "half": ({}, json_line()[:30] + b"\n"),
    "other version": ({}, json_line(v=2)),
    "no boot": ({}, json_line(boot="")),
    "bell in boot": ({}, json_line(boot="\a")),
    "t beyond its wrap": ({}, json_line(t=1 << 32)),
    "negative seq": ({}, json_line(seq=-1)),
    "no channels": ({}, json_line(ch=[])),
    "many channels": ({}, json_line(ch=[[n, 0] for n in range(65)])),
    "channel twice": ({}, json_line(ch=[[0, 1], [0, 2]])),
    "fractions": ({}, json_line(ch=[[0, 1.5]])),
    "25 bits": ({}, json_line(ch=[[0, 1 << 23]])),
    "NaN": ({}, json_line(ch=[[0, "@"]], crc=False).replace(b'"@"', b"NaN")),
    "many digits": ({}, json_line(ch=[[0, "@"]], crc=False).replace(b'"@"', b"9" * 400)),
    "deep": ({}, b'{"v":1,"x":' + b"[" * 4000 + b"\n"),
    "invalid UTF-8": ({}, json_line(crc=False).replace(b"9f3a", b"\xff\xfe")),
    "csv as json": ({}, b"1,2,3\n"),
    "csv short": ({"form": "csv"}, b"1,2\n"),
    "csv words": ({"form": "csv"}, b"1,2,three\n"),
    "csv minus": ({"form": "csv"}, b"1,2,-\n"),
    "csv no seq": ({"form": "csv"}, b",2,3\n"),
    "csv late": ({"form": "csv"}, b"1,4294967296,3\n"),
    "csv digits": ({"form": "csv"}, b"1,2," + b"9" * 4000 + b"\n"),
    "csv offset": ({"form": "csv", "encoding": "offset-binary"}, b"1,2,-1\n"),
    "csv superscript": ({"form": "csv"}, "1,2,²\n".encode()),
}


@pytest.mark.parametrize("other", [b', "crc":"1D0F"}\n', b', "crc": 4711}\n', b',"x":{"crc":1}}\n'])
def test_what_is_no_checksum_of_ours_is_not_judged(other):
    [reading] = Decoder().feed(json_line(crc=False)[:-2] + other)
    assert reading.raw == {0: 10, 1: -20}


@pytest.mark.parametrize("name", NOISE)
def test_noise_is_a_value(name):
    options, line = NOISE[name]
    [noise] = Decoder(**options).feed(line)
    assert isinstance(noise, Noise)
    assert noise.reason == "malformed"
    good = b"1,2,3\n" if options.get("form") else json_line()
    decoder = Decoder(form=options.get("form", "json"))
    decoder.feed(line)
    assert isinstance(decoder.feed(good)[0], Reading)


def test_an_endless_line_is_one_noise_and_takes_no_memory():
    decoder = Decoder()
    for _ in range(1_000):
        assert decoder.feed(b"x" * 1_000) == []
    assert len(decoder._line) == LINE_BYTES_MAX
    [noise, reading] = decoder.feed(b"\n" + json_line())
    assert (noise.reason, reading.seq) == ("too-long", 0)


LINES = st.one_of(
    st.builds(json_line, st.integers(0, 99), st.integers(0, 2**32 - 1)),
    st.sampled_from([b"1,2,3\n", b"\n", b"\r\n", with_bad_crc()]),
    st.binary(max_size=40).map(lambda noise: noise + b"\n"),
    st.integers(0, 3).map(lambda extra: b"x" * (LINE_BYTES_MAX - 1 + extra) + b"\n"),
)


@given(
    stream=st.lists(LINES, max_size=8).map(b"".join),
    cuts=st.lists(st.integers(0, 9_000), max_size=20),
    form=st.sampled_from(["json", "csv"]),
)
def test_chunking_never_changes_the_readings(stream, cuts, form):
    whole = Decoder(form=form).feed(stream)
    chunked = Decoder(form=form)
    bounds = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    pieces = [stream[start:end] for start, end in pairwise(bounds)]
    assert [result for piece in pieces for result in chunked.feed(piece)] == whole


@given(st.binary(max_size=200), st.sampled_from(["json", "csv"]))
def test_any_bytes_leave_the_next_line_readable(noise, form):
    decoder = Decoder(form=form)
    decoder.feed(noise + b"\n")
    good = json_line() if form == "json" else b"0,0,10,-20\n"
    [reading] = decoder.feed(good)
    assert reading.raw == {0: 10, 1: -20}


@given(
    st.dictionaries(
        st.integers(0, 63), st.none() | st.integers(RAW_MIN + 1, RAW_MAX - 1), min_size=1
    ),
    st.integers(0, 2**53),
    st.integers(0, 2**32 - 1),
)
def test_every_reading_survives(raw, seq, t_ms):
    [reading] = Decoder().feed(json_line(seq, t_ms, list(raw.items())))
    assert (reading.raw, reading.seq, reading.t_ms) == (raw, seq, t_ms)


# Blocks.


def reading(seq, t_ms=None, boot="9f3a", sps=10.0, raw=None):
    t_ms = seq * 100 if t_ms is None else t_ms
    return Reading(boot, seq, t_ms % (1 << 32), sps, raw or {0: seq, 1: -seq})


def blocks_of(readings, **config):
    blocks = Blocks(msgspec.structs.replace(CONFIG, **config), "connection")
    made = [block for item in readings for block in blocks.add(item)]
    return blocks, made


def shape(block):
    return (block.seq, block.t_ms, [row[1] for row in block.rows])


def test_lines_are_grouped_in_plate_order_with_the_time_of_the_first():
    _, made = blocks_of([reading(seq) for seq in range(4)])
    assert [shape(block) for block in made] == [(0, 0, [0, 1]), (1, 200, [2, 3])]
    assert made[1].rows == [[-2, 2], [-3, 3]]
    assert made[0].period_us == 100_000
    assert made[0].boot == made[1].boot


def test_at_80_a_second_a_block_has_16_rows():
    readings = [reading(seq, t_ms=seq * 25 // 2, sps=80.0) for seq in range(48)]
    assert [len(block.rows) for block in blocks_of(readings)[1]] == [16, 16, 16]


@pytest.mark.parametrize(("part", "whole"), [(0.04, True), (0.2, False)])
def test_a_rate_that_is_measured_anew_in_each_line_breaks_no_block(part, whole):
    """Within 5 % it is one rate; one that changes by more cannot date the rows of one block."""
    rates = [80.0 * (1.0 + part * (seq % 2)) for seq in range(48)]
    readings = [reading(seq, t_ms=seq * 25 // 2, sps=sps) for seq, sps in enumerate(rates)]
    lengths = [len(block.rows) for block in blocks_of(readings)[1]]
    assert (lengths == [16, 16, 16]) is whole
    assert whole or set(lengths) == {1}


def test_a_channel_that_a_line_lacks_is_not_ready():
    _, made = blocks_of([reading(0, raw={0: 5}), reading(1, raw={0: None, 7: 1})])
    assert made[0].rows == [[None, 5], [None, None]]


@pytest.mark.parametrize("counts", [0, -1])
def test_a_wire_that_no_converter_drives_is_no_weight(counts):
    raws = [{0: 900, 1: raw} for raw in (counts, counts, counts, 5, counts, 7, 7)]
    _, made = blocks_of([reading(seq, raw=raw) for seq, raw in enumerate(raws)], block_ms=700)
    [block] = made
    assert [row[0] for row in block.rows] == [counts, None, None, 5, counts, 7, 7]
    assert {row[1] for row in block.rows} == {900}


def test_a_missing_line_splits_the_block_and_is_counted():
    blocks, made = blocks_of([reading(0), reading(3), reading(4)])
    assert [shape(block) for block in made] == [(0, 0, [0]), (1, 300, [3, 4])]
    assert blocks.take_missed() == 2
    assert blocks.take_missed() == 0


def test_a_pause_without_a_missing_line_splits_the_block():
    _, made = blocks_of([reading(0, 0), reading(1, 900), reading(2, 1000)])
    assert [shape(block) for block in made] == [(0, 0, [0]), (1, 900, [1, 2])]


def test_the_bridge_clock_may_wrap_within_a_block():
    start = (1 << 32) - 100
    _, made = blocks_of([reading(0, start), reading(1, start + 100)])
    assert [shape(block) for block in made] == [(0, start, [0, 1])]


def test_a_restart_begins_a_new_boot_and_count():
    _, made = blocks_of(
        [reading(seq) for seq in (90, 91)] + [reading(seq, boot="77") for seq in (0, 1)]
    )
    assert [shape(block) for block in made] == [(0, 9000, [90, 91]), (0, 0, [0, 1])]
    assert made[0].boot != made[1].boot


def test_csv_counts_from_the_start_again_after_a_restart():
    _, made = blocks_of([reading(seq, boot=None) for seq in (90, 91, 0, 1)])
    assert [block.seq for block in made] == [0, 0]
    assert made[0].boot != made[1].boot


def test_another_connection_has_another_boot():
    boots = set()
    for connection in ("a", "b"):
        blocks = Blocks(CONFIG, connection)
        boots |= {block.boot for seq in range(2) for block in blocks.add(reading(seq))}
    assert len(boots) == 2


# The driver.


class NullModem:
    """The bridge's end of the cable: chunks with pauses between them, then silence or the end."""

    def __init__(self, *chunks, every_s=0.1, end=None):
        self.chunks = list(chunks)
        self.every_s = every_s
        self.end = end
        self.opened = []

    async def send(self, data):
        raise AssertionError(f"a bridge is never spoken to, but got {data}")

    async def receive(self):
        if self.chunks:
            await asyncio.sleep(self.every_s)
            return self.chunks.pop(0)
        if self.end is not None:
            raise self.end
        return await asyncio.Event().wait()

    @asynccontextmanager
    async def open(self, url, baud):
        self.opened.append((url, baud))
        yield self


def run_driver(modem, **config):
    async def main():
        clock = LoopClock()
        intake, ups = Intake(clock), []
        driver = BridgeDriver(
            msgspec.structs.replace(CONFIG, **config),
            clock=clock,
            open_stream=modem.open,
            draw=lambda: "drawn",
        )
        with pytest.raises(DriverError) as raised:
            await driver.run(intake, lambda: ups.append(1))
        return raised.value, intake, ups

    return run_virtual(main())


def test_lines_become_samples_and_silence_is_reported_with_its_remedy():
    line = json_line(2, 200)
    pieces = json_line(0, 0), json_line(1, 100), line[:20], line[20:], json_line(3, 300)
    modem = NullModem(*pieces, every_s=0.095)
    (error, intake, ups), took_s = run_driver(modem)
    [first, second] = intake.take(9)
    assert (first.device, first.unit, first.seq, first.t_ms) == ("shelf/g2.s1", "raw", 0, 0)
    assert first.w == [[-20, 10], [-20, 10]]
    assert (second.seq, second.t_ms, second.at.mono_ns) == (1, 200, 575_000_000)
    assert isinstance(error, DeviceSilentError)
    assert str(error) == (
        "shelf/g2.s1: no intelligible line on /dev/ttyUSB0 for 5000 ms. "
        "Check the bridge's power, the baud rate and the format"
    )
    # Four pieces, each waited for and followed by a pause, together three times GATHER_S.
    assert took_s == pytest.approx(4 * 3 * GATHER_S + 0.095 + 5)
    assert len(ups) == 4
    assert modem.opened == [("/dev/ttyUSB0", 115_200)]


def test_noise_alone_is_silence_and_each_line_of_it_is_counted():
    chunks = [b"\xff\xfe garbage\n"] * 100 + [b"x" * 5000 + b"\n"]
    (error, intake, ups), took_s = run_driver(NullModem(*chunks), silence_ms_max=20_000)
    assert isinstance(error, DeviceSilentError)
    assert took_s == pytest.approx(20)
    assert intake.totals == {"malformed": 100, "too-long": 1}
    assert not ups


def test_missing_lines_are_counted_as_a_gap():
    (_, intake, _), _ = run_driver(NullModem(json_line(0, 0), json_line(5, 500)))
    assert intake.totals == {"gap": 4}


def test_another_bridge_is_refused_and_a_damaged_name_is_noise():
    names = ["sh07", "sh17", "sh07", "sh08", "sh08"]
    lines = [json_line(n, n * 100, dev=name, crc=False) for n, name in enumerate(names)]
    (error, intake, ups), _ = run_driver(NullModem(*lines))
    assert isinstance(error, OtherDeviceError)
    assert str(error) == (
        "shelf/g2.s1: bridge sh08 is on /dev/ttyUSB0, where sh07 belongs. If it was exchanged, "
        'calibrate its plates, write dev = "sh08" in its table and restart'
    )
    assert len(ups) == 2
    assert intake.totals["malformed"] == 2
    (error, _, ups), _ = run_driver(NullModem(*lines[3:]), dev="sh07")
    assert isinstance(error, OtherDeviceError)
    assert not ups
    (error, _, ups), _ = run_driver(NullModem(*lines[3:]), dev="sh08")
    assert isinstance(error, DeviceSilentError)
    assert len(ups) == 2


def test_a_port_that_vanishes_is_gone():
    modem = NullModem(json_line(), end=OSError(5, "Input/output error"))
    (error, _, ups), _ = run_driver(modem)
    assert isinstance(error, DeviceGoneError)
    assert "/dev/ttyUSB0: Input/output error. Check the cable" in str(error)
    assert len(ups) == 1


def test_a_port_that_is_not_there_is_gone():
    class NoPort:
        def open(self, url, _baud):
            raise FileNotFoundError(2, "No such file or directory", url)

    (error, _, _), _ = run_driver(NoPort())
    assert "/dev/ttyUSB0: No such file or directory" in str(error)
