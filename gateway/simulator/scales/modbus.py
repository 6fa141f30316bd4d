# SPDX-License-Identifier: Apache-2.0
"""Emulated Modbus transmitters: pymodbus's own server at the end of a line, with faults to order.

Of the driver they share the register maps alone, which are data.
"""

import asyncio
from collections.abc import Awaitable, Callable
from decimal import Decimal
from typing import Final, Literal, NoReturn

from pymodbus import FramerType
from pymodbus.client.mixin import ModbusClientMixin
from pymodbus.constants import ExcCodes
from pymodbus.framer import FramerRTU
from pymodbus.pdu import ModbusPDU
from pymodbus.server import ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

from drivers.modbus.maps import RegisterMap
from gateway.simulator.scales.plate import Plate
from gateway.simulator.scales.player import FLOOD

FAULTS: Final = (
    "half",
    "checksum",
    "flood",
    "silence",
    "overload",
    "exception",
    "other-unit",
    "unplug",
)
"""``half`` a frame, a wrong ``checksum``, a ``flood`` of garbage, ``silence``, ``overload``, an
``exception`` instead of every answer, answers of an ``other-unit``; ``unplug`` the line."""
ONCE: Final = frozenset({"half", "checksum", "flood"})
TYPES: Final = {
    "i16": ModbusClientMixin.DATATYPE.INT16,
    "u16": ModbusClientMixin.DATATYPE.UINT16,
    "i32": ModbusClientMixin.DATATYPE.INT32,
    "u32": ModbusClientMixin.DATATYPE.UINT32,
    "f32": ModbusClientMixin.DATATYPE.FLOAT32,
}


