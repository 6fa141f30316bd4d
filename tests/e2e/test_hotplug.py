# SPDX-License-Identifier: Apache-2.0
"""A hub that resets: eight scales gone and back at once, by names that lead to other ports."""

import json
import re
import sys
import threading
import time
from contextlib import contextmanager

from gateway.simulator.keys import TokenMaker
from gateway.simulator.lines import Line
from tests.e2e.helpers import Program, daemon, until
from tests.e2e.shop import FILE, JAM, STORE, UNIT_G, complete, open_shop, settled

SCALES = [f"g{n}.s1" for n in range(2, 10)]
PERIOD_S = 0.1
BACK_S = 20.0
"""No promise, a sanity check: what it takes is shown by pytest -s, and told in docs/devices.md."""


def store():
    parts = [FILE]
    for n, name in enumerate(SCALES):
        left, right = 700 - 175 * n, 700 - 175 * (n + 1)
        parts.append(
            f'[[gondola]]\nname = "{name[:2]}"\n[[gondola.shelf]]\nname = "{name}"\n'
            f"front_mm = [{right}, -900, {left}, -900]\nz_mm = 800\ndepth_mm = 350\nplates = 1\n"
            f'[[facing]]\ngtin = "{JAM}"\nplates = ["{name}.p1"]\n'
        )
    return "".join(parts)


def settings(folder):
    return "".join(
        f'[[device]]\ndriver = "scale"\nname = "{name}"\nurl = "{folder}/{name}"\n'
        'protocol = "lines"\nformat = "tscale"\n'
        for name in SCALES
    )


class Hub:
    """Eight scales that send by themselves, each on a pseudo-terminal behind a link."""

    def __init__(self, folder):
        self.grams = dict.fromkeys(SCALES, 4_000.0)
        self._folder = folder
        self._lines = {}
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self.plug()
        self._thread = threading.Thread(target=self._send, name="hub")
        self._thread.start()

    def plug(self):
        with self._lock:
            # Others have taken the numbers meanwhile: the names lead to other ports.
            self._lines = {name: Line(self._folder / name) for name in reversed(SCALES)}

    def unplug(self):
        with self._lock:
            for line in self._lines.values():
                line.close()
            self._lines = {}

    def close(self):
        self._ended.set()
        self._thread.join()
        self.unplug()

    def _send(self):
        while not self._ended.wait(PERIOD_S):
            with self._lock:
                for name, line in self._lines.items():
                    line.write(b"ST,GS,%8.1f g\r\n" % self.grams[name])


@contextmanager
def hub(folder):
    folder.mkdir()
    one = Hub(folder)
    try:
        yield one
    finally:
        one.close()


def lines_of(at, words):
    """Return the scales that the log says this of, in order."""
    return re.findall(rf"shelf/(g[2-9]\.s1) {words}", at.daemon.program.words())


def told(at, name):
    """Return the scales of which events of this name tell, in order."""
    devices = [event["data"]["device"] for event in at.witness.named(name)]
    return sorted(one.removeprefix("shelf/") for one in devices if one != "shelf/g1.s1")


def watched(folder, settings, store, fits):
    """Run ``shelfgate devices watch`` until it shows what fits; return that, by device."""
    command = ("devices", "watch", "--json", "--settings", settings, "--store", store)
    program = Program(folder, "watch", "-m", "gateway.cli", *command).start()

    def look():
        *looks, _ = program.words().split("\n")
        rows = [row for look in looks[-1:] if look.startswith("[") for row in json.loads(look)]
        shown = {row["device"]: row for row in rows}
        return shown if shown and fits(shown) else None

    try:
        return until(look, "what devices send")
    finally:
        program.kill()


def weighed(shown):
    """Tell whether every scale is shown with its weight."""
    return all(shown[f"shelf/{name}"]["values"] == [4_000.0] for name in SCALES)


def test_a_hub_that_resets_is_told_once_each_way_and_what_was_touched_is_reviewed(tmp_path):
    usb = tmp_path / "by-id"
    with (
        hub(usb) as scales,
        open_shop(tmp_path, store_text=store(), more=settings(usb)) as at,
    ):
        settled(at.daemon, plates=3 + len(SCALES))
        shown = watched(tmp_path, at.daemon.settings, at.daemon.store, weighed)
        # The daemon has the ports and the broker, so it is the daemon that tells.
        assert shown["shelf/g1.s1"]["rate_hz"] > 10
        at.shop.stand("anna", -1_500.0)
        at.shop.scan(at.shop.tokens.token("anna"))
        at.witness.event("session.started")
        at.shop.stand("anna", 260.0, -450.0, [260.0, -1_000.0, 850.0])
        scales.unplug()
        until(lambda: len(lines_of(at, "is down")) == len(SCALES), "the loss of every scale")
        at.witness.event("device.lost", count=len(SCALES))
        scales.grams["g4.s1"] -= UNIT_G[JAM]
        at.shop.frames(15)
        scales.plug()
        began_s = time.monotonic()
        until(lambda: len(lines_of(at, "is back")) == len(SCALES), "every scale", BACK_S)
        sys.stdout.write(f"all back {time.monotonic() - began_s:.1f} s after the plug\n")
        review = at.witness.event("review.requested")
        at.witness.event("device.recovered", count=len(SCALES))
        at.shop.leave("anna")
        at.witness.event("cart.closed")
        complete(at)
        assert "g4.s1.p1" in str(review["data"])
        assert sorted(lines_of(at, "is down")) == sorted(SCALES)
        assert sorted(lines_of(at, "is back")) == sorted(SCALES)
        assert told(at, "device.lost") == told(at, "device.recovered") == sorted(SCALES)
        assert len(at.witness.named("review.requested")) == 1


def test_without_a_daemon_the_ports_are_read_by_the_command_itself(tmp_path):
    usb = tmp_path / "by-id"
    file = tmp_path / "store.toml"
    file.write_text(store())
    TokenMaker.in_directory(STORE, tmp_path / "keys")
    with hub(usb), daemon(tmp_path, file, more=settings(usb)) as never_started:
        shown = watched(tmp_path, never_started.settings, file, weighed)
    assert set(shown) == {f"shelf/{name}" for name in SCALES}
    assert {row["state"] for row in shown.values()} == {"up"}
