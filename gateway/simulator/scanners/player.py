# SPDX-License-Identifier: Apache-2.0
"""An emulated scanner at its end of a line, with faults to order.

Written from the protocols' descriptions and not from the drivers: one checks the other.
"""

from collections import deque
from collections.abc import Callable
from typing import Final, Literal, get_args

from gateway.simulator.scanners.typing import Typist, lost_keys, typed

Protocol = Literal["scanner", "ssi", "keyboard"]
PROTOCOLS: Final = get_args(Protocol)
"""``scanner``: lines with an AIM identifier, a prefix and a suffix; ``ssi``: SSI in packets;
``keyboard``: keys, as Linux tells of them."""
Fault = Literal["half", "checksum", "repeat", "flood", "silence", "unplug"]
FAULTS: Final = get_args(Fault)
"""With the next scan: ``half`` a frame, a wrong ``checksum``, the frame again (``repeat``), a
``flood`` of garbage before it (of ``keyboard``: keys of which some were lost). ``silence``: until
ordered again. ``unplug``: pull the plug now."""
FLOOD: Final = b"\xfe\x07garbage " * 300
ANSWER_S: Final = 2.0
"""SSI: how long an answer is waited for."""
TRIES: Final = 3
"""SSI: how often a packet is sent."""

_SSI_TYPES: Final = {"]E0": 0x0B, "]E4": 0x0A, "]C0": 0x03, "]C1": 0x0F, "]e0": 0x30, "]Q1": 0x1C}
_AGAIN: Final = 0x01


class Player:
    """Scans, answers and misbehaves."""

    def __init__(
        self,
        protocol: Protocol,
        write: Callable[[bytes], None],
        *,
        later: Callable[[float, Callable[[], None]], object],
        unplug: Callable[[], None] = lambda: None,
        prefix: bytes = b"",
        suffix: bytes = b"\r",
    ) -> None:
        """Prepare.

        Args:
            protocol: What it speaks.
            write: Sends bytes to the gateway.
            later: Calls back after so many seconds, as a loop's ``call_later`` does.
            unplug: Pulls the plug, and puts it in again soon.
            prefix: What stands before each line.
            suffix: What ends each line.
        """
        self._protocol = protocol
        self._typist = Typist(write, later)
        self._write = self._typist.write if protocol == "keyboard" else write
        self._later = later
        self._unplug = unplug
        self._prefix, self._suffix = prefix, suffix
        self._orders: deque[Fault] = deque()
        self._silent = False
        self._received = bytearray()
        self._queue: deque[bytes] = deque()
        """SSI: opcode and data of packets, the first one waiting for its answer."""
        self._tries = 0
        self.answers: list[int] = []
        """SSI: opcodes of what the gateway answered."""

    def order(self, fault: Fault) -> None:
        """Misbehave: now, or with the next scan.

        Raises:
            ValueError: This protocol cannot.
        """
        if fault == "checksum" and self._protocol != "ssi":
            raise ValueError("checksum: only ssi has one. Order half")
        if fault == "silence":
            self._silent = not self._silent
        elif fault == "unplug":
            self._queue.clear()
            self._received.clear()
            self._typist.stop()
            self._unplug()
        else:
            self._orders.append(fault)

    def scan(self, text: str) -> None:
        """Read a code; its AIM identifier may stand before it.

        Raises:
            ValueError: A keyboard has no key for a letter of it.
        """
        if self._silent:
            return
        if self._protocol == "keyboard":
            self._send(typed(text), typed(text[: len(text) // 2], entered=False))
            return
        if self._protocol == "scanner":
            self._send(self._prefix + text.encode() + self._suffix)
            return
        aim, code = (text[:3], text[3:]) if text.startswith("]") else ("", text)
        self._queue.append(bytes((0xF3, _SSI_TYPES.get(aim, 0x1C))) + code.encode())
        if len(self._queue) == 1:
            self._try()

    def received(self, data: bytes) -> None:
        """Take what the gateway sent; answer."""
        self._received += data
        while self._received:
            length = self._received[0]
            if length < 4:  # It wakes the scanner.
                del self._received[:1]
            elif len(self._received) < length + 2:
                return
            else:
                opcode = self._received[1]
                assert sum(self._received[:length]) + int.from_bytes(
                    self._received[length : length + 2], "big"
                ) in (0x1_0000, 0x2_0000), "the gateway's own checksums are right"
                del self._received[: length + 2]
                self._answered(opcode)

    def _answered(self, opcode: int) -> None:
        if opcode not in (0xD0, 0xD1):
            self._write(_packet(bytes((0xD0,))))
            return
        self.answers.append(opcode)
        if opcode == 0xD1 and self._queue:
            self._try()
        elif self._queue:
            self._queue.popleft()
            self._tries = 0
            if self._queue:
                self._try()

    def _try(self) -> None:
        """Send the first packet, again if it was; give it up after the last try."""
        if self._tries == TRIES:
            self._queue.popleft()
            self._tries = 0
            if self._queue:
                self._try()
            return
        body, again = self._queue[0], self._tries > 0
        self._tries += 1
        tries = self._tries
        self._send(_packet(body, _AGAIN if again else 0))
        self._later(ANSWER_S, lambda: self._waited(body, tries))

    def _waited(self, body: bytes, tries: int) -> None:
        if self._queue and self._queue[0] is body and self._tries == tries:
            self._try()

    def _send(self, frame: bytes, half: bytes | None = None) -> None:
        """Send a frame, or what the next order makes of it.

        Args:
            frame: The whole.
            half: What a half is; None: the first half of its bytes.
        """
        fault = self._orders.popleft() if self._orders else None
        match fault:
            case "half":
                self._write(frame[: len(frame) // 2] if half is None else half)
            case "checksum":
                self._write(frame[:-1] + bytes((frame[-1] ^ 0xFF,)))
            case "repeat":
                self._write(frame)
                if self._protocol == "ssi":  # As if the answer had been lost.
                    frame = _packet(self._queue[0], _AGAIN)
                self._write(frame)
            case "flood":
                self._write(lost_keys() if self._protocol == "keyboard" else FLOOD)
                self._write(frame)
            case _:
                self._write(frame)


def _packet(body: bytes, status: int = 0) -> bytes:
    """Return opcode and data as a packet of a scanner."""
    packet = bytes((3 + len(body), body[0], 0, status)) + body[1:]
    return packet + ((1 << 16) - sum(packet)).to_bytes(2, "big")
