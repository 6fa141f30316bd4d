# SPDX-License-Identifier: Apache-2.0
"""SSI: packets are found and answered, noise harms only what it hits."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.labels.judging import Judge
from drivers.scanner.codec import Answer, Noise, Scan, TooLong
from drivers.scanner.driver import ScannerDriver
from drivers.ssi import codec
from drivers.ssi.codec import DECODE_DATA, PACKET_BYTES_MAX, SCANNER, Decoder, packet
from drivers.ssi.config import SsiConfig
from drivers.ssi.driver import line_of
from gateway.intake import Intake
from tests.drivers.chunks import CUTS, fed_in_pieces
from tests.drivers.scanner_line import Cable, product_store, run_until_unplugged
from tests.virtual_time import LoopClock, run_virtual

ACK = Answer(bytes.fromhex("04D00400FF28"))
NAK = Answer(bytes.fromhex("05D1040001FF25"))
EAN = bytes.fromhex("12F300000B34303036333831333333393331FC54")
SCAN = Scan(b"4006381333931", "]E0")


def decode_data(data, *, kind=0x0B, status=0):
    return packet(DECODE_DATA, bytes((kind,)) + data, source=SCANNER, status=status)


AGAIN = decode_data(b"4006381333931", status=1)


@pytest.mark.parametrize(
    ("made", "published"),
    [
        (packet(codec.ACK), "04D00400FF28"),
        (packet(codec.NAK, b"\1"), "05D1040001FF25"),
        (packet(codec.ENABLE), "04E90400FF0F"),
        (packet(codec.DISABLE), "04EA0400FF0E"),
        (packet(codec.START_SESSION), "04E40400FF14"),
        (decode_data(b"4006381333931"), EAN.hex()),
    ],
)
def test_packets_are_those_of_the_published_examples(made, published):
    assert made == bytes.fromhex(published)


def test_a_scan_is_answered_and_handed_on():
    assert Decoder().feed(EAN) == [ACK, SCAN]


def test_a_packet_sent_again_is_answered_and_not_a_second_scan():
    decoder = Decoder()
    assert decoder.feed(EAN + AGAIN + AGAIN) == [ACK, SCAN, ACK, ACK]
    assert decoder.feed(EAN) == [ACK, SCAN], "the same code, scanned anew"
    assert Decoder().feed(AGAIN) == [ACK, SCAN], "the first one was lost on the way"


def test_a_wrong_checksum_is_refused_and_what_is_sent_again_counts():
    broken = EAN[:-1] + b"\x55"
    assert Decoder().feed(broken + AGAIN) == [Noise("checksum"), NAK, ACK, SCAN]


def test_each_run_of_noise_counts_and_is_refused_anew():
    broken = EAN[:-1] + b"\x55"
    found = Decoder().feed(broken + broken + EAN + broken + EAN)
    assert found == [Noise("checksum"), NAK, ACK, SCAN] * 2


def test_other_packets_are_answered_and_answers_are_not():
    event = packet(0xF6, b"\1", source=SCANNER)
    answers = packet(codec.ACK, source=SCANNER) + packet(codec.NAK, b"\2", source=SCANNER)
    assert Decoder().feed(event + answers) == [ACK]


def test_a_scan_in_parts_is_refused_as_a_whole():
    parts = decode_data(b"x" * 200, status=2) + decode_data(b"y" * 200, status=2)
    tail = decode_data(b"4006381333931")
    assert Decoder().feed(parts + tail + EAN) == [ACK, ACK, ACK, TooLong(), ACK, SCAN]


def test_code_types_say_the_symbology_or_nothing():
    assert Decoder().feed(decode_data(b"96385074", kind=0x0A)) == [ACK, Scan(b"96385074", "]E4")]
    assert Decoder().feed(decode_data(b"x", kind=0x1C)) == [ACK, Scan(b"x", None)]
    assert Decoder().feed(decode_data(b"")) == [ACK, Noise("malformed")]


def test_bytes_that_wake_are_no_noise():
    assert Decoder().feed(b"\0\0" + EAN + b"\0" + EAN) == [ACK, SCAN] * 2


def test_half_a_packet_waits_and_is_given_up_after_a_pause():
    decoder = Decoder()
    assert decoder.feed(EAN[:9]) == []
    assert decoder.pending
    assert decoder.end() == [Noise("malformed")]
    assert not decoder.pending
    assert decoder.feed(EAN) == [ACK, SCAN]


def test_a_packet_behind_half_a_packet_is_found_once_the_line_is_silent():
    decoder = Decoder()
    assert decoder.feed(bytes((255, DECODE_DATA, SCANNER, 0)) + EAN) == []
    assert decoder.pending
    assert decoder.end() == [Noise("malformed"), ACK, SCAN]


PIECES = st.one_of(
    st.binary(max_size=20),
    st.sampled_from([EAN, AGAIN, EAN[:-1], b"\0", b"\xff\xf3\0\0", decode_data(b"z" * 250)]),
)


@given(stream=st.lists(PIECES, max_size=12).map(b"".join), cuts=CUTS)
def test_chunking_never_changes_the_scans(stream, cuts):
    whole, cut = Decoder(), Decoder()
    assert fed_in_pieces(cut, stream, cuts) == whole.feed(stream)
    assert len(cut._bytes) < PACKET_BYTES_MAX
    assert cut.end() == whole.end()
    assert not cut.pending


@given(st.binary(max_size=100))
def test_any_bytes_leave_the_next_packet_readable(noise):
    decoder = Decoder()
    found = decoder.feed(noise + EAN)
    found += decoder.end()
    assert found[-2:] == [ACK, SCAN]


def test_the_driver_greets_answers_and_hands_on():
    async def main():
        cable = Cable((1, EAN), (0.1, AGAIN), (3, EAN[:-1] + b"\0"), (0.1, AGAIN), (1, b""))
        config = SsiConfig(name="shop", url="/dev/ttyUSB0")
        clock = LoopClock()
        intake = Intake(clock)
        driver = ScannerDriver(
            line_of(config),
            clock=clock,
            open_stream=cable.open,
            judge=Judge(product_store(), None),
        )
        return await run_until_unplugged(driver, cable, intake)

    (items, totals, sent), _ = run_virtual(main())
    assert [(item.gtin, item.aim, item.seq) for item in items] == [("04006381333931", "]E0", 0)]
    assert totals == {"checksum": 1}
    assert sent == [codec.GREETING, ACK.data, ACK.data, NAK.data, ACK.data]
