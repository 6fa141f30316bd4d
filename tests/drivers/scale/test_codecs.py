# SPDX-License-Identifier: Apache-2.0
"""Codecs of scales: what is known is read, what is damaged is a value, and nothing is made up."""

from decimal import Decimal
from itertools import pairwise, product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drivers.scale.codecs.toledo import checksum
from drivers.scale.frames import BUFFER_BYTES, sent
from drivers.scale.reading import DIGITS_MAX, GRAMS, Noise, Reading, number
from tests.drivers.scale.vectors import CASES, GOOD, VECTORS, decoder, nothing, weighs

PROTOCOLS = sorted(VECTORS)
CUT = b"\r\n"
"""Ends what a decoder takes for the rest of a line that it did not see begin."""


def read(protocol, data, **options):
    return decoder(protocol, **options).feed(CUT + data)


@pytest.mark.parametrize(
    ("protocol", "options", "data", "expected"),
    CASES,
    ids=[f"{protocol}-{n}" for n, (protocol, *_) in enumerate(CASES)],
)
def test_every_known_frame_is_read(protocol, options, data, expected):
    assert read(protocol, data, **options) == [expected]
    one = decoder(protocol, **options)
    assert [r for byte in CUT + data for r in one.feed(bytes([byte]))] == [expected]
    assert read(protocol, data + data, **options) == [expected, expected]


@pytest.mark.parametrize("protocol", [name for name in PROTOCOLS if name != "cas"])
@pytest.mark.parametrize("line", ["7E1", "7O1", "7N2"])
def test_a_seven_bit_line_opened_with_eight_bits_reads_the_same(protocol, line):
    options, data, expected = GOOD[protocol]
    on_wire = sent(data, line)
    assert on_wire != data
    assert read(protocol, on_wire, **options) == [expected]
    assert decoder(protocol, line=line, **options).feed(sent(CUT, line) + on_wire) == [expected]


def test_parity_is_added_as_the_line_has_it():
    assert sent(b"AC\x80", "7E1") == b"A\xc3\x00"
    assert sent(b"AC", "7O1") == b"\xc1C"
    assert sent(b"AC", "7N2") == b"\xc1\xc3"
    assert sent(b"A\xc3", "8N1") == b"A\xc3"


@pytest.mark.parametrize("protocol", [name for name in PROTOCOLS if name != "cas"])
def test_a_bit_that_flipped_is_found_by_the_parity(protocol):
    options, data, expected = GOOD[protocol]
    good = sent(data, "7E1")
    spot = good.rindex(sent(b"2", "7E1") if b"2" in data else sent(b"0", "7E1"))
    bad = good[:spot] + bytes([good[spot] ^ 1]) + good[spot + 1 :]
    one = decoder(protocol, line="7E1", **options)
    [noise, *after] = one.feed(sent(CUT, "7E1") + bad + good)
    # Toledo's checksum was not asked: the frame's form is broken before.
    assert noise.reason == "parity"
    assert after[-1] == expected


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize(
    "garbage", [b"\x02", b"\n", b"\r", b"\x03", b"\0\xff\x7f", b"S S", b"9" * 300]
)
def test_garbage_leaves_a_frame_that_follows_readable(protocol, garbage):
    options, data, expected = GOOD[protocol]
    one = decoder(protocol, **options)
    results = one.feed(garbage + CUT + data + garbage + b"\r\n" + data)
    readings = [result for result in results if isinstance(result, Reading)]
    # What looks like a number before a number may only be dropped, never joined to it.
    assert set(readings) == {expected}
    assert results[-1] == expected


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_half_a_frame_is_dropped_and_the_next_one_read(protocol):
    options, data, expected = GOOD[protocol]
    for cut in range(1, len(data)):
        results = read(protocol, data[:cut] + data + data, **options)
        readings = [result for result in results if isinstance(result, Reading)]
        assert readings[-1] == expected, cut
        assert set(readings) == {expected}, cut


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_stream_that_is_joined_in_the_middle_is_never_misread(protocol):
    options, data, expected = GOOD[protocol]
    for start in range(len(data)):
        one = decoder(protocol, **options)
        readings = [r for r in one.feed(data[start:] + data * 2) if isinstance(r, Reading)]
        # NCI's status bytes alone are a frame without a weight.
        weights = {reading for reading in readings if reading.grams is not None}
        assert weights == {expected}, start


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_frame_that_does_not_end_is_given_up(protocol):
    options, data, expected = GOOD[protocol]
    one = decoder(protocol, **options)
    one.feed(CUT)
    assert not one.pending
    assert one.give_up() == []
    one.feed(data[:-4])
    assert one.pending
    [noise] = one.give_up()
    assert noise.reason == "malformed"
    assert not one.pending
    # Its rest may still come, and is no weight.
    *rest, last = one.feed(data[-4:] + CUT + data)
    assert not [result for result in rest if isinstance(result, Reading)]
    assert last == expected


