# SPDX-License-Identifier: Apache-2.0
"""The vision worker's process: one worker a camera, each with its own connection and will."""

import asyncio
import contextlib
import logging
import resource
import signal
from collections.abc import Callable, Sequence
from functools import partial
from random import SystemRandom
from typing import NoReturn, Protocol

import msgspec

from drivers.errors import DriverError
from drivers.mqtt.client import Connection, Will, connect
from drivers.mqtt.config import MqttConfig
from gateway.app import BROKER_BACKOFF, mqtt_config
from gateway.backoff import Backoff
from gateway.config import Settings
from gateway.config_toml import Problem, Problems, Where
from gateway.config_vision import Vision, Watched
from gateway.domain.store import Store
from gateway.supervise import leaves, supervise
from vision.codes import CodeScanner, CodesConfig
from vision.detectors import FrameError, ModelError, RuntimeMissingError
from vision.framing import FramingError
from vision.geometry import CalibrationError
from vision.worker import Worker, WorkerConfig, check, shelf_fronts

log = logging.getLogger(__name__)

SHORT_S = 10.0
"""A connection that lasts less than this, so many times running..."""
SHORT_STAYS = 3
"""... is told of."""
MODEL_BACKOFF = Backoff(first_s=1.0, cap_s=60.0)
"""Before a model that failed on a frame is loaded anew."""
STEADY_S = 120.0
"""A failure after so long is news."""


class Device(Protocol):
    """What a connection is for: a camera, or the scanner that it is as well."""

    @property
    def will(self) -> tuple[str, bytes]:
        """Return topic and payload of the will."""
        ...

    @property
    def look_topic(self) -> str | None:
        """Return where it is asked for a second look."""
        ...

    def look(self, payload: bytes) -> None:
        """Take such a request."""
        ...

    async def announce(self) -> None:
        """Publish its status."""
        ...


class Link:
    """A worker's way to the in-store broker; frames that find it down are lost."""

    def __init__(self, config: MqttConfig) -> None:
        self.name = config.client_id
        self._config = config
        self._connection: Connection | None = None
        self._short_stays = 0

    async def publish(
        self, topic: str, payload: bytes, qos: int = 0, *, retain: bool = False
    ) -> None:
        """Send a message.

        Raises:
            OSError: There is no connection.
        """
        if self._connection is None:
            raise OSError(f"{self._config.name}: not connected")
        try:
            self._connection.publish(topic, payload, qos=1 if qos else 0, retain=retain)
        except DriverError as error:
            raise OSError(str(error)) from error

    async def run(self, device: Device, came_up: Callable[[], None]) -> NoReturn:
        """Connect once and stay.

        Raises:
            DeviceGoneError: The broker is not there, or went.
        """
        topic, payload = device.will
        async with connect(
            self._config,
            will=Will(topic=topic, payload=payload),
            subscriptions=[] if device.look_topic is None else [(device.look_topic, 1)],
            on_message=lambda message: device.look(message.payload),
        ) as connection:
            self._connection = connection
            came_up()
            loop = asyncio.get_running_loop()
            began_s = loop.time()
            try:
                await device.announce()
                await connection.closed()
            finally:
                self._connection = None
                self._stayed(loop.time() - began_s)

    def _stayed(self, stay_s: float) -> None:
        """Say once what may be the matter where one connection after the other is soon over.

        A broker ends the older of two connections with one id; by MQTT 3.1.1 it does not say why.
        """
        if stay_s >= SHORT_S:
            self._short_stays = 0
            return
        self._short_stays += 1
        if self._short_stays == SHORT_STAYS:
            log.warning(
                "%s: lost %d times running within %g s of connecting. Another client may use this "
                "id: run one worker a camera",
                self.name,
                SHORT_STAYS,
                SHORT_S,
            )


async def run_vision(settings: Settings, store: Store) -> None:
    """Run a worker for each camera of the settings until SIGTERM or SIGINT.

    Raises:
        ModelError: A model file cannot be used, or a model hangs.
        CalibrationError: Floor points do not determine a camera's view.
        FramingError: A crop or mask does not fit its camera's picture.
    """
    # A core dump would put frames on the disk.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with asyncio.TaskGroup() as group:
        for table in settings.vision:
            work = _keep(table.camera, partial(_made, settings, store, table), stop)
            group.create_task(work, name=f"vision {table.camera}")


Made = tuple[list[tuple[Link, Device]], Worker]


