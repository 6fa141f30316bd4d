# SPDX-License-Identifier: Apache-2.0
"""Which device sent these bytes, without I/O: every decoder reads them, one understands them."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final, Literal

import msgspec

from drivers.bridge import codec as bridge
from drivers.labels.label import Label
from drivers.labels.reading import read_label
from drivers.scale.codecs import lines
from drivers.scale.config import ScaleConfig
from drivers.scale.frames import Line
from drivers.scale.protocols import PROTOCOLS, decoder_of
from drivers.scale.reading import Noise, Reading
from drivers.scanner import codec as scanner
from drivers.ssi import codec as ssi

READINGS_MIN: Final = 2
"""One frame may be chance."""
NOISE_MAX: Final = 0.25
"""Frames that may be damaged for each that is read, and one more: the first is often cut."""
PARITY_MIN: Final = 0.95
"""Share of characters that have to fit a parity."""
TEXT_MIN: Final = 0.9
"""Share of characters that text has."""
LINES_MIN: Final = 3
"""At a wrong rate chance makes no more lines of text."""
SHOWN_MAX: Final = 5
SHOWN_LETTERS_MAX: Final = 60

Table = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Finding:
    """A device that may have sent the bytes."""

    table: Table
    """Keys of its ``[[device]]`` table, but for name, port and rate."""
    good: int
    """How many frames were understood."""
    bad: int
    shows: str
    """What it said last, in words; nothing of an entry token."""


def findings(data: bytes) -> list[Finding]:
    """Return what may have sent these bytes, most likely first; empty: nothing that is known."""
    found = [*_scales(data), *_bridges(data), *_scanners(data)]
    likely = [
        one for one in found if one.good >= READINGS_MIN and one.bad <= 1 + one.good * NOISE_MAX
    ]
    return sorted(likely, key=lambda one: one.bad - one.good)


def bits_of(data: bytes) -> Line:
    """Return how characters look, of bytes received with 8 bits and no parity."""
    if not any(byte & 0x80 for byte in data):
        return "8N1"
    odd = sum(byte.bit_count() & 1 for byte in data) / len(data)
    if odd <= 1 - PARITY_MIN:
        return "7E1"
    if odd >= PARITY_MIN:
        return "7O1"
    return "7N2" if sum(byte >> 7 for byte in data) >= PARITY_MIN * len(data) else "8N1"


def text_lines(data: bytes) -> list[str]:
    """Return the newest lines of text; empty: it is no text, or there are too few to tell."""
    plain = bytes(byte & 0x7F for byte in data)
    text = sum(32 <= byte < 127 or byte in b"\r\n\t\x02\x03" for byte in plain)
    if not data or text < TEXT_MIN * len(data):
        return []
    whole = plain.replace(b"\r", b"\n").split(b"\n")[1:-1]
    words = [repr(line.decode("ascii"))[1:-1][:SHOWN_LETTERS_MAX] for line in whole if line.strip()]
    return words[-SHOWN_MAX:] if len(words) >= LINES_MIN else []


def _scales(data: bytes) -> Iterator[Finding]:
    bits = bits_of(data)
    for table in _scale_tables():
        config = msgspec.convert(
            {"driver": "scale", "name": "any", "url": "any", "line": bits, "unit": "kg"} | table,
            ScaleConfig,
        )
        results = decoder_of(config).feed(data)
        readings = [one for one in results if isinstance(one, Reading)]
        if not readings:
            continue
        facts = PROTOCOLS[config.protocol]
        if bits != facts.line and config.protocol != "cas":
            table["line"] = bits
        if all(one.unit == "kg" for one in readings) and not _names_unit(config):
            table["unit"] = "kg"
        bad = sum(isinstance(one, Noise) for one in results)
        last = readings[-1].grams
        shows = "no weight" if last is None else f"{last.normalize():f} g"
        yield Finding({"driver": "scale"} | table, len(readings), bad, shows)


def _scale_tables() -> Iterator[Table]:
    """Return what tells scales apart in settings; the usual is left out."""
    for protocol in PROTOCOLS:
        if protocol == "lines":
            yield from ({"protocol": protocol, "format": name} for name in lines.shipped())
        else:
            yield {"protocol": protocol}
        if protocol == "toledo":
            yield {"protocol": protocol, "checksum": False}
            yield {"protocol": protocol, "tare": False}
            yield {"protocol": protocol, "checksum": False, "tare": False}


def _names_unit(config: ScaleConfig) -> bool:
    """Tell whether a protocol has the unit on the wire."""
    if config.format is not None:
        return "(?P<unit>" in lines.load(config.format).pattern
    return not PROTOCOLS[config.protocol].unit_needed


def _bridges(data: bytes) -> Iterator[Finding]:
    forms: tuple[Literal["json", "csv"], ...] = ("json", "csv")
    for form in forms:
        results = bridge.Decoder(form=form).feed(data)
        readings = [one for one in results if isinstance(one, bridge.Reading)]
        # Three numbers between commas may be anything; a count that goes up is a bridge's.
        if not readings or not all(a.seq < b.seq for a, b in pairwise(readings)):
            continue
        channels = sorted({channel for one in readings for channel in one.raw})
        table = {"driver": "bridge", "channels": channels}
        if form != "json":
            table["format"] = form
        counts = ", ".join(str(readings[-1].raw.get(channel)) for channel in channels)
        yield Finding(table, len(readings), len(results) - len(readings), f"counts {counts}")


def _scanners(data: bytes) -> Iterator[Finding]:
    decoders: dict[str, Callable[[], scanner.Decoding]] = {
        "scanner": scanner.Decoder,
        "ssi": ssi.Decoder,
    }
    for driver, make in decoders.items():
        results = [one for one in make().feed(data) if not isinstance(one, scanner.Answer)]
        scans = [one for one in results if isinstance(one, scanner.Scan)]
        codes = [one for one in scans if driver == "ssi" or _is_code(one.data)]
        if codes:
            yield Finding({"driver": driver}, len(codes), len(results) - len(codes), "scans")


def _is_code(data: bytes) -> bool:
    """Tell whether a line is a product's code or an entry token."""
    aim, rest = scanner.split_aim(data)
    text = rest.decode("ascii", errors="replace")
    if text.count(".") == 2 and text.startswith("eyJ"):
        return True
    return isinstance(read_label(text, aim), Label)
