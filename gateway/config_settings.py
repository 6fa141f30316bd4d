# SPDX-License-Identifier: Apache-2.0
"""The settings file: what an operator writes about brokers, ports, limits and workers.

Secrets are never in it: a ``…_file`` key names a file that holds one, or
``credential:NAME`` a credential that systemd passed (``LoadCredential=``).
"""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final, Literal
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta

from drivers import registry
from drivers.bridge.config import BridgeConfig
from drivers.door.config import RelayConfig
from drivers.files import CREDENTIAL, File, SecretFile
from drivers.keyboard.config import KeyboardConfig
from drivers.modbus.config import ModbusConfig
from drivers.network_port import address_of
from drivers.registry import AnyDriverConfig, DeviceConfig, is_device
from drivers.scale.config import ScaleConfig
from drivers.scanner.config import ScannerConfig
from drivers.ssi.config import SsiConfig
from gateway.config_outside import outside_drivers
from gateway.config_read import Check, Decoded, closest, read_table
from gateway.config_tables import Name
from gateway.config_toml import ConfigError, Document, Problem, Problems, Where, load_document
from gateway.config_vision import Vision, Watched
from gateway.domain.inputs import Tuning

SECRET_BYTES_MAX: Final = 4_096
VISION_MAX: Final = 100

Host = Annotated[str, Meta(min_length=1, max_length=253, description="a host name or address")]
Port = Annotated[int, Meta(ge=1, le=65_535, description="a port from 1 to 65535")]
Word = Annotated[str, Meta(min_length=1, max_length=200, description="a text, 200 letters at most")]


class Tls(msgspec.Struct, frozen=True, kw_only=True):
    """A TLS connection; the peer's certificate and name are always checked."""

    ca: File | None = None
    """PEM file of the authorities to trust; the system's when absent."""
    cert: File | None = None
    key: File | None = None


class Broker(msgspec.Struct, frozen=True, kw_only=True):
    """``[broker]``: where the store's devices publish."""

    embedded: bool | None = None
    """Start a broker on loopback; the default when no ``host`` is given."""
    host: Host | None = None
    port: Port | None = None
    """1883 when absent, 8883 with TLS."""
    protocol: Annotated[Literal[4, 5], Meta(description="4 for MQTT 3.1.1 or 5")] = 5
    client_id: Word | None = None
    tls: Tls | None = None
    username: Word | None = None
    password_file: SecretFile | None = None

    @property
    def starts_own(self) -> bool:
        """Tell whether the daemon starts this broker itself."""
        return self.host is None

    @property
    def address(self) -> tuple[str, int]:
        """Return host and port, defaults filled in."""
        return self.host or "127.0.0.1", self.port or _default_port(self.tls)


class Uplink(msgspec.Struct, frozen=True, kw_only=True):
    """``[uplink]``: where events go."""

    host: Host
    port: Port | None = None
    """1883 when absent, 8883 with TLS."""
    protocol: Annotated[Literal[4, 5], Meta(description="4 for MQTT 3.1.1 or 5")] = 5
    client_id: Word | None = None
    """``shelfgate-<store>-<gateway>`` when absent."""
    tls: Tls | None = None
    plaintext: bool = False
    """Do without TLS though the broker is on another machine: a tunnel protects the way there."""
    username: Word | None = None
    password_file: SecretFile | None = None
    acknowledge: Annotated[
        Literal["application", "broker"], Meta(description='"application" or "broker"')
    ] = "application"
    window: Annotated[
        int, Meta(ge=1, le=1_000, description="how many events may wait for a PUBACK, 1 to 1000")
    ] = 20
    session_expiry_s: Annotated[
        int, Meta(ge=0, le=4_294_967_295, description="seconds the broker keeps the session")
    ] = 86_400
    retry_max_s: Annotated[
        float, Meta(ge=1, le=3_600, description="longest wait between two attempts to connect")
    ] = 30.0
    backfill_per_s: Annotated[
        float,
        Meta(gt=0, le=10_000, description="most events a second sent again, above 0 to 10000"),
    ] = 50.0
    bandwidth_kbit_s: (
        Annotated[int, Meta(ge=8, le=10_000_000, description="kbit/s of the line, 8 to 10000000")]
        | None
    ) = None
    """Backlog and backfills keep to it; what is live never waits. No limit when absent."""

    @property
    def address(self) -> tuple[str, int]:
        """Return host and port, defaults filled in."""
        return self.host, self.port or _default_port(self.tls)


