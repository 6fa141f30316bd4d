# SPDX-License-Identifier: Apache-2.0
"""Pictures made smaller: what they show stays where it is, and noise is averaged away."""

import cv2
import numpy as np
import pytest

from vision.scaling import shrunk


@pytest.mark.parametrize("size_wh", [(96, 72), (320, 240), (256, 192), (640, 480), (333, 251)])
@pytest.mark.parametrize("from_wh", [(512, 384), (1281, 961)])
def test_what_is_shown_stays_in_its_place(from_wh, size_wh):
    high, wide = np.mgrid[0 : from_wh[1], 0 : from_wh[0]]
    ramps = np.dstack([255 * wide / from_wh[0], 255 * high / from_wh[1], 0 * wide])
    small = shrunk(np.rint(ramps).astype(np.uint8), size_wh)
    assert small.shape == (size_wh[1], size_wh[0], 3)
    whole = cv2.resize(ramps, size_wh, interpolation=cv2.INTER_AREA)
    # So many levels are a pixel of the smaller picture; each halving rounds up.
    assert np.abs(small - whole).max() < 255 / size_wh[0] + 1.0
    assert np.abs((small - whole).mean(axis=(0, 1))).max() < 1.0


def test_noise_is_averaged_away():
    noisy = np.random.default_rng(1).normal(128, 12, (384, 512, 3)).astype(np.uint8)
    assert shrunk(noisy, (96, 72)).std() < 4.0


def test_the_same_size_is_the_same_picture():
    picture = np.random.default_rng(2).integers(0, 256, (30, 40, 3), dtype=np.uint8)
    assert shrunk(picture, (40, 30)) is picture
