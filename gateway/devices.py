# SPDX-License-Identifier: Apache-2.0
"""``shelfgate devices``: what is there, what it is called, what speaks on a port, how it does."""

import argparse
import asyncio
import json
import os
import sys
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from drivers.errors import DeviceGoneError, DriverError
from drivers.instore.codec import Known
from drivers.mqtt.config import MqttConfig
from drivers.mqtt_shelf.config import EsphomeConfig, TasmotaConfig
from drivers.network_port import address_of, open_port
from drivers.probe.judging import Finding
from drivers.probe.probe import Probed, probe
from drivers.registry import DeviceConfig, is_device
from drivers.scale.protocols import PROTOCOLS
from gateway.announced import Announced, Elsewhere, announced, elsewhere
from gateway.config import load_store
from gateway.config_settings import Broker, load_watched, read_settings
from gateway.config_toml import ConfigError
from gateway.config_vision import Watched
from gateway.device_watch import watch
from gateway.domain.store import Store
from gateway.plugged import Port, find_keyboards, find_ports
from vision.camera_tools.devices import Device, find_devices

WAIT_S: Final = 3.0
OWN_NAME: Final = dict.fromkeys(("scale", "bridge", "modbus"), "the shelf's")
NOTES: Final = {
    "unit": "  # Or as its display has it: the unit is not sent.",
    "decimals": "  # Or as many as its display has: the point is not sent.",
    "map_file": "  # Write it from the manual; docs/devices.md says how.",
}
USUAL_BAUD: Final = {"modbus": 9_600}
MakeConfig = Callable[..., MqttConfig]
"""``gateway.app.mqtt_config``."""


@dataclass(frozen=True)
class Written:
    """What the settings already name; what is wrong elsewhere in them does not matter here."""

    broker: Broker
    devices: tuple[DeviceConfig, ...] = ()
    cameras: tuple[Watched, ...] = ()

    @classmethod
    def read(cls, path: Path) -> "Written":
        """Read the tables that can be read.

        Raises:
            ConfigError: The file cannot be read at all, or ``[broker]`` is wrong: it is needed.
        """
        read = read_settings(path)
        if read.document is None:
            raise ConfigError(read.problems)
        tables = [table for _, table in read.tables]
        brokers = [table for table in tables if isinstance(table, Broker)]
        if "broker" in read.document.data and not brokers:
            wrong = [one for one in read.problems if one.key.partition(".")[0] == "broker"]
            raise ConfigError(wrong or read.problems)
        try:
            cameras = load_watched(path)  # A model, which they may lack yet, does not matter.
        except ConfigError:
            cameras = tuple(table for table in tables if isinstance(table, Watched))
        return cls(
            broker=brokers[0] if brokers else Broker(),
            devices=tuple(table for table in tables if is_device(table)),
            cameras=cameras,
        )

    def user_of(self, path: str) -> str | None:
        """Return which device or camera of the settings is at a device file; None: none."""
        for device in self.devices:
            if _same(getattr(device, "url", ""), path):
                return device.device
        for camera in self.cameras:
            number = f"/dev/video{camera.url}" if camera.url.isdigit() else camera.url
            if _same(number, path):
                return f"camera/{camera.camera}"
        return None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what ``shelfgate devices`` takes."""
    parser.add_argument(
        "action", nargs="?", choices=("watch",), help="show what each device sends, until Ctrl-C"
    )
    parser.add_argument("--settings", type=Path, metavar="FILE", help="the operator's settings")
    parser.add_argument("--store", type=Path, metavar="FILE", help="the installer's store file")
    parser.add_argument(
        "--probe",
        metavar="PORT",
        help="find out what is on a port: a path or socket://host:port; it is listened to first, "
        "and asked for a weight or a register only where nothing comes by itself",
    )
    parser.add_argument(
        "--wait",
        type=float,
        default=WAIT_S,
        metavar="S",
        help="how long to listen to the broker (%(default)g)",
    )
    parser.add_argument("--count", type=int, metavar="N", help="with watch: end after N times")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run_devices(args: argparse.Namespace, make_config: MakeConfig) -> int:
    """Run the command; return the exit status.

    Args:
        args: What ``add_arguments`` takes.
        make_config: Makes of a broker's table how to reach it.

    Raises:
        ConfigError: Settings or store file are wrong.
        DriverError: A port cannot be probed.
    """
    if args.action == "watch":
        if args.settings is None or args.store is None:
            return _misused("watch: needs to know the devices. Add --settings and --store")
        return asyncio.run(watch(args, make_config))
    if args.probe is not None:
        return _probe(args.probe, as_json=args.json)
    return _list(args, make_config)


def _list(args: argparse.Namespace, make_config: MakeConfig) -> int:
    """Show what is there."""
    written = None if args.settings is None else Written.read(args.settings)
    store = None if args.store is None else load_store(args.store)
    found: dict[str, list[Port] | list[Device]] = {
        "serial ports": find_ports(),
        "keyboards": find_keyboards(),
        "cameras": find_devices(),
    }
    told: list[Announced] = []
    others: list[Elsewhere] = []
    problem = None
    if written is not None:
        try:
            told, others = asyncio.run(_announced(written.broker, store, make_config, args.wait))
        except DriverError as error:
            problem = str(error)
    if args.json:
        shown: dict[str, Any] = {
            name.replace(" ", "_"): [_port_json(one, written) for one in many]
            for name, many in found.items()
        }
        shown["announced"] = [_announced_json(one, store) for one in told]
        shown["elsewhere"] = [asdict(one) | {"used_by": _reader(one, written)} for one in others]
        shown["problem"] = problem
        say(json.dumps(shown, indent=2, ensure_ascii=False))
        return 0
    for name, many in found.items():
        _show(name, (_port_words(one, written) for one in many))
    if written is not None:
        _show("on the in-store broker", (_announced_words(one, store) for one in told))
        _show("of other firmware there", (_elsewhere_words(one, written) for one in others))
    if problem is not None:
        say(f"  {problem}")
    return 0


def say(line: str) -> None:
    """Print a line at once."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _misused(words: str) -> int:
    sys.stderr.write(f"{words}\n")
    return 2


