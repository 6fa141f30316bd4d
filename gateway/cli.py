# SPDX-License-Identifier: Apache-2.0
"""``shelfgate``: one thin entry point for every command.

Commands import what they need when they run: the daemon never loads vision, replay loads no MQTT.
Exit status: 0 done, 1 the work found something wrong, 2 the command was used wrongly.
"""

import argparse
import asyncio
import logging
import os
import sys
import textwrap
import time
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any

from drivers.errors import DriverError
from gateway.config import (
    Checked,
    ConfigError,
    Problem,
    Settings,
    examine,
    load,
    load_settings,
    load_store,
)
from gateway.domain.events import Event
from gateway.domain.store import Store
from gateway.envelope import made_line
from gateway.supervise import leaves
from gateway.version import VERSION

HELP_WIDTH = 78


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; return the exit status."""
    given = sys.argv[1:] if arguments is None else arguments
    wanted = next((word for word in given if not word.startswith("-")), None)
    args = _parser(wanted).parse_args(given)
    logging.basicConfig(
        level=logging.DEBUG if args.verbose else logging.INFO,
        format="%(levelname)s %(message)s" if not sys.stderr.isatty() else "%(message)s",
        stream=sys.stderr,
    )
    # It would show every parameter of every statement, pseudonyms among them.
    logging.getLogger("aiosqlite").setLevel(logging.INFO)
    run: Callable[[argparse.Namespace], int] = args.run
    try:
        return run(args)
    except (ConfigError, DriverError) as error:
        print(error, file=sys.stderr)
        return 1
    except BrokenPipeError:
        # The reader of a pipe has seen enough; what is still buffered goes nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        return 130


def _parser(wanted: str | None) -> argparse.ArgumentParser:
    """Return the parser; only the command that is wanted loads what its options need."""
    parser = argparse.ArgumentParser(
        prog="shelfgate",
        description="The daemon on a store's gateway that makes grab-and-go checkout work.",
    )
    parser.add_argument("--version", action="version", version=f"shelfgate {VERSION}")
    parser.add_argument("-v", "--verbose", action="store_true", help="say more on standard error")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    _add_daemon(commands)
    _add_tools(commands, wanted)
    _add_outbox(commands, wanted)
    _add_why(commands, wanted)
    _add_devices(commands, wanted)
    _add_camera(commands, wanted)
    _add_simulation(commands, wanted)
    _add_model(commands, wanted)
    return parser


def _command(
    commands: Any,  # noqa: ANN401  argparse has no public name for it.
    name: str,
    purpose: str,
    example: str | tuple[str, ...],
    run: Callable[[argparse.Namespace], int] | None,
) -> argparse.ArgumentParser:
    one = isinstance(example, str)
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        help=purpose.partition(". ")[0].removesuffix("."),
        description=textwrap.fill(purpose, HELP_WIDTH),
        epilog=f"Example: {example}" if one else "\n  ".join(("Examples:", *example)),
        # A line of a shell is not to be broken.
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    if run is not None:
        parser.set_defaults(run=run)
    return parser


def _add_files(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--settings", type=Path, required=True, metavar="FILE", help="the operator's settings"
    )
    parser.add_argument(
        "--store", type=Path, required=True, metavar="FILE", help="the installer's store file"
    )


def _add_daemon(commands: Any) -> None:  # noqa: ANN401
    run = _command(
        commands,
        "run",
        "Run the daemon: read the store's devices, keep carts, send events upstream. "
        "SIGTERM ends it, SIGHUP reads the store file again.",
        "shelfgate run --settings /etc/shelfgate/settings.toml --store /etc/shelfgate/store.toml",
        _run,
    )
    _add_files(run)
    run.add_argument(
        "--show-events", action="store_true", help="print each committed event as a line"
    )
    vision = _command(
        commands,
        "vision",
        "Run the vision worker: watch the cameras of the settings, publish people in-store.",
        "shelfgate vision --settings settings.toml --store store.toml",
        _vision,
    )
    _add_files(vision)


def _add_tools(commands: Any, wanted: str | None) -> None:  # noqa: ANN401
    checking = _command(
        commands,
        "check",
        "Check settings and store file: every error with file, line, key and remedy.",
        "shelfgate check --settings settings.toml --store store.toml",
        _check,
    )
    _add_files(checking)
    backup = _command(
        commands,
        "backup",
        "Copy the database of a daemon, running or not, into a new file, and check the copy.",
        "shelfgate backup --settings /etc/shelfgate/settings.toml /mnt/usb/gateway-monday.db",
        _backup,
    )
    backup.add_argument(
        "--settings", type=Path, required=True, metavar="FILE", help="the operator's settings"
    )
    backup.add_argument("target", type=Path, metavar="TARGET", help="the file to make")
    replay = _command(
        commands,
        "replay",
        "Fold a journal as fast as possible and print what the engine makes, one JSON a line.",
        "shelfgate replay journal/ > events.jsonl",
        _replay,
    )
    replay.add_argument(
        "files", nargs="+", type=Path, metavar="JOURNAL", help="segments in order, or a directory"
    )
    replay.add_argument(
        "--store", type=Path, metavar="FILE", help="fold under this store instead of the journal's"
    )
    tail = _command(
        commands,
        "tail",
        "Show live events from the upstream broker, one readable line each, or JSON.",
        "shelfgate tail --broker broker.example:1883 --store store.toml",
        None,
    )
    if wanted == "tail":
        from gateway import watch  # noqa: PLC0415

        watch.add_arguments(tail)
        tail.set_defaults(run=watch.run_tail)


def _add_outbox(commands: Any, wanted: str | None) -> None:  # noqa: ANN401
    outbox = _command(
        commands,
        "outbox",
        "Show what waits for the uplink and how long an outage may last; export it, check it, or "
        "give up a class of it.",
        (
            "shelfgate outbox show --settings /etc/shelfgate/settings.toml",
            "shelfgate outbox purge devices --reason 'fan' --settings settings.toml",
        ),
        None,
    )
    if wanted == "outbox":
        from gateway import outbox_tool  # noqa: PLC0415

        outbox_tool.add_arguments(outbox)
        outbox.set_defaults(run=outbox_tool.run)


def _add_why(commands: Any, wanted: str | None) -> None:  # noqa: ANN401
    why = _command(
        commands,
        "why",
        "Tell one event's story: what plates felt and hands did, how it was explained, and what "
        "changed that later. --plot draws it.",
        (
            "shelfgate why 4386222e --journal journal/ --plot why.png",
            "shelfgate why 4386222e --settings /etc/shelfgate/settings.toml",
        ),
        None,
    )
    if wanted == "why":
        from gateway.why import command  # noqa: PLC0415

        command.add_arguments(why)
        why.set_defaults(run=command.run_why)


def _add_devices(commands: Any, wanted: str | None) -> None:  # noqa: ANN401
    devices = _command(
        commands,
        "devices",
        "List ports, cameras and what the in-store broker knows, by names that stay; find out what "
        "is on a port (--probe); watch what each device sends.",
        (
            "shelfgate devices --settings settings.toml --store store.toml",
            "shelfgate devices --probe /dev/ttyUSB0",
            "shelfgate devices watch --settings settings.toml --store store.toml",
        ),
        None,
    )
    if wanted == "devices":
        from gateway.app import mqtt_config  # noqa: PLC0415
        from gateway.devices import add_arguments, run_devices  # noqa: PLC0415

        add_arguments(devices)
        devices.set_defaults(run=lambda args: run_devices(args, mqtt_config))


def _add_simulation(commands: Any, wanted: str | None) -> None:  # noqa: ANN401
    simulation = _command(
        commands,
        "simulate",
        "Publish a store's devices against any broker, to test without hardware, or one scale.",
        (
            "shelfgate simulate --broker 127.0.0.1:1883 --store fixtures/stores/demo.toml",
            "shelfgate simulate --script crossed --condition harsh --seed 7 --render case.mp4",
            "shelfgate simulate --device ohaus --lines /tmp/lines",
            "shelfgate simulate --fleet 200 --broker 127.0.0.1:1884 --directory fleet",
        ),
        None,
    )
    show = _command(
        commands,
        "demo",
        "Run a whole simulated store, with an outage, and compare receipts with the truth.",
        "shelfgate demo --seed 7",
        None,
    )
    exam = _command(
        commands,
        "evaluate",
        "Measure how well the engine tells who took what: on an exam of made-up cases, or on a "
        "journal of which the truth is known.",
        (
            "shelfgate evaluate --suite --cases 50",
            "shelfgate evaluate journal/ --truth truth.json",
        ),
        None,
    )
    if wanted == "simulate":
        from gateway.simulator.simulate import add_arguments, simulate  # noqa: PLC0415

        add_arguments(simulation)
        simulation.set_defaults(run=simulate)
    elif wanted == "demo":
        from gateway.simulator import demo  # noqa: PLC0415

        demo.add_arguments(show)
        show.set_defaults(run=lambda args: asyncio.run(demo.run_demo(args)))
    elif wanted == "evaluate":
        from gateway.simulator.exam import evaluate  # noqa: PLC0415

        evaluate.add_arguments(exam)
        exam.set_defaults(run=evaluate.run_evaluate)


def _add_model(commands: Any, wanted: str | None) -> None:  # noqa: ANN401
    model = _command(
        commands,
        "model",
        "Say what a model file is, measure which runtime suits this machine; train and export one "
        "of your own, or the small one that the demo and the tests use.",
        ("shelfgate model check yolo11n-pose.onnx", "shelfgate model bench yolo11n-pose.onnx"),
        None,
    )
    if wanted == "model":
        from vision import model_cli as tools  # noqa: PLC0415
        from vision.yolo import cli as training  # noqa: PLC0415

        chosen = model.add_subparsers(metavar="COMMAND", required=True)
        training.add_parsers(chosen)
        tools.add_parsers(chosen)


def _add_camera(commands: Any, wanted: str | None) -> None:  # noqa: ANN401
    """Add the camera's commands; without the vision extra they say what is missing."""
    camera = _command(
        commands,
        "camera",
        "Set up cameras: list them, look at them, calibrate their lenses and places.",
        (
            "shelfgate camera list --settings settings.toml --store store.toml",
            "shelfgate camera calibrate ceiling --store store.toml --from *.png --board 9x6x28",
        ),
        None,
    )
    if wanted != "camera":
        return
    try:
        from gateway.cameras import add_parsers  # noqa: PLC0415
    except ImportError as error:
        told = _not_there(error)
        camera.add_argument("rest", nargs=argparse.REMAINDER, metavar="COMMAND")
        camera.set_defaults(run=lambda _args: _told(told))
    else:
        add_parsers(camera.add_subparsers(metavar="COMMAND", required=True))


