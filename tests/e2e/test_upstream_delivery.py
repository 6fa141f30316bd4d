# SPDX-License-Identifier: Apache-2.0
"""Everything committed arrives once, through brokers that die and processes that are killed."""

import asyncio
import json
import os
import signal
import sqlite3
import sys
import time
from contextlib import closing

from drivers.mqtt.client import connect
from gateway.database import Batch
from gateway.simulator.integrator import summary
from tests.brokers import (
    Embedded,
    broker_of,
    every_broker,
    free_port,
    mosquitto,
    needs_mosquitto,
    run,
)
from tests.e2e.upstream_parts import ROOT, gateway, integrator, mqtt
from tests.made import closed, picked, session


def stored(folder):
    """Return ``(epoch, sequence)`` as the integrator has them, also before it began."""
    with closing(sqlite3.connect(folder / "integrator.db")) as connection:
        if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'events'").fetchone():
            return []
        return connection.execute("SELECT epoch, sequence FROM events").fetchall()


def committed(folder):
    with closing(sqlite3.connect(folder / "gateway.db")) as connection:
        return connection.execute("SELECT epoch, sequence FROM events").fetchall()


@every_broker
def test_a_broker_that_is_killed_and_returns_loses_and_repeats_nothing(tmp_path, kind, protocol):
    async def main():
        async with (
            broker_of(kind, tmp_path) as broker,
            integrator(tmp_path, mqtt(broker.port, "integrator", protocol=protocol)),
            gateway(tmp_path, mqtt(broker.port, "gw", protocol=protocol)) as one,
        ):
            await one.linked(True)
            for _ in range(30):
                await one.commit(5)
            await broker.kill()
            await one.linked(False)
            for _ in range(10):
                await one.commit(5)
            await broker.start()
            await one.linked(True)
            await one.commit(5)
            await one.delivered()
            assert await one.upstream.drain(5)
        found = summary(tmp_path / "integrator.db")
        assert (found.lost, found.conflicting, found.malformed) == (0, 0, 0)
        assert sorted(stored(tmp_path)) == sorted(committed(tmp_path))
        assert len(stored(tmp_path)) == 1 + 41 * 5

    run(main())


def test_an_integrator_that_was_away_gets_what_it_missed(tmp_path):
    async def main():
        async with (
            broker_of(Embedded, tmp_path) as broker,
            gateway(tmp_path, mqtt(broker.port, "gw")) as one,
        ):
            await one.linked(True)
            await one.commit(100)
            async with integrator(tmp_path, mqtt(broker.port, "integrator")):
                await one.delivered()
        assert sorted(stored(tmp_path)) == sorted(committed(tmp_path))

    run(main())


@every_broker
def test_with_broker_the_puback_is_enough(tmp_path, kind, protocol):
    async def main():
        async with (
            broker_of(kind, tmp_path) as broker,
            gateway(
                tmp_path, mqtt(broker.port, "gw", protocol=protocol), acknowledge="broker"
            ) as one,
        ):
            await one.commit(300)
            await one.delivered()
            assert one.upstream.uplink.counters.published == 301
            while one.upstream.uplink.landed():  # noqa: ASYNC110 - tells nobody.
                await asyncio.sleep(0.01)

    run(main())


def test_a_stop_sends_what_is_committed_and_says_offline(tmp_path):
    async def main():
        states = asyncio.Queue()

        def on_message(message):
            states.put_nowait(json.loads(message.payload)["state"])

        async with broker_of(Embedded, tmp_path) as broker:
            watch = [(f"{ROOT}/status", 1)]
            async with (
                connect(mqtt(broker.port, "watcher"), subscriptions=watch, on_message=on_message),
                integrator(tmp_path, mqtt(broker.port, "integrator")),
            ):
                async with gateway(tmp_path, mqtt(broker.port, "gw")) as one:
                    assert await states.get() == "online"
                    await one.delivered()  # The integrator listens.
                    await one.commit(50)
                    assert await one.upstream.drain(10)
                while (state := await states.get()) == "online":
                    pass  # Said again once the start was delivered.
                assert state == "offline"
                while sorted(stored(tmp_path)) != sorted(committed(tmp_path)):  # noqa: ASYNC110
                    await asyncio.sleep(0.02)  # A database tells nobody.
                # Where its DISCONNECT comes too late the will says it again.
                assert {states.get_nowait() for _ in range(states.qsize())} <= {"offline"}
        assert sorted(stored(tmp_path)) == sorted(committed(tmp_path))

    run(main())


