# SPDX-License-Identifier: Apache-2.0
"""A store's inputs in virtual time, in the order of their arrival: no waiting, no wires.

What comes out is what the intake would hand to the engine, but for ``gateway-started``, which is
the caller's. The same seed gives the same inputs, as long as doors are opened at the same inputs.
"""

import heapq
import random
from collections.abc import Iterator
from hashlib import blake2b

import numpy as np

from gateway.domain.inputs import (
    AnyInput,
    DeviceStatus,
    DoorState,
    EntryScanned,
    LinkState,
    People,
    Samples,
    Stamp,
    Tick,
)
from gateway.domain.store import Store
from gateway.simulator.sensors import PERIOD_US, SAMPLES_PER_BLOCK, Cells, Flaws, rounded
from gateway.simulator.stock import FloatArray, Truth
from gateway.simulator.watching import Sight, Watcher
from gateway.simulator.world import Traffic, World

BOOT = "sim"
START_MONO_NS = 1_000_000_000
START_UTC_NS = 1_795_255_200_000_000_000
"""2026-11-21 10:00 UTC."""
TAIL_S = 20.0
"""How long the shelves and cameras go on after the last shopper left."""
DOOR_S = 3.0
"""How long a door stays open."""
FRAME_NS = 100_000_000
TICK_NS = 100_000_000
TOKEN_S = 60

_Queued = tuple[int, int, AnyInput]


