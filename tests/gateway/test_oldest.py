# SPDX-License-Identifier: Apache-2.0
"""Which event waits longest, where notices of what was given up stand in older places."""

import asyncio

import msgspec

from gateway.clock import OsClock
from gateway.database import Batch, Limits, open_database
from gateway.upstream_status import StatusBoard
from tests.made import closed, lost, rows_waiting, started

DAY_S = 86_400


def opened(folder, **limits):
    return open_database(folder / "a.db", store="store", gateway="gw", limits=Limits(**limits))


def batch(*made, age_s):
    utc_ns = OsClock().stamp().utc_ns - age_s * 10**9
    return Batch(events=made, online=False, utc_ns=utc_ns)


async def told(database):
    """Return epoch and sequence of the oldest and its age in days, as the status says it."""
    board = StatusBoard(database, OsClock(), version="1", every_s=60)
    status = msgspec.json.decode(board.message("online", await database.backlog(), [], {}))
    age_days = round(status["oldest_age_s"] / DAY_S)
    return status["waiting_epoch"], int(status["waiting_sequence"]), age_days


def test_the_oldest_is_no_notice_in_an_older_place(tmp_path):
    async def main():
        async with await opened(tmp_path, pending_max=3) as database:
            old = (await database.begin_epoch(1)).epoch
            made = [lost(old, 0), started(database.epoch, 1), closed(old, 2, "a")]
            await database.commit(batch(*made, age_s=10 * DAY_S))
            new = (await database.begin_epoch(2)).epoch
            done = await database.commit(batch(started(database.epoch, 0), age_s=0))
            assert [row.position for row in done.rows] == [4, 1], "the notice stands first"
            assert await told(database) == (old, 1, 10)
            await database.acknowledge(old, 2)
            assert await told(database) == (new, 0, 0)
            await database.record([], [done.rows[0].id], ())
            assert await told(database) == (new, 1, 0), "nothing else waits"

    asyncio.run(main())


def test_a_notice_of_an_older_start_is_the_oldest_once_nothing_before_it_waits(tmp_path):
    async def main():
        async with await opened(tmp_path, pending_max=2) as database:
            old = (await database.begin_epoch(1)).epoch
            await database.commit(batch(lost(old, 0), closed(old, 1, "a"), age_s=10 * DAY_S))
            done = await database.commit(batch(closed(old, 2, "b"), age_s=9 * DAY_S))
            assert [row.position for row in done.rows] == [3, 1]
            assert await told(database) == (old, 1, 10)
            await database.begin_epoch(2)
            await database.record(
                [], [row.id for row in await rows_waiting(database) if row.sequence < 3], ()
            )
            assert await told(database) == (old, 3, 9)

    asyncio.run(main())
