# SPDX-License-Identifier: Apache-2.0
"""Where there is too little room: what gives way, in which order, and what is given back."""

import asyncio
import os
import sqlite3
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from gateway import classes, pages, trimming
from gateway.database import Batch, Limits, open_database
from gateway.domain import events
from gateway.domain.inputs import Stamp
from gateway.outbox import Committed, Statement
from gateway.pages import GIVE_BACK, Size, to_give_back
from gateway.room import Bound
from gateway.shortage import Measured, Shortage
from gateway.uplink import Uplink, UplinkSettings
from tests.made import closed, lost, picked, rows_waiting, session
from tests.schema_check import check_event

MB = 2**20
NOW_NS = 1_795_000_000_000_000_000
STAMP = Stamp(1, NOW_NS, True, 1, "b")


def opened(folder, **limits):
    return open_database(folder / "a.db", store="store", gateway="gw", limits=Limits(**limits))


def batch(*made):
    return Batch(events=made, online=False, utc_ns=NOW_NS)


def renamed(event, name):
    return msgspec.structs.replace(event, type=f"org.shelfgate.{name}.v1")


def file_bytes(folder):
    return (folder / "a.db").stat().st_size


def disk_with(monkeypatch, free_bytes):
    """Let the file system have so much room, whatever it has."""
    found = os.statvfs(Path.cwd())
    fields = [found[0], 1, *found[2:4], free_bytes, *found[5:]]
    monkeypatch.setattr(os, "statvfs", lambda _path: os.statvfs_result(fields))


async def fill(database, count, number=0):
    """Commit so many events of a kilobyte each; return the next number."""
    epoch = database.epoch.epoch
    for start in range(number, number + count, 100):
        await database.commit(
            batch(*(lost(epoch, start + nth, reason="x" * 500) for nth in range(100)))
        )
    return number + count


def test_every_event_has_a_class():
    named = [name for names in classes.CLASSES.values() for name in names]
    assert sorted(named) == sorted({one.NAME for one in events.ALL} - {"events.dropped"})


def test_classes_give_way_in_order_and_carts_and_reviews_last(tmp_path):
    async def main():
        async with await opened(tmp_path, pending_max=12) as database:
            epoch = (await database.begin_epoch(NOW_NS)).epoch
            made = [
                renamed(lost(epoch, 0), "gateway.started"),
                session(epoch, 1, None, "a"),
                picked(epoch, 2, "a"),
                closed(epoch, 3, "a"),
                session(epoch, 4, None, "b"),
                picked(epoch, 5, "b"),
                picked(epoch, 6, "a", "b"),
                lost(epoch, 7),
                renamed(lost(epoch, 8), "inputs.dropped"),
                renamed(lost(epoch, 9), "review.requested"),
                lost(epoch, 10),
                renamed(lost(epoch, 11), "plate.noise-changed"),
            ]
            await database.commit(batch(*made))
            gone = []
            for number in range(12, 22):
                done = await database.commit(batch(renamed(lost(epoch, number), "cart.adjusted")))
                data = check_event(done.rows[-1].payload)["data"]
                reason = data["reason"].rpartition(": ")[2]
                some = [(int(one["first"]), int(one["last"])) for one in data["ranges"]]
                gone.append((reason, [one for low, up in some for one in range(low, up + 1)]))
                assert done.dropped == data["count"] == len(gone[-1][1])
                assert ", ".join(done.classes) == reason
            return gone

    # A notice waits as well, so that from the second on two make room for the next.
    assert asyncio.run(main())[:6] == [
        ("diagnostics", [8]),
        ("diagnostics, devices", [7, 11]),
        ("devices, items", [2, 10]),
        ("visits", [1, 4]),
        ("visits", [5, 6]),
        ("receipts", [3, 9]),
    ]


