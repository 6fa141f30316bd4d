# SPDX-License-Identifier: Apache-2.0
"""How late a camera's frames arrive: a page flashes at known times, and the camera looks at it.

The page is black or white by a random pattern that this machine's clock drives. Somewhere in the
camera's picture that pattern comes back, later: by how much is where the two agree best.
"""

import random
import time
from collections.abc import Iterable
from http.server import ThreadingHTTPServer
from typing import Final, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from vision.camera_tools.feed import CameraError
from vision.camera_tools.live import LocalPage
from vision.flats import Image

BIT_S: Final = 0.037
"""The page may change its colour so often: no multiple of a camera's period, so that changes come
at all moments between two frames."""
KEPT: Final = (8, 22)
"""For so many of these it keeps a colour: some frames of a slow camera."""
BITS: Final = 4_096
"""After so many the pattern begins anew."""
LATEST_S: Final = 3.0
STEP_S: Final = 0.005
GRID: Final = (16, 12)
"""The picture is looked at in so many parts: the page fills one of them, or more."""
ALIKE_MIN: Final = 0.8
"""Correlation below which the camera is not thought to see the page."""
FRAMES_MIN: Final = 40
CHANGE_MIN: Final = 4.0
"""Grey levels by which a part that shows the page has to vary."""
PAGE: Final = """<!doctype html><html lang="en"><meta charset="utf-8">
<meta name="viewport" content="width=device-width"><title>Hold this before the camera</title>
<style>html,body{{margin:0;height:100%;background:#000}}</style><script>
const bits="{bits}", bit={bit_ms}; let ahead=0, best=1e9;
async function set(){{
  const sent=performance.now(), told=+(await (await fetch("clock",{{cache:"no-store"}})).text());
  const back=performance.now(), way=(back-sent)/2;
  if(way<best){{best=way; ahead=told+way-back;}}
}}
async function sync(){{for(let i=0;i<8;i++) await set(); best+=2; setTimeout(sync,5000);}}
function draw(){{
  const at=Math.floor((performance.now()+ahead)/bit);
  document.body.style.background=bits[at%bits.length]==="1"?"#fff":"#000";
  requestAnimationFrame(draw);
}}
sync().catch(()=>0); requestAnimationFrame(draw);
</script></html>
"""

Floats = NDArray[np.float64]


class Flashes:
    """The pattern; two with one seed are the same."""

    def __init__(self, seed: int) -> None:
        chance = random.Random(seed)  # noqa: S311 - no secret
        runs = "".join(str(number % 2) * chance.randint(*KEPT) for number in range(BITS))
        self.bits: str = runs[:BITS]
        self._white = np.array([bit == "1" for bit in self.bits])

    def white(self, at_s: Floats) -> NDArray[np.bool_]:
        """Return whether the page is white at times of the monotonic clock, in seconds."""
        shown: NDArray[np.bool_] = self._white[np.floor(at_s / BIT_S).astype(np.int64) % BITS]
        return shown


class Delay(NamedTuple):
    """What was measured.

    Attributes:
        ms: From the page's change to the arrival of the frame that shows it.
        alike: Correlation of the pattern with what was seen, so much later.
        frames: How many were looked at.
    """

    ms: float
    alike: float
    frames: int


def measured(name: str, frames: Iterable[tuple[float, Image]], flashes: Flashes) -> Delay:
    """Return how late a camera's frames arrive.

    A frame is taken for the light of one instant; between frames the answer is as sure as many
    changes at random times make it.

    Args:
        name: The camera, for messages.
        frames: Time of arrival, seconds of the monotonic clock, and ``(h, w, 3)`` BGR pictures.
        flashes: What the page showed.

    Raises:
        CameraError: The page is nowhere in the picture, or there are too few frames.
    """
    at_s, grey = [], []
    for arrived_s, image in frames:
        small = cv2.resize(image, GRID, interpolation=cv2.INTER_AREA)
        at_s.append(arrived_s)
        grey.append(small.mean(axis=2).ravel())
    if len(at_s) < FRAMES_MIN:
        raise CameraError(f"camera {name}: {len(at_s)} frames are too few. Give more --seconds")
    lags_s = np.arange(0.0, LATEST_S, STEP_S)
    alike = _alike(np.array(at_s), np.array(grey), lags_s, flashes)
    best = alike.max(axis=1)
    # Frames come in steps: several lags fit all of them as well; the middle is the likeliest.
    top = np.flatnonzero(best >= best.max() - 1e-9)
    if best.max() < ALIKE_MIN:
        raise CameraError(
            f"camera {name}: does not see the page flash (agreement {best.max():.2f}, "
            f"{ALIKE_MIN:g} is wanted). Hold the page nearer, brighter, and still"
        )
    return Delay(float(lags_s[top].mean() * 1e3), float(best.max()), len(at_s))


def _alike(at_s: Floats, grey: Floats, lags_s: Floats, flashes: Flashes) -> Floats:
    """Return ``(lags, parts)`` correlation of the pattern with each part of the picture."""
    shown = flashes.white(at_s[None, :] - lags_s[:, None]).astype(np.float64)
    shown -= shown.mean(axis=1, keepdims=True)
    seen = grey - grey.mean(axis=0)
    deviation = seen.std(axis=0)
    seen = np.where(deviation > CHANGE_MIN, seen / np.maximum(deviation, 1e-9), 0.0)
    alike: Floats = (shown @ seen) / (len(at_s) * np.maximum(shown.std(axis=1), 1e-9)[:, None])
    return alike


class FlashServer(ThreadingHTTPServer):
    """Serves the page that flashes, and the clock that drives it.

    Raises:
        OSError: It cannot listen there.
    """

    daemon_threads = True

    def __init__(self, host: str, port: int, flashes: Flashes) -> None:
        super().__init__((host, port), _Flasher)
        self.page = PAGE.format(bits=flashes.bits, bit_ms=BIT_S * 1e3).encode()


class _Flasher(LocalPage):
    def answer(self, path: str) -> bool:
        """Send the page, or this machine's monotonic clock in milliseconds."""
        assert isinstance(self.server, FlashServer)
        if path == "/":
            self.give("text/html; charset=utf-8", self.server.page)
        elif path == "/clock":
            self.give("text/plain", f"{time.monotonic() * 1e3:.3f}".encode())
        else:
            return False
        return True
