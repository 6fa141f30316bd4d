# SPDX-License-Identifier: Apache-2.0
"""A real daemon on a database that is damaged, restored, or without room; what it tells."""

import resource
import shutil
import sqlite3
import stat
import subprocess
import sys
from contextlib import closing, contextmanager

from tests.e2e.helpers import PATIENCE_S, outside_broker, until
from tests.e2e.shop import TEA, bought, complete, open_shop, visit
from tests.schema_check import check_event


@contextmanager
def shop_beside(folder, **options):
    """Run the shop with an in-store broker that outlives the daemon."""
    with (
        outside_broker(folder, "instore") as instore,
        open_shop(folder, instore=instore.port, journal=False, **options) as at,
    ):
        yield at


def backup(one, target):
    return subprocess.run(
        [sys.executable, "-m", "gateway.cli", "backup", "--settings", one.settings, target],
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_S,
    )


def told(at, reason):
    """Wait until the integrator is told of a recovery; return it."""
    event = at.witness.event("database.recovered", lambda one: one["data"]["reason"] == reason)
    check_event(event["raw"])
    return event["data"]


def test_a_copy_of_a_running_daemons_database_is_whole_and_starts(tmp_path):
    with shop_beside(tmp_path) as at:
        shop, target = at.shop, tmp_path / "copy.db"
        for number in range(6):
            shop.scan(shop.tokens.token(f"early-{number}"))
        done = backup(at.daemon, target)
        for number in range(6):
            shop.scan(shop.tokens.token(f"late-{number}"))
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith(f"{target}: {target.stat().st_size} bytes, up to sequence ")
        assert stat.S_IMODE(target.stat().st_mode) == 0o600
        again = backup(at.daemon, target)
        assert (again.returncode, "is there already" in again.stderr) == (1, True)
        with closing(sqlite3.connect(f"file:{target}?mode=ro", uri=True)) as copy:
            assert copy.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            query = "SELECT epoch, sequence, id, payload, shopper FROM events ORDER BY rowid"
            held = copy.execute(query).fetchall()
        at.witness.event("session.started", count=12)
        rows = complete(at)
        assert held == rows[: len(held)]
        sequence = int(done.stdout.partition("sequence ")[2].split()[0])
        assert held[-1][1] == sequence
        assert held[-1][0] in done.stdout

        assert at.daemon.stop()[0] == 0
        ended = at.daemon.rows()
        for part in ("", "-wal", "-shm"):
            at.daemon.database.with_name(f"gateway.db{part}").unlink(missing_ok=True)
        shutil.copyfile(target, at.daemon.database)
        at.daemon.start()
        assert told(at, "restored")["set_aside"] is None
        began = at.witness.event("gateway.started", count=2)["data"]
        assert (began["previous_epoch"], int(began["previous_sequence"])) == (held[-1][0], sequence)
        assert {row[2] for row in ended} <= {event["id"] for event in at.witness.events.values()}
        shop.scan(shop.tokens.token("after"))
        at.witness.event("session.started", count=13)


def test_a_damaged_database_is_mended_with_the_open_cart_and_told(tmp_path):
    with shop_beside(tmp_path, acknowledge=False) as at:
        shop = at.shop
        shop.stand("a", -1_500.0)
        shop.scan(shop.tokens.token("anna"))
        at.witness.event("session.started")
        shop.stand("a", -800.0)
        shop.reach("a", "g1.s1.p2", -80.0)
        at.witness.event("item.picked")
        at.daemon.program.kill()
        before = at.daemon.rows()
        with closing(sqlite3.connect(at.daemon.database)) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            query = "SELECT rootpage FROM sqlite_schema WHERE name = 'sqlite_autoindex_events_1'"
            [(page,)] = connection.execute(query)
        with at.daemon.database.open("r+b") as file:
            file.seek(4_096 * (page - 1))
            file.write(b"\xa5" * 4_096)
        at.daemon.start()
        data = told(at, "corrupt")
        aside = tmp_path / data["set_aside"]
        assert aside.exists()
        assert aside.name.startswith("gateway.db.corrupt-")
        assert data["events_kept"] == len(before)
        assert data["complete"]
        assert at.daemon.rows()[: len(before)] == before
        assert "is set aside as" in at.daemon.program.words()
        shop.leave("a")
        cart = at.witness.event("cart.closed")
        assert bought(cart) == {TEA: 1}
        began = at.witness.event("gateway.started", count=2)["data"]
        assert (began["previous_epoch"], int(began["previous_sequence"])) == before[-1][:2]


def test_a_daemon_without_room_ends_with_a_message_and_loses_nothing(tmp_path):
    with shop_beside(tmp_path) as at:
        shop, one = at.shop, at.daemon
        visit(at, "a", [("g1.s1.p2", -80.0)])
        # As on a full disk, what is there can still be written over.
        wal = one.database.with_name("gateway.db-wal").stat().st_size
        limit = (max(wal, one.database.stat().st_size) + 6_000, resource.RLIM_INFINITY)
        resource.prlimit(one.program.pid, resource.RLIMIT_FSIZE, limit)

        def ended():
            shop.scan(shop.tokens.token(f"visitor-{shop.number('scanner')['seq']}"))
            return one.program.process.poll() is not None

        until(ended, "the end")
        assert one.program.process.returncode == 1
        words = one.program.words()
        assert f"{one.database}: " in words
        assert "room" in words
        assert "Traceback" not in words
        before = one.rows()
        one.start()
        assert one.rows()[: len(before)] == before
        at.witness.event("gateway.started", count=2)
        visit(at, "b", [("g1.s1.p3", -330.0)])
        complete(at)
