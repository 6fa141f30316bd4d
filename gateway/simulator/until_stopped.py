# SPDX-License-Identifier: Apache-2.0
"""What commands that run until they are told to stop have in common."""

import asyncio
import os
import signal
import sys
from collections.abc import Callable
from typing import Final


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


LINE_BYTES_MAX: Final = 4_096


def listen_to_lines(take: Callable[[str], None], stop: asyncio.Event) -> None:
    """Hand each line of standard input on, without the spaces around it; its end stops the run.

    Args:
        take: Takes a line; what it raises as ``ValueError`` is shown.
        stop: Set at the end.

    Raises:
        ValueError: Standard input is a file, which cannot be waited for.
    """
    loop = asyncio.get_running_loop()
    descriptor = sys.stdin.fileno()
    rest = b""

    def readable() -> None:
        nonlocal rest
        data = os.read(descriptor, LINE_BYTES_MAX)
        if not data:
            loop.remove_reader(descriptor)
            stop.set()
        *lines, rest = (rest + data).split(b"\n")
        rest = rest[-LINE_BYTES_MAX:]
        for line in lines:
            try:
                take(line.decode(errors="replace").strip())
            except ValueError as error:
                sys.stderr.write(f"simulate: {error}\n")

    try:
        loop.add_reader(descriptor, readable)
    except PermissionError:
        raise ValueError("standard input: is a file. Give a terminal or a pipe") from None
