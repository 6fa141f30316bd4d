# SPDX-License-Identifier: Apache-2.0
"""Many gateways without their stores: ``shelfgate simulate --fleet N``.

Each has its own database and the daemon's own uplink; what an engine would tell of visits is drawn
by chance (``gateway.simulator.visits``). There are no devices, and commands are refused.
"""

import argparse
import asyncio
import logging
import random
import resource
import sys
import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final, NoReturn

import msgspec

from drivers.mqtt.config import MqttConfig
from drivers.ports import Clock
from gateway.clock import OsClock
from gateway.config import History
from gateway.database import Batch, Database, DatabaseError, open_database
from gateway.database_errors import explaining
from gateway.domain.effects import Reply
from gateway.domain.event_types import type_of
from gateway.domain.events import Clock as EventClock
from gateway.domain.events import Event, GatewayStartedData, event_id
from gateway.domain.output import rfc3339
from gateway.envelope import sequence_text
from gateway.outbox import Epoch
from gateway.room import Limits, limits_of
from gateway.simulator.until_stopped import say
from gateway.simulator.visits import STORE_VERSION, Moment, Told, Visits
from gateway.supervise import leaves
from gateway.uplink import UplinkSettings
from gateway.upstream import Upstream, UpstreamConfig
from gateway.version import VERSION

GATEWAY: Final = "gw-1"
READING_MAX: Final = 8
"""Databases that are opened, or read as a whole, at once."""
UPKEEP_S: Final = 10.0
"""How often each database is kept within its bounds."""
FILES_EACH: Final = 12
"""Most files that one gateway has open: three connections to its database, its lock, its link."""
FILES_BESIDE: Final = 100
LAST_S: Final = 20.0
"""How long what is left at the end may take to be acknowledged."""
DRAIN_S: Final = 5.0
TELL_S: Final = 10.0
SAID_MAX: Final = 20
"""Different troubles of links that are remembered as told."""


class FleetConfig(msgspec.Struct, frozen=True, kw_only=True):
    """A fleet."""

    gateways: int
    first: int = 1
    """Number of the first one, so that several processes can share a fleet."""
    broker: MqttConfig
    """Its client id is each gateway's own."""
    folder: Path
    """Where databases are; those that are there go on."""
    seed: int = 1
    visits_per_hour: float = 30.0
    bandwidth_kbit_s: int | None = None
    """Of each gateway's line, as in the settings; None: no limit."""
    limits: Limits = limits_of(History())
    """Of each database: those of settings that say nothing."""


