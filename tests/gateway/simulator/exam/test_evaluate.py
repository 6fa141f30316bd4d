# SPDX-License-Identifier: Apache-2.0
"""``shelfgate evaluate`` and ``simulate --script``, as a person calls them."""

import gzip
import json

import msgspec
import pytest

from gateway.cli import main
from gateway.journal import Header, encode_line
from gateway.simulator.exam.cases import make_case
from gateway.simulator.exam.conditions import CALM, TYPICAL
from gateway.simulator.exam.examinee import sit, started
from gateway.simulator.exam.score import figures, judge
from gateway.simulator.witness import witness_of, write_witness
from tests.gateway.domain.scene import Scene


def write_journal(path, items):
    lines = [encode_line(number, item) for number, item in enumerate(items, start=1)]
    path.write_bytes(msgspec.json.encode(Header(number=1)) + b"\n" + b"".join(lines))


@pytest.fixture(scope="module")
def recording(tmp_path_factory):
    folder = tmp_path_factory.mktemp("recording")
    case = make_case("row", CALM, 2)
    write_journal(folder / "j.jsonl", [started(case.store), *case.inputs()])
    write_witness(folder / "truth.json", witness_of(case.truth, over=True))
    return folder, case


def test_a_recording_is_judged_as_its_case_is(recording, capsys):
    folder, case = recording
    arguments = ["evaluate", str(folder / "j.jsonl"), "--truth", str(folder / "truth.json")]
    assert main([*arguments, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    expected = judge(sit(case.store, case.inputs()), case.truth)
    assert found["figures"]["f1"] == figures([expected]).f1
    assert found["figures"]["found"] == 1.0
    assert found["truth"] == case.truth.baskets
    assert main(arguments) == 0
    printed = capsys.readouterr().out
    for shopper in case.truth.baskets:
        assert f"{shopper}: " in printed


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (lambda truth: truth["baskets"].update({"shoper-1": {}}), "did not come in. Came in: sh"),
        (lambda truth: truth["baskets"]["shopper-1"].update({"952139": 1}), "14 digits"),
        (lambda truth: truth["baskets"].popitem(), "came in, too. Give everybody a basket"),
        (lambda truth: truth["acts"][0].update(plates=["g9.s1.p1"]), "has no plate g9.s1.p1. Give"),
        (lambda truth: truth["acts"][0].update(start_ns=5, end_ns=9), "CLOCK_BOOTTIME"),
        (lambda truth: truth["acts"][0].update(start_ns=9, end_ns=5), "before it began"),
        (lambda truth: truth["acts"][0].update(quantity=-1), "docs/accuracy.md"),
        (lambda truth: truth["acts"][0].update(undecidible=True), "docs/accuracy.md"),
        (lambda truth: truth["baskets"]["shopper-1"].update({"x": 10**26}), "docs/accuracy.md"),
    ],
)
def test_a_truth_of_something_else_is_refused(recording, tmp_path, capsys, change, word):
    """Otherwise it would be scored, as nonsense."""
    folder, _ = recording
    truth = json.loads((folder / "truth.json").read_bytes())
    change(truth)
    other = tmp_path / "truth.json"
    other.write_text(json.dumps(truth))
    assert main(["evaluate", str(folder / "j.jsonl"), "--truth", str(other)]) == 1
    assert word in capsys.readouterr().err