def test_items_of_an_open_cart_are_kept_longer_than_those_that_a_receipt_contains(tmp_path):
    async def main():
        async with await opened(tmp_path, pending_max=4) as database:
            epoch = (await database.begin_epoch(NOW_NS)).epoch
            await database.commit(batch(picked(epoch, 0, "open"), picked(epoch, 1, "shut")))
            await database.commit(batch(picked(epoch, 2, "open", "shut"), picked(epoch, 3, None)))
            done = await database.commit(batch(closed(epoch, 4, "shut")))
            assert done.classes == ("items",)
            return [row.sequence for row in await rows_waiting(database)]

    assert sorted(asyncio.run(main())) == [0, 2, 3, 4, 5]


def test_history_gives_way_first_and_the_file_keeps_within_its_limit(tmp_path):
    async def main():
        async with await opened(tmp_path, bytes_max=2 * MB) as database:
            epoch = (await database.begin_epoch(NOW_NS)).epoch
            number = 0
            for _ in range(20):
                number = await fill(database, 300, number)
                await database.acknowledge(epoch, number - 1)
                await database.keep_within(STAMP)
            assert database.shortage == (), "the limit of the history is no trouble"
            size = await database._read(pages.measure())
            assert size.used_bytes <= 2 * MB
            assert file_bytes(tmp_path) < 3 * MB
            return await rows_waiting(database)

    assert asyncio.run(main()) == []


def test_what_waits_gives_way_once_no_history_is_left_and_it_is_told(tmp_path):
    async def main():
        async with await opened(tmp_path, bytes_max=MB) as database:
            epoch = (await database.begin_epoch(NOW_NS)).epoch
            await database.commit(batch(closed(epoch, 10**6, "first")))
            number = 0
            for _ in range(30):
                number = await fill(database, 100, number)
                await database.keep_within(STAMP)
            assert database.shortage == ("disk/devices",)
            size = await database._read(pages.measure())
            assert size.used_bytes < 1.5 * MB
            rows = await rows_waiting(database, 0, 10_000)
            assert "cart.closed" in {row.name for row in rows}
            gone = set()
            for row in rows:
                if row.name == "events.dropped":
                    data = check_event(row.payload)["data"]
                    assert (
                        data["reason"] == "no more room for the database: it may take 1 MB: devices"
                    )
                    for one in data["ranges"]:
                        gone |= set(range(int(one["first"]), int(one["last"]) + 1))
            sequences = {row.sequence for row in rows}
            assert gone
            assert gone.isdisjoint(sequences)
            assert gone | sequences == set(range(max(sequences) + 1)), "every gap is explained"
            await database.acknowledge(epoch, max(sequences))
            for _ in range(20):
                await database.keep_within(STAMP)
            assert database.shortage == ()

    asyncio.run(main())


def test_history_behind_a_backlog_gives_way_before_what_waits(tmp_path, monkeypatch):
    """As where the broker's word is enough, and what is live passes the backlog."""
    monkeypatch.setattr(trimming, "LOOK", 50)

    async def main():
        async with await opened(tmp_path, bytes_max=2 * MB) as database:
            await database.begin_epoch(NOW_NS)
            backlog = await fill(database, 1_000)
            number, looks = backlog, 0
            for _ in range(15):
                number = await fill(database, 100, number)
                live = [row.id for row in await rows_waiting(database, backlog, 10_000)]
                await database.record([], live, ())
                await database.keep_within(STAMP)
            while (await database._read(pages.measure())).used_bytes > 2 * MB:
                await database.keep_within(STAMP)
                looks += 1
                assert looks < 20
            await fill(database, 100, number)
            names = {row.name for row in await rows_waiting(database, 0, 10_000)}
            assert names == {"device.lost"}, "nothing that waits was given up"
            assert database.shortage == ()
            await database.record([], live, ())
            for _ in range(12):
                number = await fill(database, 100, number + 100)
                for _ in range(10):
                    await database.keep_within(STAMP)
            assert database.shortage == ("disk/devices",), "once no history is left"

    asyncio.run(main())


