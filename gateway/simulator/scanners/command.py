# SPDX-License-Identifier: Apache-2.0
"""``shelfgate simulate --device``: one scanner on a pseudo-terminal, told what to scan."""

import argparse
import asyncio
import os
import sys
from pathlib import Path
from typing import Final, cast, get_args

from gateway.simulator.lines import Line
from gateway.simulator.scanners.player import FAULTS, Fault, Player, Protocol
from gateway.simulator.until_stopped import say, stop_signal

PLUGGED_AGAIN_S: Final = 1.0
COMMAND_BYTES_MAX: Final = 4_096
HELP: Final = f"""Each line of standard input is a code to scan, \\x1d for GS, or a fault: !NAME.
Faults: {", ".join(FAULTS)}. The end of the input ends the scanner."""


def add_scanner_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what ``--device scanner`` takes."""
    parser.add_argument(
        "--prefix", default="", help="with --device scanner: what stands before each code"
    )


async def run_scanner(args: argparse.Namespace) -> int:
    """Emulate a scanner until its input ends; return the exit status."""
    if args.lines is None:
        sys.stderr.write("simulate: --device: a scanner needs a line. Add --lines DIR\n")
        return 2
    stop = stop_signal()
    try:
        args.lines.mkdir(parents=True, exist_ok=True)
        plug = Plug(args.lines / args.device, args.device, prefix=args.prefix)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        sys.stderr.write(f"simulate: {error.filename}: {reason}. Name a path that you may write\n")
        return 2
    say(
        f'For the daemon\'s settings:\n\n[[device]]\ndriver = "{args.device}"\n'
        f'name = "the scanner in the store file"\nurl = "{plug.link.absolute()}"\n\n{HELP}'
    )
    commands = Commands(plug.player, stop)
    loop = asyncio.get_running_loop()
    descriptor = sys.stdin.fileno()
    try:
        loop.add_reader(descriptor, lambda: commands.take(os.read(descriptor, COMMAND_BYTES_MAX)))
        await stop.wait()
    except PermissionError:  # Files cannot be waited for.
        sys.stderr.write("simulate: standard input: is a file. Give a terminal or a pipe\n")
        return 2
    finally:
        loop.remove_reader(descriptor)
        plug.close()
    return 0


class Plug:
    """A scanner whose line can be pulled out."""

    def __init__(self, link: Path, protocol: Protocol, *, prefix: str = "") -> None:
        """Plug in.

        Args:
            link: Where the gateway finds the line.
            protocol: What the scanner speaks.
            prefix: What stands before each code.

        Raises:
            OSError: The link cannot be made.
        """
        assert protocol in get_args(Protocol)
        self.link = link
        self._loop = asyncio.get_running_loop()
        self._line: Line | None = None
        self._again: asyncio.TimerHandle | None = None
        self.player = Player(
            protocol,
            self._write,
            later=self._loop.call_later,
            unplug=self._unplug,
            prefix=prefix.encode(),
        )
        self._plug_in()

    def close(self) -> None:
        """Unplug for good."""
        self._pull()
        if self._again is not None:
            self._again.cancel()

    def _plug_in(self) -> None:
        line = self._line = Line(self.link)
        self._loop.add_reader(line.descriptor, lambda: self.player.received(line.read()))

    def _write(self, data: bytes) -> None:
        if self._line is not None:
            self._line.write(data)

    def _unplug(self) -> None:
        if self._line is not None:
            self._pull()
            self._again = self._loop.call_later(PLUGGED_AGAIN_S, self._plug_in)

    def _pull(self) -> None:
        if self._line is not None:
            self._loop.remove_reader(self._line.descriptor)
            self._line.close()
            self._line = None


class Commands:
    """Lines of text that say what to do."""

    def __init__(self, player: Player, stop: asyncio.Event) -> None:
        self._player = player
        self._stop = stop
        self._text = b""

    def take(self, data: bytes) -> None:
        """Carry out the lines that have come; an empty read ends it all."""
        if not data:
            self._stop.set()
        *lines, self._text = (self._text + data).split(b"\n")
        self._text = self._text[-COMMAND_BYTES_MAX:]
        for line in lines:
            self._do(line.decode(errors="replace").strip())

    def _do(self, line: str) -> None:
        if line.startswith("!") and line[1:] not in FAULTS:
            sys.stderr.write(f"simulate: {line}: no fault. Known are {', '.join(FAULTS)}\n")
            return
        try:
            if line.startswith("!"):
                self._player.order(cast(Fault, line[1:]))
            elif line:
                self._player.scan(line.replace("\\x1d", "\x1d"))
        except ValueError as error:
            sys.stderr.write(f"simulate: {error}\n")
