# SPDX-License-Identifier: Apache-2.0
"""An emulated scale at its end of a line, with faults to order."""

import asyncio
from collections import deque
from collections.abc import Callable
from decimal import Decimal
from typing import Final, Literal, NoReturn, get_args

from gateway.simulator.scales.dialects import DIALECTS, Key
from gateway.simulator.scales.plate import Plate

Fault = Literal[
    "half", "checksum", "parity", "silence", "flood", "unit", "overload", "unplug", "other"
]
"""``half`` a frame, a wrong ``checksum``, noise in the ``parity`` bits, ``silence``, a ``flood`` of
garbage, another ``unit``, ``overload``; ``unplug`` the line; ``other``: plug another scale in."""
FAULTS: Final = get_args(Fault)
ONCE: Final = frozenset({"half", "checksum", "parity", "flood"})
"""Faults of one frame; the others stay until they are ordered again."""
FLOOD: Final = b"\x00\xfe9" * 20_000
COMMAND_BYTES_MAX: Final = 64


class Player:
    """Streams, answers and misbehaves."""

    faults: Final = FAULTS

    def __init__(
        self,
        protocol: str,
        write: Callable[[bytes], None],
        *,
        plate: Plate | None = None,
        unplug: Callable[[], None] = lambda: None,
        rate: float = 10.0,
    ) -> None:
        """Prepare.

        Args:
            protocol: One of ``DIALECTS``.
            write: Sends bytes to the gateway.
            plate: What is weighed; 412 g when absent.
            unplug: Pulls the plug, and puts it in again soon.
            rate: Frames a second, of a scale that sends by itself.

        Raises:
            ValueError: There is no such protocol.
        """
        if protocol not in DIALECTS:
            raise ValueError(f"{protocol}: not emulated. Known are {', '.join(DIALECTS)}")
        self.plate = Plate() if plate is None else plate
        self._dialect = DIALECTS[protocol]
        self._write = write
        self._unplug = unplug
        self._period_s = 1 / rate
        self._received = bytearray()
        self._repeats = self._dialect.streams
        self._silent = False
        self._orders: deque[str] = deque()

    def order(self, fault: str) -> None:
        """Misbehave: with the next frame, or from now on.

        Raises:
            ValueError: There is no such fault, or this protocol cannot have it.
        """
        if fault not in FAULTS:
            raise ValueError(f"{fault}: not known. Known are {', '.join(FAULTS)}")
        if fault == "checksum" and not self._dialect.checked:
            raise ValueError("checksum: these frames have none. Order parity or half")
        if fault == "unit" and not self._dialect.units:
            raise ValueError("unit: these frames have none. Order another fault")
        if fault == "overload" and not self._dialect.overloads:
            raise ValueError("overload: what this scale sends then is not known. Order silence")
        if fault in ONCE:
            self._orders.append(fault)
        elif fault == "silence":
            self._silent = not self._silent
        elif fault == "unit":
            self.plate.unit = "lb" if self.plate.unit != "lb" else "kg"
        elif fault == "overload":
            self.plate.overloaded = not self.plate.overloaded
        else:
            if fault == "other":
                self.plate.serial = f"X{self.plate.serial}"
            self._received.clear()
            self._repeats = self._dialect.streams
            self._unplug()

    def put(self, grams: Decimal) -> None:
        """Let so much lie on the plate."""
        self.plate.grams = grams

    def received(self, data: bytes) -> None:
        """Take what the gateway sent; answer."""
        self._received += bytes(byte & 0x7F for byte in data)
        del self._received[:-COMMAND_BYTES_MAX]
        while self._received:
            known = sorted(self._dialect.commands, key=len, reverse=True)
            command = next((one for one in known if self._received.startswith(one)), None)
            if command is not None:
                del self._received[: len(command)]
                self._press(self._dialect.commands[command])
            elif any(one.startswith(self._received) for one in known):
                return  # The rest is still to come.
            else:
                del self._received[:1]

    async def play(self) -> NoReturn:
        """Send what the scale sends by itself, until cancelled."""
        while True:
            await asyncio.sleep(self._period_s)
            if self._repeats:
                self._send(self._dialect.frame(self.plate))

    def _press(self, key: Key) -> None:
        if key == "zero":
            self.plate.set_zero()
        elif key == "tare":
            self.plate.set_tare()
        self._repeats = self._dialect.streams or key == "repeat"
        if key == "repeat":
            return
        weigh = key == "weigh"
        reply = self._dialect.frame(self.plate) if weigh else self._dialect.replies(key, self.plate)
        if reply:
            self._send(reply)

    def _send(self, frame: bytes) -> None:
        if self._silent:
            return
        fault = self._orders.popleft() if self._orders else None
        if fault == "half":
            frame = frame[: len(frame) // 2]
        elif fault == "checksum":
            frame = frame[:-1] + bytes([frame[-1] ^ 1])
        on_wire = bytes(map(self._with_parity, frame))
        if fault == "parity":
            on_wire = bytes(byte ^ 0x80 if at % 3 else byte for at, byte in enumerate(on_wire))
        elif fault == "flood":
            on_wire = FLOOD + on_wire
        self._write(on_wire)

    def _with_parity(self, byte: int) -> int:
        if self._dialect.line == "8N1":
            return byte
        odd = self._dialect.line == "7O1"
        return byte | ((byte.bit_count() + odd) % 2) << 7