def test_a_log_that_a_reader_keeps_is_no_want_of_room(tmp_path, monkeypatch):
    async def main():
        async with await opened(tmp_path, free_bytes_min=10 * MB) as database:
            await database.begin_epoch(NOW_NS)
            with closing(sqlite3.connect(tmp_path / "a.db", isolation_level=None)) as reader:
                reader.execute("BEGIN")
                reader.execute("SELECT count(*) FROM events").fetchall()
                number = await fill(database, 6_000)
                log_bytes = (tmp_path / "a.db-wal").stat().st_size
                assert log_bytes > 5 * MB
                disk_with(monkeypatch, 11 * MB - log_bytes)
                for _ in range(5):
                    await database.keep_within(STAMP)
                    number = await fill(database, 100, number)
                names = {row.name for row in await rows_waiting(database, 0, 10_000)}
                assert "events.dropped" not in names
                assert database.shortage == ()

    asyncio.run(main())


def test_room_that_is_freed_is_given_back_to_the_card(tmp_path, monkeypatch):
    async def main():
        async with await opened(tmp_path, free_bytes_min=10 * MB) as database:
            epoch = (await database.begin_epoch(NOW_NS)).epoch
            number = await fill(database, 6_000)
            await database.acknowledge(epoch, number - 1)
            disk_with(monkeypatch, 100 * MB)
            await database.keep_within(STAMP)
            full = file_bytes(tmp_path)
            disk_with(monkeypatch, 2 * MB)
            for _ in range(10):
                await database.keep_within(STAMP)
            assert database.shortage == ("disk/low", "disk/history")
            await database.close()
            return full, file_bytes(tmp_path)

    full, left = asyncio.run(main())
    assert full > 6 * MB
    assert left < full - 3 * MB


@pytest.mark.parametrize(
    ("bytes_max", "free_min", "free", "history", "waiting"),
    [
        (None, 0, 0, None, None),
        (50, 0, 0, 50, 50),
        (None, 30, 100, 80, 80),
        (50, 30, 100, 50, 50),
        (500, 200, 195, 5, 50),  # Something else took it: a quarter of 200 is for what waits.
        (500, 200, 40, 4, 34),  # ... but 16 stay free.
        (500, 200, 0, 4, 4),
        (3, 200, 0, 3, 3),
        (500, 30, 15, 4, 7.5),
    ],
)
def test_the_limit_is_the_smaller_of_the_settings_and_the_cards(
    bytes_max, free_min, free, history, waiting
):
    limits = Limits(
        bytes_max=None if bytes_max is None else bytes_max * 10**6, free_bytes_min=free_min * 10**6
    )
    sizes = 10 * 10**6, free * 10**6
    found = [limits.for_history(*sizes), limits.for_waiting(*sizes)]
    assert [one and one.bytes / 1e6 for one in found] == [history, waiting]
    if bytes_max is not None:
        assert [one.card for one in found] == [history < bytes_max, waiting < bytes_max]


@pytest.mark.parametrize(
    ("pages", "free", "limit", "given"),
    [
        (100, 50, None, 0),
        (40_000, 10_000, None, 0),
        (40_000, 10_100, None, 100),
        (40_000, 30_000, None, GIVE_BACK),
        (100, 50, 4096 * 90, 10),
        (100, 5, 4096 * 90, 5),
    ],
)
def test_a_file_gives_back_what_is_too_much(pages, free, limit, given):
    assert to_give_back(Size(pages, free, 4096), limit) == given


CARD = Bound(90, "its disk has 90 B left", "Make room", card=True)
SET = Bound(90, "it may take 90 B", "Raise it")


def gave_up(shortage, *names, crowded=False):
    gone = frozenset(("e", number) for number in range(len(names)))
    shortage.gave_up(Committed([], gone, names), crowded=crowded)


