# SPDX-License-Identifier: Apache-2.0
import pytest

from gateway.domain.inputs import PersonSeen, Wrist
from gateway.domain.people import (
    JOIN_MM,
    JOIN_NS_MAX,
    LOST_NS_MAX,
    SAME_MM,
    STRANGER_NS_MAX,
    WALK_MM_PER_S,
    People,
    Person,
)
from gateway.domain.persons import MEMORY_NS
from gateway.domain.recognition import VIEWS_NS
from gateway.domain.store import Zone

S = 1_000_000_000


DOORS = [Zone(name="in", kind="entry", x_mm=(-2_000.0, -1_000.0), y_mm=(-500.0, 500.0))]
IN_MM = (-1_500.0, 0.0)


def look(people, seen, at_ns, camera="c1", boot="b1"):
    return people.see(camera, boot, seen, at_ns, prefix="p-", doors=DOORS)


def see(people, at_s, camera="c1", boot="b1", **tracks):
    """See tracks at places on the floor; return the persons seen."""
    seen = [PersonSeen(track=track, floor_mm=floor_mm) for track, floor_mm in tracks.items()]
    return look(people, seen, int(at_s * S), camera, boot)


def test_a_track_is_one_person():
    people = People()
    assert see(people, 1.0, t1=(0.0, 0.0), t2=(3_000.0, 0.0)) == ["p-1", "p-2"]
    assert see(people, 1.1, t2=(2_900.0, 0.0), t1=(100.0, 0.0)) == ["p-2", "p-1"]
    assert people.persons["p-1"].floor_mm == (100.0, 0.0)


def test_a_track_that_changes_its_number_stays_the_same_person():
    people = People()
    see(people, 1.0, t1=(0.0, 0.0))
    assert see(people, 1.2, t9=(JOIN_MM, 0.0)) == ["p-1"]


def with_a_late_camera(tenths):
    """Return frames of two cameras as they come, the second 0.6 s late: ``(tenth, camera)``."""
    late_tenths = {"c1": 0, "c2": 6}
    frames = [(tenth, camera) for tenth in range(tenths) for camera in late_tenths]
    return sorted(frames, key=lambda frame: frame[0] + late_tenths[frame[1]])


@pytest.mark.parametrize("mm_per_s", [1_400.0, 2_000.0, 3_000.0])
def test_whoever_walks_under_two_cameras_of_which_one_is_late_is_one_person(mm_per_s):
    people = People()
    for tenth, camera in with_a_late_camera(60):
        # Stands for a second first.
        see(people, 1.0 + tenth / 10, camera, t1=(mm_per_s * max(tenth - 10, 0) / 10, 0.0))
    assert list(people.persons) == ["p-1"]


@pytest.mark.parametrize("mm_per_s", [1_400.0, 2_000.0, 3_000.0])
def test_a_new_track_of_a_late_camera_is_of_whoever_walked_there(mm_per_s):
    """Its tracker loses who walks past now and then, and counts on."""
    people = People()
    for tenth, camera in with_a_late_camera(60):
        track = f"t{tenth // 15}" if camera == "c2" else "t1"
        see(people, 1.0 + tenth / 10, camera, **{track: (mm_per_s * tenth / 10, 0.0)})
    assert list(people.persons) == ["p-1"]


def test_a_second_track_of_a_late_camera_is_of_the_body_that_was_there():
    """It sees one body twice, where that was before it walked on."""
    people = People()
    for tenth, camera in with_a_late_camera(40):
        at_mm = (2_000.0 * tenth / 10, 0.0)
        twice = {"t2": (at_mm[0] + 60.0, 0.0)} if camera == "c2" and tenth > 20 else {}
        see(people, 1.0 + tenth / 10, camera, t1=at_mm, **twice)
    assert list(people.persons) == ["p-1"]


