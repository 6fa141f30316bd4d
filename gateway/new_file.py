# SPDX-License-Identifier: Apache-2.0
"""A file that has its name only once it is whole."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gateway.database_errors import DatabaseError
from gateway.mending import sync_directory


@contextmanager
def new_file(target: Path, example: str) -> Iterator[Path]:
    """Yield an empty draft beside a new file, for its owner alone; name it once it is written.

    Whatever fails, nothing is left; and no other file is overwritten.

    Args:
        target: The file to make.
        example: A name for it, where the target is a folder.

    Raises:
        DatabaseError: The target is there, is a folder or has none; says what to do.
        OSError: The disk refused.
    """
    if target.is_dir():
        raise DatabaseError(f"{target}: is a folder. Name a file in it, such as {target / example}")
    if target.exists():
        raise DatabaseError(f"{target}: is there already. Name another file, or remove it")
    if not target.parent.is_dir():
        raise DatabaseError(f"{target}: its folder does not exist. Create it")
    draft = target.with_name(f"{target.name}.part")
    if draft.exists():
        raise DatabaseError(f"{draft}: left over, or still written. Remove it if nobody writes it")
    os.close(os.open(draft, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    try:
        yield draft
        _name(draft, target)
    finally:
        for part in ("", "-journal"):
            draft.with_name(draft.name + part).unlink(missing_ok=True)


def _name(draft: Path, target: Path) -> None:
    """Give a finished file its name, durably; never that of another file."""
    try:
        os.link(draft, target)
    except OSError:
        if target.exists():
            raise
        draft.rename(target)  # A file system without links, such as that of a USB stick.
    sync_directory(target.parent)
