# SPDX-License-Identifier: Apache-2.0
"""Lines of an HX711-class bridge, without I/O: bytes in, readings out.

One line a sample, ended by LF or CR LF, in one of two forms::

    {"v":1,"boot":"9f3a","seq":1234,"t":1583245,"sps":10,"ch":[[0,123456],[1,null]],"crc":"53F7"}
    1234,1583245,123456,-8821,

``t`` is milliseconds since the bridge's boot (wraps at 2^32), ``ch`` pairs of channel and ADC
counts, null (or nothing, in CSV) a channel that is not ready. ``crc`` is CRC-16/CCITT-FALSE in hex
over the text before ``,"crc"``. The ADC has 24 bits in two's complement; some firmware prints them
as offset binary (``x ^ 0x800000``). Both ends of its range mean saturated or disconnected.

Line noise is weather on a cable: it comes back as a value, never as an exception.
"""

from binascii import crc_hqx
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

LINE_BYTES_MAX: Final = 4_096
CHANNELS_MAX: Final = 64
RAW_MIN: Final = -0x800000
RAW_MAX: Final = 0x7FFFFF
OFFSET: Final = 0x800000
T_MS_WRAP: Final = 1 << 32


class Reading(msgspec.Struct, frozen=True):
    """One sample of all channels."""

    boot: str | None
    """None where the line has none (CSV)."""
    seq: int
    t_ms: int
    sps: float | None
    raw: dict[int, int | None]
    """ADC counts by channel, two's complement; None: not ready or saturated."""
    dev: str | None = None
    """What the bridge calls itself; None: nothing."""


class Noise(msgspec.Struct, frozen=True):
    """A line that is no reading."""

    reason: Literal["malformed", "too-long"]
    detail: str


class _Line(msgspec.Struct):
    v: Literal[1]
    boot: Annotated[str, Meta(min_length=1, max_length=64)]
    seq: Annotated[int, Meta(ge=0, le=2**53)]
    t: Annotated[int, Meta(ge=0, lt=T_MS_WRAP)]
    ch: Annotated[list[tuple[int, int | None]], Meta(min_length=1, max_length=CHANNELS_MAX)]
    sps: Annotated[float, Meta(gt=0, le=10_000)] | None = None
    dev: Annotated[str, Meta(min_length=1, max_length=64)] | None = None
    crc: msgspec.Raw = msgspec.Raw(b"")


_LINE: Final = msgspec.json.Decoder(_Line)
_CRC_FIELD: Final = b',"crc"'


class _NoiseError(Exception):
    """Leaves the reading of one line; never leaves this module."""


class Decoder:
    """Splits a byte stream into readings. The result never depends on how it was chunked."""

    def __init__(
        self,
        *,
        form: Literal["json", "csv"] = "json",
        encoding: Literal["signed", "offset-binary"] = "signed",
        crc_required: bool = False,
    ) -> None:
        """Begin with an empty line.

        Args:
            form: Which of the two forms lines have.
            encoding: How the firmware prints the ADC's 24 bits.
            crc_required: Take a JSON line without a checksum as noise.
        """
        self._form = form
        self._offset = OFFSET if encoding == "offset-binary" else 0
        self._crc_required = crc_required
        self._line = bytearray()
        self._too_long = False

    def feed(self, data: bytes) -> list[Reading | Noise]:
        """Take bytes as they came; return what the lines that they ended say, in order."""
        *ended, rest = data.split(b"\n")
        results: list[Reading | Noise] = []
        for piece in ended:
            self._keep(piece)
            result = self._end()
            if result is not None:
                results.append(result)
        self._keep(rest)
        return results

    def _keep(self, piece: bytes) -> None:
        # Bytes past the limit are dropped, but the line still ends at its newline,
        # so one overlong line is exactly one Noise.
        room = LINE_BYTES_MAX - len(self._line)
        self._too_long = self._too_long or len(piece) > room
        self._line += piece[:room]

    def _end(self) -> Reading | Noise | None:
        line, too_long = bytes(self._line).removesuffix(b"\r"), self._too_long
        self._line.clear()
        self._too_long = False
        if too_long:
            return Noise("too-long", f"more than {LINE_BYTES_MAX} bytes")
        if not line.strip():
            return None
        try:
            return self._json(line) if self._form == "json" else self._csv(line)
        except (_NoiseError, msgspec.DecodeError) as error:
            return Noise("malformed", str(error))
        except UnicodeDecodeError:
            return Noise("malformed", "invalid UTF-8")
        except RecursionError:
            return Noise("malformed", "nested too deeply")

    def _json(self, line: bytes) -> Reading:
        if not line.isascii():
            line.decode("utf-8")
        message = _LINE.decode(line)
        checked = line.rfind(_CRC_FIELD)
        if checked >= 0:
            right = b'"%04X"' % crc_ccitt_false(line[:checked])
            if bytes(message.crc).upper() != right:
                raise _NoiseError("the checksum differs")
        elif self._crc_required:
            raise _NoiseError("no checksum")
        if not (message.boot + (message.dev or "")).isprintable():
            raise _NoiseError("control characters in boot or dev")
        raw = {channel: self._counts(counts) for channel, counts in message.ch}
        if len(raw) != len(message.ch):
            raise _NoiseError("a channel is given twice")
        return Reading(message.boot, message.seq, message.t, message.sps, raw, message.dev)

    def _csv(self, line: bytes) -> Reading | None:
        if line.startswith(b"seq,"):
            return None  # The header that some firmware prints at its start.
        cells = [cell.strip() for cell in line.split(b",")]
        if not 3 <= len(cells) <= 2 + CHANNELS_MAX:
            raise _NoiseError("not seq,t_ms,ch0,...")
        seq, t_ms = _integer(cells[0]), _integer(cells[1])
        if seq is None or t_ms is None or seq < 0 or not 0 <= t_ms < T_MS_WRAP:
            raise _NoiseError("seq or t_ms out of range")
        raw = {channel: self._counts(_integer(cell)) for channel, cell in enumerate(cells[2:])}
        return Reading(None, seq, t_ms, None, raw)

    def _counts(self, counts: int | None) -> int | None:
        """Return counts in two's complement, None for a saturated channel."""
        if counts is None:
            return None
        counts -= self._offset
        if not RAW_MIN <= counts <= RAW_MAX:
            raise _NoiseError("counts beyond 24 bits")
        return None if counts in (RAW_MIN, RAW_MAX) else counts


def crc_ccitt_false(data: bytes) -> int:
    """Return CRC-16/CCITT-FALSE: polynomial 0x1021, initial value 0xFFFF, not reflected."""
    return crc_hqx(data, 0xFFFF)


def _integer(cell: bytes) -> int | None:
    """Read one cell of a CSV line; None where it is empty, ``null`` or ``nan``."""
    if cell.lower() in (b"", b"null", b"nan"):
        return None
    digits = cell[1:] if cell[:1] in (b"-", b"+") else cell
    if not digits.isdigit() or len(digits) > 16:
        raise _NoiseError("a cell is not an integer")
    return int(cell)
