# SPDX-License-Identifier: Apache-2.0
"""The tables of the database, by the version that brought them; what stands here never changes."""

from typing import Final

SCHEMA_1: Final = (
    "CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT",
    """
    CREATE TABLE epochs (
        ordinal         INTEGER PRIMARY KEY,
        epoch           TEXT    NOT NULL UNIQUE,
        started_utc_ns  INTEGER NOT NULL,
        previous_epoch  TEXT,
        last_sequence   INTEGER  -- Set when the next epoch begins.
    ) STRICT
    """,
    """
    CREATE TABLE events (
        position          INTEGER PRIMARY KEY,  -- Order of sending, over all epochs.
        epoch             TEXT    NOT NULL REFERENCES epochs (epoch),
        sequence          INTEGER NOT NULL,
        id                TEXT    NOT NULL UNIQUE,
        name              TEXT    NOT NULL,
        payload           BLOB    NOT NULL,  -- The CloudEvent without data.shopper.
        shopper           TEXT,  -- NULL also when erased.
        committed_utc_ns  INTEGER NOT NULL,
        acknowledged      INTEGER NOT NULL DEFAULT 0 CHECK (acknowledged IN (0, 1)),
        UNIQUE (epoch, sequence)
    ) STRICT
    """,
    "CREATE INDEX events_pending ON events (position) WHERE acknowledged = 0",
    "CREATE INDEX events_shopper ON events (shopper) WHERE shopper IS NOT NULL",
    """
    CREATE TABLE state (
        kind   TEXT NOT NULL,
        key    TEXT NOT NULL,
        value  TEXT NOT NULL,  -- JSON.
        PRIMARY KEY (kind, key)
    ) STRICT, WITHOUT ROWID
    """,
)

CHECKSUMS: Final = "ALTER TABLE events ADD COLUMN crc INTEGER"
"""CRC-32 of the payload; NULL: from schema 1."""

SCHEMA_2: Final = (
    """
    CREATE TABLE backfills (
        ordinal  INTEGER PRIMARY KEY,  -- One after the other.
        command  TEXT    NOT NULL UNIQUE,
        epoch    TEXT    NOT NULL,
        next     INTEGER NOT NULL,  -- All before it is sent; beyond last: done.
        last     INTEGER NOT NULL,
        answer   TEXT    NOT NULL  -- JSON: as it was given when the command was accepted.
    ) STRICT
    """,
    CHECKSUMS,
)

SCHEMA_3: Final = (
    "ALTER TABLE events ADD COLUMN strands TEXT NOT NULL DEFAULT ''",
    "DROP INDEX events_pending",
    "CREATE INDEX events_waiting ON events (position, name, strands) WHERE acknowledged = 0",
    "CREATE INDEX events_receipts ON events (strands) WHERE name = 'cart.closed'",
)
"""Carts and reviews that an event belongs to, as in ``gateway.strands``."""
