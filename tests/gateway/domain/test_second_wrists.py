# SPDX-License-Identifier: Apache-2.0
"""Whose the wrists are that a camera finds when it looks again."""

from gateway.domain.inputs import PersonSeen, Wrist
from gateway.domain.people import People
from tests.gateway.domain.test_people import ANNA, BEGAN_S, BERT, S, look, two_far_apart, watch


def found(**tracks):
    """Return what a look finds: the x of one wrist of each track."""
    return [PersonSeen(track=name, wrists=[Wrist((x, 0.0, 900.0))]) for name, x in tracks.items()]


def test_it_takes_the_place_of_what_the_same_camera_saw_and_of_nothing_else():
    people = People()
    for camera, x_mm in (("c1", 1.0), ("c2", 2.0)):
        wrist = Wrist((x_mm, 0.0, 900.0))
        look(people, [PersonSeen(track="t1", floor_mm=(0.0, 0.0), wrists=[wrist])], S, camera)
    [person] = people.persons.values()
    assert [wrist[1] for wrist in person.wrists] == [1.0, 2.0]
    people.look_again("c1", "b1", found(t1=3.0), S)
    assert [wrist[1] for wrist in person.wrists] == [2.0, 3.0]
    people.look_again("c1", "b1", found(t1=4.0), S)
    assert [wrist[1] for wrist in person.wrists] == [2.0, 4.0]


def test_it_goes_to_whom_the_track_turns_out_to_be():
    people = two_far_apart()
    watch(people, 3.0, t1=(1_000.0, 0.0, ANNA), t2=(1_400.0, 0.0, BERT))
    for tenth in range(1, 25):
        at_s, away_mm = 3.0 + tenth / 10, 100.0 * tenth
        watch(people, at_s, t1=(1_000.0 - away_mm, 0.0, BERT), t2=(1_400.0 + away_mm, 0.0, ANNA))
        if not people.exchanged:
            people.look_again("c1", "b1", found(t1=1.0, t2=2.0), round((BEGAN_S + at_s) * S))
    [(_, _, since_ns)] = people.exchanged
    for name, before, after in (("p-1", 1.0, 2.0), ("p-2", 2.0, 1.0)):
        wrists = people.persons[name].wrists
        assert {wrist[1] for wrist in wrists if wrist[0] >= since_ns} == {after}
        assert all(wrist[1] == before for wrist in wrists if wrist[0] < since_ns)