class Journal(msgspec.Struct, frozen=True, kw_only=True):
    """``[journal]``: every input, kept for replay; off when the table is absent."""

    directory: File
    megabytes: Annotated[
        int, Meta(ge=1, le=1_000_000, description="most megabytes of segments, 1 to 1000000")
    ] = 256
    hours: Annotated[
        float,
        Meta(gt=0, le=10_000, description="most hours that segments are kept, above 0 to 10000"),
    ] = 24.0


class History(msgspec.Struct, frozen=True, kw_only=True):
    """``[history]``: acknowledged events that stay for backfill, and the room for all events."""

    days: Annotated[
        float,
        Meta(
            ge=0, le=3_650, description="days that acknowledged events are kept, 0 (none) to 3650"
        ),
    ] = 30.0
    megabytes: Annotated[
        int, Meta(ge=16, le=1_000_000, description="most megabytes of the database, 16 to 1000000")
    ] = 2_000
    free_megabytes: Annotated[
        int,
        Meta(
            ge=0,
            le=1_000_000,
            description="megabytes that stay free on its file system, 0 to 1000000",
        ),
    ] = 200


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """``[entry]``: whose entry tokens open the gate."""

    jwks: File
    """Public keys, as a JSON Web Key Set; with a ``url``, where they are kept."""
    url: str | None = None
    """Where they are fetched from while there is a network."""
    ca: File | None = None
    """PEM file of the authorities to trust there; the system's when absent."""
    renew_s: Annotated[
        float, Meta(ge=60, le=86_400, description="seconds from look to look, 60 to 86400 (a day)")
    ] = 3_600.0
    issuer: Word
    """The tokens' ``iss``."""
    skew_s: Annotated[
        float, Meta(ge=0, le=60, description="seconds that clocks may differ, 0 to 60")
    ] = 5.0
    max_age_days: Annotated[
        float, Meta(gt=0, le=365, description="days after which a key file is too old, above 0")
    ] = 14.0


class _Cameras(msgspec.Struct, frozen=True, kw_only=True):
    """Settings of which the cameras alone are read."""

    vision: Annotated[tuple[Watched, ...], Meta(max_length=VISION_MAX)] = ()


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Everything an operator decides. Paths are absolute."""

    gateway: Name
    """Name of this gateway: part of its topics and of every event's source."""
    database: File
    broker: Broker = Broker()
    uplink: Uplink | None = None
    """Without one, events stay in the database."""
    engine: Tuning = Tuning()
    journal: Journal | None = None
    history: History = History()
    entry: Entry | None = None
    """Without one, no entry token is valid."""
    device: Annotated[tuple[AnyDriverConfig, ...], Meta(max_length=1_000)] = ()
    """Devices on serial lines; those on MQTT need no table. Drivers of other packages have tables
    of their own classes."""
    vision: Annotated[tuple[Vision, ...], Meta(max_length=VISION_MAX)] = ()


@dataclass(frozen=True)
class SettingsRead:
    """What a settings file gave."""

    settings: Settings | None
    """None when there is an error."""
    document: Document | None
    """None when the file is no TOML."""
    tables: list[Decoded]
    """Each table that could be read by itself, with its place."""
    problems: list[Problem]


def read_settings(path: Path) -> SettingsRead:
    """Read a settings file; what is wrong in one table hides nothing in another."""
    problems = Problems()
    tables: list[Decoded] = []
    try:
        document = load_document(path)
    except ConfigError as error:
        return SettingsRead(None, None, tables, error.problems)
    settings = read_table(
        Settings,
        Where(document),
        problems,
        checks=_CHECKS,
        decoded=tables,
        others=outside_drivers(document, problems),
    )
    _check_names(tables, problems)
    good = None if problems.errors else settings
    return SettingsRead(good, document, tables, problems.found)


def load_watched(path: Path) -> tuple[Watched, ...]:
    """Read the cameras of a settings file, of which the rest may be unfinished.

    Raises:
        ConfigError: The file is no TOML, or lists every error in its ``[[vision]]`` tables.
    """
    document = load_document(path)
    problems = Problems()
    tables: list[Decoded] = []
    names = [item.encode_name for item in msgspec.structs.fields(Settings)]
    # A name nearly right is told as such, as everywhere.
    value = {key: part for key, part in document.data.items() if closest(key, names) == "vision"}
    read = read_table(_Cameras, Where(document), problems, value, decoded=tables)
    _check_names(tables, problems)
    if read is None or problems.errors:
        raise ConfigError(problems.errors)
    return read.vision


