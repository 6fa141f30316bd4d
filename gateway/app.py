# SPDX-License-Identifier: Apache-2.0
"""The composition root: the one module that knows the others, and wires them into a daemon."""

import asyncio
import logging
import signal
import sys
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack, closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from random import SystemRandom
from typing import Any, Final, Literal, NoReturn

import msgspec

from drivers.door.board import Boards
from drivers.door.driver import DoorDriver, late, not_opened
from drivers.entry.renewal import Renewal, Source
from drivers.entry.tokens import EntryConfig, Verified, Verifier
from drivers.errors import DeviceGoneError
from drivers.instore.driver import InstoreDriver
from drivers.labels.judging import Judge
from drivers.modbus.line import Lines
from drivers.mqtt.config import MqttConfig, Tls
from drivers.mqtt.embedded import start_broker, stop_broker
from drivers.mqtt.topics import Instore
from drivers.network_port import open_port
from drivers.ports import Driver
from drivers.registry import build
from drivers.scale.driver import ScaleDriver
from drivers.scale.keys import KeyPress
from gateway.backoff import Backoff
from gateway.clock import OsClock
from gateway.config import ConfigError, Settings, load_store
from gateway.config_settings import Broker, read_secret
from gateway.config_settings import Uplink as UplinkTable
from gateway.database import Database, open_database
from gateway.device_meter import State, state_of
from gateway.device_server import DeviceServer, socket_of
from gateway.domain.effects import (
    AnyEffect,
    Backfill,
    EraseShopper,
    Look,
    OpenDoor,
    PressKey,
    Reply,
)
from gateway.domain.engine import Engine
from gateway.domain.inputs import (
    AnyInput,
    EngineSettings,
    GatewayGap,
    GatewayStarted,
    GatewayStopping,
    Stamp,
    StoreChanged,
)
from gateway.domain.store import Store
from gateway.erasing import Erasures
from gateway.health import Notifier
from gateway.intake import Intake
from gateway.journal import JournalWriter
from gateway.outbox import Committed
from gateway.pipeline import ALIVE, Pipeline, last_alive
from gateway.recovery import longest_start_s
from gateway.room import limits_of
from gateway.supervise import status_reporter, supervise
from gateway.tail import readable
from gateway.uplink import UplinkSettings
from gateway.upstream import Upstream, UpstreamConfig
from gateway.upstream_inputs import UpstreamInputs
from gateway.version import VERSION

log = logging.getLogger(__name__)

DRAIN_S: Final = 2.5
"""How long the uplink may send what is committed when the daemon stops."""
UPKEEP_S: Final = 1.0
ENTRY_KEYS: Final = "entry/keys"
"""Part that does not work while no entry token can be valid: no keys, or too old ones."""
BROKER_BACKOFF: Final = Backoff(first_s=0.2, cap_s=5.0)


def mqtt_config(
    table: Broker | UplinkTable, client_id: str, *, embedded: bool = False, clean: bool = False
) -> MqttConfig:
    """Return how to reach a broker of the settings, secrets read from their files.

    Raises:
        ConfigError: A secret cannot be read.
    """
    host, port = table.address
    tls = table.tls
    return MqttConfig(
        host=host,
        port=port,
        client_id=table.client_id or client_id,
        protocol=4 if embedded else table.protocol,
        username=table.username,
        password=read_secret(table.password_file) if table.password_file else None,
        tls=Tls(ca=tls.ca, certificate=tls.cert, key=tls.key) if tls else None,
        clean=clean,
        session_expiry_s=table.session_expiry_s if isinstance(table, UplinkTable) else 0,
    )


async def run_daemon(
    settings: Settings, store: Store, store_path: Path, *, show_events: bool = False
) -> None:
    """Run until SIGTERM or SIGINT; SIGHUP reads the store file again.

    Raises:
        DatabaseError: The database cannot be used.
        ConfigError: A secret cannot be read.
    """
    async with AsyncExitStack() as stack:
        with closing(Notifier()) as notifier:
            notifier.starting(longest_start_s(Path(settings.database)))
        database = await open_database(
            settings.database,
            store=store.name,
            gateway=settings.gateway,
            limits=limits_of(settings.history),
        )
        stack.push_async_callback(database.close)
        daemon = Daemon(settings, store, store_path, database, show_events=show_events)
        stack.callback(daemon.close)
        await daemon.run()