def test_a_track_of_somebody_put_back_after_a_restart_may_be_far_away():
    people = People()
    tracks = {"c1/b1/t1": S, "c2/b1/t1": S}
    people.restore(Person(id="p-9", floor_mm=(0.0, 0.0), seen_ns=S, tracks=tracks))
    assert see(people, 1.1, t1=(5_000.0, 0.0)) != ["p-9"]


def test_nobody_joins_who_is_too_far():
    people = People()
    see(people, 1.0, t1=(0.0, 0.0))
    reach_mm = JOIN_MM + WALK_MM_PER_S
    assert see(people, 2.0, t2=(reach_mm + 1.0, 0.0)) == ["p-2"]
    assert see(people, 2.0, camera="c2", t1=(-reach_mm + 1.0, 0.0)) == ["p-1"]


@pytest.mark.parametrize(
    ("floor_mm", "longest_ns"), [(IN_MM, JOIN_NS_MAX), ((0.0, 0.0), LOST_NS_MAX)]
)
def test_whoever_comes_in_through_a_door_is_somebody_new_sooner(floor_mm, longest_ns):
    lost = People()
    see(lost, 1.0, t1=floor_mm)
    longest_s = longest_ns / S
    assert see(lost, 1.0 + longest_s, t2=floor_mm) == ["p-1"]
    assert see(lost, 1.1 + 2 * longest_s, t3=floor_mm) == ["p-2"]


def test_a_newcomer_is_nobody_who_is_in_the_frame():
    people = People()
    apart_mm = SAME_MM + 10.0
    assert see(people, 1.0, t1=(0.0, 0.0), t2=(apart_mm, 0.0)) == ["p-1", "p-2"]
    seen = see(people, 1.2, t1=(0.0, 0.0), t2=(apart_mm, 0.0), t3=(2 * apart_mm, 0.0))
    assert seen == ["p-1", "p-2", "p-3"]


def test_one_body_with_two_tracks_is_one_person():
    people = People()
    assert see(people, 1.0, t1=(0.0, 0.0), t2=(SAME_MM - 1.0, 0.0)) == ["p-1"]
    assert see(people, 1.1, t2=(100.0, 0.0)) == ["p-1"]
    assert len(people.persons) == 1


def test_two_cameras_see_one_person():
    people = People()
    see(people, 1.0, t1=(0.0, 0.0), t2=(2_000.0, 0.0))
    assert see(people, 1.05, camera="c2", t1=(1_900.0, 50.0)) == ["p-2"]
    assert people.frame_ns == {"c1": 1 * S, "c2": int(1.05 * S)}


def test_a_track_that_jumps_to_another_body_leaves_its_person():
    people = People()
    see(people, 1.0, t1=(0.0, 0.0), t2=(3_000.0, 0.0))
    see(people, 1.0, camera="c2", t7=(0.0, 0.0), t8=(3_000.0, 0.0))
    # The other camera still sees the first body where it was.
    assert see(people, 1.1, t1=(3_000.0, 0.0)) == ["p-2"]
    assert people.persons["p-1"].floor_mm == (0.0, 0.0)
    assert see(people, 1.2, camera="c2", t7=(0.0, 0.0), t8=(3_000.0, 0.0)) == ["p-1", "p-2"]


def test_a_tracker_that_restarts_counts_from_anew():
    people = People()
    see(people, 1.0, t1=(0.0, 0.0))
    assert see(people, 2.5, boot="b2", t1=(9_000.0, 0.0)) == ["p-2"]
    assert see(people, 2.6, boot="b2", t1=(9_000.0, 0.0)) == ["p-2"]


def test_nobody_is_told_by_a_track_alone_but_a_known_one_may_hide_its_feet():
    people = People()
    assert look(people, [PersonSeen(track="t1")], S) == []
    see(people, 1.0, t1=(5.0, 5.0))
    wrist = PersonSeen(track="t1", wrists=[Wrist(mm=(1.0, 2.0, 3.0))])
    assert look(people, [wrist], 2 * S) == ["p-1"]
    person = people.persons["p-1"]
    assert person.floor_mm == (5.0, 5.0)
    assert person.wrists == [(2 * S, 1.0, 2.0, 3.0, 60.0)]