def test_steps_are_told_once_and_end_when_there_is_room_again(caplog):
    caplog.set_level("INFO")
    one = Shortage(Path("a.db"), 200)
    bounds = {"for_history": CARD, "for_waiting": SET, "free_bytes": 300}
    one.measured(Measured(used_bytes=100, trimmed=True, **bounds))
    gave_up(one, "diagnostics")
    gave_up(one, "diagnostics", "devices")
    assert one.parts == ("disk/history", "disk/diagnostics", "disk/devices")
    assert one.short_bytes == 10
    one.measured(Measured(used_bytes=89, **bounds))
    assert len(one.parts) == 3, "not yet: it would begin again at once"
    one.measured(Measured(used_bytes=80, **bounds))
    assert one.parts == ()
    one.measured(Measured(used_bytes=100, **bounds))
    gave_up(one, "devices")
    one.measured(Measured(used_bytes=80, **bounds))
    assert [record.message for record in caplog.records] == [
        "a.db: its disk has 90 B left; giving up history. Make room",
        "a.db: it may take 90 B; what waits for the uplink is given up. Raise it",
        "a.db: it may take 90 B; giving up diagnostics. Raise it",
        "a.db: it may take 90 B; giving up devices. Raise it",
        "a.db: there is room for history again",
        "a.db: there is room again; 3 events were given up",
        "a.db: it may take 90 B; what waits for the uplink is given up. Raise it",
        "a.db: it may take 90 B; giving up devices. Raise it",
        "a.db: there is room again; 1 events were given up",
    ]


def test_too_many_that_wait_are_told_until_a_look_finds_no_more_of_it(caplog):
    caplog.set_level("INFO")
    one = Shortage(Path("a.db"))
    gave_up(one, "devices", crowded=True)
    one.measured(Measured(used_bytes=1, for_waiting=SET))
    assert one.parts == ("disk/devices",)
    one.measured(Measured(used_bytes=1, for_waiting=SET))
    assert one.parts == ()
    assert caplog.records[0].message == (
        "a.db: more events wait than may; giving up devices. Bring the uplink back"
    )


def test_a_small_history_stays_on_a_full_card(tmp_path, monkeypatch, caplog):
    async def main():
        async with await opened(tmp_path, free_bytes_min=200 * 10**6) as database:
            epoch = (await database.begin_epoch(NOW_NS)).epoch
            number = await fill(database, 500)
            await database.acknowledge(epoch, number - 1)
            disk_with(monkeypatch, 20 * 10**6)
            for _ in range(5):
                await database.keep_within(STAMP)
            assert database.shortage == ("disk/low",)
            return len(await database._read(all_rows()))

    assert asyncio.run(main()) == 500
    assert len(caplog.records) == 1


def all_rows():
    return (yield Statement("SELECT position FROM events"))


def test_acknowledgements_that_trickle_in_keep_nothing_from_giving_way(tmp_path, monkeypatch):
    """A walk over a long backlog takes several looks, and something is acknowledged in each."""
    monkeypatch.setattr(trimming, "LOOK", 50)

    async def main():
        async with await opened(tmp_path, bytes_max=2 * MB) as database:
            epoch = (await database.begin_epoch(NOW_NS)).epoch
            number = 0
            for turn in range(40):
                number = await fill(database, 100, number)
                await database.acknowledge(epoch, turn)
                await database.keep_within(STAMP)
            assert database.shortage == ("disk/devices",)
            return (await database._read(pages.measure())).used_bytes

    assert asyncio.run(main()) < 2.5 * MB


def test_a_card_that_runs_low_is_told_before_anything_that_waits_goes(caplog):
    caplog.set_level("INFO")
    one = Shortage(Path("a.db"), 200 * MB)
    for free, parts in ((201, ()), (199, ("disk/low",)), (201, ("disk/low",)), (221, ())):
        one.measured(Measured(used_bytes=1, free_bytes=free * MB))
        assert one.parts == parts
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]


