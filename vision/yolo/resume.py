# SPDX-License-Identifier: AGPL-3.0-or-later
"""Weights to go on from out of an exported ONNX file, where nobody kept those of training.

An export folds each batch normalisation into the convolution before it. Here each gets back the
mean and deviation of what the convolution gives for some pictures, and the scale and shift that
undo them: the network does what the file does, and can be trained.
"""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.numpy_helper
import torch
from torch import Tensor, nn

from vision.detectors import ModelError
from vision.detectors.hands import CHANNELS
from vision.detectors.onnx_file import read_onnx
from vision.scenes import pictures
from vision.yolo.dataset import small_picture

PICTURES = 48
SEED = 17
"""Of the pictures that statistics are taken from."""
HEAD = ("head.weight", "head.bias")
"""Of the hands net: an export of a version that said less may have fewer outputs there."""


def restore(model: nn.Module, path: Path) -> None:
    """Give a network, as it is built, the weights of its export.

    Raises:
        ModelError: This is no ONNX file, or one of another network.
    """
    read_onnx(path)
    try:
        own = model.state_dict()
        fitting = _fitting(model, _convolutions(path))
        fitting |= {name: _widened(fitting[name], own[name]) for name in HEAD if name in fitting}
        fits = all(weights.shape == own[name].shape for name, weights in fitting.items())
    except (KeyError, IndexError):
        fits = False
    if not fits:
        raise ModelError(
            f"{path}: its weights are of another network. Give what `shelfgate model export` "
            "wrote of this one"
        )
    model.load_state_dict(own | fitting)
    _measure_norms(model)


def _convolutions(path: Path) -> dict[str, list[Tensor]]:
    """Return by its module's name the weight, and the bias if it has one, of each convolution."""
    graph = onnx.load(str(path)).graph
    stored = {weight.name.removesuffix(".half"): weight for weight in graph.initializer}
    found = {}
    for node in graph.node:
        if node.op_type != "Conv":
            continue
        # Torch numbers what it folds, and keeps the module's name in that of the node alone.
        own, _, kind = node.input[1].rpartition(".")
        name = own if kind == "weight" else node.name.split("/")[-2]
        found[name] = [
            torch.from_numpy(onnx.numpy_helper.to_array(stored[told]).astype(np.float32))
            for told in node.input[1:]
        ]
    return found


def _fitting(model: nn.Module, convolutions: dict[str, list[Tensor]]) -> dict[str, Tensor]:
    """Return by their names here the weights that the file has; a normalisation gets the bias.

    Raises:
        KeyError, IndexError: The file lacks some.
    """
    fitting = {}
    before: list[Tensor] = []
    for name, module in model.named_modules():
        if isinstance(module, nn.Conv2d):
            before = convolutions[name]
            fitting[f"{name}.weight"] = before[0]
            if module.bias is not None:
                fitting[f"{name}.bias"] = before[1]
        elif isinstance(module, nn.BatchNorm2d):
            fitting[f"{name}.bias"] = before[1]
    return fitting


def _widened(stored: Tensor, own: Tensor) -> Tensor:
    """Return a file's outputs, followed by those that only the network here has."""
    fewer = len(stored) in CHANNELS and len(stored) < len(own)
    if not fewer or stored.shape[1:] != own.shape[1:]:
        return stored
    return torch.cat([stored, own[len(stored) :]])


def _measure_norms(model: nn.Module) -> None:
    """Let every normalisation add its bias alone, and say so in its own terms."""
    seen = [
        small_picture(picture.image)
        for busy in (False, True)
        for picture in pictures(SEED, PICTURES // 2, busy=busy)
    ]
    batch = torch.from_numpy(np.stack(seen)[..., ::-1].copy()).permute(0, 3, 1, 2).float() / 255
    hooks = [
        module.register_forward_pre_hook(_measure)
        for module in model.modules()
        if isinstance(module, nn.BatchNorm2d)
    ]
    model.eval()
    with torch.no_grad():
        model(batch)
    for hook in hooks:
        hook.remove()


def _measure(norm: Any, given: tuple[Tensor]) -> None:  # noqa: ANN401 - torch types a hook's module as any
    mean, var = given[0].mean(dim=(0, 2, 3)), given[0].var(dim=(0, 2, 3))
    norm.running_mean.copy_(mean)
    norm.running_var.copy_(var)
    norm.weight.copy_((var + norm.eps).sqrt())
    norm.bias.add_(mean)