def test_memory_has_a_limit():
    people = People()
    for n in range(600):
        see(people, n / 10, t1=(float(n), 0.0))
    places = people.persons["p-1"].places
    assert places[-1][1] == 599.0
    assert places[-1][0] - places[0][0] <= 2 * MEMORY_NS
    assert places[0][0] <= places[-1][0] - MEMORY_NS


def test_strangers_are_forgotten_and_shoppers_kept():
    people = People()
    see(people, 1.0, t1=(0.0, 0.0), t2=(3_000.0, 0.0))
    people.forget_strangers({"p-2"}, S + STRANGER_NS_MAX)
    assert list(people.persons) == ["p-1", "p-2"]
    people.forget_strangers({"p-2"}, S + STRANGER_NS_MAX + 1)
    assert list(people.persons) == ["p-2"]
    assert set(people.by_track.values()) == {"p-2"}


def test_tracks_of_the_past_are_forgotten():
    people = People()
    apart_s = 5.0
    for n in range(30):
        assert see(people, apart_s * n, **{f"t{n}": (0.0, 0.0)}) == ["p-1"]
        people.forget_strangers({"p-1"}, int(apart_s * n * S))
    assert len(people.persons["p-1"].tracks) <= STRANGER_NS_MAX / S / apart_s + 1
    assert set(people.by_track) == set(people.persons["p-1"].tracks)


def test_forgetting_forgets_every_track():
    people = People()
    see(people, 1.0, t1=(0.0, 0.0))
    see(people, 1.0, camera="c2", t4=(0.0, 0.0))
    people.forget("p-1")
    people.forget("p-1")
    assert (people.persons, people.by_track) == ({}, {})
    assert see(people, 1.1, t1=(0.0, 0.0)) == ["p-2"]
    assert see(people, 1.1, camera="c2", t4=(0.0, 0.0)) == ["p-2"]


def test_a_track_that_went_over_to_another_stays_theirs():
    people = People()
    both = {"c1/b1/t1": S, "c1/b1/t2": S}
    people.restore(Person(id="old", floor_mm=(0.0, 0.0), seen_ns=S, tracks=both))
    old, new = see(people, 1.1, t1=(0.0, 0.0), t2=(3_000.0, 0.0))
    assert old == "old"
    people.forget("old")
    assert people.by_track == {"c1/b1/t2": new}
    assert see(people, 1.2, t2=(3_050.0, 0.0)) == [new]


def test_a_person_of_the_durable_state_is_found_by_its_track():
    people = People()
    people.restore(Person(id="old", floor_mm=(0.0, 0.0), seen_ns=S, tracks={"c1/b1/t1": S}))
    assert see(people, 1.5, t1=(4_000.0, 0.0)) == ["old"]


@pytest.mark.parametrize(
    ("at_mm", "inside"),
    [((0.0, 0.0), True), ((10.0, 20.0), True), ((11.0, 0.0), False), ((0.0, -0.1), False)],
)
def test_zones_hold_their_edges(at_mm, inside):
    zone = Zone(name="z", kind="exit", x_mm=(0.0, 10.0), y_mm=(0.0, 20.0))
    assert Person(id="p", floor_mm=at_mm, seen_ns=0).inside([zone]) is inside


def test_a_walk_is_told_once():
    person = Person(id="p", floor_mm=(0.0, 0.0), seen_ns=0)
    assert not person.moved(800.0)
    person.floor_mm = (800.0, 0.0)
    assert person.moved(800.0)
    assert not person.moved(800.0)


