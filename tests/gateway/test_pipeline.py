# SPDX-License-Identifier: Apache-2.0
"""The loop between the intake and the database: what follows a commit, and how it ends."""

import asyncio
from contextlib import asynccontextmanager

from gateway.database import Limits, open_database
from gateway.domain.effects import OpenDoor
from gateway.domain.engine import Engine
from gateway.domain.inputs import DoorState, EntryScanned, GatewayStopping, LinkState, Tick
from gateway.intake import Intake
from gateway.pipeline import STATE_EVERY_NS, Pipeline, last_alive
from tests.small_store import stamp, started
from tests.virtual_time import LoopClock


@asynccontextmanager
async def begun(tmp_path, done):
    """Yield a database, an intake and a pipeline that has begun; what it does goes to ``done``."""
    clock = LoopClock()
    database = await open_database(
        tmp_path / "gateway.db", store="corner", gateway="gw-1", limits=Limits(history_days=1)
    )
    try:
        await database.begin_epoch(clock.stamp().utc_ns)
        intake = Intake(clock)

        async def carry_out(effect):
            done.append(effect)

        pipeline = Pipeline(
            engine=Engine(),
            intake=intake,
            database=database,
            journal=None,
            clock=clock,
            carry_out=carry_out,
            committed=lambda made: done.extend(row.name for row in made.rows),
            beat=lambda: done.append("beat"),
        )
        await pipeline.begin([started()])
        yield database, intake, pipeline
    finally:
        await database.close()


def run(tmp_path, *items):
    """Let a pipeline take inputs until it ends; return what it did, in order."""
    done = []

    async def main():
        async with begun(tmp_path, done) as (database, intake, pipeline):
            for item in items:
                assert intake.offer(item)
            async with asyncio.timeout(20):
                await pipeline.run()
            assert last_alive(await database.load_state()) is not None

    asyncio.run(main())
    return done


def test_state_without_an_event_waits_for_a_second_or_the_next_event(tmp_path):
    """A card is not written for each step of each shopper."""

    async def main():
        async with begun(tmp_path, []) as (database, _, pipeline):

            async def marked(*items):
                for item in items:
                    await pipeline.begin([item])
                rows = await database.load_state()
                return [row.value for row in rows if (row.kind, row.key) == ("marks", "door/front")]

            before = await marked()
            assert await marked(door(1, 0), Tick(at=stamp(STATE_EVERY_NS - 1))) == before
            after = await marked(Tick(at=stamp(STATE_EVERY_NS)))
            assert after != before
            assert await marked(door(STATE_EVERY_NS + 1, 1)) == after
            last = GatewayStopping(at=stamp(STATE_EVERY_NS + 2), reason="SIGTERM")
            assert await marked(last) != after

    asyncio.run(main())


def door(at_ns, seq):
    return DoorState(at=stamp(at_ns), device="door/front", boot="b", seq=seq, open=True)


def test_nothing_comes_after_the_end(tmp_path):
    end = GatewayStopping(at=stamp(1), reason="SIGTERM")
    done = run(tmp_path, end, LinkState(at=stamp(2), online=False))
    assert done == ["gateway.started", "beat", "gateway.stopped", "beat"]


def test_an_effect_is_carried_out_after_the_commit_of_its_cause(tmp_path):
    scan = EntryScanned(
        at=stamp(1),
        device="scanner/gate",
        boot="b",
        seq=0,
        verdict="valid",
        shopper="anna",
        token_hash="h",
        expires_utc_ns=stamp(10**12).utc_ns,
    )
    done = run(tmp_path, scan, GatewayStopping(at=stamp(2), reason="SIGTERM"))
    names = [one if isinstance(one, str) else type(one) for one in done]
    assert names.index("session.started") < names.index(OpenDoor)
