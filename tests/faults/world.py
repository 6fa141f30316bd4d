# SPDX-License-Identifier: Apache-2.0
"""A small store in virtual time: six plates, a camera, a gate, people who come and go, and devices
that fail. It is told by hand and coarse: a step of 100 ms, bodies that jump. What it knows for
certain is what really lay on each plate."""

import random
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np

from gateway.domain.inputs import (
    AnyInput,
    DeviceStatus,
    DoorState,
    EntryScanned,
    People,
    PersonSeen,
    Samples,
    Stamp,
    Wrist,
)
from gateway.domain.layout import Layout
from gateway.domain.store import Store
from tests.gateway.domain.scene import (
    AISLE_MM,
    BLOCK,
    ENTRY_MM,
    EXIT_MM,
    PERIOD_NS,
    PERIOD_US,
    UNIT_G,
)

STEP_S = 0.1
WEIGHED_S = 4.0
START_G = 20_000.0
NOISE_G = 0.6
RESCAN_STEPS = 70
TOKEN_S = 60

Steps = Iterator[None]


@dataclass(slots=True)
class Body:
    """Somebody whom the camera sees."""

    floor_mm: tuple[float, float]
    wrist_mm: tuple[float, float, float] | None = None


@dataclass(slots=True)
class Source:
    """A device: how it numbers its messages, and what is wrong with it at present."""

    name: str
    boot: str
    seq: int = 0
    born_ns: int = 0
    silent_until_ns: int = 0
    repeats_until_ns: int = 0
    stalls_until_ns: int = 0
    future_ms: int = 0
    stalled: deque[Callable[[Stamp], AnyInput]] = field(default_factory=deque)


