# SPDX-License-Identifier: Apache-2.0
"""A store of two shelves told by hand: who stands where, what lies where, moment by moment."""

from collections import Counter
from typing import Any, NamedTuple

import msgspec
import numpy as np

from gateway.domain.engine import Engine
from gateway.domain.events import Event
from gateway.domain.inputs import (
    Command,
    DeviceStatus,
    EngineSettings,
    EntryScanned,
    GatewayGap,
    GatewayStarted,
    LinkState,
    People,
    PersonSeen,
    Samples,
    Stamp,
    Tick,
    Wrist,
)
from gateway.domain.layout import Layout
from gateway.domain.store import Camera, Facing, Plate, Product, Scanner, Shelf, Store, Zone
from tests.schema_check import check_data

CRISPS, TEA, JAM, OIL = (
    "09506000130019",
    "09506000130026",
    "09506000130033",
    "09506000130040",
)
UNIT_G = {CRISPS: 150.0, TEA: 240.0, JAM: 390.0, OIL: 900.0}
ENTRY_MM = (-1_500.0, 0.0)
EXIT_MM = (2_500.0, 0.0)
AISLE_MM = (500.0, 0.0)
PERIOD_US = 16_667
PERIOD_NS = PERIOD_US * 1_000
BLOCK = 12
STEP_NS = 100_000_000
DOUBT_S = 16.0
"""After so long a cart in doubt is closed."""
BEGAN_NS = 1_000_000_000_000
UTC_NS = 1_795_000_000_000_000_000


def corner_store(**changed: Any) -> Store:
    """Two shelves of four and two plates that face each other over an aisle along x."""

    def shelf(name, front_mm, count):
        plates = tuple(
            Plate(name=f"{name}.p{n}", offset_mm=250.0 * n, width_mm=250.0) for n in range(count)
        )
        return Shelf(
            name=name,
            gondola=name[:2],
            front_mm=front_mm,
            z_mm=800.0,
            depth_mm=400.0,
            plates=plates,
        )

    store = Store(
        name="corner",
        products={
            gtin: Product(gtin=gtin, name=gtin[-3:], unit_g=unit_g, tolerance_g=0.03 * unit_g)
            for gtin, unit_g in UNIT_G.items()
        },
        shelves=(
            shelf("g1.s1", (0.0, 1_000.0, 1_000.0, 1_000.0), 4),
            shelf("g2.s1", (500.0, -1_000.0, 0.0, -1_000.0), 2),
        ),
        facings=(
            Facing(gtin=CRISPS, plates=("g1.s1.p0", "g1.s1.p1")),
            Facing(gtin=TEA, plates=("g1.s1.p2",)),
            Facing(gtin=JAM, plates=("g1.s1.p3",)),
            Facing(gtin=OIL, plates=("g2.s1.p0",)),
        ),
        zones=(
            Zone(name="in", kind="entry", x_mm=(-2_000.0, -1_000.0), y_mm=(-500.0, 500.0)),
            Zone(name="out", kind="exit", x_mm=(2_000.0, 3_000.0), y_mm=(-500.0, 500.0)),
        ),
        scanners=(Scanner(name="gate", zone="in", door="front"),),
        doors=("front",),
        cameras=(Camera(name="over", size_px=(640, 480), floor_points=()),),
    )
    return msgspec.structs.replace(store, **changed)


class Made(NamedTuple):
    """An event as a reader sees it."""

    name: str
    data: dict[str, Any]
    event: Event


class Body:
    """Somebody whom the camera sees."""

    def __init__(self, floor_mm):
        self.floor_mm = floor_mm
        self.wrist_mm = None


def epoch_name(number):
    """Return an epoch; persons are named by its beginning, so that differs too."""
    return f"{number:08x}" * 4


