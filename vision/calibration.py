# SPDX-License-Identifier: Apache-2.0
"""A camera's intrinsics from pictures of a ChArUco board: its focal length and its lens.

Sources: Z. Zhang, *A Flexible New Technique for Camera Calibration*, IEEE PAMI 22 (2000), for the
method; OpenCV's ``calibrateCameraExtended``, which does it, for the deviations.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from vision.boards import Board
from vision.flats import Image
from vision.geometry import CalibrationError, FloatArray
from vision.homography import apply_homography, homography_from_points
from vision.lens import Distortion, straighten

CORNERS_MIN = 8
"""A view with fewer of the board's inner corners is left out."""
VIEWS_MIN = 10
VIEWS_MAX = 60
"""More would make the fit slow and no better."""
APART_MIN = 0.05
"""Two views differ if the board's corners moved by this share of the image's diagonal..."""
TILTED_MIN = 3
TILT_MIN_DEG = 15.0
"""... and so many have to be tilted by this much, or the focal length stays open."""
GRID = (3, 3)
"""The board has to have been in each of so many parts of the image, but for one."""
CELLS_MIN = 8
RMS_MAX_SHARE = 0.0012
"""Of the image's diagonal: a blurred or bent board, or another board than was said."""
FOCAL_SIGMA_MAX = 0.005
OUTLIER = 3.0
"""A view that fits so many times worse than the median is left out once."""


@dataclass(frozen=True, slots=True)
class Sighting:
    """A board seen in one picture.

    Attributes:
        ids: ``(n,)`` numbers of its inner corners.
        corners_px: ``(n, 2)`` where they are.
        outline_px: ``(4, 2)`` where the board's own corners are, seen or not.
        size_wh: The picture's size.
    """

    ids: npt.NDArray[np.int32]
    corners_px: FloatArray
    outline_px: FloatArray
    size_wh: tuple[int, int]

    def apart(self, other: "Sighting") -> float:
        """Return how far the board moved between two pictures, as a share of the diagonal."""
        moved = np.linalg.norm(self.outline_px - other.outline_px, axis=1).mean()
        return float(moved / np.hypot(*self.size_wh))


@dataclass(frozen=True, slots=True)
class LensFit:
    """What pictures of a board tell of a camera.

    Attributes:
        size_wh: Of the pictures.
        focal_px: Across and down.
        centre_px: The principal point.
        distortion: As :mod:`vision.lens` has it.
        rms_px: Root of the mean square distance between corners seen and fitted.
        focal_sigma: Standard deviation of the focal length, as a share of it.
        views: How many pictures it rests on.
    """

    size_wh: tuple[int, int]
    focal_px: tuple[float, float]
    centre_px: tuple[float, float]
    distortion: Distortion
    rms_px: float
    focal_sigma: float
    views: int

    @property
    def field_deg(self) -> float:
        """Return the angle seen from the image's left to its right edge."""
        width, height = self.size_wh
        edges = np.array([[0.0, height / 2], [width, height / 2]])
        flat = straighten((edges - self.centre_px) / self.focal_px, self.distortion)
        return float(np.degrees(np.arctan(np.abs(flat[:, 0])).sum()))


def find_board(image: Image, board: Board) -> Sighting | None:
    """Return where a board is in an ``(h, w, 3)`` BGR picture; None if not clearly seen."""
    grey = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
    corners, ids, _, _ = cv2.aruco.CharucoDetector(board.pattern()).detectBoard(grey)
    if ids is None or len(ids) < CORNERS_MIN:
        return None
    numbers = np.asarray(ids, dtype=np.int32).reshape(-1)
    pixels = np.asarray(corners, dtype=np.float64).reshape(-1, 2)
    flat = board.corners_mm()[numbers][:, :2]
    try:
        to_image = homography_from_points(flat, pixels)
    except CalibrationError:
        return None
    outline = apply_homography(to_image, board.outline_mm())
    if not np.isfinite(outline).all():
        return None
    height, width = grey.shape[:2]
    return Sighting(numbers, pixels, outline, (int(width), int(height)))


def distinct(sightings: Iterable[Sighting]) -> list[Sighting]:
    """Return those that differ from all before them."""
    kept: list[Sighting] = []
    for one in sightings:
        if len(kept) < VIEWS_MAX and all(one.apart(other) >= APART_MIN for other in kept):
            kept.append(one)
    return kept


def missing_places(sightings: Sequence[Sighting], size_wh: tuple[int, int]) -> list[str]:
    """Return the parts of the image where no corner of the board has been."""
    seen = np.zeros(GRID, dtype=np.bool_)
    for one in sightings:
        cells = np.clip((one.corners_px / size_wh * GRID[::-1]).astype(int), 0, 2)
        seen[cells[:, 1], cells[:, 0]] = True
    rows, columns = ("upper", "middle", "lower"), ("left", "centre", "right")
    return [f"{rows[row]} {columns[column]}" for row, column in np.argwhere(~seen)]


