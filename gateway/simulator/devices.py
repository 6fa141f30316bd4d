# SPDX-License-Identifier: Apache-2.0
"""A store's devices in real time, over real transports.

Shelves, door, scanner and camera are driven by one simulated world; each has its own connection or
line, as in a store.
"""

import asyncio
import sys
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Literal

import msgspec
import numpy as np

from drivers.mqtt.config import MqttConfig
from gateway.domain.store import Shelf, Store
from gateway.simulator.keys import TokenMaker
from gateway.simulator.lines import Bridge, EntryScanner, Line
from gateway.simulator.sensors import PERIOD_US, SAMPLES_PER_BLOCK, Cells, Flaws, rounded
from gateway.simulator.stock import FloatArray
from gateway.simulator.telling import Links, Teller
from gateway.simulator.watching import OVERHEAD, Watcher
from gateway.simulator.wire import Device
from gateway.simulator.witness import witness_of, write_witness
from gateway.simulator.world import Traffic, World

BRIDGE_SPS = 80
"""An HX711 gives 10 or 80 samples a second."""
FRAME_S = 0.1
DOOR_DELAY_S = 0.15
DOOR_OPEN_S = 3.0
TAIL_S = 8.0
"""How long the devices go on after the last shopper left."""
WAKE_S = 0.02
CATCH_UP_S = 1.0
"""A store that was held up for longer than this loses the time instead of racing after it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulateConfig:
    """What to simulate, and how its devices are reached.

    Attributes:
        store: Layout, products, planogram.
        broker: Where the devices publish.
        seed: Decides what happens in the store.
        traffic: Who comes.
        keys: Directory of the key that signs entry tokens.
        lines: Directory for pseudo-terminals; None: everything speaks MQTT.
        bridges: Shelves that are weighed by a bridge on a line.
        camera: Camera that is rendered, with the loopback port of its pictures; None: all cameras'
            trackers speak from the truth.
        open_doors: Let everybody in without the gateway's word.
        held: Nobody comes before a line ``go`` on standard input; its end ends the run.
        truth: File for what really happened, written again with each change.
        say: Takes a readable line for each thing that happens.
    """

    store: Store
    store_path: Path
    broker: MqttConfig
    seed: int
    traffic: Traffic
    keys: Path
    lines: Path | None = None
    bridges: tuple[str, ...] = ()
    camera: tuple[str, int] | None = None
    open_doors: bool = False
    held: bool = False
    truth: Path | None = None
    say: Callable[[str], None] = lambda _line: None


class SimulationError(Exception):
    """The simulation cannot go on; says why."""


@dataclass(slots=True)
class _Shelf:
    """A shelf on MQTT: collects samples and sends blocks."""

    device: Device
    cells: Cells
    plates: range
    unit: Literal["g", "raw"]
    rows: list[FloatArray] = field(default_factory=list)

    def sample(self, load_g: FloatArray) -> None:
        """Take one sample of all plates; every twelfth sends a block."""
        self.rows.append(load_g[self.plates.start : self.plates.stop])
        if len(self.rows) < SAMPLES_PER_BLOCK:
            return
        loads = np.array(self.rows)
        self.rows.clear()
        values = (
            rounded(self.cells.read_g(loads)) if self.unit == "g" else self.cells.read_counts(loads)
        )
        self.device.send(
            "samples",
            {"period_us": PERIOD_US, "unit": self.unit, "w": values},
            qos=0,
            ago_ms=(SAMPLES_PER_BLOCK - 1) * PERIOD_US // 1_000,
        )


@dataclass(slots=True)
class _BridgeShelf:
    """A shelf on a serial line."""

    bridge: Bridge
    cells: Cells
    plates: range
    sent: int = 0

    def sample(self, now_s: float, load_g: FloatArray) -> None:
        """Send every sample that is due."""
        while self.sent < now_s * BRIDGE_SPS:
            row = load_g[None, self.plates.start : self.plates.stop]
            [counts] = self.cells.read_counts(row)
            self.bridge.sample(counts, self.sent * 1_000 // BRIDGE_SPS)
            self.sent += 1


class Simulation:
    """The world and its devices."""

    def __init__(self, config: SimulateConfig) -> None:
        store = config.store
        self._config = config
        self.world = World(
            store,
            config.seed,
            config.traffic,
            origin_ns=time.clock_gettime_ns(time.CLOCK_BOOTTIME),
            open_doors=config.open_doors,
        )
        if config.held:
            self.world.hold()
        self._teller = Teller(store, config.say)
        self._tokens = TokenMaker.in_directory(store.name, config.keys)
        self._lines: list[Line] = []
        self._devices: list[Device] = []
        self._shelves: list[_Shelf] = []
        self._bridges: list[_BridgeShelf] = []
        self._watchers: list[tuple[Device, Watcher]] = []
        self._scanners: dict[str, Callable[[str], None]] = {}
        self._doors: dict[str, Device] = {}
        self._opening: deque[tuple[float, str, bool]] = deque()
        self._frame_s = 0.0
        self._camera: asyncio.subprocess.Process | None = None
        self._told: tuple[int, int, int, bool] | None = None
        for number, shelf in enumerate(store.shelves):
            self._add_shelf(shelf, self.world.layout.shelf_plates[number])
        for camera in store.cameras:
            if config.camera is None or config.camera[0] != camera.name:
                self._watchers.append(
                    (
                        self._device(f"camera/{camera.name}"),
                        Watcher(camera, config.seed, OVERHEAD, store),
                    )
                )
        for scanner in store.scanners:
            self._add_scanner(scanner.name)
        for door in store.doors:
            self._doors[door] = self._device(
                f"door/{door}",
                subscriptions=("open",),
                on_message=partial(self._asked_to_open, door),
            )

    async def run(self, stop: asyncio.Event) -> None:
        """Run until everybody who was to come has left, or ``stop``.

        Raises:
            SimulationError: The process that renders the camera ended.
        """
        config = self._config
        broker = config.broker
        links = Links(f"{broker.host}:{broker.port}", len(self._devices))
        failure: str | None = None
        try:
            if config.camera is not None:
                self._camera = await self._start_camera(*config.camera)
            async with asyncio.TaskGroup() as group:
                tasks = [
                    group.create_task(device.run(broker, links), name=device.name)
                    for device in self._devices
                ]
                failure = await self._live(stop)
                for task in tasks:
                    task.cancel()
        finally:
            await self._stop_camera()
            for line in self._lines:
                line.close()
        if failure is not None:
            raise SimulationError(failure)

    def begin(self) -> None:
        """Let shoppers come."""
        self.world.begin()

    async def _live(self, stop: asyncio.Event) -> str | None:
        """Move the world with the clock; return what went wrong, if anything did."""
        dt_s = PERIOD_US / 1e6
        last_s = time.monotonic()
        behind_s = 0.0
        over_s: float | None = None
        while not stop.is_set():
            now_s = time.monotonic()
            behind_s = min(behind_s + now_s - last_s, CATCH_UP_S)
            last_s = now_s
            while behind_s >= dt_s:
                behind_s -= dt_s
                self.world.step(dt_s)
                self._sense()
            self._teller.tell(self.world.truth)
            self._tell()
            if self._camera is not None and self._camera.returncode is not None:
                return self._camera_ended(self._camera.returncode)
            if self.world.over and over_s is None:
                over_s = now_s
            if over_s is not None and now_s - over_s > TAIL_S and not self._config.held:
                break
            try:
                async with asyncio.timeout(WAKE_S):
                    await stop.wait()
            except TimeoutError:
                continue
        return None

    def _camera_ended(self, status: int) -> str:
        assert self._config.camera is not None
        name, port = self._config.camera
        remedy = f"Its reason stands above; see that port {port} is free"
        return f"camera {name}: its renderer ended with status {status}. {remedy}"

    def _sense(self) -> None:
        world = self.world
        load_g = world.load_g()
        for shelf in self._shelves:
            shelf.sample(load_g)
        for bridge in self._bridges:
            bridge.sample(world.now_s, load_g)
        if world.now_s >= self._frame_s:
            self._frame_s = world.now_s + FRAME_S
            self._look()
        while world.scans:
            scanner, shopper = world.scans.popleft()
            self._teller.scanned(scanner, shopper)
            self._scanners[scanner](self._tokens.token(shopper))
        while self._opening and self._opening[0][0] <= world.now_s:
            _, door, is_open = self._opening.popleft()
            self._doors[door].send("state", {"open": is_open}, qos=1)
            if is_open:
                world.door_opened(door)

    def _look(self) -> None:
        poses = self.world.poses()
        for device, watcher in self._watchers:
            people = msgspec.to_builtins(watcher.see(poses))
            for person in people:
                # A tracker that knows nothing of a body's appearance leaves it out.
                person.pop("appearance", None)
            device.send("people", {"people": people}, qos=0)
        camera = self._camera
        if camera is not None and camera.stdin is not None and not camera.stdin.is_closing():
            camera.stdin.write(msgspec.json.encode(poses) + b"\n")

    def _asked_to_open(self, door: str, _leaf: str, _payload: bytes) -> None:
        at_s = self.world.now_s + DOOR_DELAY_S
        self._opening.append((at_s, door, True))
        self._opening.append((at_s + DOOR_OPEN_S, door, False))
        self._opening = deque(sorted(self._opening))

    def _add_shelf(self, shelf: Shelf, plates: range) -> None:
        config = self._config
        flaws = Flaws()
        if config.lines is not None and shelf.name in config.bridges:
            line = Line(config.lines / f"bridge-{shelf.name}")
            self._lines.append(line)
            cells = Cells(shelf, config.seed, flaws, 1_000_000 // BRIDGE_SPS)
            self._bridges.append(_BridgeShelf(Bridge(line, shelf.name, BRIDGE_SPS), cells, plates))
            return
        raw = all(plate.calibration is not None for plate in shelf.plates)
        self._shelves.append(
            _Shelf(
                self._device(f"shelf/{shelf.name}"),
                Cells(shelf, config.seed, flaws),
                plates,
                "raw" if raw else "g",
            )
        )

    def _add_scanner(self, name: str) -> None:
        if self._config.lines is not None:
            line = Line(self._config.lines / f"scanner-{name}")
            self._lines.append(line)
            self._scanners[name] = EntryScanner(line).read
            return
        device = self._device(f"scanner/{name}")
        self._scanners[name] = lambda text: device.send("scan", {"text": text}, qos=1)

    def _device(
        self,
        name: str,
        subscriptions: tuple[str, ...] = (),
        on_message: Callable[[str, bytes], None] = lambda _leaf, _payload: None,
    ) -> Device:
        device = Device(
            self._config.store.name, name, subscriptions=subscriptions, on_message=on_message
        )
        self._devices.append(device)
        return device

    async def _start_camera(self, name: str, port: int) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "gateway.simulator.camera"),
            *("--store", str(self._config.store_path), "--camera", name, "--port", str(port)),
            stdin=asyncio.subprocess.PIPE,
        )

    async def _stop_camera(self) -> None:
        camera = self._camera
        if camera is None:
            return
        if camera.stdin is not None:
            camera.stdin.close()
        try:
            async with asyncio.timeout(3.0):
                await camera.wait()
        except TimeoutError:
            camera.kill()
            await camera.wait()

    def _tell(self) -> None:
        """Write the truth when there is news."""
        path, truth = self._config.truth, self.world.truth
        if path is None:
            return
        news = (
            len(truth.acts),
            len(truth.entered_ns),
            len(truth.left_ns),
            self.world.over,
        )
        if news == self._told:
            return
        self._told = news
        write_witness(path, witness_of(truth, over=self.world.over))
