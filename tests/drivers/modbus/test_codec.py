# SPDX-License-Identifier: Apache-2.0
"""Questions and answers of Modbus: published frames, noise around them, and any pieces of them."""

import struct
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.modbus.codec import Question, Refused, Registers
from drivers.modbus.maps import Read
from tests.drivers.chunks import CUTS
from tests.drivers.modbus.vectors import ANSWERS, FLOAT, GROSS_AND_NET, REFUSAL, REQUESTS, question


def frame(body):
    """Return a frame with its checksum, from the published polynomial."""
    crc = 0xFFFF
    for byte in body:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ 0xA001 * (crc & 1)
    return body + struct.pack("<H", crc)


def test_the_checksum_is_that_of_a_known_frame():
    assert frame(bytes.fromhex("01030000000A")) == bytes.fromhex("01030000000AC5CD")


@pytest.mark.parametrize("text", REQUESTS)
def test_a_question_is_the_published_frame(text):
    assert question(REQUESTS[text]).request == bytes.fromhex(text)


@pytest.mark.parametrize(("read", "text", "values"), ANSWERS)
def test_a_published_answer_is_read(read, text, values):
    assert question(read).feed(bytes.fromhex(text)) == Registers(values)


def test_a_refusal_says_why():
    refused = question().feed(bytes.fromhex(REFUSAL))
    assert refused == Refused(2)
    assert refused.words == "exception 2, illegal data address"
    assert Refused(99).words == "exception 99, not known"


def test_input_registers_are_asked_for_with_their_own_function():
    asked = Question(1, 4, GROSS_AND_NET)
    assert asked.request == frame(bytes.fromhex("0104 0007 0004"))
    assert asked.feed(bytes.fromhex(ANSWERS[0][1])) is None
    assert asked.feed(frame(bytes.fromhex("0104 08 0000 019C FFFF FFDA"))) == Registers(
        ANSWERS[0][2]
    )


NO_ANSWERS = {
    "another unit": frame(bytes.fromhex("0203 08 0000 019C FFFF FFDA")),
    "another function": frame(bytes.fromhex("0104 08 0000 019C FFFF FFDA")),
    "another length": frame(bytes.fromhex("0103 04 0000 019C")),
    "the question itself": bytes.fromhex("01 03 00 07 00 04 F5 C8"),
    "a refusal of another": frame(bytes.fromhex("0283 02")),
}


@pytest.mark.parametrize("name", NO_ANSWERS)
def test_what_answers_another_question_is_none(name):
    asked = question()
    assert asked.feed(NO_ANSWERS[name]) is None
    assert asked.noisy
    assert not asked.begun
    assert asked.feed(bytes.fromhex(ANSWERS[0][1])) == Registers(ANSWERS[0][2])


def test_a_damaged_answer_is_none_and_known_as_such():
    good = bytes.fromhex(ANSWERS[0][1])
    for at in range(3, len(good)):
        asked = question()
        assert asked.feed(good[:at] + bytes([good[at] ^ 1]) + good[at + 1 :]) is None
        assert asked.begun
        assert asked.feed(good) == Registers(ANSWERS[0][2])


def test_tcp_answers_are_told_apart_by_their_number():
    asked = question(FLOAT, framing="tcp", transaction=258)
    assert asked.request.hex(" ") == "01 02 00 00 00 06 01 03 20 00 00 02"
    body = bytes.fromhex("0103 04 3ED2 F1AA")
    for number in (257, 258):
        answer = asked.feed(struct.pack(">HHH", number, 0, len(body)) + body)
        assert answer == (Registers((0x3ED2, 0xF1AA)) if number == 258 else None)
    refusal = question(FLOAT, framing="tcp", transaction=1)
    assert refusal.feed(bytes.fromhex("0001 0000 0003 0183 06")) == Refused(6)


WORDS = st.lists(st.integers(0, 0xFFFF), min_size=1, max_size=125)


@given(WORDS, st.binary(max_size=40), st.integers(1, 247), st.sampled_from(["rtu", "tcp"]), CUTS)
def test_whatever_lies_before_and_however_it_is_cut(words, noise, unit_id, framing, cuts):
    read = Read(0, len(words))
    body = bytes([unit_id, 3, 2 * len(words)]) + struct.pack(f">{len(words)}H", *words)
    good = frame(body) if framing == "rtu" else struct.pack(">HHH", 7, 0, len(body)) + body
    stream = noise + good
    bounds = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    asked = Question(unit_id, 3, read, framing=framing, transaction=7)
    whole = Question(unit_id, 3, read, framing=framing, transaction=7)
    answer = None
    for start, end in pairwise(bounds):
        answer = answer or asked.feed(stream[start:end])
    assert answer == whole.feed(stream)
    assert answer == Registers(tuple(words))


def test_a_flood_takes_no_memory():
    asked = question()
    for _ in range(100):
        assert asked.feed(b"\x01\x03\x08" * 1_000) is None
    assert len(asked._buffer) <= 13
    assert asked.feed(bytes.fromhex(ANSWERS[0][1])) == Registers(ANSWERS[0][2])
