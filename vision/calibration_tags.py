# SPDX-License-Identifier: Apache-2.0
"""ArUco and AprilTag tags at known places: where they are seen, and what points they give."""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import cv2
import numpy as np

from gateway.domain.store import Tag
from vision.flats import Image
from vision.geometry import Camera, FloatArray
from vision.lens import bend, straighten

Seen = Mapping[tuple[str, int], FloatArray]
"""``(4, 2)`` corners in pixels by dictionary and number, from the upper left one clockwise."""
SIDE_MIN_PX = 8.0
"""A tag that is seen smaller says little about its place, and may be none."""


class Points(NamedTuple):
    """Points whose place is known: ``(n, 2)`` pixels, ``(n, 3)`` mm, and of which tag each is."""

    px: FloatArray
    mm: FloatArray
    tags: list[Tag]


def picture_of(tag: Tag, side_px: int) -> Image:
    """Return a tag's black square as an ``(side, side)`` grey picture."""
    return np.asarray(_family(tag.dictionary).generateImageMarker(tag.id, side_px), dtype=np.uint8)


def find_tags(image: Image, tags: Sequence[Tag]) -> dict[tuple[str, int], FloatArray]:
    """Return where the given tags are seen in an ``(h, w, 3)`` BGR picture.

    A tag that is seen twice is left out: nobody can tell which is the right one.
    """
    grey = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
    options = cv2.aruco.DetectorParameters()
    options.cornerRefinementMethod = cv2.aruco.CORNER_REFINE_SUBPIX
    found: dict[tuple[str, int], list[FloatArray]] = {}
    for dictionary in sorted({tag.dictionary for tag in tags}):
        detector = cv2.aruco.ArucoDetector(_family(dictionary), options)
        corners, ids, _ = detector.detectMarkers(grey)
        for ring, number in zip(corners, [] if ids is None else ids.reshape(-1), strict=True):
            pixels = np.asarray(ring, dtype=np.float64).reshape(4, 2)
            if np.linalg.norm(pixels - np.roll(pixels, 1, axis=0), axis=1).min() >= SIDE_MIN_PX:
                found.setdefault((dictionary, int(number)), []).append(pixels)
    wanted = {(tag.dictionary, tag.id) for tag in tags}
    return {key: rings[0] for key, rings in found.items() if key in wanted and len(rings) == 1}


def steady(frames: Iterable[Seen]) -> dict[tuple[str, int], FloatArray]:
    """Return the median place of each tag's corners over frames of a camera that stands still."""
    rings: dict[tuple[str, int], list[FloatArray]] = {}
    for frame in frames:
        for key, ring in frame.items():
            rings.setdefault(key, []).append(ring)
    return {key: np.asarray(np.median(seen, axis=0)) for key, seen in rings.items()}


def points_of(tags: Sequence[Tag], seen: Seen, lens: Camera | None) -> Points:
    """Return the points that tags give: four corners each, or the middle if that is all known.

    Args:
        tags: At known places.
        seen: Where they are seen.
        lens: The camera's optics; without one only tags on the floor count.
    """
    pixels: list[FloatArray] = []
    places: list[FloatArray] = []
    of: list[Tag] = []
    for tag in tags:
        ring = seen.get((tag.dictionary, tag.id))
        centre = np.asarray(tag.centre_mm, dtype=np.float64)
        if ring is None or (lens is None and centre[2] != 0.0):
            continue
        if tag.right is None or tag.down is None:
            pixels.append(_middle(ring, lens)[None])
            places.append(centre[None])
            of.append(tag)
            continue
        across = np.asarray(tag.right) * tag.size_mm / 2
        along = np.asarray(tag.down) * tag.size_mm / 2
        corners = [-across - along, across - along, across + along, -across + along]
        pixels.append(ring)
        places.append(centre + np.array(corners))
        of += [tag] * 4
    empty = np.zeros((0, 2)), np.zeros((0, 3))
    return Points(np.concatenate([empty[0], *pixels]), np.concatenate([empty[1], *places]), of)


def _middle(ring: FloatArray, lens: Camera | None) -> FloatArray:
    """Return ``(2,)`` where the middle of a square is seen: where its diagonals cross."""
    flat = ring
    if lens is not None:
        focal, centre = np.diag(lens.intrinsics)[:2], lens.intrinsics[:2, 2]
        flat = straighten((ring - centre) / focal, lens.distortion)
    one, other = flat[2] - flat[0], flat[3] - flat[1]
    gap = flat[1] - flat[0]
    share = (gap[0] * other[1] - gap[1] * other[0]) / (one[0] * other[1] - one[1] * other[0])
    middle = (flat[0] + share * one)[None]
    if lens is not None:
        middle = bend(middle, lens.distortion) * focal + centre
    return np.asarray(middle[0])


def _family(dictionary: str) -> "cv2.aruco.Dictionary":
    return cv2.aruco.getPredefinedDictionary(getattr(cv2.aruco, f"DICT_{dictionary}"))
