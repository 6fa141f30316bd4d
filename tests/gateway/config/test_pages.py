# SPDX-License-Identifier: Apache-2.0
"""The documents tell every key, and no key that there is not."""

import re

import msgspec
import pytest

from drivers.bridge.config import BridgeConfig
from drivers.door.config import MqttDoorConfig, RelayConfig
from drivers.keyboard.config import KeyboardConfig
from drivers.modbus.config import ModbusConfig
from drivers.mqtt_shelf.config import EsphomeConfig, JsonConfig, NumberConfig, TasmotaConfig
from drivers.scale.config import ScaleConfig
from drivers.scanner.config import ScannerConfig
from drivers.ssi.config import SsiConfig
from gateway.cli import main
from gateway.config import (
    Entry,
    History,
    Journal,
    Settings,
    Uplink,
    Vision,
    load_settings,
    load_store,
)
from gateway.config_tables import KEYS, TABLES, StoreTable
from gateway.domain.inputs import Tuning
from tests.gateway.config.files import ROOT
from tests.gateway.config.keys import keys_of


@pytest.mark.parametrize("name", ["settings", "store", "trial"])
def test_the_documented_samples_are_right(name):
    sample = ROOT / "docs" / "samples" / f"{name}.toml"
    load = load_store if name == "store" else load_settings
    load(sample)


def check(capsys, settings):
    """Return the exit status and the lines of a check of two samples, with their paths cut."""
    samples = ROOT / "docs" / "samples"
    status = main(
        ["check", "--settings", str(samples / settings), "--store", str(samples / "store.toml")]
    )
    return status, capsys.readouterr().out.replace(f"{samples}/", "").splitlines()


def test_the_samples_for_a_trial_pass_as_they_lie(capsys):
    status, (warning, last) = check(capsys, "trial.toml")
    assert status == 0
    assert warning.startswith("warning: trial.toml: entry: missing")
    assert last == "trial.toml and store.toml: good"


def test_nothing_is_wrong_with_the_sample_of_all_settings_but_files_that_are_the_readers(capsys):
    _, lines = check(capsys, "settings.toml")
    own = re.compile("/(etc|var/lib)/shelfgate|credential:|: good$")
    assert [line for line in lines if not own.search(line)] == []


def told_keys(page):
    """Return the keys in the first column of a page's tables."""
    rows = re.findall(r"^\| (`.*?) \|", (ROOT / "docs" / page).read_text("utf-8"), re.MULTILINE)
    return {key for row in rows for key in re.findall(r"`(\w+)`", row)}


def test_the_store_file_page_tells_every_key():
    known = {key for cls in (StoreTable, *TABLES.values()) for key in keys_of(cls)}
    known -= {"zero_raw", "counts_per_g"}  # Told in the text.
    assert told_keys("store-file.md") == known | set(KEYS) - {"store", *TABLES}


def test_the_settings_page_tells_every_key():
    known = set(keys_of(Settings))
    tables = {"broker", "uplink", "engine", "journal", "history", "entry", "device", "vision"}
    known -= tables | {"cert", "key"}
    assert told_keys("settings.md") == known


def test_the_settings_page_tells_the_defaults_that_hold():
    page = (ROOT / "docs" / "settings.md").read_text("utf-8")
    for cls in (
        Uplink,
        Journal,
        History,
        Entry,
        Tuning,
        Vision,
        BridgeConfig,
        ScaleConfig,
        ModbusConfig,
        KeyboardConfig,
        ScannerConfig,
        SsiConfig,
        EsphomeConfig,
        TasmotaConfig,
        NumberConfig,
        JsonConfig,
        RelayConfig,
        MqttDoorConfig,
    ):
        for field in msgspec.structs.fields(cls):
            value = field.default
            if isinstance(value, bool):
                value = str(value).lower()
            elif isinstance(value, str):
                value = f'"{value}"'
            elif isinstance(value, int | float):
                value = f"{value:g}" if value < 1e5 else str(value)
            else:
                continue
            row = rf"^\| `{field.encode_name}` \| `?{re.escape(value)}`? \|"
            assert re.search(row, page, re.MULTILINE) or field.encode_name == "protocol", row
