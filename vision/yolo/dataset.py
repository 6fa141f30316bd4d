# SPDX-License-Identifier: AGPL-3.0-or-later
"""Rendered pictures on disk: in ultralytics' pose layout, with the hands beside them.

``images/<split>/*.jpg`` and ``labels/<split>/*.txt`` are what ultralytics reads (class, box centre
and size, then head and feet as x, y, visibility; all but these relative to the picture).
``hands-<split>.npz`` holds of each visible hand ``(picture, x, y, head x, head y, feet x, feet y)``
in the picture's pixels.
"""

import logging
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from vision.detectors import ModelError
from vision.rendering import Image, Labels
from vision.scenes import SIZE_WH, pictures

log = logging.getLogger(__name__)

MODEL_WH = (256, 192)
"""Width and height of the demo model's input: half the size that pictures are rendered at."""
COLUMNS = 7
"""Numbers of a hand on disk."""
ANEW = "Render the pictures anew, into an empty folder"
CHUNK = 200
"""Pictures of one seed: small enough to spread over processes, whatever their number."""
_Job = tuple[Path, str, range, int, bool, tuple[int, int]]
SPLITS = {"train": 0, "val": 500_000, "test": 900_000}
"""First seed of each split, so that no picture is in two of them."""


def make_dataset(
    folder: Path,
    *,
    seed: int,
    counts: dict[str, int],
    processes: int = 1,
    size_wh: tuple[int, int] = MODEL_WH,
) -> Path:
    """Render the pictures and return the path of ultralytics' description of them.

    Two in three are busy ones: who stands close to others, or at the picture's edge, is hard.

    Args:
        folder: Where to write; pictures already there are replaced.
        seed: Decides every picture, whatever the number of processes.
        counts: Pictures in each split (``train``, ``val``, ``test``).
        processes: How many render at the same time.
        size_wh: Width and height of the pictures that are written.
    """
    jobs: list[_Job] = []
    for split, count in counts.items():
        (folder / "images" / split).mkdir(parents=True, exist_ok=True)
        (folder / "labels" / split).mkdir(parents=True, exist_ok=True)
        for chunk, first in enumerate(range(0, count, CHUNK)):
            chunk_seed = seed * 1_000_000 + SPLITS[split] + chunk
            # Neighbours on disk come from different scenes: ultralytics does not shuffle a
            # training set of one shape (rect), so that the order is the batches' order.
            numbers = range(chunk, CHUNK * -(-count // CHUNK), -(-count // CHUNK))
            numbers = numbers[: min(CHUNK, count - first)]
            jobs.append((folder, split, numbers, chunk_seed, chunk % 3 > 0, size_wh))
    hands: dict[str, list[npt.NDArray[np.float32]]] = {split: [] for split in counts}
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        for number, (job, found) in enumerate(zip(jobs, pool.map(_write_chunk, jobs), strict=True)):
            hands[job[1]].append(found)
            log.info("rendered %d of %d parts", number + 1, len(jobs))
    for split, found_hands in hands.items():
        np.savez_compressed(folder / f"hands-{split}.npz", hands=np.concatenate(found_hands))
    description = folder / "dataset.yaml"
    description.write_text(
        f"path: {folder.resolve()}\ntrain: images/train\nval: images/val\n"
        "kpt_shape: [2, 3]\nflip_idx: [0, 1]\n"
        # The default for two keypoints, 0.5, flatters and hardly teaches; at 0.04 a first guess is
        # so far off that nothing pulls it in.
        "kpt_oks_sigmas: [0.1, 0.1]\nnames:\n  0: person\n"
    )
    return description


def load_split(folder: Path, split: str) -> tuple[Image, npt.NDArray[np.float32]]:
    """Return ``(n, h, w, 3)`` BGR pictures and ``(k, 7)`` hands as in the module's head.

    Raises:
        ModelError: Pictures or hands are missing, or an earlier version wrote the hands.
    """
    paths = _paths(folder, split)
    images = np.empty((len(paths), *_picture(paths[0]).shape), dtype=np.uint8)
    for index, path in enumerate(paths):
        images[index] = _picture(path)
    hands = stored_hands(folder, split)
    numbers = np.asarray([int(path.stem) for path in paths], dtype=np.float32)
    hands[:, 0] = np.searchsorted(numbers, hands[:, 0])
    return images, hands[np.argsort(hands[:, 0], kind="stable")]


def stored_hands(folder: Path, split: str) -> npt.NDArray[np.float32]:
    """Return ``(k, 7)`` hands as they are on disk.

    Raises:
        ModelError: There are none, or an earlier version wrote them.
    """
    path = folder / f"hands-{split}.npz"
    if not path.is_file():
        raise ModelError(f"{path}: no such file. {ANEW}")
    with np.load(path) as stored:
        hands: npt.NDArray[np.float32] = stored["hands"]
    if hands.shape[1:] != (COLUMNS,):
        raise ModelError(
            f"{path}: is of an earlier version, {hands.shape[1]} numbers a hand and not {COLUMNS}. "
            f"{ANEW}"
        )
    return hands


def width_of(folder: Path) -> int:
    """Return how many pixels wide the pictures are that are in a folder.

    Raises:
        ModelError: There are none, or the first is no picture.
    """
    return int(_picture(_paths(folder, "train")[0]).shape[1])


def _paths(folder: Path, split: str) -> list[Path]:
    paths = sorted((folder / "images" / split).glob("*.jpg"))
    if not paths:
        raise ModelError(f"{folder}: has no {split} pictures. {ANEW}")
    return paths


def _picture(path: Path) -> Image:
    image = cv2.imread(str(path))
    if image is None:
        raise ModelError(f"{path}: is no picture. {ANEW}")
    return np.asarray(image, dtype=np.uint8)


def pose_lines(labels: Labels) -> list[str]:
    """Return a picture's labels as lines of ultralytics' pose format."""
    width, height = SIZE_WH
    lines = []
    for index in np.flatnonzero(labels.present):
        x0, y0, x1, y1 = labels.boxes_xyxy[index] / (width, height, width, height)
        values = [(x0 + x1) / 2, (y0 + y1) / 2, x1 - x0, y1 - y0]
        points = []
        for x_px, y_px in (labels.head_px[index], labels.feet_px[index]):
            inside = 0 <= x_px < width and 0 <= y_px < height
            points += [x_px / width, y_px / height, 2] if inside else [0.0, 0.0, 0]
        lines.append(" ".join(["0", *(f"{value:.6g}" for value in (*values, *points))]))
    return lines


def small_picture(image: Image, size_wh: tuple[int, int] = MODEL_WH) -> Image:
    """Return a rendered picture at the size of the model's input."""
    small = cv2.resize(image, size_wh, interpolation=cv2.INTER_AREA)
    return np.asarray(small, dtype=np.uint8)


def _write_chunk(job: _Job) -> npt.NDArray[np.float32]:
    folder, split, numbers, seed, busy, size_wh = job
    scale = size_wh[0] / SIZE_WH[0]
    cv2.setNumThreads(1)
    hands = []
    for number, picture in zip(numbers, pictures(seed, len(numbers), busy=busy), strict=True):
        small = small_picture(picture.image, size_wh)
        name = f"{number:06d}"
        path = folder / "images" / split / f"{name}.jpg"
        cv2.imwrite(str(path), small, [cv2.IMWRITE_JPEG_QUALITY, 96])
        lines = pose_lines(picture.labels)
        (folder / "labels" / split / f"{name}.txt").write_text("\n".join(lines))
        for body, side in np.argwhere(picture.labels.wrists_visible):
            hand = picture.labels.wrists_px[body, side] * scale
            head = picture.labels.head_px[body] * scale
            feet = picture.labels.feet_px[body] * scale
            hands.append((number, *hand, *head, *feet))
    return np.asarray(hands, dtype=np.float32).reshape(-1, COLUMNS)