async def _keep(camera: str, make: Callable[[], Made], stop: asyncio.Event) -> None:
    """Run a camera's worker, and a new one each time that its model has failed on a frame.

    A new one has another boot: its tracks are not those of the one before.
    """
    loop = asyncio.get_running_loop()
    random = SystemRandom()
    failures = 0
    while not stop.is_set():
        began_s = loop.time()
        problem = await _run(*make(), stop)
        if problem is None:
            return
        failures = 1 if loop.time() - began_s >= STEADY_S else failures + 1
        wait_s = MODEL_BACKOFF.delay_s(failures, random.random)
        if failures == 1:
            log.warning(
                "camera %s is offline: %s. It is tried again until it works", camera, problem
            )
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(wait_s):
                await stop.wait()


def _made(settings: Settings, store: Store, table: Watched) -> Made:
    """Return a camera's worker, and each of its devices with the link for it."""
    config = worker_config(table, store)
    camera, codes = _link(settings, store, "vision", config.camera), None
    devices: list[tuple[Link, Device]] = []
    if config.codes is not None:
        scanner = _link(settings, store, "codes", config.codes.scanner)
        codes = CodeScanner(
            config.codes,
            store=config.store,
            size_px=config.size_px,
            crop=config.crop,
            publish=scanner.publish,
        )
        devices.append((scanner, codes))
    worker = Worker(config, camera.publish, codes=codes)
    devices.append((camera, worker))
    return devices, worker


def _link(settings: Settings, store: Store, kind: str, name: str) -> Link:
    """Return a link whose client id no other camera, store or daemon has at the broker."""
    prefix = settings.broker.client_id or f"shelfgate-{store.name}"
    own = settings.broker.starts_own
    config = mqtt_config(settings.broker, "", embedded=own, clean=True)
    return Link(msgspec.structs.replace(config, client_id=f"{prefix}-{kind}-{name}"))


async def _run(
    devices: list[tuple[Link, Device]], worker: Worker, stop: asyncio.Event
) -> str | None:
    """Run a worker and its links; return what its model failed with on a frame, None if stopped."""
    problem: str | None = None
    async with asyncio.TaskGroup() as group:
        keeping = [
            group.create_task(
                supervise(
                    f"{link.name}: in-store link",
                    partial(link.run, device),
                    random=SystemRandom(),
                    backoff=BROKER_BACKOFF,
                ),
                name=link.name,
            )
            for link, device in devices
        ]
        try:
            await worker.run(stop)
        except* FrameError as failed:
            # Its words alone: the error itself would keep the model in memory.
            problem = str(next(leaves(failed)))
        if problem is not None:
            await worker.leave(problem)
        for task in keeping:
            task.cancel()
    return problem


def check_vision(cameras: Sequence[tuple[Where, Vision]], store: Store) -> list[Problem]:
    """Return which cameras of the settings could not start, and why.

    Args:
        cameras: Good by themselves and together with the store, each with its place.
        store: Its shelves and cameras are good.
    """
    problems = Problems()
    for where, table in cameras:
        try:
            check(worker_config(table, store))
        except (ModuleNotFoundError, RuntimeMissingError):
            continue  # The machine that runs the worker has it.
        except (ModelError, CalibrationError, FramingError) as error:
            problem, _, remedy = str(error).rpartition(". ")
            problems.add(where, problem, remedy)
    return problems.found


def worker_config(table: Watched, store: Store) -> WorkerConfig:
    """Return what the worker of one camera needs, from both files; the table has a model."""
    assert table.model is not None, "looked at before"
    camera = next(camera for camera in store.cameras if camera.name == table.camera)
    return WorkerConfig(
        store=store.name,
        camera=camera.name,
        url=table.url,
        model=table.model,
        hands=table.hands,
        reidentification=table.reidentification,
        detector=table.detector,
        threads=table.threads,
        input_px=table.input_px,
        fps_max=table.fps_max,
        resolution=table.resolution,
        fps=table.fps,
        crop=table.crop,
        mask=table.mask,
        delay_ms=table.delay_ms,
        blind_after_s=table.blind_after_s,
        size_px=camera.size_px,
        floor_points=tuple((*point.px, *point.mm) for point in camera.floor_points),
        position_mm=camera.position_mm,
        lens=camera.lens,
        space_points=camera.space_points,
        fronts=shelf_fronts(store),
        codes=_codes(table, store),
    )


def _codes(table: Watched, store: Store) -> CodesConfig | None:
    """Return what a camera reads codes for, by what its scanner is there for."""
    codes = table.codes
    if codes is None:
        return None
    scanner = next(one for one in store.scanners if one.name == codes.scanner)
    return CodesConfig(
        scanner=scanner.name,
        reads="products" if scanner.reads == "products" else "tokens",
        region=codes.region,
        per_s=codes.per_s,
        repeat_ms=codes.repeat_ms,
    )
