# SPDX-License-Identifier: Apache-2.0
"""Which devices a broker knows: what they announced, and who publishes meanwhile.

Of what they publish nothing but its coming is looked at: scans may be entry tokens.
"""

import asyncio
import json
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

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
