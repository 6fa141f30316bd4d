# SPDX-License-Identifier: Apache-2.0
"""A case of the exam: a store, what its devices send in the order of arrival, and the truth."""

import hashlib
import heapq
import itertools
from dataclasses import dataclass
from typing import Final

import msgspec
import numpy as np
import numpy.typing as npt

from gateway.domain.inputs import (
    AnyInput,
    DeviceStatus,
    EntryScanned,
    LinkState,
    People,
    Samples,
    Stamp,
    Tick,
)
from gateway.domain.store import Store
from gateway.simulator.exam.casting import MIXED, length_s, rehearse
from gateway.simulator.exam.conditions import Condition
from gateway.simulator.exam.room import SCANNER
from gateway.simulator.exam.scales import read_g
from gateway.simulator.exam.scenes import KINDS
from gateway.simulator.exam.selling_out import APART
from gateway.simulator.exam.stage import RATE_HZ, START_NS, Stage
from gateway.simulator.exam.trackers import Frame, watch
from gateway.simulator.sensors import rounded
from gateway.simulator.stock import Truth

ALL_KINDS: Final = (*KINDS, *APART, MIXED)
BLOCK: Final = 12
BOOT: Final = "exam"
START_UTC_NS: Final = 1_795_255_200_000_000_000
"""2026-11-21 10:00 UTC."""
PERIOD_US: Final = 1_000_000 // RATE_HZ
TAIL_S: Final = 9.0
"""How long shelves and cameras go on after the last shopper left."""
QUIET_S: Final = 130
"""After it only time passes, so that visits end whose persons were lost."""
TOKEN_NS: Final = 60_000_000_000


@dataclass(slots=True)
class Case:
    """One case.

    Attributes:
        kind: Its script.
        condition: How badly everything behaves.
        seed: Of everything.
        store: What an installer would have written down.
        truth: What really happened; times are on the clock of the inputs' ``mono_ns``.
        stage: How it was planned: for pictures and oracles, not for whoever decides.
        read_g: ``(samples, plates)`` what the scales read.
        frames: By camera, what was seen.
        length_s: Until the sensors stop.
    """

    kind: str
    condition: Condition
    seed: int
    store: Store
    truth: Truth
    stage: Stage
    read_g: npt.NDArray[np.float64]
    frames: dict[str, list[Frame]]
    length_s: float

    @property
    def name(self) -> str:
        """What a command calls it."""
        return f"{self.kind}/{self.condition.name}/{self.seed}"

    def inputs(self) -> list[AnyInput]:
        """Return what the intake would hand to the engine, but for ``gateway-started``."""
        return _Wires(self).inputs()


def make_case(kind: str, condition: Condition, seed: int) -> Case:
    """Return a case; the same arguments give the same one.

    Raises:
        KeyError: No such script.
    """
    if kind not in ALL_KINDS:
        raise KeyError(kind)
    rng = _random(f"{kind}/{condition.name}/{seed}")
    stage = rehearse(kind, condition, rng)
    length = length_s(stage) + TAIL_S
    samples = int(length * RATE_HZ)
    return Case(
        kind=kind,
        condition=condition,
        seed=seed,
        store=stage.room.store,
        truth=stage.truth,
        stage=stage,
        read_g=read_g(stage, samples),
        frames={camera.name: watch(stage, camera, length) for camera in stage.room.store.cameras},
        length_s=length,
    )


