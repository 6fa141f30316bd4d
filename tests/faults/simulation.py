# SPDX-License-Identifier: Apache-2.0
"""A day in the life of a gateway, from one seed, in virtual time.

The daemon is the real one: composition, pipeline, engine, outbox, uplink, and its SQL on real
files. Only its edges are simulated: clocks, devices, disk, network, broker; the integrator is the
reference integrator's ledger. Faults come at random, and what must hold is checked after each life
of the daemon and at the end (see ``promises``).

    python -m tests.faults.simulation 17         runs seed 17 and says what happened
"""

import argparse
import asyncio
import contextlib
import logging
import random
import shutil
import sys
import tempfile
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, tzinfo
from pathlib import Path
from typing import Any
from unittest.mock import patch

import gateway.app
import gateway.damage
import gateway.database
import gateway.recovery
import gateway.upstream
from gateway.config import Settings
from gateway.config_settings import Broker as BrokerTable
from gateway.config_settings import Uplink as UplinkTable
from gateway.database import DatabaseError, Limits
from gateway.database_errors import is_damage
from gateway.domain.effects import OpenDoor
from gateway.domain.inputs import AnyInput, Stamp
from gateway.domain.store import Store
from gateway.intake import Intake
from gateway.side_files import doubted
from tests.faults import mishaps
from tests.faults.disk import Disk, KilledError
from tests.faults.network import Broker, Integrator
from tests.faults.promises import Promises
from tests.faults.world import STEP_S, World
from tests.gateway.domain.scene import corner_store
from tests.virtual_time import VirtualTimeLoop

GATEWAY = "gw"
BEGAN_UTC_NS = 1_795_000_000_000_000_000
QUIET_S = 6.0
"""How long plates and cameras go on after the last shopper left."""
DRAIN_S = 150.0
"""Within this long after the last fault everything committed is at the integrator."""
RESTART_S = 2.0
"""systemd waits so long before it starts a daemon that ended."""


class Clock:
    """The gateway's clocks; a reboot begins the monotonic one anew."""

    def __init__(self, rng: random.Random) -> None:
        self.boot = "kernel-0"
        self.boots = 0
        self.utc_shift_ns = 0
        self.trusted = rng.random() < 0.8
        self._since_s = -rng.uniform(10.0, 10_000.0)

    def stamp(self) -> Stamp:
        """Return now, on all clocks."""
        now_s = asyncio.get_running_loop().time()
        mono_ns = round((now_s - self._since_s) * 1e9)
        utc_ns = BEGAN_UTC_NS + round(now_s * 1e9) + self.utc_shift_ns
        error_ms = 5 if self.trusted else None
        return Stamp(mono_ns, utc_ns, self.trusted, error_ms, self.boot)

    def reboot(self) -> None:
        """Begin another boot of the kernel."""
        self.boots += 1
        self.boot = f"kernel-{self.boots}"
        self._since_s = asyncio.get_running_loop().time() - 8.0


@dataclass
class Outcome:
    """How a day went."""

    seed: int
    inputs: int
    events: int
    lives: int
    mishaps: list[str]
    broken: list[str]
    digest: str
    virtual_s: float = 0.0
    counts: dict[str, int] = field(default_factory=dict)


