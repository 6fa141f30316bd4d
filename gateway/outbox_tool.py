# SPDX-License-Identifier: Apache-2.0
"""``shelfgate outbox``: what waits, how long there is room for it, and what an operator may do.

It reads the database beside a running daemon. Only ``purge`` changes it, and the daemon has to be
stopped for that; its next start tells upstream what was given up, and why.
"""

import argparse
import os
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final

import msgspec

from gateway import giving_up, losses, room, wear
from gateway.classes import CONTAINED, EARLY
from gateway.config import load_settings
from gateway.config_settings import Settings
from gateway.damage import damage, log_kept
from gateway.database_errors import DatabaseError, explaining
from gateway.database_lock import locked
from gateway.envelope import with_shopper
from gateway.mending import APPLICATION_ID, owners_alone
from gateway.outbox import MIGRATIONS, Program, Statement, backlog, run_sync
from gateway.room import Limits, limits_of
from gateway.side_files import doubt, doubted

HOUR_NS: Final = 3_600_000_000_000
SEEN: Final = 5_000
"""Events, the newest, whose rate and size are taken for those to come."""
PURGE_BITE: Final = 1_000
REASON_MAX: Final = 200


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """How an outbox stands."""

    waiting: int
    oldest_utc_ns: int | None
    events: int
    file_bytes: int
    used_bytes: int
    limit_bytes: int | None
    event_bytes: float
    """What an event takes, of the newest."""
    per_hour: float | None
    """Events, of the newest; None: too few to tell."""

    def forecast_h(self, pending_max: int) -> float | None:
        """Return how many hours of outage still fit, at the rate seen; None: nobody can tell."""
        if not self.per_hour:
            return None
        events = float(pending_max - self.waiting)
        if self.limit_bytes is not None:  # History gives way.
            fit = (self.limit_bytes - self.used_bytes) / self.event_bytes
            events = min(events, fit + self.events - self.waiting)
        return max(0.0, events / self.per_hour)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument(
        "--settings", type=Path, required=True, metavar="FILE", help="the operator's settings"
    )
    chosen = parser.add_subparsers(metavar="WHAT", required=True)
    show = chosen.add_parser("show", parents=[common], help="depth, age, bytes and forecast")
    show.set_defaults(what=_show)
    export = chosen.add_parser(
        "export", parents=[common], help="write what waits as CloudEvents, one JSON a line"
    )
    export.add_argument("target", type=Path, metavar="TARGET", help="the file to make")
    export.set_defaults(what=_export)
    purge = chosen.add_parser(
        "purge",
        parents=[common],
        help="give up a class of what waits; the daemon has to be stopped",
    )
    purge.add_argument("kind", choices=EARLY, metavar="CLASS", help=", ".join(EARLY))
    purge.add_argument("--reason", required=True, help="why; it is told upstream")
    purge.set_defaults(what=_purge)
    check = chosen.add_parser("check", parents=[common], help="compare every event's checksum")
    check.set_defaults(what=_check)


def run(args: argparse.Namespace) -> int:
    """Run the command; return the exit status."""
    settings = load_settings(args.settings)
    path = Path(settings.database)
    if not path.is_file():
        sys.stderr.write(f"{path}: no such database. Name the settings of a daemon that has run\n")
        return 1
    try:
        status: int = args.what(args, settings, path)
    except DatabaseError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return status


def standing(limits: Limits, free_bytes: int) -> Program[Standing]:
    """Return how an outbox stands.

    Args:
        limits: Of the database.
        free_bytes: On its file system.
    """
    waiting, oldest = yield from backlog()
    size = yield from room.measure()
    [(events,)] = yield Statement("SELECT count(*) FROM events")
    [(seen, payload, first, last)] = yield Statement(
        "SELECT count(*), avg(length(payload)), min(committed_utc_ns), max(committed_utc_ns)"
        " FROM (SELECT payload, committed_utc_ns FROM events ORDER BY position DESC LIMIT ?)",
        (SEEN,),
    )
    spanned_h = (last - first) / HOUR_NS if seen > 1 else 0.0
    return Standing(
        waiting=waiting,
        oldest_utc_ns=oldest,
        events=events,
        file_bytes=size.file_bytes,
        used_bytes=size.used_bytes,
        limit_bytes=limits.limit_bytes(size, free_bytes),
        event_bytes=(payload or 0.0) + giving_up.ROW_BYTES,
        per_hour=(seen - 1) / spanned_h if spanned_h > 0 else None,
    )


@contextmanager
def _reading(path: Path) -> Iterator[sqlite3.Connection]:
    uri = f"{path.absolute().as_uri()}?mode=ro"
    with explaining(path), closing(sqlite3.connect(uri, uri=True, isolation_level=None)) as found:
        found.execute("PRAGMA busy_timeout = 5000")
        [(application_id,)] = found.execute("PRAGMA application_id")
        if application_id != APPLICATION_ID:
            raise DatabaseError(f"{path}: a database of another program. Look at the settings")
        yield found