def test_a_number_that_lost_its_beginning_is_not_read():
    for lost in (b" " * 300 + b"0.360 kg\r\n", b" " * BUFFER_BYTES + b"5 kg\r\n"):
        [noise] = read("ohaus", lost)
        assert noise.reason == "too-long"
    one = decoder("ohaus")
    one.feed(CUT + b"    1")
    one.give_up()
    assert one.feed(b"0.360 kg\r\n") == []


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_endless_bytes_take_no_memory_and_are_counted_once(protocol):
    options, data, expected = GOOD[protocol]
    one = decoder(protocol, **options)
    for _ in range(50):
        assert one.feed(b"x" * 1_000) == []
        assert len(one._buffer) <= BUFFER_BYTES
    results = one.feed(b"\r\n\x03" + b"\r\n" + data)
    assert [r.reason for r in results if isinstance(r, Noise)].count("too-long") == 1
    assert results[-1] == expected


STREAM = st.lists(
    st.one_of(
        st.sampled_from(PROTOCOLS).flatmap(
            lambda name: st.sampled_from([data for p, _, data, _ in CASES if p == name])
        ),
        st.binary(max_size=30),
        st.sampled_from([b"\r\n", b"\x02", b"\n", b"y" * (BUFFER_BYTES - 1), b"z" * 300]),
    ),
    max_size=8,
).map(b"".join)


@pytest.mark.parametrize("protocol", PROTOCOLS)
@settings(max_examples=12)
@given(stream=STREAM, cuts=st.lists(st.integers(0, 900), max_size=12))
def test_chunking_changes_nothing_and_no_bytes_raise(protocol, stream, cuts):
    options = GOOD[protocol][0]
    whole = decoder(protocol, **options).feed(stream)
    chunked = decoder(protocol, **options)
    bounds = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    pieces = [stream[start:end] for start, end in pairwise(bounds)]
    assert [result for piece in pieces for result in chunked.feed(piece)] == whole


# Each protocol's own traps.


def test_a_wrong_checksum_is_no_weight_and_the_next_frame_is_read():
    _, good, expected = GOOD["toledo"]
    bad = good[:9] + bytes([good[9] ^ 1]) + good[10:]
    [noise, *after] = decoder("toledo").feed(bad + good)
    assert noise.reason == "checksum"
    assert after[-1] == expected
    # A frame that lost its checksum does not take the next one's start for it.
    [noise, *after] = decoder("toledo").feed(good[:-1] + good)
    assert noise.reason == "checksum"
    assert after == [expected]


def test_a_checksum_may_look_like_a_start_or_an_end():
    for tail in (0x02, 0x0D, 0x00):
        frame = next(
            frame
            for status, digits in product(b"()*+,-./", range(0, 1_000_000, 997))
            if checksum(frame := b"\x02%c0!%06d%06d\r" % (status, digits, digits)) == tail
        )
        results = decoder("toledo").feed((frame + bytes([tail])) * 3)
        assert [type(result) for result in results] == [Reading] * 3


def test_a_unit_that_is_blank_is_the_one_before_and_one_that_changes_is_converted_exactly():
    stream = b"+    1.000 kg \r\n+    1.100    \r\n+    1.000 lb \r\n+    1.000 oz \r\n"
    assert read("sartorius", stream) == [
        weighs(1_000),
        weighs(1_100, stable=False),
        weighs("453.59237", "lb"),
        weighs("28.349523125", "oz"),
    ]
    [noise] = read("sartorius", b"+    1.100    \r\n")
    assert noise.reason == "unit"


def test_what_is_no_number_is_never_zero():
    for text in (b"", b"-", b".", b"+.", b"1.2.3", b"--1", b"1" * (DIGITS_MAX + 3), b"0x1"):
        assert number(text) is None
    assert number(b"- 12.30") == Decimal("-12.30")
    assert str(number(b"+00.00")) == "0.00"
    [noise] = read("ohaus", b"  1.2.3 kg\r\n")
    assert noise.reason == "malformed"
    [noise] = read("mt-sics", b"S S 99999999999 kg\r\n")
    assert noise.reason == "malformed"
    assert read("lines", b"ST,GS,  ...g\r\n", format="tscale")[0].reason == "malformed"


def test_factors_of_units_are_exact():
    assert GRAMS["lb"] == Decimal("453.59237")
    assert GRAMS["oz"] * 16 == GRAMS["lb"]


def test_tare_is_put_back_where_the_scale_says_it():
    assert weighs(-38, net=True, tare=250).gross_g == 212
    assert weighs(-38, net=False, tare=250).gross_g == -38
    assert weighs(-38, net=True).gross_g == -38
    assert nothing("over").gross_g is None


def test_status_bytes_that_do_not_end_where_they_say_are_damage():
    for status in (b"0p", b"00\x30", b"p0", b"0p0\x30"):
        [noise] = read("nci", b"\n  0.412kg\r\n" + status + b"\r\x03")
        assert noise.reason == "malformed", status