class World:
    """What really happens. ``step`` moves on by 100 ms."""

    def __init__(self, store: Store, rng: random.Random, visits: int) -> None:
        self.layout = Layout(store)
        self.weights_g = dict.fromkeys(self.layout.plates, START_G)
        self.bodies: dict[str, Body] = {}
        self.acts = 0
        self.now_ns = 0
        self._rng = rng
        self._noise = np.random.default_rng(rng.getrandbits(64))
        self._let_in: deque[str] = deque()
        self._steps = 0
        self.tokens = 0
        self._shown: list[str] = []
        self.sources = {
            name: Source(name, f"{rng.getrandbits(64):016x}", born_ns=-rng.randrange(10**12))
            for name in self.layout.devices
        }
        # A store is commissioned before it opens: every plate was weighed once.
        starts = sorted(rng.uniform(WEIGHED_S, 8.0 + 4.5 * visits) for _ in range(visits))
        self._coming = deque(enumerate(starts))
        self._visits: dict[str, Steps] = {}
        self._queue: deque[tuple[str, Callable[[Stamp], AnyInput]]] = deque()

    @property
    def over(self) -> bool:
        """Whether everybody has come and gone."""
        return not self._coming and not self._visits

    def door_opened(self, session: str) -> None:
        """Take the gateway's word that the door may open."""
        self._let_in.append(session)

    def step(self, now_ns: int, put: Callable[[Callable[[Stamp], AnyInput], bool], None]) -> None:
        """Move on, and hand what devices say to ``put``: a maker of the input, and whether the
        device sends it again when nobody took it."""
        self.now_ns = now_ns
        self._steps += 1
        while self._coming and self._coming[0][1] <= self._steps * STEP_S:
            number, _ = self._coming.popleft()
            self._visits[f"v{number}"] = self._visit(f"v{number}")
        for name, visit in list(self._visits.items()):
            if next(visit, self) is self:
                del self._visits[name]
        while self._queue:
            device, make = self._queue.popleft()
            self._send(device, make, put, sure=True)
        self._send("camera/over", self._frame(), put)
        if self._steps % 2 == 0:
            for shelf in self.layout.shelves:
                self._send(f"shelf/{shelf}", self._block(shelf), put)

    # People.

    def _visit(self, name: str) -> Steps:
        rng = self._rng
        while any(body.floor_mm == ENTRY_MM for body in self.bodies.values()):
            yield
        body = self.bodies[name] = Body(ENTRY_MM)
        yield from _wait(4)
        for _ in range(3):
            self._let_in.clear()
            self._scan(name)
            waited = 0
            while not self._let_in and waited < RESCAN_STEPS:
                waited += 1
                yield
            if self._let_in:
                break
        else:
            del self.bodies[name]
            return
        self._let_in.clear()
        yield from _wait(2)
        body.floor_mm = (AISLE_MM[0] - rng.uniform(0, 300), AISLE_MM[1])
        yield from _wait(2)
        held: list[str] = []
        for _ in range(rng.randrange(4)):
            yield from self._act(body, held)
        body.floor_mm = EXIT_MM
        yield from _wait(5)
        del self.bodies[name]

    def _act(self, body: Body, held: list[str]) -> Steps:
        rng = self._rng
        facing = rng.choice(self.layout.store.facings)
        plate = rng.choice(facing.plates)
        gtin, back = facing.gtin, False
        if held and rng.random() < 0.35:
            gtin, back = held.pop(rng.randrange(len(held))), True
            if rng.random() < 0.7:  # Mostly where it belongs.
                homes = [one for one in self.layout.store.facings if one.gtin == gtin]
                plate = homes[0].plates[0] if homes else plate
        x_mm, y_mm = self.layout.plates[plate].front_mm
        body.floor_mm = (x_mm, y_mm - 350.0 if y_mm > 0 else y_mm + 350.0)
        yield from _wait(3)
        body.wrist_mm = (x_mm, y_mm + 60.0 if y_mm > 0 else y_mm - 60.0, 900.0)
        yield from _wait(3)
        units = 1 if back or rng.random() < 0.7 else 2
        self.weights_g[plate] += (1 if back else -units) * UNIT_G[gtin]
        self.acts += 1
        if not back:
            held += [gtin] * units
        yield from _wait(3)
        body.wrist_mm = None
        yield from _wait(rng.randrange(4, 10))

    # Devices.

    def restart(self, device: str) -> None:
        """A device restarts: another boot, numbers and clock from 0."""
        source = self.sources[device]
        source.boot = f"{self._rng.getrandbits(64):016x}"
        source.seq, source.born_ns = 0, self.now_ns
        source.stalled.clear()

    def status(self, device: str, state: str) -> Callable[[Stamp], AnyInput]:
        """Return a birth or a will."""
        boot = self.sources[device].boot
        return lambda at: DeviceStatus(at=at, device=device, state=state, boot=boot, fw="1")

    def _send(
        self,
        device: str,
        make: Callable[[Stamp], AnyInput],
        put: Callable[[Callable[[Stamp], AnyInput], bool], None],
        *,
        sure: bool = False,
    ) -> None:
        source = self.sources[device]
        if self.now_ns < source.silent_until_ns and not sure:
            return
        if self.now_ns < source.stalls_until_ns:
            source.stalled.append(make)
            return
        while source.stalled:
            put(source.stalled.popleft(), sure)
        put(make, sure)
        if self.now_ns < source.repeats_until_ns:
            put(make, sure)

    def _numbered(self, device: str, age_ns: int = 0) -> dict[str, object]:
        source = self.sources[device]
        source.seq += 1
        t_ms = (self.now_ns - age_ns - source.born_ns) // 1_000_000 + source.future_ms
        return {
            "device": device,
            "boot": source.boot,
            "seq": source.seq - 1,
            "t_ms": t_ms % 2**32,
        }

    def _scan(self, name: str) -> None:
        self.tokens += 1
        token = f"token-{self.tokens}-{name}"
        self._shown.append(token)
        self._queue.append(("scanner/gate", self._read(token, name)))
        if self._rng.random() < 0.2:  # A screenshot of this token, or of an old one.
            number = self._rng.randrange(self.tokens) + 1
            self._queue.append(("scanner/gate", self._read(self._shown[number - 1], name)))
        if self._rng.random() < 0.3:
            door = self._numbered("door/front")
            self._queue.append(("door/front", lambda at: DoorState(at=at, open=True, **door)))

    def _read(self, token: str, name: str) -> Callable[[Stamp], AnyInput]:
        fields = self._numbered("scanner/gate")
        return lambda at: EntryScanned(
            at=at,
            verdict="valid",
            shopper=f"shopper-{name}",
            token_hash=token,
            expires_utc_ns=at.utc_ns + TOKEN_S * 1_000_000_000,
            **fields,
        )

    def _frame(self) -> Callable[[Stamp], AnyInput]:
        people = [
            PersonSeen(
                track=track,
                score=0.9,
                floor_mm=body.floor_mm,
                wrists=[]
                if body.wrist_mm is None
                else [Wrist(mm=body.wrist_mm, score=0.9, sigma_mm=40.0)],
            )
            for track, body in self.bodies.items()
        ]
        fields = self._numbered("camera/over")
        return lambda at: People(at=at, people=people, **fields)

    def _block(self, shelf: str) -> Callable[[Stamp], AnyInput]:
        device = f"shelf/{shelf}"
        plates = self.layout.shelves[shelf].plates
        still = np.array([self.weights_g[place.name] for place in plates])
        noise = self._noise.normal(0.0, NOISE_G, (BLOCK, len(plates)))
        w = (still + noise).round(1).tolist()
        fields = self._numbered(device, BLOCK * PERIOD_NS)
        return lambda at: Samples(at=at, period_us=PERIOD_US, unit="g", w=w, **fields)


def _wait(steps: int) -> Steps:
    for _ in range(steps):
        yield