def read_secret(path: str) -> str:
    """Return the secret that a ``…_file`` key names, without the newline at its end.

    Raises:
        ConfigError: The file cannot be read, is empty, too long, not UTF-8 or not one line.
    """
    file = secret_path(path)
    try:
        with file.open("rb") as opened:
            content = opened.read(SECRET_BYTES_MAX + 1)
        secret = content.decode().rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8"
        raise _secret_error(file, f"cannot be read: {reason}") from error
    if not secret or len(content) > SECRET_BYTES_MAX:
        raise _secret_error(file, "is empty" if not secret else "is too long")
    if "\n" in secret or "\r" in secret:
        raise _secret_error(file, "holds more than one line")
    return secret


def secret_path(path: str) -> Path:
    """Return the file behind a ``…_file`` value, ``credential:NAME`` included.

    Raises:
        ConfigError: A credential is named but systemd passed none, or by no name.
    """
    if not path.startswith(CREDENTIAL):
        return Path(path)
    if not is_credential(path):
        remedy = "Write credential:NAME, with the name that LoadCredential= gives it"
        raise _problem(path, "is no name of a credential", remedy)
    directory = os.environ.get("CREDENTIALS_DIRECTORY")
    if directory is None:
        remedy = "Pass it with LoadCredential=; a start under systemd looks at it"
        raise _problem(path, "is looked at under systemd only", remedy)
    return Path(directory) / path.removeprefix(CREDENTIAL)


def is_credential(path: str) -> bool:
    """Tell whether a ``…_file`` value names a credential, by a name that can be one."""
    name = path.removeprefix(CREDENTIAL)
    return name != path and name not in {"", ".", ".."} and "/" not in name


def _secret_error(file: Path, problem: str) -> ConfigError:
    remedy = "Write the secret alone into it, readable by the daemon; see LoadCredential="
    return _problem(str(file), problem, remedy)


def _problem(file: str, problem: str, remedy: str) -> ConfigError:
    return ConfigError([Problem(file=file, line=None, key="", problem=problem, remedy=remedy)])


def _check_broker(where: Where, broker: Broker, problems: Problems) -> None:
    if broker.embedded is None and broker.host is None:
        return
    if broker.embedded and broker.host is not None:
        remedy = "Remove host, or write embedded = false"
        problems.add(where.at("host"), "is given beside embedded = true", remedy)
    elif broker.embedded and (broker.tls or broker.username or broker.password_file):
        remedy = "Remove tls, username and password_file: it listens on loopback only"
        problems.add(where, "the embedded broker takes no credentials", remedy)
    elif broker.embedded is False and broker.host is None:
        problems.add(where.at("host"), "missing", "Give the broker's host, or embedded = true")
    else:
        _check_login(where, broker, problems)


def _check_login(where: Where, link: Broker | Uplink, problems: Problems) -> None:
    if link.password_file is not None and link.username is None:
        remedy = "Give the user name that the password belongs to"
        problems.add(where.at("username"), "missing beside password_file", remedy)
    if link.tls is not None and (link.tls.cert is None) != (link.tls.key is None):
        problems.add(where.at("tls"), "cert and key belong together", "Give both or neither")
    far = link.tls is None and link.host not in _LOOPBACK
    if isinstance(link, Uplink):
        _check_plaintext(where, link, problems, far=far)
    elif link.password_file is not None and far:
        remedy = "Add a tls table"
        problem = "the password crosses the network in the clear"
        problems.add(where.at("password_file"), problem, remedy, severity="warning")


def _check_plaintext(where: Where, uplink: Uplink, problems: Problems, *, far: bool) -> None:
    """Let receipts, pseudonyms and commands cross a network in the clear on request alone."""
    if uplink.plaintext and uplink.tls is not None:
        problems.add(where.at("plaintext"), "is given beside tls", "Keep one of the two")
    elif far and not uplink.plaintext:
        remedy = "Add [uplink.tls], or write plaintext = true where a tunnel protects the way"
        problems.add(where.at("tls"), f"missing, and {uplink.host} is another machine", remedy)
    elif far:
        remedy = "Add [uplink.tls] unless a tunnel protects the way"
        problem = "events, commands and the password cross the network in the clear"
        problems.add(where.at("plaintext"), problem, remedy, severity="warning")


_LOOPBACK: Final = ("localhost", "127.0.0.1", "::1", None)


def _check_entry(where: Where, entry: Entry, problems: Problems) -> None:
    """Look at the address of keys, which is not shown: it may hold a secret."""
    if entry.url is not None and not _is_https(entry.url):
        problem = "no address that keys can be fetched from"
        remedy = "Give one that begins with https://, without a user name"
        problems.add(where.at("url"), problem, remedy)


