# SPDX-License-Identifier: Apache-2.0
"""The one door into the engine: a numbered input in, events and effects out.

The engine has no clock, no randomness and no I/O: the same inputs give the same events.
"""

from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

import numpy as np

from gateway.domain import (
    changes,
    closing,
    commands,
    drops,
    events,
    holdings,
    lessons,
    looking,
    presence,
    products,
    restock,
    scale_keys,
    scans,
    sessions,
    trembling,
    unweighed,
)
from gateway.domain import timekeeping as time
from gateway.domain.effects import AnyEffect
from gateway.domain.events import Event
from gateway.domain.inputs import (
    AnyInput,
    Command,
    DeviceStatus,
    DoorNotOpened,
    DoorState,
    Dropped,
    EntryScanned,
    GatewayGap,
    GatewayStarted,
    GatewayStopping,
    LinkState,
    Looked,
    People,
    ProductScanned,
    Rezeroed,
    Samples,
    ScanRejected,
    StateRow,
    StoreChanged,
    Tick,
)
from gateway.domain.layout import Layout
from gateway.domain.output import Observe, Step
from gateway.domain.recovery import started
from gateway.domain.state import (
    EngineState,
    SavedPerson,
    SavedSession,
    begin,
    decode_snapshot,
    encode_row,
    encode_snapshot,
)
from gateway.domain.weighing import ShelfState, look_away, new_shelf, weigh

DROPS_TOLD_NS: Final = 10_000_000_000
DRIFT_SAVED_NS: Final = 60_000_000_000
FIRST_SAVED_NS: Final = 1_000_000_000
"""How soon the first weight of a plate is written down, for a restart to compare with."""
PLATES_LOOKED_NS: Final = 60_000_000_000
"""How often all plates are looked at: what is told of them has lasted for minutes."""
DRIFT_G: Final = 0.5
MISDATED_NS: Final = 200_000_000
"""Blocks may overlap by this much through jitter; beyond it, the earlier ones were misdated."""
WEIGHED_NS: Final = 250_000_000
"""Longer blocks are weighed in pieces: a step must lie in the latest windows."""
FRAME_NS_MIN: Final = 4_000_000
"""No camera is set to send frames closer together."""
CAMERA_LAG_NS: Final = 120_000_000
"""From a frame to its promptest message, where the camera does not tell by the gateway's clock."""


class Stepped(NamedTuple):
    """What one input made."""

    events: list[Event]
    effects: list[AnyEffect]


