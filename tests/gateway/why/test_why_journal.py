# SPDX-License-Identifier: Apache-2.0
"""``shelfgate why`` from a journal: what it says of one event, and of what it does not find."""

import os
import re
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from gateway.domain.engine import Engine
from gateway.domain.probability import told
from gateway.why.facts import Told, WhyError
from gateway.why.records import Index, choose
from gateway.why.words import percent
from tests.gateway.domain.scene import JAM, OIL, TEA, Scene
from tests.gateway.domain.test_holdings import TEAS, shop_with
from tests.gateway.why.conftest import write_segment

ROOT = Path(__file__).parents[3]
COLUMNS = 100


def possibilities(evidence, key):
    """Return by session how likely each possibility is."""
    return {one["deeds"][0]["session"]: one[key] for one in evidence["possibilities"]}


def test_looking_alters_nothing(day, journal):
    index = Index([journal])
    told = [(one.told.id, one.told.data) for one in index.made]
    assert told == [(made.event.id, made.data) for made in day.scene.events]


def test_a_doubtful_pick_is_told_with_what_made_it_sure(day, story):
    told = story(day.event("item.picked").event.id)
    evidence = told["evidence"]
    assert evidence["shelf"] == "g1.s1"
    [felt] = evidence["felt"]
    assert (felt["plate"], round(felt["delta_g"])) == ("g1.s1.p2", -240)
    assert felt["began_s"] <= felt["half_s"] <= felt["ended_s"]
    [move] = evidence["readings"][0]["moves"]
    assert move["fits"][0]["gtin"] == TEA
    near = {one["session"]: one for one in move["near"]}
    assert set(near) == {day.anna, day.bert}
    assert all(one["wrist_mm"] == pytest.approx(0.0, abs=60.0) for one in near.values())
    first, last = possibilities(evidence, "probability"), possibilities(evidence, "last")
    assert first[day.anna] == pytest.approx(0.5, abs=0.05)
    assert first[day.bert] == pytest.approx(0.5, abs=0.05)
    assert last[day.bert] > 0.9
    [turn] = evidence["turns"]
    put_back = day.event("item.put-back")
    assert put_back.event.id in {cause["id"] for cause in turn["causes"]}
    assert [one["name"] for one in told["tellings"]] == ["item.picked", "attribution.revised"]


def test_its_curves_span_four_seconds_on_both_sides(day, story):
    evidence = story(day.event("item.picked").event.id)["evidence"]
    [weights] = evidence["weights"]
    times, grams = zip(*weights["points"], strict=True)
    assert (times[0], times[-1]) == (
        pytest.approx(-4.0, abs=0.1),
        pytest.approx(evidence["lasted_s"] + 4.0, abs=0.3),
    )
    assert grams[0] == pytest.approx(0.0, abs=3.0)
    assert grams[-1] == pytest.approx(-240.0, abs=3.0)
    assert {one["session"] for one in evidence["wrists"]} == {day.anna, day.bert}
    assert all(-4.0 <= at_s <= 5.0 for one in evidence["wrists"] for at_s, _ in one["points"])


def test_a_put_back_is_told_with_what_carts_held(day, story):
    evidence = story(day.event("item.put-back").event.id)["evidence"]
    [move] = evidence["readings"][0]["moves"]
    best = move["fits"][0]
    assert best["gtin"] == TEA
    assert best["session"] is not None
    assert best["weighs_g"] == pytest.approx(240.0, abs=2.0)
    assert possibilities(evidence, "last")[day.bert] > 0.9


def test_a_review_is_told_with_who_decided_and_the_lines_it_ended_in(day, story, why, journal):
    asked = day.event("review.requested")
    told = story(asked.event.id)
    assert told == story(asked.data["review"])
    assert told["change"] == asked.data["change"]
    assert "a person decided it" in told["evidence"]["ended"]
    assert [one["name"] for one in told["tellings"]] == [
        "item.picked",
        "review.requested",
        "review.resolved",
        "attribution.revised",
    ]
    of_bert = next(one for one in told["receipts"] if one["session"] == day.bert)
    assert [line["gtin"] for line in of_bert["lines"]] == [JAM]
    _, words, _ = why(asked.event.id, "--journal", journal)
    assert "carla decided" in words
    assert "a person was asked: uncertain" in words
    assert "* 11:06:" in words


def test_a_change_that_nobody_was_near_is_told(day, story, why, journal):
    alone = day.event("shelf.changed-unattended")
    evidence = story(alone.event.id)["evidence"]
    assert evidence["ended"] == "unattended"
    assert evidence["possibilities"] == []
    [move] = evidence["readings"][0]["moves"]
    assert move["near"] == []
    assert move["fits"][0]["gtin"] == OIL
    _, words, _ = why(alone.event.id, "--journal", journal)
    assert "nobody was seen near" in words
    assert "nobody-near" in words


