# SPDX-License-Identifier: Apache-2.0
"""An integrator that lost what it had acknowledged: it proves what is missing and gets it back.

Real brokers, real databases; the gateway's history is what it is restored from.
"""

import asyncio
import shutil
import sqlite3
from contextlib import asynccontextmanager, closing

import msgspec
import pytest

from drivers.mqtt.embedded import embedded_broker
from gateway.domain.commands import BackfillCommand
from gateway.domain.effects import Backfill
from gateway.simulator import asking
from gateway.simulator.delivery import compare
from gateway.simulator.integrator import run_integrator
from gateway.simulator.ledger import Ledger
from gateway.simulator.proof import prove
from tests.brokers import free_port, run
from tests.e2e.upstream_parts import gateway, mqtt, running

EVENTS = 30
EPOCHS = 3


@pytest.fixture(autouse=True)
def _asks_again_soon(monkeypatch):
    """Books that open faster than a gateway connects ask one that is not there."""
    monkeypatch.setattr(asking, "REPEAT_S", 2.0)


@asynccontextmanager
async def books(folder, port, **options):
    """Run the integrator; wait for it at the end."""
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        group.create_task(
            run_integrator(mqtt(port, "integrator"), folder / "integrator.db", stop, **options)
        )
        try:
            yield
        finally:
            stop.set()


@asynccontextmanager
async def answering(folder, port):
    """Run a gateway that carries out backfills as the daemon does, without an engine."""
    asked = []

    async def carry_out(one):
        while True:
            await one.until(lambda: one.commands)
            command, name, data = one.commands.pop(0)
            assert name == "backfill"
            asked.append(command)
            wish = msgspec.json.decode(data, type=BackfillCommand)
            last = None if wish.last is None else int(wish.last)
            await one.upstream.backfill(Backfill(command, wish.epoch, int(wish.first), last))

    async with (
        gateway(folder, mqtt(port, "gw"), backfill_per_s=2_000) as one,
        running(carry_out(one)),
    ):
        yield one, asked


async def epochs(folder, port, count=EPOCHS):
    """Let a gateway start so often, and deliver what it commits."""
    for _ in range(count):
        async with gateway(folder, mqtt(port, "gw")) as one:
            await one.commit(EVENTS)
            await one.delivered()


async def proof_that(folder, condition):
    """Wait until the integrator's proof is as wanted."""
    while True:
        if (folder / "integrator.db").exists():
            with closing(Ledger(folder / "integrator.db")):
                found = prove(folder / "integrator.db")
            if found and condition(found[0]):
                return found[0]
        await asyncio.sleep(0.05)


def missing(proof):
    """Return what an integrator would ask for."""
    return [(gap.where, gap.first, gap.last) for gap in proof.wanted]


def assert_equal(folder):
    """Hold the books against the gateway's database, event by event."""
    told = compare(folder / "gateway.db", folder / "integrator.db")
    assert told.good, told.faults


def forget(folder):
    for file in folder.glob("integrator.db*"):
        file.unlink()


def test_deleted_books_are_whole_again_after_a_backfill(tmp_path):
    async def main():
        port = free_port()
        async with embedded_broker(port):
            async with books(tmp_path, port):
                await epochs(tmp_path, port)
            assert prove(tmp_path / "integrator.db")[0].complete
            forget(tmp_path)
            async with answering(tmp_path, port) as (one, _):
                async with books(tmp_path, port):
                    # What is missing is named: the end of the last epoch that it knows of.
                    await one.commit(1)
                    # Until it has come, what it knows of the current epoch lacks as well.
                    await proof_that(
                        tmp_path, lambda proof: missing(proof) == [("whole", 0, EVENTS)]
                    )
                async with books(tmp_path, port, ask=True, look_s=0.05):
                    await proof_that(
                        tmp_path, lambda proof: proof.complete and proof.epochs == EPOCHS + 1
                    )
                    await one.delivered()
        assert_equal(tmp_path)

    run(main())


