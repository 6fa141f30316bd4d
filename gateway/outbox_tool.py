# SPDX-License-Identifier: Apache-2.0
"""``shelfgate outbox``: what waits, how long there is room for it, and what an operator may do.

It reads the database beside a running daemon. Only ``purge`` changes it, and the daemon has to be
stopped for that; its next start tells upstream what was given up, and why.
"""

import argparse
import os
import sqlite3
import sys
from collections.abc import Generator, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, Final

import msgspec

from gateway import giving_up, losses, outbox_standing, room
from gateway.classes import CLASSES, CONTAINED, EARLY
from gateway.config import load_settings
from gateway.config_settings import Settings
from gateway.damage import damage, log_kept
from gateway.database_errors import DatabaseError, anothers, explaining, lacks_table
from gateway.database_lock import locked
from gateway.envelope import with_shopper
from gateway.mending import APPLICATION_ID
from gateway.new_file import new_file
from gateway.outbox import MIGRATIONS, Program, Statement, is_sound, run_sync
from gateway.outbox_standing import many
from gateway.room import limits_of
from gateway.side_files import doubt, doubted

PURGE_BITE: Final = 1_000
REASON_MAX: Final = 200
MENDS: Final = "Restart the daemon, which mends it as it starts"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument(
        "--settings", type=Path, required=True, metavar="FILE", help="the operator's settings"
    )
    chosen = parser.add_subparsers(metavar="WHAT", required=True)
    show = chosen.add_parser("show", parents=[common], help="depth, age, bytes and forecast")
    show.add_argument("--json", action="store_true", help="for a program")
    show.set_defaults(what=_show)
    export = chosen.add_parser(
        "export", parents=[common], help="write what waits as CloudEvents, one JSON a line"
    )
    export.add_argument(
        "target", type=Path, metavar="TARGET", help="the file to make; -: standard output"
    )
    export.set_defaults(what=_export)
    purge = chosen.add_parser(
        "purge",
        parents=[common],
        help="give up a class of what waits; the daemon has to be stopped",
    )
    purge.add_argument("kind", type=_class, metavar="CLASS", help=", ".join(EARLY))
    why = f"why, in {REASON_MAX} letters; it is told upstream"
    purge.add_argument("--reason", required=True, help=why)
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


def _class(text: str) -> str:
    """Return a class that may be given up by hand."""
    if text in EARLY:
        return text
    why = "is no class"
    if text in CLASSES:
        why = "is not given up by hand: what is left would not be true without it"
    raise argparse.ArgumentTypeError(f"{text} {why}. Name one of {', '.join(EARLY)}")


@contextmanager
def _reading(path: Path, gateway: str) -> Iterator[sqlite3.Connection]:
    uri = f"{path.absolute().as_uri()}?mode=ro"
    with explaining(path), closing(sqlite3.connect(uri, uri=True, isolation_level=None)) as found:
        found.execute("PRAGMA busy_timeout = 5000")
        [(application_id,)] = found.execute("PRAGMA application_id")
        if application_id != APPLICATION_ID:
            raise DatabaseError(f"{path}: a database of another program. Look at the settings")
        try:
            owners = found.execute("SELECT value FROM meta WHERE key = 'gateway'").fetchall()
        except sqlite3.OperationalError as error:
            if not lacks_table(error):
                raise
            remedy = "Start the daemon, which makes it whole"
            raise DatabaseError(f"{path}: was begun and is empty. {remedy}") from error
        for (owner,) in owners:
            if owner != gateway:
                raise anothers(path, "gateway", owner, gateway)
        yield found


def _show(args: argparse.Namespace, settings: Settings, path: Path) -> int:
    with _reading(path, settings.gateway) as connection:
        program = outbox_standing.standing(limits_of(settings.history), room.free_bytes(path))
        found = run_sync(connection, program, write=False)
        [(now_ns,)] = connection.execute("SELECT unixepoch() * 1000000000").fetchall()
    if args.json:
        told = {**msgspec.to_builtins(found), "forecast": msgspec.to_builtins(found.forecast())}
        sys.stdout.write(msgspec.json.format(msgspec.json.encode(told)).decode() + "\n")
    else:
        sys.stdout.writelines(f"{line}\n" for line in outbox_standing.lines(found, now_ns))
    return 0


def _export(args: argparse.Namespace, settings: Settings, path: Path) -> int:
    to_file = str(args.target) != "-"
    count = 0
    try:
        with ExitStack() as stack:
            file: BinaryIO = sys.stdout.buffer
            if to_file:
                draft = stack.enter_context(new_file(args.target, "waiting.jsonl"))
                file = stack.enter_context(draft.open("wb"))
            for payload in stack.enter_context(closing(_payloads(path, settings.gateway))):
                file.write(payload + b"\n")
                count += 1
            file.flush()
            if to_file:
                os.fsync(file.fileno())
    except BrokenPipeError:
        raise
    except OSError:
        with explaining(args.target if to_file else "standard output"):
            raise
    said = sys.stdout if to_file else sys.stderr
    said.write(f"{args.target}: {many(count, 'event')}\n")
    return 0


def _payloads(path: Path, gateway: str) -> Generator[bytes]:
    """Yield what waits, whole.

    Raises:
        DatabaseError: An event is not what was written, or the database cannot be read.
    """
    with _reading(path, gateway) as connection:
        columns = connection.execute("SELECT name FROM pragma_table_info('events')").fetchall()
        checksum = "crc" if ("crc",) in columns else "NULL"  # Of the first version.
        for epoch, sequence, payload, shopper, crc in connection.execute(
            f"SELECT epoch, sequence, payload, shopper, {checksum} FROM events"  # noqa: S608
            " WHERE acknowledged = 0 ORDER BY position"
        ):
            if crc is not None and not is_sound(payload, crc):
                with suppress(OSError):  # Where it may not be noted, the daemon's check finds it.
                    doubt(path)
                problem = f"event {sequence} of epoch {epoch} has changed; no whole export"
                raise DatabaseError(f"{path}: {problem} can be made. {MENDS}")
            yield payload if shopper is None else with_shopper(payload, shopper)


def _purge(args: argparse.Namespace, settings: Settings, path: Path) -> int:
    reason = " ".join(args.reason.split())
    problem = None if reason else "is empty. Say why, for whoever misses these events"
    if len(reason) > REASON_MAX:
        problem = f"has {len(reason)} letters. Say it in {REASON_MAX} or fewer"
    if not reason.isprintable():
        problem = "has letters that cannot be printed. Leave them out"
    if problem is not None:
        sys.stderr.write(f"--reason: {problem}\n")
        return 2
    with _reading(path, settings.gateway) as found:  # It is ours, before anything is changed.
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
    if count:
        done = f"{many(count, 'event')} of the class {args.kind} given up"
        sys.stdout.write(f"{done}, which the next start tells\n")
    else:
        sys.stdout.write(f"{args.kind}: none of this class waits. Nothing was given up\n")
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


def _check(_args: argparse.Namespace, settings: Settings, path: Path) -> int:
    with explaining(path):
        # A daemon that runs may begin its log anew while it is read: look twice.
        why = damage(path) and damage(path)
    if why is not None:
        with explaining(path):
            doubt(path)
        sys.stderr.write(f"{path}: {why}. {MENDS}\n")
        return 1
    with _reading(path, settings.gateway) as connection:
        [(events, epochs)] = connection.execute(
            "SELECT (SELECT count(*) FROM events), (SELECT count(*) FROM epochs)"
        )
    sys.stdout.write(f"{path}: whole, {many(events, 'event')} of {many(epochs, 'epoch')}\n")
    return 0
