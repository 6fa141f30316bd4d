# SPDX-License-Identifier: Apache-2.0
"""Serial scanners: scans end where they should, repeats count once, tokens are judged."""

import asyncio

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.entry.tokens import Verified
from drivers.labels.judging import Judge
from drivers.scanner.codec import SCAN_BYTES_MAX, Decoder, Noise, Scan, TooLong, split_aim
from drivers.scanner.config import ScannerConfig
from drivers.scanner.driver import ScannerDriver, line_of
from gateway.domain.rescans import Repeats
from gateway.intake import Intake
from tests.drivers.chunks import CUTS, fed_in_pieces
from tests.drivers.scanner_line import Cable, product_store, run_until_unplugged
from tests.virtual_time import LoopClock, run_virtual

CONFIG = ScannerConfig(name="gate", url="/dev/ttyACM0")


# The codec.


@pytest.mark.parametrize("terminator", [b"\r", b"\n", b"\r\n", b"\t", b"\r\r\n"])
def test_each_terminator_ends_a_scan_and_empty_scans_do_not_count(terminator):
    stream = b"a.b.c" + terminator + b"4006381333931" + terminator
    assert Decoder().feed(stream) == [Scan(b"a.b.c"), Scan(b"4006381333931")]


def test_half_a_line_waits():
    decoder = Decoder()
    assert decoder.feed(b"a.b") == []
    assert decoder.pending
    assert decoder.feed(b".c\r") == [Scan(b"a.b.c")]
    assert not decoder.pending


def test_a_megabyte_without_an_end_is_one_rejection_and_takes_no_memory():
    decoder = Decoder()
    for _ in range(1024):
        assert decoder.feed(b"x" * 1024) == []
    assert len(decoder._line) <= SCAN_BYTES_MAX
    assert decoder.feed(b"\rnext\r") == [TooLong(), Scan(b"next")]


def test_a_prefix_is_taken_off_with_what_stands_before_it():
    decoder = Decoder(b"\x02")
    stream = b"\x02a.b.c\rhalf\x024006381333931\r\nno prefix\r\r\x02\r\x02x\r"
    assert decoder.feed(stream) == [
        Scan(b"a.b.c"),
        Scan(b"4006381333931"),
        Noise("malformed"),
        Scan(b"x"),
    ]


def test_a_prefix_begins_a_scan_after_any_flood():
    decoder = Decoder(b"<<<")
    for _ in range(100):
        assert decoder.feed(b"x<<" * 100) == []
        assert decoder.pending
        assert len(decoder._line) < 3
    assert decoder.feed(b"x<") + decoder.feed(b"<<96385074\r") == [Scan(b"96385074")]
    assert not decoder.pending


def test_the_limit_is_1_kb():
    line = b"x" * SCAN_BYTES_MAX
    assert Decoder().feed(line + b"\r" + line + b"x\r") == [Scan(line), TooLong()]


def test_a_scan_does_not_show_its_data():
    assert "secret" not in repr(Scan(b"secret"))


PIECES = st.one_of(
    st.binary(max_size=20),
    st.sampled_from([b"\r", b"\n", b"\r\n", b"\t", b"a.b.c\r", b"\x02a.b\r"]),
    st.integers(-1, 2).map(lambda extra: b"x" * (SCAN_BYTES_MAX + extra)),
)


@given(stream=st.lists(PIECES, max_size=12).map(b"".join), cuts=CUTS, prefix=st.booleans())
def test_chunking_never_changes_the_scans(stream, cuts, prefix):
    whole, cut = (Decoder(b"a." if prefix else b"") for _ in range(2))
    assert fed_in_pieces(cut, stream, cuts) == whole.feed(stream)
    assert len(cut._line) <= SCAN_BYTES_MAX


@given(st.binary(max_size=100))
def test_any_bytes_leave_the_next_scan_readable(noise):
    decoder = Decoder()
    decoder.feed(noise + b"\r")
    assert decoder.feed(b"a.b.c\r") == [Scan(b"a.b.c")]


@pytest.mark.parametrize(
    ("data", "split"),
    [
        (b"]Q1a.b.c", ("]Q1", b"a.b.c")),
        (b"]e0010952", ("]e0", b"010952")),
        (b"]C1", ("]C1", b"")),
        (b"a.b.c", (None, b"a.b.c")),
        (b"]", (None, b"]")),
        (b"]1Qx", (None, b"]1Qx")),
        (b"]\xff\xffx", (None, b"]\xff\xffx")),
        (b"", (None, b"")),
    ],
)
def test_aim_identifiers_are_split_off(data, split):
    assert split_aim(data) == split


# Repeats.


def test_a_code_that_stays_before_the_scanner_counts_once():
    repeats = Repeats(1_200)
    assert [repeats.is_one(b"a", at) for at in (0, 500, 1_000, 2_100)] == [
        False,
        True,
        True,
        True,
    ]
    assert not repeats.is_one(b"a", 3_300)


def test_another_code_is_no_repeat_and_few_are_remembered():
    repeats = Repeats(1_200)
    assert not any(repeats.is_one(b"%d" % number, number) for number in range(1_000))
    assert len(repeats._seen_ns) <= 16
    assert repeats.is_one(b"999", 1_001)


# The driver.


