# SPDX-License-Identifier: Apache-2.0
"""What real scales sent, read with the settings that the page on devices gives."""

from collections import Counter
from decimal import Decimal

import pytest

from drivers.scale.protocols import decoder_of
from drivers.scale.reading import Noise, Reading
from tests.drivers.scale.vectors import config
from tests.test_tidy import ROOT

CAPTURED = ROOT.parent / "shared" / "data" / "scale-captures"
OHAUS = {"protocol": "ohaus"}
CAPTURES = {
    # File: settings, what comes before it, readings, of them stable and moving, range in grams.
    "ohaus-defender-3000": (OHAUS, b"", 454, 454, 0, "360.000", "360.000"),
    "weight-spun": (OHAUS, b"", 1689, 692, 997, "0.0", "117000.0"),
    "tscale-nhb": ({"format": "tscale"}, b"", 408, 405, 3, "20.7", "20.7"),
    "tscale-qhw": ({"format": "tscale"}, b"", 828, 824, 4, "245.2", "245.6"),
    # Prints: the first one is whole, which the line's end before it says.
    "mettler-ms204ts-print": ({"format": "mettler-print"}, b"\n", 7, 0, 0, "0.3746", "0.3749"),
    "weight-qa": ({"format": "qa"}, b"\n", 8, 8, 0, "1.236", "9.360"),
    "jik-6cab": ({"format": "jik-6cab"}, b"~P1\r\n", 1, 0, 0, "1940", "1940"),
    "tfo1": ({"format": "tfo1", "unit": "kg"}, b"", 112, 0, 0, "366000", "369500"),
    "tfo3": ({"format": "tfo3", "unit": "kg"}, b"", 79, 0, 0, "1152500", "1156000"),
}


def captured(name):
    path = CAPTURED / f"{name}.bin"
    if not path.exists():
        pytest.skip(f"{path} is not here: bytes that real scales sent")
    return path.read_bytes()


@pytest.mark.parametrize("name", CAPTURES)
def test_every_line_of_a_capture_is_read(name):
    settings, before, count, stable, moving, least, most = CAPTURES[name]
    stream = before + captured(name)
    settings = {"protocol": "lines"} | settings
    results = decoder_of(config(**settings)).feed(stream)
    readings = [result for result in results if isinstance(result, Reading)]
    assert Counter(type(result) for result in results) == {Reading: count}
    assert Counter(reading.stable for reading in readings) == {
        key: number
        for key, number in ((True, stable), (False, moving), (None, count - stable - moving))
        if number
    }
    grams = [reading.grams for reading in readings]
    assert (min(grams), max(grams)) == (Decimal(least), Decimal(most))
    # Joined anywhere in the middle, it is the same weights or fewer.
    for start in range(1, min(len(stream), 300), 29):
        part = decoder_of(config(**settings)).feed(stream[start : start + 500])
        assert not [result for result in part if isinstance(result, Noise)]
        assert {result.grams for result in part} <= set(grams)


def test_the_weights_of_a_truck_scale_add_up():
    readings = decoder_of(config("lines", format="tfo3", unit="kg")).feed(captured("tfo3"))
    assert all(reading.tare_g == 1_116_500 for reading in readings[1:])
