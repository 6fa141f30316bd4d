# SPDX-License-Identifier: Apache-2.0
"""How late a camera's frames arrive, from a page that flashes."""

import http.client
import io
import threading
import time

import numpy as np
import pytest

from gateway.cli import main
from vision.camera_tools.delay import BIT_S, Flashes, FlashServer, measured
from vision.camera_tools.feed import CameraError
from vision.film import Film, blank


def frames(flashes, delay_s, *, rate=15.0, seconds=20.0, patch=12, seed=1):
    """Yield frames of a camera that sees the page in a corner, with noise, so much too late."""
    rng = np.random.default_rng(seed)
    for at_s in 1_000.0 + np.arange(0.0, seconds, 1.0 / rate):
        arrived_s = at_s + delay_s + rng.uniform(0.0, 0.01)
        image = rng.integers(90, 110, (72, 96, 3), dtype=np.uint8)
        [white] = flashes.white(np.array([at_s]))
        if patch:
            image[9 : 9 + patch, 60 : 60 + patch] = 200 if white else 40
        yield arrived_s, image


@pytest.mark.parametrize("delay_s", [0.02, 0.18, 0.9, 2.4])
@pytest.mark.parametrize("rate", [8.0, 25.0])
def test_the_delay_is_found_to_some_milliseconds(delay_s, rate):
    flashes = Flashes(7)
    found = measured("door", frames(flashes, delay_s, rate=rate), flashes)
    assert found.ms == pytest.approx(delay_s * 1e3 + 5.0, abs=12.0)
    assert found.alike > 0.95


def test_a_camera_that_does_not_see_the_page_measures_nothing():
    told = r"camera door: does not see the page flash .* Hold the page nearer"
    with pytest.raises(CameraError, match=told):
        measured("door", frames(Flashes(7), 0.1, patch=0), Flashes(7))
    with pytest.raises(CameraError, match=told):  # Another page flashes, or a lamp.
        measured("door", frames(Flashes(8), 0.1), Flashes(7))
    with pytest.raises(CameraError, match="8 frames are too few"):
        measured("door", frames(Flashes(7), 0.1, seconds=0.5), Flashes(7))


def test_the_page_brings_the_pattern_and_is_driven_by_this_clock():
    flashes = Flashes(3)
    with FlashServer("127.0.0.1", 0, flashes) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()

        def asked(path, **headers):
            link = http.client.HTTPConnection("127.0.0.1", server.server_address[1], timeout=5)
            link.request("GET", path, headers=headers)
            answer = link.getresponse()
            return answer.status, answer.read().decode()

        status, page = asked("/")
        assert status == 200
        assert f'bits="{flashes.bits}", bit={BIT_S * 1e3}' in page
        before_ms = time.monotonic() * 1e3
        status, clock = asked("/clock")
        assert status == 200
        assert before_ms - 1.0 <= float(clock) <= time.monotonic() * 1e3 + 1.0
        assert asked("/none")[0] == 404
        assert asked("/", Host="evil.example")[0] == 403
        server.shutdown()


def test_the_command_says_that_the_camera_does_not_see_the_page(tmp_path, monkeypatch, capsys):
    with Film(tmp_path / "film.mp4", (64, 48), 50.0) as film:
        for number in range(30):
            film.write(blank((64, 48), (number * 8, 90, 90)))
    (tmp_path / "settings.toml").write_text(
        'gateway = "gw-1"\ndatabase = "gw.db"\n'
        '[[vision]]\ncamera = "door"\nurl = "film.mp4"\nmodel = "people.onnx"\n'
    )
    (tmp_path / "store.toml").write_text(
        'version = 1\n[store]\nname = "s"\n[[camera]]\nname = "door"\nsize_px = [64, 48]\n'
        "position_mm = [0, 0, 3000]\nfloor_points = [[0, 0, -2000, 1500], [64, 0, 2000, 1500],"
        " [64, 48, 2000, -1500], [0, 48, -2000, -1500]]\n"
    )
    monkeypatch.setattr("sys.stdin", io.StringIO("\n"))
    monkeypatch.chdir(tmp_path)
    files = ["--settings", "settings.toml", "--store", "store.toml"]
    page = ["--host", "127.0.0.1", "--port", "0", "--seconds", "1.5"]
    status = main(["camera", "delay", "door", *page, *files])
    out, err = capsys.readouterr()
    assert status == 1
    assert "on a phone" in out
    assert "camera door: does not see the page flash" in err
