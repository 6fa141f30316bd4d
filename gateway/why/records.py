# SPDX-License-Identifier: Apache-2.0
"""Events as they were written down: those that a journal makes again, those of a database."""

import re
import sqlite3
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from gateway.database_errors import explaining
from gateway.domain.carts import UsedProduct
from gateway.domain.engine import Engine
from gateway.domain.event_types import name_of
from gateway.domain.events import Event
from gateway.domain.inputs import AnyInput, GatewayStarted, StoreChanged
from gateway.domain.output import Step
from gateway.domain.state import OpenChange
from gateway.journal import read_segment
from gateway.mending import APPLICATION_ID
from gateway.replaying import replay
from gateway.why.facts import Told, WhyError

LEAST: Final = 6
"""Characters of an id that are enough, if they are unambiguous."""
ID: Final = re.compile(r"[0-9a-f]{6,32}")
SHOWN: Final = 5
ROWS_MAX: Final = 5_000
"""Events of one change or visit that are read; there are far fewer."""
BUSY_MS: Final = 5_000
CONTAINS: Final = "instr(payload, CAST(? AS BLOB)) > 0"
BEFORE_NS: Final = 30_000_000_000
AFTER_NS: Final = 60_000_000_000
"""How much of a journal is replayed around the events of a story."""


class Seen(msgspec.Struct, frozen=True):
    """A change as it passes through a replay."""

    id: str
    segment: int
    number: int
    """Of the input that decided it."""
    shelf: str
    boot: str
    since_ns: int
    stable_ns: int


class Made(msgspec.Struct, frozen=True):
    """An event as a replay makes it."""

    told: Told
    segment: int
    number: int


class Index:
    """Everything that a journal makes, and the changes in it."""

    def __init__(self, paths: Sequence[Path]) -> None:
        """Replay the segments.

        Raises:
            OSError: A file cannot be read.
            JournalError: A file is no journal.
        """
        self.paths = list(paths)
        self.made: list[Made] = []
        self.changes: dict[str, Seen] = {}
        self.names: dict[str, str] = {}
        self._segment = -1
        replay(paths, self._take, on_engine=self._begin, on_input=self._note)

    def _begin(self, engine: Engine) -> None:
        self._segment += 1
        engine.observe = self._observe
        if engine.number:
            self._name(engine.state.store.products)

    def _note(self, _number: int, item: AnyInput) -> None:
        if isinstance(item, GatewayStarted | StoreChanged):
            self._name(item.store.products)

    def _name(self, products: dict[str, Any]) -> None:
        self.names |= {gtin: product.name for gtin, product in products.items()}

    def _observe(self, step: Step, change: OpenChange) -> None:
        felt = change.change
        self.changes[change.id] = Seen(
            change.id,
            self._segment,
            step.number,
            change.shelf,
            step.at.boot,
            felt.since_ns,
            felt.stable_ns,
        )

    def _take(self, number: int, event: Event) -> None:
        data = msgspec.json.decode(event.data)
        told = Told(event.id, event.name, event.subject, event.time, data)
        self.made.append(Made(told, self._segment, number))

    @property
    def events(self) -> list[Told]:
        """Return all events, in order."""
        return [one.told for one in self.made]

    def seen(self, told: Told) -> Seen | None:
        """Return the change that an event is about, as the scales gave it."""
        if told.change is None:
            return None
        known = self.changes.get(told.change)
        if known is not None:
            return known
        # A change while nobody looked is told in several, of which the first has its name.
        made = next((one for one in self.made if one.told.change == told.change), None)
        if made is None:
            return None
        for one in self.changes.values():
            here = (one.segment, one.number) == (made.segment, made.number)
            if here and told.subject == f"shelf/{one.shelf}":
                return one
        return None

    def cause(self, told: Told) -> tuple[int, AnyInput] | None:
        """Return the input that made an event, and its number."""
        made = next((one for one in self.made if one.told.id == told.id), None)
        if made is None:
            return None
        for number, item in read_segment(self.paths[made.segment]):
            if number == made.number:
                return number, item
        return None


def check_id(wanted: str) -> str:
    """Return an id as ids are written.

    Raises:
        WhyError: It is none.
    """
    wanted = wanted.strip().lower()
    if not ID.fullmatch(wanted):
        remedy = f"Give an event's, change's or review's id, or {LEAST} characters or more of one"
        short = re.fullmatch(r"[0-9a-f]+", wanted) and len(wanted) < LEAST
        problem = "too short for an id" if short else "not an id of hexadecimal digits"
        raise WhyError(f"{wanted[:40]!r}: {problem}. {remedy}")
    return wanted


