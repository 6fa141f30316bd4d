# SPDX-License-Identifier: Apache-2.0
"""Real brokers for tests: Mosquitto where it is installed, and free ports."""

import asyncio
import os
import shutil
import subprocess
from contextlib import asynccontextmanager, suppress

import pytest

from drivers.mqtt.embedded import start_broker, stop_broker
from gateway.simulator.processes import free_ports

PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin"
MOSQUITTO = shutil.which("mosquitto", path=PATH)
MOSQUITTO_PASSWD = shutil.which("mosquitto_passwd", path=PATH)

needs_mosquitto = pytest.mark.skipif(
    MOSQUITTO is None, reason="mosquitto is not installed (apt install mosquitto)"
)


def free_port():
    """Return a TCP port of loopback that nobody uses now."""
    return free_ports(1)[0]


class Mosquitto:
    """A Mosquitto on loopback that can be killed and started again."""

    def __init__(self, folder, *lines, port=None):
        self.port = port or free_port()
        self.config = folder / f"mosquitto-{self.port}.conf"
        access = () if any("password_file" in line for line in lines) else ("allow_anonymous true",)
        listener = (f"listener {self.port} 127.0.0.1", "user root", "persistence false")
        self.config.write_text("\n".join([*listener, *access, *lines, ""]))
        self.process = None

    async def start(self):
        self.process = await asyncio.create_subprocess_exec(
            MOSQUITTO, "-c", str(self.config), stderr=subprocess.DEVNULL
        )
        async with asyncio.timeout(20):
            while not await self._accepts():
                assert self.process.returncode is None, "mosquitto refused its configuration"

    async def _accepts(self):
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", self.port)
        except OSError:
            await asyncio.sleep(0.02)  # Mosquitto has no way to say that it is ready.
            return False
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()
        return True

    async def kill(self):
        with suppress(ProcessLookupError):
            self.process.kill()
        await self.process.wait()


@asynccontextmanager
async def mosquitto(folder, *lines, port=None):
    """Run a Mosquitto with extra configuration lines."""
    broker = Mosquitto(folder, *lines, port=port)
    await broker.start()
    try:
        yield broker
    finally:
        await broker.kill()


class Embedded:
    """The embedded broker, with the methods of ``Mosquitto``."""

    def __init__(self, _folder):
        self.port = free_port()
        self.process = None

    async def start(self):
        self.process = await start_broker(self.port)

    async def kill(self):
        self.process.kill()
        await stop_broker(self.process)


@asynccontextmanager
async def broker_of(kind, folder):
    broker = kind(folder)
    await broker.start()
    try:
        yield broker
    finally:
        await broker.kill()


KINDS = {
    "embedded": (Embedded, 4),
    "mosquitto-3.1.1": (Mosquitto, 4),
    "mosquitto-5": (Mosquitto, 5),
}


def on(name, *more, label=""):
    """Return the parameters of a test on one broker."""
    marks = [needs_mosquitto] if name.startswith("mosquitto") else []
    return pytest.param(*KINDS[name], *more, id=f"{label}{name}", marks=marks)


every_broker = pytest.mark.parametrize(("kind", "protocol"), [on(name) for name in KINDS])


def run(coroutine, limit_s=240):
    """Run a test's coroutine with a limit of its own, so that what it opened is closed."""

    async def limited():
        async with asyncio.timeout(limit_s):
            return await coroutine

    return asyncio.run(limited())
