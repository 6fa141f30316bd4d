# SPDX-License-Identifier: Apache-2.0
"""The detector around a network: picture in, persons in frame pixels out, whatever runs it."""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np

from vision.detectors import Detections, ModelError
from vision.detectors.decoding import check_output, decode
from vision.detectors.formats import Format, recognise
from vision.detectors.hands import decode_hands, give_hands
from vision.detectors.images import Letterbox, letterbox
from vision.detectors.network import FloatImage, Network, Shape
from vision.rendering import Image

INPUT_PX = 640
"""Longer side of the input of a model that takes any, where nobody says otherwise."""
STRIDE_PX = 32
"""Sides of a model's input are multiples of this."""
EDGE_PX = 2.0
"""A box that ends so near the frame's lower edge is cut off by it."""
CUT_SCORE = 0.1


class ModelInput:
    """What one network's input looks like, and what its output is.

    Attributes:
        fixed_wh: Width and height where the file allows no other; else None.
        format: Of its output.
    """

    def __init__(self, path: Path, network: Network, input_px: int | None) -> None:
        """Run the network once, on noise.

        Args:
            path: Of its file, for messages.
            network: To be looked at.
            input_px: Longer side of the input, where the model takes any.

        Raises:
            ModelError: It takes something else than one picture, or its output is of no known
                format.
        """
        self._path, self._network = path, network
        self._buffer: FloatImage = np.empty(0, dtype=np.float32)
        self.channels_first, self.fixed_wh = _picture(path, network.form.inputs)
        if self.fixed_wh is not None and input_px not in (None, max(self.fixed_wh)):
            wide, high = self.fixed_wh
            raise ModelError(
                f"{path}: takes {wide} x {high} pixels alone, not {input_px}. "
                "Export it for that size, or with dynamic=True"
            )
        told = network.form.told
        self._longer_px = input_px or max(told.size_wh or (INPUT_PX, INPUT_PX))
        # Of the aspects that cameras have this gives the fewest pixels, which can be too few.
        size_wh = self.size_for(np.zeros((9, 16, 3), dtype=np.uint8))
        noise = np.random.default_rng(0).integers(
            0, 256, (size_wh[1], size_wh[0], 3), dtype=np.uint8
        )
        outputs = self._network.run(self._pixels(noise, Format("yolo")))
        try:
            self.format = recognise([output.shape for output in outputs], size_wh, told)
            check_output(outputs[0], self.format)
        except ModelError as error:
            raise ModelError(f"{path}: {error}") from error

    def size_for(self, frame: Image) -> tuple[int, int]:
        """Return width and height of the input for a frame: of its aspect, where any will do."""
        if self.fixed_wh is not None:
            return self.fixed_wh
        height, width = frame.shape[:2]
        scale = self._longer_px / max(width, height)
        return _multiple(width * scale), _multiple(height * scale)

    def run(self, frame: Image) -> tuple[FloatImage, Letterbox, tuple[int, int]]:
        """Return the output for a frame, how the frame lies in the input, and the input's size.

        Raises:
            ModelError: The output cannot be that of a sound model.
        """
        size_wh = self.size_for(frame)
        fitted, fit = letterbox(frame, size_wh)
        output = self._network.run(self._pixels(fitted, self.format))[0]
        try:
            check_output(output, self.format)
        except ModelError as error:
            high, wide = frame.shape[:2]
            raise ModelError(f"{self._path}: on a frame of {wide} x {high} {error}") from None
        return output, fit, size_wh

    def pixels(self, fitted: Image) -> FloatImage:
        """Return an ``(h, w, 3)`` BGR picture of the input's size as the model takes it."""
        return self._pixels(fitted, self.format).copy()

    def _pixels(self, fitted: Image, form: Format) -> FloatImage:
        """Return an ``(h, w, 3)`` BGR picture as the model takes it, valid until the next call."""
        height, width = fitted.shape[:2]
        shape = (1, 3, height, width) if self.channels_first else (1, height, width, 3)
        if self._buffer.shape != shape:
            # Kept: the kernel would have to clear a megabyte for each frame, which takes longer.
            self._buffer = np.empty(shape, dtype=np.float32)
        planes = self._buffer[0] if self.channels_first else self._buffer[0].transpose(2, 0, 1)
        for plane, channel in zip(planes, cv2.split(fitted)[:: 1 if form.bgr else -1], strict=True):
            plane[...] = channel
        if not form.bgr:
            self._buffer *= np.float32(1 / 255)
        return self._buffer


