# SPDX-License-Identifier: Apache-2.0
"""The command line: help with examples, exit statuses, and refusals that say what to do."""

import gzip
import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace

import pytest

from gateway.cli import _serve
from gateway.simulator.keys import TokenMaker
from tests.e2e.helpers import PATIENCE_S, Program, accepts, closed, daemon, outside_broker, until
from tests.e2e.shop import FILE, STORE, Shop
from tests.schema_check import check_event

COMMANDS = ["run", "vision", "check", "backup", "replay", "tail", "simulate", "demo", "model"]


def shelfgate(*arguments, **options):
    return subprocess.run(
        [sys.executable, "-m", "gateway.cli", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_S,
        **options,
    )


MANY = """
import contextlib, io, json, logging, sys
from gateway.cli import main
for line in sys.stdin:
    out, err = io.StringIO(), io.StringIO()
    logging.root.handlers.clear()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            status = main(json.loads(line))
        except SystemExit as end:
            status = end.code
    print(json.dumps([status, out.getvalue(), err.getvalue()]))
"""


def many(*lines):
    """Run several commands in one process: it is the start of Python that takes the time."""
    text = "\n".join(json.dumps([str(word) for word in line]) for line in lines)
    done = subprocess.run(
        [sys.executable, "-c", MANY],
        input=text,
        capture_output=True,
        text=True,
        check=True,
        timeout=PATIENCE_S,
    )
    return [SimpleNamespace(**dict(zip(("returncode", "stdout", "stderr"), json.loads(line),
            strict=True))) for line in done.stdout.splitlines()]  # fmt: skip


def write(folder, store_text=FILE, more=""):
    """Write both files; return the arguments that name them."""
    TokenMaker.in_directory(STORE, folder / "keys")
    (folder / "store.toml").write_text(store_text)
    (folder / "settings.toml").write_text(f'gateway = "gw-1"\ndatabase = "gateway.db"\n{more}')
    return ["--settings", folder / "settings.toml", "--store", folder / "store.toml"]


def test_help_says_what_for_with_an_example():
    for command, done in zip(COMMANDS, many(*([name, "--help"] for name in COMMANDS)), strict=True):
        assert done.returncode == 0
        shown = " ".join(done.stdout.split())
        assert re.search(rf"Examples?: shelfgate {command}", shown), shown
        assert not done.stderr


def test_help_names_every_command():
    done = shelfgate("--help")
    assert done.returncode == 0
    assert all(f"\n    {command} " in done.stdout for command in COMMANDS)


WRONG = [
    [],
    ["dance"],
    ["run"],
    ["replay"],
    ["check", "--settings"],
    ["tail", "--broker", "nowhere"],
]


def test_wrong_use_is_status_2_and_says_why():
    for done in [*many(*WRONG), shelfgate("dance")]:
        assert done.returncode == 2
        assert done.stderr
        assert not done.stdout
        assert "Traceback" not in done.stderr


def test_check_of_good_files_is_status_0(tmp_path):
    done = shelfgate("check", *write(tmp_path))
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.endswith("good\n")


OVERLAP = """[[gondola.shelf.plate]]
name = "a"
offset_mm = 0
width_mm = 500
[[gondola.shelf.plate]]
name = "b"
offset_mm = 400
width_mm = 500
[[facing]]
gtin = "9506000130057"
plates = ["a"]
"""
BROKEN = [
    (FILE.replace("depth_mm", "depht_mm"), "depht_mm", ["depth_mm"]),
    (FILE.partition("plates = 3")[0] + OVERLAP, "plate b overlaps plate a", ["offset_mm"]),
    (FILE.replace("9506000130057", "9506000130058"), "gtin", ["9506000130058", "check digit"]),
    (FILE.replace('zone = "entrance"', 'zone = "entrace"'), "zone", ["entrance"]),
    (FILE.replace("unit_g = 165", "unit_g = -1"), "unit_g", ["is -1. ", "above 0"]),
    (FILE.replace("version = 1", "version = 9"), "version", ["1"]),
    (FILE + "[[facing]\n", "", []),
    ("", "", []),
]


def test_check_refuses_a_wrong_store_file_with_line_key_and_remedy(tmp_path):
    folders = [tmp_path / str(number) for number in range(len(BROKEN))]
    lines = []
    for folder, (text, _, _) in zip(folders, BROKEN, strict=True):
        folder.mkdir()
        lines.append(["check", *write(folder, text)])
    for done, (_, key, words) in zip(many(*lines), BROKEN, strict=True):
        refused(done, done.stdout, key, words)


@pytest.mark.parametrize("case", [0, 1])
def test_run_refuses_a_wrong_store_file_and_makes_no_database(tmp_path, case):
    text, key, words = BROKEN[case]
    done = shelfgate("run", *write(tmp_path, text))
    refused(done, done.stderr, key, words)
    assert not (tmp_path / "gateway.db").exists()


def refused(done, told, key, words):
    assert done.returncode == 1
    line = next(line for line in told.splitlines() if "store.toml:" in line)
    rest = line.partition("store.toml:")[2]
    if key:
        assert rest.split(":")[0].isdigit(), line
    # The folder's name may hold any word, so only what is said of the file counts.
    said = "\n".join(line.partition("store.toml:")[2] for line in told.splitlines())
    assert key in said
    assert all(word in said for word in words), told
    assert ". " in rest, "a remedy follows the problem"
    assert "Traceback" not in done.stderr


def test_all_errors_of_both_files_come_at_once(tmp_path):
    wrong = FILE.replace("depth_mm", "depht_mm").replace("unit_g = 80", "unit_g = 0")
    done = shelfgate("check", *write(tmp_path, wrong, more="[uplnk]\nport = 1\n"))
    assert done.returncode == 1
    assert "settings.toml:3" in done.stdout
    assert "uplink" in done.stdout
    assert {"depht_mm", "unit_g"} <= {
        word for word in ("depht_mm", "unit_g") if word in done.stdout
    }


def test_files_that_are_not_there_are_refused(tmp_path):
    files = ["--settings", tmp_path / "none.toml", "--store", tmp_path / "none.toml"]
    for done in many(["check", *files], ["run", *files]):
        assert done.returncode == 1
        assert "none.toml" in done.stdout + done.stderr
        assert "Traceback" not in done.stderr


def test_a_model_that_is_none_is_refused_by_check_and_by_vision_itself(tmp_path):
    pytest.importorskip("onnxruntime")
    pytest.importorskip("cv2")
    (tmp_path / "rubbish.onnx").write_bytes(b"no model")
    camera = '[[vision]]\ncamera = "top"\nurl = "none"\nmodel = "rubbish.onnx"\n'
    hanging = FILE.replace("size_px =", "position_mm = [0, 0, 3000]\nsize_px =")
    files = write(tmp_path, hanging, more=camera)
    checked = shelfgate("check", *files)
    served = shelfgate("vision", *files)
    for done, told in ((checked, checked.stdout), (served, served.stderr)):
        assert done.returncode == 1, done
        assert "rubbish.onnx" in told
        assert "Traceback" not in done.stderr
    assert "settings.toml:3: vision[0]" in checked.stdout


def test_a_disk_that_refuses_ends_the_daemon_with_a_message(tmp_path):
    """Another program holds the database longer than the daemon waits for it."""
    arguments = write(tmp_path)
    with daemon(tmp_path, arguments[-1]) as one:
        one.start()
        until(lambda: accepts(one.instore), "the in-store broker")
        with (
            closed(Shop(one.instore, tmp_path / "keys")),
            closing(sqlite3.connect(one.database, isolation_level=None)) as other,
        ):
            other.execute("PRAGMA busy_timeout = 5000")
            other.execute("BEGIN IMMEDIATE")
            assert one.program.process.wait(PATIENCE_S) == 1
        words = one.program.words()
        assert f"{one.database}: database is locked. " in words
        assert "Traceback" not in words


def test_of_what_ends_a_service_only_bugs_are_traced(capsys):
    async def ends():
        raise ExceptionGroup("tasks", [ExceptionGroup("inner", [OSError("no disk")]), *bugs])

    bugs = []
    assert _serve(ends(), OSError) == 1
    assert capsys.readouterr().err == "no disk\n"
    bugs = [KeyError("bug")]
    with pytest.raises(ExceptionGroup) as raised:
        _serve(ends(), OSError)
    assert raised.value.exceptions == (*bugs,)


def test_replay_refuses_what_is_no_journal(tmp_path):
    files = [tmp_path / f"{number}.jsonl.gz" for number in range(5)]
    for file, content in zip(files, (b"", b"\x1f\x8b", b"no journal\n", b"\xff\n"), strict=False):
        file.write_bytes(content)
    for file, done in zip(files, many(*(["replay", file] for file in files)), strict=True):
        assert done.returncode == 1
        assert str(file) in done.stderr
        assert "Traceback" not in done.stderr


JOURNAL = Path(__file__).parents[2] / "fixtures" / "journals" / "one-shelf.jsonl"


def test_replay_says_of_a_file_that_is_not_there_which(tmp_path):
    done = shelfgate("replay", tmp_path / "none.jsonl.gz")
    assert done.returncode == 1
    assert done.stderr.startswith(f"{tmp_path / 'none.jsonl.gz'}: No such file or directory. ")


def test_replay_of_a_segment_that_was_cut_off_says_so_and_uses_the_rest(tmp_path):
    segment = tmp_path / "cut.jsonl.gz"
    whole = gzip.compress(JOURNAL.read_bytes())
    segment.write_bytes(whole[:-9])
    done = shelfgate("replay", segment)
    assert done.returncode == 0, done.stderr
    assert f"{segment}: ends early" in done.stderr
    segment.write_bytes(whole)
    assert "ends early" not in shelfgate("replay", segment).stderr


def test_replay_ends_well_when_its_reader_has_seen_enough():
    read_fd, write_fd = os.pipe()
    os.close(read_fd)
    command = [sys.executable, "-m", "gateway.cli", "replay", str(JOURNAL)]
    done = subprocess.run(
        command, stdout=write_fd, stderr=subprocess.PIPE, text=True, check=False, timeout=PATIENCE_S
    )
    os.close(write_fd)
    assert (done.returncode, done.stderr) == (0, "")


def test_vision_without_a_working_opencv_says_what_to_install(tmp_path):
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "cv2.py").write_text(
        'raise ImportError("libGL.so.1: cannot open shared object file")\n'
    )
    path = os.pathsep.join((str(tmp_path / "broken"), *filter(None, sys.path)))
    files = write(tmp_path, more='[[vision]]\ncamera = "top"\nurl = "none"\nmodel = "m.onnx"\n')
    done = shelfgate("vision", *files, env={**os.environ, "PYTHONPATH": path})
    assert done.returncode == 1
    assert done.stderr.startswith("vision: OpenCV cannot be loaded: libGL.so.1")
    assert "Install libgl1 libglib2.0-0 libxcb1" in done.stderr
    assert done.stderr.count("\n") == 1


