# SPDX-License-Identifier: Apache-2.0
"""One camera as a device: frames in, people out by the in-store contract.

Runs in a process of its own; frames stay in it. The MQTT connection is handed in. Detection runs on
one thread beside the loop, always on the newest frame, at most ``fps_max`` times a second.
"""

import asyncio
import logging
import secrets
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol

import msgspec
import numpy as np

from gateway.domain.store import Store
from vision.appearance import Appearance, build_appearance, look_payload
from vision.capture import CameraSource, Capture, Frame, Source
from vision.detectors import Detector, Kind, build
from vision.geometry import FloorView, ShelfFront
from vision.placing import Placer, people_payload
from vision.tracking import Tracker

log = logging.getLogger(__name__)

CONTRACT_VERSION = 1
FIRMWARE = "shelfgate-vision 1"
PAYLOAD_BYTES_MAX = 64 * 1024
SILENCE_S = 5.0
"""A camera that is there but gives no frame for this long counts as lost."""
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class Publish(Protocol):
    """Sends one message; raises ``OSError`` while there is no connection."""

    async def __call__(
        self, topic: str, payload: bytes, qos: int = 0, *, retain: bool = False
    ) -> None:
        """Return once the message is on its way."""
        ...


class OpenSource(Protocol):
    """Opens a camera; raises ``OSError`` where it cannot."""

    def __call__(self, url: str, /) -> Source:
        """Return the opened camera."""
        ...


class WorkerConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that one worker needs to know."""

    store: str
    """The store's name, part of the topics."""
    camera: str
    url: str
    """What OpenCV opens: an address, a device or a file."""
    model: str
    """Path of the pose model."""
    hands: str | None = None
    """Path of the hands model; None where the pose model has wrists."""
    reidentification: str | None = None
    """Path of a re-identification model; None tells people apart by their torsos' colours."""
    detector: Kind = "onnxruntime"
    threads: int = 1
    fps_max: float = 10.0
    size_px: tuple[int, int]
    """Width and height of the image that the floor points were measured in."""
    floor_points: tuple[tuple[float, float, float, float], ...]
    """Four or more of ``(x_px, y_px, x_mm, y_mm)``."""
    position_mm: tuple[float, float, float] | None = None
    """Where the camera hangs; needed where it looks straight down."""
    fronts: tuple[ShelfFront, ...] = ()

    @property
    def topic(self) -> str:
        """Return the device's topic, without a slash at its end."""
        return f"shelfgate/v1/{self.store}/camera/{self.camera}"


def shelf_fronts(store: Store) -> tuple[ShelfFront, ...]:
    """Return the store's shelf fronts: one for the shelves of a gondola on one front line."""
    levels: dict[tuple[str, tuple[float, float, float, float]], list[float]] = {}
    for shelf in store.shelves:
        levels.setdefault((shelf.gondola, shelf.front_mm), []).append(shelf.z_mm)
    return tuple(
        ShelfFront((x0, y0), (x1, y1), min(heights), max(heights))
        for (_, (x0, y0, x1, y1)), heights in levels.items()
    )


