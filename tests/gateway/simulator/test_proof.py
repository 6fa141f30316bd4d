# SPDX-License-Identifier: Apache-2.0
"""What an integrator can prove to have, and what it says that it lacks."""

import json
import sqlite3
from contextlib import closing

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.simulator.integrator import main
from gateway.simulator.ledger import Ledger, summary
from gateway.simulator.proof import prove, report
from tests.endure import proof_faults
from tests.payloads import SOURCE, dropped, event, started


class Books:
    """An integrator's database to be filled and read."""

    def __init__(self, folder):
        self.path = folder / "i.db"
        self.ledger = Ledger(self.path)

    def take(self, *payloads):
        self.ledger.store(payloads)

    def take_epoch(self, name, last, previous=None, previous_sequence=None, *, lacks=()):
        first = started(name, 0, previous, previous_sequence)
        rest = [event(name, number) for number in range(1, last + 1) if number not in lacks]
        self.take(*([] if 0 in lacks else [first]), *rest)

    def proof(self):
        [found] = prove(self.path)
        return found

    def gaps(self):
        return [(gap.epoch, gap.first, gap.last, gap.where) for gap in self.proof().gaps]

    def unknown(self):
        return [(one.epoch, one.behind, one.why) for one in self.proof().unknown]

    def doubts(self):
        return [(doubt.kind, doubt.epochs, doubt.explained) for doubt in self.proof().doubts]


@pytest.fixture
def books(tmp_path):
    one = Books(tmp_path)
    with closing(one.ledger):
        yield one


def recovered(epoch, sequence, reason="restored", *, complete=True):
    data = json.dumps({"reason": reason, "complete": complete}).encode()
    return event(epoch, sequence, name="database.recovered", data=data)


def test_a_chain_without_gaps_is_complete(books):
    books.take_epoch("a", 5)
    books.take_epoch("b", 3, "a", 5)
    books.take_epoch("c", 0, "b", 3)
    proof = books.proof()
    assert (proof.complete, proof.epochs, proof.events) == (True, 3, 11)
    assert list(report([proof]))[-1] == "  complete"


def test_ranges_within_an_epoch_and_its_first_events_are_named(books):
    books.take_epoch("a", 9, lacks=(0, 1, 4, 6, 7))
    assert books.gaps() == [
        *(("a", 0, 1, "within"), ("a", 4, 4, "within"), ("a", 6, 7, "within")),
    ]
    assert books.doubts() == [], "its start is missing, and comes with the rest"
    assert not books.proof().complete


def test_the_end_of_an_epoch_is_missed_when_the_next_start_names_it(books):
    books.take_epoch("a", 5)
    assert books.proof().complete, "of the newest epoch nobody knows the end"
    books.take_epoch("b", 0, "a", 8)
    assert books.gaps() == [("a", 6, 8, "end")]


def test_an_epoch_of_which_nothing_is_here_is_missed_whole(books):
    books.take_epoch("c", 2, "b", 4)
    assert books.gaps() == [("b", 0, 4, "whole")]


def test_what_was_given_up_is_explained(books):
    books.take_epoch("a", 9, lacks=(2, 3, 7))
    books.take(dropped("a", 10, "a", (2, 3)))
    assert books.gaps() == [("a", 7, 7, "within")]
    books.take(dropped("a", 11, "a", (7, 7)))
    books.take_epoch("c", 0, "b", 1)
    books.take(dropped("c", 1, "b", (0, 1)))
    assert books.gaps() == []
    assert books.proof().dropped == 5


def test_a_start_that_was_given_up_leaves_a_chain_that_is_explained(books):
    books.take_epoch("a", 3, lacks=(0, 1))
    books.take(dropped("a", 4, "a", (0, 1)))
    assert books.doubts() == [("no-start", ("a",), True)]
    assert books.proof().complete


def test_an_epoch_that_begins_without_a_start_is_told(books):
    books.take(event("a", 0), event("a", 1))
    assert books.doubts() == [("no-start", ("a",), False)]


def test_what_the_gateway_no_longer_has_stays_missing_but_is_asked_for_no_more(books):
    books.take_epoch("a", 9, lacks=(2, 3, 4, 7))
    books.ledger.note_gone(SOURCE, "a", [(3, 4)])
    proof = books.proof()
    assert [(gap.first, gap.last, gap.gone) for gap in proof.gaps] == [
        *((2, 2, False), (3, 4, True), (7, 7, False)),
    ]
    assert [(gap.first, gap.last) for gap in proof.wanted] == [(2, 2), (7, 7)]
    books.ledger.note_gone(SOURCE, "a", [(2, 2), (7, 7)])
    assert not books.proof().complete
    assert b'"a":"00000000000000000009"' in books.ledger.acknowledgement(SOURCE)


