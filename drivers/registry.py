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
from drivers.identity import SameDevice, usb_name
from drivers.keyboard import driver as keyboard
from drivers.keyboard.config import KeyboardConfig
from drivers.keyboard.port import keyboard_opener
from drivers.labels.judging import Judge
from drivers.modbus import maps
from drivers.modbus.config import ModbusConfig
from drivers.modbus.line import Lines
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
    BridgeConfig | ScaleConfig | ModbusConfig | ScannerConfig | SsiConfig | KeyboardConfig
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


def build(
    config: DeviceConfig,
    *,
    clock: Clock,
    open_stream: OpenStream,
    judge: Judge,
    lines: Lines | None = None,
    identify: Callable[[str], str | None] = usb_name,
) -> Driver:
    """Make the driver of one device.

    Args:
        config: The device's settings.
        clock: Stamps its inputs.
        open_stream: Opens its port, for example ``drivers.network_port.open_port``.
        judge: Says what was scanned, for scanners.
        lines: Opens the lines that several devices share; None: this one's alone.
        identify: Tells which USB device is behind a path; None: unknown.
    """
    usb = getattr(config, "usb", None)
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
    match config:
        case BridgeConfig():
            shelf = _shelf(config, store)
            if shelf is None:
                return [_no_shelf(config)]
            found = _channel_problems(config, shelf)
            uncalibrated = [plate.name for plate in shelf.plates if plate.calibration is None]
            if uncalibrated:
                found.append(
                    f"{config.device}: no calibration for {', '.join(uncalibrated)}, and a bridge "
                    "sends raw counts. Calibrate the plates in the store file"
                )
            return found
        case ScaleConfig() | ModbusConfig():
            found = [f"{config.device}: {text}" for text in _own_problems(config)]
            shelf = _shelf(config, store)
            return [*found, *(_channel_problems(config, shelf) if shelf else [_no_shelf(config)])]
        case ScannerConfig() | SsiConfig() | KeyboardConfig():
            if all(one.name != config.name for one in store.scanners):
                return [f"{config.device}: the store has no scanner of this name. Correct the name"]
            return []
        case _:
            return _outside(config).problems(config, store)


def _outside(config: DeviceConfig) -> outside.Family:
    assert isinstance(config, msgspec.Struct)
    return outside.find(str(config.__struct_config__.tag))


def _own_problems(config: ScaleConfig | ModbusConfig) -> list[str]:
    if isinstance(config, ModbusConfig):
        return maps.problems(config)
    return protocols.problems(config)


def _shelf(config: AnyShelf, store: Store) -> Shelf | None:
    return next((shelf for shelf in store.shelves if shelf.name == config.name), None)


def _no_shelf(config: AnyShelf) -> str:
    return f"{config.device}: the store has no shelf of this name. Correct the name"


def _channel_problems(config: AnyShelf, shelf: Shelf) -> list[str]:
    channels = config.plates if isinstance(config, ModbusConfig) else config.channels
    found = []
    if len(channels) != len(shelf.plates):
        found.append(
            f"{config.device}: {len(channels)} channels for "
            f"{len(shelf.plates)} plates. Give one channel for each plate"
        )
    if len(set(channels)) != len(channels):
        found.append(f"{config.device}: a channel is given twice. Give each plate its own")
    return found
