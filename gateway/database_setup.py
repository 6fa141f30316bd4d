# SPDX-License-Identifier: Apache-2.0
"""A database as it is opened: whose it is, how SQLite keeps it, its schema up to date."""

from pathlib import Path
from typing import Final

from gateway import outbox, recovery
from gateway.database_errors import DatabaseError
from gateway.envelope import Source
from gateway.mending import APPLICATION_ID
from gateway.side_files import doubted
from gateway.transactions import BUSY_MS, LOG_PAGES, Connection, transaction

JOURNAL_BYTES_MAX: Final = 16 * 2**20


async def prepare(writer: Connection, path: Path, source: Source) -> None:
    """Check whose database it is, set it up, and migrate it.

    Args:
        writer: Its connection that writes.
        path: Of it.
        source: Whose it has to be, or will be.

    Raises:
        DatabaseError: It is of another program, another gateway or a newer version.
    """
    [(application_id,)] = await writer.execute_fetchall("PRAGMA application_id")
    [(tables,)] = await writer.execute_fetchall("SELECT count(*) FROM sqlite_schema")
    if application_id != APPLICATION_ID and tables:
        raise DatabaseError(f"{path}: a database of another program. Name another file")
    if not tables:
        await writer.execute_fetchall("PRAGMA auto_vacuum = INCREMENTAL")
    for pragma in (
        f"busy_timeout = {BUSY_MS}",
        f"application_id = {APPLICATION_ID}",
        "journal_mode = WAL",
        "synchronous = FULL",
        "foreign_keys = ON",
        "secure_delete = ON",  # FAST leaves names in pages that are free.
        f"journal_size_limit = {JOURNAL_BYTES_MAX}",
        f"wal_autocheckpoint = {0 if doubted(path) else LOG_PAGES}",
    ):
        await writer.execute_fetchall(f"PRAGMA {pragma}")
    await writer.execute_fetchall(
        "CREATE TABLE IF NOT EXISTS schema_version (version INTEGER PRIMARY KEY) STRICT"
    )
    [(version,)] = await writer.execute_fetchall(
        "SELECT coalesce(max(version), 0) FROM schema_version"
    )
    known = len(outbox.MIGRATIONS)
    if version > known:
        raise DatabaseError(
            f"{path}: made by a newer version (schema {version}, this one knows {known}). "
            "Install that version again"
        )
    for number in range(version, known):
        await transaction(writer, outbox.migration(number), "BEGIN IMMEDIATE")
    await transaction(writer, recovery.claim(path, source), "BEGIN IMMEDIATE")
