# SPDX-License-Identifier: Apache-2.0
"""``shelfgate camera``: what an installer types, and what comes of it."""

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("cv2")

from gateway.cli import main
from gateway.config import ConfigError, load_store
from gateway.config_store import read_store
from gateway.store_edit import write_camera_keys
from tests.vision.rigs import WIDE, board_pictures
from vision.boards import Board
from vision.calibration_tags import picture_of
from vision.camera_tools.feed import read_picture, write_picture
from vision.film import Film
from vision.flats import Flat
from vision.geometry import Camera
from vision.rendering import Renderer, Scene

SIZE = (640, 480)
PEOPLE = Path(__file__).parents[2] / "fixtures" / "model" / "people.onnx"
EYE = Camera.looking_at((-2600, 0, 2700), (0, 100, 900), 320, SIZE, distortion=WIDE)
STORE = """version = 1
include = ["cameras.toml"]
[store]
name = "corner"
[[zone]]
name = "in"
kind = "entry"
x_mm = [0, 10]
y_mm = [0, 10]
[[zone]]
name = "out"
kind = "exit"
x_mm = [20, 30]
y_mm = [0, 10]
[[gondola]]
name = "north"
[[gondola.shelf]]
name = "g1"
front_mm = [-1500, 800, 1500, 800]
z_mm = 450
depth_mm = 400
plates = 4
[[tag]]
id = 1
dictionary = "4X4_50"
size_mm = 260
floor_mm = [-900, -300]
turn_deg = 0
[[tag]]
id = 3
dictionary = "APRILTAG_36H11"
size_mm = 240
shelf = "g1"
offset_mm = 900
z_mm = 1300
"""
CAMERAS = """# Written by hand.
[[camera]]
name = "door"   # another one
size_px = [640, 480]
position_mm = [500, 450, 3000]
floor_points = [[0, 0, 0, 0], [600, 0, 1000, 0], [600, 400, 1000, 900], [0, 400, 0, 900]]
[[camera]]
size_px = [640, 480]
name = "aisle" # in the corner
"""


@pytest.fixture
def store(tmp_path):
    (tmp_path / "cameras.toml").write_text(CAMERAS)
    path = tmp_path / "store.toml"
    path.write_text(STORE)
    return path


@pytest.fixture(scope="module")
def still(tmp_path_factory):
    path = tmp_path_factory.mktemp("still") / "still.png"
    tags = read_tags(path.parent)
    flats = tuple(
        Flat.placed(
            np.pad(picture_of(tag, 200), 40, constant_values=255),
            tag.centre_mm,
            tag.right,
            tag.down,
            (1.4 * tag.size_mm, 1.4 * tag.size_mm),
        )
        for tag in tags
    )
    write_picture(path, Renderer(EYE, Scene(flats=flats)).render([]))
    return path


def read_tags(folder):
    (folder / "tags.toml").write_text(STORE.replace('include = ["cameras.toml"]', ""))
    return read_store(folder / "tags.toml").known.tags


def run(*arguments):
    return main(["camera", *map(str, arguments)])


def test_board_then_tags_calibrate_a_camera(store, still, tmp_path, capsys):
    rng = np.random.default_rng(3)
    with Film(tmp_path / "board.mp4", SIZE, 10.0) as film:
        for image in board_pictures(EYE, Board.parse("9x6x28"), rng, 18):
            for _ in range(10):
                film.write(image)
    given = ("aisle", "--store", store, "--from")
    assert run("calibrate", *given, tmp_path / "board.mp4", "--board", "9x6x28", "--write") == 0
    assert "degrees across" in capsys.readouterr().out
    check = tmp_path / "check.png"
    assert run("calibrate", *given, still, "--tags", "--picture", check, "--write") == 0
    told = capsys.readouterr().out
    assert told.count("off by") == 8 + 1
    [_, aisle] = load_store(store).cameras
    assert aisle.lens.focal_px == pytest.approx((320, 320), rel=0.01)
    assert len(aisle.space_points) == 8
    assert read_picture(check).shape == (480, 640, 3)
    assert run("calibrate", "aisle", "--store", store) == 0
    told = capsys.readouterr().out
    place = told.rpartition("at [")[2].partition("]")[0].split(", ")
    assert np.linalg.norm(np.array(place, dtype=float) - EYE.position_mm) < 60
    # The rest of the file is as it was.
    written = (tmp_path / "cameras.toml").read_text()
    assert written.startswith(CAMERAS.partition("[[camera]]\nsize_px")[0])
    assert "# in the corner\n" in written