class LightGateway:
    """One gateway from the commit on."""

    def __init__(self, config: FleetConfig, number: int, clock: Clock) -> None:
        self.store = f"store-{number:05d}"
        self.online = False
        self.committed = 0
        self._database: Database | None = None
        self._config = config
        self._clock = clock
        self._random = random.Random(f"{config.seed}/{number}")
        self._number = 0

    @property
    def waits(self) -> bool:
        """Whether an event waits for its acknowledgement."""
        return self._database is not None and not self._database.all_stored

    async def run(self, stop: asyncio.Event, reading: asyncio.Semaphore) -> None:
        """Run until ``stop`` is set, and until what is left is stored or has had its time."""
        async with reading:
            opened = await self._opened()
        async with opened as database:
            self._database = database
            epoch = await database.begin_epoch(self._clock.stamp().utc_ns)
            upstream = self._upstream(database)
            await self._commit(database, upstream, epoch.epoch, [_started(epoch, self._moment())])
            async with asyncio.TaskGroup() as group:
                beside = {
                    "uplink": upstream.run(),
                    "check": _check(database, reading),
                    "upkeep": self._upkeep(database, upstream),
                }
                tasks = [
                    group.create_task(one, name=f"{self.store}.{name}")
                    for name, one in beside.items()
                ]
                await self._shop(database, upstream, epoch.epoch, stop)
                with suppress(TimeoutError):
                    async with asyncio.timeout(LAST_S):
                        while not database.all_stored:  # noqa: ASYNC110 - it tells nobody.
                            await asyncio.sleep(0.1)
                await upstream.drain(DRAIN_S)
                for one in tasks:
                    one.cancel()

    async def _opened(self) -> Database:
        folder = self._config.folder / self.store
        with explaining(folder):
            folder.mkdir(parents=True, exist_ok=True)
        work = open_database(
            folder / "gateway.db",
            store=self.store,
            gateway=GATEWAY,
            limits=self._config.limits,
        )
        async with asyncio.TaskGroup() as group:
            opening = group.create_task(work, name=f"{self.store}.open")
            try:
                await asyncio.shield(opening)
            except asyncio.CancelledError:  # Else SQLite's thread outlives the loop, and complains.
                async with await opening:
                    raise
        return opening.result()

    async def _upkeep(self, database: Database, upstream: Upstream) -> NoReturn:
        while True:
            await asyncio.sleep(UPKEEP_S * self._random.uniform(0.5, 1.5))  # Not all at once.
            await database.keep_within(self._clock.stamp())
            upstream.set_degraded(database.shortage)

    def _upstream(self, database: Database) -> Upstream:
        broker = msgspec.structs.replace(self._config.broker, client_id=f"{self.store}-{GATEWAY}")
        upstream = Upstream(
            UpstreamConfig(
                mqtt=broker,
                store=self.store,
                gateway=GATEWAY,
                version=VERSION,
                uplink=UplinkSettings(bandwidth_kbit_s=self._config.bandwidth_kbit_s),
            ),
            database,
            clock=self._clock,
            on_link=self._linked,
            on_command=lambda command, _name, _data: refuse(command),
            random=self._random.random,
        )

        def refuse(command: str) -> bool:
            reply = Reply(command, "error", "A simulated fleet takes no commands")
            upstream.publish_reply(reply)
            return True

        return upstream

    def _linked(self, online: bool) -> None:
        self.online = online

    async def _shop(
        self, database: Database, upstream: Upstream, epoch: str, stop: asyncio.Event
    ) -> None:
        seed = f"{self._config.seed}/{self.store}"
        visits = Visits(seed, epoch, self._config.visits_per_hour)
        began_s = time.monotonic()
        while not stop.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(max(0.0, began_s + visits.next_s - time.monotonic())):
                    await stop.wait()
            told = visits.until(time.monotonic() - began_s, self._moment())
            if told:
                await self._commit(database, upstream, epoch, told)

    async def _commit(
        self, database: Database, upstream: Upstream, epoch: str, told: Sequence[Told]
    ) -> None:
        utc_ns = self._clock.stamp().utc_ns
        events = [self._event(epoch, one, utc_ns) for one in told]
        batch = Batch(events=events, online=self.online, utc_ns=utc_ns)
        done = await database.commit(batch)
        upstream.committed(done)
        self.committed += len(events)

    def _event(self, epoch: str, told: Told, utc_ns: int) -> Event:
        self._number += 1
        return Event(
            id=event_id(GATEWAY, epoch, self._number, 0),
            type=type_of(told.data.NAME),
            subject=told.subject,
            time=rfc3339(utc_ns),
            data=msgspec.Raw(msgspec.json.encode(told.data)),
            shopper=told.shopper,
        )

    def _moment(self) -> Moment:
        stamp = self._clock.stamp()
        clock = EventClock(stamp.boot, stamp.mono_ns, stamp.utc_trusted, stamp.utc_error_ms)
        return Moment(clock, stamp.utc_ns, self.online)


class Fleet:
    """All gateways of one process."""

    def __init__(self, config: FleetConfig) -> None:
        clock = OsClock()
        numbers = range(config.first, config.first + config.gateways)
        self.gateways = [LightGateway(config, number, clock) for number in numbers]

    async def run(self, stop: asyncio.Event) -> None:
        """Run until ``stop`` is set.

        Raises:
            DatabaseError: In a group: the disk refuses, or a database is another gateway's.
        """
        reading = asyncio.Semaphore(READING_MAX)
        async with asyncio.TaskGroup() as group:
            for one in self.gateways:
                group.create_task(one.run(stop, reading), name=one.store)

    def line(self) -> str:
        """Say how the fleet stands."""
        online = sum(one.online for one in self.gateways)
        waiting = sum(one.waits for one in self.gateways)
        committed = sum(one.committed for one in self.gateways)
        return (
            f"{online} of {len(self.gateways)} gateways online, {waiting} with events that wait, "
            f"{committed} events committed"
        )


