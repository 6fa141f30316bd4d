# SPDX-License-Identifier: Apache-2.0
"""A camera's view from what the store file says of it, and how well its points fit.

With a lens, place and direction follow from points at any height (perspective-n-point); without
one, a homography follows from points on the floor.

Sources: G. Terzakis and M. Lourakis, *A Consistently Fast and Globally Optimal Solution to the
Perspective-n-Point Problem*, ECCV 2020 (SQPNP); T. Collins and A. Bartoli, *Infinitesimal
Plane-Based Pose Estimation*, IJCV 109 (2014) (IPPE, for points of one plane).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt
from msgspec import UNSET

from gateway.domain import store
from vision.geometry import CalibrationError, Camera, FloatArray, FloorView, View
from vision.lens import straighten

POINTS_MIN = 4
ERROR_MAX_MM = 250.0
"""Points that fit worse, all in all, are paired wrongly."""
POSITION_SLACK_MM = 300.0
"""How far from a measured place the points may put a camera with a lens."""
FLAT_MM = 1.0


@dataclass(frozen=True, slots=True)
class ViewFit:
    """A camera's view and how well the points that it rests on fit.

    Attributes:
        view: What the points tell.
        points_px: ``(n, 2)`` where they were seen.
        points_mm: ``(n, 3)`` where they are.
        errors_px: ``(n,)`` from there to where the view shows them.
        errors_mm: ``(n,)`` from the point to the line of sight of its pixel.
    """

    view: View
    points_px: FloatArray
    points_mm: FloatArray
    errors_px: FloatArray
    errors_mm: FloatArray

    @property
    def rms_mm(self) -> float:
        """Return the root of the mean square error."""
        return float(np.sqrt(np.mean(np.square(self.errors_mm))))

    @property
    def spare(self) -> int:
        """Return how many measured numbers there are beyond the view's unknowns.

        With none of them every view fits, and the errors say nothing.
        """
        unknowns = 6 if isinstance(self.view, Camera) else 8
        return 2 * len(self.points_px) - unknowns


def view_of(camera: store.Camera) -> View:
    """Return a configured camera's view.

    Raises:
        CalibrationError: Its points, or their number, do not determine it.
    """
    return fit_view(camera).view


def fit_view(camera: store.Camera) -> ViewFit:
    """Return a configured camera's view with the errors of its points.

    Raises:
        CalibrationError: Its points, or their number, do not determine it.
    """
    points_px = [point.px for point in camera.floor_points]
    points_mm = [(*point.mm, 0.0) for point in camera.floor_points]
    if camera.lens is UNSET:
        _check_count(camera, "floor points", len(points_px))
        view: View = FloorView.from_points(
            points_px,
            [point[:2] for point in points_mm],
            size_wh=camera.size_px,
            position_mm=camera.position_mm,
        )
        return fit_of(view, points_px, points_mm)
    if camera.space_points is not UNSET:
        points_px += [point.px for point in camera.space_points]
        points_mm += [point.mm for point in camera.space_points]
    _check_count(camera, "points", len(points_px))
    found = pose_from_points(unposed(camera.lens, camera.size_px), points_px, points_mm)
    if camera.position_mm is not None:
        far = float(np.linalg.norm(found.position_mm - camera.position_mm))
        if far > POSITION_SLACK_MM:
            place = ", ".join(f"{value:.0f}" for value in found.position_mm)
            raise CalibrationError(
                f"camera {camera.name}: its points put it at [{place}], {far:.0f} mm from "
                "position_mm. Measure again, or remove position_mm"
            )
    return fit_of(found, points_px, points_mm)


def _check_count(camera: store.Camera, kind: str, count: int) -> None:
    if count < POINTS_MIN:
        raise CalibrationError(
            f"camera {camera.name}: has {count} {kind}. Give {POINTS_MIN} or more with shelfgate "
            f"camera calibrate {camera.name} --point=PX,PY,X,Y … --write, or --tags"
        )


def unposed(lens: store.Lens, size_px: tuple[int, int]) -> Camera:
    """Return a camera with this lens for images of a size of the same shape, at the origin."""
    wide, high = (size / other for size, other in zip(size_px, lens.size_px, strict=True))
    # Pixels' middles are whole numbers, so half a pixel is scaled along.
    centre = ((lens.centre_px[0] + 0.5) * wide - 0.5, (lens.centre_px[1] + 0.5) * high - 0.5)
    intrinsics = np.array(
        [
            [lens.focal_px[0] * wide, 0, centre[0]],
            [0, lens.focal_px[1] * high, centre[1]],
            [0, 0, 1],
        ]
    )
    return Camera(intrinsics, np.eye(3), np.zeros(3), size_px, lens.distortion)


def pose_from_points(
    lens: Camera, points_px: Sequence[Sequence[float]], points_mm: Sequence[Sequence[float]]
) -> Camera:
    """Return where a camera with a known lens hangs and looks.

    Args:
        lens: Its optics; where it is and looks does not count.
        points_px: ``(n, 2)`` where points are seen, ``n >= 4``.
        points_mm: ``(n, 3)`` where they are in the store, not in one line.

    Raises:
        CalibrationError: They do not determine it, or do not fit.
    """
    pixels = np.asarray(points_px, dtype=np.float64).reshape(-1, 2)
    places = np.asarray(points_mm, dtype=np.float64).reshape(-1, 3)
    if len(pixels) != len(places) or len(pixels) < POINTS_MIN:
        raise CalibrationError(f"points: {len(pixels)} given. Give {POINTS_MIN} or more")
    if not (np.isfinite(pixels).all() and np.isfinite(places).all()):
        raise CalibrationError("points: not all are finite numbers. Correct them")
    centred = places - places.mean(axis=0)
    spread = np.linalg.svd(centred, compute_uv=False)
    if spread[1] < 0.01 * max(float(spread[0]), 1e-9):
        raise CalibrationError("points: (nearly) in one line. Spread them over the view")
    flat = straighten(
        (pixels - lens.intrinsics[:2, 2]) / np.diag(lens.intrinsics)[:2], lens.distortion
    )
    if not np.isfinite(flat).all():
        raise CalibrationError("points: some lie where the lens shows nothing. Check their pixels")
    planar = spread[2] < FLAT_MM
    best: tuple[float, FloatArray, FloatArray] | None = None
    for turn, shift in _candidates(places, flat, planar=planar):
        rotation = np.asarray(cv2.Rodrigues(turn)[0], dtype=np.float64)
        seen = places @ rotation.T + shift.reshape(3)
        place = -rotation.T @ shift.reshape(3)
        if not (seen[:, 2] > 1.0).all() or place[2] <= 0:
            continue
        error = float(np.square(seen[:, :2] / seen[:, 2:] - flat).sum())
        if best is None or error < best[0]:
            best = error, rotation, place
    if best is None:
        raise CalibrationError(
            "points: no camera above the floor sees them so. Check their pairing"
        )
    found = Camera(lens.intrinsics, best[1], best[2], lens.size_wh, lens.distortion)
    fit = fit_of(found, pixels, places)
    if fit.rms_mm > ERROR_MAX_MM:
        worst = int(np.argmax(fit.errors_mm))
        told = ", ".join(f"{value:g}" for value in fit.points_mm[worst])
        raise CalibrationError(
            f"points: they miss by {fit.rms_mm:.0f} mm all in all, worst [{told}] by "
            f"{fit.errors_mm[worst]:.0f} mm. Check their pairing, and the lens"
        )
    return found


def fit_of(view: View, points_px: npt.ArrayLike, points_mm: npt.ArrayLike) -> ViewFit:
    """Return how well ``(n, 2)`` pixels and ``(n, 3)`` points fit a view."""
    pixels = np.asarray(points_px, dtype=np.float64).reshape(-1, 2)
    places = np.asarray(points_mm, dtype=np.float64).reshape(-1, 3)
    away = places - view.position_mm
    rays = view.rays(pixels)
    along = np.einsum("ij,ij->i", away, rays)
    return ViewFit(
        view=view,
        points_px=pixels,
        points_mm=places,
        errors_px=np.linalg.norm(view.project(places) - pixels, axis=1),
        errors_mm=np.linalg.norm(away - along[:, None] * rays, axis=1),
    )


def _candidates(
    places: FloatArray, flat: FloatArray, *, planar: bool
) -> list[tuple[FloatArray, FloatArray]]:
    """Return poses to choose from, each refined, as OpenCV's turn and shift vectors."""
    methods = [cv2.SOLVEPNP_SQPNP, *([cv2.SOLVEPNP_IPPE] if planar else [])]
    found = []
    for method in methods:
        try:
            _, turns, shifts, _ = cv2.solvePnPGeneric(places, flat, np.eye(3), None, flags=method)
        except cv2.error:
            continue  # That method sees nothing in these points; the other may.
        for turn, shift in zip(turns, shifts, strict=True):
            refined = cv2.solvePnPRefineLM(places, flat, np.eye(3), None, turn, shift)
            turned, shifted = (np.asarray(part, dtype=np.float64) for part in refined)
            if np.isfinite(turned).all() and np.isfinite(shifted).all():
                found.append((turned, shifted))
    return found
