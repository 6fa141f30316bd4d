# SPDX-License-Identifier: Apache-2.0
"""What an integrator can prove to have, and what it says that it lacks."""

import sqlite3
from contextlib import closing

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.simulator.integrator import main
from gateway.simulator.ledger import Ledger
from gateway.simulator.proof import prove, report
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

    def doubts(self):
        return [(doubt.kind, doubt.epochs, doubt.explained) for doubt in self.proof().doubts]


@pytest.fixture
def books(tmp_path):
    one = Books(tmp_path)
    with closing(one.ledger):
        yield one


def recovered(epoch, sequence):
    return event(epoch, sequence, name="database.recovered", data=b'{"reason":"restored"}')


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
    assert books.proof().complete == told


@pytest.mark.parametrize("told", [False, True])
def test_a_database_older_than_what_was_sent_is_told(books, told):
    books.take_epoch("a", 9)
    books.take_epoch("b", 1, "a", 4)
    if told:
        books.take(recovered("b", 2))
    assert books.doubts() == [("overrun", ("a", "b"), told)]


@pytest.mark.parametrize("told", [False, True])
def test_a_database_begun_anew_is_told(books, told):
    books.take_epoch("a", 9)
    books.take_epoch("b", 1)
    if told:
        books.take(recovered("b", 2))
    assert books.doubts() == [("anew", ("b",), told), ("open-end", ("a",), told)]


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
    assert "missing: epoch a: 3 to 3 (1 events)" in said
    assert "missing: epoch a: its end, 6 to 7 (2 events)" in said
    assert "NOT complete" in said
    books.take(*(event("a", number) for number in (3, 6, 7)))
    assert main(arguments) == 0


def test_a_report_of_what_is_no_database_is_refused(tmp_path, capsys):
    with pytest.raises(SystemExit) as end:
        main(["--report", "--database", str(tmp_path / "absent.db")])
    assert end.value.code == 2
    assert "Name the database of an integrator" in capsys.readouterr().err
    assert not (tmp_path / "absent.db").exists()


def test_rows_deleted_from_the_books_are_missed_all_the_same(books):
    """The proof counts what is there, not what was once there."""
    books.take_epoch("a", 9)
    with closing(sqlite3.connect(books.path)) as connection, connection:
        connection.execute("DELETE FROM events WHERE sequence BETWEEN 3 AND 5")
    assert books.gaps() == [("a", 3, 5, "within")]