def test_a_card_that_others_fill_costs_no_event_of_a_small_backlog(tmp_path, monkeypatch):
    """To give it up would free nothing worth having."""

    async def main():
        async with await opened(tmp_path, free_bytes_min=200 * 10**6) as database:
            epoch = (await database.begin_epoch(NOW_NS)).epoch
            number = 0
            for free in (195, 100, 20, 1):
                disk_with(monkeypatch, free * 10**6)
                for _ in range(3):
                    number = await fill(database, 100, number)
                    await database.commit(batch(closed(epoch, 10**6 + number, "cart")))
                    await database.keep_within(STAMP)
                    assert database.shortage == ("disk/low",)
            return [row.name for row in await rows_waiting(database, 0, 10_000)]

    names = asyncio.run(main())
    assert (names.count("device.lost"), names.count("cart.closed")) == (1_200, 12)
    assert "events.dropped" not in names


def test_a_row_never_takes_the_place_of_one_that_was_given_up(tmp_path):
    """The uplink has read up to there, and would not find it."""

    async def main():
        async with await opened(tmp_path) as database:
            epoch = (await database.begin_epoch(NOW_NS)).epoch
            carts = [renamed(lost(epoch, number), "cart.adjusted") for number in range(1, 4)]
            await database.commit(batch(lost(epoch, 0), *carts))
            bound = Bound(9_000, "it is full", "Make room")
            database._shortage.measured(Measured(used_bytes=10_000, for_waiting=bound))
            done = await database.commit(batch(lost(epoch, 4)))
            assert done.dropped >= 2, "the newest goes too"
            uplink = Uplink(UplinkSettings(acknowledge="broker"), lambda: 0.5)
            uplink.notify(max(row.position for row in done.rows))
            uplink.connected(0)
            await sent_of(uplink, database)
            database._shortage.measured(Measured(used_bytes=8_000, for_waiting=bound))
            done = await database.commit(batch(closed(epoch, 5, "cart")))
            uplink.notify(done.rows[-1].position)
            return await sent_of(uplink, database)

    assert asyncio.run(main()) == ["cart.closed"]


async def sent_of(uplink, database):
    """Send all that can be; return the names."""
    while (fetch := uplink.fetch()) is not None:
        uplink.offer(fetch, await database.waiting(fetch))
    rows = list(iter(lambda: uplink.take(0), None))
    for row in rows:
        uplink.published(row.position, row, 0)
    return [row.name for row in rows]


def test_no_more_is_given_up_than_lacks_until_the_next_look(tmp_path):
    async def main():
        async with await opened(tmp_path, bytes_max=MB) as database:
            number = 0
            epoch = (await database.begin_epoch(NOW_NS)).epoch
            while not database._shortage.short_bytes:
                number = await fill(database, 100, number)
                await database.keep_within(STAMP)
            lacks = database._shortage.short_bytes
            gone = 0
            for _ in range(10):
                number += 1
                gone += (await database.commit(batch(lost(epoch, number)))).dropped
            return lacks, gone

    lacks, gone = asyncio.run(main())
    assert 0 < gone <= 1 + lacks // 1_000


def test_notices_do_not_take_the_room_that_is_made(tmp_path, caplog):
    """They are never given up: one for each event would leave nothing else in the end."""

    async def main():
        async with await opened(tmp_path, bytes_max=MB) as database:
            epoch = (await database.begin_epoch(NOW_NS)).epoch
            number = 0
            while not database._shortage.short_bytes:
                number = await fill(database, 100, number)
                await database.keep_within(STAMP)
            notices = dropped = 0
            for _ in range(300):
                number += 1
                done = await database.commit(batch(lost(epoch, number, reason="x" * 500)))
                notices, dropped = notices + len(done.rows) - 1, dropped + done.dropped
                await database.keep_within(STAMP)
            return notices, dropped

    notices, dropped = asyncio.run(main())
    assert dropped > 200
    assert notices < dropped / 5
    assert [one.levelname for one in caplog.records].count("ERROR") == 1, "it is told once"