def _told(words: str) -> int:
    print(words, file=sys.stderr)
    return 1


def _not_there(error: ImportError) -> str:
    """Return what an installation without the vision extra, or half of it, lacks."""
    if isinstance(error, ModuleNotFoundError):
        return f"vision: {error.name} is missing. Install shelfgate[vision]"
    remedy = "Install libgl1 libglib2.0-0 libxcb1, or shelfgate[vision] again"
    return f"vision: {_library(error)} cannot be loaded: {error}. {remedy}"


def _load(args: argparse.Namespace) -> tuple[Settings, Store]:
    settings, store, warnings = load(args.settings, args.store)
    for problem in warnings:
        if problem.severity == "warning":
            logging.getLogger(__name__).warning("%s", problem.text)
    return settings, store


def _serve(work: Coroutine[Any, Any, None], *operators: type[Exception]) -> int:
    """Run a service to its end; a bug in any of its tasks ends it with a traceback.

    Args:
        work: The service.
        operators: Errors that the operator can remedy, beside those that every command knows.
    """
    status = 0
    expected: tuple[type[Exception], ...] = (ConfigError, DriverError, *operators)
    try:
        asyncio.run(work)
    except* expected as group:
        for error in leaves(group):
            print(error, file=sys.stderr)
        status = 1
    return status


