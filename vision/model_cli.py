# SPDX-License-Identifier: Apache-2.0
"""``shelfgate model bench`` and ``shelfgate model check``: which runtime, and what a file is.

Nothing of the vision extra is imported until a command runs, so that ``--help`` needs none of it.
"""

import argparse
import importlib
import logging
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

KINDS = ("onnxruntime", "openvino", "ncnn", "opencv", "ultralytics")
SIZES_PX = (320, 416, 640)
SIDE_MAX_PX = 4096


def add_parsers(commands: "argparse._SubParsersAction[Any]") -> None:
    """Add both commands to a parser; each sets ``run``, which takes the parsed arguments."""
    bench = add_command(
        commands,
        "bench",
        "Measure each runtime that is installed here: latency, frames a second, CPU time and "
        "memory, each in a process of its own, and recommend one. "
        "Give one model in every form that you have of it.",
        "shelfgate model bench yolo11n-pose.onnx yolo11n-pose_ncnn_model --sizes 320 640",
        run_bench,
    )
    bench.add_argument(
        "models", nargs="+", type=Path, metavar="FILE", help="or folder of an export"
    )
    bench.add_argument(
        "--sizes",
        nargs="+",
        type=whole_number(32, SIDE_MAX_PX),
        default=list(SIZES_PX),
        metavar="PX",
        help="longer sides of the input, for models that take any (default: 320 416 640)",
    )
    _add_runtimes(bench)
    bench.add_argument("--threads", type=whole_number(1, 64), default=1, help="for the model")
    bench.add_argument(
        "--frames", type=whole_number(1, 100_000), default=100, help="at each size, at most"
    )
    bench.add_argument(
        "--seconds", type=whole_number(1, 3600), default=10, help="at each size, at most"
    )
    bench.add_argument("--json", action="store_true", help="print JSON")

    check = add_command(
        commands,
        "check",
        "Say what a model file is: its format, input, classes and keypoints, and which runtimes "
        "here can run it, or why it cannot be used. Ends with 1 where one cannot.",
        "shelfgate model check yolo11n-pose.onnx",
        run_check,
    )
    check.add_argument(
        "models", nargs="+", type=Path, metavar="FILE", help="or folder of an export"
    )
    _add_runtimes(check)
    check.add_argument("--json", action="store_true", help="print JSON: a list, one entry a file")


def run_bench(options: argparse.Namespace) -> int:
    """Print the table, or the report as JSON."""
    bench, detectors = import_needed("vision.detectors.bench"), import_needed("vision.detectors")
    logging.getLogger("vision.detectors.bench").setLevel(logging.INFO)
    try:
        report = bench.bench(
            options.models,
            kinds=options.runtimes,
            sizes_px=options.sizes,
            threads=options.threads,
            frames=options.frames,
            seconds_max=float(options.seconds),
        )
    except detectors.ModelError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write(_json(report) if options.json else bench.text_of(report))
    return 0 if report.rows else 1


def run_check(options: argparse.Namespace) -> int:
    """Print what each file is."""
    check = import_needed("vision.detectors.check")
    verdicts = [check.check(path, options.runtimes) for path in options.models]
    if options.json:
        sys.stdout.write(_json(verdicts))
    else:
        sys.stdout.write("".join(check.text_of(verdict) for verdict in verdicts))
    return 0 if all(verdict.good for verdict in verdicts) else 1


def _add_runtimes(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--runtimes",
        nargs="+",
        choices=KINDS,
        default=list(KINDS),
        metavar="NAME",
        help=f"of {', '.join(KINDS)} (default: all)",
    )


def _json(value: object) -> str:
    return msgspec.json.format(msgspec.json.encode(value), indent=2).decode() + "\n"


def whole_number(least: int, most: int) -> Callable[[str], int]:
    """Return what reads an option's number, and refuses one outside both limits."""

    def number(text: str) -> int:
        value = int(text)
        if not least <= value <= most:
            raise argparse.ArgumentTypeError(f"{value}: not from {least} to {most}")
        return value

    return number


def add_command(
    commands: "argparse._SubParsersAction[Any]",
    name: str,
    purpose: str,
    example: str,
    run: Callable[[argparse.Namespace], int],
) -> argparse.ArgumentParser:
    """Add a command that says what it is for, with an example; return its parser."""
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        help=purpose.partition(".")[0],
        description=purpose,
        epilog=f"example: {example}",
    )
    parser.set_defaults(run=run)
    return parser


def import_needed(name: str, extras: str = "vision") -> Any:  # noqa: ANN401 - a module has no better type
    """Import a module when it is needed, and say what to install where it is not there.

    Args:
        name: The module.
        extras: Of this package, that bring what it needs; separated by commas.
    """
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise SystemExit(
            f"{error.name}: not installed. Run pip install 'shelfgate[{extras}]'"
        ) from error
    except ImportError as error:
        raise SystemExit(
            f"{name}: cannot be loaded: {error}. "
            f"Install libgl1 libglib2.0-0 libxcb1, or shelfgate[{extras}] again"
        ) from error