def test_two_who_were_one_body_for_a_while_are_doubted_once_they_part():
    people = People()
    see(people, 1.0, t1=(0.0, 0.0), t2=(400.0, 0.0))
    for tenth in range(11, 18):
        see(people, tenth / 10, t1=(100.0, 0.0))
    assert people.persons["p-1"].mixed == []
    see(people, 1.8, t1=(100.0, 0.0), t2=(700.0, 0.0))
    assert people.persons["p-1"].mixed == ["p-2"]
    assert people.persons["p-2"].mixed == ["p-1"]


def test_who_is_missed_for_a_moment_or_away_from_others_is_not_doubted():
    people = People()
    see(people, 1.0, t1=(0.0, 0.0), t2=(400.0, 0.0), t3=(3_000.0, 0.0))
    see(people, 1.2, t1=(0.0, 0.0))
    see(people, 1.3, t1=(0.0, 0.0), t2=(400.0, 0.0))
    see(people, 2.5, t1=(0.0, 0.0), t2=(400.0, 0.0))
    see(people, 2.6, t1=(0.0, 0.0), t2=(400.0, 0.0), t3=(3_000.0, 0.0))
    assert all(person.mixed == [] for person in people.persons.values())


ANNA, BERT, CARL = ([0.45 if n == which else 0.05 for n in range(12)] for which in range(3))
BLURRED = [0.2, 0.05, 0.3, *ANNA[3:]]
BEGAN_S = 10.0


def watch(people, at_s, camera="c1", bound=(), **tracks):
    """See tracks at places with an appearance; return the persons seen."""
    seen = [
        PersonSeen(track=track, floor_mm=(x_mm, y_mm), appearance=appearance)
        for track, (x_mm, y_mm, appearance) in tracks.items()
    ]
    at_ns = round((BEGAN_S + at_s) * S)
    return people.see(camera, "b1", seen, at_ns, prefix="p-", doors=DOORS, bound=bound)


def two_far_apart(camera="c1", people=None):
    """Return people after eight seconds in which two were seen far from each other."""
    people = people or People()
    for tenth in range(-50, 30):
        tracks = {"t1": (0.0, 0.0, ANNA), "t2": (3_000.0, 0.0, BERT)}
        watch(people, tenth / 10, camera, **tracks)
    return people


def test_who_comes_back_under_another_track_is_known_by_appearance():
    people = two_far_apart()
    watch(people, 3.0)
    # Each comes back nearer to where the other vanished.
    assert watch(people, 8.0, t8=(2_000.0, 0.0, ANNA), t9=(1_000.0, 0.0, BERT)) == ["p-1", "p-2"]
    assert [person.mixed for person in people.persons.values()] == [[], []]


@pytest.mark.parametrize(
    ("later_s", "gap_mm", "who"),
    [
        (0.05, 0.0, "p-1"),
        (0.05, SAME_MM - 1.0, "p-1"),
        (0.05, SAME_MM + 1.0, "p-3"),
        (VIEWS_NS / S + 0.1, 0.0, "p-3"),
    ],
)
@pytest.mark.parametrize("look", [BERT, CARL])
def test_whom_another_camera_sees_right_there_is_nobody_else(later_s, gap_mm, who, look):
    people = two_far_apart()
    watch(people, 3.0, t1=(0.0, 0.0, ANNA))
    assert watch(people, 3.0 + later_s, "c2", t1=(gap_mm, 0.0, look)) == [who]


def test_who_looks_like_nobody_lost_is_somebody_new():
    people = two_far_apart()
    watch(people, 3.0)
    assert watch(people, 5.0, t8=(100.0, 0.0, CARL)) == ["p-3"]


def test_somebody_new_whom_more_looks_tell_was_lost_all_along():
    people = two_far_apart()
    names = watch(people, 5.0, t8=(100.0, 0.0, BLURRED))
    assert names == ["p-3"]
    for tenth in range(51, 90):
        names = watch(people, tenth / 10, t8=(100.0, 0.0, ANNA))
    assert names == ["p-1"]
    assert people.merged == [("p-3", "p-1", 15 * S)]
    assert "p-3" not in people.persons
    assert people.persons["p-1"].places[-39][0] == round(15.1 * S)
    assert people.newborns == []


