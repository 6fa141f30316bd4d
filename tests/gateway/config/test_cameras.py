# SPDX-License-Identifier: Apache-2.0
"""Cameras with lenses and tags in the store file: what is read, and what is told of mistakes."""

import msgspec
import pytest

from gateway.config import ConfigError, load_store
from tests.gateway.config.files import ROOT

HEAD = """version = 1
[store]
name = "corner"
[[gondola]]
name = "north"
[[gondola.shelf]]
name = "g1"
front_mm = [0, 800, 0, -200]
z_mm = 450
depth_mm = 400
plates = 4
"""
LENS = (
    "{ size_px = [1280, 960], focal_px = [640, 641], centre_px = [640, 480],"
    " distortion = [-0.2, 0.05, 0, 0, 0] }"
)
CAMERA = f"""[[camera]]
name = "aisle"
size_px = [640, 480]
lens = {LENS}
floor_points = [[1, 1, 0, 0]]
space_points = [[600, 1, 1000, 0, 300], [600, 400, 1000, 900, 0], [1, 400, 0, 900, 1200]]
"""
TAG = """[[tag]]
id = 3
dictionary = "4X4_50"
size_mm = 200
"""


def loaded(tmp_path, text):
    path = tmp_path / "store.toml"
    path.write_text(HEAD + text)
    return load_store(path)


def test_a_camera_with_a_lens_and_points_of_both_kinds_is_read(tmp_path):
    [camera] = loaded(tmp_path, CAMERA).cameras
    assert camera.lens.focal_px == (640, 641)
    assert camera.space_points[0].mm == (1000, 0, 300)
    assert camera.floor_points[0].mm == (0, 0)


def test_tags_have_the_directions_that_people_see(tmp_path):
    shelf = 'shelf = "g1"\noffset_mm = 250\nz_mm = 600\n'
    floor = "floor_mm = [5, 6]\nturn_deg = 90\n"
    text = TAG + shelf + TAG.replace("= 3", "= 4") + floor
    text += TAG.replace("= 3", "= 5") + "floor_mm = [7, 8]\n"
    upright, lying, bare = loaded(tmp_path, text).tags
    # The front runs towards -y, the aisle is to its right, at -x: seen from there, -y is right.
    assert upright.centre_mm == (0, 550, 600)
    assert upright.right == (0, -1, 0)
    assert upright.down == (0, 0, -1)
    assert lying.right == pytest.approx((0, 1, 0))
    assert lying.down == pytest.approx((1, 0, 0))
    assert bare.centre_mm == (7, 8, 0)
    assert bare.right is None


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (CAMERA.replace(f"lens = {LENS}\n", ""), "space_points: need the camera's lens"),
        (CAMERA.replace("[1280, 960]", "[1280, 720]"), "1280 x 720 has another shape"),
        (CAMERA.replace("0.05, 0, 0, 0]", "0.05]"), "distortion: has 2 coefficients"),
        (CAMERA.replace("[640, 480], dist", "[640, 4800], dist"), "centre_px: is outside"),
        (CAMERA.replace("[640, 641]", "[0, 641]"), "focal_px"),
        (CAMERA.replace("[600, 1, 1000", "[700, 1, 1000"), "space_points[0]: is outside"),
        (CAMERA.replace("[[600, 1, 1000, 0, 300], ", "["), "with floor_points are 3 points"),
        (TAG, "needs one place"),
        (TAG + 'floor_mm = [1, 2]\nshelf = "g1"', "needs one place"),
        (TAG + 'shelf = "g7"\noffset_mm = 1\nz_mm = 2', "shelf g7 is not in this store"),
        (TAG + 'shelf = "g1"\nz_mm = 2', "offset_mm: missing"),
        (TAG + 'shelf = "g1"\noffset_mm = 1\nz_mm = 2\nturn_deg = 3', "turn_deg: is of a tag"),
        (TAG + "floor_mm = [1, 2]\nz_mm = 3", "z_mm: is of a tag on a shelf"),
        (TAG.replace("= 3", "= 50") + "floor_mm = [1, 2]", "4X4_50 has no tag 50"),
        (TAG.replace("4X4_50", "4X4_51") + "floor_mm = [1, 2]", "dictionary"),
        ((TAG + "floor_mm = [1, 2]\n") * 2, "tag 4X4_50 3 is already at"),
    ],
)
def test_mistakes_are_told_with_their_key(tmp_path, text, problem):
    with pytest.raises(ConfigError) as caught:
        loaded(tmp_path, text)
    assert problem in str(caught.value)


def test_a_store_without_any_of_it_keeps_its_version():
    content = msgspec.json.encode(load_store(ROOT / "fixtures" / "stores" / "demo.toml"))
    for key in (b'"lens"', b'"space_points"', b'"tags"'):
        assert key not in content
