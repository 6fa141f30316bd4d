# SPDX-License-Identifier: Apache-2.0
"""One camera as a device: frames in, people out by the in-store contract.

Runs in a process of its own; frames stay in it. The MQTT connection is handed in. Detection runs on
one thread beside the loop, always on the newest frame, at most ``fps_max`` times a second. Second
looks take turns with it.
"""

import asyncio
import dataclasses
import logging
from collections import deque
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from msgspec import UNSET, UnsetType

from gateway.domain.store import Camera, FloorPoint, Lens, Shelf, SpacePoint, Store
from vision.appearance import Appearance, build_appearance
from vision.calibration_pose import view_of
from vision.calls import Calls
from vision.capture import Capture, Counts, Frame
from vision.codes import CodeReader, CodeScanner, CodesConfig, check_region
from vision.detectors import Detector, FrameError, Kind, ModelError
from vision.detectors.guard import build_guarded
from vision.detectors.network import threads_used
from vision.framing import Framing, Polygon
from vision.gate import MotionGate, Pace
from vision.geometry import ShelfFront
from vision.numbering import Numbering, boottime_ns
from vision.placing import Placer
from vision.publishing import Publish, status
from vision.recall import Recall
from vision.second_look import LookRequest, SecondLook, read_request
from vision.seeing import Seeing
from vision.sources import CameraSource, Source
from vision.watchdog import BLIND_AFTER_S

log = logging.getLogger(__name__)

T = TypeVar("T")

PAYLOAD_BYTES_MAX = 64 * 1024
LOOKED_BYTES_MAX = 60 * 1024
LOOKS_MAX = 4
"""Requests for a second look that may wait."""
TOO_MANY_MAX = 16
"""Of those beyond, how many are answered, without frames."""
LOOK_S = 1.0
"""A look is answered so long after it was asked for; the gateway waits a little longer."""
HANG_S = 60.0
"""A detection that takes longer than this will never end."""
SILENCE_S = 5.0
"""A camera that is there but gives no frame for this long counts as lost."""
COUNTS_LOGGED_S = 3_600.0

OpenSource = Callable[[str], Source]
"""Opens a camera by its address; raises ``OSError`` where it cannot."""


class WorkerConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that one worker needs to know."""

    store: str
    """The store's name, part of the topics."""
    camera: str
    url: str
    """What OpenCV opens: an address, a device or a file."""
    model: str
    """Path of the model of persons."""
    hands: str | None = None
    """Path of the hands model; None where the pose model has wrists."""
    reidentification: str | None = None
    """Path of a re-identification model; None tells people apart by their torsos' colours."""
    detector: Kind = "onnxruntime"
    threads: int = 1
    input_px: int | None = None
    """Longer side of the input of a model that takes any."""
    fps_max: float = 10.0
    resolution: tuple[int, int] | None = None
    """Width and height that frames are asked for in, or scaled to."""
    fps: float | None = None
    """Frames a second to take from the camera; None: all."""
    crop: tuple[int, int, int, int] | None = None
    """``(x, y, width, height)`` to look at, in pixels of the picture of ``size_px``."""
    mask: tuple[Polygon, ...] = ()
    """Polygons to blacken, in the same pixels."""
    delay_ms: float | None = None
    """From a picture to its frame's arrival; None: as far as it can be found out."""
    blind_after_s: float = BLIND_AFTER_S
    """A camera frozen or covered for this long counts as lost; 0: never."""
    size_px: tuple[int, int]
    """Width and height of the image that the floor points were measured in."""
    floor_points: tuple[tuple[float, float, float, float], ...]
    """Four or more of ``(x_px, y_px, x_mm, y_mm)``; fewer do beside ``space_points``."""
    position_mm: tuple[float, float, float] | None = None
    """Where the camera hangs; needed where it looks straight down."""
    lens: Lens | UnsetType = UNSET
    space_points: tuple[SpacePoint, ...] | UnsetType = UNSET
    """Points at any height, for a camera with a lens."""
    fronts: tuple[ShelfFront, ...] = ()
    codes: CodesConfig | None = None
    """What it reads codes for; None: it does not."""

    @property
    def topic(self) -> str:
        """Return the device's topic, without a slash at its end."""
        return f"shelfgate/v1/{self.store}/camera/{self.camera}"

    @property
    def framing(self) -> Framing:
        """Return what of each frame is looked at."""
        return Framing(self.size_px, self.resolution, self.crop, self.mask)


