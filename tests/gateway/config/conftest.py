# SPDX-License-Identifier: Apache-2.0
"""A folder with both files."""

import pytest

from tests.gateway.config.files import SETTINGS, STORE


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "store.toml").write_text(STORE)
    (tmp_path / "settings.toml").write_text(SETTINGS)
    return tmp_path
