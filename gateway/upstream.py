# SPDX-License-Identifier: Apache-2.0
"""The link to the integrator's broker: the uplink's protocol, the outbox and MQTT, put together.

One task does everything in turns: it wakes when rows are committed, when the broker or the
integrator says something, and when the protocol's next deadline comes. Nothing polls.
"""

import asyncio
import logging
import random as chance
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Final, Literal, NoReturn

import msgspec

from drivers.errors import DeviceSilentError, DriverError
from drivers.mqtt.client import Connection, Message, MqttConfig, TooLargeError, Will, connect
from drivers.ports import Clock
from gateway.clock import SteadyClock
from gateway.database import Database
from gateway.domain.effects import Backfill, Reply
from gateway.outbox import Acknowledged, Committed
from gateway.uplink import Uplink, UplinkSettings
from gateway.upstream_desk import Desk, backfill_reply, message_of, short_message_of
from gateway.upstream_doubts import Doubts
from gateway.upstream_status import StatusBoard

log = logging.getLogger(__name__)

CONTENT_TYPE: Final = "application/cloudevents+json; charset=utf-8"
RECORD_EVERY_NS: Final = 200_000_000  # Acknowledgements share a write: an fsync each is dear.
WILL_DELAY_S: Final = 5
NOBODY_SUBSCRIBES: Final = 0x10
STEADY_NS: Final = 10_000_000_000  # A link that held this long was no failed attempt.


class UpstreamConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Where events go."""

    mqtt: MqttConfig
    store: str
    gateway: str
    version: str
    """Of the software; shown in the status."""
    uplink: UplinkSettings = UplinkSettings()
    status_every_s: float = 60.0

    @property
    def root(self) -> str:
        """Return the topic that all of this gateway's topics begin with."""
        return f"shelfgate/v1/{self.store}/{self.gateway}"


class Counters(msgspec.Struct):
    """What the adapter counted since the start of the daemon."""

    connections: int = 0
    malformed_topics: int = 0
    too_large: int = 0
    """Messages other than events that the broker said beforehand that it would not take."""
    unheard: int = 0
    """Publishes that the broker took although nobody subscribes (MQTT 5 only)."""


