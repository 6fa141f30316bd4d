# SPDX-License-Identifier: Apache-2.0
"""Detectors that fail or take their process with them: one clear error, and never a crash."""

import asyncio
import logging
from pathlib import Path

import numpy as np
import pytest

from gateway.supervise import leaves
from tests.vision.test_vision_worker import Broker, Frames, config
from vision.detectors import (
    Detections,
    FrameError,
    ModelError,
    RuntimeMissingError,
    build,
    guard,
)
from vision.detectors.guard import Guarded, build_guarded
from vision.detectors.measure import Outcome
from vision.scenes import pictures
from vision.worker import Worker, check

FIXTURE = Path(__file__).parents[2] / "fixtures" / "model"
PEOPLE = FIXTURE / "people.onnx"


class Failing:
    """A detector that finds nobody once and then fails as its runtime likes."""

    def __init__(self, error):
        self.left = [None, error]

    def detect(self, _frame):
        error = self.left.pop(0)
        if error is not None:
            raise error
        return Detections.empty()


def with_suppression(path):
    """Write the fixture's model with an operator more, as exports with nms=True have it."""
    onnx = pytest.importorskip("onnx", reason="onnx is not installed (extra ultralytics)")
    model = onnx.load(str(PEOPLE))
    boxes = onnx.helper.make_tensor("boxes", onnx.TensorProto.FLOAT, [1, 1, 4], [0, 0, 1, 1])
    scores = onnx.helper.make_tensor("scores", onnx.TensorProto.FLOAT, [1, 1, 1], [0.5])
    model.graph.initializer.extend([boxes, scores])
    model.graph.node.append(
        onnx.helper.make_node("NonMaxSuppression", ["boxes", "scores"], ["kept"])
    )
    onnx.save(model, str(path))
    return path


def test_opencv_refuses_what_it_would_crash_on_and_others_run_it(tmp_path):
    model = with_suppression(tmp_path / "nms.onnx")
    with pytest.raises(ModelError, match=r"nms\.onnx: was exported with nms=True.*onnxruntime"):
        build("opencv", model)
    with pytest.raises(ModelError, match="nms=True"):
        check(config(model=str(model), hands=None, detector="opencv"))
    assert build("onnxruntime", model).detect(next(iter(pictures(8, 1))).image) is not None


def test_a_runtime_that_ends_its_process_is_found_out_in_another(monkeypatch):
    tried = []

    def died(job):
        tried.append((job.kind, job.model, job.input_px))
        return Outcome(error=f"{job.model}: opencv ended with status -8 (no word). Use another")

    monkeypatch.setattr(guard, "run", died)
    options = {"hands": FIXTURE / "hands.onnx", "threads": 1, "input_px": 256}
    with pytest.raises(
        ModelError, match=r"people.onnx: opencv ended with status -8.*\. Use another"
    ):
        build_guarded("opencv", PEOPLE, **options)
    assert tried == [("opencv", str(PEOPLE), 256)]
    build_guarded("onnxruntime", PEOPLE, **options)
    assert len(tried) == 1
    hands = str(options["hands"])
    monkeypatch.setattr(guard, "run", lambda job: died(job) if job.model == hands else Outcome())
    with pytest.raises(ModelError, match=r"hands.onnx: opencv ended with status -8"):
        build_guarded("opencv", PEOPLE, **options)
    assert tried[1:] == [("opencv", hands, None)]
    missing = Outcome(error="detector opencv: is not installed. Run pip", missing=True)
    monkeypatch.setattr(guard, "run", lambda _job: missing)
    with pytest.raises(RuntimeMissingError, match="Run pip"):
        build_guarded("opencv", PEOPLE, **options)


def test_a_good_model_is_tried_out_and_built():
    guarded = build_guarded("opencv", PEOPLE, hands=None, threads=1, input_px=None)
    picture = next(iter(pictures(8, 1)))
    found = guarded.detect(picture.image)
    assert len(found) == len(build("opencv", PEOPLE).detect(picture.image))


def test_whatever_a_detector_raises_becomes_one_error_with_a_remedy():
    frame = np.zeros((48, 64, 3), dtype=np.uint8)
    guarded = Guarded(Failing(RuntimeError("bad\n  state")), "ncnn", Path("m.param"))
    assert len(guarded.detect(frame)) == 0
    with pytest.raises(ModelError) as told:
        guarded.detect(frame)
    assert str(told.value) == (
        "m.param: ncnn failed on a frame of 64 x 48 (RuntimeError: bad state). "
        "Use another detector, or export it again"
    )
    known = ModelError("m.param: cannot be run. Export it again")
    guarded = Guarded(Failing(known), "ncnn", Path("m.param"))
    guarded.detect(frame)
    with pytest.raises(ModelError) as told:
        guarded.detect(frame)
    assert told.value is known


def test_a_worker_whose_detector_fails_ends_with_that_error_alone(caplog):
    caplog.set_level(logging.INFO)

    async def main():
        broker, frames = Broker(), Frames()
        detector = Guarded(Failing(ZeroDivisionError("none")), "openvino", Path("m.xml"))
        worker = Worker(
            config(), broker.publish, detector=detector, open_source=lambda _url: frames
        )
        for _ in range(2):
            frames.left.put(frames.blank)
        async with asyncio.timeout(240), asyncio.TaskGroup() as group:
            group.create_task(worker.run(asyncio.Event()))
            await broker.until(lambda: broker.of("people"))
            frames.left.put(frames.blank)
            frames.left.put(None)

    with pytest.raises(BaseExceptionGroup) as ended:
        asyncio.run(main())
    found = list(leaves(ended.value))
    assert [type(one) for one in found] == [FrameError]
    assert "m.xml: openvino failed on a frame of 512 x 384" in str(found[0])
    assert "Traceback" not in caplog.text