def test_a_gateway_that_dies_is_shown_offline_by_its_will(tmp_path):
    async def main():
        states = asyncio.Queue()

        def on_message(message):
            states.put_nowait(json.loads(message.payload))

        async with broker_of(Embedded, tmp_path) as broker:
            watch = [(f"{ROOT}/status", 1)]
            async with connect(
                mqtt(broker.port, "watcher"), subscriptions=watch, on_message=on_message
            ):
                async with gateway(tmp_path, mqtt(broker.port, "gw")) as one:
                    birth = await states.get()
                    assert birth["epoch"] == one.database.epoch.epoch
                    assert birth["degraded"] == []
                    assert birth["backlog"] == 1
                    one.upstream.set_degraded(["camera/c1"])
                    assert (await states.get())["degraded"] == ["camera/c1"]
                will = await states.get()
                assert will["state"] == "offline"
                assert will["epoch"] == birth["epoch"]
                assert "backlog" not in will

    run(main())


def test_a_link_that_breaks_while_nothing_happens_is_noticed(tmp_path):
    async def main():
        async with (
            broker_of(Embedded, tmp_path) as broker,
            gateway(tmp_path, mqtt(broker.port, "gw"), acknowledge="broker") as one,
        ):
            await one.linked(True)
            await one.delivered()
            await broker.kill()
            await one.linked(False)
            await broker.start()
            await one.linked(True)

    run(main(), limit_s=20)


def test_a_broker_that_hangs_means_offline_until_it_answers(tmp_path):
    async def main():
        async with (
            broker_of(Embedded, tmp_path) as broker,
            gateway(
                tmp_path, mqtt(broker.port, "gw"), acknowledge="broker", puback_overdue_s=0.2
            ) as one,
        ):
            await one.linked(True)
            await one.delivered()
            broker.process.send_signal(signal.SIGSTOP)
            try:
                await one.commit(1)
                await one.linked(False)
                await one.commit(1)
            finally:
                broker.process.send_signal(signal.SIGCONT)
            await one.linked(True)
            await one.delivered()
            assert one.upstream.counters.connections == 1

    run(main())


def test_an_integrator_process_that_is_killed_has_what_it_acknowledged(tmp_path):
    async def started(port):
        database = str(tmp_path / "integrator.db")
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "gateway.simulator.integrator"),
            *("--broker", f"127.0.0.1:{port}", "--database", database),
        )

    async def main():
        async with (
            broker_of(Embedded, tmp_path) as broker,
            gateway(tmp_path, mqtt(broker.port, "gw")) as one,
        ):
            await one.linked(True)
            process = await started(broker.port)
            for _ in range(20):
                await one.commit(20)
            while (await one.database.backlog())[0] > 300:  # noqa: ASYNC110 - tells nobody.
                await asyncio.sleep(0.01)
            process.kill()
            await process.wait()
            [count, _] = await one.database.backlog()
            with closing(sqlite3.connect(tmp_path / "integrator.db")) as connection:
                [(have,)] = connection.execute("SELECT count(*) FROM events")
            assert have >= 401 - count
            process = await started(broker.port)
            await one.commit(1)
            await one.delivered()
            process.terminate()
            assert await process.wait() == 0
        assert sorted(stored(tmp_path)) == sorted(committed(tmp_path))

    run(main())


def test_a_drain_without_a_link_returns_at_once(tmp_path):
    async def main():
        async with gateway(tmp_path, mqtt(free_port(), "gw")) as one:
            assert not await one.upstream.drain(60)

    run(main(), limit_s=20)


