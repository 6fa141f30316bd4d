# SPDX-License-Identifier: Apache-2.0
"""All devices that speak the in-store contract, over one connection to the in-store broker.

Beside what the design's contract lists, the gateway itself publishes, with QoS 1 and not retained,
on ``door/<door>/open``, which asks a door to open once, and on ``camera/<camera>/look``, which asks
a camera what it saw at a place a moment ago; it answers on ``camera/<camera>/looked``.
"""

import logging
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Final, NoReturn, Protocol

import msgspec

from drivers.errors import DriverError
from drivers.instore.codec import Known, Rejected, Scanned, decode, heading
from drivers.labels.judging import Judge
from drivers.mqtt.client import Message, MqttConfig, connect
from drivers.mqtt.topics import Topics
from drivers.ports import Clock, Intake
from gateway.domain.effects import Look, OpenDoor
from gateway.domain.store import Store

log = logging.getLogger(__name__)

SUBSCRIPTIONS: Final = (
    ("shelf/+/samples", 0),
    ("camera/+/people", 0),
    ("camera/+/looked", 1),
    ("scanner/+/scan", 1),
    ("door/+/state", 1),
    ("+/+/status", 1),
)
OPEN_EXPIRY_S: Final = 5
"""MQTT 5: a door that the broker cannot reach by then lets nobody in later."""


class Link(Protocol):
    """What is used of a connection."""

    def publish(self, topic: str, payload: bytes, *, expiry_s: int | None = None) -> int:
        """Send with QoS 1; raise ``DriverError`` when the link is down."""
        ...

    async def closed(self) -> NoReturn:
        """Wait for the end of the link and raise why it ended."""
        ...


class Connect(Protocol):
    """``drivers.mqtt.client.connect``, or a fake."""

    def __call__(
        self,
        config: MqttConfig,
        *,
        subscriptions: Sequence[tuple[str, int]],
        on_message: Callable[[Message], None],
    ) -> AbstractAsyncContextManager[Link]:
        """Connect once; subscriptions hold when the body begins."""
        ...


class InstoreDriver:
    """Moves messages of the in-store broker to the intake, and opens doors."""

    def __init__(
        self,
        config: MqttConfig,
        store: Store,
        *,
        clock: Clock,
        judge: Judge,
        topics: Topics | None = None,
        connect: Connect = connect,
    ) -> None:
        """Prepare; ``run`` connects.

        Args:
            config: How to reach the broker. ``clean`` should be set: what the broker kept while
                the gateway was away is too old to act on.
            store: Says which devices there are.
            clock: Stamps each message when it arrives.
            judge: Says what was scanned.
            topics: Topics beside the contract, for shelves of other firmware.
            connect: Opens the connection.
        """
        self._config = config
        self._known = Known.of(store)
        self._clock = clock
        self._judge = judge
        self._topics = Topics() if topics is None else topics
        self._connect = connect
        self._link: Link | None = None

    def store_changed(self, store: Store) -> None:
        """Take messages of this store's devices from now on; its name stays."""
        self._known = Known.of(store)

    async def run(self, intake: Intake, came_up: Callable[[], None]) -> NoReturn:
        """Connect and hand on what comes.

        Raises:
            DeviceGoneError: The broker is not there, or went.
        """

        def on_message(message: Message) -> None:
            self._take(message, intake)

        root = self._known.root
        async with self._connect(
            self._config,
            subscriptions=[
                *((root + topic, qos) for topic, qos in SUBSCRIPTIONS),
                *self._topics.subscriptions,
            ],
            on_message=on_message,
        ) as link:
            self._link = link
            came_up()
            self._topics.connected(up=True)
            try:
                await link.closed()
            finally:
                self._link = None
                self._topics.connected(up=False)

    def open_door(self, effect: OpenDoor) -> bool:
        """Ask a door to open, once.

        Returns:
            Whether the request left; False while the broker is away. It is not kept: a door that
            opens later would let somebody else in.
        """
        return self._ask(
            f"door/{effect.door}", "open", {"v": 1, "effect": effect.id}, expiry_s=OPEN_EXPIRY_S
        )

    def look(self, effect: Look) -> bool:
        """Ask a camera to look again, once.

        Returns:
            Whether the request left; it is not kept: the camera would have forgotten what it saw.
        """
        device = f"camera/{effect.camera}"
        request = {
            "v": 1,
            "look": effect.id,
            "place_mm": [round(value, 1) for value in effect.place_mm],
            "reach_mm": effect.reach_mm,
            "ago_ms": effect.ago_ms,
            "reply": f"{self._known.root}{device}/looked",
        }
        return self._ask(device, "look", request)

    def _ask(
        self, device: str, what: str, request: dict[str, object], expiry_s: int | None = None
    ) -> bool:
        """Publish a request to a device; tell whether it left."""
        problem: object = "no in-store broker"
        try:
            if self._link is not None:
                payload = msgspec.json.encode(request)
                topic = f"{self._known.root}{device}/{what}"
                self._link.publish(topic, payload, expiry_s=expiry_s)
                return True
        except DriverError as error:
            problem = error
        log.warning("%s: not asked to %s: %s", device, what, problem)
        return False

    def _take(self, message: Message, intake: Intake) -> None:
        if self._topics.deliver(message):
            return
        decoded = decode(
            self._known,
            message.topic,
            message.payload,
            retained=message.retain,
            stamp=self._clock.stamp(),
        )
        match decoded:
            case Rejected():
                log.debug("%s: %s: %s", decoded.device, decoded.reason, decoded.detail)
                intake.drop(decoded.device, decoded.reason)
            case Scanned():
                self._scanned(decoded, intake)
            case _:
                intake.offer(decoded)

    def _scanned(self, scan: Scanned, intake: Intake) -> None:
        """Judge a scan: the input says what it was, and a token goes no further."""
        message = scan.message
        judged = self._judge.judge(
            heading(message, scan.device, scan.at), message.text, message.aim
        )
        if judged is None:
            intake.drop(scan.device, "rejected")
        else:
            intake.offer(judged)
