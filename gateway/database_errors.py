# SPDX-License-Identifier: Apache-2.0
"""What SQLite and the file system refuse, said as what an operator can do about it."""

import errno
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

__all__ = ["DatabaseError", "anothers", "damaged", "explaining", "is_damage", "lacks_table"]

CORRUPT: Final = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
_PRIMARY: Final = 0xFF
"""An extended result code holds the primary one in its lowest byte."""

_NO_TEXT: Final = "Could not decode to UTF-8"
"""What sqlite3 says, without a code, of a text that it was never given to write."""
_REMEDIES: Final = {
    sqlite3.SQLITE_FULL: "Make room on the disk; nothing that was committed is lost",
    sqlite3.SQLITE_READONLY: "Make the file and its directory writable; a file system that turned"
    " read-only by itself has a failing disk",
    sqlite3.SQLITE_IOERR: "Look at the disk's health and space (dmesg), and replace it if it fails",
    sqlite3.SQLITE_CANTOPEN: "Look at the path and its permissions",
    sqlite3.SQLITE_PERM: "Look at the permissions of the file and its directory",
    sqlite3.SQLITE_BUSY: "Another program holds it: end that one",
    sqlite3.SQLITE_LOCKED: "Another program holds it: end that one",
    **dict.fromkeys(CORRUPT, "The next start sets it aside and carries over what can be read"),
}
_OS_REMEDIES: Final = {
    errno.ENOSPC: _REMEDIES[sqlite3.SQLITE_FULL],
    errno.EDQUOT: _REMEDIES[sqlite3.SQLITE_FULL],
    errno.EFBIG: _REMEDIES[sqlite3.SQLITE_FULL],
    errno.EROFS: _REMEDIES[sqlite3.SQLITE_READONLY],
    errno.EIO: _REMEDIES[sqlite3.SQLITE_IOERR],
}


class DatabaseError(Exception):
    """The database cannot be used; says why and what to do."""


def is_damage(error: BaseException) -> bool:
    """Tell whether SQLite, or Python of a text, says that a file is not what it wrote."""
    if not isinstance(error, sqlite3.DatabaseError):
        return False
    return _code(error) in CORRUPT or str(error).startswith(_NO_TEXT)


def damaged(why: str) -> sqlite3.DatabaseError:
    """Return what SQLite raises for damage, for damage that it does not see itself."""
    error = sqlite3.DatabaseError(why)
    error.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
    return error


def anothers(path: Path, key: str, found: str, wanted: str, *, state: str = "") -> DatabaseError:
    """Return the error that a database is another store's or gateway's, as its ``meta`` says.

    Args:
        path: Of the database.
        key: ``store`` or ``gateway``.
        found: Whose it is.
        wanted: Whose it was to be.
        state: What else is to be said of it first.
    """
    remedy = "Name another file, or correct the settings"
    return DatabaseError(f"{path}: {state}belongs to {key} {found!r}, not {wanted!r}. {remedy}")


def lacks_table(error: BaseException) -> bool:
    """Tell whether SQLite says that a file is sound but has no such table or column."""
    return isinstance(error, sqlite3.OperationalError) and _code(error) == sqlite3.SQLITE_ERROR


@contextmanager
def explaining(path: Path | str) -> Iterator[None]:
    """Turn trouble with a file into a ``DatabaseError``.

    Bugs stay what they are: a constraint that is hurt, a statement misused.
    """
    try:
        yield
    except (sqlite3.IntegrityError, sqlite3.ProgrammingError, sqlite3.InterfaceError):
        raise
    except sqlite3.DatabaseError as error:
        code = sqlite3.SQLITE_CORRUPT if is_damage(error) else _code(error)
        remedy = _REMEDIES.get(code, "Look at the disk's space and health")
        raise DatabaseError(f"{path}: {error}. {remedy}") from error
    except OSError as error:
        remedy = _OS_REMEDIES.get(error.errno or 0, _REMEDIES[sqlite3.SQLITE_PERM])
        raise DatabaseError(f"{path}: {error.strerror or error}. {remedy}") from error


def _code(error: sqlite3.Error) -> int:
    """Return SQLite's primary result code; 0 where the module itself raised."""
    return getattr(error, "sqlite_errorcode", 0) & _PRIMARY
