# SPDX-License-Identifier: Apache-2.0
"""What trackers are measured on and by: frames with their truth, and TrackEval's figures.

Detections are those of the repository's own model on rendered pictures, or the truth with errors,
which is cheap enough for many seeds. Every tracker gets the same of them; what it gives is a name
for each detection or none.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from trackeval.metrics import CLEAR, Identity

from vision.appearance import APART2, LOOK, NOISE2, TorsoColours
from vision.detectors import Detections, build
from vision.detectors.boxes import box_iou
from vision.placing import Placer
from vision.scenes import SIZE_WH
from vision.sequences import FPS, hidden_spans, sequence

ROOT = Path(__file__).parents[2]
MODELS = ROOT / "fixtures" / "model"
CLEAR_SHARE_MIN = 0.35
"""As for detectors: of whom less is in view counts neither when found nor when missed."""
SEEN_SHARE_MIN = 0.25
HIDDEN_S = (1.0, 2.0)
"""What counts as an occlusion of up to two seconds."""
AROUND_S = 1.5
"""An identity is what the track was called last before, and last in so long after."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shot:
    """One frame: what is true and what was found."""

    at_s: float
    boxes: np.ndarray
    share: np.ndarray
    found: Detections
    floor_mm: np.ndarray
    sigma_mm: np.ndarray
    looks: np.ndarray


def by_model(seed, people, seconds=20.0, every=1, threads=1):
    """Return frames as the repository's own model sees them, at 30 frames a second over ``every``."""
    made = sequence(seed, people=people, seconds=seconds)
    detector = build(
        "onnxruntime", MODELS / "people.onnx", hands=MODELS / "hands.onnx", threads=threads
    )
    placer, torso = Placer(made.renderer.camera.view(), SIZE_WH), TorsoColours()
    shots = []
    for index, (step, image) in enumerate(zip(made.steps, made.images(), strict=True)):
        if index % every:
            continue
        labels, found = made.renderer.labels(step.bodies), detector.detect(image)
        places = placer.places(found)
        shots.append(
            Shot(
                at_s=step.at_s,
                boxes=labels.boxes_xyxy,
                share=labels.share,
                found=found,
                floor_mm=places.floor_mm,
                sigma_mm=places.sigma_mm,
                looks=torso.describe(image, found),
            )
        )
    return shots


def by_truth(seed, people, seconds=20.0, every=1):
    """Return frames with the truth's boxes and places, and errors such as detectors make.

    One in twenty is missed, in runs; one frame in fifty has somebody who is not there; places are
    off by 60 mm, half of which stays for half a second; looks scatter as those of pictures do.
    """
    made = sequence(seed, people=people, seconds=seconds)
    rng = np.random.default_rng([seed, 2])
    bodies = rng.normal(0, np.sqrt(APART2 / 2 / LOOK), (people, LOOK))
    missed, sway = np.zeros(people, dtype=bool), np.zeros((people, 2))
    shots = []
    for index, (step, labels) in enumerate(zip(made.steps, made.labels(), strict=True)):
        kept = np.exp(-1 / FPS / 0.5)
        sway = kept * sway + rng.normal(0, 42 * np.sqrt(1 - kept**2), (people, 2))
        missed = np.where(missed, rng.random(people) > 0.2, rng.random(people) < 0.01)
        seen = np.flatnonzero((labels.share >= SEEN_SHARE_MIN) & ~missed)
        floor = np.array([step.bodies[who].floor_mm for who in seen]).reshape(-1, 2)
        floor += sway[seen] + rng.normal(0, 42, floor.shape)
        boxes = labels.boxes_xyxy[seen] + rng.normal(0, 4, (len(seen), 4))
        looks = bodies[seen] + rng.normal(0, np.sqrt(NOISE2 / LOOK), (len(seen), LOOK))
        if rng.random() < 0.02:
            floor = np.vstack([floor, rng.uniform(-1_400, 1_000, (1, 2))])
            corner = rng.uniform(0, 300, 2)
            boxes = np.vstack([boxes, [*corner, *(corner + 80)]])
            looks = np.vstack([looks, rng.normal(0, np.sqrt(APART2 / 2 / LOOK), (1, LOOK))])
        if index % every == 0:
            shots.append(_told(step.at_s, labels, boxes, floor, looks, rng))
    return shots


def _told(at_s, labels, boxes, floor, looks, rng):
    count = len(boxes)
    none = np.full((count, 2), np.nan)
    found = Detections(
        boxes_xyxy=boxes,
        scores=rng.uniform(0.45, 0.95, count),
        head_px=none,
        head_scores=np.zeros(count),
        feet_px=none,
        feet_scores=np.zeros(count),
        wrists_px=np.full((count, 2, 2), np.nan),
        wrist_scores=np.zeros((count, 2)),
    )
    return Shot(
        at_s=at_s,
        boxes=labels.boxes_xyxy,
        share=labels.share,
        found=found,
        floor_mm=floor,
        sigma_mm=np.full(count, 60.0),
        looks=looks,
    )


