# SPDX-License-Identifier: Apache-2.0
"""Child processes that end with their parent, whatever happens to it."""

import asyncio
import os
import random
import signal
import socket
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from drivers.mqtt.embedded import die_with_parent

STOP_S = 6.0
LOG_LINES = 15
LINE_BYTES_MAX = 1 << 20
FIRST_PORT = 10_000  # Below it are those of well-known services.
CONNECTIONS_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")


class Child:
    """One program: started, watched, killed, started again."""

    def __init__(
        self,
        name: str,
        arguments: Sequence[str],
        directory: Path,
        *,
        environment: Mapping[str, str] | None = None,
        on_line: Callable[[str], None] | None = None,
        has_input: bool = False,
    ) -> None:
        """Describe it.

        Args:
            name: What people call it.
            arguments: Of this Python, after its own name.
            directory: Where its log goes, as ``<name>.log``.
            environment: Beyond this process's own.
            on_line: Takes each line of its standard output; without it that goes to the log too.
            has_input: Keep a pipe to its standard input.
        """
        self.name = name
        self.group: asyncio.TaskGroup | None = None
        """Holds the task that reads the output."""
        self.log = directory / f"{name.replace(' ', '-')}.log"
        self._arguments = arguments
        self._environment = {**os.environ, "PYTHONUNBUFFERED": "1", **(environment or {})}
        self._on_line = on_line
        self._has_input = has_input
        self._asked = False
        self._process: asyncio.subprocess.Process | None = None
        self._reading: asyncio.Task[None] | None = None

    @property
    def returncode(self) -> int | None:
        """Exit status; None while it runs or before it did."""
        return None if self._process is None else self._process.returncode

    @property
    def failed(self) -> bool:
        """Whether it was started and ended without being asked to."""
        return not self._asked and self.returncode is not None

    @property
    def running(self) -> bool:
        """Whether it was started and has not ended."""
        return self._process is not None and self._process.returncode is None

    async def start(self) -> None:
        """Start it, for the first time or again."""
        assert not self.running, f"{self.name} runs already"
        self._asked = False
        with self.log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                *self._arguments,
                stdin=asyncio.subprocess.PIPE if self._has_input else asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE if self._on_line else log,
                stderr=log,
                env=self._environment,
                limit=LINE_BYTES_MAX,
                # Ctrl-C is for the parent alone, which stops its children in order.
                start_new_session=True,
                preexec_fn=die_with_parent,
            )
        if self._on_line is not None:
            assert self.group is not None, "who wants the output gives a group for its reader"
            self._reading = self.group.create_task(
                self._read(self._on_line), name=f"{self.name} output"
            )

    def say(self, line: str) -> None:
        """Write a line to its standard input."""
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.write(f"{line}\n".encode())

    async def ended(self) -> None:
        """Wait until it ends by itself."""
        assert self._process is not None
        await self._process.wait()

    async def kill(self) -> None:
        """End it with SIGKILL, as a power cut would."""
        await self._end(signal.SIGKILL)

    async def stop(self) -> int | None:
        """End it with SIGTERM, and with SIGKILL if it does not listen; return its exit status."""
        try:
            async with asyncio.timeout(STOP_S):
                await self._end(signal.SIGTERM)
        except TimeoutError:
            await self._end(signal.SIGKILL)
        return self.returncode

    def last_words(self) -> str:
        """Return the end of its log."""
        if not self.log.exists():
            return ""
        lines = self.log.read_text(errors="replace").splitlines()
        return "\n".join(f"    {line}" for line in lines[-LOG_LINES:])

    async def _end(self, number: signal.Signals) -> None:
        process = self._process
        self._asked = True
        if process is None:
            return
        if process.returncode is None:
            with suppress(ProcessLookupError):
                process.send_signal(number)
            if process.stdin is not None:
                process.stdin.close()
            await process.wait()
        if self._reading is not None:
            await self._reading

    async def _read(self, on_line: Callable[[str], None]) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            on_line(line.decode(errors="replace").rstrip("\n"))


class ReadySocket:
    """Hears what a daemon tells systemd (sd_notify(3)): that it is ready."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self._socket.bind(str(path))

    def forget(self) -> None:
        """Drop what was said so far."""
        with suppress(BlockingIOError):
            while True:
                self._socket.recv(4_096)

    async def ready(self, still_there: Callable[[], bool]) -> bool:
        """Wait for ``READY=1``; False once ``still_there`` says that nobody will say it."""
        while still_there():
            with suppress(BlockingIOError):
                if b"READY=1" in self._socket.recv(4_096):
                    return True
                continue
            await asyncio.sleep(0.02)
        return False

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()


def free_ports(count: int) -> list[int]:
    """Return ports of loopback that nobody listens on now.

    Those that the kernel gives to outgoing connections (ip(7), ``ip_local_port_range``) come
    last: such a connection would keep a program that was killed from listening on its port
    again, for a minute after its end, too.
    """
    low, high = _connections_range()
    ports: list[int] = []
    for port in sorted(
        range(FIRST_PORT, 65_536), key=lambda port: (low <= port <= high, random.random())
    ):
        if len(ports) == count:
            break
        with socket.socket() as one, suppress(OSError):
            one.bind(("127.0.0.1", port))
            ports.append(port)
    return ports


def _connections_range() -> tuple[int, int]:
    try:
        low, high = CONNECTIONS_RANGE.read_text("ascii").split()
    except OSError:
        return 32_768, 60_999  # Linux's own default.
    return int(low), int(high)


async def accepts(port: int, still_there: Callable[[], bool]) -> bool:
    """Wait until somebody accepts on a port of loopback; False once ``still_there`` says no."""
    while still_there():
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            await asyncio.sleep(0.05)
            continue
        writer.close()
        await writer.wait_closed()
        return True
    return False