class Worker:
    """A camera's worker from its boot to its end.

    ``will`` is to be given to the broker as the connection's will (QoS 1, retained), and
    :meth:`announce` to be called after each reconnection, since the will may have gone out.
    """

    def __init__(
        self,
        config: WorkerConfig,
        publish: Publish,
        *,
        boot: str | None = None,
        detector: Detector | None = None,
        open_source: OpenSource = CameraSource,
        silence_s: float = SILENCE_S,
    ) -> None:
        self.config = config
        self.boot = boot or secrets.token_hex(8)
        self.frames_looked_at = 0
        self.messages_lost = 0
        self._publish = publish
        self._detector = detector
        self._open_source = open_source
        self._silence_s = silence_s
        self._reason: str | None = None
        self._seq = 0
        self._started_ns = _boottime_ns()
        self._host_boot = _host_boot()
        self._appearance: Appearance | None = None
        self._tracker = Tracker()
        self._placer = _placer(config)
        self._fresh = asyncio.Event()
        self._camera: str | None = None
        """Why there are no frames, as heard last; None while there are."""
        self._changed = asyncio.Event()

    @property
    def status_topic(self) -> str:
        """Return where the status goes, retained."""
        return f"{self.config.topic}/status"

    @property
    def will(self) -> tuple[str, bytes]:
        """Return topic and payload that the broker sends should this process die."""
        return self.status_topic, self._status("offline", "connection lost")

    async def announce(self) -> None:
        """Publish the status as it is now."""
        state = "online" if self._reason is None else "offline"
        await self._send(self.status_topic, self._status(state, self._reason), qos=1, retain=True)

    async def run(self, stop: asyncio.Event) -> None:
        """Watch the camera until ``stop`` is set.

        Raises:
            ModelError: The detector's files cannot be used.
            CalibrationError: The floor points do not determine the view (when constructed).
        """
        loop = asyncio.get_running_loop()
        name = f"detect {self.config.camera}"
        with ThreadPoolExecutor(1, thread_name_prefix=name) as pool:
            detector = self._detector
            if detector is None:
                detector = await loop.run_in_executor(pool, _detector, self.config)
            self._appearance = await loop.run_in_executor(pool, _appearance, self.config)
            self._tracker = Tracker(self._appearance.scatter())
            await self.announce()
            capture = Capture(
                self.config.camera,
                self.config.url,
                on_change=lambda reason: _on_loop(loop, self._note, reason),
                on_frame=lambda: _on_loop(loop, self._fresh.set),
                open_source=self._open_source,
            )
            with capture:
                await self._watch(capture, detector, pool, stop)
            self._reason = "stopped"
            await self.announce()

    async def _watch(
        self, capture: Capture, detector: Detector, pool: ThreadPoolExecutor, stop: asyncio.Event
    ) -> None:
        """Run the two loops, of frames and of the camera's coming and going, until stopped."""
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(self._look(capture, detector, pool), name="vision.look"),
                group.create_task(self._tell(), name="vision.tell"),
            ]
            await stop.wait()
            for task in tasks:
                task.cancel()

    async def _look(self, capture: Capture, detector: Detector, pool: ThreadPoolExecutor) -> None:
        """Detect in the newest frame, again and again."""
        loop = asyncio.get_running_loop()
        period_s = 1.0 / self.config.fps_max
        next_s = loop.time()
        while True:
            await self._next_frame()
            await asyncio.sleep(next_s - loop.time())
            frame = capture.take()
            if frame is None:
                continue
            next_s = max(next_s + period_s, loop.time())
            people = await loop.run_in_executor(pool, self._see, detector, frame)
            self.frames_looked_at += 1
            await self._send(f"{self.config.topic}/people", self._message(frame, people), qos=0)

    async def _next_frame(self) -> None:
        """Wait for a frame; one that does not come for long is a lost camera until it does."""
        silent = f"no frame for {self._silence_s:g} s"
        try:
            async with asyncio.timeout(self._silence_s):
                await self._fresh.wait()
        except TimeoutError:
            if self._reason is None:  # otherwise its loss is known already
                log.warning("camera %s: %s", self.config.camera, silent)
                self._note(silent)
            await self._fresh.wait()
            log.info("camera %s gives frames again", self.config.camera)
            self._note(None)
        self._fresh.clear()

    def _see(self, detector: Detector, frame: Frame) -> list[dict[str, Any]]:
        """Return the contract's people of a frame. Runs on the detection thread alone."""
        assert self._appearance is not None
        height, width = frame.image.shape[:2]
        detected = detector.detect(frame.image)
        looks = self._appearance.describe(frame.image, detected)
        found = self._placer.scaled(detected, (width, height))
        places = self._placer.places(found)
        names = self._tracker.update(
            places.floor_mm, places.sigma_mm, found.scores, frame.boottime_ns / 1e9, looks
        )
        people = people_payload(found, places, names, self._placer)
        told = [index for index, name in enumerate(names) if name is not None]
        for person, index in zip(people, told, strict=True):
            look = look_payload(looks[index])
            if look is not None:
                person["appearance"] = look
        return people

    async def _tell(self) -> None:
        """Publish the status whenever the camera comes or goes; the newest state counts."""
        while True:
            await self._changed.wait()
            self._changed.clear()
            if self._camera != self._reason:
                self._reason = self._camera
                await self.announce()

    def _note(self, reason: str | None) -> None:
        self._camera = reason
        self._changed.set()

    async def _send(self, topic: str, payload: bytes, *, qos: int, retain: bool = False) -> None:
        """Publish; without a connection a frame is lost and counted, and the next one is newer."""
        assert len(payload) <= PAYLOAD_BYTES_MAX
        try:
            await self._publish(topic, payload, qos, retain=retain)
        except OSError as error:
            if self.messages_lost == 0:
                log.warning("camera %s: cannot publish: %s", self.config.camera, error)
            self.messages_lost += 1

    def _message(self, frame: Frame, people: list[dict[str, Any]]) -> bytes:
        message: dict[str, Any] = {
            "v": CONTRACT_VERSION,
            "boot": self.boot,
            "seq": self._seq,
            "t_ms": max(frame.boottime_ns - self._started_ns, 0) // 1_000_000 % 2**32,
        }
        if self._host_boot is not None:
            message["host_boot"] = self._host_boot
            message["host_mono_ms"] = round(frame.boottime_ns / 1e6, 3)
        message["people"] = people
        self._seq += 1
        return msgspec.json.encode(message)

    def _status(self, state: str, reason: str | None) -> bytes:
        message = {"v": CONTRACT_VERSION, "state": state, "fw": FIRMWARE, "boot": self.boot}
        if reason is not None:
            message["reason"] = reason
        return msgspec.json.encode(message)


def check(config: WorkerConfig) -> None:
    """Look whether a worker could start; the models are opened in ONNX Runtime only.

    Raises:
        ModelError: A model file cannot be used.
        CalibrationError: The floor points do not determine the view.
    """
    _placer(config)
    _appearance(config)
    if config.detector == "onnxruntime":
        _detector(config)


def _detector(config: WorkerConfig) -> Detector:
    hands = None if config.hands is None else Path(config.hands)
    return build(config.detector, Path(config.model), hands=hands, threads=config.threads)


def _appearance(config: WorkerConfig) -> Appearance:
    model = None if config.reidentification is None else Path(config.reidentification)
    return build_appearance(model, threads=config.threads)


def _placer(config: WorkerConfig) -> Placer:
    points = np.asarray(config.floor_points, dtype=np.float64).reshape(-1, 4)
    view = FloorView.from_points(
        points[:, :2], points[:, 2:], size_wh=config.size_px, position_mm=config.position_mm
    )
    return Placer(view, config.size_px, config.fronts)


def _on_loop(loop: asyncio.AbstractEventLoop, call: Any, *values: Any) -> None:  # noqa: ANN401
    """Run a call on the loop's thread; after the loop's end there is nobody to tell."""
    if not loop.is_closed():
        loop.call_soon_threadsafe(call, *values)


def _boottime_ns() -> int:
    return time.clock_gettime_ns(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


def _host_boot() -> str | None:
    """Return the kernel's boot id, or None where there is none and times mean nothing to others."""
    try:
        return BOOT_ID.read_text(encoding="ascii").strip()
    except OSError:
        return None
