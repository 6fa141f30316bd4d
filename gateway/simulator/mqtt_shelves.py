# SPDX-License-Identifier: Apache-2.0
"""``shelfgate simulate --device``: a shelf on MQTT as ESPHome, Tasmota and others publish it."""

import argparse
import asyncio
import json
from collections import deque
from collections.abc import Callable
from decimal import Decimal
from typing import Final, Literal, NoReturn, cast, get_args

from drivers.mqtt.config import Message, MqttConfig
from gateway.simulator.mqtt_device import Plug
from gateway.simulator.until_stopped import listen_to_lines, say, stop_signal

Firmware = Literal["esphome", "tasmota", "number", "json"]
FIRMWARES: Final = get_args(Firmware)
Fault = Literal["silence", "flood", "garbage", "nan", "unit", "repeat", "offline"]
"""``silence``, ``nan`` and another ``unit`` last until they are ordered again; a ``flood``,
``garbage`` and a ``repeat`` of the last message come with the next one; ``offline``: no power."""
FAULTS: Final = get_args(Fault)
ONCE: Final = frozenset({"flood", "garbage", "repeat"})
FLOOD: Final = 2_000
"""Messages at once."""
GRAMS_PER_LB: Final = Decimal("453.59237")
PLATES: Final = {"number": 2, "json": 2}
"""How many plates a firmware has here, where it is not one."""

SETTINGS: Final = {
    "esphome": 'prefix = "simulated-esphome"\nsensors = ["weight"]\n',
    "tasmota": 'topic = "simulated-tasmota"\nsends = "changes"\n',
    "number": 'topics = ["simulated-number/weights"]\ncells = 2\n'
    'availability = "simulated-number/status"\n',
    "json": 'topic = "simulated-json/state"\nvalues_at = ["/plates/0/w", "/plates/1/w"]\n'
    'unit_at = "/unit"\ntime_at = "/ms"\nsequence_at = "/n"\nstatus_at = "/state"\n'
    'availability = "simulated-json/status"\n',
}
"""What the daemon has to be told of each."""


class Shelf:
    """What its firmware publishes, and how it misbehaves."""

    def __init__(self, firmware: Firmware, clock: Callable[[], float]) -> None:
        """Switch it on.

        Args:
            firmware: One of ``FIRMWARES``.
            clock: Tells seconds.
        """
        self.grams: Decimal = Decimal(0)
        """On each plate; those behind the first have a gram more than the one before."""
        self.hears: tuple[str, ...] = ()
        self.publish: Callable[[str, bytes], None] = lambda _topic, _payload: None
        """Sends a message."""
        self.switch_off: Callable[[], None] = lambda: None
        self._firmware = firmware
        self._topic = f"simulated-{firmware}"
        self._clock = clock
        self._started_s = clock()
        self._number = 0
        self._silent = self._nan = self._pounds = False
        self._orders: deque[Fault] = deque()
        self._last: tuple[str, bytes] | None = None

    @property
    def presence(self) -> tuple[str, bytes, bytes]:
        """Return the topic of its presence, and the words for yes and no."""
        if self._firmware == "tasmota":
            return f"tele/{self._topic}/LWT", b"Online", b"Offline"
        return f"{self._topic}/status", b"online", b"offline"

    def take(self, message: Message) -> None:
        """Hear nothing."""

    def started(self) -> None:
        """Begin to count anew."""
        self._number, self._started_s = 0, self._clock()

    def order(self, fault: Fault) -> None:
        """Misbehave.

        Raises:
            ValueError: This firmware cannot.
        """
        if fault == "unit" and self._firmware != "json":
            raise ValueError("unit: these messages have none. Order another fault")
        if fault == "nan" and self._firmware == "tasmota":
            raise ValueError("nan: Tasmota has no word for it. Order silence")
        if fault in ONCE:
            self._orders.append(fault)
        elif fault == "silence":
            self._silent = not self._silent
        elif fault == "nan":
            self._nan = not self._nan
        elif fault == "unit":
            self._pounds = not self._pounds
        else:
            self.switch_off()

    def tell(self) -> None:
        """Publish what lies on it."""
        if self._silent:
            return
        fault = self._orders.popleft() if self._orders else None
        if fault == "repeat" and self._last is not None:
            self.publish(*self._last)
            return
        for _ in range(FLOOD if fault == "flood" else 1):
            topic, payload = self._message()
            self.publish(
                topic, payload[: len(payload) // 2] + b"\xff" if fault == "garbage" else payload
            )
        self._last = topic, payload

    def _message(self) -> tuple[str, bytes]:
        weights = [self.grams + plate for plate in range(PLATES.get(self._firmware, 1))]
        if self._firmware == "esphome":
            return f"{self._topic}/sensor/weight/state", b"nan" if self._nan else b"%.1f" % weights[
                0
            ]
        if self._firmware == "number":
            words = ["nan" if self._nan else f"{weight:.1f}" for weight in weights]
            return f"{self._topic}/weights", ",".join(words).encode()
        if self._firmware == "tasmota":
            told: dict[str, object] = {
                "Time": "2026-11-21T16:00:00",
                "HX711": {"Weight": float(weights[0] / 1_000), "WeightRaw": 48_211},
            }
            return f"tele/{self._topic}/SENSOR", json.dumps(told).encode()
        if self._pounds:
            weights = [weight / GRAMS_PER_LB for weight in weights]
        told = {
            "n": self._number,
            "ms": round((self._clock() - self._started_s) * 1_000),
            "unit": "lb" if self._pounds else "g",
            "state": "ok",
            "plates": [{"w": None if self._nan else float(weight)} for weight in weights],
        }
        self._number += 1
        return f"{self._topic}/state", json.dumps(told).encode()


async def run_mqtt_shelf(args: argparse.Namespace, broker: MqttConfig) -> int:
    """Emulate a shelf on MQTT until its input ends; return the exit status.

    Raises:
        ValueError: An argument is wrong; says which, and the remedy.
    """
    if not 0.01 <= args.rate <= 100:
        raise ValueError(f"--rate {args.rate:g}: out of range. Give 0.01 to 100")
    shelf = Shelf(args.device, asyncio.get_running_loop().time)
    plug = Plug(shelf, broker, f"simulated-{args.device}")
    shelf.publish, shelf.switch_off = plug.publish, plug.switch_off
    commands(shelf, args.grams)
    stop = stop_signal()
    listen_to_lines(lambda line: commands(shelf, line), stop)
    say(
        f'For the daemon\'s settings:\n\n[[device]]\ndriver = "{args.device}"\n'
        f'name = "the shelf\'s name in the store file"\n{SETTINGS[args.device]}\n'
        "A number on standard input puts so many grams on it; a word orders a fault: "
        f"{', '.join(FAULTS)}. The end of the input ends it."
    )
    async with asyncio.TaskGroup() as group:
        tasks = [
            group.create_task(plug.run(shelf.started), name="connection"),
            group.create_task(_play(shelf, args.rate), name="weights"),
        ]
        await stop.wait()
        for task in tasks:
            task.cancel()
    return 0


async def _play(shelf: Shelf, rate: float) -> NoReturn:
    while True:
        await asyncio.sleep(1 / rate)
        shelf.tell()


def commands(shelf: Shelf, line: str) -> None:
    """Carry out a line: grams, or a fault.

    Raises:
        ValueError: It is neither.
    """
    if line in FAULTS:
        shelf.order(cast(Fault, line))
    elif line:
        try:
            shelf.grams = Decimal(line)
        except ArithmeticError:
            raise ValueError(
                f"{line}: neither grams nor a fault. Known are {', '.join(FAULTS)}"
            ) from None
