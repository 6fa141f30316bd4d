# SPDX-License-Identifier: Apache-2.0
"""What a disk may hold after a power cut: images of a database and its write-ahead log.

A cut keeps everything that was flushed; of what was written since, each sector may have arrived or
not, in any order, and a file may have grown without its content (zeros, or rubbish).
"""

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

SECTOR: Final = 512
"""What a disk writes whole or not at all, in bytes."""
HEADER: Final = 32
"""Of a write-ahead log, in bytes."""


class Images(NamedTuple):
    """A database file and its write-ahead log, as bytes; empty where there is no file."""

    db: bytes
    wal: bytes = b""


def take(path: Path) -> Images:
    """Read both files. Not while a connection of this process is within a transaction."""
    wal = _wal(path)
    return Images(
        path.read_bytes() if path.exists() else b"", wal.read_bytes() if wal.exists() else b""
    )


def lay(images: Images, path: Path, shm: bytes = b"") -> None:
    """Write both files, as a machine finds them when it starts again.

    Args:
        images: What to write.
        path: Of the database; nobody has it open.
        shm: The log's index is never flushed: whatever is left of it must not matter.
    """
    Path(f"{path}-shm").unlink(missing_ok=True)
    _wal(path).unlink(missing_ok=True)
    path.write_bytes(images.db)
    if images.wal:
        _wal(path).write_bytes(images.wal)
    if shm:
        Path(f"{path}-shm").write_bytes(shm)


def torn(before: Images, after: Images, rng: random.Random) -> Images:
    """Return what a cut between two moments may leave.

    Args:
        before: A moment at which everything was flushed.
        after: A later one; between them lies one transaction with what follows it by itself, or
            one checkpoint: SQLite flushes between the steps of more, which would be forgotten here.
        rng: Chooses.
    """
    stages = [stage for stage in _stages(before, after) if stage[0] != stage[1]]
    if not stages:
        return after
    first, last = rng.choice(stages)
    return Images(_torn(first.db, last.db, rng), _torn(first.wal, last.wal, rng))


def cut_short(before: Images, after: Images, rng: random.Random, step: int) -> Iterator[Images]:
    """Yield the log of a transaction cut at every ``step`` bytes of what is new in it.

    It may have grown already, so each cut comes with nothing and with rubbish behind it.
    """
    log = after.wal
    same = next(
        (at for at, (old, new) in enumerate(zip(before.wal, log, strict=False)) if old != new),
        min(len(before.wal), len(log)),
    )
    for end in range(same, len(log), step):
        yield Images(before.db, log[:end] + before.wal[end:])
        yield Images(before.db, log[:end] + rng.randbytes(len(log) - end))
        yield Images(before.db, log[:end] + bytes(len(log) - end))


def _stages(before: Images, after: Images) -> list[tuple[Images, Images]]:
    """Return what is written between two flushes, in the order in which SQLite does it."""
    if len(after.wal) < len(before.wal):  # The log was moved into the database, then cut off.
        moved = Images(after.db, before.wal)
        return [(before, moved), (moved, after)]
    head = after.wal[:HEADER]
    begun = Images(before.db, head + before.wal[HEADER:])  # Flushed before the first frame.
    logged = Images(before.db, after.wal)
    return [(before, begun), (begun, logged), (logged, after)]


def _torn(before: bytes, after: bytes, rng: random.Random) -> bytes:
    """Return a file of which an arbitrary part of what differs was written."""
    if before == after:
        return after
    if not after:
        return rng.choice((before, after))  # A file is cut off whole or not at all.
    # Now and then nearly all of it, and nearly nothing: an even mix would hide single sectors.
    chance = rng.choice((0.02, 0.1, 0.5, 0.9, 0.98))
    size = rng.choice((len(before), len(after), rng.randint(*sorted((len(before), len(after))))))
    parts = []
    for at in range(0, size, SECTOR):
        old, new = before[at : at + SECTOR], after[at : at + SECTOR]
        if old == new or (new and rng.random() < chance):
            parts.append(new)
        elif old:
            parts.append(old)
        else:
            parts.append(bytes(SECTOR) if rng.random() < 0.5 else rng.randbytes(SECTOR))
        length = min(SECTOR, size - at)
        parts[-1] = parts[-1][:length].ljust(length, b"\0")
    return b"".join(parts)


def _wal(path: Path) -> Path:
    return Path(f"{path}-wal")
