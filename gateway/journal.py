# SPDX-License-Identifier: Apache-2.0
"""A ring of compressed segments that holds every input, and what reads them back.

A segment is gzip of JSON lines::

    {"journal":1,"number":1201,"snapshot":"<base64 of the engine's snapshot>"}
    {"n":1201,"i":{"input":"tick","at":{…}}}
    {"n":1202,"i":{…}}
    {"lost":17}

The snapshot is the engine's state before input ``number``; null means a new engine, and the first
input is then ``gateway-started``, which brings settings, store and durable state. ``lost`` says
that inputs were not written, and ends a segment. A file that is not compressed is read as well, so
a journal can be written by hand.
"""

import logging
import os
import threading
import time
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, Final, Literal

import msgspec

from gateway.domain.inputs import AnyInput

log = logging.getLogger(__name__)

SUFFIX: Final = ".jsonl.gz"
SEGMENT_BYTES_MAX: Final = 8 * 2**20
SEGMENT_S_MAX: Final = 600.0
WAITING_MAX: Final = 50_000
"""Inputs that wait to be written; beyond, they are lost and the segment ends."""
FLUSH_S: Final = 1.0
"""A killed daemon leaves a segment that is readable up to about this long before."""
WAKE_S: Final = 0.25
RETRY_S: Final = 30.0
"""After a failed write, until the next attempt."""
CHUNK_BYTES: Final = 256 * 1024
LEVEL: Final = 4
"""A quarter of the time of zlib's usual level 6, for an eighth more bytes (samples, measured)."""
GZIP: Final = 31
"""``wbits`` of zlib for the gzip format."""


class JournalError(ValueError):
    """A file that is no journal, or is damaged before its end."""


class Header(msgspec.Struct, frozen=True, kw_only=True):
    """First line of a segment."""

    journal: Literal[1] = 1
    number: int
    snapshot: bytes | None = None


class _Line(msgspec.Struct):
    n: int | None = None
    i: AnyInput | None = None
    lost: int | None = None


_HEADER: Final = msgspec.json.Decoder(Header)
_LINE: Final = msgspec.json.Decoder(_Line)
_UNREADABLE: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_ENCODER: Final = msgspec.json.Encoder()


def encode_line(number: int, item: AnyInput) -> bytes:
    """Return one input as a line of a segment, newline included."""
    encoded = _ENCODER.encode(item)
    if b"\n" in encoded or b"\r" in encoded:
        # Raw JSON in a command may be laid out over lines; within strings they are escaped.
        encoded = encoded.replace(b"\n", b" ").replace(b"\r", b" ")
    return b'{"n":%d,"i":%b}\n' % (number, encoded)


