# SPDX-License-Identifier: Apache-2.0
"""Plays one case of the exam against a broker in real time, as its devices would."""

import asyncio
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from drivers.mqtt.config import MqttConfig
from gateway.clock import read_boot
from gateway.domain.inputs import AnyInput, DeviceStatus
from gateway.simulator.exam.cases import Case
from gateway.simulator.exam.stage import START_NS
from gateway.simulator.keys import TokenMaker
from gateway.simulator.messages import Sent, sent
from gateway.simulator.stock import Truth
from gateway.simulator.telling import Links, Teller
from gateway.simulator.wire import Device
from gateway.simulator.witness import witness_of, write_witness


@dataclass(frozen=True, slots=True, kw_only=True)
class PlayConfig:
    """How to play a case.

    Attributes:
        broker: Where the devices publish.
        keys: Directory of the key that signs entry tokens.
        truth: File for what really happens; None: nowhere.
        say: Takes a readable line for each thing that happens.
        held: Waits for ``Player.begin`` before anybody comes.
        pace: How many times faster than in real time; a daemon would misdate what it hears then.
    """

    broker: MqttConfig
    keys: Path
    truth: Path | None = None
    say: Callable[[str], None] = lambda _line: None
    held: bool = False
    pace: float = 1.0


class Player:
    """One case on its way to a broker."""

    def __init__(self, case: Case, config: PlayConfig) -> None:
        self._case = case
        self._config = config
        self._tokens = TokenMaker.in_directory(case.store.name, config.keys)
        self._messages = [(item.at.mono_ns, message) for item, message in _messages(case)]
        names = [item.device for item in case.inputs() if isinstance(item, DeviceStatus)]
        self._devices = {name: Device(case.store.name, name) for name in names}
        self._acts = sorted(case.truth.acts, key=lambda act: act.end_ns)
        self._begin = asyncio.Event()
        if not config.held:
            self._begin.set()

    def begin(self) -> None:
        """Let the case begin."""
        self._begin.set()

    async def run(self, stop: asyncio.Event) -> None:
        """Play until the case is over, or ``stop``."""
        broker = self._config.broker
        links = Links(f"{broker.host}:{broker.port}", len(self._devices))
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(device.run(broker, links), name=device.name)
                for device in self._devices.values()
            ]
            playing = group.create_task(self._play(), name="play")
            stopping = group.create_task(stop.wait(), name="stop")
            await asyncio.wait({playing, stopping}, return_when=asyncio.FIRST_COMPLETED)
            for task in [*tasks, playing, stopping]:
                task.cancel()

    async def _play(self) -> None:
        await self._begin.wait()
        for device in self._devices.values():
            await device.online.wait()
        origin_ns = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        boot = read_boot()
        teller = Teller(self._case.store, self._config.say)
        self._write_truth(origin_ns)
        began_s = time.monotonic()
        for at_ns, message in self._messages:
            due_s = began_s + (at_ns - START_NS) / 1e9 / self._config.pace
            wait_s = due_s - time.monotonic()
            if wait_s > 0:
                await asyncio.sleep(wait_s)
            self._send(message, origin_ns, boot, teller)
            teller.tell(self._so_far(at_ns))

    def _send(self, message: Sent, origin_ns: int, boot: str, teller: Teller) -> None:
        device, fields = self._devices[message.device], message.fields
        fields["boot"] = device.boot  # A case that is played twice is no repetition.
        if "shopper" in fields:
            shopper = fields.pop("shopper")
            fields["text"] = self._tokens.token(shopper)
            teller.scanned(message.device.removeprefix("scanner/"), shopper)
        if "host_mono_ms" in fields:
            # The case's host is this one, and its clock began now.
            fields["host_boot"] = boot
            fields["host_mono_ms"] += (origin_ns - START_NS) / 1e6
        device.pass_on(message.leaf, fields, qos=message.qos)

    def _so_far(self, now_ns: int) -> Truth:
        """Return what has happened up to a time of the case, for people to read."""
        truth = self._case.truth
        return Truth(
            acts=[act for act in self._acts if act.end_ns <= now_ns],
            baskets={
                name: truth.baskets[name]
                for name, entered_ns in truth.entered_ns.items()
                if entered_ns <= now_ns
            },
            entered_ns={n: at_ns for n, at_ns in truth.entered_ns.items() if at_ns <= now_ns},
            left_ns={n: at_ns for n, at_ns in truth.left_ns.items() if at_ns <= now_ns},
        )

    def _write_truth(self, origin_ns: int) -> None:
        """Write the truth, on the clock of this host."""
        if self._config.truth is None:
            return
        shift_ns = origin_ns - START_NS
        truth = self._case.truth
        acts = [
            replace(
                act,
                start_ns=act.start_ns + shift_ns,
                end_ns=act.end_ns + shift_ns,
                lift_ns=None if act.lift_ns is None else act.lift_ns + shift_ns,
            )
            for act in truth.acts
        ]
        moved = Truth(
            acts=acts,
            baskets=truth.baskets,
            scans=truth.scans,
            entered_ns={name: at_ns + shift_ns for name, at_ns in truth.entered_ns.items()},
            left_ns={name: at_ns + shift_ns for name, at_ns in truth.left_ns.items()},
        )
        write_witness(self._config.truth, witness_of(moved, over=True))


def _messages(case: Case) -> Iterator[tuple[AnyInput, Sent]]:
    """Yield what the devices send after their births, which they send by themselves."""
    for item in case.inputs():
        message = sent(item)
        if message is not None and not message.retain:
            yield item, message