def test_a_change_told_while_the_gateway_was_down_has_a_story_for_each_run(tmp_path, why):
    scene = Scene()
    scene.run(3.0)
    first = len(scene.inputs)
    scene.weights_g["g1.s1.p0"] -= 150.0
    scene.weights_g["g1.s1.p3"] -= 390.0
    scene.restart(3.0)
    scene.run(4.0)
    paths = [
        write_segment(tmp_path / "0.jsonl", scene.inputs[:first]),
        write_segment(tmp_path / "1.jsonl", scene.inputs[first:]),
    ]
    alone = [made for made in scene.events if made.name == "shelf.changed-unattended"]
    assert len(alone) == 2
    for made in alone:
        status, words, _ = why(made.event.id, "--journal", *paths)
        assert status == 0
        assert "it came to light while nobody looked (gateway-down)" in words


def test_a_receipt_is_told_with_the_changes_behind_its_lines(day, story, why, journal):
    closed = day.event("cart.closed", -1)
    told = story(closed.event.id)
    [receipt] = [one for one in told["receipts"] if one["event"] == closed.event.id]
    [line] = receipt["lines"]
    assert line["changes"] == [day.event("review.requested").data["change"]]
    _, words, _ = why(closed.event.id, "--journal", journal)
    assert f"change {line['changes'][0]}" in words


def test_other_events_are_told_with_what_made_them(day, why, journal):
    for name, said in (
        ("session.started", "a token was scanned at scanner/gate: valid"),
        ("device.lost", "shelf/g2.s1 is offline (unplugged)"),
        ("session.ended", "time passed"),
        ("gateway.started", "the daemon 1 started"),
    ):
        status, words, _ = why(day.event(name).event.id, "--journal", journal)
        assert status == 0
        assert said in words
        assert "shopper" not in words
        assert "anna" not in words


def test_every_story_fits_the_columns(day, why, journal):
    for made in day.scene.events:
        status, words, _ = why(made.event.id, "--journal", journal)
        assert status == 0
        assert max(map(len, words.splitlines())) <= COLUMNS


def test_a_change_id_and_a_beginning_are_enough(day, story):
    picked = day.event("item.picked")
    whole = story(picked.event.id)
    assert story(picked.event.id[:6]) == whole
    assert story(picked.data["change"]) == whole
    assert story(picked.event.id[:9].upper()) == whole


@pytest.mark.parametrize("wanted", ["abc", "xyzxyz", "", "a" * 33, "5add'; --", "../etc"])
def test_what_is_no_id_is_refused(why, journal, wanted):
    status, out, err = why(wanted, "--journal", journal)
    assert (status, out) == (1, "")
    assert "Give an event's, change's or review's id" in err


def test_an_id_that_is_too_short_is_told_so(why, journal):
    status, _, err = why("ba2f", "--journal", journal)
    assert status == 1
    assert "'ba2f': too short for an id. Give" in err


@pytest.mark.parametrize(
    ("share", "said"),
    [
        (0.99748, "99.8%"),
        (0.9975, "99.8%"),
        (0.99997, ">99.9%"),
        (1.0, "100.0%"),
        (0.00002, "<0.1%"),
        (0.0, "0.0%"),
    ],
)
def test_one_probability_has_one_form(share, said):
    """Events tell it with four digits: what is worked out again reads the same."""
    assert percent(share) == percent(told(share)) == said


def test_an_unknown_id_says_so(why, journal):
    status, _, err = why("0123456789", "--journal", journal)
    assert status == 1
    assert "has no such event, change or review. Look the id up" in err


@pytest.mark.usefixtures("day")
def test_an_ambiguous_beginning_names_what_begins_so(monkeypatch, why, journal):
    monkeypatch.setattr("gateway.why.records.ID", re.compile("[0-9a-f]*"))
    status, _, err = why("", "--journal", journal)
    assert status == 1
    assert "ids begin so: " in err
    assert "more. Give more of it" in err


def test_what_is_exactly_an_id_is_never_ambiguous():
    def told(name, change):
        return Told(name, "item.picked", "shelf/a", "", {"change": change})

    events = [told("abcdef01", "abcdef"), told("abcdef02", "bbbbbb")]
    assert choose("abcdef", events, (), "here") is events[0]
    with pytest.raises(WhyError, match=r"2 ids begin so: .* \(item.picked\)"):
        choose("abcdef0", events, (), "here")
    with pytest.raises(WhyError, match="nothing was told of it"):
        choose("cccccc", events, ["cccccc11"], "here")


def test_a_journal_that_does_not_hold_the_change_says_so(day, tmp_path, why):
    """A ring that has lost its first segments: the pick is not in it, its receipt is."""
    inputs = day.scene.inputs
    cut = next(
        place
        for place, (number, item) in enumerate(inputs)
        if item.at.mono_ns > day.event("review.requested").data["clock"]["mono_ns"]
    )
    engine = Engine()
    for number, item in inputs[:cut]:
        engine.step(number, item)
    rest = write_segment(
        tmp_path / "rest.jsonl", inputs[cut:], number=inputs[cut][0], snapshot=engine.snapshot()
    )
    status, _, err = why(day.event("item.picked").event.id, "--journal", rest)
    assert status == 1
    assert "no such event" in err
    resolved = day.event("review.resolved").event.id
    status, words, _ = why(resolved, "--journal", rest)
    assert status == 0
    assert "the journal begins after the change was decided" in words
    status, _, err = why(resolved, "--journal", rest, "--plot", tmp_path / "why.png")
    assert status == 1
    assert "--plot: nothing to draw" in err