def run_driver(*script, **config):
    judged = []

    def verify(text, stamp):
        judged.append((text, round(stamp.mono_ns / 1e6)))
        if text == "a.b.c":
            return Verified("valid", "shopper-1", "hash", 99)
        return Verified("malformed")

    async def main():
        clock = LoopClock()
        intake, cable = Intake(clock), Cable(*script)
        driver = ScannerDriver(
            line_of(msgspec.structs.replace(CONFIG, **config)),
            clock=clock,
            open_stream=cable.open,
            judge=Judge(product_store(), verify),
            draw=lambda: "drawn",
        )
        return await run_until_unplugged(driver, cable, intake)

    (items, totals, _), _ = run_virtual(main())
    return items, totals, judged


def test_a_scan_becomes_an_input_with_its_verdict_and_without_its_token():
    items, totals, judged = run_driver((1, b"a.b"), (0.01, b".c\r\n"), (5, b"rubbish\r"))
    assert [(item.device, item.boot, item.seq, item.verdict) for item in items] == [
        ("scanner/gate", "drawn", 0, "valid"),
        ("scanner/gate", "drawn", 1, "malformed"),
    ]
    first = items[0]
    assert (first.shopper, first.token_hash, first.expires_utc_ns) == ("shopper-1", "hash", 99)
    assert b"a.b.c" not in msgspec.json.encode(first)
    assert judged == [("a.b.c", 1010), ("rubbish", 6010)]
    assert not totals


def test_repeats_within_the_window_are_one_scan():
    scan = (0.6, b"a.b.c\r")
    items, _, _ = run_driver(scan, scan, scan, (1.3, b"a.b.c\r"))
    assert [item.seq for item in items] == [0, 1]


def test_an_aim_identifier_is_taken_off_only_where_configured():
    assert run_driver((1, b"]Q1a.b.c\r"), aim=True)[0][0].verdict == "valid"
    assert run_driver((1, b"]Q1a.b.c\r"))[0][0].verdict == "malformed"


def test_bytes_that_are_no_text_are_judged_too():
    [item], _, judged = run_driver((1, b"\xff\x00\x80\r"))
    assert item.verdict == "malformed"
    assert judged[0][0] == "\ufffd\0\ufffd"


def test_a_scan_of_a_megabyte_is_counted_once_and_the_next_is_read():
    script = [(0.001, b"x" * 4096)] * 256
    items, totals, _ = run_driver(*script, (0.001, b"\ra.b.c\r"))
    assert [item.verdict for item in items] == ["valid"]
    assert totals == {"too-long": 1}


def test_half_a_scan_is_given_up_and_the_next_starts_clean():
    items, totals, _ = run_driver((1, b"a.b"), (2, b"a.b.c\r"))
    assert [item.verdict for item in items] == ["valid"]
    assert totals == {"malformed": 1}


def test_a_pause_ends_a_scan_where_there_is_no_terminator():
    script = [(1, b"a."), (0.04, b"b.c"), (0.5, b"a.b"), (0.1, b".c"), (1, b"x" * 2000), (1, b"")]
    items, totals, judged = run_driver(*script, terminator="idle")
    assert judged == [("a.b.c", 1090), ("a.b", 1590), (".c", 1690)]
    assert [item.seq for item in items] == [0, 1, 2]
    assert totals == {"too-long": 1}


def test_a_scanner_of_products_says_what_was_scanned_and_keeps_the_aim_identifier():
    script = [(1, b"]E04006381333931\r"), (1, b"2812345004128\r"), (1, b"4006381333932\r")]
    (good, own, wrong), totals, judged = run_driver(*script, name="shop")
    assert (good.device, good.gtin, good.aim) == ("scanner/shop", "04006381333931", "]E0")
    assert (own.gtin, own.item, own.weight_g) == (None, "1234", "412")
    assert (wrong.reason, wrong.code) == ("check-digit", "4006381333932")
    assert [one.seq for one in (good, own, wrong)] == [0, 1, 2]
    assert (totals, judged) == ({}, [])


def test_a_token_at_a_scanner_of_products_goes_no_further():
    [item], _, _ = run_driver((1, b"header.claims.signature\r"), name="shop")
    assert item.reason == "not-a-product"
    assert b"claims" not in msgspec.json.encode(item)


def test_a_flood_of_what_is_no_product_is_told_in_part_and_counted():
    script = [(0.01, b"rubbish %d\r" % number) for number in range(50)]
    items, totals, _ = run_driver(*script, (20, b"4006381333931\r"), (1, b"x\r"), name="shop")
    assert len(items) == 20 + 2
    assert totals == {"rejected": 30}
    assert [item.seq for item in items] == list(range(22)), "what is only counted leaves no gap"


def test_a_line_that_is_never_empty_leaves_room_for_others():
    class Flood(Cable):
        reads = turns = 0

        async def receive(self):
            self.reads += 1
            if self.reads > 100:
                raise OSError(5, "Input/output error")
            return b"4006381333931\r" if self.reads % 2 else b"x" * 4_096

    async def others(flood):
        while True:
            flood.turns += 1
            await asyncio.sleep(0)

    async def main():
        flood = Flood()
        judge = Judge(product_store(), lambda _text, _stamp: Verified(verdict="malformed"))
        line = line_of(ScannerConfig(name="shop", url="flooded"))
        driver = ScannerDriver(line, clock=LoopClock(), open_stream=flood.open, judge=judge)
        beside = asyncio.create_task(others(flood))
        await run_until_unplugged(driver, flood, Intake(LoopClock()))
        beside.cancel()
        return flood

    flood = asyncio.run(main())
    assert flood.turns >= 100
