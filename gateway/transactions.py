# SPDX-License-Identifier: Apache-2.0
"""Programs driven through aiosqlite, and the write-ahead log emptied without a wait."""

from collections.abc import Awaitable, Iterable, Sequence
from typing import Any, Final, Protocol, TypeVar

from gateway.outbox import Program

T = TypeVar("T")

BUSY_MS: Final = 5_000
LOG_PAGES: Final = 1_000
"""Pages in the write-ahead log from which on they are moved into the file."""


class Connection(Protocol):
    """What is used of a connection of aiosqlite."""

    def execute_fetchall(
        self, sql: str, parameters: Sequence[Any] = ..., /
    ) -> Awaitable[Iterable[Any]]:
        """Run a statement and return its rows."""

    def executemany(self, sql: str, parameters: Sequence[Any], /) -> Awaitable[Any]:
        """Run a statement with each of some parameters."""

    async def interrupt(self) -> None:
        """End the statement that runs."""

    async def rollback(self) -> None:
        """Undo the transaction, if there is one."""


async def truncate_log(writer: Connection) -> bool:
    """Move the log into the file, as far as nobody reads what it holds, without a wait for them.

    From now on SQLite does so by itself too, as it grows: while a check ran it did not.

    Returns:
        Whether all of it was moved, and nothing is left of it.
    """
    for pragma in (f"wal_autocheckpoint = {LOG_PAGES}", "busy_timeout = 0"):
        await writer.execute_fetchall(f"PRAGMA {pragma}")  # To wait would hold up every commit.
    try:
        [(busy, *_)] = await writer.execute_fetchall("PRAGMA wal_checkpoint(TRUNCATE)")
    finally:
        await writer.execute_fetchall(f"PRAGMA busy_timeout = {BUSY_MS}")
    return not busy


async def transaction(
    connection: Connection, program: Program[T], begin: str, *, interrupt: bool = False
) -> T:
    """Drive a program in one transaction; each has one statement at least.

    Args:
        connection: Through which.
        program: What to do.
        begin: How to begin.
        interrupt: Whether not to wait for the end of a statement when cancelled.
    """
    try:
        await connection.execute_fetchall(begin)
        statement = next(program)
        while True:
            rows: list[tuple[Any, ...]] = []
            if statement.many:
                await connection.executemany(statement.sql, statement.parameters)
            else:
                found = await connection.execute_fetchall(statement.sql, statement.parameters)
                rows = [tuple(row) for row in found]
            try:
                statement = program.send(rows)
            except StopIteration as stop:
                result: T = stop.value
                break
        await connection.execute_fetchall("COMMIT")
    except BaseException:
        # Also when cancelled: what was queued before runs first, and after a COMMIT that went
        # through this does nothing.
        if interrupt:
            await connection.interrupt()
        await connection.rollback()
        raise
    return result
