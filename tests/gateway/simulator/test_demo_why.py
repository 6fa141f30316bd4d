# SPDX-License-Identifier: Apache-2.0
"""The demo's last lines: which event they ask about, and a command that can be pasted."""

import shlex
import sys
from pathlib import Path

import msgspec
import pytest

from gateway.simulator.demo_why import pointer, worth_asking


def event(name, number, *probabilities, change="c1", **data):
    acts = [{"probability": probability} for probability in probabilities]
    body = {"change": change, "acts": acts} | data
    return msgspec.json.encode(
        {"id": f"{number:032x}", "type": f"org.shelfgate.{name}.v1", "data": body}
    )


STARTED = msgspec.json.encode({"id": "f", "type": "org.shelfgate.session.started.v1", "data": {}})
SURE = event("item.picked", 1, 0.99, 0.98)
UNSURE = event("item.put-back", 2, 0.99, 0.7)
ASKED = event("review.requested", 3)
REVISED = event("attribution.revised", 4, 0.999)


@pytest.mark.parametrize(
    ("events", "wanted"),
    [
        ([], None),
        ([STARTED], None),
        ([event("review.requested", 9, change=None)], None),
        ([STARTED, SURE], ("item.picked", 1)),
        ([SURE, UNSURE, SURE], ("item.put-back", 2)),
        ([SURE, UNSURE, ASKED], ("review.requested", 3)),
        ([REVISED, ASKED, SURE], ("attribution.revised", 4)),
    ],
)
def test_the_most_telling_event_is_asked_about(events, wanted):
    asked = worth_asking(events)
    assert asked == (wanted and (wanted[0], f"{wanted[1]:032x}"))


@pytest.mark.parametrize(
    ("called", "program"),
    [
        (".venv/bin/shelfgate", [".venv/bin/shelfgate"]),
        ("/opt/gateway/cli.py", [sys.executable, "-m", "gateway.cli"]),
    ],
)
def test_the_command_is_called_as_the_demo_was_and_survives_a_shell(called, program, monkeypatch):
    monkeypatch.setattr(sys, "argv", [called, "demo"])
    settings, store = Path("/tmp/my files/settings.toml"), Path("/stores/demo.toml")
    question, command = pointer([SURE], settings, store, kept=True)
    assert "item.picked" in question
    files = ["--settings", str(settings), "--store", str(store)]
    assert shlex.split(command) == [*program, "why", f"{1:032x}", *files]


def test_files_that_go_are_not_asked_but_told_how_to_keep():
    [line] = pointer([SURE], Path("settings.toml"), Path("store.toml"), kept=False)
    assert "--keep-files DIR" in line


def test_where_nothing_happened_nothing_is_asked():
    assert pointer([STARTED], Path("settings.toml"), Path("store.toml"), kept=True) == []