class Transmitters:
    """One or more transmitters at the end of a line, which answer for every channel."""

    faults: Final = FAULTS

    def __init__(
        self,
        register_map: RegisterMap,
        write: Callable[[bytes], None],
        *,
        unit_ids: tuple[int, ...] = (1,),
        framing: Literal["rtu", "tcp"] = "rtu",
        unplug: Callable[[], None] = lambda: None,
    ) -> None:
        """Prepare; an event loop has to run.

        Args:
            register_map: Of all of them.
            write: Sends bytes to the gateway.
            unit_ids: Of each.
            framing: How frames look.
            unplug: Pulls the plug, and puts it in again soon.
        """
        self.plates: dict[tuple[int, int], Plate] = {}
        """By unit id and channel."""
        self.silent_units: set[int] = set()
        """Units that are switched off."""
        self._map = register_map
        self._write = write
        self._unplug = unplug
        self._unit_ids = unit_ids
        self._rtu = framing == "rtu"
        self._orders: list[str] = []
        self._lasting: set[str] = set()
        channels = register_map.channels * len(register_map.blocks)
        for unit_id in unit_ids:
            for channel in range(1, channels + 1):
                self.plates[unit_id, channel] = Plate()
        self._server = ModbusTcpServer(
            [device_of(unit_id, register_map, self._answer) for unit_id in unit_ids],
            framer=FramerType.RTU if self._rtu else FramerType.SOCKET,
            address=("127.0.0.1", 0),
            trace_pdu=self._for_one_of_us,  # type: ignore[arg-type] # None is dropped.
        )
        self.connect()

    def order(self, fault: str) -> None:
        """Misbehave: with the next frame, or from now on until it is ordered again.

        Raises:
            ValueError: There is no such fault, or these frames cannot have it.
        """
        if fault not in FAULTS:
            raise ValueError(f"{fault}: not known. Known are {', '.join(FAULTS)}")
        if fault == "checksum" and not self._rtu:
            raise ValueError("checksum: these frames have none. Order half")
        if fault == "overload" and not _overloads(self._map):
            raise ValueError(
                "overload: what this transmitter says then is not known. Order silence"
            )
        if fault == "unplug":
            self.connect()
            self._unplug()
        elif fault == "overload":
            for plate in self.plates.values():
                plate.overloaded = not plate.overloaded
        elif fault in ONCE:
            self._orders.append(fault)
        else:
            self._lasting ^= {fault}

    def put(self, grams: Decimal) -> None:
        """Let so much lie on the first channel."""
        next(iter(self.plates.values())).grams = grams

    def received(self, data: bytes) -> None:
        """Take what the gateway sent."""
        if data:
            self._handler.data_received(data)

    async def play(self) -> NoReturn:
        """Wait to be asked, until cancelled."""
        await asyncio.Event().wait()
        raise AssertionError("nobody sets it")

    def connect(self) -> None:
        """Give the server a line that is new: nothing of what came before is left on it."""
        server = self._server
        self._handler = server.callback_new_connection()  # type: ignore[no-untyped-call] # As it is.
        self._handler.connection_made(_Out(self._send))

    def _for_one_of_us(self, _sending: bool, pdu: ModbusPDU) -> ModbusPDU | None:
        """Keep from the server what is for another unit: it would refuse, and units are silent."""
        return pdu if pdu.dev_id in self._unit_ids else None

    async def _answer(self, unit_id: int, address: int, registers: list[int]) -> ExcCodes | None:
        """Write what all channels of a unit weigh into its registers."""
        if "exception" in self._lasting:
            return ExcCodes.DEVICE_BUSY
        for (unit, channel), plate in self.plates.items():
            if unit == unit_id:
                for place, values in registers_of(self._map, channel, plate).items():
                    registers[place - address : place - address + len(values)] = values
        return None

    def _send(self, frame: bytes) -> None:
        unit_id = frame[0 if self._rtu else 6]
        if "silence" in self._lasting or unit_id in self.silent_units:
            return
        if "other-unit" in self._lasting:
            frame = self._of_another(frame)
        fault = self._orders.pop(0) if self._orders else None
        if fault == "half":
            frame = frame[: len(frame) // 2]
        elif fault == "checksum":
            frame = frame[:-1] + bytes([frame[-1] ^ 1])
        elif fault == "flood":
            frame = FLOOD + frame
        self._write(frame)

    def _of_another(self, frame: bytes) -> bytes:
        if not self._rtu:
            return frame[:6] + bytes([frame[6] ^ 0x40]) + frame[7:]
        body = bytes([frame[0] ^ 0x40]) + frame[1:-2]
        return body + FramerRTU.compute_CRC(body).to_bytes(2, "big")


class _Out(asyncio.Transport):
    """The server's way out."""

    def __init__(self, send: Callable[[bytes], None]) -> None:
        super().__init__()
        self._send = send

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self._send(bytes(data))

    def close(self) -> None:
        """Do nothing: the line is another's."""


def device_of(
    unit_id: int,
    register_map: RegisterMap,
    answer: Callable[[int, int, list[int]], Awaitable[ExcCodes | None]],
) -> SimDevice:
    """Return a transmitter as pymodbus's server has it.

    Args:
        unit_id: Its unit id.
        register_map: Which registers it has; all others are refused.
        answer: Awaited before each answer with unit id, first address and registers, to change.
    """

    async def asked(  # pymodbus's own shape.
        _function: int,
        start: int,
        _address: int,
        _count: int,
        registers: list[int],
        _values: list[int] | list[bool] | None,
    ) -> ExcCodes | None:
        return await answer(unit_id, start, registers)

    places: set[int] = set()
    for channel in range(1, register_map.channels * len(register_map.blocks) + 1):
        for place, values in registers_of(register_map, channel, Plate()).items():
            places |= set(range(place, place + len(values)))
    data = [SimData(place, values=0, datatype=DataType.REGISTERS) for place in sorted(places)]
    return SimDevice(unit_id, simdata=data, action=asked)


def registers_of(register_map: RegisterMap, channel: int, plate: Plate) -> dict[int, list[int]]:
    """Return what a channel's registers hold, by address on the wire: kilograms to the gram."""
    kept = register_map
    block, index = divmod(channel - 1, kept.channels)
    found: dict[int, list[int]] = {}

    def put(first: int | None, step: int | None, values: list[int]) -> None:
        if first is not None:
            at = index * (len(values) if step is None else step)
            found[first + kept.blocks[block] + at - kept.base] = values

    put(kept.gross, kept.step, _encoded(kept, plate.shown_g + plate.tare_g, plate))
    put(kept.net, kept.step, _encoded(kept, plate.shown_g, plate))
    put(kept.tare, kept.step, _encoded(kept, plate.tare_g, plate))
    state = kept.status
    if state is not None:
        bits = {
            state.ok: True,
            state.over: plate.overloaded,
            state.zero: not plate.shown_g,
            state.motion: plate.moves,
            state.stable: not plate.moves,
            state.net: plate.net,
        }
        word = sum(1 << bit for bit, on in bits.items() if bit is not None and on)
        put(state.register, state.step, [word])
    return found


def _overloads(register_map: RegisterMap) -> bool:
    state = register_map.status
    told = state is not None and state.over is not None
    return told or register_map.type == "f32" or bool(register_map.no_value)


def _encoded(register_map: RegisterMap, grams: Decimal, plate: Plate) -> list[int]:
    kilograms = (grams / 1_000).quantize(Decimal("0.001"))
    value: int | float
    if register_map.type == "f32":
        value = float("nan") if plate.overloaded else float(kilograms)
    else:
        value = int(kilograms.scaleb(3))
        if plate.overloaded and register_map.no_value:
            value = register_map.no_value[0]
    order: Literal["big", "little"] = "big" if register_map.words == "high-first" else "little"
    return ModbusClientMixin.convert_to_registers(value, TYPES[register_map.type], order)
