# SPDX-License-Identifier: Apache-2.0
"""What devices on serial lines cost: real drivers on pseudo-terminals, in a process of their own.

Bridges and scales by turns, each with so many readings a second. The engine is not part of it.

Example: python -m tests.bench.serial --seconds 10
"""

import argparse
import asyncio
import json
import subprocess
import sys
import tempfile
import threading
import time
from decimal import Decimal
from pathlib import Path

from drivers.bridge.config import BridgeConfig
from drivers.bridge.driver import BridgeDriver
from drivers.network_port import open_port
from drivers.scale.config import ScaleConfig
from drivers.scale.driver import ScaleDriver
from gateway.clock import OsClock
from gateway.intake import Intake
from gateway.simulator.lines import Bridge, Line
from gateway.simulator.scales.dialects import DIALECTS
from gateway.simulator.scales.plate import Plate

DEVICES = 32
READINGS_PER_S = 80
CHANNELS = 4
SCALES = ("cas", "toledo", "a-and-d", "ohaus")
BATCH_MAX = 256
SHOWN_G = (412, 412, 412, 413, 412, 412, 411, 412)
"""What a scale with a division of 1 g shows at rest: now and then its neighbour."""


def configs(folder):
    """Return the settings of every device."""
    for number in range(DEVICES):
        url = str(folder / f"line-{number}")
        if number % 2:
            protocol = SCALES[number // 2 % len(SCALES)]
            yield ScaleConfig(name=f"s{number}", url=url, protocol=protocol, baud=115_200)
        else:
            yield BridgeConfig(name=f"s{number}", url=url, channels=tuple(range(CHANNELS)))


class Feeder:
    """The devices' ends of the lines."""

    def __init__(self, folder):
        self.sent = 0
        """Readings on each line."""
        self._senders = []
        self._ended = threading.Event()
        self._lines = []
        for config in configs(folder):
            line = Line(Path(config.url))
            self._lines.append(line)
            if isinstance(config, ScaleConfig):
                frames = [on_wire(config.protocol, grams) for grams in SHOWN_G]
                self._senders.append(lambda line=line, frames=frames: self._scale(line, frames))
            else:
                bridge = Bridge(line, config.name, READINGS_PER_S)
                self._senders.append(lambda bridge=bridge: self._bridge(bridge))
        self._thread = threading.Thread(target=self._feed, name="feeder")

    def __enter__(self):
        self.began_s = time.monotonic()
        self._thread.start()
        return self

    def __exit__(self, *error):
        self._ended.set()
        self._thread.join()
        for line in self._lines:
            line.close()

    @property
    def rate(self):
        """Return the readings a second of each line, so far."""
        return self.sent / (time.monotonic() - self.began_s)

    def _scale(self, line, frames):
        line.write(frames[self.sent % len(frames)])

    def _bridge(self, bridge):
        bridge.sample(
            [100_000 + self.sent % 7] * CHANNELS, round(self.sent * 1_000 / READINGS_PER_S)
        )

    def _feed(self):
        while not self._ended.is_set():
            for send in self._senders:
                send()
            self.sent += 1
            due_s = self.began_s + self.sent / READINGS_PER_S
            self._ended.wait(max(due_s - time.monotonic(), 0.0))


def on_wire(protocol, grams):
    """Return a scale's frame as its line carries it."""
    dialect = DIALECTS[protocol]
    frame = dialect.frame(Plate(grams=Decimal(grams)))
    if dialect.line == "8N1":
        return frame
    return bytes(byte | (byte.bit_count() % 2) << 7 for byte in frame)


def cost(folder, seconds):
    """Feed a process of drivers for some seconds; return what a core has to do for them."""
    command = [sys.executable, "-m", "tests.bench.serial", "--drive", str(folder)]
    with Feeder(folder) as feeder:
        command += ["--seconds", str(seconds)]
        done = subprocess.run(
            command, capture_output=True, text=True, check=True, timeout=seconds + 60
        )
        rate = feeder.rate
    told = json.loads(done.stdout)
    per_reading_s = told["cpu_s"] / (rate * DEVICES * told["wall_s"])
    return {
        **told,
        "devices": DEVICES,
        "readings_per_s": round(rate, 1),
        "us_per_reading": round(1e6 * per_reading_s, 1),
        # A busy machine may feed more slowly than it should.
        "core_percent": round(100 * per_reading_s * DEVICES * READINGS_PER_S, 2),
    }


async def drive(folder, seconds):
    """Run every driver; return CPU and wall time from when all have been heard."""
    clock, up = OsClock(), set()
    intake, all_up = Intake(clock), asyncio.Event()
    blocks = rows = 0

    def came_up(name):
        up.add(name)
        if len(up) == DEVICES:
            all_up.set()

    async def drained():
        nonlocal blocks, rows
        while True:
            for item in await intake.drain(BATCH_MAX):
                blocks, rows = blocks + 1, rows + len(item.w)

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(drained())]
        for config in configs(folder):
            kind = ScaleDriver if isinstance(config, ScaleConfig) else BridgeDriver
            driver = kind(config, clock=clock, open_stream=open_port)
            work = driver.run(intake, lambda name=config.name: came_up(name))
            tasks.append(group.create_task(work))
        await all_up.wait()
        await asyncio.sleep(2)
        blocks = rows = 0
        began_s, used_s = time.monotonic(), time.process_time()
        await asyncio.sleep(seconds)
        wall_s, cpu_s = time.monotonic() - began_s, time.process_time() - used_s
        for task in tasks:
            task.cancel()
    return {
        "wall_s": round(wall_s, 2),
        "cpu_s": round(cpu_s, 3),
        "blocks_per_s": round(blocks / wall_s, 1),
        "rows_per_s": round(rows / wall_s, 1),
        "dropped": dict(intake.totals),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=10.0, help="to measure (%(default)s)")
    parser.add_argument("--drive", type=Path, metavar="FOLDER", help="the drivers' side alone")
    options = parser.parse_args()
    if options.drive is not None:
        told = asyncio.run(drive(options.drive, options.seconds))
    else:
        with tempfile.TemporaryDirectory(prefix="shelfgate-lines-") as folder:
            told = cost(Path(folder), options.seconds)
    sys.stdout.write(json.dumps(told) + "\n")


if __name__ == "__main__":
    main()