def named(tracker, shots, *, looks=True):
    """Return the names that the project's tracker gives, frame by frame."""
    return [
        tracker.update(
            shot.floor_mm,
            shot.sigma_mm,
            shot.found.scores,
            shot.at_s,
            shot.looks if looks else None,
        )
        for shot in shots
    ]


def score(shots, names):
    """Return TrackEval's sums and the occlusions of one sequence."""
    numbers = {}
    data = {"gt_ids": [], "tracker_ids": [], "similarity_scores": []}
    for shot, given in zip(shots, names, strict=True):
        clear = np.flatnonzero(shot.share >= CLEAR_SHARE_MIN)
        told = [index for index, name in enumerate(given) if name is not None]
        overlap = box_iou(shot.found.boxes_xyxy[told], shot.boxes) if told else np.zeros((0, 0))
        # A track on somebody of whom too little is in view counts neither way.
        best = overlap.argmax(axis=1) if len(told) else []
        counted = [
            number
            for number, body in enumerate(best)
            if body in clear or overlap[number, body] < 0.5
        ]
        ids = [numbers.setdefault(given[told[number]], len(numbers)) for number in counted]
        data["gt_ids"].append(clear)
        data["tracker_ids"].append(np.array(ids, dtype=int))
        data["similarity_scores"].append(
            overlap[np.ix_(counted, clear)].T if told else np.zeros((len(clear), 0))
        )
    everybody = np.unique(np.concatenate(data["gt_ids"]))
    data["gt_ids"] = [np.searchsorted(everybody, ids) for ids in data["gt_ids"]]
    data |= {
        "num_gt_ids": len(everybody),
        "num_tracker_ids": len(numbers),
        "num_gt_dets": sum(map(len, data["gt_ids"])),
        "num_tracker_dets": sum(map(len, data["tracker_ids"])),
        "num_timesteps": len(shots),
    }
    moved, ids = (
        CLEAR({"PRINT_CONFIG": False}).eval_sequence(data),
        Identity({"PRINT_CONFIG": False}).eval_sequence(data),
    )
    kept, hidden = occlusions(shots, names)
    return {
        "tp": int(moved["CLR_TP"]),
        "fn": int(moved["CLR_FN"]),
        "fp": int(moved["CLR_FP"]),
        "switches": int(moved["IDSW"]),
        "idtp": int(ids["IDTP"]),
        "idfn": int(ids["IDFN"]),
        "idfp": int(ids["IDFP"]),
        "kept": kept,
        "hidden": hidden,
    }


def occlusions(shots, names):
    """Return how many who were out of sight for one to two seconds kept their track, of how many."""
    times = np.array([shot.at_s for shot in shots])
    called = [[None] * len(shots) for _ in shots[0].share]
    for index, (shot, given) in enumerate(zip(shots, names, strict=True)):
        if len(given):
            overlap = box_iou(shot.boxes, shot.found.boxes_xyxy)
            for body, row in enumerate(overlap):
                nearest = int(row.argmax())
                if row[nearest] >= 0.5 and overlap[:, nearest].argmax() == body:
                    called[body][index] = given[nearest]
    kept = count = 0
    for body, mine in enumerate(called):
        share = np.array([shot.share[body] for shot in shots])
        for first, end in hidden_spans(share, SEEN_SHARE_MIN):
            away_s = times[end] - times[first - 1]
            until = int(np.searchsorted(times, times[end] + AROUND_S))
            if not HIDDEN_S[0] <= away_s <= HIDDEN_S[1] or until >= len(times):
                continue
            before = [name for name in mine[:first] if name is not None]
            after = [name for name in mine[end:until] if name is not None]
            if not before or (share[end:until] >= CLEAR_SHARE_MIN).mean() < 0.5:
                continue
            count += 1
            kept += bool(after) and before[-1] == after[-1]
    return kept, count


def figures(sums):
    """Return MOTA, IDF1, identity switches and kept identities over several sequences' sums."""
    total = {key: sum(one[key] for one in sums) for key in sums[0]}
    truth = total["tp"] + total["fn"]
    return {
        "mota": round(1 - (total["fn"] + total["fp"] + total["switches"]) / truth, 4),
        "idf1": round(
            2 * total["idtp"] / (2 * total["idtp"] + total["idfn"] + total["idfp"]), 4
        ),
        "switches": total["switches"],
        "kept": total["kept"],
        "hidden": total["hidden"],
        "kept_share": round(total["kept"] / max(total["hidden"], 1), 4),
    }
