# SPDX-License-Identifier: Apache-2.0
"""Configuration: two files, two people. Parsed once into frozen, typed structures.

The operator writes the settings (brokers, serial ports, limits), the installer the store
(shelves, products, cameras). Every problem found names its file, line and key, and a remedy.
"""

import json
import os
import shutil
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import msgspec

from drivers import registry
from drivers.mqtt import config as mqtt
from drivers.mqtt.tls import file_problems
from gateway.config_read import Decoded
from gateway.config_settings import (
    Broker,
    Entry,
    History,
    Journal,
    Settings,
    SettingsRead,
    Tls,
    Uplink,
    is_credential,
    read_secret,
    read_settings,
    secret_path,
)
from gateway.config_store import StoreRead, read_store
from gateway.config_toml import ConfigError, Document, Problem, Problems, Severity, Where
from gateway.config_vision import Vision
from gateway.domain.events import Alike
from gateway.domain.planogram import NOISE_G, TOLD_MAX, alike
from gateway.domain.store import Store

__all__ = [
    "Broker",
    "Checked",
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
    "examine",
    "load",
    "load_settings",
    "load_store",
    "read_secret",
]


@dataclass(frozen=True)
class Checked:
    """What is wrong with both files, and what a look into models and views still needs."""

    problems: list[Problem]
    cameras: list[tuple[Where, Vision]]
    """Vision tables that nothing is known against."""
    store: Store | None
    """What could be read of the store file."""


def load_settings(path: str | Path) -> Settings:
    """Read the operator's settings.

    Raises:
        ConfigError: Lists every error in the file.
    """
    read = read_settings(Path(path))
    if read.settings is None:
        raise ConfigError([item for item in read.problems if item.severity == "error"])
    return read.settings


def load_store(path: str | Path) -> Store:
    """Read the installer's store file, its pieces and its planogram.

    Raises:
        ConfigError: Lists every error in the files.
    """
    read = read_store(Path(path))
    if read.store is None:
        raise ConfigError([item for item in read.problems if item.severity == "error"])
    return read.store


def check(settings_path: str | Path, store_path: str | Path) -> list[Problem]:
    """Return everything wrong with both files, alone and together; warnings included.

    Files that they name (keys, models, certificates) are looked for, secrets are not printed.
    """
    return examine(settings_path, store_path).problems


def examine(settings_path: str | Path, store_path: str | Path) -> Checked:
    """Do what ``check`` does, and return what else can be looked at.

    What is wrong in one table hides nothing in another: each is checked once it can be read.
    """
    settings, store = read_settings(Path(settings_path)), read_store(Path(store_path))
    problems = _together(settings, store)
    if store.store is not None:
        problems += _alike_notes(Path(store_path), store.store)
    against = [problem.key for problem in problems if problem.severity == "error"]
    cameras = [
        (where, table)
        for where, table in settings.tables
        if isinstance(table, Vision) and not any(key.startswith(where.key) for key in against)
    ]
    if {"camera", "gondola"} & store.doubtful:
        cameras = []
    return Checked(problems, cameras, store.known)


def _alike_notes(path: Path, store: Store) -> list[Problem]:
    """Return a note for each pair of neighbours that a weight cannot tell apart."""
    pairs = alike(store)

    def note(problem: str, remedy: str) -> Problem:
        return Problem(
            file=str(path), line=None, key="", problem=problem, remedy=remedy, severity="note"
        )

    notes = [note(*_alike_words(pair, store)) for pair in pairs[:TOLD_MAX]]
    if len(pairs) > TOLD_MAX:
        problem = f"neighbours that weigh alike, beyond these: {len(pairs) - TOLD_MAX}"
        notes.append(note(problem, "Move or weigh those above, then check again"))
    return notes