def _run(args: argparse.Namespace) -> int:
    from gateway.app import run_daemon  # noqa: PLC0415
    from gateway.database import DatabaseError  # noqa: PLC0415

    settings, store = _load(args)
    work = run_daemon(settings, store, args.store, show_events=args.show_events)
    return _serve(work, DatabaseError)


def _vision(args: argparse.Namespace) -> int:
    try:
        from gateway.vision_link import run_vision  # noqa: PLC0415
        from vision.detectors import ModelError  # noqa: PLC0415
        from vision.framing import FramingError  # noqa: PLC0415
        from vision.geometry import CalibrationError  # noqa: PLC0415
    except ImportError as error:
        return _told(_not_there(error))
    settings, store = _load(args)
    if not settings.vision:
        print(f"{args.settings}: vision: no camera. Add a [[vision]] table", file=sys.stderr)
        return 1
    return _serve(run_vision(settings, store), ModelError, CalibrationError, FramingError)


def _library(error: ImportError) -> str:
    """Return what a failed import belongs to, as the packages are called."""
    near = f"{error.name} {error.path} {error}"
    return "onnxruntime" if "onnxruntime" in near else "OpenCV"


def _check(args: argparse.Namespace) -> int:
    checked = examine(args.settings, args.store)
    problems = checked.problems + _check_vision(checked)
    for problem in problems:
        print(problem)
    errors = sum(problem.severity == "error" for problem in problems)
    if not errors:
        print(f"{args.settings} and {args.store}: good")
    return 1 if errors else 0


