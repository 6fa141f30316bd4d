# SPDX-License-Identifier: Apache-2.0
"""A film of a case shows what the sensors say where they say it, and apart from it the truth."""

import dataclasses
import subprocess
import sys
from pathlib import Path

import msgspec
import numpy as np
import pytest

cv2 = pytest.importorskip("cv2", reason="the vision extra is not installed")

from gateway.domain.inputs import PersonSeen, Wrist  # noqa: E402
from gateway.simulator.exam import look  # noqa: E402
from gateway.simulator.exam import picture as pictures  # noqa: E402
from gateway.simulator.exam.cases import make_case  # noqa: E402
from gateway.simulator.exam.conditions import CALM, HARSH, TYPICAL  # noqa: E402
from gateway.simulator.exam.overhead import Overhead  # noqa: E402
from gateway.simulator.exam.picture import SIZE_WH, STORE_WH, Picture, film  # noqa: E402
from gateway.simulator.exam.poses import Poses  # noqa: E402
from gateway.simulator.exam.stage import seconds  # noqa: E402
from gateway.simulator.exam.strips import SHOWN_S, Strips  # noqa: E402
from gateway.simulator.exam.trackers import Frame  # noqa: E402
from vision.film import FilmError, blank  # noqa: E402

ROOT = Path(__file__).parents[4]
STRIPS_WH = (1280, 396)


@pytest.fixture(scope="module")
def case():
    return make_case("crossed", TYPICAL, 1)


def seen(track, floor_mm, *wrists_mm):
    wrists = [Wrist(mm=mm, score=0.9) for mm in wrists_mm]
    return PersonSeen(track=track, score=0.9, floor_mm=floor_mm, wrists=wrists)


def overhead_of(case, times_s, people, at_s=1.0):
    """Return the store, with a camera that said one thing once."""
    camera = case.store.cameras[0].name
    said = dataclasses.replace(case, frames={camera: [Frame(at_s, people)]})
    return Overhead(said, np.array(times_s), STORE_WH), camera


def pixel(overhead, image, point_mm):
    x, y = overhead.px(*point_mm)
    return tuple(int(value) for value in image[round(y), round(x)])


# The film.


def test_a_film_has_all_pictures_of_the_case(case, tmp_path):
    short = dataclasses.replace(case, length_s=1.5)
    done = []
    film(short, tmp_path / "film.mp4", progress=done.append)
    video = cv2.VideoCapture(str(tmp_path / "film.mp4"))
    count = 0
    while (read := video.read())[0]:
        assert read[1].shape == (SIZE_WH[1], SIZE_WH[0], 3)
        count += 1
    assert video.get(cv2.CAP_PROP_FPS) == 10
    video.release()
    assert count == len(done) == 15
    assert done == sorted(done)
    assert done[-1] == 1.0


def test_more_pictures_a_second_show_the_same_instants(case):
    slow, fast = Picture(case, 10), Picture(case, 30)
    assert (slow.count, fast.count) == (int(case.length_s * 10), int(case.length_s * 30))
    assert (slow.draw(130) == fast.draw(390)).all()


def test_a_film_that_cannot_be_written_says_so(case, tmp_path):
    with pytest.raises(FilmError, match="Give a file in a folder that exists"):
        film(case, tmp_path / "missing" / "film.mp4")


@pytest.mark.parametrize(("kind", "seed"), [("mixed", 19), ("mixed", 8), ("restock", 3)])
def test_any_instant_can_be_drawn(kind, seed):
    picture = Picture(make_case(kind, HARSH, seed), 10)
    for number in (0, 1, 150, picture.count - 1):
        assert picture.draw(number).shape == (SIZE_WH[1], SIZE_WH[0], 3)


def test_the_rest_of_the_exam_needs_no_opencv():
    folder = ROOT / "gateway" / "simulator" / "exam"
    drawing = {"__init__", "look", "overhead", "picture", "strips"}
    names = [path.stem for path in folder.glob("*.py") if path.stem not in drawing]
    assert "cases" in names
    modules = ", ".join(f"gateway.simulator.exam.{name}" for name in names)
    code = f"import sys; sys.modules['cv2'] = None; import {modules}"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, timeout=30)


# What cameras say.


def test_a_seen_wrist_is_a_cross_of_its_tracks_colour(case):
    hands = [(-900.0, 200.0, 900.0), (-500.0, 300.0, 1_000.0)]
    overhead, camera = overhead_of(case, [1.0], [seen("7", (-700.0, 0.0), *hands)])
    image = overhead.draw(0)
    colour = overhead.colour_of_track(camera, "7")
    assert [pixel(overhead, image, hand) for hand in hands] == [colour, colour]
    assert pixel(overhead, image, (-700.0, 0.0, 0.0)) == colour
    # A miss is seen as one.
    overhead, _ = overhead_of(case, [1.0], [seen("7", (-700.0, 0.0), hands[0])])
    assert pixel(overhead, overhead.draw(0), hands[1]) != colour