class Day:
    """Everything there is, and the faults of one seed."""

    def __init__(self, seed: int, folder: Path) -> None:
        self.rng = rng = random.Random(f"day-{seed}")
        self.store: Store = corner_store()
        self.root = f"shelfgate/v1/{self.store.name}/{GATEWAY}"
        self.clock = Clock(rng)
        self.world = World(self.store, rng, visits=rng.randrange(2, 7))
        self.broker = Broker(rng, self.root)
        self.integrator = Integrator(
            self.broker, self.root, f"urn:shelfgate:{self.store.name}:{GATEWAY}"
        )
        self.broker.integrator = self.integrator
        self.disk = Disk(folder, rng, self._committed)
        self.promises = Promises(self)
        self.broker.on_sent = self.promises.sent
        self.intake: Intake | None = None
        self.daemon: Any = None
        self.stop: asyncio.Future[str] | None = None
        self.lives = 0
        self.inputs = 0
        self.told: list[str] = []
        self.down_s = 0.0
        self.over = False
        self.started_since_hurt = True
        self.rotten = False
        """Whether sectors of a large database were altered, and no daemon has ended for it yet."""
        self.broker_counts = rng.random() < 0.08
        """Whether the broker's word is enough; then it keeps what it has."""
        line = random.Random(f"line-{seed}")  # Apart, so that all else of a seed stays.
        self.limits = Limits(
            bytes_max=line.choice((None, None, None, 80_000)),
            pending_max=rng.choice((1_000_000, 1_000_000, 12, 25)),
            history_rows=rng.choice((1_000_000, 1_000_000, 20)),
        )
        self.settings = Settings(
            gateway=GATEWAY,
            database=str(self.disk.path),
            broker=BrokerTable(host="127.0.0.1"),
            uplink=UplinkTable(
                host="127.0.0.1",
                window=rng.choice((1, 4, 64)),
                acknowledge="broker" if self.broker_counts else "application",
                bandwidth_kbit_s=line.choice((None, None, None, 64, 16)),
            ),
        )
        self.large = line.choice((False, True))
        """Whether the database is taken for one that is checked while the daemon runs."""
        self.waiting: list[Callable[[Stamp], AnyInput]] = []
        """What devices send again until somebody takes it."""
        self._unsure: deque[tuple[float, Callable[[Stamp], AnyInput]]] = deque(maxlen=8)

    @property
    def mended(self) -> bool:
        """Whether a daemon has looked through all of what was hurt last."""
        return self.started_since_hurt and not (self.large and doubted(self.disk.path))

    def tell(self, what: str) -> None:
        """Note what happened, for whoever looks into a seed."""
        self.told.append(f"{asyncio.get_running_loop().time():8.2f} {what}")

    # What the daemon meets at its edges.

    def open_door(self, effect: OpenDoor) -> None:
        """Carry the daemon's effect out."""
        self.promises.door(effect)
        self.world.door_opened(effect.session)

    def put(self, make: Callable[[Stamp], AnyInput], sure: bool) -> None:
        """A device's message reaches the gateway, or nobody."""
        if self.intake is None or self.disk.dead:
            if sure:
                self.waiting.append(make)
            return
        self.intake.offer(make(self.clock.stamp()))
        if sure:
            self._unsure.append((asyncio.get_running_loop().time(), make))

    def came_up(self, intake: Intake) -> None:
        """The daemon listens in-store; what devices kept for it comes now."""
        self.intake, self.started_since_hurt = intake, True
        # The in-store broker sends again what the daemon had not acknowledged when it died.
        now_s = asyncio.get_running_loop().time()
        again = [make for at_s, make in self._unsure if now_s - at_s < RESTART_S + 2.0]
        self._unsure.clear()
        waiting, self.waiting = self.waiting, []
        for make in [*again, *waiting]:
            self.put(make, True)

    def _committed(self, connection: Any) -> None:
        self.promises.committed(connection)

    # Lives.

    async def live(self) -> None:
        """Let the daemon live, die and live again until the day is over."""
        while not self.over:
            self.lives += 1
            life = asyncio.create_task(
                gateway.app.run_daemon(self.settings, self.store, Path("store.toml")),
                name="daemon",
            )
            death = asyncio.create_task(self.disk.died.wait())
            await asyncio.wait({life, death}, return_when=asyncio.FIRST_COMPLETED)
            if self.broker.link is not None:
                self.broker.link.cut()
            died = self.disk.dead
            self.promises.died()
            self.disk.dead = True
            if not life.done():
                life.cancel()
            problem: BaseException | None = None
            try:
                await life
            except asyncio.CancelledError:
                pass
            except BaseException as error:  # noqa: BLE001 - judged below.
                problem = error
            death.cancel()
            self.intake = None
            self._judge_end(problem, died=died)
            self.disk.was_full = self.disk.full
            self.disk.revive()
            if not self.over:
                self.promises.reopened()
            self.rotten = self.rotten or (self.large and self.disk.damage)
            if self.disk.suffer():
                self.promises.hurt, self.started_since_hurt = True, False
            await asyncio.sleep(RESTART_S + self.down_s)
            self.down_s = 0.0

    def _judge_end(self, problem: BaseException | None, *, died: bool) -> None:
        """A daemon ends when it is killed, when it is asked to, and when the disk fails."""
        for error in _leaves(problem):
            expected = isinstance(error, KilledError) and died
            if not (expected or self._is_trouble(error)):
                raise error
            if not died:
                self.tell(f"the daemon ended: {error}".replace(f"{self.disk.folder}/", ""))

    def _is_trouble(self, error: BaseException) -> bool:
        """Tell whether the disk did to the daemon what it was to do, and nothing else happened.

        A disk that refuses says so. Damage that a start did not look for ends the daemon once:
        the start after that mends it.
        """
        if not isinstance(error, DatabaseError):
            return False
        if self.disk.was_full and str(error.__cause__) in mishaps.DISK_REFUSALS:
            return True
        damaged = error.__cause__ is not None and is_damage(error.__cause__)
        excused = damaged and self.rotten and self.promises.hurt
        self.rotten = self.rotten and not excused
        return excused


