# SPDX-License-Identifier: Apache-2.0
"""Which devices a broker knows: what they announced, and who publishes meanwhile.

Those of the in-store contract, and nodes of firmware whose topics have a form of their own. Of
what they publish nothing but its coming is looked at: scans may be entry tokens.
"""

import asyncio
import json
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final, Literal

from drivers.mqtt.client import connect
from drivers.mqtt.config import Message, MqttConfig

DEVICES_MAX: Final = 1_000
WORD_MAX: Final = 40
TOPICS: Final = (
    "shelf/+/samples",
    "camera/+/people",
    "scanner/+/scan",
    "door/+/state",
    "+/+/status",
)


TOPICS_ELSEWHERE: Final = ("+/sensor/+/state", "+/status", "tele/+/SENSOR", "tele/+/LWT")
"""Of ESPHome nodes whose prefix is one word, and of Tasmota."""
SENSORS_MAX: Final = 64


@dataclass(slots=True)
class Elsewhere:
    """One device of other firmware."""

    driver: Literal["esphome", "tasmota"]
    name: str
    """Its prefix, or its topic."""
    state: str | None = None
    """What it said of its presence; None: nothing."""
    messages: Counter[str] = field(default_factory=Counter)
    """What it published while it was listened to, by sensor; of Tasmota ``SENSOR``."""


@dataclass(slots=True)
class Announced:
    """One device of the in-store contract."""

    store: str
    device: str
    state: str | None = None
    """What its status says; None: it has none."""
    firmware: str | None = None
    messages: Counter[str] = field(default_factory=Counter)
    """What it published while it was listened to, by the topic's last word."""


async def announced(config: MqttConfig, store: str | None, seconds: float) -> list[Announced]:
    """Listen to a broker for a while; return whom it knows, by name.

    Args:
        config: How to reach the broker.
        store: Whose devices; None: those of any.
        seconds: How long.

    Raises:
        DriverError: The broker is not there, or refuses.
    """
    root = f"shelfgate/v1/{store or '+'}/"
    found: dict[tuple[str, str], Announced] = {}

    def on_message(message: Message) -> None:
        words = message.topic.split("/")
        if len(words) != len(root.split("/")) + 2:
            return  # A topic that was no text.
        at, kind, name, last = map(_word, words[2:])
        key = (at, f"{kind}/{name}")
        if key not in found and len(found) >= DEVICES_MAX:
            return
        one = found.setdefault(key, Announced(at, key[1]))
        if last == "status":
            one.state, one.firmware = _status(message.payload)
        elif not message.retain:
            one.messages[last] += 1

    wanted = [(root + topic, 0) for topic in TOPICS]
    async with connect(config, subscriptions=wanted, on_message=on_message) as link:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await link.closed()
    return [found[key] for key in sorted(found)]


async def elsewhere(config: MqttConfig, seconds: float) -> list[Elsewhere]:
    """Listen to a broker for a while; return the devices of other firmware, by name.

    Args:
        config: How to reach the broker.
        seconds: How long.

    Raises:
        DriverError: The broker is not there, or refuses.
    """
    found: dict[tuple[str, str], Elsewhere] = {}
    states: dict[str, str] = {}

    def on_message(message: Message) -> None:
        words = message.topic.split("/")
        if words[-1] in {"status", "LWT"}:
            if len(states) < DEVICES_MAX:
                states[message.topic] = _word(message.payload.decode("utf-8", "replace"))
            return
        driver: Literal["esphome", "tasmota"] = "esphome" if words[-1] == "state" else "tasmota"
        name, sensor = (words[0], words[2]) if driver == "esphome" else (words[1], words[2])
        if (driver, name) not in found and len(found) >= DEVICES_MAX:
            return
        one = found.setdefault((driver, name), Elsewhere(driver, name))
        if not message.retain and (sensor in one.messages or len(one.messages) < SENSORS_MAX):
            one.messages[sensor] += 1

    wanted = [(topic, 0) for topic in TOPICS_ELSEWHERE]
    async with connect(config, subscriptions=wanted, on_message=on_message) as link:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await link.closed()
    for (driver, name), one in found.items():
        one.state = states.get(f"{name}/status" if driver == "esphome" else f"tele/{name}/LWT")
        one.name = _word(name)
    return [found[key] for key in sorted(found)]


def _status(payload: bytes) -> tuple[str, str | None]:
    """Return state and firmware of a status; ``malformed`` where it is none."""
    try:
        told = json.loads(payload)
        state, firmware = told["state"], told.get("fw")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return "malformed", None
    return _word(state), None if firmware is None else _word(firmware)


def _word(told: object) -> str:
    return "".join(letter for letter in str(told) if letter.isprintable())[:WORD_MAX]
