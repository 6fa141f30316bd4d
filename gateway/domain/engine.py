# SPDX-License-Identifier: Apache-2.0
"""The one door into the engine: a numbered input in, events and effects out.

The engine has no clock, no randomness and no I/O: the same inputs give the same events.
"""

from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

import numpy as np

from gateway.domain import changes, commands, events, sessions
from gateway.domain.devices import Device, Marks, Verdict
from gateway.domain.effects import AnyEffect
from gateway.domain.events import Event
from gateway.domain.inputs import (
    AnyInput,
    Command,
    DeviceInput,
    DeviceStatus,
    DoorState,
    Dropped,
    EntryScanned,
    GatewayGap,
    GatewayStarted,
    GatewayStopping,
    LinkState,
    People,
    Samples,
    StateRow,
    StoreChanged,
    Tick,
)
from gateway.domain.layout import Layout
from gateway.domain.output import Step
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

SILENT_NS_MAX: Final = 5_000_000_000
"""A shelf or a camera that says nothing for this long is lost."""
LONG_LOST_NS: Final = -1
"""In place of when a device was lost: in an earlier epoch."""
DROPS_TOLD_NS: Final = 10_000_000_000
DRIFT_SAVED_NS: Final = 60_000_000_000
FIRST_SAVED_NS: Final = 1_000_000_000
"""How soon the first weight of a plate is written down, for a restart to compare with."""
DRIFT_G: Final = 0.5
CLOCK_STEP_NS: Final = 500_000_000
MISDATED_NS: Final = 200_000_000
"""Blocks may overlap by this much through jitter; beyond it, the earlier ones were misdated."""
AWAY_NS: Final = 20_000_000_000
FLAP_NS: Final = 3_000_000_000
"""A device is told to be lost or recovered at most this often."""


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
        self._state.number = number
        self._dispatch(step, item)
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
            "holding": state.holdings,
            "token": state.tokens,
            "command": state.commands,
            "marks": state.devices,
            "store": {"overrides": state.overrides},
        }
        return tables[kind].get(key)

    def _dispatch(self, step: Step, item: AnyInput) -> None:  # noqa: C901, PLR0912  One arm a kind.
        match item:
            case Samples():
                self._weigh(step, item)
            case People():
                self._see(step, item)
            case Tick():
                _tick(step)
            case EntryScanned():
                if _accept(step, item) is not None:
                    step.touch("marks", item.device)
                    sessions.enter(step, item)
            case DoorState():
                if _accept(step, item) is not None:
                    step.touch("marks", item.device)
            case DeviceStatus():
                _status(step, item)
            case Dropped():
                sessions.drop(step, item.device, item.reason, item.count)
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
                _started(step, item)
            case GatewayGap():
                _gap(step, item)
            case GatewayStopping():
                _tell_drops(step)
                step.emit(events.GatewayStoppedData, "gateway", reason=item.reason)

    def _weigh(self, step: Step, item: Samples) -> None:
        name = item.device.removeprefix("shelf/")
        places = step.layout.shelves.get(name)
        if places is None or {len(row) for row in item.w} != {len(places.plates)}:
            sessions.drop(step, item.device, "unknown-shape")
            return
        device = _accept(step, item)
        if device is None:
            return
        period_ns = item.period_us * 1_000
        start_ns = device.time_of(item, (len(item.w) - 1) * period_ns)
        shelf = _shelf(step, name, len(places.plates))
        if shelf.end_ns:
            back_ns = shelf.end_ns + period_ns - start_ns
            if back_ns > MISDATED_NS:
                # A burst after a stall: what came before it was dated too late by this much.
                look_away(shelf, start_ns)
            elif -back_ns > AWAY_NS:
                look_away(shelf, shelf.end_ns)
        block_g = places.grams(item.w, raw=item.unit == "raw")
        for change in weigh(shelf, block_g, start_ns, period_ns):
            changes.settled(step, name, change)
        changes.decide_due(step)

    def _see(self, step: Step, item: People) -> None:
        device = _accept(step, item)
        if device is None:
            return
        camera = item.device.removeprefix("camera/")
        at_ns = device.time_of(item, 0)
        prefix = f"{step.state.epoch[:8]}-"
        doors = [*step.layout.entry, *step.layout.exit]
        people = step.state.people
        present = people.see(camera, item.boot, item.people, at_ns, prefix=prefix, doors=doors)
        if people.turned_away:
            sessions.drop(step, item.device, "too-many-people", people.turned_away)
            people.turned_away = 0
        sessions.seen(step, present)

    def _change_store(self, step: Step, layout: Layout) -> None:
        """Go on under another store: plates that stay keep their weights."""
        state = step.state
        before = step.layout
        kept = {
            name
            for name, old in before.shelves.items()
            if (new := layout.shelves.get(name)) is not None
            and new.shelf.plates == old.shelf.plates
        }
        # What waits on a shelf that changes is decided by the plates that it was felt on.
        changes.decide_shelves(step, set(before.shelves) - kept)
        self._layout = step.layout = layout
        state.store = layout.store
        for name in list(state.shelves):
            if name not in kept:
                del state.shelves[name]
        for plate in list(state.holdings):
            if plate not in layout.plates:
                del state.holdings[plate]
                step.touch("holding", plate)
            elif layout.plates[plate].calibration != before.plates[plate].calibration:
                # Grams of another calibration compare with nothing.
                state.holdings[plate].weighed_g = None
                step.touch("holding", plate)