def _show(_args: argparse.Namespace, settings: Settings, path: Path) -> int:
    limits = limits_of(settings.history)
    disk = os.statvfs(path.parent)
    with _reading(path) as connection:
        program = standing(limits, disk.f_bavail * disk.f_frsize)
        found = run_sync(connection, program, write=False)
        days = run_sync(connection, wear.days(), write=False)
        [(now_ns,)] = connection.execute("SELECT unixepoch() * 1000000000").fetchall()
    lines = [f"{found.waiting} events wait"]
    if found.oldest_utc_ns is not None:
        lines[0] += f", the oldest for {max(0, now_ns - found.oldest_utc_ns) / HOUR_NS:.1f} h"
    lines.append(f"{found.events - found.waiting} events are kept as history")
    limit = "" if found.limit_bytes is None else f" of {found.limit_bytes / 1e6:.0f} MB at most"
    lines.append(
        f"{found.used_bytes / 1e6:.1f} MB used{limit}, file {found.file_bytes / 1e6:.1f} MB"
    )
    hours = found.forecast_h(limits.pending_max)
    if hours is None or found.per_hour is None:
        lines.append("too few events to tell how long an outage may last")
    else:
        lines.append(
            f"room for {hours:.0f} h of outage at {found.per_hour:.0f} events an hour"
            f" of {found.event_bytes:.0f} bytes"
        )
    for day in days:
        an_event = f", {day.bytes / day.events / 1e3:.1f} kB an event" if day.events else ""
        lines.append(f"{day.day}: {day.bytes / 1e6:.1f} MB written{an_event}")
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    return 0


def _export(args: argparse.Namespace, _settings: Settings, path: Path) -> int:
    if args.target.exists():
        raise DatabaseError(f"{args.target}: is there already. Name another file, or remove it")
    count = 0
    with (
        _reading(path) as connection,
        explaining(args.target),
        open(args.target, "xb", opener=owners_alone) as file,
    ):
        for payload, shopper in connection.execute(
            "SELECT payload, shopper FROM events WHERE acknowledged = 0 ORDER BY position"
        ):
            whole = payload if shopper is None else with_shopper(payload, shopper)
            file.write(whole + b"\n")
            count += 1
    sys.stdout.write(f"{args.target}: {count} events\n")
    return 0


def _purge(args: argparse.Namespace, _settings: Settings, path: Path) -> int:
    reason = " ".join(args.reason.split())[:REASON_MAX]
    if not reason:
        sys.stderr.write("--reason: is empty. Say why, for whoever misses these events\n")
        return 2
    with _reading(path) as found:  # It is ours, before anything is changed.
        [(version,)] = found.execute("SELECT max(version) FROM schema_version")
    if version != len(MIGRATIONS):
        remedy = "Start the daemon once, and stop it again"
        raise DatabaseError(f"{path}: made by another version (schema {version}). {remedy}")
    with (
        locked(path),
        explaining(path),
        log_kept(path, kept=doubted(path)),
        closing(sqlite3.connect(path, isolation_level=None)) as connection,
    ):
        connection.execute("PRAGMA synchronous = FULL")
        if doubted(path):  # Its file stays as it is until the check is done.
            connection.execute("PRAGMA wal_autocheckpoint = 0")
        count = 0
        while gone := run_sync(connection, purge(args.kind, f"given up by hand: {reason}")):
            count += gone
    sys.stdout.write(f"{count} events of the class {args.kind} are given up; the start tells it\n")
    return 0


def purge(kind: str, reason: str, *, bite: int = PURGE_BITE) -> Program[int]:
    """Give up a bite of the pending events of a class, to be told by the next start.

    Returns:
        How many went.
    """
    positions = yield from giving_up.waiting_of(kind, bite, contained=kind == CONTAINED)
    # Where the newest epoch ends has to stay known.
    [(newest,)] = yield Statement("SELECT max(position) FROM events")
    gone: list[tuple[str, int]] = []
    for position in positions:
        if position != newest:
            rows = yield Statement(
                "SELECT epoch, sequence FROM events WHERE position = ?", (position,)
            )
            gone += [(epoch, sequence) for epoch, sequence in rows]
            yield Statement("DELETE FROM events WHERE position = ?", (position,))
    if gone:
        yield from losses.note(sorted(gone), reason)
    return len(gone)


def _check(_args: argparse.Namespace, _settings: Settings, path: Path) -> int:
    with explaining(path):
        # A daemon that runs may begin its log anew while it is read: look twice.
        why = damage(path) and damage(path)
    if why is not None:
        with explaining(path):
            doubt(path)
        sys.stderr.write(f"{path}: {why}. Restart the daemon, which mends it as it starts\n")
        return 1
    with _reading(path) as connection:
        [(events, epochs)] = connection.execute(
            "SELECT (SELECT count(*) FROM events), (SELECT count(*) FROM epochs)"
        )
    sys.stdout.write(f"{path}: whole, {events} events of {epochs} epochs\n")
    return 0