class VirtualRun:
    """One run; iterate over it once. ``truth`` is complete when the iteration ends."""

    def __init__(
        self,
        store: Store,
        seed: int,
        traffic: Traffic,
        *,
        duration_s: float | None,
        people: bool,
        open_doors: bool,
        flaws: Flaws,
        sight: Sight,
    ) -> None:
        self.world = World(store, seed, traffic, origin_ns=START_MONO_NS, open_doors=open_doors)
        self._store = store
        self._duration_s = duration_s
        self._rng = random.Random(f"virtual-{seed}")
        self._cells = [Cells(shelf, seed, flaws) for shelf in store.shelves]
        self._watchers = [Watcher(camera, seed, sight, store) for camera in store.cameras if people]
        self._queue: list[_Queued] = []
        self._queued = 0
        self._seqs: dict[str, int] = {}
        self._boots: dict[str, str] = {}
        self._clock_ms: dict[str, int] = {}
        self._last_ns: dict[str, int] = {}
        self._period_ns = PERIOD_US * 1_000
        # Shelves start their blocks at different samples.
        self._lag = [self._rng.randrange(SAMPLES_PER_BLOCK) for _ in store.shelves]
        self._loads: list[FloatArray] = []
        self._steps = 0
        self._shut_ns: dict[str, int] = {}

    @property
    def truth(self) -> Truth:
        """What really happened; times are on the clock of the inputs' ``mono_ns``."""
        return self.world.truth

    def door_opened(self, door: str) -> None:
        """Tell the store that the gateway opened a door."""
        self.world.door_opened(door)
        now_ns = self._now_ns()
        if door not in self._shut_ns:
            self._door_state(door, now_ns + 150_000_000, is_open=True)
        self._shut_ns[door] = now_ns + int(DOOR_S * 1e9)

    def __iter__(self) -> Iterator[AnyInput]:
        self._begin()
        next_tick = START_MONO_NS + TICK_NS
        next_frame = START_MONO_NS + 7_000_000
        end_ns: int | None = None
        while end_ns is None or self._now_ns() < end_ns:
            self.world.step(PERIOD_US / 1e6)
            self._steps += 1
            now_ns = self._now_ns()
            self._sample(now_ns)
            while next_frame <= now_ns:
                self._frames(next_frame)
                next_frame += FRAME_NS
            while next_tick <= now_ns:
                self._push(next_tick, Tick(at=_stamp(next_tick)))
                next_tick += TICK_NS
            self._scan(now_ns)
            self._shut_doors(now_ns)
            if end_ns is None and self.world.over:
                end_ns = now_ns + int(TAIL_S * 1e9)
            if self._duration_s is not None and self.world.now_s >= self._duration_s:
                end_ns = now_ns
            # Nothing made from now on can arrive before now.
            while self._queue and self._queue[0][0] <= now_ns:
                yield heapq.heappop(self._queue)[2]
        while self._queue:
            yield heapq.heappop(self._queue)[2]

    def _now_ns(self) -> int:
        return START_MONO_NS + self._steps * self._period_ns

    def _begin(self) -> None:
        self._push(START_MONO_NS, LinkState(at=_stamp(START_MONO_NS), online=True))
        names = [f"shelf/{shelf.name}" for shelf in self._store.shelves]
        names += [f"camera/{watcher.camera.name}" for watcher in self._watchers]
        names += [f"scanner/{scanner.name}" for scanner in self._store.scanners]
        names += [f"door/{door}" for door in self._store.doors]
        for name in names:
            self._boots[name] = f"{self._rng.getrandbits(64):016x}"
            self._clock_ms[name] = self._rng.randrange(2**32)
            at_ns = START_MONO_NS + self._rng.randrange(50_000_000)
            self._push(
                at_ns,
                DeviceStatus(
                    at=_stamp(at_ns), device=name, state="online", boot=self._boots[name], fw="sim"
                ),
            )

    def _sample(self, now_ns: int) -> None:
        self._loads.append(self.world.load_g())
        if len(self._loads) > 2 * SAMPLES_PER_BLOCK:
            del self._loads[0]
        if self._steps < 2 * SAMPLES_PER_BLOCK:
            return
        due = [i for i, lag in enumerate(self._lag) if self._steps % SAMPLES_PER_BLOCK == lag]
        if not due:
            return
        loads = np.array(self._loads[-SAMPLES_PER_BLOCK:])
        first_ns = now_ns - (SAMPLES_PER_BLOCK - 1) * self._period_ns
        for number in due:
            cells = self._cells[number]
            plates = self.world.layout.shelf_plates[number]
            device = f"shelf/{cells.shelf.name}"
            arrival_ns = self._arrival(device, now_ns, late=0.01)
            self._push(
                arrival_ns,
                Samples(
                    at=_stamp(arrival_ns),
                    device=device,
                    boot=self._boots[device],
                    seq=self._seq(device),
                    t_ms=self._t_ms(device, first_ns),
                    period_us=PERIOD_US,
                    unit="g",
                    w=rounded(cells.read_g(loads[:, plates.start : plates.stop])),
                ),
            )

    def _frames(self, frame_ns: int) -> None:
        poses = self.world.poses()
        for watcher in self._watchers:
            device = f"camera/{watcher.camera.name}"
            arrival_ns = self._arrival(device, frame_ns + 50_000_000, late=0.005)
            self._push(
                arrival_ns,
                People(
                    at=_stamp(arrival_ns),
                    device=device,
                    boot=self._boots[device],
                    seq=self._seq(device),
                    t_ms=self._t_ms(device, frame_ns),
                    host_boot=BOOT,
                    host_mono_ms=frame_ns / 1e6,
                    people=watcher.see(poses),
                ),
            )

    def _scan(self, now_ns: int) -> None:
        while self.world.scans:
            scanner, shopper = self.world.scans.popleft()
            device = f"scanner/{scanner}"
            token = f"{shopper}/{self._rng.getrandbits(96):024x}"
            arrival_ns = self._arrival(device, now_ns)
            self._push(
                arrival_ns,
                EntryScanned(
                    at=_stamp(arrival_ns),
                    device=device,
                    boot=self._boots[device],
                    seq=self._seq(device),
                    t_ms=self._t_ms(device, now_ns),
                    verdict="valid",
                    shopper=shopper,
                    token_hash=blake2b(token.encode(), digest_size=16).hexdigest(),
                    expires_utc_ns=_utc_ns(now_ns) + TOKEN_S * 1_000_000_000,
                ),
            )

    def _shut_doors(self, now_ns: int) -> None:
        for door in [door for door, at_ns in self._shut_ns.items() if at_ns <= now_ns]:
            del self._shut_ns[door]
            self._door_state(door, now_ns, is_open=False)

    def _door_state(self, door: str, at_ns: int, *, is_open: bool) -> None:
        device = f"door/{door}"
        if device not in self._boots:
            return
        arrival_ns = self._arrival(device, at_ns)
        self._push(
            arrival_ns,
            DoorState(
                at=_stamp(arrival_ns),
                device=device,
                boot=self._boots[device],
                seq=self._seq(device),
                t_ms=self._t_ms(device, at_ns),
                open=is_open,
            ),
        )

    def _arrival(self, device: str, sent_ns: int, late: float = 0.0) -> int:
        """Return when a message arrives: a network's delay, in order for each device."""
        delay_ms = self._rng.uniform(3.0, 22.0)
        if self._rng.random() < late:
            delay_ms += self._rng.uniform(60.0, 150.0)
        arrival_ns = sent_ns + int(delay_ms * 1e6)
        arrival_ns = max(arrival_ns, self._last_ns.get(device, 0) + 1_000)
        self._last_ns[device] = arrival_ns
        return arrival_ns

    def _seq(self, device: str) -> int:
        seq = self._seqs.get(device, 0)
        self._seqs[device] = seq + 1
        return seq

    def _t_ms(self, device: str, at_ns: int) -> int:
        return (self._clock_ms[device] + (at_ns - START_MONO_NS) // 1_000_000) % 2**32

    def _push(self, at_ns: int, item: AnyInput) -> None:
        self._queued += 1
        heapq.heappush(self._queue, (at_ns, self._queued, item))


def virtual_inputs(
    store: Store,
    seed: int,
    *,
    shoppers: int | None = 5,
    duration_s: float | None = None,
    people: bool = True,
    traffic: Traffic | None = None,
    open_doors: bool = False,
    flaws: Flaws | None = None,
    sight: Sight | None = None,
) -> VirtualRun:
    """Return a run over a store's inputs, stamped as the intake would.

    Args:
        store: What it looks like.
        seed: Decides everything.
        shoppers: How many come in all; None: they keep coming until ``duration_s``.
        duration_s: End after this; by default some seconds after the last shopper left.
        people: Whether cameras report people (from the truth, with noise).
        traffic: More about who comes; wins over ``shoppers``.
        open_doors: Let everybody in without the gateway's word.
        flaws: Of the load cells.
        sight: Of the cameras.

    Raises:
        ValueError: Neither a number of shoppers nor a duration ends the run.
    """
    traffic = traffic or Traffic(shoppers=shoppers)
    if traffic.shoppers is None and duration_s is None:
        raise ValueError("virtual run: it would never end. Give shoppers or duration_s")
    return VirtualRun(
        store,
        seed,
        traffic,
        duration_s=duration_s,
        people=people,
        open_doors=open_doors,
        flaws=flaws or Flaws(),
        sight=sight or Sight(),
    )


def _utc_ns(mono_ns: int) -> int:
    return START_UTC_NS + (mono_ns - START_MONO_NS)


def _stamp(mono_ns: int) -> Stamp:
    return Stamp(
        mono_ns=mono_ns, utc_ns=_utc_ns(mono_ns), utc_trusted=True, utc_error_ms=5, boot=BOOT
    )
