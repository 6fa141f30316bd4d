# SPDX-License-Identifier: Apache-2.0
"""``shelfgate simulate --device``: a door behind a relay board, or on MQTT; it says what it is."""

import argparse
import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Final

from drivers.mqtt.config import Message, MqttConfig
from gateway.simulator.mqtt_device import Plug
from gateway.simulator.scales.ports import PtyPort
from gateway.simulator.until_stopped import listen_to_lines, say, stop_signal

DOORS: Final = ("relay", "mqtt-door")
TOPIC: Final = "simulated-door"
COMMAND_BYTES: Final = 4


class Relay:
    """An LCUS board: it switches, and answers nothing."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self.energised: dict[int, bool] = {}
        """By the relay's number; those never told anything are at rest."""
        self.commands = 0
        """Good ones heard."""
        self._say = say
        self._bytes = bytearray()

    def received(self, data: bytes) -> None:
        """Hear bytes; what is no command is skipped."""
        self._bytes += data
        while len(self._bytes) >= COMMAND_BYTES:
            start, number, state, check = self._bytes[:COMMAND_BYTES]
            if start != 0xA0 or state > 1 or check != (start + number + state) % 256:
                del self._bytes[0]
                continue
            del self._bytes[:COMMAND_BYTES]
            self.commands += 1
            if self.energised.get(number, False) != bool(state):
                self.energised[number] = bool(state)
                self._say(f"relay {number} {'energised' if state else 'released'}")

    def unplugged(self) -> None:
        """Lose the power: every relay falls back."""
        self.energised.clear()
        self._bytes.clear()
        self._say("unplugged")


class MqttDoor:
    """A lock that hears a topic."""

    presence: Final = (f"{TOPIC}/status", b"online", b"offline")
    hears: Final = (f"{TOPIC}/set",)

    def __init__(self, say: Callable[[str], None]) -> None:
        self.said: list[str] = []
        """What it was told, in order."""
        self._say = say

    def take(self, message: Message) -> None:
        """Hear a word; one that the broker kept is of no use to a door."""
        word = message.payload.decode(errors="replace")
        if not message.retain and word in ("unlock", "lock"):
            self.said.append(word)
            self._say(f"{word}ed")


async def run_door(args: argparse.Namespace, broker: MqttConfig) -> int:
    """Emulate a door until its input ends; return the exit status.

    Raises:
        ValueError: An argument is wrong; says which, and the remedy.
        OSError: The directory cannot be used.
    """
    stop = stop_signal()
    if args.device == "relay":
        if args.lines is None:
            raise ValueError("--device: a relay needs a line. Add --lines DIR")
        await _run_relay(_link(args.lines), stop)
    else:
        await _run_mqtt(broker, stop)
    return 0


def _link(lines: Path) -> Path:
    lines.mkdir(parents=True, exist_ok=True)
    return lines.resolve() / "relay"


async def _run_relay(link: Path, stop: asyncio.Event) -> None:
    relay, port = Relay(say), PtyPort(link)
    port.received = relay.received

    def unplug() -> None:
        relay.unplugged()
        port.unplug()

    try:
        listen_to_lines(lambda line: _order(line, "unplug", unplug), stop)
        _show("relay", f'url = "{port.url}"\n', "unplug")
        await stop.wait()
    finally:
        port.close()


async def _run_mqtt(broker: MqttConfig, stop: asyncio.Event) -> None:
    plug = Plug(MqttDoor(say), broker, "simulated-door")
    listen_to_lines(lambda line: _order(line, "offline", plug.switch_off), stop)
    words = f'topic = "{TOPIC}/set"\nunlock = "unlock"\nlock = "lock"\n'
    _show("mqtt-door", f'{words}availability = "{TOPIC}/status"\n', "offline")
    async with asyncio.TaskGroup() as group:
        running = group.create_task(plug.run(), name="connection")
        await stop.wait()
        running.cancel()


def _show(driver: str, keys: str, fault: str) -> None:
    say(
        f'For the daemon\'s settings:\n\n[[device]]\ndriver = "{driver}"\n'
        f'name = "the door\'s name in the store file"\n{keys}'
        'when_dead = "locked"  # or "unlocked": docs/devices.md says what each needs\n\n'
        f"A line `{fault}` orders that fault; the end of the input ends it."
    )


def _order(line: str, fault: str, carry_out: Callable[[], None]) -> None:
    if line == fault:
        carry_out()
    elif line:
        raise ValueError(f"{line}: no fault. Known is {fault}")
