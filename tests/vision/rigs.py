# SPDX-License-Identifier: Apache-2.0
"""Rendered pictures of boards and tags, for cameras of which everything is known."""

import numpy as np

from vision.flats import Flat
from vision.geometry import Camera
from vision.rendering import Renderer, Scene

WIDE = (-0.22, 0.05, 0.0006, -0.0004, -0.004)
"""The barrel of a lens that sees 108 degrees across at a focal length of half the width."""


def turned(axis, angle):
    """Return a rotation matrix about an axis (Rodrigues)."""
    x, y, z = np.asarray(axis) / np.linalg.norm(axis)
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross


def held(camera, board, squares, *, pixel, far_mm, rotation):
    """Return a board held before a camera: its middle at a pixel, turned from facing it."""
    middle = camera.position_mm + camera.rays(pixel)[0] * far_mm
    right, down = (camera.rotation.T @ rotation[:, k] for k in (0, 1))
    return Flat.placed(squares, tuple(middle), tuple(right), tuple(down), board.size_mm)


def board_pictures(camera, board, rng, count, *, tilt_rad=0.6, spread=0.42, far=(1.0, 2.2)):
    """Yield pictures of a board held in many ways; ``far`` is in board widths of full view."""
    squares = board.squares(4.0)
    width, height = camera.size_wh
    full_mm = camera.intrinsics[0, 0] * board.size_mm[0] / width
    for number in range(count):
        spot = (
            width * (0.5 + spread * rng.uniform(-1, 1)),
            height * (0.5 + spread * rng.uniform(-1, 1)),
        )
        angle = rng.uniform(0, 2 * np.pi)
        lean = turned((np.cos(angle), np.sin(angle), 0), rng.uniform(0.3, 1) * tilt_rad)
        roll = turned((0, 0, 1), rng.uniform(-0.5, 0.5))
        apart_mm = full_mm * rng.uniform(*far)
        flat = held(camera, board, squares, pixel=spot, far_mm=apart_mm, rotation=lean @ roll)
        yield Renderer(camera, Scene(texture=number, flats=(flat,))).render([], rng)


def as_camera(fit):
    """Return a lens fit as a camera at the origin."""
    intrinsics = np.array(
        [
            [fit.focal_px[0], 0, fit.centre_px[0]],
            [0, fit.focal_px[1], fit.centre_px[1]],
            [0, 0, 1.0],
        ]
    )
    return Camera(intrinsics, np.eye(3), np.zeros(3), fit.size_wh, fit.distortion)


def rays_apart_px(one, other):
    """Return how far two lenses' pictures of the same directions differ at most, in pixels.

    Directions are free to turn as a whole: a pose takes that up.
    """
    width, height = one.size_wh
    grid = np.stack(np.meshgrid(np.linspace(0, width, 9), np.linspace(0, height, 7)), axis=-1)
    mine, others = one.rays(grid.reshape(-1, 2)), other.rays(grid.reshape(-1, 2))
    u, _, v = np.linalg.svd(mine.T @ others)
    moved = mine @ (u @ v)
    angles = np.arccos(np.clip((moved * others).sum(axis=1), -1, 1))
    return float(angles.max() * one.intrinsics[0, 0])