class Daemon:
    """One gateway's drivers, engine, database and uplink."""

    def __init__(
        self,
        settings: Settings,
        store: Store,
        store_path: Path,
        database: Database,
        *,
        show_events: bool,
    ) -> None:
        self._settings = settings
        self._store = store
        self._store_path = store_path
        self._database = database
        self._show_events = show_events
        self._clock = OsClock()
        self._random = SystemRandom()
        self._notifier = Notifier()
        self._engine = Engine()
        self._intake = Intake(self._clock)
        self._broker_up = asyncio.Event()
        self._from_upstream = UpstreamInputs(self._intake, self._clock)
        self._upstream = self._make_upstream()
        self._erasures = Erasures(database, self._upstream)
        self._renewal = _renewal(settings)
        self._verifier = _verifier(settings, store, self._renewal)
        self._judge = Judge(store, _nobody if self._verifier is None else self._verifier.verify)
        name = f"shelfgate-instore-{store.name}-{settings.gateway}"
        instore = Instore(
            mqtt_config(settings.broker, name, embedded=settings.broker.starts_own, clean=True)
        )
        self._instore = InstoreDriver(
            instore.config,
            store,
            clock=self._clock,
            judge=self._judge,
            topics=instore.topics,
        )
        self._devices = self._make_devices(instore)
        self._journal = None
        if settings.journal is not None:
            self._journal = JournalWriter(
                Path(settings.journal.directory),
                bytes_max=settings.journal.megabytes * 1_000_000,
                hours_max=settings.journal.hours,
            )
        self._pipeline = Pipeline(
            engine=self._engine,
            intake=self._intake,
            database=database,
            journal=self._journal,
            clock=self._clock,
            carry_out=self._carry_out,
            committed=self._committed,
            beat=self._notifier.watchdog,
        )

    def close(self) -> None:
        """Close what the daemon opened itself."""
        if self._journal is not None:
            self._journal.close()
        self._notifier.close()

    async def run(self) -> None:
        """Run until asked to stop; everything committed is offered to the uplink first."""
        stop: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._listen_to_signals(stop)
        await self._pipeline.begin(await self._first_inputs())
        log.info(
            "shelfgate %s: store %s, gateway %s", VERSION, self._store.name, self._settings.gateway
        )
        async with asyncio.TaskGroup() as group:
            sources = [group.create_task(work, name=name) for name, work in self._sources() if work]
            pipeline = group.create_task(self._pipeline.run(), name="pipeline")
            services: list[asyncio.Task[None]] = [
                group.create_task(self._upkeep(), name="upkeep"),
                group.create_task(self._device_server().run(), name="device-server"),
                group.create_task(self._database.check(), name="check"),
            ]
            if self._upstream is not None:
                services.append(group.create_task(self._upstream.run(), name="uplink"))
            self._notifier.ready()
            reason = await stop
            log.info("Stopping: %s", reason)
            self._notifier.stopping()
            for task in sources:
                task.cancel()
            await asyncio.wait(sources)
            self._intake.flush()
            await self._intake.put(GatewayStopping(at=self._clock.stamp(), reason=reason))
            await asyncio.wait([pipeline])
            if self._upstream is not None and not await self._upstream.drain(DRAIN_S):
                log.info("The uplink did not take everything. The next start sends the rest")
            await self._database.note_wear(self._clock.stamp())
            for service in services:
                service.cancel()

    # What comes first.

    async def _first_inputs(self) -> list[AnyInput]:
        now = self._clock.stamp()
        rows = await self._database.load_state()
        epoch = await self._database.begin_epoch(now.utc_ns)
        items: list[AnyInput] = [
            GatewayStarted(
                at=now,
                gateway=self._settings.gateway,
                version=VERSION,
                epoch=epoch.epoch,
                previous_epoch=epoch.previous_epoch,
                previous_sequence=epoch.previous_sequence,
                settings=EngineSettings(**msgspec.structs.asdict(self._settings.engine)),
                store=self._store,
                state=[row for row in rows if row.kind != ALIVE],
                recovery=self._database.recovery,
            )
        ]
        if (since := last_alive(rows)) is not None:
            items.append(
                GatewayGap(
                    at=now,
                    since_utc_ns=since.utc_ns,
                    since_boot=since.boot,
                    since_mono_ns=since.mono_ns,
                )
            )
        return items

    def _make_devices(self, instore: Instore) -> list[tuple[str, Driver]]:
        """Return the driver of each device in the settings, with the device's name."""
        lines, boards = Lines(open_port), Boards(open_port)
        return [
            (
                config.device,
                build(
                    config,
                    clock=self._clock,
                    open_stream=open_port,
                    judge=self._judge,
                    lines=lines,
                    boards=boards,
                    instore=instore,
                ),
            )
            for config in self._settings.device
        ]

    def _make_upstream(self) -> Upstream | None:
        table = self._settings.uplink
        if table is None:
            return None
        name = f"shelfgate-{self._store.name}-{self._settings.gateway}"
        return Upstream(
            UpstreamConfig(
                mqtt=mqtt_config(table, name),
                store=self._store.name,
                gateway=self._settings.gateway,
                version=VERSION,
                uplink=UplinkSettings(
                    acknowledge=table.acknowledge,
                    window=table.window,
                    retry_cap_s=table.retry_max_s,
                    backfill_per_s=table.backfill_per_s,
                    bandwidth_kbit_s=table.bandwidth_kbit_s,
                ),
            ),
            self._database,
            clock=self._clock,
            on_link=self._from_upstream.link,
            on_command=self._from_upstream.command,
            others=self._counts,
        )

    def _counts(self) -> dict[str, int]:
        """Return what is told upstream beside the uplink's own counts."""
        counts = {f"inputs.{reason}": count for reason, count in self._intake.totals.items()}
        counts |= self._database.wear.counts()
        return {**counts, "systemd_undelivered": self._notifier.undelivered}

    # Sources of inputs.

    def _sources(self) -> list[tuple[str, Coroutine[Any, Any, NoReturn]]]:
        """Return what feeds the intake: drivers under supervision, and the tick."""
        found = [("tick", self._intake.run())]
        if self._renewal is not None:
            found.append(("entry-keys", self._renewal.run()))
        if self._settings.broker.starts_own:
            found.append(("broker", self._supervised("In-store broker", self._run_broker)))
        found.append(("instore", self._supervised("In-store link", self._run_instore)))
        for device, driver in self._devices:
            report = status_reporter(device, self._intake, self._clock)
            run = partial(self._run_driver, driver)
            work = supervise(device, run, random=self._random, on_change=report)
            found.append((device, work))
        return found

    def _supervised(
        self, name: str, run: Callable[[Callable[[], None]], Coroutine[Any, Any, NoReturn]]
    ) -> Coroutine[Any, Any, NoReturn]:
        return supervise(name, run, random=self._random, backoff=BROKER_BACKOFF)

    async def _run_driver(self, driver: Driver, came_up: Callable[[], None]) -> None:
        await driver.run(self._intake, came_up)

    async def _run_instore(self, came_up: Callable[[], None]) -> NoReturn:
        if self._settings.broker.starts_own:
            await self._broker_up.wait()
        await self._instore.run(self._intake, came_up)

    async def _run_broker(self, came_up: Callable[[], None]) -> NoReturn:
        host, port = self._settings.broker.address
        process = await start_broker(port, host)
        came_up()
        self._broker_up.set()
        try:
            code = await process.wait()
        finally:
            self._broker_up.clear()
            await stop_broker(process)
        raise DeviceGoneError(
            f"mqtt {host}:{port}", f"the embedded broker ended with {code}", "It is started again"
        )

    # What comes out.

    async def _carry_out(self, effect: AnyEffect) -> None:
        match effect:
            case OpenDoor():
                if late(effect, self._clock):
                    self._intake.offer(not_opened(effect, self._clock, "late"))
                elif not self._open_door(effect):
                    self._intake.offer(not_opened(effect, self._clock, "unreachable"))
            case Look():
                self._instore.look(effect)
            case Reply() if self._upstream is not None:
                self._upstream.publish_reply(effect)
            case PressKey() if self._upstream is not None:
                self._press(effect, self._upstream)
            case Backfill() if self._upstream is not None:
                await self._upstream.backfill(effect)
            case EraseShopper():
                await self._erasures.erase(effect)

    def _open_door(self, effect: OpenDoor) -> bool:
        """Open a door by its driver, or by the in-store contract where it has none."""
        for device, driver in self._devices:
            if isinstance(driver, DoorDriver) and device == f"door/{effect.door}":
                return driver.open(effect)
        return self._instore.open_door(effect)

    def _press(self, effect: PressKey, upstream: Upstream) -> None:
        """Have a scale's key pressed; the answer comes when it is known what became of it."""

        def answer(problem: str | None) -> None:
            status: Literal["ok", "error"] = "ok" if problem is None else "error"
            upstream.publish_reply(Reply(effect.command, status, problem or ""))

        driver = dict(self._devices).get(effect.device)
        if isinstance(driver, ScaleDriver):
            driver.press(KeyPress(effect.key, answer))
        else:
            answer(f"{effect.device} is no scale on a line. Press the key at the scale")

    def _committed(self, done: Committed) -> None:
        if self._upstream is not None:
            self._upstream.committed(done)
        if self._show_events:
            names = {product.gtin: product.name for product in self._store.products.values()}
            for row in done.rows:
                line = readable(row.payload, names, colour=sys.stdout.isatty())
                sys.stdout.write(line + "\n")
            sys.stdout.flush()

    # Upkeep.

    async def _upkeep(self) -> NoReturn:
        """Tell the engine, systemd and the integrator how things stand."""
        while True:
            await asyncio.sleep(UPKEEP_S)
            self._from_upstream.retry()
            known = self._devices_known()
            lost = sorted(name for name, state in known.items() if state == "lost")
            await self._erasures.settle()
            await self._database.keep_within(self._clock.stamp())
            if self._upstream is not None:
                shut = self._verifier is not None and not self._verifier.opens(self._clock.stamp())
                keys = [ENTRY_KEYS] if shut else []
                self._upstream.set_degraded([*lost, *keys, *self._database.shortage])
            state = self._engine.state
            self._notifier.status(
                f"{len(state.sessions)} shoppers, "
                f"uplink {'online' if self._engine.link_online else 'offline'}, "
                f"{len(lost)} devices lost"
            )

    def _device_server(self) -> DeviceServer:
        path = socket_of(self._settings.database)
        return DeviceServer(path, self._intake, self._clock, self._devices_known)

    def _devices_known(self) -> dict[str, State]:
        return {name: state_of(one) for name, one in self._engine.state.devices.items()}

    def _listen_to_signals(self, stop: "asyncio.Future[str]") -> None:
        loop = asyncio.get_running_loop()

        def ask(name: str) -> None:
            if not stop.done():
                stop.set_result(name)

        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, ask, number.name)
        loop.add_signal_handler(signal.SIGHUP, self._read_store_again)

    def _read_store_again(self) -> None:
        try:
            store = load_store(self._store_path)
        except ConfigError as error:
            log.error("The store file is not taken over: %s", error)  # noqa: TRY400  No bug.
            return
        if store.name != self._store.name:
            log.error("%s: names another store. Restart to change it", self._store_path)
            return
        if store.version == self._store.version:
            log.info("The store file was read again: nothing has changed")
            return
        if not self._intake.offer(StoreChanged(at=self._clock.stamp(), store=store)):
            log.error("The store file is not taken over: the daemon is busy. Send SIGHUP again")
            return
        self._store = store
        self._instore.store_changed(store)
        self._judge.store_changed(store)
        log.info("The store file was read again: version %s", store.version)


def _renewal(settings: Settings) -> Renewal | None:
    """Return what fetches the keys of entry tokens; None where nobody is to be asked for them."""
    entry = settings.entry
    if entry is None or entry.url is None:
        return None
    file = Path(entry.jwks)
    return Renewal(Source(url=entry.url, file=file, ca=entry.ca, every_s=entry.renew_s))


def _verifier(settings: Settings, store: Store, renewal: Renewal | None) -> Verifier | None:
    """Return what judges entry tokens; None where no keys are configured."""
    entry = settings.entry
    if entry is None:
        return None
    config = EntryConfig(
        jwks=Path(entry.jwks),
        issuer=entry.issuer,
        store=store.name,
        skew_s=entry.skew_s,
        max_age_days=entry.max_age_days,
    )
    if renewal is None:
        return Verifier(config)
    config = replace(config, renew="Check the network and entry.url, or renew the file by hand")
    return Verifier(config, renewal.ask)


def _nobody(_text: str, _stamp: Stamp) -> Verified:
    """Judge tokens where no keys are configured: none is valid."""
    return Verified(verdict="bad-signature")