def _alike_words(pair: Alike, store: Store) -> tuple[str, str]:
    """Return what is wrong with a pair of neighbours, and what to do."""
    things = [
        f"{units.quantity} x {store.products[units.gtin].name} ({units.gtin}, {units.weight_g:g} g)"
        for units in (pair.one, pair.other)
    ]
    plural = "s" if len(pair.plates) > 1 else ""
    problem = f"plate{plural} {', '.join(pair.plates)}: {things[0]} weighs like {things[1]}"
    if pair.measurable:
        return problem, "Move one of them, or weigh a sample and give a smaller tolerance_g"
    return problem, f"Move one of them: plates do not tell {NOISE_G:g} g apart"


def load(
    settings_path: str | Path, store_path: str | Path
) -> tuple[Settings, Store, list[Problem]]:
    """Read and check both files at once.

    Returns:
        Settings, store, and the warnings.

    Raises:
        ConfigError: Lists every error that ``check`` finds.
    """
    settings, store = read_settings(Path(settings_path)), read_store(Path(store_path))
    problems = _together(settings, store)
    errors = [item for item in problems if item.severity == "error"]
    if errors or settings.settings is None or store.store is None:
        raise ConfigError(errors)
    return settings.settings, store.store, problems


def _together(settings: SettingsRead, store: StoreRead) -> list[Problem]:
    problems = Problems(settings.problems + store.problems)
    if settings.document is not None:
        _check_files(settings.document, settings.tables, problems)
        if store.known is not None:
            for where, table in settings.tables:
                _check_against(where, table, store.known, store.doubtful, problems)
            tokens = any(one.reads != "products" for one in store.known.scanners)
            if tokens and "entry" not in settings.document.data:
                problem = "missing, so no entry token is valid"
                remedy = "Add [entry] with jwks and issuer"
                place = Where(settings.document).at("entry")
                problems.add(place, problem, remedy, severity="warning")
    return problems.found


def _check_against(
    where: Where,
    table: msgspec.Struct,
    store: Store,
    doubtful: frozenset[str],
    problems: Problems,
) -> None:
    """Check one table of the settings against the store, as far as that could be read."""
    if isinstance(table, Vision) and "camera" not in doubtful:
        cameras = {camera.name for camera in store.cameras}
        if table.camera not in cameras:
            problem = f"camera {table.camera} is not in the store file"
            remedy = f"Known there: {', '.join(sorted(cameras)) or 'none; add [[camera]]'}"
            problems.add(where.at("camera"), problem, remedy)
    if isinstance(table, Vision) and table.codes is not None and "scanner" not in doubtful:
        scanners = {scanner.name for scanner in store.scanners}
        if table.codes.scanner not in scanners:
            problem = f"scanner {table.codes.scanner} is not in the store file"
            remedy = f"Known there: {', '.join(sorted(scanners)) or 'none; add [[scanner]]'}"
            problems.add(where.at("codes", "scanner"), problem, remedy)
    elif registry.is_device(table):
        kind = table.device.partition("/")[0]
        needed = "gondola" if kind == "shelf" else kind
        if needed not in doubtful:
            for text in registry.problems(table, store):
                problem, _, remedy = text.rpartition(". ")
                problems.add(where, problem, remedy)


def _check_files(document: Document, tables: list[Decoded], problems: Problems) -> None:
    for where, table in tables:
        match table:
            case Broker() | Uplink():
                if table.tls is not None:
                    _check_tls(where.at("tls"), table.tls, problems)
                if table.password_file is not None:
                    _check_secret(where.at("password_file"), table.password_file, problems)
            case Vision():
                _check_url(where.at("url"), table.url, problems)
                _check_model(where.at("model"), table.model, problems)
                _check_model(where.at("hands"), table.hands, problems)
                _check_file(where.at("reidentification"), table.reidentification, problems)
            case Entry():
                if table.ca is not None:
                    for found in file_problems(mqtt.Tls(ca=table.ca)):
                        problems.add(where.at("ca"), found.problem, found.remedy)
                _check_keys(where.at("jwks"), table, problems)
    _check_database(document, tables, problems)