def test_tracks_at_one_time_differ_in_colour(case):
    people = [seen(str(n), (-800.0 + 300 * n, 0.0)) for n in range(6)]
    overhead, camera = overhead_of(case, [1.0], people)
    image = overhead.draw(0)
    colours = [pixel(overhead, image, (*person.floor_mm, 0.0)) for person in people]
    assert colours == [overhead.colour_of_track(camera, str(n)) for n in range(6)]
    assert len(set(colours)) == 6
    assert look.TRUTH not in colours


def test_only_the_latest_frame_is_shown_and_not_for_long(case):
    overhead, camera = overhead_of(case, [0.9, 1.0, 1.3, 1.4], [seen("7", (0.0, 0.0))])
    colour = overhead.colour_of_track(camera, "7")
    shown = [pixel(overhead, overhead.draw(n), (0.0, 0.0, 0.0)) == colour for n in range(4)]
    assert shown == [False, True, True, False]


def test_nothing_that_cameras_say_hides_behind_a_body(case):
    """In a whole case, wrists are where the frame has them, whatever else is painted there."""
    [camera] = case.frames
    frames = [frame for frame in case.frames[camera] if frame.people][::7]
    overhead = Overhead(case, np.array([frame.at_s for frame in frames]), STORE_WH)
    right = wrong = 0
    for number, frame in enumerate(frames):
        image = overhead.draw(number)
        for person in frame.people:
            for wrist in person.wrists:
                x, y = overhead.px(*wrist.mm)
                if not (0 < x < STORE_WH[0] - 1 and 0 < y < STORE_WH[1] - 1):
                    continue
                colour = overhead.colour_of_track(camera, person.track)
                same = pixel(overhead, image, wrist.mm) == colour
                right, wrong = right + same, wrong + (not same)
    # Other crosses cover some.
    assert right > 80
    assert wrong < 0.05 * right


# What is true.


def test_bodies_are_painted_where_they_are(case):
    quiet = dataclasses.replace(case, frames={})
    times_s = np.arange(int(case.length_s * 10)) / 10
    overhead = Overhead(quiet, times_s, STORE_WH)
    empty = overhead.draw(0)
    actor = case.stage.actors[0]
    bodies = actor.bodies(times_s)
    number = int(np.argmin(np.abs(bodies.floor_mm[:, 0]) + 1e6 * ~bodies.present))
    x, y = overhead.px(*bodies.floor_mm[number], 0.9 * actor.height_mm)
    around = np.s_[round(y) - 10 : round(y) + 10, round(x) - 10 : round(x) + 10]
    assert (overhead.draw(number)[around] != empty[around]).any(axis=2).mean() > 0.9


def test_plates_of_an_act_are_outlined_while_it_happens(case):
    act = case.truth.acts[0]
    start_s, end_s = seconds(act.start_ns), seconds(act.end_ns)
    quiet = dataclasses.replace(case, frames={}, truth=dataclasses.replace(case.truth, acts=[act]))
    overhead = Overhead(quiet, np.array([start_s - 0.1, end_s, end_s + 5.0]), STORE_WH)
    place = next(p for p in case.stage.room.layout.plates if p.name == act.plates[0])
    x0, y0, _, _ = place.box_mm
    corner = (x0, y0, place.middle_mm[2] + 150.0)
    gold = [pixel(overhead, overhead.draw(n), corner) == look.TRUTH for n in range(3)]
    assert gold == [False, True, False]


def test_what_was_picked_is_in_the_hand_for_a_while():
    case = make_case("one", CALM, 3)
    act = case.truth.acts[0]
    end_s = seconds(act.end_ns)
    poses = Poses(case, np.array([seconds(act.start_ns), end_s, end_s + 3.0]), [1])
    held = [next(one.held for one in poses.at(n) if one.shopper == act.shopper) for n in range(3)]
    assert held[0] == held[2] == (None, None)
    assert sorted(held[1], key=str) == sorted([None, act.gtin], key=str)


def test_acts_are_told_in_words():
    case = make_case("misplace", CALM, 1)
    picks = [act for act in case.truth.acts if act.direction == "pick"]
    [back] = [act for act in case.truth.acts if act.misplaced]
    name = case.store.products[back.gtin].name
    what, where = look.told(picks[0], case)
    assert what == f"shopper-1 picks {picks[0].quantity} \N{MULTIPLICATION SIGN} {name}"
    assert where == f"from {look.plates_named(picks[0].plates)}"
    unsure = msgspec.structs.replace(back, undecidable=True, hand="child-1")
    what, where = look.told(unsure, case)
    assert what == f"child-1 puts back 1 \N{MULTIPLICATION SIGN} {name} for shopper-1"
    assert where.endswith(", misplaced, undecidable")
    assert look.plates_named(("g1.s2.p3", "g1.s2.p4")) == "g1.s2.p3 p4"
    staff = make_case("restock", CALM, 1)
    stocked = next(act for act in staff.truth.acts if act.shopper == "staff-1")
    assert "staff-1 stocks" in look.told(stocked, staff)[0]