def test_tail_takes_credentials_that_fit(tmp_path):
    (tmp_path / "password").write_text("x\n")
    nowhere = ["tail", "--broker", "127.0.0.1:1"]
    password = ["--password-file", tmp_path / "password"]
    alone, unread, no_ca = many(
        [*nowhere, *password],
        [*nowhere, "--username", "u", "--password-file", tmp_path / "none"],
        [*nowhere, "--ca", tmp_path / "none.pem"],
    )
    assert (alone.returncode, unread.returncode, no_ca.returncode) == (2, 1, 1)
    assert "--username: missing" in alone.stderr
    assert "none: cannot be read" in unread.stderr
    assert "none.pem: no such file" in no_ca.stderr


def test_tail_shows_live_events_readable_or_as_json(tmp_path):
    arguments = write(tmp_path)
    with (
        outside_broker(tmp_path) as upstream,
        daemon(tmp_path, arguments[-1], upstream=upstream.port) as one,
    ):
        broker = ["--broker", f"127.0.0.1:{upstream.port}", "--protocol", "4"]
        command = ("-m", "gateway.cli", "-v", "tail", *broker)
        lines = Program(tmp_path, "lines", *command, "--store", arguments[-1]).start()
        objects = Program(tmp_path, "objects", *command, "--json").start()
        try:
            one.start()
            with closed(Shop(one.instore, tmp_path / "keys")) as shop:
                # A tail hears what comes after it: there is no event for its being connected.
                until(lambda: scanned(shop, lines, objects), "a line of each")
            one.stop()
            for line in objects.words().splitlines():
                if line.startswith("{"):
                    check_event(line)
            started = next(line for line in lines.words().splitlines() if "session.started" in line)
            assert "came in at entrance" in started
            statuses = [program.stop(signal.SIGINT)[0] for program in (lines, objects)]
            assert statuses == [130, 130]
        finally:
            lines.kill()
            objects.kill()


def scanned(shop, lines, objects):
    shop.scan(shop.tokens.token("anna"))
    shop.frames(5)
    shown = [line for line in objects.words().splitlines() if line.startswith("{")]
    named = any(json.loads(line)["type"] == "org.shelfgate.session.started.v1" for line in shown)
    return named and "session.started" in lines.words()
