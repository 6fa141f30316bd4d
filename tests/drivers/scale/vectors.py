# SPDX-License-Identifier: Apache-2.0
"""Frames whose meaning is known: by protocol, settings beside it, bytes, and the reading."""

from decimal import Decimal

from drivers.scale.config import ScaleConfig
from drivers.scale.protocols import decoder_of
from drivers.scale.reading import Answer, Noise, Reading


def config(protocol, **more):
    return ScaleConfig(name="g3.s1", url="/dev/ttyUSB0", protocol=protocol, **more)


def decoder(protocol, **more):
    return decoder_of(config(protocol, line=more.pop("line", "8N1"), **more))


def weighs(grams, unit="kg", *, stable=True, net=None, tare=None, flags=()):
    moves = {"motion"} if stable is False else set()
    return Reading(
        None if grams is None else Decimal(grams),
        stable,
        net,
        None if tare is None else Decimal(tare),
        frozenset(flags) | moves,
        unit,
    )


def nothing(*flags, unit=None, stable=None, net=None):
    return Reading(None, stable, net, None, frozenset(flags), unit)


SHORT = {"tare": False}
BARE = {"checksum": False}
KG = {"unit": "kg"}
LINE = {"lines": None, "format": "tscale"}

VECTORS = {
    "mt-sics": [
        ({}, "5320532020202020 3130302E3030 2067 0D0A", weighs("100.00", "g")),
        ({}, b"S D     -0.038 kg\r\n".hex(), weighs("-38", stable=False)),
        ({}, b"S I\r\n".hex(), nothing()),
        ({}, b"S +\r\n".hex(), nothing("over")),
        ({}, b"S -\r\n".hex(), nothing("under")),
        ({}, b"S S      0.00 PCS\r\n".hex(), nothing("fault", unit="PCS", stable=True)),
        ({}, b'I4 A "B021002593"\r\n'.hex(), Answer("I4", done=True, text="B021002593")),
        ({}, b'@ A "B021002593"\r\n'.hex(), Answer("I4", done=True, text="B021002593")),
        ({}, b"I4 I\r\n".hex(), Answer("I4", done=False)),
        ({}, b"Z A\r\n".hex(), Answer("Z", done=True)),
        ({}, b"Z +\r\n".hex(), Answer("Z", done=False)),
        ({}, b"T S     100.00 g\r\n".hex(), Answer("T", done=True)),
        ({}, b"TI D\r\n".hex(), Answer("TI", done=True)),
        ({}, b"ES\r\n".hex(), Noise("refused", "ES")),
    ],
    "sma": [
        ({}, "0A 20 31 47 20 20 20 20 20 20 20 30 2E 34 31 32 6B 67 20 0D", weighs(412, net=False)),
        (
            {},
            "0A 20 31 4E 4D 20 20 20 20 20 2D 30 2E 30 33 38 6B 67 20 0D",
            weighs(-38, net=True, stable=False),
        ),
        (
            {},
            "0A 5A 31 47 20 20 20 20 20 20 20 30 2E 30 30 30 6B 67 20 0D",
            weighs(0, net=False, flags={"zero"}),
        ),
        (
            {},
            "0A 4F 31 47 20 20 20 20 20 20 31 35 2E 30 32 30 6B 67 20 0D",
            nothing("over", unit="kg", stable=True, net=False),
        ),
        (
            {},
            "0A 45 31 47 20 20 2D 2D 2D 2D 2D 2D 2D 2D 2D 2D 6B 67 20 0D",
            nothing("fault", unit="kg", stable=True, net=False),
        ),
        ({}, "0A 3F 0D", Noise("refused", "\n?\r")),
    ],
    "nci": [
        ({}, "0A 20 20 30 2E 34 31 32 6B 67 0D 0A 30 30 0D 03", weighs(412)),
        (
            {},
            "0A 20 31 32 2E 33 34 6C 62 0D 0A 31 30 0D 03",
            weighs("5597.3298458", "lb", stable=False),
        ),
        ({}, "0A 20 20 30 2E 30 30 30 6B 67 0D 0A 32 30 0D 03", weighs(0, flags={"zero"})),
        (
            {},
            "0A 5E 5E 5E 5E 5E 5E 6B 67 0D 0A 30 32 0D 03",
            nothing("over", unit="kg", stable=True),
        ),
        (
            {},
            "0A 5F 5F 5F 5F 5F 5F 6B 67 0D 0A 30 31 0D 03",
            nothing("under", unit="kg", stable=True),
        ),
        ({}, "0A 20 20 30 2E 34 31 32 6B 67 0D 0A 30 70 34 0D 03", weighs(412, net=True)),
        ({}, b"\n  412 g\r\n00\r\x03".hex(), weighs(412, "g")),
        ({}, b"\n00.412KG\r\nS00\r\x03".hex(), weighs(412)),
        ({}, b"\nS10\r\x03".hex(), nothing("motion", stable=False)),
        ({}, b"\n20\r\x03".hex(), nothing("zero", stable=True)),
        ({}, b"\n------kg\r\n00\r\x03".hex(), nothing("fault", unit="kg", stable=True)),
        ({}, "0A 3F 0D 03", Noise("refused", "the scale does not know the command")),
    ],
    "toledo": [
        (
            {},
            "02 2D 30 20 30 30 30 34 31 32 30 30 30 30 30 30 0D 2D",
            weighs(412, net=False, tare=0),
        ),
        (
            {},
            "02 2D 33 20 30 30 30 30 33 38 30 30 30 32 35 30 0D 1F",
            weighs(-38, net=True, tare=250),
        ),
        (
            {},
            "02 2D 38 20 30 30 31 32 30 35 30 30 30 30 30 30 0D 24",
            weighs(1205, net=False, tare=0, stable=False),
        ),
        (
            {},
            "02 2D 34 20 30 30 30 30 30 30 30 30 30 30 30 30 0D 30",
            nothing("over", unit="kg", stable=True, net=False),
        ),
        (
            {},
            "02 2A 30 21 30 30 30 34 31 32 30 30 30 30 30 30 0D 2F",
            weighs(412, "g", net=False, tare=0),
        ),
        (
            BARE,
            "02 2D 30 20 30 30 30 34 31 32 30 30 30 30 30 30 0D",
            weighs(412, net=False, tare=0),
        ),
        (BARE | SHORT, "02 2D 30 20 20 20 20 34 31 32 0D", weighs(412, net=False)),
        (SHORT, "02 2D 30 20 30 30 30 34 31 32 0D 4D", weighs(412, net=False)),
        # Ten times finer, and in pounds.
        (BARE | SHORT, "02 2D 30 30 30 30 34 31 32 30 0D", weighs(412, net=False)),
        (BARE | SHORT, "02 2D 20 20 30 30 31 30 30 30 0D", weighs("453.59237", "lb", net=False)),
        # Loaded when it was switched on; dummy zeros behind the digits.
        (
            BARE | SHORT,
            "02 29 70 20 30 30 30 30 30 34 0D",
            weighs(40_000, net=False, flags={"unzeroed"}),
        ),
    ],
    "toledo-8217": [
        (KG, "02 30 30 2E 34 31 32 0D", weighs(412, net=False)),
        (KG, "02 30 30 2E 34 31 32 4E 0D", weighs(412, net=True)),
        (KG, "02 3F 41 0D", nothing("motion", unit="kg", stable=False, net=False)),
        (KG, "02 3F 42 0D", nothing("over", unit="kg", stable=True, net=False)),
        (KG, "02 3F 44 0D", nothing("under", unit="kg", stable=True, net=False)),
        (KG, "02 3F 50 0D", nothing("zero", unit="kg", stable=True, net=False)),
        (KG, "02 3F 60 0D", nothing(unit="kg", stable=True, net=True)),
    ],
    "a-and-d": [
        ({}, "53 54 2C 2B 30 30 31 32 33 2E 34 35 20 20 67 0D 0A", weighs("123.45", "g")),
        ({}, b"US,-00000.038 kg\r\n".hex(), weighs(-38, stable=False)),
        ({}, b"OL,+9999999E+19  g\r\n".hex(), nothing("over", unit="g")),
        ({}, b"OL,-9999999E+19  g\r\n".hex(), nothing("under", unit="g")),
        ({}, b"ST,NT,+00000.412, kg\r\n".hex(), weighs(412, net=True)),
        ({}, b"ST,HI,+00123,45  g\r\n".hex(), weighs("123.45", "g")),
        ({}, b"ST,TR,+00000.250 kg\r\n".hex(), Reading(None, tare_g=Decimal(250), unit="kg")),
        ({}, b"QT,+00000012 PC\r\n".hex(), nothing("fault", unit="PC", stable=True)),
        ({}, "06 0D 0A", Answer("", done=True)),
        ({}, b"EC,E11\r\n".hex(), Noise("refused", "EC,E11")),
    ],
    "ohaus": [
        ({}, b"     0.360 kg    G\r\n".hex(), weighs(360, net=False)),
        ({}, b"    -0.038 kg   ?NET\r\n".hex(), weighs(-38, net=True, stable=False)),
        ({}, b"    12.34 g  ?\r\n".hex(), weighs("12.34", "g", stable=False)),
        ({}, b"    1.5 oz N 12:30:01\r\n".hex(), weighs("42.5242846875", "oz", net=True)),
        ({}, b"    0.250 kg  T\r\n".hex(), Reading(None, tare_g=Decimal(250), unit="kg")),
        ({}, b"   12 PCS\r\n".hex(), nothing("fault", unit="PCS", stable=True)),
        ({}, b"ES\r\n".hex(), Noise("refused", "ES")),
    ],
    "sartorius": [
        ({}, "2B 20 20 20 31 32 33 2E 35 36 20 67 20 20 0D 0A", weighs("123.56", "g")),
        (KG, b"-    0.038    \r\n".hex(), weighs(-38, stable=False)),
        ({}, b"N     +  12.3[6] g  \r\n".hex(), weighs("12.36", "g", net=True)),
        (
            {},
            b"T     +    0.250 kg \r\n".hex(),
            Reading(None, tare_g=Decimal(250), unit="kg"),
        ),
        ({}, b"Stat         High   \r\n".hex(), nothing("over")),
        ({}, b"Stat         Low    \r\n".hex(), nothing("under")),
        ({}, b"Stat         Cal.   \r\n".hex(), nothing("fault")),
        ({}, b"Stat      ERR 101   \r\n".hex(), Noise("refused", "ERR 101")),
    ],
    "cas": [
        (
            {},
            "53 54 2C 47 53 2C 31 80 2C 2B 20 20 30 2E 34 31 32 20 6B 67 0D 0A",
            weighs(412, net=False),
        ),
        (
            {},
            "55 53 2C 4E 54 2C 31 C0 2C 2D 20 20 30 2E 30 33 38 20 6B 67 0D 0A",
            weighs(-38, net=True, stable=False),
        ),
        (
            {},
            "4F 4C 2C 47 53 2C 31 80 2C 2B 20 20 30 2E 30 30 30 20 6B 67 0D 0A",
            nothing("over", unit="kg", net=False),
        ),
    ],
    "lines": [
        (LINE, b"ST,GS    20.7g  \r\n".hex(), weighs("20.7", "g", net=False)),
        (LINE, b"US,NT, - 0.5 kg\r\n".hex(), weighs(-500, net=True, stable=False)),
        (LINE, b"OL,GS,  ------ g\r\n".hex(), nothing("over")),
    ],
}  # fmt: skip
CASES = [
    (protocol, options, bytes.fromhex(text), expected)
    for protocol, cases in VECTORS.items()
    for options, text, expected in cases
]
GOOD = {
    protocol: next(
        (options, bytes.fromhex(text), expected)
        for options, text, expected in cases
        if isinstance(expected, Reading) and expected.grams is not None
    )
    for protocol, cases in VECTORS.items()
}
"""A weight in each protocol."""