class PersonDetector:
    """A model of persons, with a hands model where it has no wrists."""

    def __init__(
        self,
        people: tuple[Path, Network],
        *,
        hands: tuple[Path, Network] | None,
        score_min: float,
        input_px: int | None = None,
    ) -> None:
        self.people = ModelInput(*people, input_px)
        self._hands = None if hands is None else ModelInput(*hands, None)
        self._score_min = score_min
        if self.people.format.name == "hands":
            raise ModelError(f"{people[0]}: finds hands, not persons. Give it as hands")
        if hands is not None and self._hands is not None and self._hands.format.name != "hands":
            raise ModelError(f"{hands[0]}: finds no hands. Give it as model, or leave hands away")

    def detect(self, frame: Image) -> Detections:
        """Return the persons in an ``(h, w, 3)`` BGR frame of any size."""
        output, fit, size_wh = self.people.run(frame)
        form = self.people.format
        found = decode(output, form, size_wh, score_min=self._score_min)
        if not len(found):
            return found
        if self._hands is not None:
            found = self._with_hands(found, frame, fit, size_wh)
        edge = np.array([frame.shape[1], frame.shape[0]], dtype=np.float64)
        corners = np.clip(fit.back(found.boxes_xyxy.reshape(-1, 2, 2)), 0.0, edge)
        boxes = corners.reshape(-1, 4)
        feet_scores = found.feet_scores
        if not form.keypoints[0]:
            # The feet of a body that the frame cuts off are not where its box ends.
            feet_scores = np.where(boxes[:, 3] > edge[1] - EDGE_PX, CUT_SCORE, feet_scores)
        return replace(
            found,
            boxes_xyxy=boxes,
            head_px=fit.back(found.head_px),
            feet_px=fit.back(found.feet_px),
            feet_scores=feet_scores,
            wrists_px=fit.back(found.wrists_px),
        )

    def _with_hands(
        self, found: Detections, frame: Image, fit: Letterbox, size_wh: tuple[int, int]
    ) -> Detections:
        """Return persons of the people's input with the hands that are theirs."""
        assert self._hands is not None
        output, own, hands_wh = self._hands.run(frame)
        hands = decode_hands(output[0])
        if hands_wh != size_wh:
            offset = np.asarray(fit.offset_px)
            centres, heads, feet = (
                own.back(points) * fit.scale + offset
                for points in (hands.centres_px, hands.heads_px, hands.feet_px)
            )
            hands = replace(hands, centres_px=centres, heads_px=heads, feet_px=feet)
        high, wide = frame.shape[:2]
        picture = np.array([0.0, 0.0, wide, high]) * fit.scale + np.tile(fit.offset_px, 2)
        return give_hands(found, hands, picture)


def _picture(path: Path, inputs: tuple[Shape, ...]) -> tuple[bool, tuple[int, int] | None]:
    """Return whether channels come first, and width and height where they are fixed.

    Raises:
        ModelError: The input is no picture of three channels.
    """
    shape = inputs[0] if len(inputs) == 1 else ()
    channels_first = len(shape) == 4 and shape[1] == 3
    if len(shape) != 4 or shape[0] not in (None, 1) or 3 not in (shape[1], shape[3]):
        told = " and ".join(str(list(shape)) for shape in inputs) or "nothing"
        raise ModelError(
            f"{path}: takes {told}, not one picture of three channels. Use a model for persons "
            "in colour pictures"
        )
    high, wide = shape[2:] if channels_first else shape[1:3]
    return channels_first, None if wide is None or high is None else (wide, high)


def _multiple(side_px: float) -> int:
    """Return a side as a multiple of the stride, rounded up but for a fraction of a pixel."""
    return max(int(np.ceil(round(side_px, 3) / STRIDE_PX)), 1) * STRIDE_PX
