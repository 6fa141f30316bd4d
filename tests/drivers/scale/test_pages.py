# SPDX-License-Identifier: Apache-2.0
"""The page on devices says of each protocol what holds, and its recipe works as it stands."""

import re
import tomllib
from decimal import Decimal

import msgspec

from drivers.registry import AnyDriverConfig
from drivers.scale.codecs import lines
from drivers.scale.protocols import PROTOCOLS, decoder_of, problems
from gateway.simulator.scales.dialects import DIALECTS
from gateway.simulator.scales.player import FAULTS
from tests.drivers.scale.test_captures import CAPTURES
from tests.drivers.scale.vectors import VECTORS
from tests.test_tidy import ROOT

PAGE = (ROOT / "docs" / "devices.md").read_text("utf-8")
SCALES = PAGE.partition("\n## Modbus")[0]
SENDS = {
    ("listen", False, False): "sends by itself",
    ("listen", True, False): "sends by itself, or is asked",
    ("listen", False, True): "is greeted, then sends by itself",
}


def rows(columns):
    """Return the rows of tables with so many columns, below their heads."""
    cells = [line.strip("|").split("|") for line in SCALES.splitlines() if line.startswith("| `")]
    return [[cell.strip() for cell in row] for row in cells if len(row) == columns]


def test_the_table_of_protocols_is_the_registry():
    _, *table = rows(6)
    assert [row[0].strip("`") for row in table] == list(PROTOCOLS)
    captured = {settings.get("protocol", "lines") for settings, *_ in CAPTURES.values()}
    for name, title, line, talk, _, verified in table:
        protocol = name.strip("`")
        facts = PROTOCOLS[protocol]
        assert title == facts.title
        assert line == f"{facts.baud} {facts.line}"
        if facts.talk == "listen":
            asked = bool(facts.poll) or protocol == "lines"
            assert talk == SENDS["listen", asked, bool(facts.greeting)]
        else:
            assert talk.startswith("is asked")
            assert ("or sends" in talk) == (protocol == "sartorius")
        described = VECTORS[protocol] and protocol not in {"ohaus", "lines"}
        evidence = ["vectors"] * bool(described) + ["capture"] * (protocol in captured)
        evidence += ["emulator"] * (protocol in DIALECTS)
        assert verified == f"{', '.join(evidence)}; hardware: none"


def test_the_table_of_descriptions_is_what_is_shipped():
    _, *table = rows(3)
    told = {name for row in table for name in re.findall(r"`(\w[\w-]*)`", row[0])}
    assert told == set(lines.shipped())
    for name in told:
        assert lines.problem(lines.load(name)) is None


def test_the_recipe_for_an_unlisted_scale_gives_weights():
    [text] = re.findall(r"```\n( {3}\[\[device\]\].*?)```", PAGE, re.DOTALL)
    [table] = tomllib.loads(re.sub(r"^ {3}", "", text, flags=re.MULTILINE))["device"]
    config = msgspec.convert(table, AnyDriverConfig)
    assert problems(config) == []
    shown = re.findall(r"`(W  [^`]*)`", PAGE)
    stream = b"W  0.4\r\n" + "".join(f"{line}\r\n" for line in shown).encode()
    [still, moving] = decoder_of(config).feed(stream)
    assert (still.grams, still.stable) == (Decimal(412), True)
    assert (moving.grams, moving.stable) == (Decimal(415), False)


def test_the_faults_to_order_are_told():
    for fault in set(FAULTS) - {"checksum", "other"}:
        assert f"`{fault}`" in PAGE