@pytest.mark.parametrize("told", [False, True])
def test_a_restored_database_makes_a_fork(books, told):
    books.take_epoch("a", 5)
    books.take_epoch("b", 3, "a", 5)
    books.take_epoch("c", 2, "a", 5)
    if told:
        books.take(recovered("c", 3))
    assert books.doubts() == [("fork", ("a", "b", "c"), told), ("open-end", ("b",), told)]
    assert books.unknown() == [("b", 3, ("restored",) if told else ())]
    assert (books.proof().verdict, books.proof().gapless) == ("unprovable", True)
    assert not books.proof().complete, "being told why does not make it known"


@pytest.mark.parametrize("told", [False, True])
def test_a_database_older_than_what_was_sent_is_told(books, told):
    books.take_epoch("a", 9)
    books.take_epoch("b", 1, "a", 4)
    if told:
        books.take(recovered("b", 2))
    assert books.doubts() == [("overrun", ("a", "b"), told)]
    assert books.unknown() == [("a", 9, ("restored",) if told else ())]
    assert books.proof().verdict == "unprovable"


@pytest.mark.parametrize("told", [False, True])
def test_a_database_begun_anew_is_told(books, told):
    books.take_epoch("a", 9)
    books.take_epoch("b", 1)
    if told:
        books.take(recovered("b", 2))
    assert books.doubts() == [("anew", ("b",), told), ("open-end", ("a",), told)]
    assert ("a", 9, ("restored",) if told else ()) in books.unknown()
    assert books.proof().verdict == "unprovable"


@pytest.mark.parametrize(
    ("reason", "complete", "verdict"),
    [
        ("restored", True, "unprovable"),
        ("copied", True, "unprovable"),
        ("corrupt", False, "unprovable"),
        ("corrupt", True, "complete"),
    ],
)
def test_a_chain_that_looks_whole_proves_nothing_over_a_database_that_forgot(
    books, reason, complete, verdict
):
    """All that was behind the copy may never have been sent."""
    books.take_epoch("a", 5)
    books.take_epoch("b", 1, "a", 5)
    books.take(recovered("b", 2, reason, complete=complete))
    assert books.doubts() == []
    proof = books.proof()
    assert (proof.gapless, proof.verdict) == (True, verdict)
    assert books.unknown() == ([("a", 5, (reason,))] if verdict == "unprovable" else [])
    lines = list(report([proof]))
    assert sum("database.recovered: epoch b: " + reason in line for line in lines) == 1
    said = f"what epoch a held behind 5 is not known to anybody; the gateway told why: {reason}"
    assert (lines[-1] == f"  cannot be proved: {said}") == (verdict == "unprovable")


def test_what_a_database_recovered_cannot_be_read_still_proves_nothing(books):
    books.take_epoch("a", 5)
    books.take_epoch("b", 1, "a", 5)
    books.take(event("b", 2, name="database.recovered", data=b"[]"))
    assert books.proof().verdict == "unprovable"


def test_a_recovery_with_nothing_before_says_so(books):
    books.take_epoch("b", 1)
    books.take(recovered("b", 2, "corrupt", complete=False))
    assert books.unknown() == [("b", None, ("corrupt",))]
    assert "what came before epoch b is not known to anybody" in list(report([books.proof()]))[-1]


def test_what_is_missing_comes_before_what_cannot_be_known(books):
    books.take_epoch("a", 9, lacks=(4,))
    books.take_epoch("b", 1, "a", 5)
    proof = books.proof()
    assert (proof.verdict, proof.gapless, proof.complete) == ("missing", False, False)
    assert "cannot be proved" in "".join(report([proof]))
    assert list(report([proof]))[-1] == "  NOT complete"


# What the status says.


def test_an_epoch_that_a_status_names_is_missing_until_something_of_it_is_here(books):
    assert books.ledger.note_birth(SOURCE, "a", 7)
    assert books.ledger.lacks_some()
    assert books.gaps() == [("a", 0, 7, "whole")]
    assert books.proof().verdict == "missing"
    books.take_epoch("a", 7)
    assert books.proof().complete
    assert not books.ledger.lacks_some()