def _leaves(error: BaseException | None) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for one in error.exceptions:
            yield from _leaves(one)
    elif error is not None:
        yield error


class _Instore:
    """In place of the in-store driver: devices are the day's world."""

    def __init__(self, day: Day) -> None:
        self._day = day

    async def run(self, intake: Intake, came_up: Callable[[], None]) -> None:
        came_up()
        self._day.came_up(intake)
        await asyncio.Event().wait()

    def open_door(self, effect: OpenDoor) -> None:
        if not self._day.disk.dead:
            self._day.open_door(effect)

    def store_changed(self, store: Store) -> None:
        pass


class _Calendar(datetime):
    """What names a database that is set aside."""

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> "_Calendar":
        return cls.fromtimestamp(BEGAN_UTC_NS / 1e9, tz)


@contextlib.contextmanager
def _edges(day: Day) -> Iterator[None]:
    """Put the simulated edges in the place of the real ones."""
    intake_of = gateway.app.Intake

    def listen(daemon: Any, stop: asyncio.Future[str]) -> None:
        day.daemon, day.stop = daemon, stop

    def seen(clock: Any) -> Intake:
        intake = intake_of(clock)
        take = intake.take

        def counted(max_items: int) -> list[AnyInput]:
            items = take(max_items)
            day.inputs += len(items)
            return items

        intake.take = counted  # type: ignore[method-assign]
        return intake

    with contextlib.ExitStack() as stack:
        for target, name, value in (
            (gateway.app, "OsClock", lambda: day.clock),
            (gateway.app, "InstoreDriver", lambda *_a, **_k: _Instore(day)),
            (gateway.app, "SystemRandom", lambda: random.Random(day.rng.getrandbits(64))),
            (gateway.app, "limits_of", lambda _table: day.limits),
            (gateway.app, "Intake", seen),
            (gateway.damage, "AT_ONCE_BYTES_MAX", 0 if day.large else 2**63),
            (gateway.damage, "NEWEST", 5),
            (gateway.app.Daemon, "_listen_to_signals", listen),
            (gateway.database.aiosqlite, "connect", day.disk.connect),
            (
                gateway.database.secrets,
                "token_hex",
                lambda n: f"{day.rng.getrandbits(8 * n):0{2 * n}x}",
            ),
            (gateway.upstream, "connect", day.broker.connect),
            (gateway.recovery, "datetime", _Calendar),
        ):
            stack.enter_context(patch.object(target, name, value))
        yield