WRITER = """
import asyncio, sys
from pathlib import Path
from tests.e2e.upstream_parts import gateway, mqtt

async def main():
    async with gateway(Path(sys.argv[1]), mqtt(int(sys.argv[2]), "gw")) as one:
        await one.linked(True)
        while True:
            await one.commit(3)
            print("committed", flush=True)
            await asyncio.sleep(0.002)

asyncio.run(main())
"""


def test_a_gateway_that_is_killed_again_and_again_delivers_what_it_committed(tmp_path):
    async def killed_after(port, commits):
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", WRITER, str(tmp_path), str(port)),
            stdout=asyncio.subprocess.PIPE,
        )
        for _ in range(commits):
            await process.stdout.readline()
        os.kill(process.pid, signal.SIGKILL)
        await process.wait()

    async def main():
        async with (
            broker_of(Embedded, tmp_path) as broker,
            integrator(tmp_path, mqtt(broker.port, "integrator")),
        ):
            for commits in (1, 40, 7):
                await killed_after(broker.port, commits)
            async with gateway(tmp_path, mqtt(broker.port, "gw")) as one:
                await one.delivered()
        found = summary(tmp_path / "integrator.db")
        assert (found.lost, found.conflicting, found.malformed) == (0, 0, 0)
        assert sorted(stored(tmp_path)) == sorted(committed(tmp_path))
        assert len({epoch for epoch, _ in stored(tmp_path)}) == 4

    run(main())


@needs_mosquitto
def test_a_new_cart_does_not_wait_for_the_backlog(tmp_path):
    """It arrives, and is stored, while the backlog goes out; once there is no gap all is
    acknowledged."""

    async def main():
        port = free_port()
        slow = {"bandwidth_kbit_s": 4_000}  # Or a fast machine is through before anybody looks.
        async with gateway(tmp_path, mqtt(port, "gw", protocol=5), **slow) as one:
            for _ in range(20):
                await one.commit(100)
            async with mosquitto(tmp_path, port=port), integrator(tmp_path, mqtt(port, "in")):
                await one.linked(True)
                while not stored(tmp_path):  # noqa: ASYNC110 - the integrator may subscribe later.
                    await asyncio.sleep(0.01)
                epoch = one.database.epoch.epoch
                visit = session(epoch, 10**6, "anna", "visit"), closed(epoch, 10**6 + 1, "visit")
                batch = Batch(events=visit, online=True, utc_ns=time.time_ns())
                done = await one.database.commit(batch)
                one.upstream.committed(done)
                last = done.rows[-1].number
                while last not in stored(tmp_path):  # noqa: ASYNC110 - a database tells nobody.
                    await asyncio.sleep(0.01)
                behind = len(committed(tmp_path)) - len(stored(tmp_path))
                await one.delivered()
        assert behind > 500, "much of the backlog came after it"
        assert sorted(stored(tmp_path)) == sorted(committed(tmp_path))
        found = summary(tmp_path / "integrator.db")
        assert (found.lost, found.repeated) == (0, 0)

    run(main())


def test_a_backlog_of_which_much_went_ahead_goes_on_by_itself(tmp_path):
    """Nobody tells an uplink to read on that read only what it has sent already."""

    async def main():
        port = free_port()
        async with gateway(tmp_path, mqtt(port, "gw"), window=4, bandwidth_kbit_s=512) as one:
            epoch = one.database.epoch.epoch
            visit = (
                session(epoch, 10**6, "anna", "a"),
                *(picked(epoch, 10**6 + n, "a") for n in range(1, 100)),
            )
            batch = Batch(events=visit, online=False, utc_ns=time.time_ns())
            one.upstream.committed(await one.database.commit(batch))
            await one.commit(5)
            async with mosquitto(tmp_path, port=port), integrator(tmp_path, mqtt(port, "in")):
                await one.linked(True)
                batch = Batch(
                    events=[closed(epoch, 10**7, "a")], online=True, utc_ns=time.time_ns()
                )
                one.upstream.committed(await one.database.commit(batch))
                await one.delivered()

    run(main())
