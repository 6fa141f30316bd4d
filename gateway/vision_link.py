# SPDX-License-Identifier: Apache-2.0
"""The vision worker's process: one worker a camera, each with its own connection and will."""

import asyncio
import logging
import signal
from collections.abc import Callable, Sequence
from random import SystemRandom
from typing import NoReturn

from drivers.errors import DriverError
from drivers.mqtt.client import Connection, Will, connect
from drivers.mqtt.config import MqttConfig
from gateway.app import BROKER_BACKOFF, mqtt_config
from gateway.config import Settings
from gateway.config_settings import Vision, Watched
from gateway.config_toml import Problem, Problems, Where
from gateway.domain.store import Store
from gateway.supervise import supervise
from vision.detectors import ModelError, RuntimeMissingError
from vision.framing import FramingError
from vision.geometry import CalibrationError
from vision.worker import Worker, WorkerConfig, check, shelf_fronts

log = logging.getLogger(__name__)


class Link:
    """A worker's way to the in-store broker; frames that find it down are lost."""

    def __init__(self, config: MqttConfig) -> None:
        self._config = config
        self._connection: Connection | None = None

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

    async def run(self, worker: Worker, came_up: Callable[[], None]) -> NoReturn:
        """Connect once and stay.

        Raises:
            DeviceGoneError: The broker is not there, or went.
        """
        topic, payload = worker.will
        async with connect(
            self._config,
            will=Will(topic=topic, payload=payload),
            subscriptions=[(worker.look_topic, 1)],
            on_message=lambda message: worker.look(message.payload),
        ) as connection:
            self._connection = connection
            came_up()
            try:
                await worker.announce()
                await connection.closed()
            finally:
                self._connection = None


async def run_vision(settings: Settings, store: Store) -> None:
    """Run a worker for each camera of the settings until SIGTERM or SIGINT.

    Raises:
        ModelError: A model file cannot be used.
        CalibrationError: Floor points do not determine a camera's view.
        FramingError: A crop or mask does not fit its camera's picture.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with asyncio.TaskGroup() as group:
        for table in settings.vision:
            name = f"shelfgate-vision-{table.camera}"
            config = mqtt_config(
                settings.broker, name, embedded=settings.broker.starts_own, clean=True
            )
            link = Link(config)
            worker = Worker(worker_config(table, store), link.publish)
            group.create_task(_run(link, worker, stop), name=name)


async def _run(link: Link, worker: Worker, stop: asyncio.Event) -> None:
    async def connected(came_up: Callable[[], None]) -> None:
        await link.run(worker, came_up)

    name = f"{worker.config.camera}: in-store link"
    async with asyncio.TaskGroup() as group:
        keeping = group.create_task(
            supervise(name, connected, random=SystemRandom(), backoff=BROKER_BACKOFF), name=name
        )
        await worker.run(stop)
        keeping.cancel()


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
    )
