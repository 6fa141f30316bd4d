# SPDX-License-Identifier: AGPL-3.0-or-later
"""``shelfgate model``: train, export and evaluate the small model of the demo and the tests.

This module imports neither torch nor ultralytics until a command runs, so that ``--help`` needs
neither of them.
"""

import argparse
import importlib
import logging
import sys
from pathlib import Path
from typing import Any

import msgspec

from vision.model_cli import add_command

log = logging.getLogger(__name__)

FOLDER = Path("build/model")
FIXTURE = Path("fixtures/model")
SEED = 7
PICTURES = 10_000
PEOPLE_EPOCHS = 4
HANDS_EPOCHS = 6
OFFSET_SEED, OFFSET_PICTURES = 31, 100
TEST_SEED, TEST_PICTURES = 1001, 200
"""Nothing was chosen on this seed."""


def add_parsers(commands: "argparse._SubParsersAction[Any]") -> None:
    """Add the three commands to a parser; each sets ``run``, which takes the parsed arguments."""
    train = add_command(
        commands,
        "train",
        "Render a training set and train the person and the hands network on it. "
        "Takes about an hour on two cores; progress goes to stderr.",
        "shelfgate model train --folder build/model --seed 7",
        run_train,
    )
    train.add_argument("--folder", type=Path, default=FOLDER, help="pictures and weights")
    train.add_argument("--seed", type=int, default=SEED, help="decides pictures and weights")
    train.add_argument("--pictures", type=int, default=PICTURES, help="to train on")
    train.add_argument("--people-epochs", type=int, default=PEOPLE_EPOCHS)
    train.add_argument(
        "--people-from", type=Path, help="weights to go on from, at half the rate; else from none"
    )
    train.add_argument("--hands-epochs", type=int, default=HANDS_EPOCHS)
    train.add_argument("--threads", type=int, default=1, help="for each network")
    train.add_argument("--only", choices=["people", "hands"], help="train one of them")

    export = add_command(
        commands,
        "export",
        "Write the trained weights as ONNX files, as the vision worker reads them.",
        "shelfgate model export --folder build/model --to fixtures/model",
        run_export,
    )
    export.add_argument("--folder", type=Path, default=FOLDER, help="where train wrote")
    export.add_argument("--to", type=Path, default=FIXTURE, help="where the ONNX files go")

    measure = add_command(
        commands,
        "evaluate",
        "Measure ONNX files on rendered pictures they were not trained on; prints JSON.",
        "shelfgate model evaluate --models fixtures/model",
        run_evaluate,
    )
    measure.add_argument("--models", type=Path, default=FIXTURE, help="with people and hands.onnx")
    measure.add_argument("--pictures", type=int, default=TEST_PICTURES)
    measure.add_argument("--seed", type=int, default=TEST_SEED)
    measure.add_argument("--threads", type=int, default=1)


def run_train(options: argparse.Namespace) -> int:
    """Render what is not there yet, then train both networks, one after the other."""
    runtime = _import("vision.yolo.runtime")
    runtime.restart_with_malloc()
    dataset = _import("vision.yolo.dataset")
    folder: Path = options.folder
    description = folder / "dataset.yaml"
    if not description.exists():
        counts = {"train": options.pictures, "val": max(options.pictures // 25, 8)}
        dataset.make_dataset(folder, seed=options.seed, counts=counts, processes=2)
    if options.only != "hands":
        _import("vision.yolo.train").train_people(
            description,
            folder / "runs",
            seed=options.seed,
            epochs=options.people_epochs,
            threads=options.threads,
            start=options.people_from,
        )
    if options.only != "people":
        hands = _import("vision.yolo.hands_net")
        training = hands.HandsTraining(epochs=options.hands_epochs, threads=options.threads)
        hands.train_hands(
            folder, folder / "runs" / "hands.pt", seed=options.seed, training=training
        )
    return 0


def run_export(options: argparse.Namespace) -> int:
    """Write both ONNX files."""
    runs = options.folder / "runs"
    weights = (runs / "people" / "weights" / "last.pt", runs / "hands.pt")
    for path in weights:
        if not path.exists():
            sys.stderr.write(f"{path}: no such file. Run shelfgate model train first\n")
            return 1
    export = _import("vision.yolo.export")
    export.export_people(weights[0], options.to / "people.onnx")
    export.export_hands(weights[1], options.to / "hands.onnx")
    return 0


def run_evaluate(options: argparse.Namespace) -> int:
    """Print the measured quality as JSON."""
    detectors, scenes = _import("vision.detectors"), _import("vision.scenes")
    evaluation = _import("vision.evaluation")
    try:
        detector = detectors.build(
            "onnxruntime",
            options.models / "people.onnx",
            hands=options.models / "hands.onnx",
            threads=options.threads,
        )
    except detectors.ModelError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    offsets = evaluation.constant_offsets(scenes.pictures(OFFSET_SEED, OFFSET_PICTURES))
    quality = evaluation.evaluate(
        detector, scenes.pictures(options.seed, options.pictures), offsets
    )
    coded = msgspec.json.format(msgspec.json.encode(quality), indent=2)
    sys.stdout.write(coded.decode() + "\n")
    return 0


def _import(name: str) -> Any:  # noqa: ANN401 - a module has no better type
    """Import a module when it is needed, and say what to install where it is not there."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise SystemExit(
            f"{error.name}: not installed. Install shelfgate with the extras vision and ultralytics"
        ) from error


def main(arguments: list[str] | None = None) -> int:
    """Run as ``python -m vision.yolo.cli``."""
    parser = argparse.ArgumentParser(prog="shelfgate model", description=__doc__)
    add_parsers(parser.add_subparsers(required=True))
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    status: int = options.run(options)
    return status


if __name__ == "__main__":
    sys.exit(main())
