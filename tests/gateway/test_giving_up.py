# SPDX-License-Identifier: Apache-2.0
"""How much is given up for want of room: about what lacks, and no more."""

import asyncio
from pathlib import Path

import msgspec
import pytest

from gateway import giving_up, pages
from gateway.database import Batch, Limits, open_database
from gateway.domain.inputs import Stamp
from gateway.outbox import Committed
from gateway.room import Bound
from gateway.shortage import HOLES_SHARE, Measured, Shortage
from tests.made import closed, lost, rows_waiting

NOW_NS = 1_795_000_000_000_000_000
STAMP = Stamp(1, NOW_NS, True, 1, "b")
SET = Bound(4_000, "it may take 4 kB", "Raise it")


def opened(folder, **limits):
    return open_database(folder / "a.db", store="store", gateway="gw", limits=Limits(**limits))


def batch(*made):
    return Batch(events=made, online=False, utc_ns=NOW_NS)


async def used_bytes(database):
    return (await database._read(pages.measure())).used_bytes


async def fill_scattered(database, count, number=0):
    """Commit so many events, every fourth of them of a device, the others receipts."""
    epoch = database.epoch.epoch
    made = [
        closed(epoch, one, f"cart{one}") if one % 4 else lost(epoch, one)
        for one in range(number, number + count)
    ]
    await database.commit(batch(*made))


async def give_way(database, number, *, looks=20):
    """Look and commit until no more is short; return the bytes and the classes given up."""
    freed, gone = 0, set()
    for look in range(looks):
        await database.keep_within(STAMP)
        done = await database.commit(batch(lost(database.epoch.epoch, number + look)))
        freed, gone = freed + done.freed_bytes, gone | {*done.classes}
    return freed, gone


def test_what_is_given_up_between_what_stays_counts_as_room(tmp_path):
    """No page of the file is free then, and yet nothing of the next class has to go for it."""

    async def main():
        async with await opened(tmp_path) as database:
            await database.begin_epoch(NOW_NS)
            await fill_scattered(database, 4_000)
            used = await used_bytes(database)
        lacks = used // 20
        async with await opened(tmp_path, bytes_max=used - lacks) as database:
            await database.begin_epoch(NOW_NS)
            freed, gone = await give_way(database, 10_000)
            assert gone == {"devices"}
            assert lacks < freed < 1.6 * lacks
        async with await opened(tmp_path, bytes_max=used - lacks) as database:
            await database.begin_epoch(NOW_NS)
            assert (await give_way(database, 20_000))[0] < 0.4 * lacks, "a start knows of it"

    asyncio.run(main())


def test_the_file_keeps_its_bound_though_new_events_do_not_fill_the_gaps(tmp_path):
    limit = 10**6

    async def main():
        most = 0
        async with await opened(tmp_path, bytes_max=limit) as database:
            await database.begin_epoch(NOW_NS)
            for turn in range(100):
                await fill_scattered(database, 20, 1_000 * turn)
                await database.keep_within(STAMP)
                most = max(most, await used_bytes(database))
            names = [row.name for row in await rows_waiting(database, 0, 10_000)]
            return most, database.shortage, names.count("cart.closed")

    most, shortage, receipts = asyncio.run(main())
    assert limit < most < limit * (1 + 1 / HOLES_SHARE) + 50_000
    assert shortage == ("disk/devices", "disk/receipts"), "gaps were more than may be"
    assert receipts > 500


@pytest.mark.parametrize(
    ("card_bytes", "used", "short"),
    [(10**6, 4_900, 0), (10**6, 5_001, 41), (2_000, 4_501, 41), (0, 4_001, 41)],
)
def test_gaps_count_up_to_a_share_of_the_limit_and_of_what_the_card_has_left(
    card_bytes, used, short
):
    one = Shortage(Path("a.db"))
    one.gave_up(Committed([], holes_bytes=3_000), crowded=False)
    now = Measured(used_bytes=used, for_waiting=SET, free_bytes=card_bytes)
    one.measured(now)
    assert one.short_bytes == short
    one.measured(msgspec.structs.replace(now, used_bytes=4_001, trimmed_bytes=3_000))
    assert one.short_bytes == 41, "history that goes takes its gaps along"


