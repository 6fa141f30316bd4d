# SPDX-License-Identifier: Apache-2.0
"""Register maps: where a transmitter keeps its weights, as data. No I/O but to read a map.

Modbus says how registers are read, and nothing of what is in them. A map has the addresses as the
device's manual prints them; what to read, and what is read, follow from it. What cannot be a
weight is no value, and never 0.
"""

import struct
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from drivers.modbus.config import ModbusConfig
from drivers.scale.reading import FAULT, GRAMS, GRAMS_MAX, Flag, Reading
from drivers.shipped import names, text_of

Address = Annotated[int, Meta(ge=0, le=105_536)]
"""As the manual prints it: 40008 may be register 7 on the wire."""
Bit = Annotated[int, Meta(ge=0, le=15)]
REGISTERS_MAX: Final = 125
"""That one question may ask for."""
ADDRESSES: Final = 65_536
CHANNELS_MAX: Final = 64
BYTES_MAX: Final = 65_536
WORDS: Final = {"i16": 1, "u16": 1, "i32": 2, "u32": 2, "f32": 2}
"""Registers of each type."""
_CODES: Final = {"i16": ">h", "u16": ">H", "i32": ">i", "u32": ">I", "f32": ">f"}


class Status(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the bits of the register of state mean; the lowest is 0."""

    register: Address
    step: Annotated[int, Meta(ge=0, le=1_000)] = 0
    """From channel to channel; 0: one register speaks of all channels."""
    ok: Bit | None = None
    """Clear: the transmitter cannot weigh."""
    fault: Bit | None = None
    over: Bit | None = None
    under: Bit | None = None
    zero: Bit | None = None
    motion: Bit | None = None
    stable: Bit | None = None
    net: Bit | None = None


class RegisterMap(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where the registers of a kind of transmitter are."""

    title: Annotated[str, Meta(min_length=1, max_length=100)]
    base: Literal[0, 1, 30_001, 40_001]
    """What the manual calls the first register."""
    type: Literal["i16", "u16", "i32", "u32", "f32"]
    function: Literal[3, 4] = 3
    """3 reads holding registers, 4 input registers."""
    words: Literal["high-first", "low-first"] = "high-first"
    """Which half of 32 bits has the lower address."""
    channels: Annotated[int, Meta(ge=1, le=CHANNELS_MAX)] = 1
    """In each block."""
    blocks: Annotated[tuple[Address, ...], Meta(min_length=1, max_length=16)] = (0,)
    """Added to every address; the channels of a further block are counted on."""
    step: Annotated[int, Meta(ge=1, le=1_000)] | None = None
    """Registers from channel to channel; as many as a weight has when absent."""
    gross: Address | None = None
    """The first channel's."""
    net: Address | None = None
    """Read where there is no ``gross``."""
    tare: Address | None = None
    """Put back onto ``net``."""
    no_value: Annotated[tuple[int, ...], Meta(max_length=16)] = ()
    """Integers that stand for no weight, such as -2147483648."""
    status: Status | None = None


@dataclass(frozen=True, slots=True)
class Read:
    """Registers that one question asks for."""

    address: int
    """On the wire."""
    count: int


class MapError(Exception):
    """Why a map cannot be used: *problem. Remedy*."""


def shipped() -> list[str]:
    """Return the names of the maps that come with the product."""
    return names("drivers.modbus", "maps")


def load(name: str) -> RegisterMap:
    """Return a map that comes with the product.

    Raises:
        MapError: There is none of this name.
    """
    if name not in shipped():
        raise MapError(f"map {name} is not known. Known are {', '.join(shipped())}")
    return _parsed(text_of("drivers.modbus", "maps", name))


def load_file(path: str) -> RegisterMap:
    """Return a map of somebody's own.

    Raises:
        MapError: It cannot be read, or is no map.
    """
    try:
        with Path(path).open("rb") as file:
            text = file.read(BYTES_MAX + 1)
    except OSError as error:
        problem = f"map_file {path}: {error.strerror or error}"
        raise MapError(f"{problem}. Check the path and permissions") from error
    if len(text) > BYTES_MAX:
        raise MapError(f"map_file {path}: more than {BYTES_MAX} bytes. Name a register map")
    try:
        return _parsed(text.decode())
    except UnicodeDecodeError as error:
        raise MapError(f"map_file {path}: not UTF-8. Write it as UTF-8") from error
    except MapError as error:
        raise MapError(f"map_file {path}: {error}") from error


def _parsed(text: str) -> RegisterMap:
    remedy = "Correct it; docs/devices.md has the keys"
    try:
        made = msgspec.convert(tomllib.loads(text), RegisterMap)
    except (ValueError, RecursionError) as error:  # TOML's and msgspec's own are among them.
        raise MapError(f"{str(error)[:300].rstrip('.')}. {remedy}") from error
    if made.gross is None and made.net is None:
        raise MapError("neither gross nor net. Give the first channel's address")
    addresses = [at for at in (made.gross, made.net, made.tare) if at is not None]
    if made.status is not None:
        addresses.append(made.status.register)
    if min(addresses) + min(made.blocks) < made.base:
        raise MapError(f"an address is below base, {made.base}. Write both as the manual counts")
    if made.step is not None and made.step < WORDS[made.type]:
        raise MapError("step is less than a weight has registers. Correct step or type")
    plan = Plan(made, range(1, made.channels * len(made.blocks) + 1), decimals=0, unit="g")
    if any(read.address + read.count > ADDRESSES for read in plan.reads):
        raise MapError(f"an address is beyond {ADDRESSES} registers. Correct base, step or blocks")
    return made


class Plan:
    """What to read of one transmitter, and what that says."""

    def __init__(
        self, register_map: RegisterMap, channels: Iterable[int], *, decimals: int, unit: str
    ) -> None:
        """Work out the questions.

        Args:
            register_map: Of the transmitter.
            channels: That are wanted, from 1.
            decimals: Of integers.
            unit: Of the display, one of ``GRAMS``.
        """
        self._map = register_map
        self._channels = tuple(channels)
        self._decimals = decimals
        self._unit = unit
        self.reads = _together(span for channel in self._channels for span in self._spans(channel))

    def readings(self, registers: Mapping[int, int]) -> list[Reading]:
        """Return what each channel says, as far as its registers were read.

        Args:
            registers: Value by address on the wire.
        """
        return [
            self._reading(channel, registers)
            for channel in self._channels
            if all(place in registers for span in self._spans(channel) for place in span)
        ]

    def _place(self, first: int, channel: int, step: int) -> int:
        block, at = divmod(channel - 1, self._map.channels)
        return first - self._map.base + self._map.blocks[block] + at * step

    def _weight(self, first: int, channel: int) -> range:
        words = WORDS[self._map.type]
        place = self._place(first, channel, self._map.step or words)
        return range(place, place + words)

    def _spans(self, channel: int) -> list[range]:
        """Return the addresses on the wire that tell of a channel; a span is read as a whole."""
        kept = self._map
        firsts = (kept.net, kept.tare) if kept.gross is None else (kept.gross,)
        spans = [self._weight(first, channel) for first in firsts if first is not None]
        if kept.status is not None:
            place = self._place(kept.status.register, channel, kept.status.step)
            spans.append(range(place, place + 1))
        return spans

    def _reading(self, channel: int, registers: Mapping[int, int]) -> Reading:
        kept, state = self._map, self._map.status
        bits = 0
        if state is not None:
            bits = registers[self._place(state.register, channel, state.step)]
        flags = _flags(state, bits)
        first, tare_g, net = kept.gross, None, False
        grams = None
        if first is None:
            assert kept.net is not None, "a map has one of the two"
            first, net = kept.net, True
            if state is not None and state.net is not None:
                net = bool(bits >> state.net & 1)
            if kept.tare is not None:
                tare_g = self._grams(kept.tare, channel, registers)
        if not flags & {"over", "under", "fault"}:
            grams = self._grams(first, channel, registers)
            # A tare that cannot be put back leaves a weight that means nothing.
            if grams is None or (kept.gross is None and kept.tare is not None and tare_g is None):
                grams, flags = None, flags | FAULT
        stable = None
        if state is not None and not (state.motion is None and state.stable is None):
            stable = "motion" not in flags
        return Reading(grams, stable, net, tare_g, flags, self._unit, channel)

    def _grams(self, first: int, channel: int, registers: Mapping[int, int]) -> Decimal | None:
        words = [registers[place] for place in self._weight(first, channel)]
        if self._map.words == "low-first":
            words.reverse()
        raw = struct.pack(f">{len(words)}H", *words)
        [value] = struct.unpack(_CODES[self._map.type], raw)
        if value in self._map.no_value:
            return None
        if isinstance(value, float):
            # Seven digits are what 32 bits hold; NaN and infinity are no weights.
            amount = Decimal(f"{value:.7g}")
            if not amount.is_finite():
                return None
        else:
            amount = Decimal(value).scaleb(-self._decimals)
        grams = amount * GRAMS[self._unit]
        return grams if abs(grams) <= GRAMS_MAX else None


def _flags(state: Status | None, bits: int) -> frozenset[Flag]:
    if state is None:
        return frozenset()
    found: set[Flag] = set()
    named: tuple[tuple[Flag, int | None], ...] = (
        ("fault", state.fault),
        ("over", state.over),
        ("under", state.under),
        ("zero", state.zero),
        ("motion", state.motion),
    )
    found |= {flag for flag, bit in named if bit is not None and bits >> bit & 1}
    if state.ok is not None and not bits >> state.ok & 1:
        found.add("fault")
    if state.stable is not None and not bits >> state.stable & 1:
        found.add("motion")
    return frozenset(found)


def _together(spans: Iterable[range]) -> tuple[Read, ...]:
    """Join neighbours, and only them: between two registers there may be one that is refused.

    A span is never cut: halves of a weight that were read one after the other make another one.
    """
    reads: list[Read] = []
    for span in sorted({(span.start, span.stop) for span in spans}):
        start, stop = span
        if reads and start <= reads[-1].address + reads[-1].count:
            first = reads[-1].address
            if stop - first <= REGISTERS_MAX:
                reads[-1] = Read(first, max(stop - first, reads[-1].count))
                continue
        reads.append(Read(start, stop - start))
    return tuple(reads)


def map_of(config: ModbusConfig) -> RegisterMap:
    """Return the register map that a shelf's settings name.

    Raises:
        MapError: There is none, or it cannot be used.
    """
    if (config.map is None) == (config.map_file is None):
        raise MapError("no register map, or two. Give one of map and map_file")
    return load(config.map) if config.map is not None else load_file(config.map_file or "")


def problems(config: ModbusConfig) -> list[str]:
    """Say what in a shelf's settings does not fit its register map, each with a remedy."""
    try:
        register_map = map_of(config)
    except MapError as error:
        return [str(error)]
    found = []
    units, wanted = len(config.unit_ids), len(config.channels)
    if units != wanted and 1 not in (units, wanted):
        found.append("unit_ids and channels are not of one length. Give one of each for each plate")
    channels = register_map.channels * len(register_map.blocks)
    if not all(1 <= channel <= channels for _, channel in config.plates):
        found.append(f"{register_map.title} has channels 1 to {channels}. Correct channels")
    if register_map.type != "f32" and config.decimals is None:
        found.append(
            f"{register_map.title} sends integers. Give decimals: how many digits of its display "
            "stand behind the point"
        )
    if register_map.type == "f32" and config.decimals is not None:
        found.append(f"{register_map.title} sends fractions. Remove decimals")
    if config.framing == "tcp" and "://" not in config.url:
        found.append('framing is tcp, and the line is serial. Write framing = "rtu"')
    return found
