# SPDX-License-Identifier: Apache-2.0
"""What must hold, whatever happens: checked after every life of the daemon, and at the end."""

import asyncio
import sqlite3
from collections import Counter, defaultdict
from collections.abc import Container, Mapping
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

import msgspec

from gateway.classes import CLASSES
from gateway.domain.changes import UNTOLD_G_MAX
from gateway.domain.effects import OpenDoor
from gateway.envelope import with_shopper
from gateway.simulator.ledger import Event, same_event
from gateway.simulator.proof import prove_in
from tests.faults.cart_order import CartOrder, Key
from tests.faults.world import START_G

if TYPE_CHECKING:
    from tests.faults.simulation import Day

TOLERANCE_G = UNTOLD_G_MAX
"""Of a shelf's balance: acts that nearly cancel may leave so little that it passes for a hand."""
COLUMNS = "epoch, sequence, id, payload, shopper"

CLOSED = "org.shelfgate.cart.closed.v1"
ADJUSTED = "org.shelfgate.cart.adjusted.v1"

REPEATS_MAX = 6
"""Times that an event may be sent in a day full of faults, on average."""
DOOR_S = 1.0
"""A door opens this soon after its session is durable."""

RANK = {name: rank for rank, names in enumerate(CLASSES.values()) for name in names}

Kept = tuple[str, bytes]


