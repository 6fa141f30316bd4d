# SPDX-License-Identifier: Apache-2.0
"""The product broken on purpose, one way at a time: each has to be found by the simulation."""

import contextlib
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple
from unittest.mock import patch

import msgspec

import gateway.database
import gateway.domain.output
import gateway.pipeline
from gateway import giving_up, outbox, trimming, waiting
from gateway.database import Database
from gateway.domain.effects import OpenDoor
from gateway.domain.engine import Engine
from gateway.domain.inputs import StateRow
from gateway.live_first import LiveFirst
from gateway.outbox import Statement
from gateway.uplink import Uplink
from tests.faults.disk import Connection
from tests.faults.simulation import Day

Broken = contextlib.AbstractContextManager[object]
Mutation = Callable[[list[Day]], Broken]
"""Takes the list in which the day of the present seed is found; returns the break."""


def _acknowledge_at_the_broker(_days: list[Day]) -> Broken:
    """The broker's word counts as the integrator's."""
    init = Uplink.__init__

    def broken(self: Uplink, settings: Any, random: Any) -> None:
        init(self, msgspec.structs.replace(settings, acknowledge="broker"), random)

    return patch.object(Uplink, "__init__", broken)


def _commit_without_flush(_days: list[Day]) -> Broken:
    """What is committed stays in the kernel's memory."""
    execute = Connection.execute_fetchall

    async def broken(self: Connection, sql: str, parameters: Sequence[Any] = ()) -> Any:
        return await execute(
            self, sql.replace("synchronous = FULL", "synchronous = OFF"), parameters
        )

    return patch.object(Connection, "execute_fetchall", broken)


def _effect_before_commit(days: list[Day]) -> Broken:
    """The door opens as soon as the engine says so."""
    step = Engine.step

    def broken(self: Engine, number: int, item: Any) -> Any:
        stepped = step(self, number, item)
        for effect in stepped.effects:
            if isinstance(effect, OpenDoor):
                days[-1].open_door(effect)
        kept = [effect for effect in stepped.effects if not isinstance(effect, OpenDoor)]
        return stepped._replace(effects=kept)

    return patch.object(Engine, "step", broken)


def _ids_without_epoch(_days: list[Day]) -> Broken:
    """A restart names its events as the one before did."""
    name = gateway.domain.output.event_id
    return patch.object(
        gateway.domain.output, "event_id", lambda gw, _epoch, number, nth: name(gw, "", number, nth)
    )


def _forget(kind: str) -> Mutation:
    """Rows of one kind of the durable state are never written."""
    changed = Engine.changed_rows

    def broken(self: Engine) -> list[StateRow]:
        return [row for row in changed(self) if row.kind != kind]

    return lambda _days: patch.object(Engine, "changed_rows", broken)


def _no_rewind(_days: list[Day]) -> Broken:
    """After a reconnect the uplink goes on where it was, and not where it must."""

    def broken(self: LiveFirst, _end: int, _left: int | None) -> None:
        self._generation += 1
        self.stop()
        self._live_more = True

    return patch.object(LiveFirst, "_rewind", broken)


def _trim_what_waits(_days: list[Day]) -> Broken:
    """Making room in the history takes what nobody has acknowledged."""

    def broken(*_args: Any, **_options: Any) -> Any:
        yield Statement(
            "DELETE FROM events WHERE position < (SELECT max(position) - 5 FROM events)"
        )
        return trimming.Look(0)

    return patch.object(trimming, "trim", broken)


def _drop_silently(_days: list[Day]) -> Broken:
    """What is too much is deleted, and no event says so."""

    def broken(_source: Any, _epoch: str, _batch: Any, _last: int, need: Any) -> Any:
        yield Statement(
            "DELETE FROM events WHERE position IN (SELECT position FROM events"
            " WHERE acknowledged = 0 ORDER BY position DESC LIMIT -1 OFFSET ?)",
            (need.pending_max,),
        )
        return outbox.Committed([])

    return patch.object(giving_up, "_make_room", broken)


def _any_class_first(_days: list[Day]) -> Broken:
    """Receipts are given up first, and diagnostics last."""
    return patch.object(giving_up, "CLASSES", dict(reversed(giving_up.CLASSES.items())))