def _check_database(document: Document, tables: list[Decoded], problems: Problems) -> None:
    name = document.data.get("database")
    if not isinstance(name, str) or not name:
        return
    database = document.path.parent.absolute() / name
    place = Where(document).at("database")
    if not database.parent.is_dir():
        remedy = f"Create the folder {database.parent}"
        problems.add(place, "its folder does not exist", remedy)
        return
    if database.is_dir():
        problems.add(place, "is a folder", "Name a file in it")
    given = next((table for _, table in tables if isinstance(table, History)), None)
    if given is not None or "history" not in document.data:
        _check_room(Where(document), database.parent, given or History(), problems)


def _check_room(document: Where, folder: Path, history: History, problems: Problems) -> None:
    """Look whether events would give way from the start on."""
    try:
        free = shutil.disk_usage(folder).free // 1_000_000
    except OSError:  # That it cannot be used is told where it is used.
        return
    if free < history.free_megabytes:
        problem = f"{folder} has {free} MB free, less than {history.free_megabytes}"
        remedy = "Make room there, or history is given up, and then events that wait"
        place = document.at("history", "free_megabytes")
        problems.add(place, problem, remedy, severity="warning")


def _check_url(where: Where, url: str, problems: Problems) -> None:
    """Look for the device or file that is meant where it is no address.

    It may hold a login, so it is not told.
    """
    if "://" in url or (url.isascii() and url.isdigit()):
        return
    try:
        found = not Path(url).is_dir() and Path(url).exists()
    except (OSError, ValueError):
        found = False
    if not found:
        remedy = (
            "Begin an address with its scheme, such as rtsp://, or give a device or file by its "
            "whole path"
        )
        problem = "has no scheme and names no device or file here"
        problems.add(where, problem, remedy, severity="warning")


def _check_model(where: Where, path: str | None, problems: Problems) -> None:
    """Look for a model's file, or for the folder of an export."""
    if path is None or not Path(path).is_dir():
        _check_file(where, path, problems)
    elif not os.access(path, os.R_OK | os.X_OK):
        problems.add(where, f"{path} cannot be opened", "Check its permissions")


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


def _check_tls(where: Where, tls: Tls, problems: Problems) -> None:
    """Make the context that the connection will have."""
    files = mqtt.Tls(ca=tls.ca, certificate=tls.key and tls.cert, key=tls.key)
    for found in file_problems(files):
        problems.add(where.at(found.key), found.problem, found.remedy)
    if tls.key is not None:
        _check_mode(where.at("key"), Path(tls.key), problems)


def _check_secret(where: Where, path: str, problems: Problems) -> None:
    try:
        file = secret_path(path)
    except ConfigError as error:
        # In a shell systemd has passed nothing, which says nothing about the file.
        outside = is_credential(path)
        for item in error.problems:
            severity: Severity = "note" if outside else "error"
            problems.add(where, f"{path} {item.problem}", item.remedy, severity=severity)
        return
    try:
        read_secret(path)
    except ConfigError as error:
        severity = "warning" if is_credential(path) else "error"
        for item in error.problems:
            problems.add(where, f"{item.file} {item.problem}", item.remedy, severity=severity)
        return
    _check_mode(where, file, problems)


def _check_mode(where: Where, file: Path, problems: Problems) -> None:
    with suppress(OSError):  # That it cannot be read is told where it is read.
        if file.stat().st_mode & 0o077:
            remedy = f"chmod 600 {file}"
            problems.add(where, "others may read the secret", remedy, severity="warning")


def _check_keys(where: Where, entry: Entry, problems: Problems) -> None:
    path = entry.jwks
    if entry.url is not None and not Path(path).exists():
        problem, remedy = f"{path} is not there yet", "Nothing, if it can be fetched"
        if not os.access(Path(path).parent, os.W_OK):
            remedy = "Name a file in a folder that the daemon may write, such as /var/lib/shelfgate"
        problems.add(where, problem, remedy, severity="note")
        return
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
