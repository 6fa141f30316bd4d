# SPDX-License-Identifier: Apache-2.0
"""Recordings of devices, played into their drivers: the same inputs come out, however it is cut."""

import tomllib
from itertools import pairwise

import msgspec
import pytest

from drivers import registry
from drivers.errors import DeviceGoneError
from drivers.labels.judging import Judge
from drivers.modbus.line import Lines
from gateway.domain.inputs import Samples
from gateway.intake import Intake
from tests.drivers.scanner_line import Cable, product_store
from tests.test_tidy import ROOT
from tests.virtual_time import LoopClock, run_virtual

RECORDINGS = sorted((ROOT / "fixtures" / "recordings").glob("*.toml"))
READ_AS_BYTES = {"bridge", "scale", "modbus", "scanner", "ssi", "keyboard"}


def play(recording, monkeypatch, *, pieces):
    """Return inputs, drops and answers of a recording whose chunks come in so many pieces."""
    script = []
    for pause_ms, text in recording["sent"]:
        data = bytes.fromhex(text) if recording.get("hex") else text.encode("latin-1")
        cuts = [len(data) * n // pieces for n in range(pieces + 1)]
        parts = [data[start:end] for start, end in pairwise(cuts)]
        script += [(pause_ms / 1_000 * (n == 0), part) for n, part in enumerate(parts) if part]

    async def main():
        clock = LoopClock()
        intake, cable = Intake(clock), Cable(*script)
        monkeypatch.setattr(registry, "keyboard_opener", lambda: cable.open)
        config = msgspec.convert(recording["device"], registry.AnyDriverConfig)
        judge = Judge(product_store(), None)
        lines = Lines(lambda url, baud, _bits: cable.open(url, baud))
        driver = registry.build(
            config, clock=clock, open_stream=cable.open, judge=judge, lines=lines
        )
        with pytest.raises(DeviceGoneError, match="Input/output error"):
            await driver.run(intake, lambda: None)
        return intake.take(99), intake.totals, cable.sent

    items, drops, answers = run_virtual(main())[0]
    return [shown(item) for item in items], drops, [answer.hex(" ") for answer in answers]


def shown(item):
    """Return what a recording tells of an input."""
    if isinstance(item, Samples):
        rows = [["none" if value is None else value for value in row] for row in item.w]
        return {"unit": item.unit, "period_us": item.period_us, "w": rows}
    told = msgspec.to_builtins(item)
    return {key: told[key] for key in ("gtin", "lot", "weight_g", "reason") if told.get(key)}


@pytest.mark.parametrize("pieces", [1, 3])
@pytest.mark.parametrize("path", RECORDINGS, ids=lambda path: path.stem)
def test_a_recording_gives_what_it_says(path, pieces, monkeypatch):
    recording = tomllib.loads(path.read_text("utf-8"))
    items, drops, answers = play(recording, monkeypatch, pieces=pieces)
    assert items == recording["inputs"]
    assert drops == recording.get("drops", {})
    assert answers == recording.get("answers", [])


def test_each_driver_that_reads_bytes_has_a_recording():
    recorded = {tomllib.loads(path.read_text("utf-8"))["device"]["driver"] for path in RECORDINGS}
    assert recorded == READ_AS_BYTES
