# SPDX-License-Identifier: Apache-2.0
"""``[[vision]]`` of the settings: what an operator writes about a camera's worker."""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from drivers.files import File
from drivers.scanner.config import RepeatMs
from gateway.config_tables import Name

Side = Annotated[int, Meta(ge=16, le=8_192)]
Pixel = Annotated[int, Meta(ge=0, le=8_192)]
Coordinate = Annotated[float, Meta(ge=0, le=8_192)]
Point = tuple[Coordinate, Coordinate]


class Codes(msgspec.Struct, frozen=True, kw_only=True):
    """``codes`` of a ``[[vision]]``: the camera is a scanner as well."""

    scanner: Name
    """Name of the scanner in the store file."""
    region: Annotated[
        tuple[Pixel, Pixel, Side, Side] | None,
        Meta(description="[x, y, width, height] in pixels of the camera's size_px"),
    ] = None
    per_s: Annotated[
        float, Meta(gt=0, le=10, description="looks for codes a second, above 0, 10 at most")
    ] = 2.0
    repeat_ms: RepeatMs = 3_000


class Watched(msgspec.Struct, frozen=True, kw_only=True):
    """``[[vision]]`` as far as it is needed to look at a camera: the model may be absent."""

    camera: Name
    """Name of the camera in the store file."""
    url: Annotated[
        str,
        Meta(
            min_length=1,
            max_length=2_000,
            description="what OpenCV opens: an rtsp:// or http:// address, a device such as "
            "/dev/v4l/by-id/… or its number, or a file",
        ),
    ]
    model: File | None = None
    """Model of persons: a file, or the folder that an export wrote."""
    hands: File | None = None
    """Heatmap model for hands; the pose model's wrists when absent."""
    reidentification: File | None = None
    """Re-identification model, ONNX; people are told apart by their torsos' colours when absent."""
    detector: Annotated[
        Literal["onnxruntime", "openvino", "ncnn", "opencv", "ultralytics"],
        Meta(description='"onnxruntime", "openvino", "ncnn", "opencv" or "ultralytics"'),
    ] = "onnxruntime"
    input_px: (
        Annotated[int, Meta(ge=32, le=4096, description="pixels, 32 to 4096, or leave it away")]
        | None
    ) = None
    """Longer side of the input of a model that takes any."""
    threads: Annotated[int, Meta(ge=1, le=64, description="threads for the models, 1 to 64")] = 1
    fps_max: Annotated[
        float, Meta(gt=0, le=120, description="most frames a second to look at, above 0")
    ] = 10.0
    resolution: Annotated[
        tuple[Side, Side] | None, Meta(description="[width, height] in px, 16 to 8192 each")
    ] = None
    """What a device is asked for; frames of another size are scaled to it."""
    fps: (
        Annotated[
            float,
            Meta(gt=0, le=240, description="frames a second to take from the camera, above 0"),
        ]
        | None
    ) = None
    """All that it gives when absent."""
    crop: Annotated[
        tuple[Pixel, Pixel, Side, Side] | None,
        Meta(description="[x, y, width, height] in pixels of the camera's size_px"),
    ] = None
    mask: Annotated[
        tuple[Annotated[tuple[Point, ...], Meta(min_length=3, max_length=100)], ...],
        Meta(
            max_length=100,
            description="at most 100 polygons of 3 to 100 points [x, y] in pixels of the camera's "
            "size_px",
        ),
    ] = ()
    delay_ms: (
        Annotated[
            float,
            Meta(ge=0, le=10_000, description="ms from a picture to its arrival, 0 to 10000"),
        ]
        | None
    ) = None
    """What can be found out by itself when absent."""
    blind_after_s: Annotated[
        float,
        Meta(ge=0, le=3_600, description="seconds frozen or covered until it is lost; 0: never"),
    ] = 5.0
    codes: Codes | None = None


class Vision(Watched, frozen=True, kw_only=True):
    """``[[vision]]``: one camera for the vision worker."""

    model: File
    """As above; the worker needs one."""
