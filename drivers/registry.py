# SPDX-License-Identifier: Apache-2.0
"""Which drivers there are, and how each is made of its settings.

Those of this repository are a plain match. Those of other packages are asked for by name.
"""

from collections.abc import Callable
from typing import Final, Protocol, TypeGuard, get_args

import msgspec

from drivers import outside
from drivers.bridge.config import BridgeConfig
from drivers.bridge.driver import BridgeDriver
from drivers.door import config as door
from drivers.door.board import Boards
from drivers.door.config import MqttDoorConfig, RelayConfig
from drivers.door.driver import DoorDriver
from drivers.door.lock import opener
from drivers.identity import SameDevice, usb_name
from drivers.keyboard import driver as keyboard
from drivers.keyboard.config import KeyboardConfig
from drivers.keyboard.port import keyboard_opener
from drivers.labels.judging import Judge
from drivers.modbus import maps
from drivers.modbus.config import ModbusConfig
from drivers.modbus.line import Lines
from drivers.mqtt.topics import Instore
from drivers.mqtt_shelf import config as mqtt_shelf
from drivers.mqtt_shelf.config import (
    EsphomeConfig,
    JsonConfig,
    MqttShelfConfig,
    NumberConfig,
    TasmotaConfig,
)
from drivers.mqtt_shelf.driver import MqttShelfDriver
from drivers.network_port import open_port
from drivers.ports import Clock, Driver, OpenStream
from drivers.scale import protocols
from drivers.scale.config import ScaleConfig
from drivers.scale.driver import ScaleDriver
from drivers.scanner import driver as scanner
from drivers.scanner.config import ScannerConfig
from drivers.ssi import driver as ssi
from drivers.ssi.config import SsiConfig
from gateway.domain.store import Shelf, Store

AnyDriverConfig = (
    BridgeConfig
    | ScaleConfig
    | ModbusConfig
    | ScannerConfig
    | SsiConfig
    | KeyboardConfig
    | EsphomeConfig
    | TasmotaConfig
    | NumberConfig
    | JsonConfig
    | RelayConfig
    | MqttDoorConfig
)
"""One ``[[device]]`` table of the settings; its key ``driver`` says which."""
AnyShelf = BridgeConfig | ScaleConfig | ModbusConfig
NAMES: Final = tuple(str(one.__struct_config__.tag) for one in get_args(AnyDriverConfig))


class DeviceConfig(Protocol):
    """A ``[[device]]`` table, of whichever driver."""

    @property
    def name(self) -> str:
        """Return its name in the store file."""
        ...

    @property
    def device(self) -> str:
        """Return its name in inputs and events."""
        ...


def is_device(table: msgspec.Struct) -> TypeGuard[DeviceConfig]:
    """Tell whether a table of the settings is a device's."""
    return table.__struct_config__.tag_field == "driver"


NotShelf = ScannerConfig | SsiConfig | KeyboardConfig | RelayConfig | MqttDoorConfig