class _Wires:
    """Messages on their way: numbered, delayed, lost and repeated."""

    def __init__(self, case: Case) -> None:
        self._case = case
        self._rng = _random(f"{case.name}/wires")
        self._queue: list[tuple[int, int, AnyInput]] = []
        self._count = itertools.count()
        self._boots: dict[str, str] = {}
        self._clock_ms: dict[str, int] = {}
        self._last_ns: dict[str, int] = {}

    def inputs(self) -> list[AnyInput]:
        """Return all inputs in the order of their arrival."""
        case = self._case
        self._push(START_NS, LinkState(at=stamp(START_NS), online=True))
        names = [f"shelf/{shelf.name}" for shelf in case.store.shelves]
        names += [f"camera/{camera.name}" for camera in case.store.cameras]
        names += [f"scanner/{SCANNER}", *(f"door/{door}" for door in case.store.doors)]
        for name in names:
            self._boots[name] = f"{int(self._rng.integers(2**63)):016x}"
            self._clock_ms[name] = int(self._rng.integers(2**31))
            at_ns = START_NS + int(self._rng.integers(50_000_000))
            status = DeviceStatus(
                at=stamp(at_ns), device=name, state="online", boot=self._boots[name], fw="exam"
            )
            self._push(at_ns, status)
        for number in range(len(case.store.shelves)):
            self._samples(number)
        for camera, frames in case.frames.items():
            self._people(camera, frames)
        self._scans()
        self._ticks()
        return [heapq.heappop(self._queue)[2] for _ in range(len(self._queue))]

    def _samples(self, number: int) -> None:
        """Send a shelf's blocks."""
        case, rng, scales = self._case, self._rng, self._case.condition.scales
        device = f"shelf/{case.store.shelves[number].name}"
        plates = case.stage.room.layout.shelf_plates[number]
        part = case.read_g[:, plates.start : plates.stop]
        first = int(rng.integers(BLOCK))
        for seq, start in enumerate(range(first, len(part) - BLOCK, BLOCK)):
            first_ns = START_NS + start * PERIOD_US * 1_000
            ready_ns = first_ns + (BLOCK - 1) * PERIOD_US * 1_000
            arrival_ns = self._arrival(device, ready_ns, scales.late, scales.late_s)
            if rng.random() < scales.lost:
                continue
            block = Samples(
                at=stamp(arrival_ns),
                device=device,
                boot=self._boots[device],
                seq=seq,
                t_ms=self._t_ms(device, first_ns),
                period_us=PERIOD_US,
                unit="g",
                w=rounded(part[start : start + BLOCK]),
            )
            self._push(arrival_ns, block)
            if rng.random() < scales.repeated:
                again_ns = arrival_ns + int(rng.uniform(1e6, scales.late_s * 1e9))
                self._push(again_ns, msgspec.structs.replace(block, at=stamp(again_ns)))

    def _people(self, camera: str, frames: list[Frame]) -> None:
        """Send a camera's frames, but those while it is stopped."""
        rng, eyes = self._rng, self._case.condition.eyes
        device = f"camera/{camera}"
        late_s = rng.uniform(*eyes.late_s)
        clocked = rng.random() < eyes.clocked
        stop_s = rng.uniform(4.0, self._case.length_s) if rng.random() < eyes.stop else 1e9
        until_s = stop_s + rng.uniform(*eyes.stop_s)
        for seq, frame in enumerate(frames):
            if stop_s <= frame.at_s < until_s:
                continue
            frame_ns = START_NS + int(frame.at_s * 1e9)
            sent_ns = frame_ns + int((late_s + rng.uniform(0.0, eyes.jitter_s)) * 1e9)
            arrival_ns = self._arrival(device, sent_ns, 0.0, 0.0)
            people = People(
                at=stamp(arrival_ns),
                device=device,
                boot=self._boots[device],
                seq=seq,
                t_ms=self._t_ms(device, frame_ns),
                host_boot=BOOT if clocked else None,
                host_mono_ms=frame_ns / 1e6 if clocked else None,
                people=frame.people,
            )
            self._push(arrival_ns, people)

    def _scans(self) -> None:
        device = f"scanner/{SCANNER}"
        for seq, (at_s, shopper) in enumerate(self._case.stage.scans):
            scan_ns = START_NS + int(at_s * 1e9)
            arrival_ns = self._arrival(device, scan_ns, 0.0, 0.0)
            token = f"{self._case.name}/{shopper}".encode()
            scan = EntryScanned(
                at=stamp(arrival_ns),
                device=device,
                boot=self._boots[device],
                seq=seq,
                t_ms=self._t_ms(device, scan_ns),
                verdict="valid",
                shopper=shopper,
                token_hash=hashlib.blake2b(token, digest_size=16).hexdigest(),
                expires_utc_ns=START_UTC_NS + (scan_ns - START_NS) + TOKEN_NS,
            )
            self._push(arrival_ns, scan)

    def _ticks(self) -> None:
        """Let time pass: ten times a second, and at last, with the sensors silent, each second."""
        end_ns = START_NS + int(self._case.length_s * 1e9)
        times = [*range(START_NS, end_ns, 100_000_000)]
        times += [end_ns + second * 1_000_000_000 for second in range(QUIET_S)]
        for at_ns in times:
            self._push(at_ns, Tick(at=stamp(at_ns)))

    def _arrival(self, device: str, sent_ns: int, late: float, late_s: float) -> int:
        """Return when a message arrives: in order for each device, now and then held up."""
        delay_s = self._rng.uniform(0.003, 0.025)
        if late and self._rng.random() < late:
            delay_s += self._rng.uniform(0.06, late_s)
        arrival_ns = max(sent_ns + int(delay_s * 1e9), self._last_ns.get(device, 0) + 1_000)
        self._last_ns[device] = arrival_ns
        return arrival_ns

    def _t_ms(self, device: str, at_ns: int) -> int:
        return (self._clock_ms[device] + (at_ns - START_NS) // 1_000_000) % 2**32

    def _push(self, at_ns: int, item: AnyInput) -> None:
        heapq.heappush(self._queue, (at_ns, next(self._count), item))


def _random(name: str) -> np.random.Generator:
    """Return random numbers that a name decides."""
    return np.random.default_rng(list(hashlib.blake2b(name.encode(), digest_size=16).digest()))


def stamp(mono_ns: int) -> Stamp:
    """Return an instant as the intake would stamp it."""
    utc_ns = START_UTC_NS + (mono_ns - START_NS)
    return Stamp(mono_ns=mono_ns, utc_ns=utc_ns, utc_trusted=True, utc_error_ms=5, boot=BOOT)
