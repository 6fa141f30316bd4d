# SPDX-License-Identifier: AGPL-3.0-or-later
"""A small heatmap network that finds hands, and its training on rendered pictures.

Input ``(n, 3, h, w)`` RGB from 0 to 1. Output ``(n, 7, h / 4, w / 4)``, one cell for 4 x 4 pixels:
how much a hand is centred in this cell (0 to 1), where in the cell it is (x, y, in cells from the
cell's middle), and where its owner's head and feet are from there (x, y, in units of
:data:`OWNER_PX`), by which hands are given to persons. Heatmap and loss: Zhou, Wang and Krähenbühl,
*Objects as Points* (2019), equation 1.
"""

import logging
import math
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from vision.detectors import ModelError
from vision.detectors.hands import CHANNELS, OWNER_PX, STRIDE
from vision.rendering import Image
from vision.yolo.dataset import MODEL_WH, load_split
from vision.yolo.resume import restore

log = logging.getLogger(__name__)

OFFSET_COUNTS = CHANNELS[-1]
"""Of the targets: where offsets count; then where heads do, and feet."""
SPREAD_CELLS = 1.0
"""Standard deviation of the target's bump around a hand."""


class HandsNet(nn.Module):
    """A little U-net of plain convolutions, about 0.25 million weights.

    Attributes:
        size_wh: Width and height of the pictures that it is trained on, kept with its weights.
    """

    size_wh: Tensor

    def __init__(self, size_wh: tuple[int, int] = MODEL_WH) -> None:
        super().__init__()
        self.register_buffer("size_wh", torch.tensor(size_wh))
        self.to2 = _block(3, 12, stride=2)
        self.to4 = nn.Sequential(_block(12, 24, stride=2), _block(24, 24))
        self.to8 = nn.Sequential(_block(24, 40, stride=2), _block(40, 40))
        self.to16 = nn.Sequential(_block(40, 56, stride=2), _block(56, 56))
        self.to32 = nn.Sequential(_block(56, 64, stride=2), _block(64, 64))
        self.up16, self.up8 = _block(64, 56, size=1), _block(56, 40, size=1)
        self.up4 = _block(40, 24, size=1)
        self.at16, self.at8, self.at4 = _block(56, 56), _block(40, 40), _block(24, 32)
        self.head = nn.Conv2d(32, CHANNELS[-1], 1)
        nn.init.zeros_(self.head.weight)
        with torch.no_grad():
            assert self.head.bias is not None
            self.head.bias.zero_()[0] = -4.6

    def forward(self, images: Tensor) -> Tensor:
        """Return ``(n, 7, h / 4, w / 4)``; the first channel is a logit while training."""
        at4 = self.to4(self.to2(images))
        at8 = self.to8(at4)
        at16 = self.to16(at8)
        deep = self.up16(self.to32(at16))
        at16 = self.at16(at16 + nn.functional.interpolate(deep, scale_factor=2.0))
        at8 = self.at8(at8 + nn.functional.interpolate(self.up8(at16), scale_factor=2.0))
        at4 = self.at4(at4 + nn.functional.interpolate(self.up4(at8), scale_factor=2.0))
        out: Tensor = self.head(at4)
        if self.training:
            return out
        return torch.cat([out[:, :1].sigmoid(), out[:, 1:]], dim=1)


@dataclass(frozen=True, slots=True)
class HandsTraining:
    """How long and how hard to train."""

    epochs: int
    batch: int = 24
    rate: float = 3e-3
    threads: int = 1
    start: Path | None = None
    """An export to go on from, at half the rate; None: from scratch."""


def train_hands(dataset: Path, weights: Path, *, seed: int, training: HandsTraining) -> None:
    """Train and write the averaged weights.

    Args:
        dataset: Folder written by :func:`vision.yolo.dataset.make_dataset`.
        weights: File to write; it is written after every epoch.
        seed: Of initial weights, order and mirroring.
        training: How long, how hard, and from where.

    Raises:
        ModelError: The file to start from is none, or one of another network.
    """
    torch.manual_seed(seed)
    torch.set_num_threads(training.threads)
    rng = np.random.default_rng(seed)
    images, hands = load_split(dataset, "train")
    starts = np.searchsorted(hands[:, 0], np.arange(len(images) + 1))
    high, wide = images.shape[1:3]
    net = begin(training.start, (wide, high)).train().to(memory_format=torch.channels_last)
    rate = training.rate if training.start is None else training.rate / 2
    average = torch.optim.swa_utils.AveragedModel(
        net, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.998)
    )
    optimizer = torch.optim.AdamW(net.parameters(), lr=rate, weight_decay=1e-4)
    steps = math.ceil(len(images) / training.batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, rate, total_steps=steps * training.epochs, pct_start=0.1
    )
    weights.parent.mkdir(parents=True, exist_ok=True)
    for epoch in range(training.epochs):
        total, began = 0.0, time.monotonic()
        for step, chosen in enumerate(np.array_split(rng.permutation(len(images)), steps)):
            picked = [hands[starts[index] : starts[index + 1], 1:] for index in chosen]
            pixels, targets = _mirrored(images[chosen], picked, rng)
            loss = _loss(net(pixels), targets)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            schedule.step()
            average.update_parameters(net)
            total += loss.item()
            if step % 50 == 49:
                pace = (time.monotonic() - began) / (step + 1)
                log.info(
                    "step %d of %d: loss %.3f, %.2f s", step + 1, steps, total / (step + 1), pace
                )
        settle_norms(average.module, images)
        torch.save(average.module.state_dict(), weights)
        log.info("epoch %d of %d: loss %.3f", epoch + 1, training.epochs, total / steps)


