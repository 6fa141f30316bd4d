# SPDX-License-Identifier: Apache-2.0
"""``shelfgate simulate --device``: one scale on a pseudo-terminal or TCP."""

import argparse
import asyncio
import logging
import os
import sys
from collections.abc import Callable
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import get_args

from gateway.simulator.scales.player import FAULTS, Fault, Player
from gateway.simulator.scales.ports import PtyPort, TcpPort
from gateway.simulator.until_stopped import say, stop_signal

log = logging.getLogger(__name__)

SETTINGS = {
    "toledo-8217": 'unit = "kg"\n',
    "lines": 'format = "tscale"\n',
}
GRAMS_MAX = Decimal(15_000)


def add_scale_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what ``shelfgate simulate --device`` takes."""
    parser.add_argument(
        "--tcp", type=int, metavar="PORT", help="with --device: on loopback instead of --lines"
    )
    parser.add_argument(
        "--grams", default="412", help="with --device: what lies on it (%(default)s)"
    )
    parser.add_argument(
        "--rate",
        type=float,
        default=10.0,
        help="with --device: frames a second, if it sends by itself (%(default)s)",
    )
    parser.add_argument(
        "--fault",
        action="append",
        default=[],
        metavar="NAME@SECONDS",
        help="with --device: " + ", ".join(FAULTS) + ", so long after the start; may repeat",
    )


async def run_scale(args: argparse.Namespace) -> int:
    """Run ``shelfgate simulate --device`` until it is stopped; return the exit status.

    Raises:
        ValueError: An argument is wrong; says which, and the remedy.
        OSError: The directory or port cannot be used.
    """
    grams = _grams(args.grams)
    if not 0.1 <= args.rate <= 1_000:
        raise ValueError(f"--rate {args.rate:g}: out of range. Give 0.1 to 1000")
    stop = stop_signal()
    port = await _port(args)
    try:
        player = Player(args.device, port.write, unplug=port.unplug, rate=args.rate)
        player.put(grams)
        port.received = player.received
        for order in args.fault:
            _schedule(player, order)
        say(f"For the daemon's settings:\n\n{_table(args.device, port.url)}")
        _listen(player)
        async with asyncio.TaskGroup() as group:
            playing = group.create_task(player.play(), name=args.device)
            await stop.wait()
            playing.cancel()
    finally:
        port.close()
    return 0


async def _port(args: argparse.Namespace) -> PtyPort | TcpPort:
    if args.tcp is not None:
        if not 0 <= args.tcp < 65_536:
            raise ValueError(f"--tcp {args.tcp}: no port. Give 1 to 65535, or 0 for any")
        tcp = TcpPort()
        try:
            await tcp.listen(args.tcp)
        except OSError as error:
            raise ValueError(f"--tcp {args.tcp}: {error.strerror}. Give another port") from error
        return tcp
    if args.lines is None:
        raise ValueError("--device: a scale needs a line. Add --lines DIR or --tcp PORT")
    return PtyPort(_directory(args.lines) / f"scale-{args.device}")


def _directory(lines: Path) -> Path:
    lines.mkdir(parents=True, exist_ok=True)
    return lines.resolve()


def _table(protocol: str, url: str) -> str:
    more = SETTINGS.get(protocol, "")
    return (
        f'[[device]]\ndriver = "scale"\nname = "the shelf\'s name in the store file"\n'
        f'url = "{url}"\nprotocol = "{protocol}"\n{more}'
    )


def _grams(text: str) -> Decimal:
    try:
        grams = Decimal(text)
    except InvalidOperation:
        grams = Decimal("NaN")
    if not (grams.is_finite() and abs(grams) <= GRAMS_MAX):
        raise ValueError(f"--grams {text}: no weight. Give grams, at most {GRAMS_MAX}")
    return grams


def _fault(text: str) -> Fault:
    for fault in get_args(Fault):
        if fault == text:
            known: Fault = fault
            return known
    raise ValueError(f"--fault {text}: not known. Known are {', '.join(FAULTS)}")


def _schedule(player: Player, order: str) -> None:
    name, _, after = order.partition("@")
    fault = _fault(name)
    if not after.replace(".", "", 1).isdigit():
        raise ValueError(f"--fault {order}: no time. Write for example {name}@5")
    asyncio.get_running_loop().call_later(float(after), _tried, player.order, fault)


def _tried(order: Callable[[Fault], None], fault: Fault) -> None:
    try:
        order(fault)
    except ValueError as error:
        log.warning("fault %s", error)
    else:
        log.info("fault: %s", fault)


def _listen(player: Player) -> None:
    """Let lines on standard input put weights and order faults."""
    loop = asyncio.get_running_loop()
    descriptor = sys.stdin.fileno()

    def readable() -> None:
        text = os.read(descriptor, 4_096)
        if not text:
            loop.remove_reader(descriptor)
        for word in text.decode(errors="replace").split():
            try:
                if word in FAULTS:
                    _tried(player.order, _fault(word))
                else:
                    player.put(_grams(word))
            except ValueError as error:
                log.warning("%s", error)

    try:
        loop.add_reader(descriptor, readable)
    except PermissionError:
        return  # A file or nothing: it has no more to say.