def _is_https(url: str) -> bool:
    try:
        parts = urlsplit(url)
        good = parts.scheme == "https" and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False
    return (
        good and "@" not in parts.netloc and not parts.fragment and _URL.fullmatch(url) is not None
    )


_URL: Final = re.compile("[!-~]{9,1000}")


def _check_engine(where: Where, engine: Tuning, problems: Problems) -> None:
    if not 0.5 <= engine.certainty < 1:
        remedy = "Give a probability of at least 0.5 and below 1"
        problems.add(where.at("certainty"), f"is {engine.certainty:g}", remedy)
    waits = ("exit_after_ms", "visit_max_s", "unseen_max_s", "entry_wait_ms", "doubt_wait_ms")
    for key in waits:
        value = getattr(engine, key)
        if not 1 <= value <= 1_000_000:
            problems.add(where.at(key), f"is {value}", "Give 1 to 1000000")


def _check_names(tables: list[Decoded], problems: Problems) -> None:
    seen: set[tuple[str, str]] = set()
    shared: dict[tuple[str, type], DeviceConfig] = {}

    def once(place: Where, what: str, name: str) -> None:
        if (what, name) in seen:
            problems.add(place, f"{what} {name} is named twice", "Keep one of the two tables")
        seen.add((what, name))

    for where, table in tables:
        if isinstance(table, Watched):
            once(where.at("camera"), "camera", table.camera)
            if table.codes is not None:
                once(where.at("codes", "scanner"), "device", f"scanner/{table.codes.scanner}")
        elif is_device(table):
            once(where.at("name"), "device", table.device)
            url = getattr(table, "url", None)
            if url is not None and not _joins(where, table, shared, problems):
                once(where.at("url"), "port", url)
            for place, what, name in _own(where, table):
                once(place, what, name)


def _joins(
    where: Where,
    table: DeviceConfig,
    shared: dict[tuple[str, type], DeviceConfig],
    problems: Problems,
) -> bool:
    """Tell whether a device shares the port of an earlier one; check that the two agree about it.

    Args:
        where: The table.
        table: The device.
        shared: The first one of each kind, by port; this one is put in.
        problems: Takes what they differ in.
    """
    keys, url = _SHARED.get(type(table)), getattr(table, "url", None)
    if keys is None or url is None:
        return False
    first = shared.setdefault((url, type(table)), table)
    for key in keys:
        if getattr(table, key) != getattr(first, key):
            problem = f"differs from {first.name}'s, which is on the same line"
            problems.add(where.at(key), problem, "Give both the same")
    return first is not table


def _own(where: Where, table: DeviceConfig) -> Iterator[tuple[Where, str, str]]:
    """Yield what a device has for itself beside its port: where it stands, its kind, its name."""
    for topic in registry.topics(table):
        yield where, "topic", topic
    if isinstance(table, ModbusConfig):
        for unit_id, channel in set(table.plates):
            yield where.at("channels"), "channel", f"{channel} of unit {unit_id} on {table.url}"
    if isinstance(table, RelayConfig):
        relay = table.channel if table.energise is None else repr(table.energise)
        yield where.at("channel"), "relay", f"{relay} on {table.url}"


_SHARED: Final[dict[type, tuple[str, ...]]] = {
    ModbusConfig: ("framing", "baud", "line", "answer_ms"),
    RelayConfig: ("baud", "usb"),
}
"""Devices that may be on one port with others of their kind, and what these have to agree about."""


def _default_port(tls: Tls | None) -> int:
    return 1883 if tls is None else 8883


def _check_port(
    where: Where,
    config: (
        BridgeConfig
        | ScaleConfig
        | ModbusConfig
        | ScannerConfig
        | SsiConfig
        | KeyboardConfig
        | RelayConfig
    ),
    problems: Problems,
) -> None:
    try:
        address = address_of(config.url)
    except ValueError as error:
        problem, _, remedy = str(error).partition(". ")
        problems.add(where.at("url"), problem, remedy)
        return
    if address is None and not config.url.startswith("/"):
        remedy = (
            "Write a path that begins with /, as `shelfgate devices` lists, or socket://host:port"
        )
        problems.add(where.at("url"), f'is "{config.url}", no path of a port', remedy)


_CHECKS: Final[dict[type, Check]] = {
    BridgeConfig: _check_port,
    ScaleConfig: _check_port,
    ModbusConfig: _check_port,
    RelayConfig: _check_port,
    ScannerConfig: _check_port,
    SsiConfig: _check_port,
    KeyboardConfig: _check_port,
    Broker: _check_broker,
    Uplink: _check_login,
    Entry: _check_entry,
    Tuning: _check_engine,
}
