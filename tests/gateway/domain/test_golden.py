# SPDX-License-Identifier: Apache-2.0
"""Journals beside what was decided in them. Run with UPDATE_GOLDEN=1 to write the decisions."""

import json
import os
from pathlib import Path

import msgspec
import pytest

from gateway.journal import replay
from tests.schema_check import check_data

JOURNALS = Path(__file__).parents[3] / "fixtures" / "journals"
KEPT = ("reason", "direction", "gtin", "quantity", "plate", "misplaced", "revision", "device")


def decisions(path):
    """Return what was decided, without what may differ from machine to machine.

    Names are replaced by the order of their appearance; probabilities, times and weights are left
    out, as they may differ in the last digit.
    """
    told = []
    known = {}

    def name(kind, value):
        if value is None:
            return None
        of_kind = sum(one.startswith(kind) for one in known.values())
        return known.setdefault(value, f"{kind}-{of_kind + 1}")

    def act(one):
        return {"session": name("session", one["session"])} | kept(one)

    def kept(one):
        return {key: one[key] for key in KEPT if key in one}

    def on_event(_number, event):
        check_data(event.name, bytes(event.data))
        data = msgspec.json.decode(event.data)
        line = {"event": event.name, "subject": name(*event.subject.partition("/")[::2])}
        if "/" not in event.subject or event.subject.startswith(("shelf/", "scanner/", "camera/")):
            line["subject"] = event.subject
        for key in ("session", "change", "review"):
            if key in data:
                line[key] = name(key, data[key])
        line |= kept(data)
        if "acts" in data:
            line["acts"] = [act(one) for one in data["acts"]]
        if data.get("candidates"):
            line["best"] = [act(one) for one in data["candidates"][0]["acts"]]
        if "lines" in data:
            line["lines"] = {one["gtin"]: one["quantity"] for one in data["lines"]}
            line["open"] = [name("review", one) for one in data["open"]]
        told.append(line)

    replay([path], on_event)
    return told


@pytest.mark.parametrize("path", sorted(JOURNALS.glob("*.jsonl")), ids=lambda path: path.stem)
def test_a_journal_gives_the_decisions_beside_it(path):
    expected = path.with_suffix(".decisions")
    text = "".join(json.dumps(one) + "\n" for one in decisions(path))
    if os.environ.get("UPDATE_GOLDEN"):
        expected.write_text(text, encoding="utf-8")
    assert text == expected.read_text(encoding="utf-8")


def test_there_is_a_journal():
    assert list(JOURNALS.glob("*.jsonl"))