def test_a_story_over_several_segments_is_the_same(day, tmp_path, story, why):
    inputs = day.scene.inputs
    engine = Engine()
    paths, begun, snapshot = [], 0, None
    for place, (number, item) in enumerate(inputs, 1):
        engine.step(number, item)
        if place % 300 == 0 or place == len(inputs):
            path = tmp_path / f"{len(paths):010d}.jsonl.gz"
            paths.append(write_segment(path, inputs[begun:place], begun + 1, snapshot))
            begun, snapshot = place, engine.snapshot()
    assert len(paths) > 2
    wanted = day.event("item.picked").event.id
    status, out, _ = why(wanted, "--journal", tmp_path, "--json")
    assert status == 0
    assert msgspec.json.decode(out)["evidence"] == story(wanted)["evidence"]


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["123456"], 2, "nowhere to look"),
        (["123456", "--journal", "a", "--settings", "b"], 2, "not beside --settings"),
        (["123456", "--journal", "a", "--store", "b"], 2, "Leave it out"),
        (["123456", "--journal", "a", "--plot", "b.jpg"], 2, "ends in .png"),
        (["123456", "--journal", "/nowhere/at.all"], 1, "/nowhere/at.all: No such file"),
        (["123456", "--settings", "/nowhere/at.all"], 1, "/nowhere/at.all"),
    ],
)
def test_what_does_not_go_together_is_refused(why, arguments, status, said):
    got, out, err = why(*arguments)
    assert (got, out) == (status, "")
    assert said in err


def test_a_file_that_is_no_journal_and_an_empty_directory_are_refused(tmp_path, why):
    (tmp_path / "text").write_text("hello\n")
    status, _, err = why("123456", "--journal", tmp_path / "text")
    assert status == 1
    assert "Give a segment of a journal" in err
    (tmp_path / "empty").mkdir()
    status, _, err = why("123456", "--journal", tmp_path / "empty")
    assert status == 1
    assert "no segment of a journal in it" in err


# The picture.


@pytest.mark.parametrize("name", ["item.picked", "item.put-back", "shelf.changed-unattended"])
def test_the_picture_is_a_png(day, tmp_path, why, journal, name):
    pytest.importorskip("matplotlib", reason="the plots extra is not installed")
    path = tmp_path / "why.png"
    status, _, err = why(day.event(name).event.id, "--journal", journal, "--plot", path)
    assert status == 0, err
    assert path.read_bytes().startswith(b"\x89PNG")
    assert str(path) in err


def test_matplotlib_does_not_tell_of_its_font_cache(tmp_path):
    pytest.importorskip("matplotlib", reason="the plots extra is not installed")
    code = "import logging; logging.basicConfig(level=logging.INFO); import gateway.why.command"
    done = subprocess.run(
        [sys.executable, "-c", f"{code}, gateway.why.picture"],
        env=os.environ | {"MPLCONFIGDIR": str(tmp_path), "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert list(tmp_path.glob("fontlist*")), "it has made one"
    assert done.stderr == ""


def test_without_matplotlib_the_extra_is_named(monkeypatch, day, tmp_path, why, journal):
    monkeypatch.setitem(sys.modules, "matplotlib.axes", None)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.delitem(sys.modules, "gateway.why.picture", raising=False)
    wanted = day.event("item.picked").event.id
    status, out, err = why(wanted, "--journal", journal, "--plot", tmp_path / "why.png")
    assert (status, out) == (1, "")
    assert "is missing. Install shelfgate[plots]" in err
    assert why(wanted, "--journal", journal)[0] == 0


def test_nothing_is_drawn_of_what_is_no_change(day, tmp_path, why, journal):
    pytest.importorskip("matplotlib", reason="the plots extra is not installed")
    wanted = day.event("session.started").event.id
    status, _, err = why(wanted, "--journal", journal, "--plot", tmp_path / "why.png")
    assert status == 1
    assert "is about no change of weight" in err


def test_a_picture_that_cannot_be_written_says_so(day, tmp_path, why, journal):
    pytest.importorskip("matplotlib", reason="the plots extra is not installed")
    wanted = day.event("item.picked").event.id
    status, _, err = why(wanted, "--journal", journal, "--plot", tmp_path / "no" / "why.png")
    assert status == 1
    assert "cannot be written" in err


def test_how_many_stood_there_is_told_where_units_are_counted(why, tmp_path):
    scene = shop_with(484.0, 245.0)
    scene.enter()
    made = [
        one
        for _ in range(3)
        for one in scene.act("anna", {TEAS: -240.0})
        if one.name == "item.picked"
    ]
    journal = write_segment(tmp_path / "0000000000.jsonl.gz", scene.inputs)
    told = [why(one.event.id, "--journal", journal)[1] for one in made]
    there = [re.search(r"best fit: 1 x \S+ of (.*): should weigh 240 g", one)[1] for one in told]
    assert there == ["2 to 3 there", "1 to 2 there", "0 to 1 there"]
