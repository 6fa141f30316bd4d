# SPDX-License-Identifier: Apache-2.0
"""What the composition root passes on, and what it does each second."""

import asyncio
import sqlite3
from contextlib import asynccontextmanager, closing

import msgspec

from gateway import app
from gateway.app import Daemon
from gateway.config import load_settings
from gateway.database import Batch, open_database
from gateway.domain.effects import EraseShopper, Reply
from tests.made import lost, session
from tests.small_store import small_store

SETTINGS = """\
gateway = "gw"
database = "gateway.db"
[uplink]
host = "127.0.0.1"
"""


@asynccontextmanager
async def made(folder):
    """Yield a daemon that has begun and does not run, and its database."""
    file = folder / "settings.toml"
    file.write_text(SETTINGS)
    settings, store = load_settings(file), small_store()
    async with await open_database(
        settings.database, store=store.name, gateway=settings.gateway
    ) as database:
        daemon = Daemon(settings, store, folder / "store.toml", database, show_events=False)
        with closing(daemon):
            await daemon._pipeline.begin(await daemon._first_inputs())
            yield daemon, database


def test_an_erasure_that_waits_for_a_reader_is_answered_by_the_upkeep(tmp_path, monkeypatch):
    monkeypatch.setattr(app, "UPKEEP_S", 0.01)

    async def main():
        async with made(tmp_path) as (daemon, database):
            event = session(database.epoch.epoch, 101, "anna")
            await database.commit(Batch(events=[event], online=True, utc_ns=1))
            replies, wake = daemon._upstream.desk._replies, daemon._upstream._wake
            with closing(sqlite3.connect(database.path, isolation_level=None)) as reader:
                reader.execute("BEGIN")
                reader.execute("SELECT count(*) FROM events").fetchall()
                await daemon._carry_out(EraseShopper("e-1", "anna"))
                assert not replies
            upkeep = asyncio.create_task(daemon._upkeep())
            async with asyncio.timeout(20):
                while not replies:
                    wake.clear()
                    await wake.wait()
            upkeep.cancel()
            assert list(replies) == [Reply("e-1", "ok", "1 events no longer name the shopper")]

    asyncio.run(main())


def test_the_uplink_learns_what_was_given_up(tmp_path):
    async def main():
        async with made(tmp_path) as (daemon, database):
            epoch = database.epoch.epoch
            batch = Batch(events=[lost(epoch, 101), lost(epoch, 102)], online=True, utc_ns=1)
            done = await database.commit(batch)
            daemon._committed(msgspec.structs.replace(done, given_up=frozenset({(epoch, 0)})))
            assert daemon._upstream.uplink._sent.limit(epoch, -1) == 0, "it leaves no gap"

    asyncio.run(main())