def shelf_fronts(store: Store) -> tuple[ShelfFront, ...]:
    """Return the store's shelf fronts: one for the shelves of a gondola on one front line."""
    together: dict[tuple[str, tuple[float, float, float, float]], list[Shelf]] = {}
    for shelf in store.shelves:
        together.setdefault((shelf.gondola, shelf.front_mm), []).append(shelf)
    fronts = []
    for (_, (x0, y0, x1, y1)), shelves in together.items():
        levels = tuple(sorted({shelf.z_mm for shelf in shelves}))
        deep = max(shelf.depth_mm for shelf in shelves)
        fronts.append(ShelfFront((x0, y0), (x1, y1), levels[0], levels[-1], levels, deep))
    return tuple(fronts)


class Worker:
    """A camera's worker from its boot to its end.

    A camera that reads codes is a scanner as well, which comes with a connection of its own.
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
        codes: CodeScanner | None = None,
        open_source: OpenSource | None = None,
        silence_s: float = SILENCE_S,
        hang_s: float = HANG_S,
    ) -> None:
        self.config = config
        self._numbers = Numbering(boot)
        self.boot = self._numbers.boot
        self.frames_looked_at = 0
        self.messages_lost = self.looks_refused = 0
        self.counts = Counts()
        """What became of the camera's frames."""
        self._publish = publish
        self._detector = detector
        self._open_source = open_source or partial(
            CameraSource, resolution=config.resolution, fps=config.fps
        )
        self._silence_s, self._hang_s = silence_s, hang_s
        self._reason: str | None = None
        self._placer = _placer(config)
        config.framing.check()
        self._gate = MotionGate()
        more_threads = threads_used(config.threads + 1) > threads_used(config.threads)
        self._pace = Pace(config.camera, config.fps_max, more_threads)
        self._recall = Recall()
        self._requests: asyncio.Queue[tuple[LookRequest, int]] = asyncio.Queue(LOOKS_MAX)
        self._too_many: deque[str] = deque(maxlen=TOO_MANY_MAX)
        self._fresh = asyncio.Event()
        self._camera: str | None = None
        """Why there are no frames, as heard last; None while there are."""
        self._changed = asyncio.Event()
        self._codes = codes

    @property
    def status_topic(self) -> str:
        """Return where the status goes, retained."""
        return f"{self.config.topic}/status"

    @property
    def look_topic(self) -> str:
        """Return where the gateway asks for a second look; see :meth:`look`."""
        return f"{self.config.topic}/look"

    def look(self, payload: bytes) -> None:
        """Take a request for a second look; of too many at once the latest get no frames."""
        try:
            request = read_request(payload)
        except (ValueError, RecursionError) as error:
            self.looks_refused += 1
            count = self.looks_refused
            if count & (count - 1) == 0:  # The first, and ever fewer of many.
                name = self.config.camera
                log.warning("camera %s: refused a look (%d by now): %s", name, count, error)
            return
        try:
            self._requests.put_nowait((request, boottime_ns()))
        except asyncio.QueueFull:
            self._too_many.append(request.look)

    @property
    def will(self) -> tuple[str, bytes]:
        """Return topic and payload that the broker sends should this process die."""
        return self.status_topic, self._status("offline", "connection lost")

    async def announce(self) -> None:
        """Publish the status as it is now; that of the scanner that it may be follows."""
        state = "online" if self._reason is None else "offline"
        await self._send(self.status_topic, self._status(state, self._reason), qos=1, retain=True)
        if self._codes is not None:
            await self._codes.tell(self._reason)

    async def run(self, stop: asyncio.Event) -> None:
        """Watch the camera until ``stop`` is set.

        Raises:
            FrameError: The detector failed on a frame (in a group); tell it by :meth:`leave`.
            ModelError: Its files cannot be used, or it hangs.
            CalibrationError: The floor points do not determine the view (when constructed).
            FramingError: Crop or mask do not fit the picture (when constructed).
        """
        loop = asyncio.get_running_loop()
        with Calls(f"detect {self.config.camera}") as calls:
            detector = self._detector
            if detector is None:
                detector = (await calls.timed(detector_of, self.config))[0]
            appearance, _ = await calls.timed(_appearance, self.config)
            seeing = Seeing(detector, appearance, self._placer, self._gate, self._recall)
            log.info(
                "camera %s: looks up to %g times a second, with %s in %s",
                self.config.camera,
                self.config.fps_max,
                Path(self.config.model).name,
                self.config.detector,
            )
            await self.announce()
            with self._capture(loop) as capture:
                await self._watch(capture, seeing, calls, stop)
            await self.leave("stopped")

    async def leave(self, reason: str) -> None:
        """Publish why there will be no more of this worker."""
        self._log_counts()
        self._reason = reason
        await self.announce()

    def _capture(self, loop: asyncio.AbstractEventLoop) -> Capture:
        capture = Capture(
            self.config.camera,
            self.config.url,
            framing=self.config.framing,
            fps=self.config.fps,
            delay_ms=self.config.delay_ms,
            blind_after_s=self.config.blind_after_s,
            on_change=lambda reason: _on_loop(loop, self._note, reason),
            on_frame=lambda frame: self._take(loop, frame),
            open_source=self._open_source,
        )
        self.counts = capture.counts
        return capture

    def _take(self, loop: asyncio.AbstractEventLoop, frame: Frame) -> None:
        """Keep a frame while somebody may be there. Runs on the capture's thread."""
        if self._codes is not None:
            self._codes.keep(frame)
        if self._gate.awake(frame.boottime_ns / 1e9):
            self._recall.keep(frame)
        # Whoever still has to see the last one finds this one there: the loop need not wake twice.
        if not self._fresh.is_set():
            _on_loop(loop, self._fresh.set)

    async def _watch(
        self, capture: Capture, seeing: Seeing, calls: Calls, stop: asyncio.Event
    ) -> None:
        """Run the loops, of frames and of the camera's coming and going, until stopped."""
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(self._look(capture, seeing, calls), name="vision.look"),
                group.create_task(self._answer(seeing.detector, calls), name="vision.answer"),
                group.create_task(self._tell(), name="vision.tell"),
                group.create_task(self._count(), name="vision.count"),
            ]
            if self._codes is not None:
                tasks.append(group.create_task(self._codes.run(), name="vision.codes"))
            await stop.wait()
            for task in tasks:
                task.cancel()

    async def _look(self, capture: Capture, seeing: Seeing, calls: Calls) -> None:
        """Detect in the newest frame, again and again."""
        loop = asyncio.get_running_loop()
        while True:
            await self._next_frame()
            await asyncio.sleep(self._pace.wait_s(loop.time()))
            frame = capture.take()
            if frame is None:
                continue
            people: list[dict[str, Any]] = []
            self._pace.begin(loop.time())
            if self._gate.worth(frame.image, frame.boottime_ns / 1e9):
                people, took_s = await self._timed(calls, seeing.people, frame)
                self._pace.done(took_s)
                self.frames_looked_at += 1
            await self._publish_numbered("people", frame.boottime_ns, people=people)

    async def _answer(self, detector: Detector, calls: Calls) -> None:
        """Answer requests for a second look, one after the other, each of them in time."""
        second = SecondLook(self._recall, self._placer, detector)
        timed = partial(self._timed, calls)
        while True:
            request, now_ns = await self._requests.get()
            while self._too_many:
                await self._tell_looked(self._too_many.popleft(), now_ns, [])
            left_s = _left(now_ns, shared_by=1 + self._requests.qsize())
            first_ns, frames = await second.answer_within(
                request, now_ns, left_s, self._pace.takes_s, timed
            )
            while len(msgspec.json.encode(frames)) > LOOKED_BYTES_MAX:
                frames = frames[::2]
            await self._tell_looked(request.look, first_ns, frames)

    async def _timed(
        self, calls: Calls, call: Callable[..., T], *values: object
    ) -> tuple[T, float]:
        """Run a detection; return what it returns and the seconds that it took by itself.

        Raises:
            FrameError: It failed.
            ModelError: It hangs: only a new process can go on.
        """
        try:
            return await calls.timed(call, *values, limit_s=self._hang_s)
        except ModelError as error:
            raise FrameError(str(error)) from error
        except TimeoutError as error:
            raise ModelError(
                f"{self.config.model}: {self.config.detector} has hung on a frame of camera "
                f"{self.config.camera} for {self._hang_s:g} s. Start the worker again; if it "
                "happens again, use another detector or a smaller model"
            ) from error

    async def _next_frame(self) -> None:
        """Wait for a frame; one that does not come for long is a lost camera until it does."""
        silent = f"no frame for {self._silence_s:g} s"
        try:
            if not self._fresh.is_set():  # Mostly it is: a frame came while the last was looked at.
                async with asyncio.timeout(self._silence_s):
                    await self._fresh.wait()
        except TimeoutError:
            if self._camera is None:  # otherwise the capture tells of its loss and return
                log.warning("camera %s: %s", self.config.camera, silent)
                self._note(silent)
            await self._fresh.wait()
            if self._camera == silent:
                log.info("camera %s gives frames again", self.config.camera)
                self._note(None)
        self._fresh.clear()

    async def _tell(self) -> None:
        """Publish the status whenever the camera comes or goes; the newest state counts."""
        while True:
            await self._changed.wait()
            self._changed.clear()
            if self._camera != self._reason:
                self._reason = self._camera
                await self.announce()

    async def _count(self) -> None:
        """Log from time to time what became of the camera's frames."""
        while True:
            await asyncio.sleep(COUNTS_LOGGED_S)
            self._log_counts()

    def _log_counts(self) -> None:
        told = ", ".join(f"{name} {count}" for name, count in _as_dict(self.counts).items())
        log.info(
            "camera %s: %s, looked at %d, messages lost %d",
            self.config.camera,
            told,
            self.frames_looked_at,
            self.messages_lost,
        )

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

    async def _tell_looked(self, look: str, at_ns: int, frames: list[dict[str, Any]]) -> None:
        """Publish the answer to a second look."""
        await self._publish_numbered("looked", at_ns, qos=1, look=look, frames=frames)

    async def _publish_numbered(
        self, leaf: str, at_ns: int, *, qos: int = 0, **fields: object
    ) -> None:
        """Publish a numbered message of the contract about what was seen at a time."""
        payload = msgspec.json.encode(self._numbers.next(at_ns) | fields)
        await self._send(f"{self.config.topic}/{leaf}", payload, qos=qos)

    def _status(self, state: str, reason: str | None) -> bytes:
        more = {"looks": True, "counts": _as_dict(self.counts)}
        return msgspec.json.encode(status(self.boot, state, reason) | more)


