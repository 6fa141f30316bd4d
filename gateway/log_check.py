# SPDX-License-Identifier: Apache-2.0
"""Whether commits are missing from a write-ahead log, which SQLite itself passes over in silence.

SQLite reads a log up to the first frame whose checksum is wrong. After a power cut that is right:
the rest is one transaction that was not flushed. But each commit is flushed before the next one is
written, so two commits behind a wrong frame prove that durable ones went bad.

Format: https://www.sqlite.org/fileformat2.html#the_write_ahead_log
"""

import struct
from pathlib import Path
from typing import Final

import numpy as np

HEADER: Final = struct.Struct(">8I")
FRAME: Final = struct.Struct(">6I")
MAGIC: Final = {0x377F0682: "<u4", 0x377F0683: ">u4"}
"""The log's first word, and how its checksums read words."""
CHECKED: Final = 8
"""Bytes of a frame's header that its checksum covers, beside the page."""


def log_damage(path: Path) -> str | None:
    """Return what is wrong with a log that SQLite would take without a word; None: nothing.

    Raises:
        OSError: It cannot be read.
    """
    if not path.exists() or path.stat().st_size <= HEADER.size:
        return None
    with path.open("rb") as file:
        head = file.read(HEADER.size)
        magic, _, size, _, *salts, first, second = HEADER.unpack(head)
        order = MAGIC.get(magic)
        # The header is flushed before the first frame.
        if order is None or not 512 <= size <= 65_536:
            return "the header of its write-ahead log is damaged"
        if _Sums(order, HEADER.size - 8).of(head[:-8], (0, 0)) != (first, second):
            return "the header of its write-ahead log is damaged"
        sums, before = _Sums(order, CHECKED + size), (first, second)
        broken, commits = False, 0
        while len(data := file.read(FRAME.size + size)) == FRAME.size + size:
            _, pages, *found, first, second = FRAME.unpack_from(data)
            current = found == salts
            due = sums.of(data[:CHECKED] + data[FRAME.size :], before)
            before = (first, second)
            if not current or due != before:
                broken, commits = True, 0
            commits += broken and current and pages > 0
            if commits > 1:
                return "committed transactions in its write-ahead log are damaged"
    return None


class _Sums:
    """Checksums of blocks of one length; they are linear, so each is two scalar products."""

    def __init__(self, order: str, length: int) -> None:
        self._order = order
        pairs = length // 8
        # s0 += x0 + s1; s1 += x1 + s0, over pairs of words, modulo 2^32: what each word adds to
        # both in the end is found by going backwards.
        a, b, c, d = 1, 0, 0, 1
        rows = []
        for _ in range(pairs):
            rows.append((a + b, b, c + d, d))
            a, b, c, d = (number % 2**32 for number in (a + b, a + 2 * b, c + d, c + 2 * d))
        self._start = (a, b, c, d)
        weights = np.array(rows[::-1], dtype=np.uint64).astype(np.uint32)
        self._first = weights[:, :2].ravel()
        self._second = weights[:, 2:].ravel()

    def of(self, data: bytes, before: tuple[int, int]) -> tuple[int, int]:
        """Return the sums behind a block, from those before it."""
        words = np.frombuffer(data, self._order).astype(np.uint32)
        a, b, c, d = self._start
        first = int(np.dot(words, self._first)) + a * before[0] + b * before[1]
        second = int(np.dot(words, self._second)) + c * before[0] + d * before[1]
        return first % 2**32, second % 2**32
