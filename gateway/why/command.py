# SPDX-License-Identifier: Apache-2.0
"""The command ``shelfgate why``: the story of one event."""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec

from gateway.config import load_settings, load_store
from gateway.database_errors import DatabaseError
from gateway.journal import JournalError, named_segments
from gateway.plotting import without_plots
from gateway.why.facts import Evidence, Story, WhyError
from gateway.why.story import from_database, from_journal, require_change
from gateway.why.words import tell

Draw = Callable[[Story, Evidence, Path], None]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what ``shelfgate why`` takes."""
    parser.add_argument(
        "event",
        metavar="EVENT",
        help="an event's, change's or review's id, or an unambiguous beginning of 6 or more"
        " characters",
    )
    parser.add_argument(
        "--journal",
        nargs="+",
        type=Path,
        metavar="FILE",
        help="segments of a journal, in order, or its directory",
    )
    parser.add_argument(
        "--settings",
        type=Path,
        metavar="FILE",
        help="the operator's settings: look into the daemon's database, and its journal if it has"
        " one; nothing is written, and a running daemon is not disturbed",
    )
    parser.add_argument(
        "--store", type=Path, metavar="FILE", help="for the names of products, with --settings"
    )
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw it as a PNG, too")
    parser.add_argument("--json", action="store_true", help="print one JSON document")


def run_why(args: argparse.Namespace) -> int:
    """Run ``shelfgate why``.

    Returns:
        The exit status: 1 if there is no story, 2 if the arguments do not go together.
    """
    wrong = _misused(args)
    if wrong is not None:
        sys.stderr.write(f"{wrong}\n")
        return 2
    try:
        draw = _drawer(args.plot)
        story = _story(args)
        if draw is not None:
            _draw(draw, story, args.plot)
    except (WhyError, JournalError, DatabaseError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    except OSError as error:
        reason = error.strerror or type(error).__name__
        sys.stderr.write(f"{error.filename}: {reason}. Check the path and its permissions\n")
        return 1
    if args.json:
        sys.stdout.buffer.write(msgspec.json.format(msgspec.json.encode(story)) + b"\n")
    else:
        sys.stdout.write(tell(story))
    sys.stdout.flush()
    return 0


def _misused(args: argparse.Namespace) -> str | None:
    if args.journal is None and args.settings is None:
        return "why: nowhere to look. Give --journal FILE…, or --settings FILE of the daemon"
    if args.journal is not None and args.settings is not None:
        return "--journal: not beside --settings, which name a journal of their own. Give one"
    if args.store is not None and args.settings is None:
        return "--store: a journal has its store in it. Leave it out"
    if args.plot is not None and args.plot.suffix.lower() != ".png":
        return f"--plot {args.plot}: not a PNG. Name a file that ends in .png"
    return None


def _story(args: argparse.Namespace) -> Story:
    if args.settings is not None:
        products = load_store(args.store).products if args.store else {}
        names = {gtin: product.name for gtin, product in products.items()}
        return from_database(args.event, load_settings(args.settings), names)
    return from_journal(args.event, named_segments(args.journal))


def _drawer(path: Path | None) -> Draw | None:
    if path is None:
        return None
    try:
        from gateway.why.picture import draw  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise WhyError(without_plots(error)) from None
    return draw


def _draw(draw: Draw, story: Story, path: Path) -> None:
    evidence = require_change(story)
    try:
        draw(story, evidence, path)
    except OSError as error:
        problem = f"--plot {path}: cannot be written ({error.strerror or error})"
        raise WhyError(f"{problem}. Name a file in a directory that you may write") from None
    sys.stderr.write(f"{path}\n")
