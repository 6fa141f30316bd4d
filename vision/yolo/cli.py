# SPDX-License-Identifier: AGPL-3.0-or-later
"""``shelfgate model``: train, export and evaluate a model: the small one of the demo, or one's own.

This module imports neither torch nor ultralytics until a command runs, so that ``--help`` needs
neither of them.
"""

import argparse
import logging
import os
import shlex
import shutil
import sys
from pathlib import Path
from typing import Any

import msgspec

from vision.model_cli import SIDE_MAX_PX, add_command, import_needed, whole_number

log = logging.getLogger(__name__)

FOLDER = Path("build/model")
FIXTURE = Path("fixtures/model")
EXTRAS = "vision,ultralytics"
NETWORKS = ("people", "hands")
FORMS = ("onnx", "openvino", "openvino-int8", "ncnn")
EPOCHS = whole_number(1, 100_000)
RENDERED = whole_number(1, 1_000_000)
SEEDS = whole_number(0, 2**31 - 1)
THREADS = whole_number(1, 64)
SEED = 7
PICTURES = 10_000
PEOPLE_EPOCHS = 4
HANDS_EPOCHS = 6
SIZE_PX = 256
RENDERED_PX = (128, 256, 384, 512)
"""Sides of 4 to 3 are multiples of a model's stride, and no larger than scenes are painted."""
OFFSET_SEED, OFFSET_PICTURES = 31, 100
TEST_SEED, TEST_PICTURES = 1001, 200
"""Nothing was chosen on this seed."""


def add_parsers(commands: "argparse._SubParsersAction[Any]") -> None:
    """Add the three commands to a parser; each sets ``run``, which takes the parsed arguments."""
    _add_train(commands)
    _add_export(commands)
    measure = add_command(
        commands,
        "evaluate",
        "Measure the small model of the demo on rendered pictures that it was not trained on; "
        "prints JSON. Of a model of other pictures it says nothing.",
        "shelfgate model evaluate --models fixtures/model",
        run_evaluate,
    )
    measure.add_argument(
        "--models",
        type=Path,
        default=FIXTURE,
        help="with people and hands, as .onnx files or in the folders of another form",
    )
    measure.add_argument("--form", choices=FORMS, default="onnx", help="which of them")
    measure.add_argument("--pictures", type=RENDERED, default=TEST_PICTURES)
    measure.add_argument("--seed", type=SEEDS, default=TEST_SEED)
    measure.add_argument(
        "--busy", action="store_true", help="through wide lenses, most people close to somebody"
    )
    measure.add_argument("--threads", type=THREADS, default=1)


def _add_train(commands: "argparse._SubParsersAction[Any]") -> None:
    train = add_command(
        commands,
        "train",
        "Train a model of persons on pictures of your own (--data), or render a training set and "
        "train the small model of the demo on it, persons and hands: that takes about an hour on "
        "two cores. Needs no GPU and no network; progress goes to stderr.",
        "shelfgate model train --data store/dataset.yaml --folder build/store",
        run_train,
    )
    train.add_argument("--folder", type=Path, default=FOLDER, help="weights, and rendered pictures")
    train.add_argument(
        "--data",
        type=Path,
        metavar="FILE",
        help="a dataset in ultralytics' pose layout, described by its .yaml; trains persons alone",
    )
    train.add_argument("--seed", type=SEEDS, default=SEED, help="decides pictures and weights")
    train.add_argument("--pictures", type=RENDERED, default=PICTURES, help="to render")
    train.add_argument("--people-epochs", type=EPOCHS, default=PEOPLE_EPOCHS)
    train.add_argument(
        "--people-from",
        type=Path,
        metavar="FILE",
        help="weights to go on from, at half the rate: of ultralytics (.pt), or an ONNX file of "
        "the small model; else from none",
    )
    train.add_argument(
        "--size",
        type=whole_number(32, SIDE_MAX_PX),
        default=SIZE_PX,
        metavar="PX",
        help="longer side of the model's input; of rendered pictures "
        f"{', '.join(map(str, RENDERED_PX))}",
    )
    train.add_argument("--hands-epochs", type=EPOCHS, default=HANDS_EPOCHS)
    train.add_argument(
        "--hands-from",
        type=Path,
        metavar="FILE",
        help="an export of the hands' network to go on from, at half the rate; else from none",
    )
    train.add_argument("--threads", type=THREADS, default=1, help="for each network")
    train.add_argument("--only", choices=["people", "hands"], help="train one of them")