class Scene:
    """An engine, and a world that is advanced in steps of 100 ms."""

    def __init__(
        self, *, store=None, settings=None, noise_g=0.6, seed=1, began_ns=BEGAN_NS, start=True
    ):
        self.store = store or corner_store()
        self.settings = settings or EngineSettings()
        self.layout = Layout(self.store)
        self.noise_g = noise_g
        self.rng = np.random.default_rng(seed)
        self.now_ns = began_ns
        self.utc_shift_ns = 0
        self.utc_trusted = True
        self.boot = "kernel-1"
        self.epochs = 0
        self.boots = {name: f"boot-{name}" for name in self.layout.devices}
        self.seqs = Counter()
        self.weights_g = {place.name: 3_000.0 for place in self.layout.plates.values()}
        self.bodies = {}
        self.silent = set()
        self.events = []
        self.effects = []
        self.rows = {}
        self.inputs = []
        self.started_at = []
        if start:
            self.start()

    # The engine

    def start(self, previous=None, version="1", recovery=None):
        """Begin an epoch from the rows so far."""
        self.engine = Engine()
        self.number = 0
        self.epochs += 1
        started = GatewayStarted(
            at=self.stamp(),
            gateway="gw",
            version=version,
            epoch=epoch_name(self.epochs),
            previous_epoch=previous,
            previous_sequence=None,
            settings=self.settings,
            store=self.store,
            state=list(self.rows.values()),
            recovery=recovery,
        )
        made = self.give(started)
        self.give(LinkState(at=self.stamp(), online=True))
        return made

    def restart(self, down_s=2.0, *, reboot=False, started=True, recovery=None):
        """Kill the gateway and start it again later."""
        since = self.inputs[-1][1].at
        self.now_ns += int(down_s * 1e9)
        if reboot:
            self.utc_shift_ns += self.now_ns - 5_000_000_000
            self.now_ns = 5_000_000_000
            self.boot = f"kernel-{self.epochs + 1}"
        if started:
            self.start(epoch_name(self.epochs), recovery=recovery)
            gap = GatewayGap(
                at=self.stamp(),
                since_utc_ns=since.utc_ns,
                since_boot=since.boot,
                since_mono_ns=since.mono_ns,
            )
            self.give(gap)

    def give(self, item):
        """Step one input; return what this made."""
        self.number += 1
        self.inputs.append((self.number, item))
        stepped = self.engine.step(self.number, item)
        made = []
        for event in stepped.events:
            check_data(event.name, bytes(event.data))
            made.append(Made(event.name, msgspec.json.decode(event.data), event))
        self.events += made
        self.effects += stepped.effects
        for row in self.engine.changed_rows():
            self.rows.pop((row.kind, row.key), None)
            if not row.deletes:
                self.rows[row.kind, row.key] = row
        return made

    @property
    def state(self):
        return self.engine.state

    def stamp(self):
        utc_ns = UTC_NS + self.utc_shift_ns + self.now_ns - BEGAN_NS
        return Stamp(self.now_ns, utc_ns, self.utc_trusted, 5, self.boot)

    # The world

    def run(self, seconds):
        """Let time pass; return the events that this made."""
        before = len(self.events)
        for _ in range(round(seconds * 10)):
            self.now_ns += STEP_NS
            self.give(Tick(at=self.stamp()))
            if "camera/over" not in self.silent:
                self.give(self.frame())
            if self.now_ns // STEP_NS % 2 == 0:
                for shelf in self.layout.shelves:
                    if f"shelf/{shelf}" not in self.silent:
                        self.give(self.block(shelf))
        return self.events[before:]

    def seq(self, device):
        self.seqs[device] += 1
        return self.seqs[device] - 1

    def block(self, shelf, **changed):
        """Return the samples of the last 200 ms of a shelf."""
        device = f"shelf/{shelf}"
        plates = self.layout.shelves[shelf].plates
        still = np.array([self.weights_g[place.name] for place in plates])
        noise = self.rng.normal(0.0, self.noise_g, (BLOCK, len(plates)))
        fields = {
            "at": self.stamp(),
            "device": device,
            "boot": self.boots[device],
            "t_ms": (self.now_ns - BLOCK * PERIOD_NS) // 1_000_000 % 2**32,
            "period_us": PERIOD_US,
            "unit": "g",
            "w": (still + noise).round(1).tolist(),
        } | changed
        if "seq" not in fields:
            fields["seq"] = self.seq(device)
        return Samples(**fields)

    def frame(self, **changed):
        """Return what the camera sees now."""
        seen = []
        for track, body in self.bodies.items():
            wrists = []
            if body.wrist_mm is not None:
                wrists = [Wrist(mm=body.wrist_mm, score=0.9, sigma_mm=40.0)]
            seen.append(PersonSeen(track=track, score=0.9, floor_mm=body.floor_mm, wrists=wrists))
        device = "camera/over"
        fields = {
            "at": self.stamp(),
            "device": device,
            "boot": self.boots[device],
            "t_ms": self.now_ns // 1_000_000 % 2**32,
            "people": seen,
        } | changed
        if "seq" not in fields:
            fields["seq"] = self.seq(device)
        return People(**fields)

    def status(self, device, state, *, boot=None, reason=None):
        boot = self.boots[device] if boot is None else boot
        return self.give(
            DeviceStatus(at=self.stamp(), device=device, state=state, boot=boot, reason=reason)
        )

    def scan(self, shopper="anna", *, token=None, verdict="valid", expires_s=60.0, **changed):
        """Scan an entry token at the gate."""
        valid = verdict == "valid"
        token_hash = (token or f"token-{shopper}") if valid else None
        fields = {
            "at": self.stamp(),
            "device": "scanner/gate",
            "boot": self.boots["scanner/gate"],
            "verdict": verdict,
            "shopper": shopper if valid else None,
            "token_hash": token_hash,
            "expires_utc_ns": self.stamp().utc_ns + int(expires_s * 1e9) if valid else None,
        } | changed
        if "seq" not in fields:
            fields["seq"] = self.seq("scanner/gate")
        return self.give(EntryScanned(**fields))

    def command(self, name, data, command="c1"):
        """Give a command; return its answer and the events that it made."""
        before = len(self.effects)
        raw = data if isinstance(data, bytes) else msgspec.json.encode(data)
        made = self.give(Command(at=self.stamp(), id=command, name=name, data=msgspec.Raw(raw)))
        return self.effects[before:], made

    # Stories

    def enter(self, shopper="anna", track=None):
        """Somebody comes in through the gate; return the session."""
        track = track or shopper
        self.bodies[track] = Body(ENTRY_MM)
        self.run(0.4)
        started = [made for made in self.scan(shopper) if made.name == "session.started"]
        self.run(0.2)
        self.bodies[track].floor_mm = AISLE_MM
        self.run(0.2)
        return started[0].data["session"]

    def stand(self, track, plate):
        """Somebody steps in front of a plate."""
        x_mm, y_mm = self.layout.plates[plate].front_mm
        self.bodies[track].floor_mm = (x_mm, y_mm - 350.0 if y_mm > 0 else y_mm + 350.0)

    def reach(self, track, plate):
        """A hand goes to a plate."""
        self.stand(track, plate)
        x_mm, y_mm = self.layout.plates[plate].front_mm
        self.bodies[track].wrist_mm = (x_mm, y_mm + 60.0 if y_mm > 0 else y_mm - 60.0, 900.0)

    def act(self, track, changes_g, wait_s=2.0):
        """A hand changes what plates weigh: ``{plate: delta_g}``; return the events."""
        main = max(changes_g, key=lambda plate: abs(changes_g[plate]))
        before = len(self.events)
        self.stand(track, main)
        self.run(0.4)
        self.reach(track, main)
        self.run(0.4)
        for plate, delta_g in changes_g.items():
            self.weights_g[plate] += delta_g
        self.run(0.4)
        self.bodies[track].wrist_mm = None
        self.run(wait_s)
        return self.events[before:]

    def leave(self, track="anna", wait_s=4.0):
        """Somebody walks out; return the events. A cart in doubt takes ``DOUBT_S`` to close."""
        self.bodies[track].floor_mm = EXIT_MM
        before = len(self.events)
        self.run(0.5)
        del self.bodies[track]
        self.run(wait_s)
        return self.events[before:]

    def named(self, name):
        """Return the data of all events of a name."""
        return [made.data for made in self.events if made.name == name]

    def receipt(self, session):
        """Return the units by product of a session's last receipt."""
        last = [
            made.data
            for made in self.events
            if made.name in {"cart.closed", "cart.adjusted"} and made.data["session"] == session
        ][-1]
        return {line["gtin"]: int(line["quantity"]) for line in last["lines"]}


def names(made):
    """Return the names of events."""
    return [one.name for one in made]


def dropped(scene):
    """Return the inputs that the engine counts as dropped and has not told yet."""
    return {key: count for key, count in scene.state.drops.items() if count}