def test_acts_are_told_while_they_happen_and_some_time_after(case):
    picture = Picture(case, 10)
    act = case.truth.acts[0]
    start, end = (seconds(at_ns) for at_ns in (act.start_ns, act.end_ns))
    what, _ = look.told(act, case)
    told = {
        at_s: [line[2] for line in picture._happening(at_s)]
        for at_s in (start - 0.1, start + 0.1, end + 3.0, end + 5.0)
    }
    assert [what in lines for lines in told.values()] == [False, True, True, False]


def test_long_words_are_wrapped():
    lines = pictures._wrapped("shopper-2 picks one of a product with a very long name", 120)
    assert len(lines) > 2
    assert " ".join(lines) == "shopper-2 picks one of a product with a very long name"


def test_labels_make_room_for_one_another():
    from gateway.simulator.exam.overhead import Label, _write

    alone, both = blank((400, 300), (0, 0, 90)), blank((400, 300), (0, 0, 90))
    _write(alone, [Label((200, 150), "shopper-1", look.TRUTH)], [])
    first = alone.copy()
    _write(both, [Label((200, 150), name, look.TRUTH) for name in ("shopper-1", "#7", "#8")], [])
    written = (first != (0, 0, 90)).any(axis=2)
    assert (both[written] == first[written]).all()
    rows = np.flatnonzero((both != (0, 0, 90)).any(axis=(1, 2)))
    assert rows.max() - rows.min() > 50


# What plates read.


def stepped(case, plate, by_g, at_s):
    read_g = case.read_g.copy()
    read_g[int(at_s * 60) :, plate] += by_g
    return dataclasses.replace(case, read_g=read_g)


def strip_of(strips, image, plate):
    left, top, right, bottom = (int(side) for side in strips.box_px(plate))
    return image[top:bottom, left:right].astype(int)


def stands_out(part):
    """Tell whether the line is blue, not grey."""
    return bool((part[:, :, 0] - part[:, :, 2] > 60).any())


def height(part):
    """Return how far up the line is at the right end: 1 at the top, -1 at the bottom."""
    light = part[:, -6:].sum(axis=2)
    light[light < 300] = 0
    rows = np.arange(len(part))[:, None]
    return 1.0 - 2.0 * float((rows * light).sum() / light.sum()) / (len(part) - 1)


def test_a_strip_moves_when_its_plate_does(case):
    quiet = dataclasses.replace(case, truth=dataclasses.replace(case.truth, acts=[]))
    still, moved = (Strips(one, STRIPS_WH) for one in (quiet, stepped(quiet, 4, -400.0, 2.0)))
    before, after = still.draw(4.0), moved.draw(4.0)
    assert abs(height(strip_of(still, before, 4))) < 0.4
    assert height(strip_of(moved, after, 4)) < -0.6
    up = Strips(stepped(quiet, 4, 400.0, 2.0), STRIPS_WH)
    assert height(strip_of(up, up.draw(4.0), 4)) > 0.6
    for other in (3, 5, 20):
        assert (strip_of(still, before, other) == strip_of(moved, after, other)).all()
    # It stands out as long as it is shown, and then the base has followed.
    bright = [
        stands_out(strip_of(moved, moved.draw(at_s), 4))
        for at_s in (1.9, 2.5, 2.0 + SHOWN_S - 0.5, 2.0 + SHOWN_S + 2.5)
    ]
    assert bright == [False, True, True, False]


def test_gaps_and_wild_samples_decide_no_scale(case):
    read_g = case.read_g.copy()
    read_g[200, 4] += 3_000.0
    read_g[230:232, 5] = np.nan
    strips = Strips(dataclasses.replace(case, read_g=read_g), STRIPS_WH)
    image = strips.draw(4.0)
    for plate in (4, 5):
        assert not stands_out(strip_of(strips, image, plate))
    # The wild one is still seen, up to the edge.
    assert strip_of(strips, image, 4)[3].min(axis=1).max() > 100
    assert strip_of(strips, image, 6)[3].min(axis=1).max() < 60


def test_a_true_act_is_shaded_in_its_plates_strips(case):
    act = case.truth.acts[0]
    now_s = seconds(act.end_ns) + 1.0
    with_act = Strips(case, STRIPS_WH)
    without = Strips(
        dataclasses.replace(case, truth=dataclasses.replace(case.truth, acts=[])), STRIPS_WH
    )
    shaded, plain = with_act.draw(now_s), without.draw(now_s)
    for number, place in enumerate(case.stage.room.layout.plates):
        differs = (strip_of(with_act, shaded, number) != strip_of(without, plain, number)).any()
        acts = [one for one in case.truth.acts if place.name in one.plates]
        expected = any(now_s - SHOWN_S < seconds(one.start_ns) < now_s for one in acts)
        assert differs == expected, place.name
