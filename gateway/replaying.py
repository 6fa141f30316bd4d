# SPDX-License-Identifier: Apache-2.0
"""A journal folded through engines again, as fast as possible."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import msgspec

from gateway.domain.engine import Engine
from gateway.domain.events import Event
from gateway.domain.inputs import AnyInput, GatewayStarted
from gateway.domain.store import Store
from gateway.journal import Header, JournalError, named_segments, read_header, read_segment


def _engine(path: Path, header: Header) -> Engine:
    if header.snapshot is None:
        return Engine()
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
        JournalError: A file is no journal or damaged, or begins with a snapshot, which holds a
            store already, though another was given.
    """
    inputs = events = 0
    first_ns: int | None = None
    last_ns: int | None = None
    for path in named_segments(paths):
        header = read_header(path)
        if store is not None and header.snapshot is not None:
            remedy = "Leave the store out, or begin with the segment of a start"
            raise JournalError(f"{path}: begins with a snapshot, which holds its store. {remedy}")
        engine = _engine(path, header)
        if on_engine is not None:
            on_engine(engine)
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
            for event in engine.step(number, item).events:
                on_event(number, event)
                events += 1
            inputs += 1
            first_ns = item.at.mono_ns if first_ns is None else first_ns
            last_ns = item.at.mono_ns
    return Replayed(inputs, events, first_ns, last_ns)