def _shelf(step: Step, name: str, plates: int) -> ShelfState:
    """Return a shelf's state; at its first block, compare with what the plates weighed last."""
    state = step.state
    shelf = state.shelves.get(name)
    if shelf is None:
        shelf = state.shelves[name] = new_shelf(plates)
        for place in step.layout.shelves[name].plates:
            holding = state.holdings.get(place.name)
            if holding is not None and holding.weighed_g is not None:
                shelf.reference_g[place.index] = holding.weighed_g
        look_away(shelf, step.now_ns if state.gap_since_ns is None else state.gap_since_ns)
    return shelf


def _accept(step: Step, item: DeviceInput) -> Device | None:
    """Return the device of a new message; None for a repeat, which is counted."""
    state = step.state
    if item.device not in step.layout.devices:
        sessions.drop(step, item.device, "unknown-device")
        return None
    device = state.devices.setdefault(item.device, Device())
    verdict, missing = device.marks.judge(item.boot, item.seq)
    if missing:
        sessions.drop(step, item.device, "missing", missing)
    useless = {Verdict.REPEAT, Verdict.STALE}
    if isinstance(item, Samples):
        useless.add(Verdict.LATE)  # Its place in the window is taken.
    if verdict in useless:
        sessions.drop(step, item.device, verdict.value)
        return None
    if verdict is Verdict.RESTARTED:
        device.restarted()
        shelf = state.shelves.get(item.device.removeprefix("shelf/"))
        if item.device.startswith("shelf/") and shelf is not None:
            look_away(shelf, shelf.end_ns)
            shelf.end_ns = 0
    device.heard_ns, device.boot = step.now_ns, item.boot
    if device.lost_ns is not None:
        _recovered(step, item.device, device)
    return device


def _recovered(step: Step, name: str, device: Device) -> None:
    """Tell that a device is back, unless that was told just now: a tick tells it later."""
    assert device.lost_ns is not None
    if device.told_ns is not None and step.now_ns - device.told_ns < FLAP_NS:
        return
    device.told_ns = step.now_ns
    known = device.lost_ns != LONG_LOST_NS
    lost_ms = (step.now_ns - device.lost_ns) // 1_000_000 if known else None
    device.lost_ns = None
    step.touch("marks", name)
    step.emit(events.DeviceRecovered, name, device=name, lost_ms=lost_ms)


def _lost(step: Step, name: str, device: Device, reason: str) -> None:
    device.lost_ns = device.told_ns = step.now_ns
    step.touch("marks", name)
    step.emit(events.DeviceLost, name, device=name, reason=reason)
    shelf = step.state.shelves.get(name.removeprefix("shelf/"))
    if name.startswith("shelf/") and shelf is not None and shelf.end_ns:
        look_away(shelf, shelf.end_ns)


def _status(step: Step, item: DeviceStatus) -> None:
    """A birth or a will; a will of another boot than the one heard last is ignored."""
    if item.device not in step.layout.devices:
        sessions.drop(step, item.device, "unknown-device")
        return
    device = step.state.devices.setdefault(item.device, Device())
    if item.state == "offline":
        other = bool(item.boot and device.boot) and item.boot != device.boot
        if not other and device.lost_ns is None:
            _lost(step, item.device, device, item.reason or "offline")
        return
    device.heard_ns, device.boot = step.now_ns, item.boot
    if device.lost_ns is not None:
        _recovered(step, item.device, device)


