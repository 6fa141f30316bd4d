# SPDX-License-Identifier: Apache-2.0
"""The figures on capture in docs/vision.md: ``.venv/bin/python -m tests.vision.capture_figures``.

Needs what the tests over RTSP need, and the clips of the shared data.
"""

import argparse
import queue
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import cv2
import numpy as np

from tests.rtsp import PYTHON, RtspCamera
from vision.capture import Capture
from vision.framing import Framing
from vision.sources import CameraSource
from vision.timeline import Backlog
from vision.watchdog import Watchdog, _averages, _sample

VIDEOS = Path(__file__).parents[3] / "shared" / "data" / "videos"
OPENINGS = 7
CHANGES = 21
ENCODE = """
import sys
import gi
gi.require_version("Gst", "1.0")
from gi.repository import Gst
Gst.init(None)
line = Gst.parse_launch(sys.argv[1])
line.set_state(Gst.State.PLAYING)
ends = Gst.MessageType.EOS | Gst.MessageType.ERROR
message = line.get_bus().timed_pop_filtered(Gst.CLOCK_TIME_NONE, ends)
line.set_state(Gst.State.NULL)
sys.exit(message.type == Gst.MessageType.ERROR)
"""


def say(text):
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def openings(camera):
    """Open the stream again and again, and look at what was waiting."""
    opened_s, waiting, spans_ms, late_ms, left_ms = [], [], [], [], []
    for _ in range(OPENINGS):
        before_s = time.monotonic()
        source = CameraSource(camera.url)
        opened_s.append(time.monotonic() - before_s)
        backlog = Backlog(source.period_ns)
        stamps = [source.grab() for _ in range(80)]
        source.close()
        first = [backlog.holds(stamp) for stamp in stamps].index(False)
        lags_ns = [stamp.arrived_ns - stamp.position_ns for stamp in stamps]
        waiting.append(first)
        spans_ms.append((stamps[first].position_ns - stamps[0].position_ns) / 1e6)
        late_ms.append((lags_ns[0] - min(lags_ns)) / 1e6)
        left_ms.append((lags_ns[first] - min(lags_ns)) / 1e6)
    say(f"opening, median of {OPENINGS}: {median(opened_s):.2f} s")
    say(f"frames skipped: {median(waiting):.0f}, {median(spans_ms):.0f} ms of the stream")
    say(
        f"age beyond the least: first frame {median(late_ms):.0f} ms, then {median(left_ms):.0f} ms"
    )


def delays(camera):
    """Change the picture and look at which time the frame gets that shows it."""
    frames = queue.Queue()
    errors_ms = []
    with Capture("cam", camera.url, on_frame=frames.put, blind_after_s=0) as capture:
        frames.get(timeout=30)
        for number in range(CHANGES):
            for _ in range(5 + number % 7):
                frames.get(timeout=30)
            white = number % 2
            camera.set(pattern="white" if white else "black")
            changed_ns = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
            frame = frames.get(timeout=30)
            while (frame.image.mean() > 128) != bool(white):
                frame = frames.get(timeout=30)
            if number:
                errors_ms.append((frame.boottime_ns - changed_ns) / 1e6)
        lost = capture.counts.lost
    say(
        f"time given to a change, less its time, of {len(errors_ms)}: median "
        f"{median(errors_ms):.0f} ms, {min(errors_ms):.0f} to {max(errors_ms):.0f} ms; lost {lost}"
    )


def costs(size_wh):
    """Measure what crop, mask and watchdog cost a frame."""
    width, height = size_wh
    rng = np.random.default_rng(1)
    image = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    kinds = {
        "plain": Framing(size_wh),
        "cropped and masked": Framing(
            size_wh,
            None,
            (width // 4, height // 4, width // 2, height // 2),
            (((0, 0), (99, 0), (0, 99)),),
        ),
    }
    for name, framing in kinds.items():
        watchdog, times_ms = Watchdog(), []
        for number in range(300):
            before_s = time.thread_time()
            cut = framing.cut(image)
            watchdog.look(cut.image, number * 40_000_000, cut.keep)
            times_ms.append((time.thread_time() - before_s) * 1e3)
        say(f"{width}x{height} {name}: {np.mean(times_ms):.2f} ms of CPU a frame at 25 a second")


def differences(path):
    """Return, of each 5 s from each second on, the greatest difference of pixels and averages."""
    video = cv2.VideoCapture(str(path))
    fps = video.get(cv2.CAP_PROP_FPS)
    kept = []
    while True:
        good, image = video.read()
        if not good:
            break
        kept.append((_sample(image, None), _averages(image, None)))
    kept = kept[round(fps) :]  # An encoder begins coarsely.
    length, step = round(5 * fps), max(1, round(fps / 4))
    found = []
    for start in range(0, len(kept) - length, round(fps)):
        pixels, averages = kept[start]
        later = kept[start + 1 : start + length + 1 : step]
        found.append(
            (
                max(float(np.abs(pixels - other).mean()) for other, _ in later),
                max(int(np.abs(averages - other).max()) for _, other in later),
            )
        )
    return found


def freezes(folder):
    """Compare real cameras with one still picture of theirs, encoded again and again."""
    for name in ("one-by-one-person-detection.mp4", "bottle-detection.mp4"):
        live = differences(VIDEOS / name)
        say(f"{name}: pixels differ by {min(pixels for pixels, _ in live):.2f} levels at least")
        video = cv2.VideoCapture(str(VIDEOS / name))
        for _ in range(101):
            _, image = video.read()
        cv2.imwrite(str(folder / "still.png"), image)
        for kbits in (2_000, 1_000, 400, 150):
            line = (
                f"filesrc location={folder}/still.png ! pngdec ! videoconvert "
                "! imagefreeze num-buffers=300 ! video/x-raw,format=I420,framerate=20/1 "
                f"! x264enc key-int-max=40 bitrate={kbits} ! video/x-h264,stream-format=avc "
                f"! matroskamux ! filesink location={folder}/still.mkv"
            )
            subprocess.run([PYTHON, "-c", ENCODE, line], check=True)
            still = differences(folder / "still.mkv")
            pixels, averages = map(max, zip(*still, strict=True))
            say(f"  still, {kbits} kbit/s: pixels {pixels:.2f} at most, averages {averages}")


def main(words=None):
    parser = argparse.ArgumentParser(
        prog="python -m tests.vision.capture_figures", description=__doc__
    )
    parser.parse_args(words)
    with RtspCamera(size_wh=(640, 480)) as camera:
        openings(camera)
        delays(camera)
    for size_wh in ((640, 480), (1920, 1080)):
        costs(size_wh)
    with tempfile.TemporaryDirectory() as folder:
        freezes(Path(folder))


if __name__ == "__main__":
    main()
