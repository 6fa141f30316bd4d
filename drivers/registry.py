# SPDX-License-Identifier: Apache-2.0
"""Which drivers there are, and how each is made of its settings. A plain match: no discovery."""

from drivers.bridge.config import BridgeConfig
from drivers.scanner.config import ScannerConfig
from gateway.domain.store import Store

AnyDriverConfig = BridgeConfig | ScannerConfig
"""One ``[[device]]`` table of the settings; its key ``driver`` says which."""


def problems(config: AnyDriverConfig, store: Store) -> list[str]:
    """Say what in a device's settings does not fit the store; empty when all does."""
    match config:
        case BridgeConfig():
            shelf = next((shelf for shelf in store.shelves if shelf.name == config.name), None)
            if shelf is None:
                return [f"{config.device}: the store has no shelf of this name. Correct the name"]
            found = []
            if len(config.channels) != len(shelf.plates):
                found.append(
                    f"{config.device}: {len(config.channels)} channels for "
                    f"{len(shelf.plates)} plates. Give one channel for each plate"
                )
            if len(set(config.channels)) != len(config.channels):
                found.append(f"{config.device}: a channel is given twice. Give each plate its own")
            uncalibrated = [plate.name for plate in shelf.plates if plate.calibration is None]
            if uncalibrated:
                found.append(
                    f"{config.device}: no calibration for {', '.join(uncalibrated)}, and a bridge "
                    "sends raw counts. Calibrate the plates in the store file"
                )
            return found
        case ScannerConfig():
            if all(scanner.name != config.name for scanner in store.scanners):
                return [f"{config.device}: the store has no scanner of this name. Correct the name"]
            return []
