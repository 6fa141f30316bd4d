# SPDX-License-Identifier: Apache-2.0
"""Scales that are read by a regular expression: every key of a description does what it says."""

from decimal import Decimal

import pytest

from drivers.scale.codecs.lines import LinesFormat, load, shipped
from drivers.scale.reading import Noise, Reading
from gateway.simulator.scales.plate import Plate
from tests.drivers.scale.rig import with_rig
from tests.drivers.scale.vectors import decoder


def read(text, *, unit=None, **keys):
    one = decoder("lines", lines=LinesFormat(**keys), unit=unit)
    whole = one.feed(b"\r\n" + text)
    slow = decoder("lines", lines=LinesFormat(**keys), unit=unit)
    assert [result for byte in b"\r\n" + text for result in slow.feed(bytes([byte]))] == whole
    return whole


def test_a_sign_may_stand_apart():
    pattern = r"(?P<sign>[ +-])?(?P<weight>[\d.]+)(?P<unit>kg)"
    results = read(b"-0.5kg\r+0.5kg\r0.25kg\r", pattern=pattern)
    assert [result.grams for result in results] == [-500, 500, 250]


def test_tare_is_in_the_unit_of_the_weight_and_put_back_where_the_weight_is_net():
    pattern = r"(?P<weight>[\d.]+) (?P<tare>[\d.]+) (?P<state>N|G)"
    net, gross = read(b"1 0.5 N\n1.5 0.5 G\n", pattern=pattern, unit="lb", net=("N",), gross=("G",))
    assert net.tare_g == Decimal("226.796185")
    assert net.gross_g == gross.gross_g == gross.grams


def test_a_unit_that_is_no_text_forges_no_line_of_a_log_and_is_no_unit():
    forged, damaged = read(
        b";5\x1b[2Jkg\nINFO all is well;6k\0g;",
        pattern=r"(?P<weight>\d)(?P<unit>.*)",
        end=";",
    )
    assert (forged.unit, forged.grams) == (r"\x1b[2Jkg\nINFO all is well", None)
    assert (damaged.unit, damaged.grams) == (r"k\x00g", None)


STATES = {
    # Words that are listed, then what the words a, b and c mean.
    ("a", ""): (True, False, False),
    ("", "a"): (False, True, True),
    ("a", "b"): (True, False, None),
    ("", ""): (None, None, None),
}


@pytest.mark.parametrize(("stable", "moving"), STATES)
def test_where_one_word_is_listed_the_rest_is_the_contrary(stable, moving):
    results = read(
        b"1a\n1b\n1c\n",
        pattern=r"(?P<weight>\d)(?P<state>\w)",
        unit="g",
        stable=tuple(stable),
        moving=tuple(moving),
    )
    assert tuple(result.stable for result in results) == STATES[stable, moving]
    assert all(("motion" in result.flags) == (result.stable is False) for result in results)


def test_words_for_no_value_are_no_value():
    keys = {"over": ("OL",), "under": ("UL",), "fault": ("ERR",), "unit": "g"}
    results = read(b"OL\nUL\nERR\n5\nOFF\n", pattern=r"(?P<weight>\d+)|(?P<state>[A-Z]+)", **keys)
    assert [result.flags for result in results[:3]] == [{"over"}, {"under"}, {"fault"}]
    assert [result.grams for result in results[:4]] == [None, None, None, 5]
    # A word that nobody explained is no reading at all.
    assert isinstance(results[4], Noise)


def test_channels_are_told_apart_and_a_wrong_one_is_damage():
    pattern = r"(?P<channel>\d+):(?P<weight>\d+)"
    results = read(b"0:5\n7:6\n64:7\n", pattern=pattern, unit="g")
    assert [(r.channel, r.grams) for r in results if isinstance(r, Reading)] == [(0, 5), (7, 6)]
    assert len(results) == 3


def test_a_record_may_be_several_lines_and_ends_where_it_says():
    keys = {"pattern": r"A=(?P<weight>\d+)\r\nB=.*", "end": "\r\n\r\n", "unit": "g"}
    results = read(b"\r\nA=5\r\nB=x\r\n\r\nA=6\r\nB=\r\n\r\n", **keys)
    assert [result.grams for result in results] == [5, 6]
    results = read(b"\x03A=5\r\nB=\x03", **(keys | {"end": "\x03"}))
    assert [result.grams for result in results] == [5]


def test_a_description_with_a_question_is_asked_by_the_driver():
    table = LinesFormat(pattern=load("tscale").pattern, stable=("ST",), poll="\nP\r")

    async def scene(rig):
        rig.player._repeats = False
        frame = rig.player._dialect.frame
        rig.player.received = lambda _data: rig.player._send(frame(Plate()))
        samples = await rig.goes_on(5)
        return samples, rig

    samples, rig = with_rig("lines", scene, format=None, lines=table, poll_ms=100, period_ms=100)
    assert set(rig.modem.sent) == {b"\nP\r"}
    assert len(samples) >= 38
    assert set(samples) == {412.0}
    samples, rig = with_rig("lines", scene, format=None, lines=table, talk="listen")
    assert rig.modem.sent == []
    assert samples == []


def test_what_is_shipped_can_be_had_by_name():
    assert len(shipped()) >= 6
    with pytest.raises(KeyError):
        load("../lines/qa")
