# SPDX-License-Identifier: Apache-2.0
"""``shelfgate simulate --device``: one scale, transmitter or bridge on a line or TCP."""

import argparse
import asyncio
import logging
import os
import sys
from decimal import Decimal, InvalidOperation
from pathlib import Path

from drivers.modbus import maps
from gateway.simulator.scales import bridge, modbus
from gateway.simulator.scales.bridge import BridgeBoard
from gateway.simulator.scales.modbus import Transmitters
from gateway.simulator.scales.player import FAULTS, Player
from gateway.simulator.scales.ports import PtyPort, TcpPort
from gateway.simulator.until_stopped import say, stop_signal

log = logging.getLogger(__name__)

SETTINGS = {
    "toledo-8217": 'unit = "kg"\n',
    "lines": 'format = "tscale"\n',
}
MODBUS = "modbus"
BRIDGE = "bridge"
Emulated = Player | Transmitters | BridgeBoard
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
        help="with --device: "
        + ", ".join(dict.fromkeys((*FAULTS, *modbus.FAULTS, *bridge.FAULTS)))
        + ", so long after the start; may repeat",
    )
    parser.add_argument(
        "--map",
        default="pavone-jbx8",
        choices=maps.shipped(),
        help="with --device modbus: its register map (%(default)s)",
    )
    parser.add_argument(
        "--framing",
        default="rtu",
        choices=("rtu", "tcp"),
        help="with --device modbus: RTU frames, or Modbus TCP (%(default)s)",
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
        player = _player(args, port)
        player.put(grams)
        port.received = player.received
        for order in args.fault:
            _schedule(player, order)
        say(
            f"For the daemon's settings:\n\n{_table(args, port.url)}\n"
            "A number on standard input puts so many grams on it; a word orders a fault: "
            f"{', '.join(player.faults)}."
        )
        _listen(player)
        async with asyncio.TaskGroup() as group:
            playing = group.create_task(player.play(), name=args.device)
            await stop.wait()
            playing.cancel()
    finally:
        port.close()
    return 0


def _player(args: argparse.Namespace, port: PtyPort | TcpPort) -> Emulated:
    if args.device == MODBUS:
        made = Transmitters(
            maps.load(args.map), port.write, framing=args.framing, unplug=port.unplug
        )
        if isinstance(port, TcpPort):
            port.connected = made.connect
        return made
    if args.device == BRIDGE:
        return BridgeBoard(port.write, unplug=port.unplug, rate=args.rate)
    return Player(args.device, port.write, unplug=port.unplug, rate=args.rate)


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


def _table(args: argparse.Namespace, url: str) -> str:
    """Return the settings of the device, for a shelf of one plate, or two on a bridge."""
    if args.device == MODBUS:
        register_map = maps.load(args.map)
        more = f'unit = "kg"\nframing = "{args.framing}"\n'
        if register_map.type != "f32":
            more += "decimals = 3\n"
        driver, what = "modbus", f'map = "{args.map}"'
    elif args.device == BRIDGE:
        driver, what = "bridge", "channels = [0, 1]"
        more = (
            '# Both plates in the store file: calibration = { id = "emulated", '
            f"zero_raw = {bridge.ZERO_RAW}, counts_per_g = {bridge.COUNTS_PER_G} }}\n"
        )
    else:
        driver, what, more = "scale", f'protocol = "{args.device}"', SETTINGS.get(args.device, "")
    return (
        f'[[device]]\ndriver = "{driver}"\nname = "the shelf\'s name in the store file"\n'
        f'url = "{url}"\n{what}\n{more}'
    )


def _grams(text: str) -> Decimal:
    try:
        grams = Decimal(text)
    except InvalidOperation:
        grams = Decimal("NaN")
    if not (grams.is_finite() and abs(grams) <= GRAMS_MAX):
        raise ValueError(f"--grams {text}: no weight. Give grams, at most {GRAMS_MAX}")
    return grams


def _schedule(player: Emulated, order: str) -> None:
    name, _, after = order.partition("@")
    if name not in player.faults:
        raise ValueError(f"--fault {name}: not known. Known are {', '.join(player.faults)}")
    if not after.replace(".", "", 1).isdigit():
        raise ValueError(f"--fault {order}: no time. Write for example {name}@5")
    asyncio.get_running_loop().call_later(float(after), _tried, player, name)


def _tried(player: Emulated, fault: str) -> None:
    try:
        player.order(fault)
    except ValueError as error:
        log.warning("fault %s", error)
    else:
        log.info("fault: %s", fault)


def _listen(player: Emulated) -> None:
    """Let lines on standard input put weights and order faults."""
    loop = asyncio.get_running_loop()
    descriptor = sys.stdin.fileno()

    def readable() -> None:
        text = os.read(descriptor, 4_096)
        if not text:
            loop.remove_reader(descriptor)
        for word in text.decode(errors="replace").split():
            try:
                if word in player.faults:
                    _tried(player, word)
                elif word[0].isalpha():
                    faults = ", ".join(player.faults)
                    log.warning("%s: neither grams nor a fault. Known are %s", word, faults)
                else:
                    player.put(_grams(word))
            except ValueError as error:
                log.warning("%s", error)

    try:
        loop.add_reader(descriptor, readable)
    except PermissionError:
        return  # A file or nothing: it has no more to say.