async def _live_through(day: Day) -> None:
    loop = asyncio.get_running_loop()
    lives = asyncio.create_task(day.live(), name="lives")
    faults = asyncio.create_task(mishaps.run(day), name="faults")
    asking = asyncio.create_task(day.integrator.ask(), name="asking")

    async def world(until: Callable[[], bool]) -> None:
        due_s = loop.time()
        while not until():
            for task in (lives, faults):
                if task.done():
                    task.result()
            day.world.step(round(loop.time() * 1e9), day.put)
            due_s += STEP_S
            await asyncio.sleep(max(0.0, due_s - loop.time()))

    try:
        await world(lambda: day.world.over and faults.done())
        quiet_s = loop.time() + QUIET_S
        await world(lambda: loop.time() > quiet_s and day.intake is not None)
        settled_s = loop.time() + QUIET_S
        await world(lambda: loop.time() > settled_s)
        patience_s = loop.time() + DRAIN_S
        while not day.promises.drained():
            if lives.done():
                lives.result()
            if loop.time() > patience_s:
                day.promises.break_("the backlog did not empty")
                break
            await asyncio.sleep(0.5)
        day.promises.at_the_end()
    finally:
        day.over = True
        asking.cancel()
        day.disk.die()
        await lives


def simulate(seed: int, *, change: Callable[[Day], None] | None = None) -> Outcome:
    """Run one seed.

    Args:
        seed: Decides everything.
        change: Called with the day before it begins, for tests that want a certain one.
    """
    random.seed(seed)
    logging.disable(logging.CRITICAL)
    base = Path("/dev/shm")
    folder = Path(tempfile.mkdtemp(prefix="shelfgate-day-", dir=base if base.is_dir() else None))
    try:
        with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
            day = runner.run(_made(seed, folder, change))
            virtual_s = runner.get_loop().time()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        logging.disable(logging.NOTSET)
    return Outcome(
        seed=seed,
        inputs=day.inputs,
        events=len(day.promises.known),
        lives=day.lives,
        mishaps=day.told,
        broken=day.promises.broken,
        digest=day.promises.digest(),
        virtual_s=virtual_s,
        counts=day.promises.counts(),
    )


def failure(seed: int, error: BaseException) -> Outcome:
    """Return the outcome of a day that ended with an exception."""
    whats = [f"{type(one).__name__}: {one}" for one in _leaves(error)]
    return Outcome(seed, 0, 0, 0, [], whats, "")


async def _made(seed: int, folder: Path, change: Callable[[Day], None] | None) -> Day:
    day = Day(seed, folder)
    if change is not None:
        change(day)
    with _edges(day):
        try:
            await _live_through(day)
        except Exception as error:
            day.promises.break_(f"{type(error).__name__}: {error}")
            raise
    return day


def describe(outcome: Outcome) -> str:
    """Return what happened in a day, for people."""
    head = (
        f"seed {outcome.seed}: {outcome.inputs} inputs, {outcome.events} events,"
        f" {outcome.lives} lives, {outcome.virtual_s:.0f} s, {outcome.digest}, {outcome.counts}"
    )
    lines = [head, *(f"  {line}" for line in outcome.mishaps)]
    lines += [f"  BROKEN {what}" for what in outcome.broken]
    return "\n".join(lines)


def main() -> int:
    """Run the seeds named on the command line and say what happened."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.faults.simulation", description="Run simulated days, one a seed."
    )
    parser.add_argument("seed", type=int, nargs="+")
    outcomes = [simulate(seed) for seed in parser.parse_args().seed]
    sys.stdout.writelines(f"{describe(outcome)}\n" for outcome in outcomes)
    return 1 if any(outcome.broken for outcome in outcomes) else 0


if __name__ == "__main__":
    sys.exit(main())
