# SPDX-License-Identifier: Apache-2.0
"""How each protocol writes what a scale shows, and what it makes of commands.

Written from the protocols' descriptions and not from the drivers: one checks the other.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Literal

from gateway.simulator.scales.plate import Plate

Key = Literal["weigh", "zero", "tare", "who", "type", "repeat"]


@dataclass(frozen=True, slots=True)
class Dialect:
    """One protocol's side of a scale."""

    frame: Callable[[Plate], bytes]
    """What it shows now."""
    commands: dict[bytes, Key] = field(default_factory=dict)
    replies: Callable[[Key, Plate], bytes] = lambda _key, _plate: b""
    """To keys other than ``weigh`` and ``repeat``, pressed already."""
    streams: bool = True
    """Whether it sends from the start, without being asked."""
    line: Literal["8N1", "7E1", "7O1"] = "8N1"
    checked: bool = False
    """Whether its frames have a checksum."""
    units: bool = True
    """Whether they have a unit."""
    overloads: bool = True
    """Whether it is known what it sends when it is overloaded."""


def _mt_sics(plate: Plate) -> bytes:
    if plate.overloaded:
        return b"S +\r\n"
    letter = "D" if plate.moves else "S"
    return f"S {letter} {plate.shown():>10} {plate.unit}\r\n".encode()


def _mt_sics_reply(key: Key, plate: Plate) -> bytes:
    replies = {
        "zero": "ZI S",
        "tare": f"TI S {plate.shown(plate.tare_g):>10} {plate.unit}",
        "who": f'I4 A "{plate.serial}"',
        "type": 'I2 A "Emulated 15.000 kg"',
    }
    return replies[key].encode() + b"\r\n"


def _sma(plate: Plate) -> bytes:
    zero = not plate.shown_g
    status = "O" if plate.overloaded else "Z" if zero else " "
    kind, moves = "N" if plate.net else "G", "M" if plate.moves else " "
    return f"\n{status}1{kind}{moves} {plate.shown():>10}{plate.unit:<3}\r".encode()


def _nci(plate: Plate) -> bytes:
    weight = "^^^^^^" if plate.overloaded else f"{plate.shown():>7}"
    unit = plate.unit if len(plate.unit) == 2 else f" {plate.unit}"
    return f"\n{weight}{unit}\r\n".encode() + _nci_status(plate)


def _nci_status(plate: Plate) -> bytes:
    first = 0x30 | plate.moves | (not plate.shown_g) << 1
    second = 0x30 | plate.overloaded << 1
    if plate.net:
        return bytes([first, second | 0x40, 0x34]) + b"\r\x03"
    return bytes([first, second]) + b"\r\x03"


def _toledo(plate: Plate) -> bytes:
    weight = plate.shown()
    exponent = weight.as_tuple().exponent
    assert isinstance(exponent, int)
    first = 0x20 | 1 << 3 | (2 - exponent)
    second = 0x20 | plate.net | (weight < 0) << 1 | plate.overloaded << 2 | plate.moves << 3
    second |= (plate.unit == "kg") << 4
    third = 0x20 | (plate.unit == "g")
    tare = int(plate.shown(plate.tare_g).scaleb(-exponent))
    body = bytes([2, first, second, third])
    body += b"%06d%06d\r" % (abs(int(weight.scaleb(-exponent))), tare)
    return body + bytes([-sum(body) % 128])


def _toledo_8217(plate: Plate) -> bytes:
    status = plate.moves | plate.overloaded << 1 | (plate.shown_g < 0) << 2
    if status:
        return bytes([2, 0x3F, 0x40 | status | plate.net << 5, 0x0D])
    return f"\x02{plate.shown():06.3f}{'N' if plate.net else ''}\r".encode()


def _a_and_d(plate: Plate) -> bytes:
    if plate.overloaded:
        return f"OL,+9999999E+19{plate.unit:>3}\r\n".encode()
    header = "US" if plate.moves else "ST"
    return f"{header},{plate.shown():+09f}{plate.unit:>3}\r\n".encode()


def _ohaus(plate: Plate) -> bytes:
    kind, moves = "NET" if plate.net else "G", "?" if plate.moves else " "
    return f"{plate.shown():>9} {plate.unit:<5}{moves}{kind}\r\n".encode()


def _sartorius(plate: Plate) -> bytes:
    if plate.overloaded:
        return b"Stat         High   \r\n"
    weight = plate.shown()
    sign = "-" if weight < 0 else "+"
    unit = "" if plate.moves else plate.unit
    return f"{'N' if plate.net else 'G#':<6}{sign}{abs(weight):>9} {unit:<3}\r\n".encode()


def _cas(plate: Plate) -> bytes:
    header = "OL" if plate.overloaded else "US" if plate.moves else "ST"
    weight = plate.shown()
    sign = "-" if weight < 0 else "+"
    start = f"{header},{'NT' if plate.net else 'GS'},1".encode()
    unit = plate.unit if len(plate.unit) == 2 else f" {plate.unit}"
    return start + b"\x80" + f",{sign}{abs(weight):>7} {unit}\r\n".encode()


def _lines(plate: Plate) -> bytes:
    if plate.overloaded:
        return b"OL,GS,  ------ kg\r\n"
    header = "US" if plate.moves else "ST"
    return f"{header},{'NT' if plate.net else 'GS'},{plate.shown():>8} {plate.unit}\r\n".encode()


DIALECTS: Final = {
    "mt-sics": Dialect(
        _mt_sics,
        {
            b"@\r\n": "who",
            b"I4\r\n": "who",
            b"I2\r\n": "type",
            b"SIR\r\n": "repeat",
            b"SI\r\n": "weigh",
            b"ZI\r\n": "zero",
            b"TI\r\n": "tare",
        },
        _mt_sics_reply,
        streams=False,
    ),
    "sma": Dialect(
        _sma,
        {b"\nW\r": "weigh", b"\nZ\r": "zero", b"\nT\r": "tare"},
        lambda _key, plate: _sma(plate),
        streams=False,
    ),
    "nci": Dialect(
        _nci,
        {b"W\r": "weigh", b"Z\r": "zero", b"T\r": "tare"},
        lambda _key, plate: b"\n" + _nci_status(plate),
        streams=False,
        line="7E1",
    ),
    "toledo": Dialect(_toledo, checked=True),
    "toledo-8217": Dialect(
        _toledo_8217,
        {b"W": "weigh", b"Z": "zero", b"T": "tare"},
        streams=False,
        line="7E1",
        units=False,
    ),
    "a-and-d": Dialect(
        _a_and_d, {b"Q\r\n": "weigh", b"Z\r\n": "zero", b"T\r\n": "tare"}, line="7E1"
    ),
    "ohaus": Dialect(
        _ohaus, {b"IP\r\n": "weigh", b"Z\r\n": "zero", b"T\r\n": "tare"}, overloads=False
    ),
    "sartorius": Dialect(
        _sartorius,
        {b"\x1bP\r\n": "weigh", b"\x1bV\r\n": "zero", b"\x1bU\r\n": "tare"},
        streams=False,
        line="7O1",
    ),
    "cas": Dialect(_cas),
    "lines": Dialect(_lines),
}
"""By protocol, as settings name them."""
