# SPDX-License-Identifier: Apache-2.0
"""Plays one case of the exam against a broker in real time, as its devices would."""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec

from drivers.mqtt.config import MqttConfig
from gateway.clock import read_boot
from gateway.domain.inputs import DeviceStatus
from gateway.simulator.exam.cases import Case
from gateway.simulator.exam.stage import START_NS, seconds
from gateway.simulator.keys import TokenMaker
from gateway.simulator.messages import Sent, sent
from gateway.simulator.stock import Truth
from gateway.simulator.telling import Links, Teller
from gateway.simulator.wire import Device
from gateway.simulator.witness import witness_of, write_witness

log = logging.getLogger(__name__)

DOOR_WAIT_S = 7.0
"""A door that stays shut so long after a scan has nobody who would open it."""


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


class SoFar:
    """What has happened in a case up to a time that only goes forwards."""

    def __init__(self, truth: Truth) -> None:
        self._whole = truth
        self._acts = deque(sorted(truth.acts, key=lambda act: act.end_ns))
        self._coming = _by_time(truth.entered_ns)
        self._leaving = _by_time(truth.left_ns)
        self._now = Truth()

    def at(self, now_ns: int) -> Truth:
        """Return the truth up to a time; a later call adds to it."""
        now = self._now
        while self._coming and self._coming[0][0] <= now_ns:
            at_ns, name = self._coming.popleft()
            now.entered_ns[name] = at_ns
            now.scans[name] = self._whole.scans[name]
            now.baskets[name] = {}
        while self._acts and self._acts[0].end_ns <= now_ns:
            now.note(self._acts.popleft())
        while self._leaving and self._leaving[0][0] <= now_ns:
            at_ns, name = self._leaving.popleft()
            now.left_ns[name] = at_ns
        return now


def _by_time(times_ns: Mapping[str, int]) -> deque[tuple[int, str]]:
    return deque(sorted((at_ns, name) for name, at_ns in times_ns.items()))


class Player:
    """One case on its way to a broker."""

    def __init__(self, case: Case, config: PlayConfig) -> None:
        self._case = case
        self._config = config
        self._tokens = TokenMaker.in_directory(case.store.name, config.keys)
        items = case.inputs()
        # Births they send by themselves.
        self._messages = [
            (item.at.mono_ns, message)
            for item in items
            if (message := sent(item)) is not None and not message.retain
        ]
        names = [item.device for item in items if isinstance(item, DeviceStatus)]
        self._devices = {
            name: Device(
                case.store.name,
                name,
                subscriptions=("open",) if name.startswith("door/") else (),
                on_message=self._asked_to_open,
            )
            for name in names
        }
        self._scanned_ns: int | None = None
        self._warned = False
        self._so_far = SoFar(case.truth)
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
        began_s = time.monotonic()
        told = -1
        for at_ns, message in self._messages:
            due_s = began_s + seconds(at_ns) / self._config.pace
            wait_s = due_s - time.monotonic()
            if wait_s > 0:
                await asyncio.sleep(wait_s)
            if message.leaf == "scan":
                self._scanned_ns = at_ns
            self._send(message, origin_ns, boot, teller)
            now = self._so_far.at(at_ns)
            teller.tell(now)
            self._warn_of_doors(at_ns)
            news = len(now.acts) + len(now.entered_ns) + len(now.left_ns)
            if news != told:
                told = news
                self._write_truth(now, origin_ns - START_NS, over=False)
        self._write_truth(self._case.truth, origin_ns - START_NS, over=True)

    def _asked_to_open(self, _leaf: str, _payload: bytes) -> None:
        self._scanned_ns = None

    def _warn_of_doors(self, now_ns: int) -> None:
        """Say once that no daemon answers: the case goes on all the same."""
        if self._scanned_ns is None or now_ns - self._scanned_ns < DOOR_WAIT_S * 1e9:
            return
        self._scanned_ns = None
        if not self._warned:
            self._warned = True
            log.warning(
                "Nobody opened the door within %.0f s of a scan. Check that the daemon runs with"
                " this store file, reaches this broker and has the [entry] of these keys",
                DOOR_WAIT_S,
            )

    def _send(self, message: Sent, origin_ns: int, boot: str, teller: Teller) -> None:
        device = self._devices[message.device]
        # A case that is played twice is no repetition.
        fields = {**message.fields, "boot": device.boot}
        if "shopper" in fields:
            shopper = fields.pop("shopper")
            fields["text"] = self._tokens.token(shopper)
            teller.scanned(message.device.removeprefix("scanner/"), shopper)
        if "host_mono_ms" in fields:
            # The case's host is this one, and its clock began now.
            fields["host_boot"] = boot
            fields["host_mono_ms"] += (origin_ns - START_NS) / 1e6
        device.pass_on(message.leaf, fields, qos=message.qos)

    def _write_truth(self, truth: Truth, shift_ns: int, *, over: bool) -> None:
        """Write a truth, on the clock of this host."""
        if self._config.truth is None:
            return
        acts = [
            msgspec.structs.replace(
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
        write_witness(self._config.truth, witness_of(moved, over=over))
