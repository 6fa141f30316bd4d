# SPDX-License-Identifier: Apache-2.0
"""A replay that looks at one change: what was felt and seen, how its explanations fared."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec
import numpy as np

from gateway.domain.choices import identified, plain
from gateway.domain.engine import Engine
from gateway.domain.events import Event
from gateway.domain.inputs import AnyInput, People, Samples, Tick
from gateway.domain.layout import ShelfPlaces
from gateway.domain.output import Step, rfc3339
from gateway.domain.state import EngineState, OpenChange
from gateway.replaying import replay
from gateway.why.facts import Curve, Deed, Evidence, Point, Possibility, Shift, Told, Turn
from gateway.why.judging import Judged, judge, nearest
from gateway.why.records import Seen

AROUND_NS: Final = 4_000_000_000
"""How much is kept before a change and after it."""
SHIFT: Final = 0.05
"""A later input that moves a probability by more is told."""
POSSIBILITIES_MAX: Final = 6
TURNS_MAX: Final = 20
COURSE_MAX: Final = 400
POINTS_MAX: Final = 1_500
PERSONS_MAX: Final = 8

Key = tuple[tuple[str, ...], ...]
Sights = list[tuple[int, float, float, float]]


def recall(paths: Sequence[Path], seen: Seen) -> Evidence | None:
    """Replay segments and return what they tell of a change; None: it is not decided in them.

    Raises:
        OSError: A file cannot be read.
        JournalError: A file is no journal.
    """
    watcher = _Watcher(seen)
    replay(paths, watcher.made, on_input=watcher.before, on_engine=watcher.begin)
    watcher.look()
    return watcher.evidence()


class _Watcher:
    """Looks at the engine after every input."""

    def __init__(self, seen: Seen) -> None:
        self._seen = seen
        self._low_ns, self._high_ns = seen.since_ns - AROUND_NS, seen.stable_ns + AROUND_NS
        self._engine: Engine | None = None
        self._item: AnyInput | None = None
        self._events: list[Told] = []
        self._decided: list[str] = []
        self._weights: list[tuple[np.ndarray, np.ndarray]] = []
        self._weighed_ns = 0
        self._sights: dict[str, Sights] = {}
        self._sessions: dict[str, str] = {}
        self._judged: Judged | None = None
        self._change: OpenChange | None = None
        self._at: tuple[str, str] = ("", "")
        self._places: ShelfPlaces | None = None
        self._beam: object = None
        self._deeds: dict[Key, list[Deed]] = {}
        self._course: list[tuple[float, dict[Key, float]]] = []
        self._last: dict[Key, float] = {}
        self._turns: list[tuple[Turn, dict[Key, tuple[float, float]]]] = []
        self._ended = ""

    # What a replay calls.

    def begin(self, engine: Engine) -> None:
        """Go on with another segment's engine."""
        self.look()
        self._engine = engine
        engine.observe = self._observe
        if engine.number:
            self._beam = engine.state.beliefs.beam  # Read again: it has not changed.

    def before(self, _number: int, item: AnyInput) -> None:
        """Look at what the input before has made."""
        self.look()
        self._item = item

    def made(self, _number: int, event: Event) -> None:
        """Keep an event of the input at hand."""
        data = msgspec.json.decode(event.data)
        self._events.append(Told(event.id, event.name, event.subject, event.time, data))

    def _observe(self, step: Step, change: OpenChange) -> None:
        self._decided.append(change.id)
        if change.id == self._seen.id and self._change is None:
            offset_ns = step.at.utc_ns - step.at.mono_ns
            self._at = rfc3339(offset_ns + change.change.since_ns), step.time(step.now_ns)
            self._change, self._judged = change, judge(step, change)
            self._places = step.layout.shelves[change.shelf]

    # Looking.

    def look(self) -> None:
        """Look at the engine after an input."""
        item, self._item = self._item, None
        events, self._events = self._events, []
        decided, self._decided = self._decided, []
        if item is None or self._engine is None or item.at.boot != self._seen.boot:
            return
        state = self._engine.state
        if isinstance(item, Samples) and item.device == f"shelf/{self._seen.shelf}":
            self._weigh(state)
        near = self._low_ns <= item.at.mono_ns <= self._high_ns + AROUND_NS
        if near and isinstance(item, Tick | People):
            self._see(state)
        if self._change is not None and not self._ended:
            self._follow(state, item, events, decided)

    def _weigh(self, state: EngineState) -> None:
        shelf = state.shelves.get(self._seen.shelf)
        if shelf is None:
            return
        new = (shelf.at_ns > self._weighed_ns) & (shelf.at_ns >= self._low_ns)
        new &= shelf.at_ns <= self._high_ns
        if new.any():
            self._weights.append((shelf.at_ns[new], shelf.window[new]))
            self._weighed_ns = int(shelf.at_ns[new][-1])

    def _see(self, state: EngineState) -> None:
        """Keep where wrists were; a track that turns out to be another's takes them along."""
        for session in state.sessions.values():
            self._sessions |= dict.fromkeys(session.persons, session.id)
        for person in state.people.persons.values():
            now = [one[:4] for one in person.wrists_within(self._low_ns, self._high_ns)]
            oldest_ns = person.wrists[0][0] if person.wrists else 0
            before = [one for one in self._sights.get(person.id, []) if one[0] < oldest_ns]
            if now or before:
                self._sights[person.id] = before + now

    def _follow(
        self, state: EngineState, item: AnyInput, events: list[Told], decided: list[str]
    ) -> None:
        """Note how likely each possibility is now, if anything has changed."""
        assert self._change is not None, "it was decided"
        name = self._change.id
        at_s = (item.at.mono_ns - self._change.change.since_ns) / 1e9
        label = rfc3339(item.at.utc_ns)
        if name not in state.beliefs.open:
            self._ended = self._how_it_ended(events, label[11:23])
            return
        if state.beliefs.beam is self._beam:
            return
        self._beam = state.beliefs.beam
        now: dict[Key, float] = {}
        for share, acts in state.beliefs.options(name):
            known = identified(acts) or list(acts)
            key = plain(known)
            now[key] = now.get(key, 0.0) + share
            if key not in self._deeds:
                self._deeds[key] = [
                    Deed(
                        act.session, act.gtin, act.quantity, act.direction, act.plate, act.misplaced
                    )
                    for act in known
                ]
        if len(self._course) < COURSE_MAX:
            self._course.append((at_s, now))
        if not self._last:
            self._last = now
            return
        moved = {
            key: (self._last.get(key, 0.0), now.get(key, 0.0))
            for key in [*self._last, *(key for key in now if key not in self._last)]
            if abs(self._last.get(key, 0.0) - now.get(key, 0.0)) > SHIFT
        }
        if moved:
            others = [one for one in decided if one != name]
            turn = Turn(label, at_s, [one for one in events if one.change != name], others, [])
            self._turns.append((turn, moved))
            self._last = now

    def _how_it_ended(self, events: list[Told], label: str) -> str:
        assert self._judged is not None
        if not self._course:
            return "unattended" if self._judged.unattended else "settled at once"
        if any(one.name == "review.resolved" and one.change == self._seen.id for one in events):
            return f"a person decided it at {label}"
        return f"settled at {label}, as the best explanation had it"

    # What came of it.

    def evidence(self) -> Evidence | None:
        """Return what was found; None: the change was not decided in this journal."""
        change, judged = self._change, self._judged
        if change is None or judged is None:
            return None
        first = self._course[0][1] if self._course else {}
        keys = sorted(self._deeds, key=lambda key: -max(first.get(key, 0.0), self._highest(key)))
        keys = keys[:POSSIBILITIES_MAX]
        keys.sort(key=lambda key: -first.get(key, 0.0))
        last = self._course[-1][1] if self._course else {}
        places = {key: place for place, key in enumerate(keys)}
        return Evidence(
            shelf=change.shelf,
            time=self._at[0],
            decided=self._at[1],
            lasted_s=(change.change.stable_ns - change.change.since_ns) / 1e9,
            reason=change.reason,
            felt=judged.felt,
            readings=judged.readings,
            possibilities=[
                Possibility(self._deeds[key], first.get(key, 0.0), last.get(key, 0.0))
                for key in keys
            ],
            turns=[
                msgspec.structs.replace(
                    turn,
                    shifts=[
                        Shift(places[key], *pair) for key, pair in moved.items() if key in places
                    ],
                )
                for turn, moved in self._turns[:TURNS_MAX]
            ],
            ended=self._ended or "still open where the journal ends",
            weights=self._weight_curves(),
            wrists=self._wrist_curves(),
            course=[
                Curve(
                    str(place), None, [Point(at_s, now.get(key, 0.0)) for at_s, now in self._course]
                )
                for place, key in enumerate(keys)
            ],
        )

    def _highest(self, key: Key) -> float:
        return max((now.get(key, 0.0) for _, now in self._course), default=0.0)

    def _weight_curves(self) -> list[Curve]:
        """Return what each felt plate weighed, against before."""
        assert self._places is not None
        assert self._judged is not None
        if not self._weights:
            return []
        at_ns = np.concatenate([one for one, _ in self._weights])
        rows_g = np.concatenate([rows for _, rows in self._weights])
        every = -(-len(at_ns) // POINTS_MAX)
        before = at_ns < self._seen.since_ns
        wanted = {one.plate for one in self._judged.felt}
        curves = []
        for place in self._places.plates:
            if place.name not in wanted:
                continue
            column = rows_g[:, place.index]
            known = column[before & np.isfinite(column)]
            base_g = float(np.median(known)) if len(known) else _first(column)
            points = [
                Point(round((int(ns) - self._seen.since_ns) / 1e9, 4), round(float(g) - base_g, 2))
                for ns, g in zip(at_ns[::every], column[::every], strict=True)
                if np.isfinite(g)
            ]
            curves.append(Curve(place.name, None, points))
        return curves

    def _wrist_curves(self) -> list[Curve]:
        """Return how far each person's nearest wrist was from the place."""
        assert self._places is not None
        assert self._judged is not None
        place = self._judged.place
        if place is None:
            return []
        curves = []
        for person, sights in self._sights.items():
            far = nearest(sights, self._places, place)
            every = -(-len(far) // POINTS_MAX) or 1
            points = [
                Point(round((ns - self._seen.since_ns) / 1e9, 4), round(mm, 1))
                for ns, mm in far[::every]
            ]
            session = self._sessions.get(person)
            curves.append(Curve(person, session, points))
        curves.sort(key=lambda one: min((point.value for point in one.points), default=1e9))
        return curves[:PERSONS_MAX]


def _first(column: np.ndarray) -> float:
    known = column[np.isfinite(column)]
    return float(known[0]) if len(known) else 0.0