def test_who_has_scanned_is_nobody_who_was_lost():
    people = two_far_apart()
    watch(people, 5.0, t8=(100.0, 0.0, BLURRED))
    for tenth in range(51, 90):
        names = watch(people, tenth / 10, bound={"p-3"}, t8=(100.0, 0.0, ANNA))
    assert names == ["p-3"]


def passing(people, looks, began_s=3.0, camera="c1"):
    """Two meet, stand 400 mm apart, and part; ``looks`` after they have met."""
    watch(people, began_s, camera, t1=(1_000.0, 0.0, ANNA), t2=(1_400.0, 0.0, BERT))
    for tenth in range(1, 25):
        one, other = looks
        apart_mm = 100.0 * tenth
        tracks = {"t1": (1_000.0 - apart_mm, 0.0, one), "t2": (1_400.0 + apart_mm, 0.0, other)}
        watch(people, began_s + tenth / 10, camera, **tracks)


def test_tracks_that_went_on_with_each_others_body_are_given_back():
    people = two_far_apart()
    passing(people, (BERT, ANNA))
    assert people.by_track == {"c1/b1/t1": "p-2", "c1/b1/t2": "p-1"}
    ((one, other, since_ns),) = people.exchanged
    assert (one, other) == ("p-1", "p-2")
    assert 13 * S <= since_ns <= 13.3 * S
    # What was seen since then is the other's, and nothing is lost or twice.
    for name, sign in (("p-1", 1.0), ("p-2", -1.0)):
        places = people.persons[name].places
        assert places == sorted(set(places))
        assert len(places) == 105
        assert all((x_mm - 1_200.0) * sign > 0 for ns, x_mm, _ in places if ns > since_ns)
        assert people.persons[name].floor_mm == places[-1][1:]
    # Nor have the templates learned the wrong body.
    assert people.persons["p-1"].looks["c1"].mean == pytest.approx(ANNA, abs=0.01)


def test_who_only_pass_each_other_stay_who_they_are():
    people = two_far_apart()
    passing(people, (ANNA, BERT))
    assert people.by_track == {"c1/b1/t1": "p-1", "c1/b1/t2": "p-2"}
    assert (people.exchanged, people.doubts) == ([], [])


def test_an_exchange_that_stays_open_is_told():
    people = two_far_apart()
    between = [(one + other) / 2 for one, other in zip(ANNA, BERT, strict=True)]
    watch(people, 3.0, t1=(1_000.0, 0.0, ANNA), t2=(1_400.0, 0.0, BERT))
    # They stand at each other's place in the next frame, and neither looks like any of the two.
    watch(people, 3.1, t1=(1_400.0, 0.0, between), t2=(1_000.0, 0.0, between))
    for tenth in range(35, 90):
        watch(people, tenth / 10, t1=(3_800.0, 0.0, between), t2=(-1_400.0, 0.0, between))
        if people.doubts:  # What either looks like may be the other: it is not learned.
            assert people.persons["p-1"].looks["c1"].mean == pytest.approx(ANNA, abs=0.01)
    assert people.exchanged == []
    assert people.doubts == []
    assert [person.mixed for person in people.persons.values()] == [["p-2"], ["p-1"]]


def test_of_two_cameras_only_the_one_that_exchanged_is_mended():
    people = two_far_apart("c2", two_far_apart())
    assert len(people.persons) == 2
    for tenth in range(21):
        at_s, step_mm = 3.0 + tenth / 10, 50.0 * tenth
        for camera in ("c2", "c1"):
            tracks = {"t1": (step_mm, 0.0, ANNA), "t2": (2_400.0 - step_mm, 0.0, BERT)}
            watch(people, at_s, camera, **tracks)
    for tenth in range(1, 20):
        left = 1_000.0 - 100.0 * tenth
        right = 1_400.0 + 100.0 * tenth
        at_s = 5.0 + tenth / 10
        watch(people, at_s, "c2", t1=(left, 0.0, ANNA), t2=(right, 0.0, BERT))
        watch(people, at_s, "c1", t2=(left, 0.0, ANNA), t1=(right, 0.0, BERT))
    assert people.persons["p-1"].floor_mm == (left, 0.0)
    assert people.by_track["c2/b1/t1"] == people.by_track["c1/b1/t2"] == "p-1"
    assert people.by_track["c2/b1/t2"] == people.by_track["c1/b1/t1"] == "p-2"