def test_points_on_the_command_line_count(store, capsys):
    pixels = EYE.pinhole().project(
        [(-900, -300, 0), (800, 200, 0), (900, -500, 0), (-600, 500, 0), (0, 0, 0)]
    )
    places = ["-900,-300", "800,200", "900,-500", "-600,500", "0,0"]
    points = [
        f"--point={x:.2f},{y:.2f},{place}" for (x, y), place in zip(pixels, places, strict=True)
    ]
    assert run("calibrate", "aisle", "--store", store, *points, "--write") == 0
    assert "points are off by 0." in capsys.readouterr().out
    assert len(load_store(store).cameras[1].floor_points) == 5
    assert run("calibrate", "aisle", "--store", store, *points[:4]) == 0
    told = capsys.readouterr().out
    assert "every view fits" in told
    assert "floor_points = [" in told


FOUR = [f"--point={x},{y},{x},{y}" for x in (90, 500) for y in (90, 400)]


@pytest.mark.parametrize(
    ("arguments", "status", "problem"),
    [
        (
            ("calibrate", "aisel"),
            1,
            "camera aisel: not in the store file. Known there: door, aisle",
        ),
        (("calibrate", "aisle"), 1, "has 0 floor points. Give 4 or more"),
        (("calibrate", "aisle", "--point=1,2,3"), 1, "--point 1,2,3: not PX,PY,X,Y"),
        (("calibrate", "aisle", "--point=9999,2,3,4"), 1, "outside the image"),
        (("calibrate", "aisle", "--point=9,2,3,4,5"), 1, "has no lens"),
        (
            ("calibrate", "aisle", "--from", "/none.png"),
            1,
            "/none.png: no such file. Give pictures",
        ),
        (("calibrate", "aisle", *FOUR, "--from", "/none.png"), 1, "/none.png: no such file. Give"),
        (("calibrate", "aisle", "--board", "9by6"), 2, "not COLUMNSxROWSxSQUARE_MM"),
        (("calibrate", "aisle", "--board", "9x6x28"), 1, "camera aisle: no address"),
        (("calibrate", "aisle", "--tags", "--url", "/none.mp4"), 1, "no such file or device"),
        (("snapshot", "aisle", "--url", "/none.mp4", "-o", "x.png"), 1, "no such file or device"),
        (("snapshot", "aisle", "--url", "/none.mp4", "-o", "x.png", "--overlay"), 1, "Give 4"),
        (("view", "door", "--url", "/none.mp4", "--port", "0"), 1, "no such file or device"),
        (("view", "door", "--url", "/none.mp4", "--port", "99999"), 1, "Choose another --port"),
    ],
)
def test_what_cannot_be_done_is_told_in_a_line(store, capsys, arguments, status, problem):
    assert run(*arguments, "--store", store) == status
    told = capsys.readouterr().err
    assert problem in told
    assert "Traceback" not in told


def test_the_page_finds_persons_as_the_worker_does(store, tmp_path, capsys):
    """With every setting of the worker's detector, and told before the camera is opened."""
    settings = tmp_path / "settings.toml"
    settings.write_text(
        'gateway = "gw-1"\ndatabase = "gw.db"\n[[vision]]\ncamera = "door"\nurl = "/none.mp4"\n'
        f'model = "{PEOPLE}"\ninput_px = 512\n'
    )
    assert run("view", "door", "--settings", settings, "--store", store, "--port", "0") == 1
    assert "takes 256 x 192 pixels alone, not 512" in capsys.readouterr().err