def check(config: WorkerConfig) -> None:
    """Look whether a worker could start; the models are opened, but not in ultralytics: too slow.

    Raises:
        ModelError: A model file cannot be used.
        CalibrationError: The floor points do not determine the view.
        FramingError: Crop or mask do not fit the picture.
    """
    _placer(config)
    _appearance(config)
    config.framing.check()
    if config.codes is not None:
        check_region(config.codes, config.size_px, config.crop)
        CodeReader(config.codes.reads)
    if config.detector != "ultralytics":
        detector_of(config)


def detector_of(config: WorkerConfig) -> Detector:
    """Load the detector of a camera's settings.

    Raises:
        ModelError: A model file cannot be used.
    """
    hands = None if config.hands is None else Path(config.hands)
    return build_guarded(
        config.detector,
        Path(config.model),
        hands=hands,
        threads=config.threads,
        input_px=config.input_px,
    )


def _appearance(config: WorkerConfig) -> Appearance:
    model = None if config.reidentification is None else Path(config.reidentification)
    return build_appearance(model, threads=config.threads)


def _placer(config: WorkerConfig) -> Placer:
    camera = Camera(
        name=config.camera,
        size_px=config.size_px,
        floor_points=tuple(FloorPoint(px=point[:2], mm=point[2:]) for point in config.floor_points),
        position_mm=config.position_mm,
        lens=config.lens,
        space_points=config.space_points,
    )
    return Placer(view_of(camera), config.size_px, config.fronts)


def _as_dict(counts: Counts) -> dict[str, int]:
    return {field.name: getattr(counts, field.name) for field in dataclasses.fields(counts)}


def _on_loop(loop: asyncio.AbstractEventLoop, call: Any, *values: Any) -> None:  # noqa: ANN401
    """Run a call on the loop's thread; after the loop's end there is nobody to tell."""
    if not loop.is_closed():
        loop.call_soon_threadsafe(call, *values)


def _left(asked_ns: int, *, shared_by: int) -> Callable[[], float]:
    """Return what tells how many seconds are left for a look; those that wait get their share."""
    now_ns = boottime_ns()
    left_ns = asked_ns + round(LOOK_S * 1e9) - now_ns
    until_ns = now_ns + left_ns // shared_by
    return lambda: (until_ns - boottime_ns()) / 1e9
