# SPDX-License-Identifier: Apache-2.0
"""The command ``shelfgate simulate``: a store's devices against any broker."""

import argparse
import asyncio
import logging
import sys
from pathlib import Path

from drivers.mqtt.config import MqttConfig, Tls
from gateway.config import ConfigError, load_store
from gateway.domain.store import Store
from gateway.simulator.demo_settings import device_tables, entry_table
from gateway.simulator.devices import SimulateConfig, Simulation, SimulationError
from gateway.simulator.doors import DOORS, run_door
from gateway.simulator.exam.command import (
    add_case_arguments,
    refuse_options,
    render_script,
    run_script,
)
from gateway.simulator.fleet import add_fleet_arguments, fleet_config, run_fleet
from gateway.simulator.mqtt_shelves import FIRMWARES, run_mqtt_shelf
from gateway.simulator.scales.command import BRIDGE, MODBUS, add_scale_arguments, run_scale
from gateway.simulator.scales.dialects import DIALECTS
from gateway.simulator.scanners.command import add_scanner_arguments, run_scanner
from gateway.simulator.scanners.player import PROTOCOLS
from gateway.simulator.until_stopped import listen, say, stop_signal
from gateway.simulator.world import Traffic


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what ``shelfgate simulate`` takes."""
    parser.add_argument(
        "--store", type=Path, help="store file; with --script it is written if it is not there"
    )
    parser.add_argument(
        "--broker", default="127.0.0.1:1883", help="host[:port] of the broker (%(default)s)"
    )
    parser.add_argument("--username", help="user name at the broker")
    parser.add_argument("--password-file", type=Path, help="file that holds the password alone")
    parser.add_argument("--ca", help="PEM file of the authorities to trust; turns TLS on")
    parser.add_argument("--seed", type=int, default=1, help="decides everything (%(default)s)")
    parser.add_argument(
        "--shoppers", type=int, default=5, help="how many come; 0: without end (%(default)s)"
    )
    parser.add_argument("--at-once", type=int, default=3, help="most at a time (%(default)s)")
    parser.add_argument(
        "--keys",
        type=Path,
        default=Path("simulated-keys"),
        help="directory of the entry tokens' key and its JWKS; made if absent (%(default)s)",
    )
    sight = parser.add_mutually_exclusive_group()
    sight.add_argument(
        "--people",
        action="store_true",
        help="publish people as a good tracker would see them (default)",
    )
    sight.add_argument(
        "--camera",
        metavar="NAME:PORT",
        help="render this camera as MJPEG on http://127.0.0.1:PORT/ instead",
    )
    parser.add_argument(
        "--lines",
        type=Path,
        metavar="DIR",
        help="put scanners and --bridge shelves on pseudo-terminals, linked in this directory",
    )
    parser.add_argument(
        "--bridge", action="append", default=[], metavar="SHELF", help="with --lines; may repeat"
    )
    parser.add_argument("--quiet", action="store_true", help="say nothing of what happens")
    parser.add_argument(
        "--open-doors", action="store_true", help="let shoppers in without the gateway's word"
    )
    add_case_arguments(parser)
    _add_device(parser)
    add_fleet_arguments(parser)
    parser.add_argument("--truth", type=Path, help="write what really happened to this JSON file")
    parser.add_argument(
        "--held",
        action="store_true",
        help="nobody comes before a line `go` on standard input, and its end ends the run",
    )


def _add_device(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--device",
        metavar="PROTOCOL",
        choices=(*DIALECTS, MODBUS, BRIDGE, *PROTOCOLS, *FIRMWARES, *DOORS),
        help="emulate one device instead of a store: a scale ("
        + ", ".join(DIALECTS)
        + "), a transmitter ("
        + MODBUS
        + "), a "
        + BRIDGE
        + ", a scanner ("
        + ", ".join(PROTOCOLS)
        + ") or a relay, in --lines; a shelf ("
        + ", ".join(FIRMWARES)
        + ") or an mqtt-door, at --broker; weights in grams or codes, and faults, come from "
        "standard input",
    )
    add_scale_arguments(parser)
    add_scanner_arguments(parser)


def simulate(args: argparse.Namespace) -> int:
    """Run ``shelfgate simulate``, or draw a case; return the exit status."""
    if args.script is not None and args.render is not None:
        try:
            refuse_options(args)
        except ValueError as error:
            sys.stderr.write(f"simulate: {error}\n")
            return 2
        return render_script(args)
    return asyncio.run(run_simulate(args))


async def run_simulate(args: argparse.Namespace) -> int:
    """Run ``shelfgate simulate``.

    Returns:
        The exit status: 1 if a file cannot be used or the camera's renderer ended, 2 if an
        argument is wrong.
    """
    try:
        refuse_options(args)
        if args.device is not None or args.script is not None or args.fleet is not None:
            return await _run_part(args)
        config = _config(args)
        simulation = Simulation(config)
    except ConfigError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    except OSError as error:
        reason = error.strerror or type(error).__name__
        sys.stderr.write(f"simulate: {error.filename}: {reason}. Name a path that you may write\n")
        return 2
    except ValueError as error:
        sys.stderr.write(f"simulate: {error}\n")
        return 2
    if not args.quiet:
        _show_settings(config)
    stop = stop_signal()
    if config.held:
        listen(simulation.begin, stop)
    try:
        await simulation.run(stop)
    except SimulationError as error:
        sys.stderr.write(f"simulate: {error}\n")
        return 1
    return 0


async def _run_part(args: argparse.Namespace) -> int:
    """Run one device, one case of the exam, or a fleet."""
    if args.fleet is not None:
        return await run_fleet(fleet_config(args, _broker(args)), stop_signal(), quiet=args.quiet)
    if args.device in PROTOCOLS:
        return await run_scanner(args)
    if args.device in FIRMWARES:
        return await run_mqtt_shelf(args, _broker(args))
    if args.device in DOORS:
        return await run_door(args, _broker(args))
    if args.device is not None:
        return await run_scale(args)
    return await run_script(args, _broker(args), _truth(args.truth))


def _show_settings(config: SimulateConfig) -> None:
    """Show what a daemon has to know of these devices."""
    tables = [entry_table(config.keys.resolve())]
    if config.lines is not None:
        tables += device_tables(config.store, config.lines.resolve(), config.bridges)
    say("For the daemon's settings:\n\n" + "\n".join(tables))


def _config(args: argparse.Namespace) -> SimulateConfig:
    if args.store is None:
        raise ValueError("--store: missing. Name the store file")
    if args.shoppers < 0:
        raise ValueError(f"--shoppers {args.shoppers}: negative. Give 0 for no end, or a number")
    if args.at_once < 1:
        raise ValueError(f"--at-once {args.at_once}: nobody could come. Give 1 or more")
    store = load_store(args.store)
    return SimulateConfig(
        store=store,
        store_path=args.store,
        broker=_broker(args),
        seed=args.seed,
        traffic=Traffic(shoppers=args.shoppers or None, at_once=args.at_once),
        keys=args.keys,
        lines=_lines(args, store),
        bridges=tuple(args.bridge),
        camera=_camera(args.camera, store),
        open_doors=args.open_doors,
        held=args.held,
        truth=_truth(args.truth),
        say=(lambda _line: None) if args.quiet else say,
    )


def _broker(args: argparse.Namespace) -> MqttConfig:
    host, colon, port = args.broker.rpartition(":")
    if not colon:
        host, port = args.broker, "8883" if args.ca else "1883"
    if not host or not _is_port(port):
        raise ValueError(f"--broker {args.broker}: {port} is no port. Write host:port")
    password = None
    if args.password_file is not None:
        try:
            password = args.password_file.read_text().strip()
        except (OSError, UnicodeDecodeError) as error:
            problem = f"--password-file {args.password_file}: cannot be read ({error})"
            raise ValueError(f"{problem}. Name a text file that you may read") from error
    return MqttConfig(
        host=host,
        port=int(port),
        client_id="set by each device",
        protocol=4,
        username=args.username,
        password=password,
        tls=Tls(ca=args.ca) if args.ca else None,
    )


def _camera(text: str | None, store: Store) -> tuple[str, int] | None:
    if text is None:
        return None
    name, _, port = text.rpartition(":")
    if not name or not _is_port(port):
        raise ValueError(f"--camera {text}: not NAME:PORT. Write for example top:8090")
    if all(one.name != name for one in store.cameras):
        known = ", ".join(camera.name for camera in store.cameras) or "none"
        raise ValueError(f"--camera {name}: not in the store file. Known there: {known}")
    return name, int(port)


def _lines(args: argparse.Namespace, store: Store) -> Path | None:
    """Return the directory of the pseudo-terminals, which is made if absent."""
    lines: Path | None = args.lines
    if args.bridge and lines is None:
        raise ValueError("--bridge: a bridge needs a line. Add --lines DIR")
    for name in args.bridge:
        if all(shelf.name != name for shelf in store.shelves):
            known = ", ".join(shelf.name for shelf in store.shelves) or "none"
            raise ValueError(f"--bridge {name}: not in the store file. Known there: {known}")
    if lines is not None:
        try:
            lines.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            problem = f"--lines {lines}: cannot be made ({error.strerror})"
            raise ValueError(f"{problem}. Name a directory that you may write") from error
    return lines


def _truth(path: Path | None) -> Path | None:
    if path is not None and not path.parent.is_dir():
        raise ValueError(f"--truth {path}: {path.parent} is no directory. Make it first")
    return path


def _is_port(text: str) -> bool:
    return text.isascii() and text.isdigit() and 0 < int(text) < 65_536


def main() -> int:
    """Run ``python -m gateway.simulator.simulate``; return its exit status."""
    parser = argparse.ArgumentParser(description="Simulate a store's devices.")
    add_arguments(parser)
    logging.basicConfig(format="%(levelname)s %(message)s", level=logging.INFO)
    return simulate(parser.parse_args())


if __name__ == "__main__":
    sys.exit(main())
