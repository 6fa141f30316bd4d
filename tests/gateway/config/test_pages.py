# SPDX-License-Identifier: Apache-2.0
"""The documents tell every key, and no key that there is not."""

import re

import msgspec
import pytest

from drivers.bridge.config import BridgeConfig
from drivers.scanner.config import ScannerConfig
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


@pytest.mark.parametrize("name", ["settings", "store"])
def test_the_documented_samples_are_right(name):
    sample = ROOT / "docs" / "samples" / f"{name}.toml"
    load = load_store if name == "store" else load_settings
    load(sample)


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
    known -= tables | {"ca", "cert", "key"}
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
        ScannerConfig,
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
