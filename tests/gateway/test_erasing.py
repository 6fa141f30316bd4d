# SPDX-License-Identifier: Apache-2.0
"""A shopper who is erased: nobody waits, and the answer comes once no file holds the name."""

import asyncio
import logging
import sqlite3
from contextlib import closing, contextmanager

from hypothesis import given
from hypothesis import strategies as st

from drivers.mqtt.client import Message, MqttConfig
from gateway import erasing, trimming
from gateway.clock import OsClock
from gateway.database import Batch, open_database
from gateway.domain.effects import EraseShopper, Reply
from gateway.envelope import with_shopper, without_shopper
from gateway.erasing import Erasures
from gateway.transactions import BUSY_MS
from gateway.uplink import Uplink, UplinkSettings
from gateway.upstream import Upstream, UpstreamConfig
from gateway.upstream_desk import BUSY
from tests.made import lost, session

NOW_NS = 10**18
NAME, OTHER = "pseudonym-4711", "pseudonym-4712"
MQTT = MqttConfig(host="127.0.0.1", port=1, client_id="c")
ANSWER = Reply("e-1", "ok", "1 events no longer name the shopper")


class Replies:
    """In place of the uplink: what is answered."""

    def __init__(self):
        self.sent = []

    def publish_reply(self, reply):
        self.sent.append(reply)

    def erase(self, shopper):
        pass


async def begun(path):
    database = await open_database(path, store="s", gateway="g")
    epoch = (await database.begin_epoch(NOW_NS)).epoch
    return database, epoch


def batch(*events):
    return Batch(events=events, online=True, utc_ns=NOW_NS)


