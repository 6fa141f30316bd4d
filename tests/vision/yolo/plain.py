# SPDX-License-Identifier: AGPL-3.0-or-later
"""The plain way to watch a camera: ultralytics' ``track()`` in a loop, as its manual begins.

``python -m tests.vision.yolo.plain CLIP MODEL INPUT_PX RATE [TRACKER]`` runs it on one thread, with
so many pictures a second as a camera gives them, and writes JSON: CPU seconds of the process after
each picture, its peak memory, and who was found where.
"""

import json
import os
import sys
import time
from pathlib import Path


def watch(clip, model, input_px, rate, tracker=None):
    """Return what it took and what was found, picture by picture.

    Args:
        clip: File to watch.
        model: Weights.
        input_px: Of the model's input.
        rate: Pictures a second.
        tracker: Of ultralytics; None: its default.
    """
    import cv2

    from vision.yolo.runtime import prepare, yolo

    cv2.setNumThreads(1)
    prepare(1)
    spent_s, found, due_s = [], [], None
    chosen = {} if tracker is None else {"tracker": tracker}
    results = yolo(model).track(
        source=clip, stream=True, imgsz=input_px, device="cpu", verbose=False, **chosen
    )
    for result in results:
        spent_s.append(time.process_time())
        boxes, points = result.boxes, result.keypoints
        known = boxes is not None and boxes.id is not None
        found.append(
            {
                "names": [str(int(name)) for name in boxes.id],
                "boxes": boxes.xyxy.tolist(),
                "scores": boxes.conf.tolist(),
                "keypoints": points.data.tolist(),
            }
            if known
            else None
        )
        # The loop reads the next one when it is asked for it. The first one took its time.
        due_s = (due_s or time.monotonic()) + 1 / rate
        time.sleep(max(due_s - time.monotonic(), 0.0))
    return {"cpu_s": spent_s, "found": found, "memory_mb": peak_mb()}


def peak_mb():
    """Return the most memory that this process has held."""
    for line in Path("/proc/self/status").read_text("ascii").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    return 0.0


def main():
    """Watch, with all that libraries print out of the way."""
    out = os.dup(1)
    os.dup2(2, 1)
    clip, model, input_px, rate, *tracker = sys.argv[1:]
    answer = watch(clip, model, int(input_px), float(rate), *tracker)
    with os.fdopen(out, "w") as stream:
        json.dump(answer, stream)


if __name__ == "__main__":
    main()