def _show(title: str, entries: Iterable[str]) -> None:
    shown = list(entries)
    say(f"{title}: {len(shown) or 'none'}")
    for entry in shown:
        say(f"  {entry}")


# What is plugged in.


def _same(one: str, other: str) -> bool:
    return one == other or os.path.realpath(one) == os.path.realpath(other)


def _user(path: str, written: Written | None) -> str | None:
    return None if written is None else written.user_of(path)


def _port_json(port: Port | Device, written: Written | None) -> dict[str, Any]:
    return {"name": port.stable, **asdict(port), "used_by": _user(port.path, written)}


def _port_words(port: Port | Device, written: Written | None) -> str:
    usb = port.usb if isinstance(port, Port) else None
    about = ", ".join(filter(None, (port.path, port.label, usb and f"USB {usb}")))
    user = _user(port.path, written)
    words = [port.stable, f"    {about}"]
    if user is not None:
        words.append(f"    in the settings: {user}")
    if isinstance(port, Port) and port.by_path and not port.alone:
        words.append(
            "    its serial number is missing or another's too, so it is named by its socket: "
            f'do not plug it elsewhere, and write usb = "{port.usb}" in its table'
        )
    return "\n  ".join(words)


# What announced itself.


async def _announced(
    broker: Broker, store: Store | None, make_config: MakeConfig, seconds: float
) -> tuple[list[Announced], list[Elsewhere]]:
    name = f"shelfgate-devices-{os.getpid()}"
    config = make_config(broker, name, embedded=broker.starts_own, clean=True)
    other = make_config(broker, f"{name}-others", embedded=broker.starts_own, clean=True)
    try:
        return await asyncio.gather(
            announced(config, None if store is None else store.name, seconds),
            _elsewhere(other, seconds),
        )
    except DeviceGoneError as error:
        if not broker.starts_own:
            raise
        remedy = "The settings name no broker, so the daemon brings one: start it"
        raise DeviceGoneError(config.name, error.problem, remedy) from error


async def _elsewhere(config: MqttConfig, seconds: float) -> list[Elsewhere]:
    try:
        return await elsewhere(config, seconds)
    except DriverError:  # A broker may refuse topics of no contract; what else is wrong is told.
        return []


def _reader(one: Elsewhere, written: Written | None) -> str | None:
    """Return which device of the settings is a node of other firmware; None: none."""
    for device in () if written is None else written.devices:
        if isinstance(device, EsphomeConfig | TasmotaConfig):
            name = device.prefix if isinstance(device, EsphomeConfig) else device.topic
            if name == one.name:
                return device.device
    return None