def calibrate_lens(sightings: Sequence[Sighting], board: Board, *, wide: bool = False) -> LensFit:
    """Return the lens that explains where a board's corners are.

    Args:
        sightings: Of one camera.
        board: The board.
        wide: Fit k4, k5 and k6 too, which lenses beyond about 100 degrees need.

    Raises:
        CalibrationError: The views are too few, too similar, or do not fit.
    """
    sizes = sorted({one.size_wh for one in sightings})
    if len(sizes) > 1:
        told = " and ".join(f"{width} x {height}" for width, height in sizes[:3])
        raise CalibrationError(f"board: pictures of {told}. Give pictures of one size")
    views = distinct(sightings)
    _check_views(views, len(sightings))
    fit = _fitted(views, board, wide=wide)
    typical = float(np.median(fit.errors_px))
    good = [
        one
        for one, error in zip(views, fit.errors_px, strict=True)
        if error <= OUTLIER * max(typical, 0.1)
    ]
    if VIEWS_MIN <= len(good) < len(views):
        views = good
        fit = _fitted(views, board, wide=wide)
    _check_fit(fit, views[0].size_wh)
    width, height = views[0].size_wh
    return LensFit(
        size_wh=(width, height),
        focal_px=(float(fit.matrix[0, 0]), float(fit.matrix[1, 1])),
        centre_px=(float(fit.matrix[0, 2]), float(fit.matrix[1, 2])),
        distortion=fit.distortion,
        rms_px=fit.rms_px,
        focal_sigma=fit.focal_sigma,
        views=len(views),
    )


@dataclass(frozen=True, slots=True)
class _Fit:
    matrix: FloatArray
    distortion: Distortion
    rms_px: float
    focal_sigma: float
    errors_px: FloatArray
    tilts_deg: FloatArray


def _check_views(views: Sequence[Sighting], given: int) -> None:
    if len(views) < VIEWS_MIN:
        raise CalibrationError(
            f"board: {len(views)} of the {given} pictures that show it differ from one another, "
            f"{VIEWS_MIN} are needed. Show the board near and far, in all parts of the image, "
            "tilted to all sides"
        )
    missing = missing_places(views, views[0].size_wh)
    if GRID[0] * GRID[1] - len(missing) < CELLS_MIN:
        raise CalibrationError(
            f"board: never seen in the image's {', '.join(missing)}. Show it there as well"
        )


def _fitted(views: Sequence[Sighting], board: Board, *, wide: bool) -> _Fit:
    places = board.corners_mm()
    objects = [places[one.ids].astype(np.float32) for one in views]
    images = [one.corners_px.astype(np.float32) for one in views]
    flags = cv2.CALIB_RATIONAL_MODEL if wide else 0
    rms, matrix, bends, turns, _, deviations, _, errors = cv2.calibrateCameraExtended(
        objects, images, views[0].size_wh, np.eye(3), np.zeros(8 if wide else 5), flags=flags
    )
    found = np.asarray(matrix, dtype=np.float64)
    sigma = np.asarray(deviations, dtype=np.float64).reshape(-1)
    axes = [np.asarray(cv2.Rodrigues(np.asarray(turn))[0])[2, 2] for turn in turns]
    return _Fit(
        matrix=found,
        distortion=tuple(float(part) for part in np.asarray(bends).reshape(-1)[: 8 if wide else 5]),
        rms_px=float(rms),
        focal_sigma=float(max(sigma[0] / found[0, 0], sigma[1] / found[1, 1])),
        errors_px=np.asarray(errors, dtype=np.float64).reshape(-1),
        tilts_deg=np.degrees(np.arccos(np.clip(np.abs(axes), 0.0, 1.0))),
    )


def _check_fit(fit: _Fit, size_wh: tuple[int, int]) -> None:
    limit = RMS_MAX_SHARE * float(np.hypot(*size_wh))
    if not fit.rms_px <= limit:
        raise CalibrationError(
            f"board: its corners are {fit.rms_px:.1f} pixels from where any lens would show them, "
            f"more than {limit:.1f}. Glue it to something flat, hold it still, check --board, "
            "and try --wide for a lens beyond 100 degrees"
        )
    tilted = int((fit.tilts_deg >= TILT_MIN_DEG).sum())
    if tilted < TILTED_MIN or not fit.focal_sigma <= FOCAL_SIGMA_MAX:
        raise CalibrationError(
            f"board: the views are too similar; the focal length is known to "
            f"{100 * fit.focal_sigma:.1f} %, and {tilted} of the views are tilted by "
            f"{TILT_MIN_DEG:.0f} degrees. Tilt the board to all sides, and show it nearer"
        )
    width, height = size_wh
    rim = np.array([[0, 0], [width, 0], [0, height], [width, height]], dtype=np.float64)
    flat = (rim - fit.matrix[:2, 2]) / np.diag(fit.matrix)[:2]
    if not np.isfinite(straighten(flat, fit.distortion)).all():
        raise CalibrationError(
            "board: the lens found folds the image's corners over. Show the board in the "
            "image's corners, and try --wide"
        )
