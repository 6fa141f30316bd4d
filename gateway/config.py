# SPDX-License-Identifier: Apache-2.0
"""Configuration: two files, two people. Parsed once into frozen, typed structures.

The operator writes the settings (brokers, serial ports, limits), the installer the store
(shelves, products, cameras). Every problem found names its file, line and key, and a remedy.
"""

import json
from pathlib import Path
from typing import Literal

from drivers import registry
from gateway.config_settings import (
    CREDENTIAL,
    Broker,
    Entry,
    History,
    Journal,
    Settings,
    Tls,
    Uplink,
    Vision,
    read_secret,
    read_settings,
    secret_path,
)
from gateway.config_store import read_store
from gateway.config_toml import ConfigError, Problem, Problems, Where, load_document
from gateway.domain.store import Store

__all__ = [
    "Broker",
    "ConfigError",
    "Entry",
    "History",
    "Journal",
    "Problem",
    "Settings",
    "Tls",
    "Uplink",
    "Vision",
    "check",
    "load",
    "load_settings",
    "load_store",
    "read_secret",
]


def load_settings(path: str | Path) -> Settings:
    """Read the operator's settings.

    Raises:
        ConfigError: Lists every error in the file.
    """
    settings, problems = read_settings(Path(path))
    if settings is None:
        raise ConfigError([item for item in problems if item.severity == "error"])
    return settings


def load_store(path: str | Path) -> Store:
    """Read the installer's store file, its pieces and its planogram.

    Raises:
        ConfigError: Lists every error in the files.
    """
    store, problems = read_store(Path(path))
    if store is None:
        raise ConfigError([item for item in problems if item.severity == "error"])
    return store


def check(settings_path: str | Path, store_path: str | Path) -> list[Problem]:
    """Return everything wrong with both files, alone and together; warnings included.

    Files that they name (keys, models, certificates) are looked for, secrets are not printed.
    """
    return _read_both(Path(settings_path), Path(store_path))[2]


def load(
    settings_path: str | Path, store_path: str | Path
) -> tuple[Settings, Store, list[Problem]]:
    """Read and check both files at once.

    Returns:
        Settings, store, and the warnings.

    Raises:
        ConfigError: Lists every error that ``check`` finds.
    """
    settings, store, problems = _read_both(Path(settings_path), Path(store_path))
    errors = [item for item in problems if item.severity == "error"]
    if errors or settings is None or store is None:
        raise ConfigError(errors)
    return settings, store, problems


def _read_both(
    settings_path: Path, store_path: Path
) -> tuple[Settings | None, Store | None, list[Problem]]:
    settings, found = read_settings(settings_path)
    store, store_problems = read_store(store_path)
    problems = Problems(found + store_problems)
    if settings is not None:
        where = Where(load_document(settings_path))
        _check_files(where, settings, problems)
        if store is not None:
            _check_together(where, settings, store, problems)
    return settings, store, problems.found


def _check_together(where: Where, settings: Settings, store: Store, problems: Problems) -> None:
    cameras = {camera.name for camera in store.cameras}
    for index, vision in enumerate(settings.vision):
        if vision.camera not in cameras:
            problem = f"camera {vision.camera} is not in the store file"
            remedy = f"Known there: {', '.join(sorted(cameras)) or 'none; add [[camera]]'}"
            problems.add(where.at("vision", index, "camera"), problem, remedy)
    for index, device in enumerate(settings.device):
        for text in registry.problems(device, store):
            problem, _, remedy = text.rpartition(". ")
            problems.add(where.at("device", index), problem, remedy)
    if store.scanners and settings.entry is None:
        problem = "missing, so no entry token is valid"
        remedy = "Add [entry] with jwks and issuer"
        problems.add(where.at("entry"), problem, remedy, severity="warning")


def _check_files(where: Where, settings: Settings, problems: Problems) -> None:
    for key, link in (("broker", settings.broker), ("uplink", settings.uplink)):
        if link is None:
            continue
        if link.tls is not None:
            for name in ("ca", "cert", "key"):
                _check_file(where.at(key, "tls", name), getattr(link.tls, name), problems)
        if link.password_file is not None:
            _check_secret(where.at(key, "password_file"), link.password_file, problems)
    for index, vision in enumerate(settings.vision):
        _check_file(where.at("vision", index, "model"), vision.model, problems)
        _check_file(where.at("vision", index, "hands"), vision.hands, problems)
    if settings.entry is not None:
        _check_keys(where.at("entry", "jwks"), settings.entry.jwks, problems)
    database = Path(settings.database)
    if not database.parent.is_dir():
        remedy = f"Create the folder {database.parent}"
        problems.add(where.at("database"), "its folder does not exist", remedy)
    elif database.is_dir():
        problems.add(where.at("database"), "is a folder", "Name a file in it")


def _check_file(where: Where, path: str | None, problems: Problems) -> bool:
    if path is None:
        return False
    try:
        with Path(path).open("rb"):
            return True
    except OSError as error:
        reason = error.strerror or type(error).__name__
        problems.add(where, f"{path} cannot be read: {reason}", "Check the path and permissions")
        return False


def _check_secret(where: Where, path: str, problems: Problems) -> None:
    try:
        read_secret(path)
        mode = secret_path(path).stat().st_mode
    except ConfigError as error:
        # Under `shelfgate check` in a shell, systemd has passed nothing: that says little.
        severity: Literal["error", "warning"] = (
            "warning" if path.startswith(CREDENTIAL) else "error"
        )
        for item in error.problems:
            problems.add(where, f"{item.file} {item.problem}", item.remedy, severity=severity)
        return
    if mode & 0o077:
        remedy = f"chmod 600 {path}"
        problems.add(where, "others may read the secret", remedy, severity="warning")


def _check_keys(where: Where, path: str, problems: Problems) -> None:
    if not _check_file(where, path, problems):
        return
    remedy = 'Write a JSON Web Key Set: {"keys": [{"kty": "OKP", "crv": "Ed25519", …}]}'
    try:
        keys = json.loads(Path(path).read_bytes())["keys"]
    except (ValueError, KeyError, TypeError, RecursionError):
        problems.add(where, f"{path} is not a key set", remedy)
        return
    if not isinstance(keys, list) or not all(isinstance(key, dict) for key in keys):
        problems.add(where, f"{path} is not a key set", remedy)
    elif not any(key.get("crv") == "Ed25519" and key.get("kid") for key in keys):
        problems.add(where, f"{path} has no Ed25519 key with a kid", remedy)
