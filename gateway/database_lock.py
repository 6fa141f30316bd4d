# SPDX-License-Identifier: Apache-2.0
"""One daemon a database: a lock beside it, which the kernel releases however the process ends."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from gateway.database_errors import DatabaseError


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Keep daemons away from a database.

    Raises:
        DatabaseError: One uses it.
    """
    lock_fd = lock(path)
    try:
        yield
    finally:
        os.close(lock_fd)


def lock(path: Path) -> int:
    """Take the lock; return the file that holds it.

    Raises:
        DatabaseError: Another daemon has it, or nothing can be written there.
    """
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock_fd = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise DatabaseError(f"{path}: {error.strerror}. Choose a writable place") from error
    try:
        fcntl.flock(lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        owner = os.read(lock_fd, 20).decode("ascii", "replace").strip()
        os.close(lock_fd)
        raise DatabaseError(
            f"{path}: a daemon uses it (process {owner or 'unknown'}). Stop that one first"
        ) from None
    # Who it is helps a person; where there is no room for that, the lock holds all the same.
    with suppress(OSError):
        os.ftruncate(lock_fd, 0)
        os.write(lock_fd, b"%d\n" % os.getpid())
    return lock_fd