class Promises:
    """The ledger of everything that was ever committed, and the checks against it."""

    def __init__(self, day: "Day") -> None:
        self.known: dict[Key, tuple[str, bytes]] = {}
        """Id and payload of every committed event by epoch and sequence."""
        self.given_up: set[Key] = set()
        self.broken: list[str] = []
        self.disturbed = False
        """Somebody changed or damaged the database: what was only there may be gone."""
        self.replaced = False
        self.hurt = False
        """Whether that happened since the last look."""
        self._started_s: dict[str, float] = {}
        self._deaths_s: list[float] = []
        self.gone: set[Key] = set()
        self.epoch = ""
        self.doors: Counter[str] = Counter()
        self._day = day
        self._sessions: set[str] = set()
        self._ends: dict[str, int] = {}
        self._ids: dict[str, Key] = {}
        self._order = CartOrder(self.break_, lambda key: key in self.given_up or key in self.gone)

    def break_(self, what: str) -> None:
        """Note a promise that does not hold."""
        if what not in self.broken:
            self.broken.append(what)

    @property
    def last_sequence(self) -> int:
        """The last of the current epoch."""
        return self._ends.get(self.epoch, -1)

    # While it runs.

    def committed(self, connection: sqlite3.Connection) -> None:
        """Note what a COMMIT that returned has made durable."""
        rows = connection.execute(
            f"SELECT {COLUMNS} FROM events WHERE epoch ="
            " (SELECT epoch FROM epochs ORDER BY ordinal DESC LIMIT 1) AND sequence > ?"
            " ORDER BY sequence",
            (self.last_sequence,),
        ).fetchall()
        known = set(self.given_up)
        for row in rows:
            self._note(*row)
        if fresh := self.given_up - known:
            self._lower_classes_first(connection, fresh, rows)
        newest = connection.execute(
            "SELECT epoch FROM epochs ORDER BY ordinal DESC LIMIT 1"
        ).fetchall()
        if newest and newest[0][0] != self.epoch:
            self.epoch = newest[0][0]
            if self.epoch in self._ends and not self.disturbed:
                self.break_(f"epoch {self.epoch} begins again")
            self.committed(connection)

    def _lower_classes_first(
        self, connection: sqlite3.Connection, given_up: set[Key], rows: list[Any]
    ) -> None:
        """Where too many wait nothing goes while something of a class before it waits."""
        if not any(b"events waited for the uplink" in payload for _, _, _, payload, _ in rows):
            return  # For want of bytes what is not worth its notice stays.
        gone = {
            msgspec.json.decode(self.known[key][1], type=Event).name
            for key in given_up & self.known.keys()
        }
        waits = {
            name
            for (name,) in connection.execute(
                "SELECT DISTINCT name FROM events WHERE acknowledged = 0"
            )
        }
        for name in sorted(gone & RANK.keys()):
            # Items whose receipt is not here go with the visits.
            lower = {one for one in waits & RANK.keys() if RANK[one] < RANK[name]}
            if RANK[name] <= RANK["session.started"]:
                lower -= CLASSES["items"]
            if lower:
                self.break_(f"{name} was given up while {', '.join(sorted(lower))} waited")

    def _note(
        self, epoch: str, sequence: int, name: str, payload: bytes, shopper: str | None
    ) -> None:
        whole = payload if shopper is None else with_shopper(payload, shopper)
        key = (epoch, sequence)
        if self._ids.setdefault(name, key) != key:
            self.break_(f"id {name} names two events")
        if key not in self.known:
            self._order.committed(payload)
        self.known[key] = (name, whole)
        self._ends[epoch] = sequence
        if b"session.started" in payload[:400]:
            session = msgspec.json.decode(payload)["data"]["session"]
            self._sessions.add(session)
            self._started_s[session] = asyncio.get_running_loop().time()
        elif b"events.dropped" in payload[:400]:
            data = msgspec.json.decode(payload)["data"]
            counted = sum(int(one["last"]) - int(one["first"]) + 1 for one in data["ranges"])
            if data["count"] != counted:
                self.break_(
                    f"{data['count']} events are told as dropped, the ranges hold {counted}"
                )
            for one in data["ranges"]:
                first, last = int(one["first"]), int(one["last"])
                self.given_up |= {(data["epoch"], number) for number in range(first, last + 1)}

    def door(self, effect: OpenDoor) -> None:
        """A door opens: once for a session, and only for one that is durable."""
        self.doors[effect.session] += 1
        if self.doors[effect.session] > 1:
            self.break_(f"the door opened twice for session {effect.session}")
        if effect.session not in self._sessions and not self.given_up:
            self.break_(f"the door opened for session {effect.session} before it was committed")

    def sent(self, payload: bytes) -> None:
        """Note that an event goes upstream."""
        if not self.disturbed:
            self._order.sent(payload)

    def died(self) -> None:
        """Note the end of a life: what was to follow its last commits does not happen."""
        self._deaths_s.append(asyncio.get_running_loop().time())

    # Between two lives.

    def reopened(self) -> None:
        """The daemon is dead: what it had committed is in its database, and nothing half."""
        if self.hurt and not self._day.mended:
            return  # Not mended yet.
        rows = self._day.disk.look(
            f"SELECT {COLUMNS}, acknowledged FROM events ORDER BY epoch, sequence"
        )
        found: dict[Key, tuple[str, bytes]] = {}
        had = self._stored().keys() | self._day.integrator.ever
        for epoch, sequence, name, payload, shopper, acknowledged in rows:
            whole = payload if shopper is None else with_shopper(payload, shopper)
            found[epoch, sequence] = (name, whole)
            if (epoch, sequence) not in self.known:
                self._note(epoch, sequence, name, payload, shopper)  # Its COMMIT was in doubt.
            # What was told to be given up counts as stored, also where an older copy still has it.
            told = (epoch, sequence) in had or (epoch, sequence) in self.given_up
            if acknowledged and not told and not self._day.broker_counts:
                self.break_(f"event {sequence} of {epoch} is off the list and nobody has it")
        for key, event in self.known.items():
            self._still_there(key, event, found.get(key), had)
        self.hurt = False

    def _still_there(self, key: Key, event: Kept, found: Kept | None, had: Container[Key]) -> None:
        if found is not None:
            if found != event:
                self.break_(f"event {key[1]} of {key[0]} has changed")
        elif self.hurt or key in self.gone:
            self.gone.add(key)
        elif key not in self.given_up and key not in had:
            self.break_(f"event {key[1]} of {key[0]} was committed and is gone")

    def _stored(self) -> dict[Key, tuple[str, bytes]]:
        return self._day.integrator.stored()

    # At the end.

    def drained(self) -> bool:
        """Tell whether the integrator has every event and the gateway knows it."""
        if self.hurt:
            self.reopened()
        if self.hurt:
            return False
        wanted = self.known.keys() - self.given_up - self.gone
        if self._day.intake is None or not wanted <= self._stored().keys():
            return False
        return not self._day.disk.look("SELECT 1 FROM events WHERE acknowledged = 0 LIMIT 1")

    def at_the_end(self) -> None:
        """Hold everything against everything."""
        self.reopened()
        self._delivered()
        if self.disturbed:
            self._told_of_the_disturbance()
        else:
            self._chained()
            self._carts()
            self._weights()
            self._sessions_once()
        for session, at_s in self._started_s.items():
            ended = any(at_s <= death_s < at_s + DOOR_S for death_s in self._deaths_s)
            if not self.doors[session] and not ended:
                self.break_(f"the door never opened for session {session}")
        if self._day.integrator.received > REPEATS_MAX * len(self.known) + 100:
            self.break_(f"{self._day.integrator.received} messages for {len(self.known)} events")

    def _delivered(self) -> None:
        """The integrator has exactly what was committed, but for what was announced as given up."""
        stored = self._stored()
        for key in stored.keys() - self.known.keys():
            self.break_(f"event {key[1]} of {key[0]} was sent and never committed")
        for key in self.known.keys() - stored.keys() - self.given_up - self.gone:
            self.break_(f"event {key[1]} of {key[0]} was never delivered")
        for key, (name, payload) in stored.items():
            if key not in self.known:
                continue
            if self.known[key][0] != name:
                self.break_(f"event {key[1]} of {key[0]} has two ids")
            elif not same_event(self.known[key][1], payload):
                self.break_(f"event {key[1]} of {key[0]} was sent with other bytes")
        ledger = self._day.integrator.ledger._connection
        odd = dict(ledger.execute("SELECT name, value FROM counters"))
        for name in ("altered", "malformed"):
            if odd.get(name):
                self.break_(f"{odd[name]} events {name}")

    def _events(self, kept: Mapping[Key, Kept]) -> list[dict[str, Any]]:
        """Return events, epoch by epoch in the order of their beginning."""
        order = {epoch: nth for nth, epoch in enumerate(self._ends)}
        keys = sorted(kept, key=lambda key: (order.get(key[0], -1), key[1]))
        return [msgspec.json.decode(kept[key][1]) for key in keys]

    def _told_of_the_disturbance(self) -> None:
        """Operator and integrator hear of it: what nobody had yet may be gone."""
        lost = self.gone - self._stored().keys() - self.given_up
        told = [
            event["data"]
            for event in self._events(self._stored())
            if event["type"] == "org.shelfgate.database.recovered.v1"
        ]
        if not told and not self.given_up and (lost or self.replaced):
            self.break_("the database was damaged or replaced, and nobody is told")
        if self.replaced or any(one["events_kept"] == 0 for one in told):
            return  # What the copy never held, or nothing can be read of, cannot be named.
        # Where an epoch ended is not known when its last events went: then it says so.
        ends = Counter[str]()
        for epoch, sequence in self._stored().keys() | self.given_up:
            ends[epoch] = max(ends[epoch], sequence)
        unsure = not all(one["complete"] for one in told)
        for epoch, sequence in lost:
            if sequence <= ends[epoch] or not unsure:
                self.break_(f"event {sequence} of {epoch} went with the damage and is not named")
        found = prove_in(self._day.integrator.ledger._connection, self._day.integrator.source)
        # That there was more behind the end it may know from a status.
        gaps = {
            (gap.epoch, sequence)
            for gap in found.gaps
            for sequence in range(gap.first, gap.last + 1)
        }
        if found.conflicting or gaps - lost:
            self.break_(f"the integrator lacks what nobody explains: {found}")

    def _chained(self) -> None:
        """No sequence is without an explanation, and the epochs form one chain: by the proof that
        any integrator can make from what it has."""
        for epoch, end in self._ends.items():
            for sequence in range(end + 1):
                if (epoch, sequence) not in self.known and (epoch, sequence) not in self.given_up:
                    self.break_(f"sequence {sequence} of {epoch} is missing and nothing says why")
        self._provable()
        order = list(self._ends)
        for payload in (self.known[epoch, 0][1] for epoch in order if (epoch, 0) in self.known):
            event = msgspec.json.decode(payload)
            data, nth = event["data"], order.index(event["epoch"])
            before = order[nth - 1] if nth else None
            if data["previous_epoch"] != before:
                self.break_(f"epoch {event['epoch']} names {data['previous_epoch']} before it")
            elif before is not None and int(data["previous_sequence"] or -1) != self._ends[before]:
                self.break_(f"epoch {event['epoch']} names a wrong end of the one before")

    def _provable(self) -> None:
        found = prove_in(self._day.integrator.ledger._connection, self._day.integrator.source)
        starts = {(epoch, 0) for epoch in self._ends}
        if not found.complete and not starts & self.given_up:
            self.break_(f"the integrator cannot prove that it has everything: {found}")

    def _unseen(self) -> set[Key]:
        """Return what was given up by the commit that it belonged to: nobody ever saw it."""
        return self.given_up - self.known.keys()

    def _carts(self) -> None:
        """Carts that a reader works out from the events are the carts on the device.

        From all that were committed: a reader has them, but for what it knows to be given up.
        """
        if self._unseen():
            return
        events = self._events(self.known)
        carts = _carts_of(events)
        for session, receipt in self._receipts(events).items():
            lines = Counter({line["gtin"]: int(line["quantity"]) for line in receipt["lines"]})
            if lines != +carts[session]:
                self.break_(f"receipt {dict(lines)} of {session} is not {dict(carts[session])}")
        for name, session in self._day.daemon._engine.state.sessions.items():
            lines = Counter({gtin: line.quantity for gtin, line in session.lines.items()})
            if +lines != +carts[name]:
                self.break_(f"cart {dict(lines)} of {name} is told as {dict(carts[name])}")

    def _receipts(self, events: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
        """Return the last receipt of each session; revisions only grow."""
        receipts: dict[str, dict[str, Any]] = {}
        for event in events:
            if event["type"] in (CLOSED, ADJUSTED):
                data = event["data"]
                known = receipts.get(data["session"])
                if known is not None and known["revision"] >= data["revision"]:
                    self.break_(f"session {data['session']} has two receipts of one revision")
                receipts[data["session"]] = data
        return receipts

    def _weights(self) -> None:
        """Units are conserved: every gram that left a plate or came back is told of, once."""
        if self._unseen():
            return
        felt: dict[tuple[str, str], float] = {}
        for event in self._events(self.known):
            data = event["data"]
            if event["type"].split(".")[2] not in ("item", "review", "shelf"):
                continue
            for one in data.get("weights", ()):
                felt[data["change"], one["plate"]] = one["delta_g"]
        told: Counter[str] = Counter()
        for (_, plate), delta_g in felt.items():
            told[plate] += delta_g  # type: ignore[assignment]
        # A unit that moves along a shelf is no act: the shelf as a whole has to balance.
        for name, shelf in self._day.world.layout.shelves.items():
            plates = [place.name for place in shelf.plates]
            true_g = sum(self._day.world.weights_g[plate] - START_G for plate in plates)
            told_g = sum(told[plate] for plate in plates)
            if abs(told_g - true_g) > TOLERANCE_G:
                self.break_(f"shelf {name} changed by {true_g:+.0f} g, told {told_g:+.1f} g")

    def _sessions_once(self) -> None:
        """A token opens one session; a session that began ends once, or is still open."""
        events = self._events(self.known)
        ended = Counter(
            event["data"]["session"]
            for event in events
            if event["type"] == "org.shelfgate.session.ended.v1"
        )
        for session, count in ended.items():
            if count > 1:
                self.break_(f"session {session} ended {count} times")
        open_ = set(self._day.daemon._engine.state.sessions)
        if not self._unseen() and self._sessions != set(ended) | open_:
            self.break_(f"sessions {self._sessions ^ (set(ended) | open_)} vanished")
        if len(self._sessions) > self._day.world.tokens:
            self.break_(f"{len(self._sessions)} sessions for {self._day.world.tokens} tokens")

    # For whoever looks.

    def digest(self) -> str:
        """Name everything that was committed and received: equal for equal runs."""
        mark = blake2b(digest_size=8)
        for key in sorted(self.known):
            mark.update(repr((key, self.known[key])).encode())
        mark.update(repr(sorted(self._stored())).encode())
        mark.update(str(self._day.integrator.received).encode())
        return mark.hexdigest()

    def counts(self) -> dict[str, int]:
        """Return how much happened."""
        return {
            "acts": self._day.world.acts,
            "mended": sum(
                b"database.recovered" in payload[:400] and b'"corrupt"' in payload
                for _, payload in self.known.values()
            ),
            "sessions": len(self._sessions),
            "given_up": len(self.given_up),
            "received": self._day.integrator.received,
            "statements": self._day.disk.statements,
        }


def _carts_of(events: list[dict[str, Any]]) -> dict[str, Counter[str]]:
    """Return the units in each session's cart, by the highest revision of each change."""
    changes: dict[str, dict[str, Any]] = {}
    for event in events:
        data = event["data"]
        if "acts" in data and "revision" in data:
            known = changes.get(data["change"])
            if known is None or data["revision"] >= known["revision"]:
                changes[data["change"]] = data
    carts: dict[str, Counter[str]] = defaultdict(Counter)
    for change in changes.values():
        for act in change["acts"]:
            if act["session"] is not None:
                units = act["quantity"] if act["direction"] == "pick" else -act["quantity"]
                carts[act["session"]][act["gtin"]] += units
    return carts