def test_receipts_alone_can_be_judged(recording, tmp_path, capsys):
    """A truth that somebody wrote by hand may have no acts."""
    folder, case = recording
    truth = tmp_path / "truth.json"
    truth.write_text(json.dumps({"baskets": case.truth.baskets}))
    (tmp_path / "journal").mkdir()
    segment = tmp_path / "journal" / "0000000001.jsonl.gz"
    segment.write_bytes(gzip.compress((folder / "j.jsonl").read_bytes()))
    assert main(["evaluate", str(tmp_path / "journal"), "--truth", str(truth), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["figures"]
    expected = judge(sit(case.store, case.inputs()), case.truth)
    assert found["units"] == sum(pair.true for pair in expected.pairs)
    assert found["seconds"] is None
    assert found["found"] is found["product"] is found["shopper"] is None


def test_of_an_unfinished_truth_only_who_is_in_it_is_judged(recording, tmp_path, capsys):
    folder, _ = recording
    truth = tmp_path / "truth.json"
    truth.write_text(json.dumps({"baskets": {}, "over": False}))
    assert main(["evaluate", str(folder / "j.jsonl"), "--truth", str(truth)]) == 0
    printed = capsys.readouterr().out
    assert "0 taken, 0 wrong" in printed
    assert "shopper-1" not in printed


@pytest.mark.parametrize("decided", [False, True])
def test_a_review_waits_until_it_is_decided(tmp_path, capsys, decided):
    scene = Scene()
    scene.run(2.0)
    scene.enter("anna")
    scene.act("anna", {"g1.s1.p3": -75.0}, wait_s=12.0)  # Nothing weighs that.
    [review] = scene.named("review.requested")
    if decided:
        scene.command("review", {"review": review["review"], "acts": [], "by": "carla"})
    segment = tmp_path / "0000000000.jsonl"
    write_journal(segment, [item for _, item in scene.inputs])
    truth = tmp_path / "truth.json"
    truth.write_text(json.dumps({"baskets": {"anna": {}}}))
    assert main(["evaluate", str(segment), "--truth", str(truth)]) == 0
    assert ("review (" in capsys.readouterr().out) is not decided


def test_a_suite_is_one_document(capsys):
    arguments = ["evaluate", "--suite", "--cases", "2", "--condition", "calm", "--jobs", "1"]
    assert main([*arguments, "--who", "engine", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["cases"] == 2
    assert found["seeds"] == [1, 2]
    assert found["without"] == []
    assert found["conditions"]["calm"]["engine"]["wrong"] == sum(
        one["wrong"] for one in found["worst"]
    )
    assert main([*arguments, "--who", "baseline", "--first-seed", "2001"]) == 0
    assert "2 cases, seeds 2001 to 2002, in " in capsys.readouterr().out
    assert found["conditions"]["calm"]["engine"]["all"]["cases"] == 2
    assert main([*arguments, "--kind", "bag", "--who", "baseline"]) == 0
    assert "bag" in capsys.readouterr().out
    assert main([*arguments, "--kind", "one", "--who", "engine"]) == 0
    assert "\nNo unit of engine is wrong or missing.\n" in capsys.readouterr().out


def test_a_suite_says_what_the_engine_had_to_do_without(capsys):
    arguments = ["evaluate", "--suite", "--cases", "1", "--condition", "calm", "--jobs", "1"]
    arguments += ["--without", "look-back", "--without", "wrists"]
    assert main([*arguments, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["without"] == ["wrists", "look-back"]
    assert main(arguments) == 0
    assert "The engine sat it without: wrists, look-back\n" in capsys.readouterr().out


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
        (["--suite", "--first-seed", "0"], "--first-seed 0"),
        (["--suite", "--first-seed", "9801", "--cases", "201"], "tuning ends at 10000"),
        (["--suite", "reporting", "--first-seed", "10000"], "reporting begins at 10001"),
        (["j.jsonl", "--truth", "t.json", "--cases", "7"], "--cases: is of the suite"),
        (["j.jsonl", "--truth", "t.json", "--first-seed", "1"], "--first-seed: is of the suite"),
        (["j.jsonl", "--truth", "t.json", "--kind", "bag"], "--kind"),
        (["j.jsonl", "--truth", "t.json", "--without", "carts"], "--without: is of the suite"),
        (["--suite", "--without", "carts", "--who", "baseline"], "give --who engine"),
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


@pytest.mark.parametrize(
    ("command", "example"),
    [
        ("simulate", "shelfgate simulate --broker 127.0.0.1:1883 --store"),
        ("simulate", "shelfgate simulate --script crossed --condition harsh --seed 7 --render"),
        ("evaluate", "shelfgate evaluate --suite --cases 50"),
        ("evaluate", "shelfgate evaluate journal/ --truth truth.json"),
    ],
)
def test_the_help_has_an_example_of_each_use_on_a_line(command, example, capsys):
    with pytest.raises(SystemExit):
        main([command, "--help"])
    assert f"\n  {example}" in capsys.readouterr().out


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
        (["--dry-run"], "Give --script too"),
        (["--store", "s.toml", "--render", "x.mp4"], "Give --script too"),
        (["--script", "bag", "--render", "x.mp4", "--dry-run"], "Leave --store"),
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