def test_a_birth_without_a_sequence_names_the_start_at_least(books):
    books.ledger.note_birth(SOURCE, "a")
    assert books.ledger.lacks_some()
    assert books.gaps() == [("a", 0, 0, "whole")]
    assert not books.proof().complete


def test_the_status_names_the_end_of_the_current_epoch_and_the_highest_counts(books):
    books.take_epoch("a", 5)
    assert books.ledger.note_birth(SOURCE, "a", 5)
    assert books.proof().complete
    assert not books.ledger.note_birth(SOURCE, "a", 8)
    books.ledger.note_birth(SOURCE, "a", 6)
    books.ledger.note_birth(SOURCE, "a")
    assert books.gaps() == [("a", 6, 8, "end")]
    assert books.ledger.lacks_some()
    assert summary(books.path).lost == 3


def test_a_start_that_is_missing_may_name_the_epoch_before(books):
    """While it is, the epoch before has no open end: it may be named yet."""
    books.take_epoch("a", 5)
    books.ledger.note_birth(SOURCE, "b", 3)
    assert (books.doubts(), books.unknown()) == ([], [])
    assert books.gaps() == [("b", 0, 3, "whole")]


def test_a_database_that_is_older_than_a_status_is_told(books):
    books.take_epoch("a", 5)
    books.ledger.note_birth(SOURCE, "a", 9)
    books.take_epoch("b", 0, "a", 5)
    assert books.doubts() == [("overrun", ("a", "b"), False)]
    assert books.gaps() == [("a", 6, 9, "end")]


def test_what_was_gone_is_asked_for_again_when_the_gateways_epoch_changes(books):
    """A copy on another machine said so, perhaps."""
    books.take_epoch("a", 9, lacks=(2, 3))
    books.ledger.note_birth(SOURCE, "a", 9)
    books.ledger.note_gone(SOURCE, "a", [(2, 3)])
    books.ledger.note_birth(SOURCE, "a", 9)
    assert books.proof().wanted == []
    assert books.ledger.note_birth(SOURCE, "b", 0)
    assert [(gap.epoch, gap.first, gap.last) for gap in books.proof().wanted] == [
        *(("a", 2, 3), ("b", 0, 0)),
    ]


# Given up, and the words for it.


def test_ranges_of_any_length_are_counted(books):
    last = 2**62
    books.take_epoch("a", 3)
    books.take(dropped("a", 4, "a", (5, last), (last + 2, last + 2)))
    assert books.gaps() == [("a", last + 1, last + 1, "end")]
    assert books.proof().dropped == last - 3
    assert summary(books.path).lost == 1


def test_what_was_given_up_and_is_here_all_the_same_is_not_told_as_given_up(books):
    books.take_epoch("a", 9, lacks=(4,))
    books.take(dropped("a", 10, "a", (3, 5)))
    assert books.proof().dropped == 1
    assert "  given up by the gateway, and told: 1 event" in list(report([books.proof()]))
    books.take(event("a", 4))
    assert "given up" not in "".join(report([books.proof()]))


def test_one_range_is_one_line_though_part_of_it_is_gone(books):
    books.take_epoch("a", 9, lacks=(2, 3, 4, 7))
    books.ledger.note_gone(SOURCE, "a", [(3, 4), (7, 7)])
    lines = [line for line in report([books.proof()]) if "missing" in line]
    assert lines == [
        "  missing: epoch a: 2 to 4 (3 events), of which the gateway no longer has 3 to 4",
        "  missing: epoch a: 7 (1 event), which the gateway no longer has",
    ]


def test_the_newest_epoch_is_the_one_that_the_gateway_says(books):
    books.take_epoch("b", 3, "a", 5)
    books.ledger.note_birth(SOURCE, "c")
    books.take_epoch("c", 3, "b", 3)
    books.take_epoch("a", 5)  # A backfill brings the old after the new.
    assert books.proof().complete


def test_an_old_branch_that_a_backfill_brings_late_is_not_the_newest(books):
    books.take_epoch("a", 5)
    books.ledger.note_birth(SOURCE, "c")
    books.take_epoch("c", 2, "a", 5)
    books.take_epoch("b", 3, "a", 5)
    assert ("open-end", ("b",), False) in books.doubts()