def add_fleet_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what ``shelfgate simulate --fleet`` takes beside ``--broker`` and its like."""
    parser.add_argument(
        "--fleet",
        type=int,
        metavar="N",
        help="run the uplinks of so many gateways instead, with made-up visits and no devices",
    )
    parser.add_argument(
        "--directory",
        type=Path,
        metavar="DIR",
        help="with --fleet: where their databases are; those that are there go on",
    )
    parser.add_argument(
        "--first", type=int, default=1, help="with --fleet: number of the first (%(default)s)"
    )
    parser.add_argument(
        "--visits-per-hour",
        type=float,
        default=30.0,
        metavar="N",
        help="with --fleet: visits that begin in each store (%(default)s)",
    )
    parser.add_argument(
        "--bandwidth",
        type=int,
        metavar="KBIT_S",
        help="with --fleet: bandwidth_kbit_s of each uplink",
    )


def fleet_config(args: argparse.Namespace, broker: MqttConfig) -> FleetConfig:
    """Return the fleet that arguments name.

    Raises:
        ValueError: One of them is wrong.
    """
    if args.directory is None:
        raise ValueError("--directory: missing. Name one for the databases of --fleet")
    if args.fleet < 1 or args.first < 1:
        raise ValueError(f"--fleet {args.fleet}, --first {args.first}: give 1 or more")
    if not 0 < args.visits_per_hour < 1e6:
        raise ValueError(f"--visits-per-hour {args.visits_per_hour}: give a number above 0")
    if args.bandwidth is not None and not 8 <= args.bandwidth <= 10_000_000:  # As in settings.
        raise ValueError(f"--bandwidth {args.bandwidth}: give 8 to 10000000, or leave it out")
    args.directory.mkdir(parents=True, exist_ok=True)
    return FleetConfig(
        gateways=args.fleet,
        first=args.first,
        broker=msgspec.structs.replace(broker, protocol=5),
        folder=args.directory,
        seed=args.seed,
        visits_per_hour=args.visits_per_hour,
        bandwidth_kbit_s=args.bandwidth,
    )


class _Once(logging.Filter):
    """Lets pass what is said for the first time in a run: all gateways say the same of a broker."""

    def __init__(self) -> None:
        super().__init__()
        self._said: deque[str] = deque(maxlen=SAID_MAX)

    def filter(self, record: logging.LogRecord) -> bool:
        """Tell whether this is news."""
        text = record.getMessage()
        if text in self._said:
            return False
        self._said.append(text)
        return True


async def run_fleet(config: FleetConfig, stop: asyncio.Event, *, quiet: bool) -> int:
    """Run a fleet until ``stop`` is set, saying now and then how it stands.

    Returns:
        The exit status: 1 if a database cannot be used.

    Raises:
        ValueError: The system allows this process too few open files.
    """
    open_more_files(config.gateways)
    links, once = logging.getLogger("gateway.upstream"), _Once()
    fleet = Fleet(config)
    status = 0
    links.addFilter(once)
    try:
        async with asyncio.TaskGroup() as group:
            telling = group.create_task(_tell(fleet, quiet=quiet), name="fleet.tell")
            await fleet.run(stop)
            telling.cancel()
    except* DatabaseError as refused:
        # A full disk refuses many at once.
        sys.stderr.write(f"simulate: {next(leaves(refused))}\n")
        status = 1
    finally:
        links.removeFilter(once)
    if not quiet and not status:
        say(fleet.line())
    return status


def open_more_files(gateways: int) -> None:
    """Raise the limit of open files to what so many gateways take."""
    wanted = FILES_EACH * gateways + FILES_BESIDE
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if wanted <= soft:
        return
    if hard != resource.RLIM_INFINITY and wanted > hard:
        raise ValueError(
            f"--fleet {gateways}: needs {wanted} open files, and {hard} are allowed. "
            "Raise `ulimit -Hn`, or run several processes with --first"
        )
    with suppress(ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


async def _tell(fleet: Fleet, *, quiet: bool) -> NoReturn:
    while True:
        await asyncio.sleep(TELL_S)
        if not quiet:
            say(fleet.line())


async def _check(database: Database, reading: asyncio.Semaphore) -> None:
    async with reading:
        await database.check()


def _started(epoch: Epoch, moment: Moment) -> Told:
    before = epoch.previous_sequence
    data = GatewayStartedData(
        store_version=STORE_VERSION,
        clock=moment.clock,
        version=VERSION,
        previous_epoch=epoch.previous_epoch,
        previous_sequence=None if before is None else sequence_text(before),
    )
    return Told(f"gateway/{GATEWAY}", data)
