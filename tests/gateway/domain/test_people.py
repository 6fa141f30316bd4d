# SPDX-License-Identifier: Apache-2.0
import pytest

from gateway.domain.inputs import PersonSeen, Wrist
from gateway.domain.people import (
    JOIN_MM,
    JOIN_NS_MAX,
    LOST_NS_MAX,
    MEMORY_NS,
    SAME_MM,
    STRANGER_NS_MAX,
    WALK_MM_PER_S,
    People,
    Person,
)
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
