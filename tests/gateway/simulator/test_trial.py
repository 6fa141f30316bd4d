# SPDX-License-Identifier: Apache-2.0
"""The trial that the upstream contract describes: its settings are good and its ports agree."""

import re
from pathlib import Path

from gateway.config import check, load
from gateway.simulator.keys import ISSUER, TokenMaker

ROOT = Path(__file__).parents[3]
DEMO = ROOT / "fixtures" / "stores" / "demo.toml"


def test_the_settings_in_the_contract_fit_the_simulated_store(tmp_path):
    text = (ROOT / "docs" / "contract-upstream.md").read_text().partition("All topics lie")[0]
    found = re.search(r"```toml\n(.*?)```", text, re.DOTALL)
    assert found is not None
    settings_path = tmp_path / "settings.toml"
    settings_path.write_text(found[1])
    TokenMaker.in_directory("demo", tmp_path / "keys")
    assert {problem.severity for problem in check(settings_path, DEMO)} == {"note"}
    settings, _, _ = load(settings_path, DEMO)
    assert settings.entry.issuer == ISSUER
    upstream, instore = settings.uplink.address[1], settings.broker.address[1]
    commands = re.findall(r"^\.venv/bin/.*$", text, re.MULTILINE)
    told = {
        name: int(port)
        for line in commands
        for name, port in re.findall(
            r"(integrator|tail|simulate) --broker 127\.0\.0\.1:(\d+)", line
        )
    }
    assert told == {"integrator": upstream, "tail": upstream, "simulate": instore}
    assert f"drivers.mqtt.embedded --port {upstream}" in text
