# SPDX-License-Identifier: Apache-2.0
"""Pictures as a camera sends them."""

import cv2

from vision.rendering import Image


def to_jpeg(image: Image, quality: int = 85) -> bytes:
    """Return an ``(h, w, 3)`` BGR picture as JPEG.

    Args:
        image: The picture.
        quality: 0 to 100.
    """
    good, coded = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])
    assert good, "a picture of three 8-bit channels can always be coded"
    return coded.tobytes()