@contextmanager
def reading(path):
    """Read the database as an export does, until the end of the block."""
    with closing(sqlite3.connect(path, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM events").fetchall()
        yield


def holding(folder, name):
    return [path.name for path in folder.iterdir() if name.encode() in path.read_bytes()]


def test_a_reader_neither_stalls_the_daemon_nor_gets_an_erasure_answered(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    path, replies = tmp_path / "a.db", Replies()

    async def main():
        database, epoch = await begun(path)
        async with database:
            erasures = Erasures(database, replies)
            await database.commit(batch(session(epoch, 1, NAME)))
            with reading(path):
                async with asyncio.timeout(2):  # SQLite would wait for five.
                    await erasures.erase(EraseShopper("e-1", NAME))
                    await database.commit(batch(lost(epoch, 2)))
                    await erasures.settle()
                assert replies.sent == []
                assert holding(tmp_path, NAME) == ["a.db-wal"]
                assert await database._writer.execute_fetchall("PRAGMA busy_timeout") == [
                    (BUSY_MS,)
                ]
            await asyncio.gather(erasures.settle(), erasures.settle())
            assert replies.sent == [ANSWER], "once"
            assert holding(tmp_path, NAME) == []
            await erasures.settle()
            await erasures.erase(EraseShopper("e-2", "nobody"))
            assert [one.command for one in replies.sent] == ["e-1", "e-2"]

    asyncio.run(main())
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]
    assert "End the program that reads it" in caplog.text


def test_an_erasure_that_was_not_answered_before_a_kill_is_done_when_it_is_asked_for_again(
    tmp_path,
):
    path, replies = tmp_path / "a.db", Replies()

    async def killed():
        database, epoch = await begun(path)
        await database.commit(batch(session(epoch, 1, NAME)))
        await database.erase_shopper(NAME)
        (tmp_path / "after").mkdir()
        for part in ("a.db", "a.db-wal", "a.db.epoch"):
            (tmp_path / "after" / part).write_bytes((tmp_path / part).read_bytes())
        await database.close()

    async def again():
        database, _ = await begun(tmp_path / "after" / "a.db")
        async with database:
            assert holding(tmp_path / "after", NAME) == ["a.db-wal"]
            await Erasures(database, replies).erase(EraseShopper("e-1", NAME))
            assert [one.message[:2] for one in replies.sent] == ["0 "]
            assert holding(tmp_path / "after", NAME) == []

    asyncio.run(killed())
    asyncio.run(again())


def test_an_erasure_too_many_is_refused_and_may_come_again(tmp_path, monkeypatch):
    monkeypatch.setattr(erasing, "PENDING_MAX", 1)
    path, taken = tmp_path / "a.db", []

    async def main():
        database, epoch = await begun(path)
        async with database:
            upstream = Upstream(
                UpstreamConfig(mqtt=MQTT, store="s", gateway="g", version="1"),
                database,
                clock=OsClock(),
                on_link=lambda _online: None,
                on_command=lambda command, *_of: taken.append(command) or True,
            )

            async def ask(command, shopper):
                """Send it as often as you like; it is carried out where the desk lets it in."""
                before = len(taken)
                payload = f'{{"id": "{command}"}}'.encode()
                upstream.desk.take("erase-shopper", Message("", payload, False, 1, 1))
                if len(taken) > before:
                    await erasures.erase(EraseShopper(command, shopper))

            erasures = Erasures(database, upstream)
            await database.commit(batch(session(epoch, 1, NAME), session(epoch, 2, OTHER)))
            with reading(path):
                await ask("e-1", NAME)
                await ask("e-2", OTHER)
                assert list(upstream.desk._replies) == [Reply("e-2", "error", BUSY)]
                assert upstream.desk.counters.commands_without_room == 1
                await ask("e-1", NAME)
                assert taken == ["e-1", "e-2"], "the first waits for its answer"
            await erasures.settle()
            await ask("e-2", OTHER)
            assert taken == ["e-1", "e-2", "e-2"]
            good = "1 events no longer name the shopper"
            assert list(upstream.desk._replies)[1:] == [
                Reply("e-1", "ok", good),
                Reply("e-2", "ok", good),
            ]
            assert holding(tmp_path, OTHER) == []

    asyncio.run(main())


def test_no_name_is_left_in_pages_that_became_free(tmp_path):
    """Neither of rows that were trimmed, nor of the index by shopper."""
    names = [f"pseudonym-{number:06d}-of-some-length" for number in range(600)]

    async def main():
        database, epoch = await begun(tmp_path / "a.db")
        async with database:
            events = [session(epoch, number, name) for number, name in enumerate(names)]
            await database.commit(batch(*events))
            await database.acknowledge(epoch, len(names))
            await database._write(trimming.trim(2 * NOW_NS, 0))
            for name in names:
                await database.erase_shopper(name)
            assert await database.empty_log()
            assert (await database._writer.execute_fetchall("PRAGMA freelist_count"))[0][0] > 0
            assert [name for name in names if holding(tmp_path, name)] == []

    asyncio.run(main())


@given(st.sampled_from([b'{"data":{}}', b'{"data":{"a":"x,"}}']), st.text(), st.text())
def test_a_payload_without_a_shopper_is_as_it_was_stored(payload, shopper, another):
    named = with_shopper(payload, shopper)
    assert without_shopper(named, shopper) == payload
    if another != shopper:
        assert without_shopper(named, another) == named


def test_what_was_read_to_be_sent_names_nobody_who_was_erased_meanwhile(tmp_path):
    async def main():
        database, epoch = await begun(tmp_path / "a.db")
        async with database:
            visits = [session(epoch, number, NAME, f"v{number}") for number in range(4)]
            done = await database.commit(batch(*visits))
            uplink = Uplink(UplinkSettings(window=4), lambda: 0.5)
            uplink.notify(done.rows[-1].position)
            uplink.connected(0)
            now_ns = 3 * 10**9
            uplink.tick(now_ns)
            while (fetch := uplink.fetch()) is not None:
                uplink.offer(fetch, await database.waiting(fetch))
            refused = uplink.take(now_ns)
            uplink.published(1, refused, now_ns)
            done = await database.commit(batch(session(epoch, 4, NAME, "v4")))
            uplink.notify(done.rows[-1].position)
            fetch = uplink.fetch()
            late = await database.waiting(fetch)

            assert await database.erase_shopper(NAME) == 5
            uplink.erase(NAME)
            uplink.offer(fetch, late)
            uplink.puback(1, failure=True, now_ns=now_ns)
            sent = []
            for second in range(4, 100):
                now_ns = second * 10**9
                uplink.tick(now_ns)
                while (fetch := uplink.fetch()) is not None:
                    uplink.offer(fetch, await database.waiting(fetch))
                while (row := uplink.take(now_ns)) is not None:
                    uplink.published(100 + len(sent), row, now_ns)
                    uplink.puback(100 + len(sent), failure=False, now_ns=now_ns)
                    sent.append(row)
            assert NAME.encode() in refused.payload
            assert {row.sequence for row in sent} == {0, 1, 2, 3, 4}
            assert not [row for row in sent if NAME.encode() in row.payload]

    asyncio.run(main())
