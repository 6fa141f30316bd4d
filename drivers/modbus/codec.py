# SPDX-License-Identifier: Apache-2.0
"""Questions and answers of Modbus, RTU and TCP, without I/O. pymodbus makes and reads the frames.

RTU: ``unit function data… crc crc``, CRC-16 with the polynomial A001. TCP: ``transaction(2) 0 0
length(2) unit function data…``. An answer to ``read count registers`` has the function and ``2 *
count`` bytes, or the function with its highest bit and the code of an exception. So how it begins
and how long it is are known before it comes, and it is found by that: whatever lies before it, in
however many pieces it comes.
"""

from dataclasses import dataclass
from typing import Final, Literal

from pymodbus.framer import FramerBase, FramerRTU, FramerSocket
from pymodbus.pdu import DecodePDU, ExceptionResponse, ModbusPDU
from pymodbus.pdu.register_message import ReadHoldingRegistersRequest, ReadInputRegistersRequest

from drivers.modbus.maps import Read

Framing = Literal["rtu", "tcp"]
_FRAMERS: Final[dict[Framing, FramerBase]] = {
    "rtu": FramerRTU(DecodePDU(is_server=False)),
    "tcp": FramerSocket(DecodePDU(is_server=False)),
}
_REQUESTS: Final[dict[int, type[ModbusPDU]]] = {
    3: ReadHoldingRegistersRequest,
    4: ReadInputRegistersRequest,
}
EXCEPTIONS: Final = {
    1: "illegal function",
    2: "illegal data address",
    3: "illegal data value",
    4: "device failure",
    5: "acknowledge",
    6: "device busy",
    10: "gateway path unavailable",
    11: "gateway target does not respond",
}


@dataclass(frozen=True, slots=True)
class Registers:
    """The registers that were asked for."""

    values: tuple[int, ...]
    """16 bits each, in the order of their addresses."""


@dataclass(frozen=True, slots=True)
class Refused:
    """The transmitter's word that it does not answer this."""

    code: int

    @property
    def words(self) -> str:
        """Return what the code means."""
        return f"exception {self.code}, {EXCEPTIONS.get(self.code, 'not known')}"


class Question:
    """One question, and the search for its answer in what comes."""

    def __init__(
        self,
        unit_id: int,
        function: Literal[3, 4],
        read: Read,
        *,
        framing: Framing = "rtu",
        transaction: int = 0,
    ) -> None:
        """Make the question.

        Args:
            unit_id: Who is asked.
            function: 3 for holding registers, 4 for input registers.
            read: Which ones.
            framing: How frames look.
            transaction: Its number, for TCP.
        """
        self.unit_id = unit_id
        self.asks = function, read
        self._framer = _FRAMERS[framing]
        self._transaction = transaction
        pdu = _REQUESTS[function](
            address=read.address, count=read.count, dev_id=unit_id, transaction_id=transaction
        )
        self.request = self._framer.buildFrame(pdu)
        good = bytes([unit_id, function, 2 * read.count])
        bad = bytes([unit_id, function | 0x80])
        if framing == "tcp":
            self._forms = (
                (_header(transaction, len(good) + 2 * read.count) + good, 9 + 2 * read.count),
                (_header(transaction, len(bad) + 1) + bad, 9),
            )
        else:
            self._forms = ((good, 5 + 2 * read.count), (bad, 5))
        """How an answer begins, and its length."""
        self._buffer = bytearray()
        self.begun = False
        """Whether something came that began like an answer, and was none: it was damaged."""
        self.noisy = False
        """Whether anything came."""

    def feed(self, data: bytes) -> Registers | Refused | None:
        """Take bytes as they came; return the answer once it is complete."""
        self.noisy = self.noisy or bool(data)
        searched = len(self._buffer)
        self._buffer += data
        for end, start in sorted(self._candidates(searched)):
            answer = self._answer(bytes(self._buffer[start:end]))
            if answer is not None:
                return answer
            self.begun = True
        del self._buffer[: -max(length for _, length in self._forms)]
        return None

    def _candidates(self, searched: int) -> list[tuple[int, int]]:
        """Return end and start of what may be an answer and ends in the bytes that are new."""
        found = []
        for prefix, length in self._forms:
            start = self._buffer.find(prefix, max(searched - length + 1, 0))
            while start >= 0:
                if searched < start + length <= len(self._buffer):
                    found.append((start + length, start))
                start = self._buffer.find(prefix, start + 1)
        return found

    def _answer(self, frame: bytes) -> Registers | Refused | None:
        pdu = self._framer.handleFrame(frame, self.unit_id, self._transaction)[1]
        if pdu is None:
            return None
        if isinstance(pdu, ExceptionResponse):
            return Refused(pdu.exception_code)
        return Registers(tuple(pdu.registers))


def _header(transaction: int, length: int) -> bytes:
    return transaction.to_bytes(2, "big") + bytes(2) + length.to_bytes(2, "big")
