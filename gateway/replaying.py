# SPDX-License-Identifier: Apache-2.0
"""A journal folded through engines again, as fast as possible."""

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import msgspec

from gateway.domain.engine import Engine
from gateway.domain.events import Event
from gateway.domain.inputs import AnyInput, GatewayStarted
from gateway.domain.store import Store
from gateway.journal import Header, JournalError, named_segments, read_header, read_segment

log = logging.getLogger(__name__)


def _engine(path: Path, header: Header, store: Store | None) -> Engine:
    """Return the engine that a segment begins with; see :func:`replay`."""
    if header.snapshot is None:
        return Engine()
    if store is not None:
        remedy = "Leave the store out, or begin with the segment of a start"
        raise JournalError(f"{path}: begins with a snapshot, which holds its store. {remedy}")
    try:
        return Engine.restore(header.snapshot)
    except (ValueError, LookupError, TypeError, ArithmeticError, RecursionError) as error:
        # Whatever a state that fits its types may still lack: a product, an array's shape.
        remedy = "It was made by another version, or is damaged"
        raise JournalError(f"{path}: the snapshot cannot be read: {error!r}. {remedy}") from None


@dataclass(frozen=True, slots=True)
class Replayed:
    """What a replay went through."""

    inputs: int
    events: int
    first_mono_ns: int | None
    last_mono_ns: int | None


class _Order:
    """Holds each segment against those before it: what is folded twice or backwards is nonsense."""

    def __init__(self) -> None:
        self._last: dict[str, int] = {}
        """The last number of each epoch."""
        self._boot, self._mono_ns, self._store = "", 0, ""

    def begin(self, path: Path, engine: Engine, number: int, item: AnyInput) -> None:
        """Take in the first input of a segment, once the engine has stepped it.

        Raises:
            JournalError: The segment does not come after those before it.
        """
        state = engine.state
        again = number <= self._last.get(state.epoch, 0)
        if again or (item.at.boot == self._boot and item.at.mono_ns < self._mono_ns):
            problem = "its inputs are not later than those of the segments before it"
            raise JournalError(f"{path}: {problem}. Name each segment once, the oldest first")
        if self._store and state.store.name != self._store:
            problem = f"is of store {state.store.name}, those before it of {self._store}"
            raise JournalError(f"{path}: {problem}. Name segments of one store")
        missing = number - self._last.get(state.epoch, number - 1) - 1
        if missing:
            log.warning("%s: %d inputs before it are missing", path, missing)
        self._store = state.store.name

    def end(self, engine: Engine, item: AnyInput) -> None:
        """Take in the last input of a segment."""
        self._last[engine.state.epoch] = engine.number
        self._boot, self._mono_ns = item.at.boot, item.at.mono_ns


def replay(
    paths: Iterable[Path],
    on_event: Callable[[int, Event], None],
    *,
    store: Store | None = None,
    on_input: Callable[[int, AnyInput], None] | None = None,
    on_engine: Callable[[Engine], None] | None = None,
) -> Replayed:
    """Fold segments through engines; each begins where its snapshot was taken.

    Args:
        paths: Segments, in the order in which they were written, or a directory of them.
        on_event: Called with each event and its causing input's number, in order.
        store: Takes the place of the store in every ``gateway-started``.
        on_input: Called with each input and its number, before the events that it makes.
        on_engine: Called with the engine of each segment before its first input, to look at it.

    Raises:
        OSError: A file cannot be read.
        JournalError: A file is no journal or damaged, does not come after the one before it, or
            begins with a snapshot, which holds a store already, though another was given; or a
            directory has no segment.
    """
    order = _Order()
    inputs = events = 0
    first_ns: int | None = None
    last_ns: int | None = None
    for path in named_segments(paths):
        engine = _engine(path, read_header(path), store)
        if on_engine is not None:
            on_engine(engine)
        last: AnyInput | None = None
        for number, item in read_segment(path):
            if engine.number == 0 and not isinstance(item, GatewayStarted):
                remedy = "Begin with gateway-started, which brings the store"
                raise JournalError(
                    f"{path}: no snapshot and a first input {type(item).__name__}. {remedy}"
                )
            if store is not None and isinstance(item, GatewayStarted):
                item = msgspec.structs.replace(item, store=store)  # noqa: PLW2901
            if on_input is not None:
                on_input(number, item)
            made = engine.step(number, item).events
            if last is None:
                order.begin(path, engine, number, item)
            for event in made:
                on_event(number, event)
                events += 1
            inputs += 1
            first_ns = item.at.mono_ns if first_ns is None else first_ns
            last, last_ns = item, item.at.mono_ns
        if last is not None:
            order.end(engine, last)
    return Replayed(inputs, events, first_ns, last_ns)
