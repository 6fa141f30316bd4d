# SPDX-License-Identifier: Apache-2.0
"""The demo as a person runs it: it judges, it ends, and it leaves nothing behind."""

import argparse
import asyncio
import os
import re
import shlex
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path

import pytest

from gateway.journal import segments
from gateway.simulator.demo import _directory, add_arguments, run_demo
from gateway.simulator.integrator import summary
from gateway.simulator.witness import read_witness
from tests.acceptance import cut_faults, delivery_faults, replay_faults


def demo(tmp_path, *words, vision=False):
    command = [sys.executable, "-m", "gateway.cli", "demo", "--keep-files", str(tmp_path / "files")]
    command += [*words, *([] if vision else ["--no-vision"])]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def left_behind(tmp_path):
    """Return command lines of processes that work on this run's files."""
    found = []
    for process in Path("/proc").iterdir():
        with suppress(OSError):
            line = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            if str(tmp_path / "files") in line and process.name != str(os.getpid()):
                found.append(line)
    return found


def read_until(process, words):
    """Read the demo's output up to a line with these words."""
    lines = []
    for line in process.stdout:
        lines.append(line)
        if words in line:
            return lines
    raise AssertionError(f"never said {words!r}:\n" + "".join(lines))


@pytest.mark.slow
def test_receipts_are_right_and_no_event_is_lost_over_an_outage(tmp_path):
    with demo(tmp_path, "--seed", "4", "--shoppers", "2", "--outage", "6") as process:
        output = process.communicate()[0]
    assert process.returncode == 0, output
    assert re.search(r"^events received \d+, lost 0, repeated \d+;", output, re.MULTILINE)
    assert "\x1b" not in output, "no colours in a pipe"
    assert (
        output.index("broker killed") < output.index("broker is back") < output.index("truly took")
    )
    assert len(re.findall(r"^shopper-\d .*right$", output, re.MULTILINE)) == 2
    counts = summary(tmp_path / "files" / "integrator.db")
    assert counts.lost == counts.conflicting == counts.malformed == 0
    assert read_witness(tmp_path / "files" / "truth.json").over
    assert not left_behind(tmp_path)
    pasted = shlex.split(output.splitlines()[-1])
    why = subprocess.run(pasted, capture_output=True, text=True, check=False)
    assert why.returncode == 0, why.stderr
    assert "What the plates felt" in why.stdout


@pytest.mark.slow
def test_the_whole_store_with_camera_and_model_ends_right_and_its_journal_replays(tmp_path):
    for package in ("cv2", "onnxruntime"):
        pytest.importorskip(package)
    with demo(tmp_path, "--seed", "101", vision=True) as process:
        output = process.communicate()[0]
    assert process.returncode == 0, output
    assert output.index("the store opens") < output.index("broker killed") < output.index("is back")
    assert len(re.findall(r"^shopper-\d .*right$", output, re.MULTILINE)) == 5
    files = tmp_path / "files"
    assert "[[vision]]" in (files / "settings.toml").read_text()
    assert delivery_faults(files, kills=0)[1] == []
    assert replay_faults(files) == []
    inputs, wrong = cut_faults(segments(files / "journal"))
    assert wrong == []
    assert inputs > 1_000
    assert not left_behind(tmp_path)


@pytest.mark.slow
def test_an_interrupt_ends_everything(tmp_path):
    with demo(tmp_path, "--seed", "4") as process:
        read_until(process, "the store opens")
        assert left_behind(tmp_path)
        process.send_signal(signal.SIGINT)
        assert "interrupted" in process.communicate()[0]
    assert process.returncode == 130
    assert not left_behind(tmp_path)


@pytest.mark.slow
def test_a_killed_demo_takes_its_processes_along(tmp_path):
    with demo(tmp_path, "--seed", "4") as process:
        read_until(process, "the store opens")
        process.kill()
    patience = threading.Event()
    for _ in range(150):
        if not left_behind(tmp_path):
            break
        patience.wait(0.1)
    assert not left_behind(tmp_path)


@pytest.mark.slow
def test_a_part_that_fails_ends_the_demo_with_its_last_words(tmp_path):
    with demo(tmp_path, "--seed", "4") as process:
        read_until(process, "the store opens")
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        [integrator] = [
            int(child)
            for child in children
            if b"gateway.simulator.integrator" in Path(f"/proc/{child}/cmdline").read_bytes()
        ]
        os.kill(integrator, signal.SIGKILL)
        output = process.communicate()[0]
    assert process.returncode == 2
    assert "integrator ended with status -9" in output
    assert not left_behind(tmp_path)


def test_a_store_file_that_is_not_there_is_said_so(tmp_path):
    with demo(tmp_path, "--store", "/nowhere.toml") as process:
        output = process.communicate()[0]
    assert process.returncode == 2
    assert "nowhere.toml" in output
    assert "Traceback" not in output


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--shoppers", "0"], "nobody would come"),
        (["--outage", "-1"], "not a duration"),
        (["--outage", "nan"], "not a duration"),
        (["--kill-daemon", "-1"], "negative"),
        (["--keep-files", "/proc/nowhere"], "cannot be written"),
    ],
)
def test_a_wrong_argument_is_refused_with_a_remedy(words, said, tmp_path, capsys):
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    args = parser.parse_args(["--keep-files", str(tmp_path), *words])
    assert asyncio.run(run_demo(args)) == 2
    errors = capsys.readouterr().err
    assert said in errors
    assert len(errors.splitlines()) == 1


def test_files_of_an_earlier_run_are_told_of(tmp_path, capsys):
    assert _directory(tmp_path / "new") == tmp_path / "new"
    (tmp_path / "notes.txt").touch()
    _directory(tmp_path)
    assert capsys.readouterr().err == ""
    (tmp_path / "gateway.db").touch()
    _directory(tmp_path)
    [line] = capsys.readouterr().err.splitlines()
    assert f"--keep-files {tmp_path}: holds files of an earlier run" in line
    assert ". Name an empty directory" in line


@pytest.mark.slow
def test_who_keeps_it_going_sees_the_backlog_go_and_who_is_still_inside(tmp_path):
    words = ("--seed", "4", "--keep-going", "--outage", "3")
    with demo(tmp_path, *words) as process:
        lines = read_until(process, "backlog empty again after")
        assert "broker is back" in "".join(lines)
        read_until(process, "session.started")
        process.send_signal(signal.SIGINT)
        output = process.communicate()[0]
    assert process.returncode == 0, output
    assert "interrupted: waiting for the last receipts" in output
    assert "still in the store, so without a receipt: shopper-" in output
    assert not left_behind(tmp_path)