class JournalWriter:
    """Writes inputs from a thread of its own; the caller's loop never waits for a disk.

    The caller asks ``needs_snapshot`` before each input (or batch), calls ``begin`` when it is
    true, then ``append``. A disk that fails or fills up costs the journal, never the daemon.
    """

    def __init__(
        self,
        directory: Path,
        *,
        bytes_max: int,
        hours_max: float,
        segment_bytes: int | None = None,
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        """Start the thread. Nothing is written before ``begin``.

        Args:
            directory: Made when missing; only its own files are ever deleted.
            bytes_max: Most bytes of all segments together.
            hours_max: Oldest age of a segment, hours.
            segment_bytes: Compressed size at which a segment ends.
            monotonic_s: Measures ages, in seconds.
        """
        self._ring = _Ring(directory, bytes_max, hours_max * 3_600, monotonic_s)
        self._segment_bytes = segment_bytes or max(1, min(SEGMENT_BYTES_MAX, bytes_max // 4))
        self._monotonic_s = monotonic_s
        self.lost = 0
        """Inputs that were not written since the start."""
        self._lock = threading.Lock()  # Guards the five fields below it.
        self._waiting: list[tuple[int, AnyInput] | Header | _Lost] = []
        self._inputs = 0
        self._open = False
        self._needs = True
        self._closing = False
        self._wake = threading.Event()
        self._segment: _Segment | None = None  # This and what follows are the thread's alone.
        self._failed_s: float | None = None
        self._bug: Exception | None = None
        self._thread = threading.Thread(target=self._work, name="journal", daemon=True)
        self._thread.start()

    @property
    def needs_snapshot(self) -> bool:
        """Whether the next input should be preceded by ``begin``."""
        return self._needs

    def begin(self, number: int, snapshot: bytes | None) -> None:
        """Begin a segment.

        Args:
            number: Number of the next input.
            snapshot: The engine's state before it; None when it is ``gateway-started``.
        """
        with self._lock:
            self._waiting.append(Header(number=number, snapshot=snapshot))
            self._open, self._needs = True, False

    def append(self, number: int, item: AnyInput) -> None:
        """Take one input; it is written within about a second, or counted as lost.

        Raises:
            Exception: The thread failed by a bug.
        """
        if self._bug is not None:
            raise self._bug
        with self._lock:
            if self._open and self._inputs < WAITING_MAX:
                self._waiting.append((number, item))
                self._inputs += 1
                return
            self.lost += 1
            if self._open:
                # The thread asks for a new segment once it has caught up.
                self._waiting.append(_Lost())
                self._open = False

    def close(self) -> None:
        """Write what waits, end the segment and stop the thread. Blocks until done."""
        self._closing = True
        self._wake.set()
        self._thread.join()

    # The thread.

    def _work(self) -> None:
        closing = False
        while not closing:
            self._wake.wait(WAKE_S)
            closing = self._closing
            with self._lock:
                entries, self._waiting, self._inputs = self._waiting, [], 0
            try:
                for entry in entries:
                    self._write(entry)
                if closing:
                    self._end_segment()
                self._after_batch()
            except OSError as error:
                self._fail(error, len(entries))
            except Exception as bug:
                self._bug = bug
                if self._segment is not None:
                    self._segment.abandon()
                raise

    def _write(self, entry: "tuple[int, AnyInput] | Header | _Lost") -> None:
        match entry:
            case Header():
                self._end_segment()
                self._segment = _Segment(self._ring.new_path(), self._monotonic_s)
                self._segment.write(_ENCODER.encode(entry) + b"\n")
                if self._failed_s is not None:
                    log.info("journal: is written again")
                    self._failed_s = None
            case _Lost():
                if self._segment is not None:
                    self._segment.write(b'{"lost":%d}\n' % max(1, self.lost))
                self._end_segment()
            case (number, item):
                if self._segment is not None:
                    self._segment.write(encode_line(number, item))

    def _after_batch(self) -> None:
        """Flush, ask for a new segment when one is due, and keep the ring in bounds."""
        segment, now_s = self._segment, self._monotonic_s()
        due = self._failed_s is None or now_s - self._failed_s >= RETRY_S
        if segment is not None:
            segment.flush_if_due()
            self._ring.trim(segment.path, segment.size)
            due = segment.size >= self._segment_bytes or now_s - segment.born_s >= SEGMENT_S_MAX
        with self._lock:
            if due and not any(isinstance(entry, Header) for entry in self._waiting):
                self._needs = True

    def _end_segment(self) -> None:
        segment, self._segment = self._segment, None
        if segment is not None:
            self._ring.add(segment.path, segment.close(), segment.born_s)

    def _fail(self, error: OSError, entries: int) -> None:
        """Give up the segment: the next attempt is made after ``RETRY_S``."""
        if self._failed_s is None:
            log.error("journal: %s. Inputs are not kept until it can be written again", error)
        self._failed_s = self._monotonic_s()
        segment, self._segment = self._segment, None
        if segment is not None:
            segment.abandon()
            self._ring.add(segment.path, segment.size, segment.born_s)
        with self._lock:
            self.lost += entries + self._inputs
            self._waiting, self._inputs = [], 0
            self._open = self._needs = False


class _Lost:
    """Ends a segment: what came next was not kept."""


class _Segment:
    """One file while it is written."""

    def __init__(self, path: Path, monotonic_s: Callable[[], float]) -> None:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        # Inputs name shoppers' pseudonyms.
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        self._file: BinaryIO = os.fdopen(descriptor, "wb", buffering=0)
        self._zlib = zlib.compressobj(LEVEL, zlib.DEFLATED, GZIP)
        self._monotonic_s = monotonic_s
        self._flushed_s = monotonic_s()
        self.born_s = self._flushed_s
        self.path = path
        self.size = 0

    def write(self, line: bytes) -> None:
        self._put(self._zlib.compress(line))

    def flush_if_due(self) -> None:
        if self._monotonic_s() - self._flushed_s >= FLUSH_S:
            self._put(self._zlib.flush(zlib.Z_SYNC_FLUSH))
            self._flushed_s = self._monotonic_s()

    def close(self) -> int:
        """End the file; return its size in bytes."""
        try:
            self._put(self._zlib.flush(zlib.Z_FINISH))
        finally:
            self._file.close()
        return self.size

    def abandon(self) -> None:
        """Close the file as it is."""
        with suppress(OSError):
            self._file.close()

    def _put(self, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            written = self._file.write(rest) or 0
            self.size += written
            rest = rest[written:]


class _Ring:
    """The segments of a directory, oldest first, kept within bytes and age.

    Ages are measured, not read from the wall clock, which may step by years on a machine without
    a clock of its own. Only the ages of segments found at the start are taken from it.
    """

    def __init__(
        self, directory: Path, bytes_max: int, age_s_max: float, monotonic_s: Callable[[], float]
    ) -> None:
        self._directory = directory
        self._bytes_max = bytes_max
        self._age_s_max = age_s_max
        self._monotonic_s = monotonic_s
        self._kept: list[tuple[Path, int, float]] = []
        self._next = 0
        for path in segments(directory):
            stat = path.stat()
            age_s = max(0.0, time.time() - stat.st_mtime)
            self._kept.append((path, stat.st_size, monotonic_s() - age_s))
            self._next = int(path.name.removesuffix(SUFFIX)) + 1

    def new_path(self) -> Path:
        path = self._directory / f"{self._next:010d}{SUFFIX}"
        self._next += 1
        return path

    def add(self, path: Path, size: int, born_s: float) -> None:
        self._kept.append((path, size, born_s))
        self.trim(path, 0)

    def trim(self, newest: Path, size: int) -> None:
        """Delete the oldest segments while there are too many bytes, or they are too old.

        Args:
            newest: Never deleted.
            size: Bytes of the segment that is being written, which is not in the ring yet.
        """
        total = size + sum(kept for _, kept, _ in self._kept)
        oldest_s = self._monotonic_s() - self._age_s_max
        while self._kept and self._kept[0][0] != newest:
            path, kept, born_s = self._kept[0]
            if total <= self._bytes_max and born_s >= oldest_s:
                return
            path.unlink(missing_ok=True)
            total -= kept
            del self._kept[0]


# Reading.


def segments(directory: Path) -> list[Path]:
    """Return a directory's segments, oldest first."""
    found = directory.glob("[0-9]" * 10 + SUFFIX)
    return sorted(path for path in found if path.is_file())


def named_segments(paths: Iterable[Path]) -> list[Path]:
    """Return segments that somebody named, one by one or by their directory.

    Raises:
        JournalError: There is none in a directory.
    """
    named: list[Path] = []
    for path in paths:
        found = segments(path) if path.is_dir() else [path]
        if not found:
            raise JournalError(f"{path}: no segment of a journal in it. Name a journal's directory")
        named += found
    return named


def read_header(path: Path) -> Header:
    """Return the first line of a segment.

    Raises:
        OSError: The file cannot be read.
        JournalError: It is no journal.
    """
    for _, text in _lines(path):
        return _read_header(path, text)
    raise JournalError(f"{path}: empty. Give a segment of a journal")


def read_segment(path: Path) -> Iterator[tuple[int, AnyInput]]:
    """Yield the numbered inputs of a segment. A tail that was cut off is left out.

    Raises:
        OSError: The file cannot be read.
        JournalError: It is no journal, or a line before its end cannot be read.
    """
    number = 0
    for place, (whole, text) in enumerate(_lines(path), start=1):
        if place == 1:
            number = _read_header(path, text).number
            continue
        try:
            read = _LINE.decode(text)
        except _UNREADABLE as error:
            if not whole:
                return
            raise JournalError(f"{path}:{place}: {error}. The file is damaged") from None
        if read.lost is not None:
            return
        if read.n is None or read.i is None:
            raise JournalError(f"{path}:{place}: neither an input nor a loss. Give n and i")
        if read.n != number:
            raise JournalError(f"{path}:{place}: input {number} is missing. The file is damaged")
        number += 1
        yield read.n, read.i


def _read_header(path: Path, text: bytes) -> Header:
    try:
        return _HEADER.decode(text)
    except _UNREADABLE as error:
        raise JournalError(f"{path}:1: {error}. Give a segment of a journal") from None


def _lines(path: Path) -> Iterator[tuple[bool, bytes]]:
    """Yield the lines of a file, compressed or not, and whether each ended with its newline."""
    rest = b""
    for chunk in _plain(path):
        *ended, rest = (rest + chunk).split(b"\n")
        for line in ended:
            if line.strip():
                yield True, line
    if rest.strip():
        yield False, rest


def _plain(path: Path) -> Iterator[bytes]:
    """Yield a file's content, decompressed; where a compressed stream breaks off, so does this."""
    with path.open("rb") as file:
        chunk = file.read(CHUNK_BYTES)
        if not chunk.startswith(b"\x1f\x8b"):
            while chunk:
                yield chunk
                chunk = file.read(CHUNK_BYTES)
            return
        decompressor = zlib.decompressobj(GZIP)
        while chunk:
            try:
                yield decompressor.decompress(chunk)
            except zlib.error as error:  # A stream that only breaks off raises nothing.
                raise JournalError(f"{path}: {error}. The file is damaged") from None
            chunk = file.read(CHUNK_BYTES)
        if not decompressor.eof:
            why = "it is still written, or was cut off"
            log.warning("%s: ends early: %s. What it holds is used", path, why)