def test_a_picture_without_the_board_or_the_tags_is_told(store, tmp_path, capsys):
    plain = tmp_path / "plain.png"
    write_picture(plain, Renderer(EYE, Scene()).render([]))
    given = ("calibrate", "aisle", "--store", store, "--from")
    assert run(*given, plain, "--board", "9x6x28") == 1
    assert "not seen in any of 1 pictures" in capsys.readouterr().err
    assert run(*given, plain, "--tags") == 1
    assert "0 seen that count" in capsys.readouterr().err
    assert run(*given, store, "--tags") == 1
    assert "is no picture" in capsys.readouterr().err
    small = tmp_path / "small.png"
    write_picture(small, np.zeros((100, 300, 3), dtype=np.uint8))
    assert run(*given, small, "--tags") == 1
    assert "another shape than size_px" in capsys.readouterr().err


def test_cameras_are_listed_with_what_they_give(store, tmp_path, capsys):
    with Film(tmp_path / "door.mp4", SIZE, 10.0) as film:
        for _ in range(30):
            film.write(np.zeros((480, 640, 3), dtype=np.uint8))
    (tmp_path / "model.onnx").write_bytes(b"")
    settings = tmp_path / "settings.toml"
    settings.write_text(
        'gateway = "g"\ndatabase = "g.db"\n'
        + "".join(
            f'[[vision]]\ncamera = "{name}"\nurl = "{tmp_path / name}.mp4"\nmodel = "model.onnx"\n'
            for name in ("door", "gone")
        )
    )
    assert run("list", "--settings", settings, "--store", store) == 1
    told = capsys.readouterr().out
    assert "door: 640 x 480, " in told
    assert "frames a second, calibrated by floor points" in told
    assert "gone: no frames, not in the store file" in told
    assert run("list") == 0
    snap = tmp_path / "snap.png"
    assert run("snapshot", "door", "--settings", settings, "--store", store, "-o", snap) == 0
    assert read_picture(snap).shape == (480, 640, 3)


def test_the_board_is_written(tmp_path, capsys):
    assert run("board", "-o", tmp_path / "board.png") == 0
    assert "squares of 28 mm" in capsys.readouterr().out
    assert read_picture(tmp_path / "board.png").shape[2] == 3
    assert run("board", "-o", tmp_path / "board.jpg") == 1


# The store file, edited.


def test_a_key_is_replaced_where_it_stands(tmp_path):
    path = tmp_path / "store.toml"
    path.write_text(STORE.replace('include = ["cameras.toml"]\n', "") + CAMERAS)
    points = "[\n  [1, 1, 0, 0], [600, 1, 1, 0],\n  [600, 400, 1, 1], [0, 400, 0, 1],\n]"
    write_camera_keys(path, "aisle", {"floor_points": points})
    write_camera_keys(path, "aisle", {"floor_points": points.replace("600, 1,", "500, 1,")})
    write_camera_keys(path, "door", {"floor_points": points})
    door, aisle = load_store(path).cameras
    assert door.floor_points[1].px == (600, 1)
    assert aisle.floor_points[1].px == (500, 1)
    text = path.read_text()
    assert text.count("floor_points") == 2
    assert "# another one\nfloor_points" in text
    assert not list(tmp_path.glob(".*"))


def test_a_file_that_would_be_wrong_is_put_back(store, tmp_path):
    before = (tmp_path / "cameras.toml").read_bytes()
    with pytest.raises(ConfigError, match="has 2 points"):
        write_camera_keys(store, "door", {"floor_points": "[[1, 2, 3, 4], [5, 6, 7, 8]]"})
    assert (tmp_path / "cameras.toml").read_bytes() == before
    with pytest.raises(ConfigError, match="has no camera attic"):
        write_camera_keys(store, "attic", {"lens": "{}"})


def test_tables_that_cannot_be_edited_are_left_alone(tmp_path):
    path = tmp_path / "store.toml"
    plain = STORE.replace('include = ["cameras.toml"]\n', "")
    path.write_text(
        plain.replace("[store]", 'camera = [{ name = "a", size_px = [99, 99] }]\n[store]')
    )
    with pytest.raises(ConfigError, match="by hand"):
        write_camera_keys(path, "a", {"lens": "{}"})
    lens = "size_px = [640, 480]\nfocal_px = [300, 300]\ncentre_px = [320, 240]\n"
    path.write_text(plain + CAMERAS + "[camera.lens]\n" + lens)
    with pytest.raises(ConfigError, match="not written as one key"):
        write_camera_keys(path, "aisle", {"lens": "{}"})