def _check_vision(checked: Checked) -> list[Problem]:
    """Return what is wrong with cameras and models, where what they need is installed."""
    if not checked.cameras or checked.store is None:
        return []
    try:
        from gateway.vision_link import check_vision  # noqa: PLC0415
    except ImportError:
        return []  # The machine that runs the worker has it, and says so where it has not.
    return check_vision(checked.cameras, checked.store)


def _backup(args: argparse.Namespace) -> int:
    from gateway.backup import back_up  # noqa: PLC0415
    from gateway.database_errors import DatabaseError  # noqa: PLC0415

    try:
        done = back_up(Path(load_settings(args.settings).database), args.target)
    except DatabaseError as error:
        print(error, file=sys.stderr)
        return 1
    up_to = "no event yet" if done.sequence is None else f"sequence {done.sequence}"
    print(f"{args.target}: {done.size} bytes, up to {up_to} of epoch {done.epoch or 'none'}")
    return 0


def _replay(args: argparse.Namespace) -> int:
    from gateway.journal import JournalError  # noqa: PLC0415
    from gateway.replaying import replay  # noqa: PLC0415

    store = load_store(args.store) if args.store else None

    def show(_number: int, event: Event) -> None:
        sys.stdout.buffer.write(made_line(event) + b"\n")

    began_s = time.monotonic()
    try:
        done = replay(args.files, show, store=store)
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        reason = error.strerror or type(error).__name__
        remedy = "Check the path, permissions and room"
        thing = error.filename or "standard output"
        print(f"{thing}: {reason}. {remedy}", file=sys.stderr)
        return 1
    except JournalError as error:
        print(error, file=sys.stderr)
        return 1
    took_s = time.monotonic() - began_s
    spanned_s = ((done.last_mono_ns or 0) - (done.first_mono_ns or 0)) / 1e9
    print(
        f"{done.inputs} inputs, {done.events} events; {spanned_s:.1f} s in {took_s:.1f} s",
        file=sys.stderr,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
