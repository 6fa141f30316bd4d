# SPDX-License-Identifier: Apache-2.0
"""Journals beside what was decided in them. Run with UPDATE_GOLDEN=1 to write the decisions."""

import json
import os
from pathlib import Path

import msgspec
import pytest

from gateway.replaying import replay
from tests.schema_check import check_data

JOURNALS = Path(__file__).parents[3] / "fixtures" / "journals"
KEPT = ("reason", "direction", "gtin", "quantity", "plate", "misplaced", "revision", "device")


class Decisions:
    """What was decided, without what may differ from machine to machine.

    Names are replaced by the order of their appearance; probabilities, times and weights are left
    out, as they may differ in the last digit.
    """

    def __init__(self, path):
        self.told = []
        self.known = {}
        replay([path], self.take)

    def take(self, _number, event):
        check_data(event.name, bytes(event.data))
        data = msgspec.json.decode(event.data)
        line = {"event": event.name} | kept(data)
        for kind in ("session", "change", "review"):
            if kind in data:
                line[kind] = self.name(kind, data[kind])
        if "acts" in data:
            line["acts"] = self.acts(data["acts"])
        if data.get("candidates"):
            line["best"] = self.acts(data["candidates"][0]["acts"])
        if "lines" in data:
            line["lines"] = {one["gtin"]: one["quantity"] for one in data["lines"]}
            line["open"] = [self.name("review", one) for one in data["open"]]
        self.told.append(line)

    def acts(self, acts):
        return [{"session": self.name("session", one["session"])} | kept(one) for one in acts]

    def name(self, kind, value):
        if value is None:
            return None
        of_kind = sum(one.startswith(kind) for one in self.known.values())
        return self.known.setdefault(value, f"{kind}-{of_kind + 1}")


def kept(data):
    return {key: data[key] for key in KEPT if key in data}


@pytest.mark.parametrize("path", sorted(JOURNALS.glob("*.jsonl")), ids=lambda path: path.stem)
def test_a_journal_gives_the_decisions_beside_it(path):
    expected = path.with_suffix(".decisions")
    text = "".join(json.dumps(one) + "\n" for one in Decisions(path).told)
    if os.environ.get("UPDATE_GOLDEN"):
        expected.write_text(text, encoding="utf-8")
    assert text == expected.read_text(encoding="utf-8")


def test_there_is_a_journal():
    assert list(JOURNALS.glob("*.jsonl"))