def test_starts_that_name_each_other_end_the_search(books):
    books.take_epoch("a", 1, "b", 1)
    books.take_epoch("b", 1, "a", 1)
    assert books.proof().gaps == ()


def test_two_events_under_one_sequence_are_a_conflict(books):
    books.take_epoch("a", 2)
    books.take(event("a", 1, one_id="other"))
    assert (books.proof().conflicting, books.proof().complete) == (1, False)


def test_gateways_are_proved_apart(books):
    books.take_epoch("a", 2)
    books.take(event("x", 3, source="urn:shelfgate:store:other"))
    assert [proof.complete for proof in prove(books.path)] == [True, False] or [
        proof.complete for proof in prove(books.path)
    ] == [False, True]


@settings(max_examples=60)
@given(
    here=st.sets(st.integers(0, 30)),
    given_up=st.lists(st.tuples(st.integers(0, 30), st.integers(0, 5)), max_size=4),
    gone=st.lists(st.tuples(st.integers(0, 30), st.integers(0, 5)), max_size=4),
    end=st.integers(0, 34),
)
def test_gaps_are_what_sets_say(tmp_path_factory, here, given_up, gone, end):
    one = Books(tmp_path_factory.mktemp("books"))
    with closing(one.ledger):
        one.take(*(event("a", number) for number in here), started("b", 0, "a", end))
        ranges = [(first, first + more) for first, more in given_up]
        one.take(*(dropped("b", nth, "a", pair) for nth, pair in enumerate(ranges, 1)))
        lost = [(first, first + more) for first, more in gone]
        one.ledger.note_gone(SOURCE, "a", lost)
        told = {number for first, last in ranges for number in range(first, last + 1)}
        vain = {number for first, last in lost for number in range(first, last + 1)}
        last = max([end, *here, *told])
        expected = set(range(last + 1)) - here - told
        found = [gap for gap in one.proof().gaps if gap.epoch == "a"]
        numbers = [number for gap in found for number in range(gap.first, gap.last + 1)]
        assert sorted(numbers) == sorted(expected), "each once"
        for gap in found:
            assert set(range(gap.first, gap.last + 1)) <= (vain if gap.gone else expected - vain)


def test_the_report_ends_with_1_when_something_is_missing(tmp_path, capsys, books):
    arguments = ["--report", "--database", str(tmp_path / "i.db")]
    books.take_epoch("a", 5, lacks=(3,))
    books.take_epoch("b", 0, "a", 7)
    assert main(arguments) == 1
    said = capsys.readouterr().out
    assert "missing: epoch a: 3 (1 event)" in said
    assert "6 events of 2 epochs" in said
    assert "missing: epoch a: its end, 6 to 7 (2 events)" in said
    assert "NOT complete" in said
    books.take(*(event("a", number) for number in (3, 6, 7)))
    assert main(arguments) == 0


def test_the_report_ends_with_3_when_nobody_can_know(tmp_path, capsys, books):
    books.take_epoch("a", 5)
    books.take_epoch("b", 1, "a", 3)
    assert main(["--report", "--database", str(tmp_path / "i.db")]) == 3
    assert "the gateway did not tell why. Ask the operator" in capsys.readouterr().out


def test_the_long_run_fails_unless_the_integrator_can_prove_that_it_has_all(books):
    assert proof_faults(books.path) == ["the integrator knows of no gateway"]
    books.take_epoch("a", 5)
    assert proof_faults(books.path) == []
    books.take_epoch("b", 1, "a", 3)
    assert proof_faults(books.path)[-1].startswith("cannot be proved: what epoch a held behind 5")
    books.take_epoch("c", 1, "b", 4)
    assert proof_faults(books.path)[-1] == "NOT complete"


def test_a_report_of_what_is_no_database_is_refused(tmp_path, capsys):
    assert main(["--report", "--database", str(tmp_path / "absent.db")]) == 2
    said = capsys.readouterr().err
    assert "Name the database of an integrator" in said
    assert "usage:" not in said
    assert not (tmp_path / "absent.db").exists()


def test_rows_deleted_from_the_books_are_missed_all_the_same(books):
    """The proof counts what is there, not what was once there."""
    books.take_epoch("a", 9)
    with closing(sqlite3.connect(books.path)) as connection, connection:
        connection.execute("DELETE FROM events WHERE sequence BETWEEN 3 AND 5")
    assert books.gaps() == [("a", 3, 5, "within")]