class Engine:
    """A store's state, advanced one input at a time."""

    def __init__(self) -> None:
        self._state: EngineState | None = None
        self._layout: Layout | None = None
        self._touched: dict[tuple[str, str], None] = {}
        self.observe: Observe | None = None
        """Is shown each change right before it is decided; for who explains, and alters nothing."""

    @property
    def link_online(self) -> bool:
        """Return what the last link input said."""
        return self._state is not None and self._state.link_online

    @property
    def number(self) -> int:
        """Return the number of the last input, 0 before the first."""
        return 0 if self._state is None else self._state.number

    @property
    def state(self) -> EngineState:
        """Return the state, to look at; only steps change it."""
        assert self._state is not None, "the first input of an engine is GatewayStarted"
        return self._state

    def step(self, number: int, item: AnyInput) -> Stepped:
        """Advance by one input.

        Args:
            number: Contiguous within an epoch; the first input is number 1.
            item: The input; the first of an epoch is ``GatewayStarted``.
        """
        if isinstance(item, GatewayStarted):
            self._state = begin(item)
            self._layout = Layout(self._state.store)
        assert self._state is not None, "the first input of an engine is GatewayStarted"
        assert self._layout is not None
        step = Step(self._state, self._layout, number, item.at)
        step.observe = self.observe
        self._state.number = number
        self._dispatch(step, item)
        time.watch_clock(step)
        self._touched.update(step.touched)
        return Stepped(step.events, step.effects)

    def changed_rows(self) -> list[StateRow]:
        """Return the durable rows that changed since the last call."""
        rows = [encode_row(kind, key, self._row(kind, key)) for kind, key in self._touched]
        self._touched.clear()
        return rows

    def snapshot(self) -> bytes:
        """Return the complete state."""
        return encode_snapshot(self.state)

    @classmethod
    def restore(cls, snapshot: bytes) -> "Engine":
        """Return an engine that goes on where the snapshot was taken."""
        engine = cls()
        engine._state = decode_snapshot(snapshot)
        engine._layout = Layout(engine._state.store)
        return engine

    def _row(self, kind: str, key: str) -> object | None:
        state = self.state
        if kind == "session":
            session = state.sessions.get(key)
            if session is None:
                return None
            saved = [
                SavedPerson(person.id, list(person.tracks), person.floor_mm, person.mixed)
                for name in session.persons
                if (person := state.people.persons.get(name)) is not None
            ]
            return SavedSession(session, saved)
        tables: dict[str, Mapping[str, object]] = {
            "closed": state.closed,
            "review": state.reviews,
            "decided": state.decided,
            "doubt": state.doubts,
            "holding": state.holdings,
            "token": state.tokens,
            "command": state.commands,
            "marks": state.devices,
            "store": {"overrides": state.overrides},
            "clock": {"told": state.told_clock},
            "horizon": {"tokens": state.tokens_gone_utc_ns},
            "product": state.products,
            "learned": state.learned,
        }
        return tables[kind].get(key)

    def _dispatch(self, step: Step, item: AnyInput) -> None:  # noqa: C901, PLR0912, PLR0915  One arm a kind.
        match item:
            case Samples():
                self._weigh(step, item)
            case People():
                self._see(step, item)
            case Looked():
                device = presence.accept(step, item)
                if device is not None:
                    looking.take(step, item, device)
                    changes.decide_due(step)
            case Tick():
                _tick(step)
            case EntryScanned():
                if presence.accept(step, item) is not None:
                    step.touch("marks", item.device)
                    sessions.enter(step, item)
            case ProductScanned() | ScanRejected():
                if presence.accept(step, item) is not None:
                    step.touch("marks", item.device)
                    scans.tell(step, item)
            case DoorState():
                if presence.accept(step, item) is not None:
                    step.touch("marks", item.device)
            case DoorNotOpened():
                sessions.shut_out(step, item)
            case DeviceStatus():
                presence.status(step, item)
            case Rezeroed():
                scale_keys.rezeroed(step, item)
            case Dropped():
                drops.drop(step, item.device, item.reason, item.count)
            case LinkState():
                step.state.link_online = item.online
            case Command():
                layout = commands.carry_out(step, item)
                if layout is not None:
                    self._change_store(step, layout)
            case StoreChanged():
                if item.store.version != step.state.file_version:
                    step.state.file_version = item.store.version
                    step.state.overrides = None
                    step.touch("store", "overrides")
                    self._change_store(step, Layout(item.store))
            case GatewayStarted():
                started(step, item)
            case GatewayGap():
                time.begin_gap(step, item)
            case GatewayStopping():
                drops.tell_drops(step)
                lessons.save(step)
                holdings.save(step)
                step.emit(events.GatewayStoppedData, "gateway", reason=item.reason)

    def _weigh(self, step: Step, item: Samples) -> None:
        name = item.device.removeprefix("shelf/")
        places = step.layout.shelves.get(name)
        if places is None or {len(row) for row in item.w} != {len(places.plates)}:
            drops.drop(step, item.device, "unknown-shape")
            return
        device = presence.accept(step, item)
        if device is None:
            return
        period_ns = item.period_us * 1_000
        lasts_ns = len(item.w) * period_ns
        start_ns = presence.time_of(step, device, item, lasts_ns - period_ns, lasts_ns)
        shelf = _shelf(step, name, len(places.plates))
        if shelf.end_ns:
            back_ns = shelf.end_ns + period_ns - start_ns
            if back_ns > MISDATED_NS:
                # A burst after a stall: what came before it was dated too late by this much.
                presence.unwatch(step, item.device, shelf, start_ns)
        block_g = places.grams(item.w, raw=item.unit == "raw")
        shelves = step.state.shelves
        beside = [shelves[one] for one in step.layout.beside[name] if one in shelves]
        rows = max(WEIGHED_NS // period_ns, 1)
        for first in range(0, len(block_g), rows):
            piece_g, at_ns = block_g[first : first + rows], start_ns + first * period_ns
            for change in weigh(shelf, piece_g, at_ns, period_ns, beside):
                changes.settled(step, name, change)
        changes.decide_due(step)

    def _see(self, step: Step, item: People) -> None:
        device = presence.accept(step, item)
        if device is None:
            return
        camera = item.device.removeprefix("camera/")
        at_ns = presence.time_of(step, device, item, 0, FRAME_NS_MIN)
        if item.host_mono_ms is None:
            at_ns -= CAMERA_LAG_NS
        prefix = f"{step.state.epoch[:8]}-"
        doors = [*step.layout.entry, *step.layout.exit]
        people = step.state.people
        scanned = sessions.who_scanned(step)
        present = people.see(
            camera, item.boot, item.people, at_ns, prefix=prefix, doors=doors, bound=scanned
        )
        sessions.corrected(step)
        people.exchanged, people.merged = [], []
        if people.turned_away:
            drops.drop(step, item.device, "too-many-people", people.turned_away)
            people.turned_away = 0
        sessions.seen(step, present)

    def _change_store(self, step: Step, layout: Layout) -> None:
        """Go on under another store: plates that stay keep their weights."""
        kept = restock.leave(step, layout)
        self._layout = step.layout = layout
        restock.enter(step, kept)


def _shelf(step: Step, name: str, plates: int) -> ShelfState:
    """Return a shelf's state; at its first block, compare with what the plates weighed last."""
    state = step.state
    shelf = state.shelves.get(name)
    if shelf is None:
        shelf = state.shelves[name] = new_shelf(plates)
        for place in step.layout.shelves[name].plates:
            holding = state.holdings.get(place.name)
            if holding is not None and holding.usual_g is not None:
                shelf.sigma_g[place.index] = holding.usual_g
            if holding is not None and holding.weighed_g is not None:
                shelf.reference_g[place.index] = holding.weighed_g
                shelf.moving[place.index] = False  # Until it was last seen, right below.
        # Nobody watched it since the gap, or since the start that first heard of it now.
        look_away(shelf, state.started_ns if state.gap_since_ns is None else state.gap_since_ns)
    return shelf


def _tick(step: Step) -> None:
    state = step.state
    changes.decide_due(step)
    changes.tidy(step)
    sessions.tick(step, closing.Open(changes.ask_before_closing, changes.forget_cart))
    kept = {person for session in state.sessions.values() for person in session.persons}
    state.people.forget_strangers(kept, step.now_ns)
    presence.watch(step)
    if step.now_ns - state.drops_told_ns >= DROPS_TOLD_NS:
        drops.tell_drops(step)
        time.forget_tokens(step)
    weighed = sum(holding.weighed_g is not None for holding in state.holdings.values())
    every_ns = DRIFT_SAVED_NS if weighed >= len(step.layout.plates) else FIRST_SAVED_NS
    if step.now_ns - state.drift_saved_ns >= every_ns:
        _save_drift(step)
        holdings.count(step)
        holdings.save(step)
        products.sweep(step)
    lessons.save_due(step)
    if step.now_ns - state.plates_looked_ns >= PLATES_LOOKED_NS:
        trembling.look(step)
        unweighed.look(step, state.plates_looked_ns)
        state.plates_looked_ns = step.now_ns
    if state.gap_since_ns is not None:
        _end_gap(step)


def _end_gap(step: Step) -> None:
    """Note that every shelf which is there has been compared with before the gap."""
    state = step.state
    for name in step.layout.shelves:
        shelf = state.shelves.get(name)
        lost = presence.is_lost(step, f"shelf/{name}")
        if not lost and (shelf is None or shelf.unwatched.any() or shelf.pending):
            return
    if not any(change.reason == "gateway-down" for change in state.changes):
        state.gap_since_ns = None


def _save_drift(step: Step) -> None:
    """Write down where settled plates have drifted to; nothing that still waits to be decided."""
    state = step.state
    state.drift_saved_ns = step.now_ns
    undecided = {change.shelf for change in state.changes}
    for name, shelf in state.shelves.items():
        if name in undecided or shelf.pending:
            continue
        for place in step.layout.shelves[name].plates:
            weight_g = float(shelf.reference_g[place.index])
            if shelf.moving[place.index] or np.isnan(weight_g):
                continue
            holding = state.holdings.get(place.name)
            before_g = holding.weighed_g if holding is not None else None
            if before_g is None or abs(before_g - weight_g) > DRIFT_G:
                holdings.weighed(step, place.name, weight_g, drifted=True)


def fold(engine: Engine, items: Iterable[tuple[int, AnyInput]]) -> Iterable[Event]:
    """Step through numbered inputs; yield what they make."""
    for number, item in items:
        yield from engine.step(number, item).events