def build(  # noqa: PLR0911  One arm a kind.
    config: DeviceConfig,
    *,
    clock: Clock,
    open_stream: OpenStream,
    judge: Judge,
    lines: Lines | None = None,
    boards: Boards | None = None,
    identify: Callable[[str], str | None] = usb_name,
    instore: Instore | None = None,
) -> Driver:
    """Make the driver of one device.

    Args:
        config: The device's settings.
        clock: Stamps its inputs.
        open_stream: Opens its port, for example ``drivers.network_port.open_port``.
        judge: Says what was scanned, for scanners.
        lines: Opens the lines that several shelves share; None: this one's alone.
        boards: Opens the relay boards that several doors share; None: this one's alone.
        identify: Tells which USB device is behind a path; None: unknown.
        instore: The in-store broker, for what ``topics`` finds a topic in.
    """
    usb = getattr(config, "usb", None)
    if isinstance(config, RelayConfig):
        open_stream = (boards or Boards(open_stream)).open
    open_stream = SameDevice(config.device, open_stream, usb=usb, identify=identify).open
    match config:
        case BridgeConfig():
            return BridgeDriver(config, clock=clock, open_stream=open_stream)
        case ScaleConfig():
            return ScaleDriver(config, clock=clock, open_stream=open_stream)
        case ModbusConfig():
            from drivers.modbus.driver import ModbusDriver  # noqa: PLC0415

            line_of = (lines or Lines(open_port)).opener(config)
            same = SameDevice(config.device, line_of, usb=usb, identify=identify)
            return ModbusDriver(config, clock=clock, open_line=same.open)
        case EsphomeConfig() | TasmotaConfig() | NumberConfig() | JsonConfig():
            assert instore is not None, "a shelf on MQTT comes with the in-store broker"
            return MqttShelfDriver(config, clock=clock, topics=instore.topics)
        case RelayConfig() | MqttDoorConfig():
            broker = None if instore is None else instore.config
            return DoorDriver(
                config,
                clock=clock,
                open_lock=opener(config, open_stream=open_stream, broker=broker),
                repeats=isinstance(config, RelayConfig),
            )
        case ScannerConfig():
            line = scanner.line_of(config)
        case SsiConfig():
            line = ssi.line_of(config)
        case KeyboardConfig():
            line, open_stream = keyboard.line_of(config), keyboard_opener()
        case _:
            make = _outside(config).build
            return make(config, clock=clock, open_stream=open_stream, judge=judge)
    return scanner.ScannerDriver(line, clock=clock, open_stream=open_stream, judge=judge)


def problems(config: DeviceConfig, store: Store) -> list[str]:
    """Say what in a device's settings does not fit the store; empty when all does."""
    if not isinstance(config, AnyDriverConfig):
        return _outside(config).problems(config, store)
    found: list[str] = []
    if isinstance(config, ScaleConfig):
        found += protocols.problems(config)
    elif isinstance(config, ModbusConfig):
        found += maps.problems(config)
    elif isinstance(config, RelayConfig | MqttDoorConfig):
        found += door.problems(config)
    elif isinstance(config, MqttShelfConfig):
        found += mqtt_shelf.problems(config)
    kind, _, name = config.device.partition("/")
    known = {
        "shelf": [shelf.name for shelf in store.shelves],
        "scanner": [scanner.name for scanner in store.scanners],
        "door": store.doors,
    }
    if name not in known[kind]:
        found.append(f"the store has no {kind} of this name. Correct the name")
    elif not isinstance(config, NotShelf):
        [shelf] = [shelf for shelf in store.shelves if shelf.name == name]
        found += _shelf_problems(config, shelf)
    return [f"{config.device}: {text}" for text in found]


def topics(config: DeviceConfig) -> tuple[str, ...]:
    """Return the topics that a device has for itself on the in-store broker.

    That of its presence may be another's as well: a node may weigh two shelves.
    """
    match config:
        case EsphomeConfig() | TasmotaConfig() | NumberConfig() | JsonConfig():
            return config.value_topics
        case MqttDoorConfig():
            return (config.topic,)
        case _:
            return ()


def _outside(config: DeviceConfig) -> outside.Family:
    assert isinstance(config, msgspec.Struct)
    return outside.find(str(config.__struct_config__.tag))


def _shelf_problems(config: AnyShelf | MqttShelfConfig, shelf: Shelf) -> list[str]:
    found, plates = [], len(shelf.plates)
    if isinstance(config, BridgeConfig | ScaleConfig | ModbusConfig):
        channels = config.plates if isinstance(config, ModbusConfig) else config.channels
        if isinstance(config, ScaleConfig) and config.protocol != "lines" and plates != 1:
            found.append(f"a scale is one plate, and this shelf has {plates}. Name a shelf of one")
        elif len(channels) != plates:
            found.append(
                f"{len(channels)} channels for {plates} plates. Give one channel for each plate"
            )
        if len(set(channels)) != len(channels):
            found.append("a channel is given twice. Give each plate its own")
    elif config.plates != plates:
        found.append(f"{config.plates} weights for {plates} plates. Give one for each plate")
    raw = isinstance(config, BridgeConfig) or config.unit == "raw"
    uncalibrated = [plate.name for plate in shelf.plates if plate.calibration is None]
    if raw and uncalibrated:
        found.append(
            f"no calibration for {', '.join(uncalibrated)}, and it sends raw counts. "
            "Calibrate the plates in the store file"
        )
    return found