class Upstream:
    """Keeps the link up and the outbox moving. ``run`` is its one task."""

    def __init__(
        self,
        config: UpstreamConfig,
        database: Database,
        *,
        clock: Clock,
        on_link: Callable[[bool], None],
        on_command: Callable[[str, str, bytes], bool],
        others: Callable[[], Mapping[str, int]] = dict,
        random: Callable[[], float] = chance.random,
    ) -> None:
        """Prepare; nothing happens before ``run``.

        Args:
            config: Where events go.
            database: With an epoch begun.
            clock: Monotonic time for deadlines, UTC for ages.
            on_link: Called with each change of the link's state; it begins as down.
            on_command: Called with id, name and the whole payload (a JSON object, compact) of
                each command; a repeat of an id is answered with the reply given before. False
                says that there is no room: the command is refused and its id forgotten.
            others: Returns what others counted since the start, to be told upstream too.
            random: Draws from ``[0, 1)`` for jitter.
        """
        self.counters = Counters()
        self.uplink = Uplink(config.uplink, random)
        self.desk = Desk(on_command)
        self._config = config
        self._database = database
        self._clock = clock
        self._on_link = on_link
        self._others = others
        self._random = random
        self._steady = SteadyClock()
        self._wake = asyncio.Event()
        self._online = False
        self._connected = False
        self._board = StatusBoard(
            database, clock, version=config.version, every_s=config.status_every_s
        )
        self._news: dict[str, int] = {}
        self._recorded_ns = 0
        self._beside: dict[int, int] = {}  # What has no PUBACK beside events, since when.
        self._draining = False
        self._drained = asyncio.Event()
        self._farewell: int | None = None
        self._heard = False  # Whether the broker has taken the farewell.
        self._refusing = False
        self._doubts = Doubts()

    # What others call.

    def committed(self, done: Committed) -> None:
        """Say that rows were committed, and which pending ones were given up for them."""
        self.uplink.notify(max(row.position for row in done.rows))
        if done.given_up:
            self.uplink.made_room(done.given_up, done.notices)
        self._wake.set()

    def erase(self, shopper: str) -> None:
        """Forget a shopper in what was read to be sent, once the database has."""
        self.uplink.erase(shopper)
        self._wake.set()

    def set_degraded(self, parts: Sequence[str]) -> None:
        """Say which parts do not work as they should; told upstream when it changes."""
        if self._board.set_degraded(parts):
            self._wake.set()

    def publish_reply(self, reply: Reply) -> None:
        """Answer a command, now or after the reconnect; the oldest of too many are dropped.

        Answers are kept in memory: whoever sent a command across a restart asks again.
        """
        self.desk.answer(reply)
        self._wake.set()

    def refuse_as_busy(self, command: str) -> None:
        """Answer a command that there is no room for it now: it may come again."""
        self.desk.refuse_as_busy(command)
        self._wake.set()

    async def backfill(self, wish: Backfill) -> None:
        """Begin to send events again, beside the live ones, and answer the command."""
        answer = await self._database.backfill(wish)
        reply = backfill_reply(wish.command, answer)
        if answer.state == "busy":
            self.desk.refuse(wish.command, reply.message)
        else:
            self.desk.answer(reply)
        self.uplink.backfills.notify()
        self._wake.set()

    async def drain(self, timeout_s: float) -> bool:
        """Send what is committed, say offline, and stop; for the daemon's end.

        Args:
            timeout_s: Longest wait. What was not sent is in the database and goes out next time.

        Returns:
            Whether everything committed has its PUBACK.
        """
        self._draining = True
        self.uplink.stop_backfills()
        if not self._connected:
            return False
        self._drained.clear()
        self._wake.set()
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._drained.wait()
        return self._heard

    async def run(self) -> NoReturn:
        """Connect, keep publishing, reconnect; until cancelled.

        Raises:
            DatabaseError: The outbox cannot be read or written.
            Exception: A callback failed: a bug.
        """
        failures = 0
        while True:
            began_ns = self._now_ns()
            try:
                await self._connection(failures)
            except DriverError as error:
                if self._now_ns() - began_ns > STEADY_NS:
                    failures = 0
                failures += 1
                if failures == 1:
                    log.warning("Uplink is down: %s", error)
            if self._draining:
                await asyncio.Event().wait()  # Saying online again would be wrong now.
            wait_s = self._config.uplink.backoff.delay_s(max(1, failures), self._random)
            await asyncio.sleep(wait_s)

    # One connection.

    async def _connection(self, failures: int) -> None:
        async with connect(
            self._config.mqtt,
            subscriptions=[(f"{self._config.root}/ack", 1), (f"{self._config.root}/commands/+", 1)],
            will=Will(
                topic=f"{self._config.root}/status",
                payload=self._board.will(self._parts()),
                delay_s=WILL_DELAY_S,
            ),
            on_message=self._on_message,
            on_puback=self._on_puback,
        ) as connection:
            if failures:
                log.info("Uplink is back after %d failed attempts", failures)
            self.counters.connections += 1
            connection.when_gone(self._wake.set)
            self._connected = True
            self._doubts.connected()
            self._board.due = True
            self.uplink.connected(self._now_ns(), receive_maximum=connection.receive_maximum)
            try:
                while True:
                    await self._turn(connection)
            finally:
                if self._farewell is None:
                    connection.abort()  # The will says offline.
                self._disconnected()

    def _disconnected(self) -> None:
        self._connected = False
        self.uplink.disconnected()
        self.desk.disconnected()
        self._beside.clear()
        self._drained.set()
        self._tell_link()

    async def _turn(self, connection: Connection) -> None:
        """Do all that is to be done now, and wait for the next reason to."""
        self._wake.clear()
        connection.raise_if_gone()
        now_ns = self._now_ns()
        self.uplink.tick(now_ns)
        if self.uplink.stalled(now_ns) or now_ns >= self._beside_stall_ns(now_ns):
            raise DeviceSilentError(
                self._config.mqtt.name, "does not acknowledge", "Look at the broker's log"
            )
        self._tell_link()
        await self._refresh_status(connection)
        self._answer(connection)
        await self._send(connection)
        if self.uplink.fetch() is not None:  # Also where nothing of what was read is to be sent.
            self._wake.set()
        await self._record(connection)
        await self._doubts.record(self.uplink, self._database)
        if self._draining and self._farewell is None and self.uplink.idle:
            self._farewell = await self._publish_status(connection, "offline")
            if self._farewell is None:  # It will never be heard.
                self._farewell = -1
                self._drained.set()
        await self._pause(connection)

    async def _pause(self, connection: Connection) -> None:
        now_ns = self._now_ns()
        room = self._has_room(connection)
        due = [self.uplink.deadline_ns(now_ns, room=room), self._beside_stall_ns(now_ns)]
        if room:
            due.append(self._board.at_ns)
        if self._news or self.uplink.landed():
            due.append(self._recorded_ns + RECORD_EVERY_NS)
        mark_ns = self.uplink.backfills.progress_due_ns()
        if mark_ns is not None:
            due.append(max(mark_ns, self._recorded_ns + RECORD_EVERY_NS))
        wait_ns = min(one for one in due if one is not None) - now_ns
        if wait_ns > 0 and not self._wake.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(wait_ns / 1e9):
                    await self._wake.wait()

    # Rows.

    async def _send(self, connection: Connection) -> None:
        await self._read()
        self._publish(connection)

    async def _read(self) -> None:
        fetch = self.uplink.fetch()
        if fetch is not None:
            self.uplink.offer(fetch, await self._database.waiting(fetch))
        again = self.uplink.fetch_history()
        if again is not None:
            self.uplink.backfills.offer(again, await self._database.read_history(again))
            if self.uplink.fetch_history() is not None:
                self._wake.set()

    def _has_room(self, connection: Connection) -> bool:
        """Tell whether the broker takes one more message; PUBACKs make room, and wake us."""
        return self.uplink.in_flight + len(self._beside) < connection.receive_maximum

    def _publish(self, connection: Connection) -> None:
        while self._has_room(connection) and (row := self.uplink.take(now_ns := self._now_ns())):
            topic = f"{self._config.root}/events/{row.name}"
            try:
                mid = connection.publish(topic, row.payload, content_type=CONTENT_TYPE)
            except TooLargeError as error:
                self.uplink.not_published(row, now_ns)
                self._note_refusals(str(error))
                return
            self.uplink.published(mid, row, now_ns)

    async def _record(self, connection: Connection) -> None:
        """Write acknowledgements, several at a time; what is live need not wait for many."""
        landed = self.uplink.landed()
        backfills = self.uplink.backfills
        now_ns = self._now_ns()
        mark_ns = backfills.progress_due_ns()
        late = mark_ns is not None and (now_ns >= mark_ns or self._draining)
        if not (self._news or landed or late):
            return
        if now_ns - self._recorded_ns < RECORD_EVERY_NS and not self._draining:
            return
        self._recorded_ns = now_ns
        news = [Acknowledged(epoch, sequence) for epoch, sequence in self._news.items()]
        progress = backfills.progress()
        _, done = await self._database.record(
            news, landed, progress, between=partial(self._send, connection)
        )
        if self._database.all_stored:
            self._board.nothing_waits()
        for one in news:
            if self._news[one.epoch] == one.sequence:
                del self._news[one.epoch]
        self.uplink.recorded(landed)
        backfills.recorded(progress, now_ns)
        for backfill in done:
            self.desk.answer(backfill_reply(backfill.command, backfill.answer))
        self._wake.set()

    # What comes in, on the loop.

    def _on_puback(self, mid: int, reason_code: int, failure: bool) -> None:
        self.desk.puback(mid)
        self._beside.pop(mid, None)
        if mid == self._farewell:
            self._heard = True
            self._drained.set()
        if reason_code == NOBODY_SUBSCRIBES:
            self.counters.unheard += 1
        self.uplink.puback(mid, failure=failure, now_ns=self._now_ns())
        self._note_refusals(f"code 0x{reason_code:02x}")
        self._wake.set()

    def _on_message(self, message: Message) -> None:
        kind, _, name = message.topic.removeprefix(f"{self._config.root}/").partition("/")
        if kind == "ack":
            self._take_acknowledgement(message)
        elif kind == "commands":
            self.desk.take(name, message)
            self._wake.set()

    def _take_acknowledgement(self, message: Message) -> None:
        epoch = self._database.epoch
        assert epoch is not None, "begin_epoch comes before the uplink"
        news = self.uplink.acknowledgement(
            message.payload,
            self._database.tails,
            epoch.epoch,
            retained=message.retain,
            now_ns=self._now_ns(),
            ends=self._database.ends,
        )
        self._news.update({one.epoch: one.sequence for one in news})
        if self._doubts.look(self.uplink, message.payload, self._database.path):
            self._board.due = True
        self._wake.set()

    # Status, replies, link.

    def _note_refusals(self, why: str) -> None:
        """Say once, here and upstream, that the broker refuses events, and once that it stopped."""
        refusing = self.uplink.refusing
        if refusing == self._refusing:
            return
        self._refusing = refusing
        self._board.due = True
        if refusing:
            log.warning("Broker refuses events (%s). Check its access rules and limits", why)
        else:
            log.info("Broker takes events again")

    def _answer(self, connection: Connection) -> None:
        while self._has_room(connection) and (reply := self.desk.waiting()) is not None:
            topic = f"{self._config.root}/replies/{reply.command}"
            mid = self._publish_other(connection, topic, message_of(reply))
            if mid is None:
                mid = self._publish_other(connection, topic, short_message_of(reply))
            self.desk.published(mid)

    async def _refresh_status(self, connection: Connection) -> None:
        now_ns = self._now_ns()
        if self._farewell is not None:
            self._board.at_ns = now_ns + 1_000_000_000
            return
        if not self._board.is_due(now_ns) or not self._has_room(connection):
            return
        self._board.said(now_ns)
        self.counters.malformed_topics += connection.malformed
        connection.malformed = 0
        await self._publish_status(connection, "online")
        now = self._clock.stamp()
        # By age only while UTC is beyond doubt: a clock ten years ahead would leave no history.
        utc_ns = now.utc_ns if self._steady.steady(now) else 0
        await self._database.trim(utc_ns)

    async def _publish_status(
        self, connection: Connection, state: Literal["online", "offline"]
    ) -> int | None:
        backlog = await self._database.backlog()
        payload = self._board.message(state, backlog, self._parts(), self._counts())
        topic = f"{self._config.root}/status"
        return self._publish_other(connection, topic, payload, retain=True)

    def _publish_other(
        self, connection: Connection, topic: str, payload: bytes, *, retain: bool = False
    ) -> int | None:
        """Publish what is no event; return its packet id, None when the broker never takes it."""
        try:
            mid = connection.publish(topic, payload, retain=retain)
        except TooLargeError as error:
            self.counters.too_large += 1
            if self.counters.too_large == 1:
                log.warning(
                    "%s: not published. Raise the broker's largest packet (%s)", topic, error
                )
            return None
        self._beside[mid] = self._now_ns()
        return mid

    def _beside_stall_ns(self, now_ns: int) -> int:
        """Return when an overdue PUBACK of something else than an event calls for a new link."""
        stall_ns = int(self._config.uplink.stall_s * 1e9)
        return next(iter(self._beside.values()), now_ns) + stall_ns

    def _parts(self) -> list[str]:
        """Return what does not work as it should of the link itself."""
        return [*self._doubts.parts, *(["uplink"] if self._refusing else [])]

    def _counts(self) -> dict[str, int]:
        return {
            **msgspec.structs.asdict(self.counters),
            **msgspec.structs.asdict(self.uplink.counters),
            **msgspec.structs.asdict(self.desk.counters),
            **self._others(),
        }

    def _tell_link(self) -> None:
        online = self.uplink.online(self._now_ns())
        if online != self._online:
            self._online = online
            self._on_link(online)

    def _now_ns(self) -> int:
        return self._clock.stamp().mono_ns
