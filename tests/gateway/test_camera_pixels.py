# SPDX-License-Identifier: Apache-2.0
"""``shelfgate camera``: in which picture's pixels points count, and what a first try needs."""

import re
import shlex

import numpy as np
import pytest

pytest.importorskip("cv2")

from gateway import cameras
from gateway.cli import main
from gateway.config import ConfigError, load_store
from gateway.config_settings import load_watched
from tests.gateway.config.files import ROOT
from vision.camera_tools import feed
from vision.camera_tools.feed import read_picture, write_picture
from vision.film import Film
from vision.geometry import Camera
from vision.sources import CameraSource

PAGE = (ROOT / "docs" / "vision.md").read_text("utf-8")
FILES = "--settings settings.toml --store store.toml"
PLACES = [(-900, -300), (800, 200), (900, -500), (-600, 500), (0, 0)]


@pytest.fixture
def first(tmp_path, monkeypatch):
    """Write the page's first example as it stands; return what its camera gives from then on."""
    block = re.search(r"```toml\n(.*?)```", PAGE, re.DOTALL).group(1)
    column = block.index("# settings.toml")
    rows = block.splitlines()
    (tmp_path / "store.toml").write_text("\n".join(row[:column].rstrip() for row in rows))
    (tmp_path / "settings.toml").write_text("\n".join(row[column:] for row in rows))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(cameras, "MEASURE_S", 0.1)
    monkeypatch.setattr(cameras, "SETTLE_S", 0.0)

    def gives(size_wh):
        film = tmp_path / "camera.mp4"
        with Film(film, size_wh, 25.0) as writer:
            for _ in range(5):
                writer.write(np.zeros((size_wh[1], size_wh[0], 3), dtype=np.uint8))

        def opened(url, **_asked):
            assert url == "rtsp://192.168.1.20/stream1"
            return CameraSource(str(film))

        monkeypatch.setattr(feed, "CameraSource", opened)

    return gives


def run(words):
    return main(shlex.split(words.removeprefix("shelfgate ")))


def points(size_wh):
    """Return words for points as they are seen in a picture of a size."""
    eye = Camera.looking_at((-2600, 0, 2700), (0, 100, 900), size_wh[0] / 2, size_wh)
    pixels = eye.project([(*place, 0) for place in PLACES])
    return " ".join(
        f"--point={px:.2f},{py:.2f},{x},{y}"
        for (px, py), (x, y) in zip(pixels, PLACES, strict=True)
    )


def documented(command):
    """Return a command as the page gives it."""
    return re.search(rf"`(shelfgate camera {command} .*?)`", PAGE).group(1).replace("…", FILES)


def test_the_pages_first_example_leads_to_a_calibrated_camera(first, tmp_path, capsys):
    first((1280, 960))
    assert run(documented("list")) == 0
    told = capsys.readouterr().out
    assert "aisle: 1280 x 960, " in told
    assert "camera aisle: has 0 floor points. Give 4 or more with shelfgate camera" in told
    assert "size_px is" not in told
    assert run(documented("snapshot")) == 0
    assert read_picture(tmp_path / "aisle.png").shape == (960, 1280, 3)
    given = f"camera calibrate aisle {FILES} {points((1280, 960))}"
    assert run(f"{given} --write") == 0
    assert "points are off by 0." in capsys.readouterr().out
    assert run(documented("list")) == 0
    assert "calibrated by floor points" in capsys.readouterr().out
    assert run(documented("snapshot") + " --overlay") == 0


def test_a_picture_of_the_same_shape_is_scaled_to_where_points_count(first, tmp_path, capsys):
    first((640, 480))
    assert run(documented("list")) == 0
    assert "size_px is 1280 x 960, of the same shape" in capsys.readouterr().out
    assert run(documented("snapshot")) == 0
    assert "scaled from 640 x 480 to size_px" in capsys.readouterr().out
    assert read_picture(tmp_path / "aisle.png").shape == (960, 1280, 3)
    given = f"camera calibrate aisle {FILES} {points((1280, 960))} --write"
    assert run(given) == 0
    assert "gives 640 x 480; points count in pixels of size_px, 1280 x 960" in (
        capsys.readouterr().out
    )


def test_a_picture_of_another_shape_is_no_place_to_read_points_off(first, tmp_path, capsys):
    first((640, 360))
    assert run(documented("list")) == 1
    remedy = "size_px is 1280 x 960, another shape. Write size_px = [640, 360]"
    assert remedy in capsys.readouterr().out
    assert run(documented("snapshot")) == 0
    assert f"These pixels are not size_px: {remedy}" in capsys.readouterr().out
    assert read_picture(tmp_path / "aisle.png").shape == (360, 640, 3)
    before = (tmp_path / "store.toml").read_bytes()
    given = f"camera calibrate aisle --store store.toml {points((1280, 960))} --write"
    for source in ("--settings settings.toml", "--from aisle.png"):
        assert run(f"{given} {source}") == 1
        assert "gives 640 x 360, another shape than size_px" in capsys.readouterr().err
    assert (tmp_path / "store.toml").read_bytes() == before
    assert run(given) == 0, "nothing to look at"
    assert len(load_store(tmp_path / "store.toml").cameras[0].floor_points) == len(PLACES)


def test_a_picture_given_in_another_size_is_told(first, tmp_path, capsys):
    first((1280, 960))
    write_picture(tmp_path / "still.png", np.zeros((480, 640, 3), dtype=np.uint8))
    check = f"{points((1280, 960))} --from still.png --picture check.png"
    assert run(f"camera calibrate aisle --store store.toml {check}") == 0
    assert "gives 640 x 480; points count" in capsys.readouterr().out
    assert read_picture(tmp_path / "check.png").shape == (480, 640, 3)


def test_without_a_model_a_camera_is_shown_without_persons(first, tmp_path, capsys):
    first((1280, 960))
    assert run(f"camera calibrate aisle {FILES} {points((1280, 960))} --write") == 0
    (tmp_path / "camera.mp4").unlink()
    assert run(f"camera view aisle {FILES} --port 0") == 1
    assert "camera aisle: no model, so no persons are shown. Give model" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('[[vision]]\ncamera = "a"\n', "vision[0].url: missing"),
        ('[[visoin]]\ncamera = "a"\n', "Did you mean vision?"),
        ('[[vision]]\ncamera = "a"\nurl = "b"\n' * 2, "camera a is named twice"),
        ('[[vision]]\ncamera = "a"\nurl = "b"\nmodle = "c"\n', "Did you mean model?"),
    ],
)
def test_what_is_wrong_with_a_cameras_table_is_told(tmp_path, text, problem):
    path = tmp_path / "settings.toml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_watched(path)
    assert problem in str(caught.value)


def test_what_looking_at_a_camera_does_not_use_may_be_unfinished(tmp_path):
    path = tmp_path / "settings.toml"
    path.write_text('gateway = 3\n[uplink]\n[[vision]]\ncamera = "a"\nurl = "b"\n')
    [table] = load_watched(path)
    assert (table.url, table.model) == ("b", None)