def _add_export(commands: "argparse._SubParsersAction[Any]") -> None:
    export = add_command(
        commands,
        "export",
        "Write trained weights as ONNX files, as the vision worker reads them, and beside them in "
        "the other forms that are asked for. INT8 is calibrated on pictures; nothing is fetched.",
        "shelfgate model export --folder build/store --format onnx openvino ncnn",
        run_export,
    )
    export.add_argument("--folder", type=Path, default=FOLDER, help="where train wrote")
    export.add_argument(
        "--model",
        type=Path,
        metavar="FILE",
        help="instead of what train wrote: weights of ultralytics (.pt), or an ONNX file",
    )
    export.add_argument(
        "--to", type=Path, metavar="FOLDER", help="where files go (default: exported in --folder)"
    )
    export.add_argument(
        "--format",
        nargs="+",
        choices=FORMS,
        default=["onnx"],
        metavar="FORM",
        help=f"of {', '.join(FORMS)} (default: onnx, which is written in any case)",
    )
    export.add_argument(
        "--pictures",
        type=Path,
        metavar="FOLDER",
        help="to calibrate openvino-int8 on (default: images/train in --folder, as rendered)",
    )


def run_train(options: argparse.Namespace) -> int:
    """Render what is not there yet, then train both networks, one after the other."""
    dataset = import_needed("vision.yolo.dataset", EXTRAS)
    folder: Path = options.folder
    description = options.data or folder / "dataset.yaml"
    try:
        _check_train(options)
    except ValueError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    runtime = import_needed("vision.yolo.runtime", EXTRAS)
    runtime.restart_with_malloc()
    if options.data is None and not description.exists():
        counts = {"train": options.pictures, "val": max(options.pictures // 25, 8)}
        size_wh = (options.size, options.size * 3 // 4)
        dataset.make_dataset(folder, seed=options.seed, counts=counts, processes=2, size_wh=size_wh)
    try:
        if options.only != "hands":
            weights = import_needed("vision.yolo.train", EXTRAS).train_people(
                description,
                folder / "runs",
                seed=options.seed,
                epochs=options.people_epochs,
                threads=options.threads,
                start=options.people_from,
                size_px=options.size,
                rendered=options.data is None,
            )
            log.info("wrote %s", weights)
        if options.only != "people" and options.data is None:
            hands = import_needed("vision.yolo.hands_net", EXTRAS)
            training = hands.HandsTraining(
                epochs=options.hands_epochs, threads=options.threads, start=options.hands_from
            )
            hands.train_hands(
                folder, folder / "runs" / "hands.pt", seed=options.seed, training=training
            )
    except import_needed("vision.detectors").ModelError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    log.info("next: shelfgate model export --folder %s", shlex.quote(str(folder)))
    return 0


def _check_train(options: argparse.Namespace) -> None:
    """Look before an hour of training whether it can begin.

    Raises:
        ValueError: Something is missing or does not fit together.
    """
    starts = {"people": options.people_from, "hands": options.hands_from}
    for network, start in starts.items():
        if start is None:
            continue
        if options.only not in {None, network} or (network == "hands" and options.data is not None):
            raise ValueError(f"--{network}-from {start}: {network} are not trained. Leave it out")
        if not start.is_file():
            raise ValueError(f"{start}: no such file. Give weights to go on from, or none")
        if network == "hands":
            import_needed("vision.yolo.hands_net", EXTRAS).begin(start)
    if options.data is None:
        _check_rendered(options.size, options.folder, hands=options.only != "people")
        return
    if options.only == "hands":
        raise ValueError("--only hands: --data trains persons alone. Leave one of them away")
    import_needed("yaml", EXTRAS)
    import_needed("vision.yolo.own_data", EXTRAS).check_data(options.data)


def _check_rendered(size_px: int, folder: Path, *, hands: bool) -> None:
    """Look whether pictures can be rendered for a size, or those that are there are of it.

    Raises:
        ValueError: They cannot, or are of another; or what is there is not whole.
    """
    if size_px not in RENDERED_PX:
        sizes = ", ".join(map(str, RENDERED_PX))
        raise ValueError(
            f"--size {size_px}: rendered pictures are one of {sizes} pixels wide. Give one of "
            "these, or --data with pictures of your own"
        )
    dataset = import_needed("vision.yolo.dataset", EXTRAS)
    if not (folder / "dataset.yaml").exists():
        if (folder / "images").exists():
            raise ValueError(
                f"{folder}: has pictures, but no dataset.yaml, which is written after the last. "
                "Remove them if they are of a rendering cut short, or give another --folder"
            )
        return
    there = dataset.width_of(folder)
    if there != size_px:
        raise ValueError(
            f"{folder}: its pictures are of {there} pixels, not {size_px}. Give another "
            f"--folder, or --size {there}"
        )
    if hands:
        dataset.stored_hands(folder, "train")


def run_export(options: argparse.Namespace) -> int:
    """Write ONNX files of all weights that there are, then their other forms."""
    target: Path = options.to or options.folder / "exported"
    wanted = [form for form in options.format if form != "onnx"]
    detectors = import_needed("vision.detectors")
    try:
        # Before a minute of exporting: is everything there that it takes?
        convert = import_needed("vision.detectors.convert")
        _check_target(target)
        for form in wanted:
            convert.check_tool(form)
        for source in _onnx_files(options, target):
            for form in wanted:
                pictures = options.pictures or options.folder / "images" / "train"
                log.info("wrote %s", convert.convert(source, form, target, pictures))
    except detectors.ModelError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    except OSError as error:
        why = error.strerror or type(error).__name__
        sys.stderr.write(f"{error.filename or target}: {why}. Look at the disk and its rights\n")
        return 1
    return 0


def _check_target(target: Path) -> None:
    """Look whether files can go into a folder, which may not be there yet.

    Raises:
        ModelError: They cannot.
    """
    there = target
    while not os.path.lexists(there) and there != there.parent:
        there = there.parent
    if not there.is_dir():
        problem = f"{there} is no folder"
    elif not os.access(there, os.W_OK | os.X_OK):
        problem = f"{there} may not be written to"
    else:
        return
    refused: type[Exception] = import_needed("vision.detectors").ModelError
    raise refused(f"{target}: {problem}. Give --to another folder")


def _onnx_files(options: argparse.Namespace, target: Path) -> list[Path]:
    """Write the ONNX files of a model into a folder and return them.

    Raises:
        ModelError: There are no weights, or the ONNX file is none.
    """
    refused: type[Exception] = import_needed("vision.detectors").ModelError
    runs = options.folder / "runs"
    people, hands = runs / "people" / "weights" / "last.pt", runs / "hands.pt"
    if options.model is not None:
        people, hands = options.model, None
        if not people.is_file():
            raise refused(f"{people}: no such file. Give weights (.pt) or an ONNX file")
        if people.suffix.lower() == ".onnx":
            return [_copy_onnx(people, target / f"{people.stem}.onnx")]
    found = []
    # Hands first: they are sooner done, and refused where they are of another version.
    if hands is not None and hands.exists():
        found.append(target / "hands.onnx")
        import_needed("vision.yolo.export", EXTRAS).export_hands(hands, found[-1])
    if people.exists():
        name = "people" if options.model is None else people.stem
        found.append(target / f"{name}.onnx")
        import_needed("vision.yolo.export", EXTRAS).export_people(people, found[-1])
    if not found:
        raise refused(f"{people}: no such file. Run shelfgate model train first")
    return found


def _copy_onnx(source: Path, target: Path) -> Path:
    """Copy an ONNX file, with what it is licensed under, and return where it went.

    Raises:
        ModelError: It is no ONNX file.
    """
    import_needed("vision.detectors.onnx_file").read_onnx(source)
    if target.exists() and target.samefile(source):
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
    licence = source.with_name(source.name + ".license")
    if licence.exists():
        shutil.copyfile(licence, target.with_name(target.name + ".license"))
    log.info("wrote %s", target)
    return target


def run_evaluate(options: argparse.Namespace) -> int:
    """Print the measured quality as JSON."""
    detectors, scenes = import_needed("vision.detectors"), import_needed("vision.scenes")
    evaluation, convert = (
        import_needed("vision.evaluation"),
        import_needed("vision.detectors.convert"),
    )
    people, hands = (convert.place(options.models, name, options.form) for name in NETWORKS)
    try:
        detector = detectors.build(
            convert.KINDS[options.form],
            people,
            hands=hands if hands.exists() else None,
            threads=options.threads,
        )
    except detectors.ModelError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    offsets = evaluation.constant_offsets(scenes.pictures(OFFSET_SEED, OFFSET_PICTURES))
    shown = scenes.pictures(options.seed, options.pictures, busy=options.busy)
    quality = evaluation.evaluate(detector, shown, offsets)
    coded = msgspec.json.format(msgspec.json.encode(quality), indent=2)
    sys.stdout.write(coded.decode() + "\n")
    return 0


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