def test_books_restored_from_a_backup_are_whole_again(tmp_path):
    """Its acknowledgement goes back; the gateway has marked those events as stored long ago."""

    async def main():
        port = free_port()
        async with embedded_broker(port):
            async with books(tmp_path, port):
                await epochs(tmp_path, port, 1)
            shutil.copy(tmp_path / "integrator.db", tmp_path / "backup.db")
            async with answering(tmp_path, port) as (one, _):
                async with books(tmp_path, port):
                    await one.commit(EVENTS)
                    await one.delivered()
                forget(tmp_path)
                shutil.copy(tmp_path / "backup.db", tmp_path / "integrator.db")
                async with books(tmp_path, port, ask=True, look_s=0.05):
                    await one.commit(1)
                    await proof_that(tmp_path, lambda proof: proof.complete and proof.epochs == 2)
                    await one.delivered()
        assert_equal(tmp_path)

    run(main())


@pytest.mark.parametrize("backup", [False, True])
def test_books_lost_while_the_store_is_quiet_are_whole_again(tmp_path, backup):
    """No event tells what is missing: the gateway's status does."""

    async def main():
        port = free_port()
        async with embedded_broker(port):
            async with books(tmp_path, port):
                await epochs(tmp_path, port, 1)
            shutil.copy(tmp_path / "integrator.db", tmp_path / "backup.db")
            async with answering(tmp_path, port) as (one, _):
                async with books(tmp_path, port):
                    await one.commit(EVENTS)
                    await one.delivered()
                forget(tmp_path)
                if backup:
                    shutil.copy(tmp_path / "backup.db", tmp_path / "integrator.db")
                one.upstream.set_degraded(["door/front"])  # A refresh, as each minute.
                async with books(tmp_path, port):
                    found = await proof_that(tmp_path, lambda proof: proof.wanted)
                    assert found.verdict == "missing"
                    await proof_that(tmp_path, lambda proof: proof.wanted[-1].last == EVENTS)
                async with books(tmp_path, port, ask=True, look_s=0.05):
                    await proof_that(tmp_path, lambda proof: proof.complete and proof.epochs == 2)
        assert_equal(tmp_path)

    run(main())


def test_what_the_gateway_no_longer_has_is_told_and_asked_for_once(tmp_path):
    async def main():
        port = free_port()
        async with embedded_broker(port):
            async with books(tmp_path, port):
                await epochs(tmp_path, port, 1)
            forget(tmp_path)
            with closing(sqlite3.connect(tmp_path / "gateway.db")) as connection, connection:
                connection.execute("DELETE FROM events WHERE sequence BETWEEN 5 AND 9")
            async with (
                answering(tmp_path, port) as (one, asked),
                books(tmp_path, port, ask=True, look_s=0.05),
            ):
                proof = await proof_that(
                    tmp_path, lambda proof: proof.gaps and not proof.wanted and proof.epochs == 2
                )
                assert [(gap.first, gap.last, gap.gone) for gap in proof.gaps] == [(5, 9, True)]
                await one.commit(1)
                await one.delivered()  # It acknowledges over what nobody has.
                assert len(asked) == len(set(asked)) == 1

    run(main())


def test_what_was_gone_is_asked_for_again_when_another_database_answers(tmp_path):
    """A copy that lacked some had answered; then the right one comes back."""

    async def main():
        port = free_port()
        async with embedded_broker(port):
            async with books(tmp_path, port):
                await epochs(tmp_path, port, 1)
            forget(tmp_path)
            shutil.copy(tmp_path / "gateway.db", tmp_path / "whole.db")
            change(tmp_path, "DELETE FROM events WHERE sequence BETWEEN 5 AND 9")
            async with books(tmp_path, port, ask=True, look_s=0.05):
                async with answering(tmp_path, port) as (one, _):
                    await proof_that(
                        tmp_path,
                        lambda proof: proof.gaps and not proof.wanted and proof.epochs == 2,
                    )
                    await one.delivered()
                change(
                    tmp_path,
                    "INSERT INTO events SELECT * FROM whole.events WHERE sequence BETWEEN 5 AND 9",
                )
                async with answering(tmp_path, port):
                    await proof_that(tmp_path, lambda proof: proof.complete and proof.epochs == 3)

    run(main())


def change(folder, statement):
    """Change the gateway's database while it is closed."""
    with closing(sqlite3.connect(folder / "gateway.db", isolation_level=None)) as connection:
        connection.execute("ATTACH ? AS whole", (str(folder / "whole.db"),))
        connection.execute(statement)
