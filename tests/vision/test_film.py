# SPDX-License-Identifier: Apache-2.0
"""Films are whole or say why not, and what is drawn is where it should be."""

import math

import numpy as np
import pytest

cv2 = pytest.importorskip("cv2", reason="the vision extra is not installed")

from vision.film import (  # noqa: E402
    Film,
    FilmError,
    bar,
    blank,
    box,
    cross,
    dot,
    polyline,
    ring,
    text,
    text_width_px,
)

BACK = (20, 30, 40)
RED = (0, 0, 255)


def picture():
    return blank((80, 60), BACK)


def red(pixels):
    """Tell where lines are: smooth edges take some of their colour."""
    return pixels[..., 2] > 150


def drawn(image):
    """Return left, top, right and bottom of what is drawn, the last two just outside."""
    ys, xs = np.nonzero((image != BACK).any(axis=2))
    return (xs.min(), ys.min(), xs.max() + 1, ys.max() + 1) if len(xs) else None


def test_a_film_is_read_back_as_it_was_written(tmp_path):
    shades = [0, 60, 120, 180, 240]
    with Film(tmp_path / "film.mp4", (64, 48), 10) as film:
        for shade in shades:
            film.write(blank((64, 48), (shade, shade, shade)))
    video = cv2.VideoCapture(str(tmp_path / "film.mp4"))
    assert video.get(cv2.CAP_PROP_FPS) == 10
    for shade in shades:
        good, frame = video.read()
        assert good
        assert frame.shape == (48, 64, 3)
        assert abs(float(frame.mean()) - shade) < 4
    assert not video.read()[0]
    video.release()


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("missing/film.mp4", "cannot be opened for a film. Give a file in a folder that exists"),
        ("film.avi", "no name for a film. Give one that ends in .mp4"),
        ("film", "no name for a film"),
    ],
)
def test_a_film_that_cannot_be_written_says_why(tmp_path, name, words):
    with pytest.raises(FilmError, match=words) as error:
        Film(tmp_path / name, (64, 48), 10)
    assert str(error.value).startswith(str(tmp_path / name) + ": ")
    assert not list(tmp_path.iterdir())


def test_a_folder_is_no_film(tmp_path):
    (tmp_path / "film.mp4").mkdir()
    with pytest.raises(FilmError, match="cannot be opened"):
        Film(tmp_path / "film.mp4", (64, 48), 10)


def test_a_film_that_is_not_whole_is_an_error(tmp_path):
    film = Film(tmp_path / "film.mp4", (64, 48), 10)
    for _ in range(2):
        film.write(blank((64, 48), BACK))
    (tmp_path / "film.mp4").unlink()
    with pytest.raises(FilmError, match=r"only 0 of 2 pictures were written\. Make room"), film:
        pass


def test_an_error_while_filming_is_not_replaced(tmp_path):
    film = Film(tmp_path / "film.mp4", (64, 48), 10)
    film.write(blank((64, 48), BACK))
    (tmp_path / "film.mp4").unlink()
    with pytest.raises(KeyError, match="mine"), film:
        raise KeyError("mine")


def test_a_picture_of_another_size_is_refused(tmp_path):
    with Film(tmp_path / "film.mp4", (64, 48), 10) as film:
        film.write(blank((64, 48), BACK))
        with pytest.raises(AssertionError, match="size"):
            film.write(blank((48, 64), BACK))


@pytest.mark.parametrize("slanted", [False, True])
def test_a_cross_has_its_colour_in_the_middle_and_along_its_arms(slanted):
    image = picture()
    cross(image, (40, 30), 8, RED, slanted=slanted)
    assert tuple(image[30, 40]) == RED
    arm = image[25, 35] if slanted else image[30, 35]
    other = image[30, 35] if slanted else image[25, 35]
    assert tuple(arm) == RED
    assert tuple(other) != RED
    assert tuple(image[5, 5]) == BACK


def test_dots_and_rings_have_their_radius():
    image = picture()
    dot(image, (40, 30), 5, RED)
    assert drawn(image) == pytest.approx((35, 25, 46, 36), abs=1)
    image = picture()
    ring(image, (40, 30), 10, RED)
    assert tuple(image[30, 40]) == BACK
    assert tuple(image[30, 50]) == RED


def test_a_bar_is_cut_at_the_edges_and_lets_through_what_it_should():
    image = picture()
    bar(image, (70, -5, 99, 10), RED)
    assert drawn(image) == (70, 0, 80, 10)
    bar(image, (90, 10, 99, 20), RED)
    bar(image, (10, 40, 10, 50), RED)
    assert drawn(image) == (70, 0, 80, 10)
    bar(image, (0, 0, 10, 10), RED, opacity=0.5)
    assert tuple(image[5, 5]) == (10, 15, 148)


def test_an_outline_leaves_its_inside():
    image = picture()
    box(image, (10, 10, 30, 20), RED)
    assert red(image[10, 20])
    assert tuple(image[15, 20]) == BACK
    assert drawn(image) == pytest.approx((10, 10, 31, 21), abs=1)


def test_a_line_has_a_gap_where_it_is_not_known():
    image = picture()
    gap = (math.nan, math.nan)
    polyline(image, [(5, 30), (20, 30), gap, (50, 30), (70, 30)], RED)
    row = red(image[30])
    assert row[6:20].all()
    assert not row[22:49].any()
    assert row[51:70].all()


def test_what_is_not_known_or_far_away_is_not_drawn():
    image = picture()
    gap = (math.nan, 10.0)
    dot(image, gap, 5, RED)
    ring(image, gap, 5, RED)
    cross(image, gap, 5, RED)
    polyline(image, [gap, gap], RED)
    polyline(image, np.empty((0, 2)), RED)
    dot(image, (1e12, 10), 5, RED)
    assert drawn(image) is None


def test_text_stands_where_its_anchor_says():
    width = text_width_px("shelf", 14)
    assert width < text_width_px("shelf g1", 14)
    for anchor, left in (("left", 40), ("middle", 40 - width / 2), ("right", 40 - width)):
        image = picture()
        text(image, (40, 30), "shelf", RED, anchor=anchor)
        x0, y0, x1, y1 = drawn(image)
        assert (x0, x1) == pytest.approx((left, left + width), abs=3)
        assert (y0, y1) == pytest.approx((19, 30), abs=2)
