# SPDX-License-Identifier: Apache-2.0
"""The baseline, the oracles and the engine on cases whose outcome is known."""

import pytest

from gateway.simulator.exam import baseline, oracle
from gateway.simulator.exam.cases import make_case
from gateway.simulator.exam.conditions import CALM, TYPICAL
from gateway.simulator.exam.examinee import sit
from gateway.simulator.exam.recording import record
from gateway.simulator.exam.score import figures, judge


def scored(kind, condition, seeds, answer):
    found = []
    for seed in seeds:
        case = make_case(kind, condition, seed)
        found.append(judge(answer(case), case.truth))
    return figures(found)


def published(case):
    return baseline.decide(case.store, case.inputs())


def engine(case):
    return sit(case.store, case.inputs())


def nearest(case):
    return oracle.nearest(case, case.inputs())


@pytest.mark.parametrize("answer", [published, engine, nearest, oracle.attentive])
def test_one_item_in_calm_is_easy(answer):
    found = scored("one", CALM, range(1, 13), answer)
    assert found.f1 > 0.9
    assert found.found > 0.9


def test_the_baseline_cannot_tell_two_hands_at_once_apart():
    """It takes a shelf's whole step for one act: that is what it is there to show."""
    assert scored("several-different", TYPICAL, range(1, 13), published).f1 < 0.8
    assert scored("misplaced-then-taken", TYPICAL, range(1, 13), published).f1 < 0.75


def test_the_baseline_takes_back_no_decision():
    case = make_case("mixed", TYPICAL, 3)
    whole = baseline.decide(case.store, case.inputs())
    items = case.inputs()
    half = items[: len(items) // 2]
    early = baseline.decide(case.store, half)
    end_ns = half[-1].at.mono_ns - 3_000_000_000
    told = [one.claims for one in whole.decisions if one.told_ns < end_ns]
    assert told
    assert [one.claims for one in early.decisions][: len(told)] == told


def test_oracles_know_what_was_taken():
    """Only who did it is left to them: a staff's act may be nobody's, and is still an act."""
    for kind in ("mixed", "restock"):
        for answer in (nearest, oracle.attentive):
            found = scored(kind, TYPICAL, range(1, 9), answer)
            assert (found.found, found.product) == (1.0, 1.0)
            assert found.shopper < 1.0 or answer is oracle.attentive


def test_the_attentive_oracle_is_hardly_ever_wrong():
    """What the hands show is enough: an engine that does worse has nobody else to blame."""
    assert scored("mixed", TYPICAL, range(1, 25), oracle.attentive).f1 > 0.97


def test_simple_programs_know_who_is_who_at_first():
    case = make_case("child", CALM, 1)
    recording = record(case.store, case.inputs())
    late = recording.views[len(recording.views) // 2]
    assert late.bodies
    assert {body.shopper for body in late.bodies} <= {*case.truth.baskets}


def test_a_visit_without_an_end_gets_its_receipt_in_time():
    """Whoever is lost for good is charged before the case is over, not left out of the score."""
    for seed in range(1, 7):
        case = make_case("mixed", TYPICAL, seed)
        assert set(engine(case).receipts) == set(case.truth.baskets)
