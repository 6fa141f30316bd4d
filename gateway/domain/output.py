# SPDX-License-Identifier: Apache-2.0
"""What one step makes: events named by their cause, effects, and the durable rows it touched."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from typing import Any, Final, TypeVar

import msgspec

from gateway.domain.effects import AnyEffect
from gateway.domain.event_types import type_of
from gateway.domain.events import Clock, Data, Event, SessionStarted, event_id
from gateway.domain.goods import Known
from gateway.domain.inputs import Stamp
from gateway.domain.layout import Layout
from gateway.domain.learning import Trust, Weights
from gateway.domain.state import EngineState, OpenChange

Kept = TypeVar("Kept")


_1970: Final = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST_MS: Final = -62_135_596_800_000
_LAST_MS: Final = 253_402_300_799_999
"""Milliseconds since 1970 at both ends of what a label can say: years 1 to 9999."""


def rfc3339(utc_ns: int) -> str:
    """Return UTC nanoseconds as RFC 3339 with milliseconds; beyond years 1 to 9999 their ends."""
    utc_ms = min(max(utc_ns // 1_000_000, _FIRST_MS), _LAST_MS)
    moment = _1970 + timedelta(milliseconds=utc_ms)
    return f"{moment.replace(tzinfo=None).isoformat(timespec='milliseconds')}Z"


class Step:
    """One input being stepped: the state, the store's layout, and what comes of it."""

    def __init__(self, state: EngineState, layout: Layout, number: int, at: Stamp) -> None:
        self.state = state
        self.layout = layout
        self.number = number
        self.at = at
        self.now_ns = at.mono_ns
        self.events: list[Event] = []
        self.effects: list[AnyEffect] = []
        self.touched: dict[tuple[str, str], None] = {}
        self.observe: Observe | None = None
        """Is shown each change right before it is decided, and alters nothing."""
        self._names = 0

    def emit(self, kind: type[Data], subject: str, at_ns: int | None = None, **fields: Any) -> None:  # noqa: ANN401
        """Make an event.

        Args:
            kind: One of ``events.ALL``.
            subject: What it is about, for example ``session/…``.
            at_ns: When it happened, on the gateway's clock; None: with the input.
            **fields: The event's own fields.
        """
        at = self.at
        clock = Clock(at.boot, at.mono_ns, at.utc_trusted, at.utc_error_ms)
        data = kind(store_version=self.layout.version, clock=clock, **fields)
        shopper = None
        if isinstance(data, SessionStarted):
            shopper = data.shopper or None
            data = msgspec.structs.replace(data, shopper=msgspec.UNSET)
        self.events.append(
            Event(
                id=event_id(self.state.gateway, self.state.epoch, self.number, len(self.events)),
                type=type_of(kind.NAME),
                subject=subject,
                time=self.time(self.now_ns if at_ns is None else at_ns),
                data=msgspec.Raw(msgspec.json.encode(data)),
                shopper=shopper,
            )
        )

    def time(self, at_ns: int) -> str:
        """Return the UTC label of a moment on the gateway's clock."""
        return rfc3339(self.at.utc_ns - self.at.mono_ns + at_ns)

    def name(self) -> str:
        """Return a new name for a session, change or review, fixed by its cause."""
        self._names += 1
        cause = f"{self.state.gateway}/{self.state.epoch}/{self.number}/name/{self._names}"
        return blake2b(cause.encode(), digest_size=8).hexdigest()

    def known_weights(self) -> Mapping[str, Known]:
        """Return what each product of the store weighs, as far as it is known."""
        state = self.state
        if state.trust is None:
            state.trust = Trust.of(state.store.products, state.learned)
        return Weights(state.store.products, state.learned, state.trust.part)

    def touch(self, kind: str, key: str) -> None:
        """Note that a durable row has to be written."""
        self.touched[(kind, key)] = None

    def keep(self, kind: str, table: dict[str, Kept], key: str, value: Kept, most: int) -> bool:
        """Put a value into a table of durable rows; tell whether the oldest had to go for it."""
        table[key] = value
        self.touch(kind, key)
        if len(table) <= most:
            return False
        oldest = next(iter(table))
        del table[oldest]
        self.touch(kind, oldest)
        return True


Observe = Callable[[Step, OpenChange], None]
