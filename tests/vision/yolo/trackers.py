# SPDX-License-Identifier: AGPL-3.0-or-later
"""Ultralytics' trackers behind one call, to measure the project's own against."""

import functools
from types import SimpleNamespace

import numpy as np


class _Found:
    """Boxes as ultralytics' trackers take them."""

    def __init__(self, boxes_xyxy, scores):
        self.xyxy, self.conf, self.cls = boxes_xyxy, scores, np.zeros(len(scores))

    @property
    def xywh(self):
        low, high = self.xyxy[:, :2], self.xyxy[:, 2:]
        return np.column_stack([(low + high) / 2, high - low])

    def __len__(self):
        return len(self.conf)

    def __getitem__(self, chosen):
        return _Found(self.xyxy[chosen], self.conf[chosen])


@functools.cache
def _settings(kind):
    from vision.yolo.runtime import prepare

    prepare(1)
    from ultralytics.utils import YAML
    from ultralytics.utils.checks import check_yaml

    return YAML.load(check_yaml(f"{kind}.yaml"))


def ultralytics_names(kind, shots, fps, *, memory_s, looks=False):
    """Return the names that one of ultralytics' trackers gives, frame by frame.

    Its settings are those it ships, but for how long it remembers: so many seconds, as the
    project's own does.
    """
    changes = {"track_buffer": round(memory_s * fps), "gmc_method": "none"}
    if looks:
        changes |= {"with_reid": True, "model": "auto"}
    args = SimpleNamespace(**(_settings(kind) | changes))
    from ultralytics.trackers.track import TRACKER_MAP

    tracker = TRACKER_MAP[args.tracker_type](args)
    names = []
    for shot in shots:
        given = [None] * len(shot.found)
        features = np.nan_to_num(shot.looks) if looks else None
        rows = tracker.update(_Found(shot.found.boxes_xyxy, shot.found.scores), None, features)
        for row in rows:
            given[int(row[7])] = str(int(row[4]))
        names.append(given)
    return names