def _started(step: Step, item: GatewayStarted) -> None:
    previous = item.previous_sequence
    step.emit(
        events.GatewayStartedData,
        "gateway",
        version=item.version,
        previous_epoch=item.previous_epoch,
        previous_sequence=None if previous is None else f"{previous:020d}",
    )
    for name, device in step.state.devices.items():
        device.heard_ns = step.now_ns
        device.lost_ns = None if device.lost_ns is None else LONG_LOST_NS
        device.told_ns = None
        device.restarted()
        if not name.startswith(("scanner/", "door/")):
            device.marks = Marks()  # Written down only when it was lost: of no use by now.
        step.touch("marks", name)


def _gap(step: Step, item: GatewayGap) -> None:
    """The gateway was down: what settles first on each plate is compared with before."""
    state = step.state
    same_boot = item.since_boot == step.at.boot
    # After a reboot the monotonic clock began again; UTC is the best that is left.
    down_ns = step.at.utc_ns - item.since_utc_ns
    state.gap_since_ns = item.since_mono_ns if same_boot else step.now_ns - max(down_ns, 0)


def _tick(step: Step) -> None:
    state = step.state
    changes.decide_due(step)
    sessions.tick(step)
    kept = {person for session in state.sessions.values() for person in session.persons}
    state.people.forget_strangers(kept, step.now_ns)
    for name in sorted(step.layout.devices):
        if name.startswith(("shelf/", "camera/")):
            device = state.devices.setdefault(name, Device(heard_ns=step.now_ns))
            if device.lost_ns is None and step.now_ns - device.heard_ns > SILENT_NS_MAX:
                _lost(step, name, device, "silent")
    for name, device in state.devices.items():
        if device.lost_ns is not None and device.heard_ns > device.lost_ns >= 0:
            _recovered(step, name, device)
    if step.now_ns - state.drops_told_ns >= DROPS_TOLD_NS:
        _tell_drops(step)
        _forget_tokens(step)
    every_ns = DRIFT_SAVED_NS if len(state.holdings) >= len(step.layout.plates) else FIRST_SAVED_NS
    if step.now_ns - state.drift_saved_ns >= every_ns:
        _save_drift(step)
    if state.gap_since_ns is not None:
        _end_gap(step)
    _watch_clock(step)


def _end_gap(step: Step) -> None:
    """Note that every shelf which is there has been compared with before the gap."""
    state = step.state
    for name in step.layout.shelves:
        shelf, device = state.shelves.get(name), state.devices.get(f"shelf/{name}")
        lost = device is not None and device.lost_ns is not None
        if not lost and (shelf is None or shelf.unwatched.any() or shelf.pending):
            return
    if not any(change.reason == "gateway-down" for change in state.changes):
        state.gap_since_ns = None


def _tell_drops(step: Step) -> None:
    state = step.state
    state.drops_told_ns = step.now_ns
    for key in sorted(state.drops):
        device, _, reason = key.rpartition(" ")
        if state.drops[key] > 0:
            step.emit(
                events.InputsDropped, device, device=device, reason=reason, count=state.drops[key]
            )
    state.drops = {}


def _forget_tokens(step: Step) -> None:
    """Forget tokens that cannot verify any more, but none while UTC is in doubt."""
    if not step.at.utc_trusted:
        return
    expired = [key for key, utc_ns in step.state.tokens.items() if utc_ns < step.at.utc_ns]
    for key in expired:
        del step.state.tokens[key]
        step.touch("token", key)


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
                changes.weighed(step, place.name, weight_g)


def _watch_clock(step: Step) -> None:
    """Tell when UTC moves against the monotonic clock, or begins to be trusted."""
    state, at = step.state, step.at
    offset_ns = at.utc_ns - at.mono_ns
    before_ns, trusted = state.utc_offset_ns, state.utc_trusted
    state.utc_trusted = at.utc_trusted
    if before_ns is None:
        state.utc_offset_ns = offset_ns
        return
    step_ns = offset_ns - before_ns
    if abs(step_ns) >= CLOCK_STEP_NS or (at.utc_trusted and not trusted):
        state.utc_offset_ns = offset_ns
        step.emit(
            events.ClockStepped,
            "gateway",
            step_ms=step_ns // 1_000_000,
            utc_minus_mono_ns=offset_ns,
        )


def fold(engine: Engine, items: Iterable[tuple[int, AnyInput]]) -> Iterable[Event]:
    """Step through numbered inputs; yield what they make."""
    for number, item in items:
        yield from engine.step(number, item).events