def test_a_camera_that_stopped_may_have_exchanged_anybody():
    people = two_far_apart()
    for tenth in range(50, 70):
        watch(people, tenth / 10, t1=(3_000.0, 0.0, BERT), t2=(0.0, 0.0, ANNA))
    assert people.by_track == {"c1/b1/t1": "p-2", "c1/b1/t2": "p-1"}


@pytest.mark.parametrize("odd", [[1e300] * 3, [0.1], [], [-1e300, 0.0, 0.0]])
def test_an_appearance_that_makes_no_sense_harms_nothing(odd):
    people = two_far_apart()
    for tenth in range(30, 40):
        assert watch(people, tenth / 10, t1=(0.0, 0.0, odd), t2=(3_000.0, 0.0, BERT)) == [
            "p-1",
            "p-2",
        ]
    watch(people, 4.1)
    watch(people, 5.0, t8=(0.0, 0.0, odd))


def test_doubts_and_trails_go_with_their_persons():
    people = two_far_apart()
    watch(people, 3.0, t1=(1_000.0, 0.0, ANNA), t2=(1_400.0, 0.0, BERT))
    assert len(people.doubts) == 1
    people.forget("p-1")
    assert people.doubts == []
    assert list(people.trails) == ["c1/b1/t2"]


def left_behind(people, new_look, bound=()):
    """Another body takes a track over; who had it is seen 900 mm from there, under a new one."""
    for tenth in range(30, 70):
        back = {"t8": (900.0, 0.0, new_look)} if tenth > 35 else {}
        tracks = {"t1": (0.0, 0.0, CARL), "t2": (3_000.0, 0.0, BERT)}
        watch(people, tenth / 10, bound=bound, **tracks, **back)


def test_whose_track_another_body_took_is_known_under_a_new_one():
    people = two_far_apart()
    left_behind(people, ANNA)
    assert people.by_track == {"c1/b1/t1": "p-3", "c1/b1/t2": "p-2", "c1/b1/t8": "p-1"}
    assert people.exchanged == [("p-1", "p-3", round((BEGAN_S + 3.6) * S))]
    assert people.persons["p-1"].floor_mm == (900.0, 0.0)
    assert people.persons["p-1"].looks["c1"].mean == pytest.approx(ANNA, abs=0.1)
    assert people.persons["p-3"].looks["c1"].mean == pytest.approx(CARL, abs=0.1)


@pytest.mark.parametrize(("new_look", "bound"), [(BERT, ()), (ANNA, {"p-3"})])
def test_who_looks_otherwise_or_has_scanned_since_has_left_no_track(new_look, bound):
    people = two_far_apart()
    left_behind(people, new_look, bound)
    assert people.by_track == {"c1/b1/t1": "p-1", "c1/b1/t2": "p-2", "c1/b1/t8": "p-3"}
    assert people.exchanged == []


def test_who_comes_in_through_a_door_is_rarely_somebody_who_left_it():
    people = two_far_apart()
    for tenth in range(30, 70):
        # The track's look changes where the light is another, as it does behind a door.
        tracks = {"t1": (0.0, 0.0, CARL), "t8": (-1_500.0, 0.0, ANNA)}
        watch(people, tenth / 10, **tracks, t2=(3_000.0, 0.0, BERT))
    assert people.by_track["c1/b1/t1"] == "p-1"
