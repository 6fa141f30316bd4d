# SPDX-License-Identifier: Apache-2.0
"""Zebra's SSI in packets, without I/O: bytes in, scans and the answers to them out.

A packet: its length without the checksum, opcode, source (0 the scanner, 4 the host), status, data,
and the checksum, 16 bits, high byte first, which brings the sum of all bytes to 0 modulo 65536. No
byte marks its beginning: after noise every byte is tried as one.

The scanner waits for an answer to each packet and sends it again, with a bit of the status set,
when none comes; what was taken already is answered again and not handed on twice.
"""

from typing import Final

from drivers.scanner.codec import Answer, Noise, Result, Scan, TooLong

SCANNER: Final = 0
HOST: Final = 4
LENGTH_MIN: Final = 4
CHECKSUM_BYTES: Final = 2
OPCODE_MIN: Final = 0x80
"""Opcodes of scanners are above it, and letters below."""
PACKET_BYTES_MAX: Final = 255 + CHECKSUM_BYTES

ACK: Final = 0xD0
NAK: Final = 0xD1
START_SESSION: Final = 0xE4
ENABLE: Final = 0xE9
DISABLE: Final = 0xEA
DECODE_DATA: Final = 0xF3
RESEND: Final = 1
"""Why a packet is refused."""
AGAIN: Final = 0x01
"""Bit of the status: this packet was sent before."""
MORE: Final = 0x02
"""Bit of the status: the scan goes on in the next packet."""

AIM: Final = {
    0x03: "]C0",  # Code 128
    0x08: "]E0",  # UPC-A
    0x09: "]E0",  # UPC-E
    0x0A: "]E4",  # EAN-8
    0x0B: "]E0",  # EAN-13
    0x0F: "]C1",  # GS1-128
    0x30: "]e0",  # GS1 DataBar
    0x31: "]e0",
    0x32: "]e0",
}
"""AIM identifier by code type; other types leave it to the data's form."""


def packet(opcode: int, data: bytes = b"", *, source: int = HOST, status: int = 0) -> bytes:
    """Return a whole packet; ``data`` is at most 251 bytes."""
    body = bytes((LENGTH_MIN + len(data), opcode, source, status)) + data
    return body + (-sum(body) % 0x1_0000).to_bytes(CHECKSUM_BYTES, "big")


WAKE: Final = b"\0"
GREETING: Final = WAKE + packet(ENABLE)
"""Wakes a scanner that sleeps, and lets it read."""
_ACK: Final = Answer(packet(ACK))
_NAK: Final = Answer(packet(NAK, bytes((RESEND,))))


class Decoder:
    """Finds packets in a byte stream. Holds at most one packet's bytes."""

    def __init__(self) -> None:
        self._bytes = bytearray()
        self._taken: bytes | None = None
        """The last scan's code type and data, to know it again."""
        self._split = False
        """The packet before was a part of a scan."""
        self._noisy = False
        self._refused = False

    @property
    def pending(self) -> bool:
        """Whether a packet has begun and not ended."""
        return bool(self._bytes)

    def feed(self, data: bytes) -> list[Result]:
        """Take bytes as they came; return scans, answers and noise in order."""
        self._bytes += data
        return self._packets(final=False)

    def end(self) -> list[Result]:
        """Give up what has begun, for a pause on the line; a whole packet behind it counts."""
        results = self._packets(final=True)
        self._noisy = self._refused = False
        return results

    def _packets(self, *, final: bool) -> list[Result]:
        results: list[Result] = []
        held, at = self._bytes, 0
        while at < len(held):
            size = held[at] + CHECKSUM_BYTES
            left = len(held) - at
            if not _may_begin(held[at : at + 3]):
                results += self._noise("malformed", heard=held[at] != WAKE[0])
                at += 1
            elif left < size:
                if not final:
                    break
                results += self._noise("malformed")
                at += 1
            elif not _sound(held[at : at + size]):
                results += self._noise("checksum")
                if not self._refused:
                    self._refused = True
                    results.append(_NAK)
                at += 1
            else:
                self._noisy = self._refused = False
                results += self._take(bytes(held[at : at + size]))
                at += size
        del held[:at]
        return results

    def _noise(self, reason: str, *, heard: bool = True) -> list[Result]:
        """Count a run of noise once; bytes that only wake somebody are none."""
        if self._noisy or not heard:
            return []
        self._noisy = True
        return [Noise(reason)]

    def _take(self, sound: bytes) -> list[Result]:
        opcode, status = sound[1], sound[3]
        data = sound[LENGTH_MIN:-CHECKSUM_BYTES]
        if opcode in (ACK, NAK):
            return []
        if opcode != DECODE_DATA:
            return [_ACK]
        if status & AGAIN and data == self._taken:
            return [_ACK]
        self._taken = data
        part, self._split = self._split or bool(status & MORE), bool(status & MORE)
        if part:
            # Half a scan may look like a whole one, so none of its packets is one.
            return [_ACK] if self._split else [_ACK, TooLong()]
        if len(data) < 2:
            return [_ACK, Noise("malformed")]
        return [_ACK, Scan(data[1:], AIM.get(data[0]))]


def _may_begin(head: bytearray) -> bool:
    """Tell whether up to three bytes can be a packet's first: within a code hardly any can."""
    if head[0] < LENGTH_MIN or (len(head) > 1 and head[1] < OPCODE_MIN):
        return False
    return len(head) < 3 or head[2] == SCANNER


def _sound(whole: bytearray) -> bool:
    checksum = int.from_bytes(whole[-CHECKSUM_BYTES:], "big")
    return (sum(whole[:-CHECKSUM_BYTES]) + checksum) % 0x1_0000 == 0
