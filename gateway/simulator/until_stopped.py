# SPDX-License-Identifier: Apache-2.0
"""What commands that run until they are told to stop have in common."""

import asyncio
import os
import signal
import sys
from collections.abc import Callable


def say(line: str) -> None:
    """Print a line at once."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def stop_signal() -> asyncio.Event:
    """Return an event that SIGTERM and SIGINT set."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    return stop


def listen(begin: Callable[[], None], stop: asyncio.Event) -> None:
    """Let a line on standard input begin the run, and its end stop it."""
    loop = asyncio.get_running_loop()
    descriptor = sys.stdin.fileno()

    def readable() -> None:
        if os.read(descriptor, 4_096):
            begin()
        else:
            loop.remove_reader(descriptor)
            stop.set()

    loop.add_reader(descriptor, readable)
