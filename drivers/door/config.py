# SPDX-License-Identifier: Apache-2.0
"""What an operator says about a door that does not speak the in-store contract."""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from drivers.identity import UsbName
from drivers.mqtt.topics import Topic, Word

Text = Annotated[str, Meta(min_length=1, max_length=64, description="a text of 1 to 64 letters")]


class Door(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What all of them have."""

    name: str
    """The door's name in the store file; the device is ``door/<name>``."""
    when_dead: Annotated[
        Literal["locked", "unlocked"],
        Meta(
            description='"locked" (fail-secure: nobody is let in) or "unlocked" (fail-safe: the '
            "door is open to all) for a gateway that is dead; docs/devices.md says what each needs"
        ),
    ]
    """What the door is while no gateway tells it anything. There is no right answer for all."""
    hold_ms: Annotated[int, Meta(ge=100, le=60_000, description="milliseconds, 100 to 60000")] = (
        3_000
    )
    """How long it stays unlocked for one shopper."""

    @property
    def device(self) -> str:
        """Return the device's name in inputs and events."""
        return f"door/{self.name}"


class RelayConfig(Door, frozen=True, kw_only=True, tag="relay", tag_field="driver"):
    """A relay board on a serial line."""

    url: str
    """Path of the serial port, best one under ``/dev/serial/by-id``; or ``socket://host:port``."""
    usb: UsbName | None = None
    """Which USB device it has to be; the first one found when absent."""
    baud: Annotated[int, Meta(gt=0)] = 9_600
    board: Annotated[Literal["lcus", "text"], Meta(description='"lcus" or "text"')] = "lcus"
    """``lcus``: four bytes a command, as LCUS-1 and its kin take. ``text``: what ``energise`` and
    ``release`` say."""
    channel: Annotated[int, Meta(ge=1, le=16, description="the relay's number, 1 to 16")] = 1
    """Of ``lcus``: which relay of the board."""
    energise: Text | None = None
    """Of ``text``: what switches the relay on, such as ``"relay on 0\\r"``."""
    release: Text | None = None
    """Of ``text``: what switches it off."""


class MqttDoorConfig(Door, frozen=True, kw_only=True, tag="mqtt-door", tag_field="driver"):
    """A door that hears a topic of its own on the in-store broker."""

    topic: Topic
    """Where it hears what to do."""
    unlock: Text
    """The payload that unlocks it."""
    lock: Text | None = None
    """The payload that locks it; absent where it locks by itself."""
    availability: Topic | None = None
    """Where it says, retained, whether it is there."""
    online: Word = "online"
    offline: Word = "offline"


DoorConfig = RelayConfig | MqttDoorConfig


def problems(config: DoorConfig) -> list[str]:
    """Say what in a door's settings contradicts itself; empty when nothing does."""
    if isinstance(config, MqttDoorConfig):
        if config.when_dead == "unlocked" and config.lock is None:
            return ["a door that is unlocked without a gateway has to be locked by it. Give lock"]
        return _same("unlock and lock", config.unlock, config.lock)
    given = config.energise is not None, config.release is not None
    if config.board == "text" and not all(given):
        return ['a board of text needs both words. Give energise and release, or board = "lcus"']
    if config.board == "lcus" and any(given):
        return ['energise and release are for a board of text. Write board = "text"']
    return _same("energise and release", config.energise, config.release) if all(given) else []


def _same(keys: str, one: str | None, other: str | None) -> list[str]:
    """Refuse what a word cannot mean: a door that is told to lock at every start would open."""
    if one != other:
        return []
    return [f"{keys} are one word, so nobody knows what it does. Give two"]
