# SPDX-License-Identifier: Apache-2.0
"""What an operator says about a shelf on MQTT that does not speak the in-store contract."""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from drivers.mqtt.topics import Topic, Word

Unit = Annotated[
    Literal["mg", "g", "kg", "t", "oz", "lb", "ct", "raw"],
    Meta(description='"g", "kg", "mg", "t", "oz", "lb", "ct", or "raw" for ADC counts'),
]
Pointer = Annotated[
    str,
    Meta(
        pattern=r"^(/([^~/]|~[01])*)+\Z",
        max_length=200,
        description='a JSON Pointer, such as "/HX711/Weight"',
    ),
]
PLATES_MAX = 64
SILENCE_MS = {"always": 5_000, "changes": 900_000, "seldom": 900_000}


class MqttShelf(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What all of them have."""

    name: str
    """The shelf's name in the store file; the device is ``shelf/<name>``."""
    sends: Annotated[
        Literal["always", "changes", "seldom"],
        Meta(description='"always", "changes" or "seldom"'),
    ] = "always"
    """``always``: weights all the time. ``changes``: at once when the weight changes, so the last
    one holds until the next. ``seldom``: from time to time, whatever happens in between."""
    period_ms: (
        Annotated[
            int, Meta(ge=20, le=2_000, description="ms from sample to sample, or leave it away")
        ]
        | None
    ) = None
    """Distance of the samples that are handed on; where weights come all the time their own rhythm
    when absent, else 200."""
    silence_ms_max: (
        Annotated[
            int, Meta(ge=100, le=86_400_000, description="milliseconds, 100 to 86400000 (a day)")
        ]
        | None
    ) = None
    """Without a weight for this long it counts as lost: 5000 where they come all the time, else
    900000, when absent."""

    @property
    def device(self) -> str:
        """Return the device's name in inputs and events."""
        return f"shelf/{self.name}"

    @property
    def silence_s(self) -> float:
        """Return after how many seconds without a weight it counts as lost."""
        return (self.silence_ms_max or SILENCE_MS[self.sends]) / 1_000


class EsphomeConfig(MqttShelf, frozen=True, kw_only=True, tag="esphome", tag_field="driver"):
    """An ESPHome node: one sensor a plate."""

    prefix: Topic
    """Its ``topic_prefix``; the node's name where that is not set."""
    sensors: Annotated[
        tuple[
            Annotated[
                str,
                Meta(
                    pattern=r"^[^/+#\x00-\x20\x7f]+\Z",
                    max_length=100,
                    description="the object id of a sensor, such as plate_1",
                ),
            ],
            ...,
        ],
        Meta(min_length=1, max_length=PLATES_MAX),
    ]
    """Object id of each plate's sensor, in the shelf's plate order."""
    unit: Unit = "g"

    @property
    def value_topics(self) -> tuple[str, ...]:
        """Return where weights come."""
        return tuple(f"{self.prefix}/sensor/{sensor}/state" for sensor in self.sensors)

    @property
    def presence(self) -> tuple[str, str, str]:
        """Return where it says whether it is there, and the words for yes and no."""
        return f"{self.prefix}/status", "online", "offline"

    @property
    def plates(self) -> int:
        """Return how many plates it weighs."""
        return len(self.sensors)


class TasmotaConfig(MqttShelf, frozen=True, kw_only=True, tag="tasmota", tag_field="driver"):
    """A Tasmota device with an HX711: one plate."""

    topic: Topic
    """Its topic, as its console says by ``Topic``."""
    unit: Unit = "kg"
    sends: Annotated[
        Literal["always", "changes", "seldom"],
        Meta(description='"always", "changes" or "seldom"'),
    ] = "seldom"

    @property
    def value_topics(self) -> tuple[str, ...]:
        """Return where weights come."""
        return (f"tele/{self.topic}/SENSOR",)

    @property
    def presence(self) -> tuple[str, str, str]:
        """Return where it says whether it is there, and the words for yes and no."""
        return f"tele/{self.topic}/LWT", "Online", "Offline"

    @property
    def plates(self) -> int:
        """Return how many plates it weighs."""
        return 1


class Announced(MqttShelf, frozen=True, kw_only=True):
    """A shelf that may say by a topic whether it is there."""

    availability: Topic | None = None
    """Where it says, retained, whether it is there."""
    online: Word = "online"
    offline: Word = "offline"

    @property
    def presence(self) -> tuple[str, str, str] | None:
        """Return where it says whether it is there, and the words for yes and no."""
        if self.availability is None:
            return None
        return self.availability, self.online, self.offline


class NumberConfig(Announced, frozen=True, kw_only=True, tag="number", tag_field="driver"):
    """Topics whose messages are numbers in text."""

    topics: Annotated[tuple[Topic, ...], Meta(min_length=1, max_length=PLATES_MAX)]
    """One for each plate, or for every ``cells`` of them."""
    cells: Annotated[
        int, Meta(ge=1, le=PLATES_MAX, description="how many numbers a message has, 1 to 64")
    ] = 1
    """Numbers in one message, with commas between them, in the shelf's plate order."""
    unit: Unit = "g"

    @property
    def value_topics(self) -> tuple[str, ...]:
        """Return where weights come."""
        return self.topics

    @property
    def plates(self) -> int:
        """Return how many plates it weighs."""
        return len(self.topics) * self.cells


class JsonConfig(Announced, frozen=True, kw_only=True, tag="json", tag_field="driver"):
    """A topic whose messages are JSON; JSON Pointers say where things are in it."""

    topic: Topic
    values_at: Annotated[tuple[Pointer, ...], Meta(min_length=1, max_length=PLATES_MAX)]
    """Where each plate's weight is, in the shelf's plate order."""
    unit: Unit = "g"
    """Of weights, where ``unit_at`` is not given."""
    unit_at: Pointer | None = None
    """Where the unit's name is."""
    time_at: Pointer | None = None
    """Where milliseconds since the device's start are."""
    sequence_at: Pointer | None = None
    """Where the message's number is, one more each time; it begins anew with the device."""
    status_at: Pointer | None = None
    """Where a word is that says whether the weights count."""
    good: Annotated[tuple[Word, ...], Meta(min_length=1, max_length=20)] = ("ok",)
    """The words with which they do; with another there is no value."""

    @property
    def value_topics(self) -> tuple[str, ...]:
        """Return where weights come."""
        return (self.topic,)

    @property
    def plates(self) -> int:
        """Return how many plates it weighs."""
        return len(self.values_at)


MqttShelfConfig = EsphomeConfig | TasmotaConfig | NumberConfig | JsonConfig


def topics_of(config: MqttShelfConfig) -> tuple[str, ...]:
    """Return all topics of a shelf: those of weights, and that of its presence behind them."""
    presence = config.presence
    return config.value_topics if presence is None else (*config.value_topics, presence[0])


def problems(config: MqttShelfConfig) -> list[str]:
    """Say what in a shelf's settings contradicts itself; empty when nothing does."""
    if config.presence is None:
        return []
    topic, online, offline = config.presence
    if topic in config.value_topics:
        return ["availability is a topic of weights, so none is read. Give another, or leave it"]
    if online == offline:
        return ["online and offline are one word, so it is never there. Give two"]
    return []
