# SPDX-License-Identifier: Apache-2.0
"""``shelfgate simulate --script``: one case of the exam, played to a broker or drawn as a video."""

import argparse
import sys
from pathlib import Path

from drivers.mqtt.config import MqttConfig
from gateway.config import load_store
from gateway.simulator.demo_settings import entry_table
from gateway.simulator.exam.cases import ALL_KINDS, Case, make_case
from gateway.simulator.exam.conditions import CONDITIONS
from gateway.simulator.exam.playing import PlayConfig, Player
from gateway.simulator.keys import TokenMaker
from gateway.simulator.store_files import write_store
from gateway.simulator.until_stopped import listen, say, stop_signal


def add_case_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what chooses a case of the exam and says what to do with it."""
    parser.add_argument(
        "--script",
        choices=ALL_KINDS,
        metavar="SCRIPT",
        help="play one case of the exam, which has a store of its own: " + ", ".join(ALL_KINDS),
    )
    parser.add_argument(
        "--condition",
        choices=list(CONDITIONS),
        default="typical",
        help="how badly its sensors behave (%(default)s)",
    )
    parser.add_argument(
        "--render",
        type=Path,
        metavar="FILE",
        help="draw the case as an MP4 video, and play nothing",
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="write the case's store file, and play nothing"
    )


def refuse_options(args: argparse.Namespace) -> None:
    """Refuse what would be left undone without a word.

    Raises:
        ValueError: Arguments that do not go together.
    """
    if args.script is None:
        if args.render is not None or args.dry_run:
            raise ValueError("--render, --dry-run: they are of a script. Give --script too")
        return
    if args.render is not None and (args.store or args.dry_run or args.truth):
        raise ValueError("--render: draws and plays nothing. Leave --store and --truth out")
    if args.render is None and args.store is None:
        raise ValueError("--store: missing. Name a file for the case's store")
    if args.seed < 0:
        raise ValueError(f"--seed {args.seed}: negative. Give 0 or more")


def render_script(args: argparse.Namespace) -> int:
    """Draw a case; return the exit status."""
    case = make_case(args.script, CONDITIONS[args.condition], args.seed)
    status = _render(case, args.render, quiet=args.quiet)
    if not status and not args.quiet:
        say(f"{args.render}: {case.name}, {case.length_s:.0f} s")
    return status


async def run_script(args: argparse.Namespace, broker: MqttConfig, truth: Path | None) -> int:
    """Play a case; return the exit status.

    Raises:
        ValueError: The store file is another's.
        OSError: A file cannot be written.
    """
    case = make_case(args.script, CONDITIONS[args.condition], args.seed)
    _write_store(case, args.store)
    TokenMaker.in_directory(case.store.name, args.keys)  # The daemon reads its public part.
    if not args.quiet:
        say(f"{args.store}: the store of {case.name}, {case.length_s:.0f} s")
        say(f"For the daemon's settings:\n\n{entry_table(args.keys.resolve())}")
    if args.dry_run:
        return 0
    config = PlayConfig(
        broker=broker,
        keys=args.keys,
        truth=truth,
        say=(lambda _line: None) if args.quiet else say,
        held=args.held,
    )
    player = Player(case, config)
    stop = stop_signal()
    if args.held:
        listen(player.begin, stop)
    await player.run(stop)
    if truth is not None and not args.quiet:
        say(f"{truth}: what really happened{' until it was stopped' if stop.is_set() else ''}")
    return 0


def _write_store(case: Case, path: Path) -> None:
    if path.exists():
        if load_store(path).version != case.store.version:
            problem = f"--store {path}: is not the store of {case.name}"
            raise ValueError(f"{problem}. Name a file that is not there")
        return
    write_store(path, case.store)


def _render(case: Case, path: Path, *, quiet: bool) -> int:
    try:
        from gateway.simulator.exam.picture import film  # noqa: PLC0415
        from vision.film import FilmError  # noqa: PLC0415
    except ImportError as error:
        if (error.name or "").startswith(("gateway", "vision")):
            raise
        remedy = "Install shelfgate[vision], and libgl1 libglib2.0-0 libxcb1 where they lack"
        sys.stderr.write(f"--render: {error}. {remedy}\n")
        return 1

    def progress(share: float) -> None:
        if sys.stderr.isatty() and not quiet:
            sys.stderr.write(f"\r{share:4.0%}" + ("\n" if share >= 1.0 else ""))
            sys.stderr.flush()

    try:
        film(case, path, progress=progress)
    except FilmError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0