def choose(wanted: str, events: Sequence[Told], changes: Iterable[str], where: str) -> Told:
    """Return the event that is meant.

    Args:
        wanted: An id or the beginning of one.
        events: All that come into question, in order.
        changes: Ids of changes of which no event may have been told.
        where: They were found, for messages.

    Raises:
        WhyError: There is none, or more than one.
    """
    found: dict[str, Told | None] = {}
    for told in events:
        for name in (told.id, told.change, told.review):
            if name is not None and name.startswith(wanted):
                found.setdefault(name, told)
    for name in changes:
        if name.startswith(wanted):
            found.setdefault(name, None)
    if wanted in found:
        found = {wanted: found[wanted]}
    if not found:
        remedy = "Look the id up with shelfgate tail --json or shelfgate replay"
        raise WhyError(f"{wanted}: {where} has no such event, change or review. {remedy}")
    if len(found) > 1:
        some = ", ".join(_labels(found)[:SHOWN])
        more = f" and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
        raise WhyError(f"{wanted}: {len(found)} ids begin so: {some}{more}. Give more of it")
    [(name, one)] = found.items()
    if one is None:
        problem = f"{where} has this change, but nothing was told of it: it came to nothing"
        raise WhyError(f"{name}: {problem}. Ask for an event that was told")
    return one


def _labels(found: dict[str, Told | None]) -> list[str]:
    return [f"{name} ({_label(name, told)})" for name, told in sorted(found.items())]


def _label(name: str, told: Told | None) -> str:
    if told is None or told.change == name:
        return "change"
    return told.name if told.id == name else "review"


# The database.


class Records:
    """A gateway's database, read only: a daemon beside it is not disturbed."""

    def __init__(self, path: Path) -> None:
        """Open it.

        Raises:
            WhyError: There is none, or it is of another program.
            DatabaseError: It cannot be read.
        """
        if not path.is_file():
            raise WhyError(f"{path}: no such database. Name the settings of a daemon that has run")
        self.path = path
        with explaining(path):
            uri = f"{path.absolute().as_uri()}?mode=ro"
            self._connection = sqlite3.connect(uri, uri=True, isolation_level=None)
            try:
                self._connection.execute(f"PRAGMA busy_timeout = {BUSY_MS}")
                [(application_id,)] = self._connection.execute("PRAGMA application_id")
            except sqlite3.Error:
                self._connection.close()
                raise
        if application_id != APPLICATION_ID:
            self._connection.close()
            raise WhyError(f"{path}: a database of another program. Look at the settings")

    def close(self) -> None:
        """Let go of the file."""
        self._connection.close()

    def _select(self, condition: str, *parameters: str) -> list[Told]:
        query = f"SELECT payload FROM events WHERE {condition} ORDER BY position LIMIT {ROWS_MAX}"  # noqa: S608  Conditions are written below.
        with explaining(self.path):
            rows = self._connection.execute(query, parameters).fetchall()
        return [told_of(payload) for (payload,) in rows]

    def find(self, wanted: str) -> Told:
        """Return the event that is meant.

        Raises:
            WhyError: There is none, or more than one.
        """
        events = self._select("id >= ? AND id < ?", wanted, f"{wanted}g")
        if len(wanted) <= 16:
            named = [f'"{word}":"{wanted}' for word in ("change", "review")]
            events += self._select(" OR ".join([CONTAINS] * len(named)), *named)
        return choose(wanted, events, (), str(self.path))

    def about(self, words: Sequence[str]) -> list[Told]:
        """Return the events that name any of some changes, visits or devices, in order."""
        if not words:
            return []
        condition = " OR ".join([CONTAINS] * len(words))
        return self._select(condition, *(f'"{word}"' for word in words))

    def product_names(self) -> dict[str, str]:
        """Return names of the products that the durable state keeps."""
        names = {}
        with explaining(self.path):
            rows = self._connection.execute("SELECT key, value FROM state WHERE kind = 'product'")
            for gtin, value in rows:
                try:
                    names[gtin] = msgspec.json.decode(value, type=UsedProduct).product.name
                except msgspec.DecodeError:
                    continue  # Of another version: the GTIN is shown.
        return names


def told_of(payload: bytes) -> Told:
    """Return a stored event."""
    event = msgspec.json.decode(payload)
    name = name_of(str(event["type"]))
    return Told(event["id"], name, event["subject"], event["time"], event["data"])


# Which segments.


def covering(paths: Sequence[Path], tellings: Sequence[Told]) -> list[Path]:
    """Return the segments that were written while events were made, and shortly before and after.

    Raises:
        OSError: A file cannot be read.
        JournalError: A file is no journal.
    """
    clocks = [one.data["clock"] for one in tellings if "clock" in one.data]
    boot = clocks[0]["boot"]
    moments = [clock["mono_ns"] for clock in clocks if clock["boot"] == boot]
    from_ns, until_ns = min(moments) - BEFORE_NS, max(moments) + AFTER_NS
    began = [(path, at) for path in paths if (at := _first(path)) is not None]
    found: list[Path] = []
    for place, (path, (its_boot, at_ns)) in enumerate(began):
        following = began[place + 1][1] if place + 1 < len(began) else None
        over = following is not None and following[0] == boot and following[1] < from_ns
        if its_boot == boot and at_ns <= until_ns and not over:
            found.append(path)
    return found


def _first(path: Path) -> tuple[str, int] | None:
    """Return the boot and the time of a segment's first input."""
    for _, item in read_segment(path):
        return item.at.boot, item.at.mono_ns
    return None