def test_gaps_are_forgotten_once_there_is_room_again():
    one = Shortage(Path("a.db"))
    one.gave_up(Committed([], holes_bytes=500), crowded=False)
    one.measured(Measured(used_bytes=3_000, for_waiting=SET, free_bytes=10**6))
    one.measured(Measured(used_bytes=4_001, for_waiting=SET, free_bytes=10**6))
    assert one.short_bytes == 41


def test_where_whole_pages_are_freed_there_are_no_gaps(tmp_path):
    limit = 10**6

    async def main():
        most = 0
        async with await opened(tmp_path, bytes_max=limit) as database:
            epoch = (await database.begin_epoch(NOW_NS)).epoch
            for turn in range(80):
                made = [lost(epoch, 1_000 * turn + one) for one in range(30)]
                await database.commit(batch(*made))
                await database.keep_within(STAMP)
                most = max(most, await used_bytes(database))
        return most

    assert limit < asyncio.run(main()) < 1.1 * limit


async def starts_of(database, count, *, each=1):
    """Begin so many epochs of so many events of a device."""
    for _ in range(count):
        epoch = (await database.begin_epoch(NOW_NS)).epoch
        await database.commit(batch(*(lost(epoch, one) for one in range(each))))


def short_of(database, short_bytes):
    bound = Bound(10**6, "it is full", "Make room")
    database._shortage.measured(Measured(used_bytes=10**6 + short_bytes, for_waiting=bound))


def test_nothing_is_given_up_that_its_notice_outweighs(tmp_path):
    async def main():
        async with await opened(tmp_path) as database:
            await starts_of(database, 50)
            await database.begin_epoch(NOW_NS)
            short_of(database, 30_000)
            done = await database.commit(batch(lost(database.epoch.epoch, 0)))
            assert (done.dropped, len(done.rows)) == (0, 1)
            assert not database._shortage.short_bytes, "the next look decides anew"
            short_of(database, 30_000)
            done = await database.commit(
                batch(*(lost(database.epoch.epoch, n) for n in range(1, 20)))
            )
            assert {epoch for epoch, _ in done.given_up} == {database.epoch.epoch}
            assert (done.dropped, len(done.rows)) == (20, 20)

    asyncio.run(main())


@pytest.mark.parametrize("each", [1, 2, 3, 5])
def test_what_is_given_up_always_frees_more_than_its_notices_take(tmp_path, each):
    async def main():
        async with await opened(tmp_path) as database:
            await starts_of(database, 100, each=each)
            before = sum(len(row.payload) + 300 for row in await rows_waiting(database, 0, 10_000))
            await database.begin_epoch(NOW_NS)
            short_of(database, 10_000)
            done = await database.commit(batch(closed(database.epoch.epoch, 0, "cart")))
            left = sum(len(row.payload) + 300 for row in await rows_waiting(database, 0, 10_000))
            left -= len(done.rows[0].payload) + 300
            assert before - left == done.freed_bytes
            assert (done.freed_bytes > 0) == (done.dropped > 0) == (each > 1)
            if each > 1:
                assert 20_000 <= done.freed_bytes < 27_000, (
                    "a hundredth of the limit is freed beside"
                )

    asyncio.run(main())


def test_small_starts_do_not_hide_what_is_worth_its_notice(tmp_path, monkeypatch):
    """They stand before it; a bite of them is passed over."""
    monkeypatch.setattr(giving_up, "DROP_BITE", 20)

    async def main():
        async with await opened(tmp_path) as database:
            await starts_of(database, 70)
            await starts_of(database, 1, each=30)
            short_of(database, 10_000)
            done = await database.commit(batch(closed(database.epoch.epoch, 30, "cart")))
            assert {epoch for epoch, _ in done.given_up} == {database.epoch.epoch}
            assert done.classes == ("devices",)
            assert done.dropped == 20

    asyncio.run(main())


def test_too_many_starts_give_way_though_their_notices_take_more(tmp_path):
    async def main():
        async with await opened(tmp_path, pending_max=50) as database:
            await starts_of(database, 51)
            return [row.name for row in await rows_waiting(database)]

    assert "events.dropped" in asyncio.run(main())
