# SPDX-License-Identifier: Apache-2.0
"""Intake, step, commit, and only then what follows from it: effects, the uplink, the watchdog."""

import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import msgspec

from drivers.ports import Clock
from gateway.database import Batch, Database
from gateway.domain.effects import AnyEffect
from gateway.domain.engine import Engine
from gateway.domain.events import Event
from gateway.domain.inputs import AnyInput, GatewayStarted, GatewayStopping, Stamp, StateRow
from gateway.intake import Intake
from gateway.journal import JournalWriter
from gateway.outbox import Committed

log = logging.getLogger(__name__)

BATCH_MAX: Final = 256
STATE_EVERY_NS: Final = 1_000_000_000
"""State that changes without an event or effect shares a commit: where each shopper stands alone
would be written to the card several times a second."""
ALIVE: Final = "alive"
"""Kind of the durable row that says when this gateway last committed."""


class Pipeline:
    """The one loop that steps the engine and commits what comes of it."""

    def __init__(
        self,
        *,
        engine: Engine,
        intake: Intake,
        database: Database,
        journal: JournalWriter | None,
        clock: Clock,
        carry_out: Callable[[AnyEffect], Awaitable[None]],
        committed: Callable[[Committed], None],
        beat: Callable[[], None],
    ) -> None:
        """Prepare; ``run`` does the work.

        Args:
            engine: Fresh; the first input it is given begins the epoch.
            intake: Where inputs come from.
            database: With the epoch begun.
            journal: Where inputs are recorded, if asked for.
            clock: Labels commits.
            carry_out: Carries out an effect; called after the commit that holds its cause.
            committed: Called with the rows committed and what was given up for them.
            beat: Called each time round: what the watchdog sees.
        """
        self._engine = engine
        self._intake = intake
        self._database = database
        self._journal = journal
        self._clock = clock
        self._carry_out = carry_out
        self._committed = committed
        self._beat = beat
        self._number = 0
        self._state_due_ns = 0

    async def begin(self, items: Sequence[AnyInput]) -> None:
        """Step and commit the inputs that begin an epoch, before any other."""
        await self._turn(items)

    async def run(self) -> None:
        """Step and commit until ``GatewayStopping`` is committed.

        Raises:
            DatabaseError: The disk refused; nothing of the batch was committed.
        """
        while True:
            items = await self._intake.drain(BATCH_MAX)
            last = next(
                (place for place, one in enumerate(items) if isinstance(one, GatewayStopping)), None
            )
            # The uplink lives on a little and may still report: nothing comes after the end.
            await self._turn(items if last is None else items[: last + 1])
            if last is not None:
                return

    async def _turn(self, items: Sequence[AnyInput]) -> None:
        events: list[Event] = []
        effects: list[AnyEffect] = []
        for item in items:
            self._number += 1
            self._record(item)
            stepped = self._engine.step(self._number, item)
            events += stepped.events
            effects += stepped.effects
        now_ns = items[-1].at.mono_ns
        due = bool(events or effects) or now_ns >= self._state_due_ns
        rows = self._engine.changed_rows() if due else []
        if events or rows:
            self._state_due_ns = now_ns + STATE_EVERY_NS
            now = self._clock.stamp()
            done = await self._database.commit(
                Batch(
                    events=events,
                    rows=[*rows, alive_row(now)],
                    online=self._engine.link_online,
                    utc_ns=now.utc_ns,
                )
            )
            if done.rows:
                self._committed(done)
        for effect in effects:
            await self._carry_out(effect)
        self._beat()

    def _record(self, item: AnyInput) -> None:
        if self._journal is None:
            return
        if self._journal.needs_snapshot:
            fresh = isinstance(item, GatewayStarted)
            self._journal.begin(self._number, None if fresh else self._engine.snapshot())
        self._journal.append(self._number, item)


def alive_row(now: Stamp) -> StateRow:
    """Return the row that says when the gateway was last alive; it rides on other commits."""
    return StateRow(kind=ALIVE, key=ALIVE, value=msgspec.Raw(msgspec.json.encode(now)))


def last_alive(rows: Sequence[StateRow]) -> Stamp | None:
    """Return when the gateway that wrote these rows last committed; None: nobody knows."""
    for row in rows:
        if row.kind == ALIVE:
            try:
                return msgspec.json.decode(row.value, type=Stamp)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                log.warning("The database's row about its last commit cannot be read: left out")
    return None