def _two_transactions(_days: list[Day]) -> Broken:
    """Events and the state that they speak of are committed one after the other."""
    commit = Database.commit

    async def broken(self: Database, batch: outbox.Batch) -> outbox.Committed:
        done = await commit(self, msgspec.structs.replace(batch, rows=()))
        await commit(self, msgspec.structs.replace(batch, events=()))
        return done

    return patch.object(Database, "commit", broken)


def _believe_everything(_days: list[Day]) -> Broken:
    """An acknowledgement of what was never sent counts."""
    return patch.object(Uplink, "_believe", lambda _self, _epoch, claim, _tails, _current: claim)


def _other_bytes(_days: list[Day]) -> Broken:
    """What is sent again says that it is sent now."""
    row = outbox.row_read

    def broken(found: Any) -> outbox.Row:
        made = row(found)
        return msgspec.structs.replace(
            made, payload=made.payload.replace(b'"delivery":"queued"', b'"delivery":"online"')
        )

    return patch.object(waiting, "row_read", broken)


def _forget_the_last(_days: list[Day]) -> Broken:
    """A restart does not tell where the epoch before it ended."""
    begin = outbox.begin_epoch

    def broken(epoch: str, utc_ns: int) -> Iterator[Any]:
        made = yield from begin(epoch, utc_ns)
        return msgspec.structs.replace(made, previous_epoch=None, previous_sequence=None)

    return patch.object(outbox, "begin_epoch", broken)


def _drive(raw: sqlite3.Connection, program: outbox.Program[outbox.Committed]) -> outbox.Committed:
    statement = next(program)
    while True:
        if statement.many:
            rows = raw.executemany(statement.sql, statement.parameters).fetchall()
        else:
            rows = raw.execute(statement.sql, statement.parameters).fetchall()
        try:
            statement = program.send(rows)
        except StopIteration as stop:
            committed: outbox.Committed = stop.value
            return committed


def _publish_before_commit(days: list[Day]) -> Broken:
    """What is about to be committed is on its way already."""
    commit = Database.commit

    async def broken(self: Database, batch: outbox.Batch) -> outbox.Committed:
        assert self.epoch is not None
        day = days[-1]
        raw = day.disk.writer
        raw.execute("BEGIN")
        early = _drive(raw, outbox.commit(self.source, self.epoch.epoch, batch))
        raw.execute("ROLLBACK")
        for row in early.rows if day.broker.link is not None else ():
            day.broker.take(day.broker.link, 0, f"{day.root}/events/{row.name}", row.payload, False)
        return await commit(self, batch)

    return patch.object(Database, "commit", broken)


def _no_strands(_days: list[Day]) -> Broken:
    """What happens now passes what waits, of one cart too."""
    return patch.object(outbox, "strands_of", lambda _name, _data: "")


class Mutant(NamedTuple):
    """One way to break the product, and how it shows."""

    mutation: Mutation
    says: str
    """Regular expression: what the promise that it breaks says."""
    often: str | None = None
    """A mishap that is frequent in its days."""


ALL: dict[str, Mutant] = {
    "acknowledge at the broker": Mutant(
        _acknowledge_at_the_broker, "nobody has it|never delivered"
    ),
    "publish before commit": Mutant(
        _publish_before_commit, "sent and never committed", "power cut"
    ),
    "commit without flush": Mutant(_commit_without_flush, "was committed and is gone", "power cut"),
    "effect before commit": Mutant(_effect_before_commit, "before it was committed"),
    "ids without epoch": Mutant(_ids_without_epoch, "UNIQUE constraint failed: events.id"),
    "forget tokens": Mutant(_forget("token"), "sessions for"),
    "forget sessions": Mutant(_forget("session"), "vanished"),
    "forget holdings": Mutant(_forget("holding"), "changed by"),
    "no rewind": Mutant(_no_rewind, "the backlog did not empty"),
    "trim what waits": Mutant(_trim_what_waits, "was committed and is gone"),
    "drop silently": Mutant(_drop_silently, "is gone", "black hole"),
    "any class first": Mutant(_any_class_first, "was given up while", "black hole"),
    "two transactions": Mutant(
        _two_transactions, "two receipts of one revision|vanished|is not", "daemon killed"
    ),
    "believe everything": Mutant(
        _believe_everything, "did not empty|never delivered|nobody has it", "nonsense acknowledged"
    ),
    "other bytes": Mutant(_other_bytes, "with other bytes"),
    "no strands": Mutant(_no_strands, "of one cart"),
    "forget the last epoch": Mutant(_forget_the_last, "names None before it"),
}
