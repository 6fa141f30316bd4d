# SPDX-License-Identifier: Apache-2.0
"""What trackers are measured on and by: frames with their truth, and TrackEval's figures.

Detections are those of the repository's own model on rendered pictures, or the truth with errors,
which is cheap enough for many seeds. Every tracker gets the same of them; what it gives is a name
for each detection or none. A track counts as on a body where its place on the floor is within half
a metre of it (Chavdarova et al., *WILDTRACK*, 2018): the gateway is told places, not boxes.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from trackeval.metrics import CLEAR, Identity

from vision.appearance import APART2, LOOK, NOISE2, TorsoColours
from vision.detectors import Detections, build
from vision.placing import Placer
from vision.scenes import SIZE_WH
from vision.sequences import FPS, hidden_spans, sequence

ROOT = Path(__file__).parents[2]
MODELS = ROOT / "fixtures" / "model"
WITHIN_MM = 500.0
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
    true_mm: np.ndarray
    share: np.ndarray
    found: Detections
    floor_mm: np.ndarray
    sigma_mm: np.ndarray
    looks: np.ndarray


def by_model(seed, people, seconds=20.0, every=1, threads=1):
    """Return frames as the repository's own model sees them, of 30 a second every so many-th."""
    made = sequence(seed, people=people, seconds=seconds).every(every)
    detector = build(
        "onnxruntime", MODELS / "people.onnx", hands=MODELS / "hands.onnx", threads=threads
    )
    placer, torso = Placer(made.renderer.camera.view(), SIZE_WH), TorsoColours()
    shots = []
    for step, image in zip(made.steps, made.images(), strict=True):
        labels, found = made.renderer.labels(step.bodies), detector.detect(image)
        places = placer.places(found)
        shots.append(
            Shot(
                at_s=step.at_s,
                true_mm=np.array([body.floor_mm for body in step.bodies]),
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

    One in twenty-five is missed, in runs of 150 ms; one frame in fifty has somebody who is not
    there; places are off by 60 mm, half of which stays for half a second; looks scatter as those
    of pictures do.
    """
    made = sequence(seed, people=people, seconds=seconds).every(every)
    rng = np.random.default_rng([seed, 2])
    bodies = rng.normal(0, np.sqrt(APART2 / 2 / LOOK), (people, LOOK))
    missed, sway = np.zeros(people, dtype=bool), np.zeros((people, 2))
    shots, step_s = [], every / FPS
    kept = np.exp(-step_s / 0.5)
    for step, labels in zip(made.steps, made.labels(), strict=True):
        sway = kept * sway + rng.normal(0, 42 * np.sqrt(1 - kept**2), (people, 2))
        chance = rng.random(people)
        stays = np.exp(-step_s / 0.15)
        missed = np.where(missed, chance < stays, chance < (1 - stays) / 24)
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
        shots.append(_shot(step, labels, (boxes, floor, looks), rng))
    return shots


def _shot(step, labels, said, rng):
    boxes, floor, looks = said
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
        at_s=step.at_s,
        true_mm=np.array([body.floor_mm for body in step.bodies]),
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


def true_names(shots):
    """Return whom each detection is of: what no tracker can do better than."""
    names = []
    for shot in shots:
        near = np.nan_to_num(nearness(shot.floor_mm, shot.true_mm))
        given = [None] * len(near)
        for index in np.argsort(-near.max(axis=1, initial=0.0)):
            body = int(near[index].argmax())
            if near[index, body] >= 0.5 and str(body) not in given:
                given[index] = str(body)
        names.append(given)
    return names


def score(shots, names):
    """Return TrackEval's sums and the occlusions of one sequence."""
    numbers = {}
    data = {"gt_ids": [], "tracker_ids": [], "similarity_scores": []}
    for shot, given in zip(shots, names, strict=True):
        clear = np.flatnonzero(shot.share >= CLEAR_SHARE_MIN)
        told = [index for index, name in enumerate(given) if name is not None]
        near = nearness(shot.floor_mm[told], shot.true_mm)
        # A track on somebody of whom too little is in view counts neither way.
        best = near.argmax(axis=1)
        counted = [
            number for number, body in enumerate(best) if body in clear or near[number, body] < 0.5
        ]
        ids = [numbers.setdefault(given[told[number]], len(numbers)) for number in counted]
        data["gt_ids"].append(clear)
        data["tracker_ids"].append(np.array(ids, dtype=int))
        data["similarity_scores"].append(near[np.ix_(counted, clear)].T)
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


def nearness(places_mm, true_mm):
    """Return ``(n, m)`` similarities of places and bodies: 1 on it, 0.5 at the limit, 0 far off."""
    away = places_mm[:, None] - true_mm[None]
    return np.clip(1 - np.hypot(away[..., 0], away[..., 1]) / (2 * WITHIN_MM), 0, 1)


def occlusions(shots, names):
    """Return how many who were out of sight for 1 to 2 s kept their track, and of how many."""
    times = np.array([shot.at_s for shot in shots])
    called = [[None] * len(shots) for _ in shots[0].share]
    for index, (shot, given) in enumerate(zip(shots, names, strict=True)):
        told = [number for number, name in enumerate(given) if name is not None]
        near = nearness(shot.floor_mm[told], shot.true_mm)
        for number, body in zip(told, near.argmax(axis=1), strict=True):
            row = near[told.index(number)]
            if row[body] >= 0.5 and near[:, body].argmax() == told.index(number):
                called[body][index] = given[number]
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
        "idf1": round(2 * total["idtp"] / (2 * total["idtp"] + total["idfn"] + total["idfp"]), 4),
        "switches": total["switches"],
        "kept": total["kept"],
        "hidden": total["hidden"],
        "kept_share": round(total["kept"] / max(total["hidden"], 1), 4),
    }
