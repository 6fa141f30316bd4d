# SPDX-License-Identifier: Apache-2.0
"""``shelfgate evaluate`` and ``simulate --script``, as a person calls them."""

import json

import pytest

from gateway.cli import main
from gateway.domain.inputs import EngineSettings, GatewayStarted
from gateway.journal import Header, encode_line
from gateway.simulator.exam.cases import make_case, stamp
from gateway.simulator.exam.conditions import CALM, TYPICAL
from gateway.simulator.exam.examinee import sit
from gateway.simulator.exam.score import judge
from gateway.simulator.exam.stage import START_NS
from gateway.simulator.witness import witness_of, write_witness


def write_journal(path, case):
    started = GatewayStarted(
        at=stamp(START_NS - 1_000_000),
        gateway="gw",
        version="0",
        epoch="a" * 32,
        previous_epoch=None,
        previous_sequence=None,
        settings=EngineSettings(),
        store=case.store,
        state=[],
    )
    lines = [encode_line(n, item) for n, item in enumerate([started, *case.inputs()], start=1)]
    head = json.dumps({"journal": 1, "number": 1, "snapshot": None}).encode()
    assert json.loads(head)["journal"] == Header(number=1).journal
    path.write_bytes(b"\n".join([head, b"".join(lines)]))


@pytest.fixture(scope="module")
def recording(tmp_path_factory):
    folder = tmp_path_factory.mktemp("recording")
    case = make_case("row", CALM, 2)
    write_journal(folder / "j.jsonl", case)
    write_witness(folder / "truth.json", witness_of(case.truth, over=True))
    return folder, case


def test_a_recording_is_judged_as_its_case_is(recording, capsys):
    folder, case = recording
    arguments = ["evaluate", str(folder / "j.jsonl"), "--truth", str(folder / "truth.json")]
    assert main([*arguments, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    expected = judge(sit(case.store, case.inputs()), case.truth)
    assert found["result"]["pairs"] == [
        [pair.true, pair.billed, pair.undecidable] for pair in expected.pairs
    ]
    assert found["figures"]["found"] == 1.0
    assert main(arguments) == 0
    assert "units taken" in capsys.readouterr().out


def test_receipts_alone_can_be_judged(recording, tmp_path, capsys):
    """A truth that somebody wrote by hand may have no acts."""
    folder, case = recording
    truth = tmp_path / "truth.json"
    truth.write_text(json.dumps({"baskets": case.truth.baskets}))
    assert main(["evaluate", str(folder / "j.jsonl"), "--truth", str(truth), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["figures"]
    expected = judge(sit(case.store, case.inputs()), case.truth)
    assert found["units"] == sum(pair.true for pair in expected.pairs)
    assert found["seconds"] is None


def test_a_suite_is_one_document(capsys):
    arguments = ["evaluate", "--suite", "--cases", "2", "--condition", "calm", "--jobs", "1"]
    assert main([*arguments, "--who", "engine", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["cases"] == 2
    assert found["seeds"] == [1, 2]
    assert found["conditions"]["calm"]["engine"]["all"]["cases"] == 2
    assert main([*arguments, "--kind", "bag", "--who", "baseline"]) == 0
    assert "bag" in capsys.readouterr().out


def test_plots_show_reliability_and_the_worst_cases(tmp_path, capsys):
    pytest.importorskip("matplotlib", reason="the plots extra is not installed")
    arguments = ["evaluate", "--suite", "--cases", "3", "--condition", "harsh", "--jobs", "1"]
    assert main([*arguments, "--kind", "crossed", "--plot", str(tmp_path / "plots")]) == 0
    capsys.readouterr()
    names = sorted(path.name for path in (tmp_path / "plots").iterdir())
    assert "reliability.png" in names
    assert any(name.startswith("crossed-harsh-") for name in names)
    for path in (tmp_path / "plots").iterdir():
        assert path.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ([], "Give --suite"),
        (["j.jsonl"], "Give --truth"),
        (["--suite", "tuning", "--truth", "t.json"], "Leave the journal"),
        (["--suite", "--cases", "0"], "--cases 0"),
        (["--suite", "--jobs", "0"], "--jobs 0"),
    ],
)
def test_arguments_that_do_not_go_together(arguments, word, capsys):
    assert main(["evaluate", *arguments]) == 2
    assert word in capsys.readouterr().err


def test_files_that_are_not_there_or_not_what_they_should_be(recording, tmp_path, capsys):
    folder, _ = recording
    journal, truth = str(folder / "j.jsonl"), str(folder / "truth.json")
    strange = tmp_path / "strange"
    strange.write_text("{}")
    for arguments in (
        [str(tmp_path / "gone"), "--truth", truth],
        [journal, "--truth", str(tmp_path / "gone")],
        [journal, "--truth", str(strange)],
        [truth, "--truth", truth],
    ):
        assert main(["evaluate", *arguments]) == 1
        error = capsys.readouterr().err
        assert error.count("\n") == 1
        assert ". " in error


def test_a_script_writes_its_store_once(tmp_path, capsys):
    store, keys = str(tmp_path / "s.toml"), str(tmp_path / "keys")
    call = ["simulate", "--script", "bag", "--store", store, "--keys", keys, "--dry-run"]
    assert main([*call, "--seed", "4"]) == 0
    assert "entry.jwks.json" in capsys.readouterr().out
    assert main([*call, "--seed", "4"]) == 0
    assert main([*call, "--seed", "5"]) == 2
    assert "Name a file that is not there" in capsys.readouterr().err
    assert (tmp_path / "keys" / "entry.jwks.json").exists()


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["--dry-run"], "--store"),
        (["--store", "s.toml", "--render", "x.mp4"], "Name a script"),
        (["--script", "bag"], "Name a file for the case's store"),
    ],
)
def test_simulate_says_what_is_missing(arguments, word, capsys, tmp_path):
    assert main(["simulate", "--keys", str(tmp_path), *arguments]) == 2
    assert word in capsys.readouterr().err


def test_rendering_into_nowhere_is_an_error(tmp_path, capsys):
    pytest.importorskip("cv2", reason="the vision extra is not installed")
    where = str(tmp_path / "gone" / "x.mp4")
    assert main(["simulate", "--script", "bag", "--render", where]) == 1
    assert "Give a file in a folder that exists" in capsys.readouterr().err


def test_the_condition_is_part_of_a_case():
    assert make_case("bag", CALM, 1).inputs() != make_case("bag", TYPICAL, 1).inputs()
