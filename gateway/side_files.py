# SPDX-License-Identifier: Apache-2.0
"""What stands beside a database: which epoch it was left in, and whether it is still unchecked."""

import logging
import os
from pathlib import Path

import msgspec

from gateway.envelope import Source
from gateway.mending import beside, owners_alone, sync_directory

log = logging.getLogger(__name__)


class Side(msgspec.Struct, frozen=True):
    """What the file beside the database says."""

    store: str
    gateway: str
    epoch: str
    """The last that began."""
    sequence: int = -1
    """How far it went at least."""


def read_side(path: Path) -> Side | None:
    """Return what is known beside a database; None: nothing."""
    try:
        return msgspec.json.decode(beside(path, ".epoch").read_bytes(), type=Side)
    except FileNotFoundError:
        return None
    except ValueError as error:
        log.warning("%s: %s. It is written anew", beside(path, ".epoch"), error)
        return None


def write_side(path: Path, source: Source, epoch: str, sequence: int = -1) -> None:
    """Note which epoch began last, and how far it went at least, durably.

    Raises:
        OSError: The disk refused; the note before stands.
    """
    target, draft = beside(path, ".epoch"), beside(path, ".epoch-new")
    side = Side(source.store, source.gateway, epoch, sequence)
    with open(draft, "wb", opener=owners_alone) as file:
        file.write(msgspec.json.encode(side) + b"\n")
        file.flush()
        os.fsync(file.fileno())
    draft.replace(target)
    sync_directory(path.parent)


def doubt(path: Path) -> None:
    """Mark a database as unchecked, durably.

    Raises:
        OSError: The disk refused.
    """
    os.close(os.open(beside(path, ".unchecked"), os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o600))
    sync_directory(path.parent)


def doubted(path: Path) -> bool:
    """Return whether a database is marked as unchecked."""
    return beside(path, ".unchecked").exists()


def trust(path: Path) -> None:
    """Remove the mark: all of the database was read, and is whole."""
    beside(path, ".unchecked").unlink(missing_ok=True)