def begin(start: Path | None, size_wh: tuple[int, int] = MODEL_WH) -> HandsNet:
    """Return the network to train on pictures of a size: fresh, or as an export has it.

    Raises:
        ModelError: The file is none, or one of another network.
    """
    net = HandsNet(size_wh)
    if start is not None:
        restore(net, start)
    return net


def settle_norms(net: nn.Module, images: Image, *, batches: int = 40, batch: int = 24) -> None:
    """Measure the batch normalisations' statistics anew: those of averaged weights are no average.

    Args:
        net: The network; it is left in evaluation mode.
        images: ``(n, h, w, 3)`` BGR, of which the first ones are used.
        batches: How many batches.
        batch: Pictures in each.
    """
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.reset_running_stats()
            module.momentum = None  # a plain mean over all batches
    net.train()
    with torch.no_grad():
        for first in range(0, min(batches * batch, len(images)), batch):
            net(_pixels(images[first : first + batch]))
    net.eval()


def load_hands(weights: Path) -> HandsNet:
    """Return the trained network, ready to be exported.

    Raises:
        ModelError: The weights are of an earlier version.
    """
    net = HandsNet()
    try:
        net.load_state_dict(torch.load(weights, weights_only=True))
    except RuntimeError as error:
        raise ModelError(
            f"{weights}: are of another version's network. Export them with that, or train anew: "
            "--hands-from an export goes on from there"
        ) from error
    return net.eval()


def make_targets(
    hands: list[npt.NDArray[np.float32]], size_wh: tuple[int, int]
) -> npt.NDArray[np.float32]:
    """Return ``(n, 10, h / 4, w / 4)``: the net's channels, and where offsets, heads, feet count.

    Args:
        hands: For each picture ``(k, 6)``: hand, head and feet, x and y in pixels; NaN for a head
            that no camera can see, of whoever stands right below it.
        size_wh: The pictures' width and height.
    """
    wide, high = size_wh[0] // STRIDE, size_wh[1] // STRIDE
    targets = np.zeros((len(hands), CHANNELS[-1] + 3, high, wide), dtype=np.float32)
    rows, columns = np.mgrid[0:high, 0:wide].astype(np.float32)
    for target, found in zip(targets, hands, strict=True):
        for x_px, y_px, *owner_px in found:
            x, y = x_px / STRIDE - 0.5, y_px / STRIDE - 0.5
            square = (columns - x) ** 2 + (rows - y) ** 2
            np.maximum(target[0], np.exp(-square / (2 * SPREAD_CELLS**2)), out=target[0])
            column, row = min(max(round(x), 0), wide - 1), min(max(round(y), 0), high - 1)
            target[0, row, column] = 1.0
            near = square < 1.6**2
            target[1][near], target[2][near] = (x - columns)[near], (y - rows)[near]
            target[OFFSET_COUNTS][near] = 1.0
            for part, point in enumerate(np.reshape(owner_px, (2, 2))):
                target[OFFSET_COUNTS + 1 + part][near] = seen = bool(np.isfinite(point).all())
                if seen:
                    target[3 + 2 * part][near] = (point[0] - x_px) / OWNER_PX
                    target[4 + 2 * part][near] = (point[1] - y_px) / OWNER_PX
    return targets


def _mirrored(
    images: Image, hands: list[npt.NDArray[np.float32]], rng: np.random.Generator
) -> tuple[Tensor, Tensor]:
    """Return a batch's RGB pixels and its targets, mirrored at random about both axes."""
    height, width = images.shape[1:3]
    across, down = rng.random() < 0.5, rng.random() < 0.5
    if across:
        images = images[:, :, ::-1]
    if down:
        images = images[:, ::-1]
    moved = []
    for found in hands:
        turned = found.copy()
        if across:
            turned[:, 0::2] = width - turned[:, 0::2]
        if down:
            turned[:, 1::2] = height - turned[:, 1::2]
        moved.append(turned)
    return _pixels(images), torch.from_numpy(make_targets(moved, (width, height)))


def _pixels(images: Image) -> Tensor:
    """Return ``(n, 3, h, w)`` RGB from 0 to 1 of ``(n, h, w, 3)`` BGR pictures."""
    pixels = torch.from_numpy(np.ascontiguousarray(images[..., ::-1]))
    return pixels.permute(0, 3, 1, 2).float() / 255


def _loss(out: Tensor, targets: Tensor) -> Tensor:
    """Return the focal loss of the heatmap plus the distances of the offsets."""
    heat, wanted = out[:, 0].float(), targets[:, 0]
    share = heat.sigmoid().clamp(1e-5, 1 - 1e-5)
    hit = wanted.ge(1.0).float()
    found = hit * (1 - share) ** 2 * nn.functional.logsigmoid(heat)
    other = (1 - hit) * (1 - wanted) ** 4 * share**2 * nn.functional.logsigmoid(-heat)
    count = hit.sum().clamp(min=1)
    counts = targets[:, OFFSET_COUNTS:].repeat_interleave(2, dim=1)
    apart = (out[:, 1:] - targets[:, 1:OFFSET_COUNTS]).abs() * counts
    offsets = targets[:, OFFSET_COUNTS].sum().clamp(min=1)
    return -(found + other).sum() / count + apart.sum() / offsets


def _block(wide_in: int, wide_out: int, *, size: int = 3, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(wide_in, wide_out, size, stride, size // 2, bias=False),
        nn.BatchNorm2d(wide_out),
        nn.ReLU(inplace=True),
    )
