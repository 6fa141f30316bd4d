# SPDX-License-Identifier: Apache-2.0
"""Topics beside the in-store contract, on the one connection to the in-store broker.

Devices of other makes publish where their firmware likes. Whoever understands them listens here;
the connection is ``drivers.instore``'s, and comes and goes with it.
"""

from dataclasses import dataclass, field
from typing import Annotated, Literal, Protocol

from msgspec import Meta

from drivers.mqtt.config import Message, MqttConfig

Topic = Annotated[
    str,
    Meta(
        pattern=r"^(?![$/])(?!shelfgate/)[^+#\x00-\x1f\x7f-\x9f\ufffd]+\Z",
        max_length=200,
        description="an MQTT topic without + and #, of which none is below shelfgate/",
    ),
]
Word = Annotated[
    str,
    Meta(
        pattern=r"^[^\x00-\x1f\x7f]+\Z",
        max_length=64,
        description="a text of 1 to 64 letters",
    ),
]


class Listener(Protocol):
    """Who understands the messages of some topics."""

    def take(self, message: Message) -> None:
        """Take a message; called on the loop, and must not block."""
        ...

    def connected(self, *, up: bool) -> None:
        """Hear that the connection is there, or gone."""
        ...


class Topics:
    """Who listens to which topic. All listeners are there before the first connection."""

    def __init__(self) -> None:
        self._listeners: dict[str, list[Listener]] = {}
        self.up = False
        """Whether there is a connection."""

    def add(self, topics: tuple[str, ...], listener: Listener) -> None:
        """Let a listener have the messages of topics; others may listen to the same."""
        for topic in topics:
            self._listeners.setdefault(topic, []).append(listener)

    @property
    def subscriptions(self) -> list[tuple[str, Literal[0, 1]]]:
        """Return ``(topic, QoS)`` pairs. What a weight was before the last is of no use: QoS 0."""
        return [(topic, 0) for topic in self._listeners]

    def deliver(self, message: Message) -> bool:
        """Hand a message on; tell whether anybody listens to its topic."""
        listeners = self._listeners.get(message.topic, ())
        for listener in listeners:
            listener.take(message)
        return bool(listeners)

    def connected(self, *, up: bool) -> None:
        """Tell everybody that the connection is there, or gone."""
        self.up = up
        for listener in {one: None for many in self._listeners.values() for one in many}:
            listener.connected(up=up)


@dataclass(frozen=True, slots=True)
class Instore:
    """The in-store broker, for drivers of devices that do not speak the in-store contract."""

    config: MqttConfig
    """For a connection of one's own, with another client id."""
    topics: Topics = field(default_factory=Topics)