def _elsewhere_words(one: Elsewhere, written: Written | None) -> str:
    words = [f"{one.driver} {one.name}", one.state or "says not whether it is there"]
    words += [f"{count} {name}" for name, count in sorted(one.messages.items())]
    reader = _reader(one, written)
    if reader is not None:
        return f"{', '.join(words)}\n      in the settings: {reader}"
    table: dict[str, Any] = {"topic": one.name}
    if one.driver == "esphome":
        table = {"prefix": one.name, "sensors": sorted(one.messages)}
    keys = "".join(f", {key} = {json.dumps(value)}" for key, value in table.items())
    return f'{", ".join(words)}\n      to read it: driver = "{one.driver}"{keys}'


def _announced_json(one: Announced, store: Store | None) -> dict[str, Any]:
    return {**asdict(one), "in_store_file": _is_known(one, store)}


def _is_known(one: Announced, store: Store | None) -> bool | None:
    if store is None:
        return None
    return one.device in Known.of(store).devices


def _announced_words(one: Announced, store: Store | None) -> str:
    words = [f"{one.store}: {one.device}", one.state or "announced nothing"]
    if one.firmware is not None:
        words.append(f"firmware {one.firmware}")
    words += [f"{count} {name}" for name, count in sorted(one.messages.items())]
    if _is_known(one, store) is False:
        words.append("not in the store file")
    return ", ".join(words)


# What is on a port.


def _probe(url: str, *, as_json: bool) -> int:
    def progress(words: str) -> None:
        sys.stderr.write(f"{url}: {words}\n")

    try:
        address_of(url)
    except ValueError as error:
        return _misused(f"{url}: {error}")
    try:
        probed = asyncio.run(probe(url, open_port, progress))
    except OSError as error:
        problem = f"cannot be probed: {error.strerror or error}"
        remedy = "Check the path and who may open it; stop the daemon where it has this port"
        raise DeviceGoneError(url, problem, remedy) from error
    if as_json:
        say(json.dumps(asdict(probed), indent=2, ensure_ascii=False))
    elif probed.found:
        _show_found(url, probed)
    else:
        _show_unknown(url, probed)
    return 0 if probed.found else 1


def _show_found(url: str, probed: Probed) -> None:
    best, *others = probed.found
    say(f"# {_title(best)}: {best.good} good frames, {best.bad} damaged; shows {best.shows}.")
    say("[[device]]")
    driver = best.table["driver"]
    say(f'driver = "{driver}"')
    say(f'name = "{OWN_NAME.get(driver, "its")} name in the store file"')
    say(f'url = "{_stable(url)}"')
    for key, value in best.table.items():
        if key != "driver":
            say(f"{key} = {json.dumps(value)}{NOTES.get(key, '')}")
    usual = PROTOCOLS[best.table["protocol"]].baud if driver == "scale" else USUAL_BAUD.get(driver)
    if probed.baud is not None and probed.baud != usual:
        say(f"baud = {probed.baud}")
    for other in others:
        say(f"# Or {_title(other)}: {other.good} good frames, {other.bad} damaged.")


def _title(found: Finding) -> str:
    table = found.table
    if table["driver"] == "modbus":
        units = ", ".join(map(str, table["unit_ids"]))
        return f"Modbus, unit {units}, " + (f"map {table['map']}" if "map" in table else "no map")
    if table["driver"] != "scale":
        return "an SSI scanner" if table["driver"] == "ssi" else f"a {table['driver']}"
    words = PROTOCOLS[table["protocol"]].title
    return f"{words}, {table['format']}" if "format" in table else words


def _stable(url: str) -> str:
    """Return the best name of a port."""
    if address_of(url) is not None:
        return url
    ports = [port for port in find_ports() if _same(port.path, url)]
    return ports[0].stable if ports else str(Path(url).absolute())


def _show_unknown(url: str, probed: Probed) -> None:
    if not probed.received:
        say(f"{url}: nothing comes, and nobody answers. Check power and cable, and put something")
        say("on it or scan something while it is listened to; set the scale to send by itself.")
        say("Relay boards do not answer, and Modbus is looked for at 9600 8N1, units 1 to 8:")
        say("write the tables of others by hand.")
        return
    if not probed.lines:
        say(f"{url}: something comes that is not known. Try again, and while it listens scan often")
        say("or leave something on it; else see the manual, and docs/devices.md.")
        return
    rate = "" if probed.baud is None else f" at {probed.baud} baud"
    say(f'{url}: text{rate} that no driver knows. docs/devices.md says how protocol = "lines"')
    say("reads it:")
    for line in probed.lines:
        say(f"  {line}")
