# SPDX-License-Identifier: Apache-2.0
"""Asking for what is missing: paced, bounded, never twice for what is gone."""

import json

import pytest

from gateway.simulator.asking import BITE, Asker
from gateway.simulator.proof import Gap, Proof

TOLD = (
    b'{"id":"ask-0","backfill":{"state":"%b","epoch":"%b","missing":[{"first":"%b","last":"%b"}]}}'
)
SOURCE = "urn:shelfgate:store:gw"


def proof(*gaps, source=SOURCE, gone=False):
    return Proof(
        source=source,
        epochs=1,
        events=1,
        dropped=0,
        conflicting=0,
        gaps=tuple(
            Gap(epoch=epoch, first=first, last=last, where="within", gone=gone)
            for epoch, first, last in gaps
        ),
        doubts=(),
    )


class Bench:
    def __init__(self):
        self.names = iter(f"ask-{number}" for number in range(1_000))
        self.asker = Asker(lambda: next(self.names))
        self.now_s = 0.0

    def look(self, *gaps, after_s=10.0, **options):
        self.now_s += after_s
        wishes = self.asker.look([proof(*gaps, **options)], self.now_s)
        return [json.loads(wish.payload) for wish in wishes]

    def reply(self, command, state, *missing, epoch="a", source=SOURCE):
        ranges = [{"first": f"{first:020d}", "last": f"{last:020d}"} for first, last in missing]
        told = {"state": state, "epoch": epoch, "missing": ranges}
        payload = json.dumps({"id": command, "status": "ok", "message": "", "backfill": told})
        return self.asker.reply(source, payload.encode(), self.now_s)


def test_a_gap_is_asked_for_when_it_stays():
    bench = Bench()
    assert bench.look(("a", 3, 5)) == []
    assert bench.look(("a", 4, 5)) == [], "it is closing by itself"
    [wish] = bench.look(("a", 4, 5))
    assert wish == {"id": "ask-0", "epoch": "a", "from": f"{4:020d}", "to": f"{5:020d}"}
    assert bench.look(("a", 4, 5)) == [], "one command at a time"


def test_a_long_gap_is_asked_for_in_bites():
    bench = Bench()
    bench.look(("a", 0, 10 * BITE))
    [wish] = bench.look(("a", 0, 10 * BITE))
    assert int(wish["to"]) == BITE - 1


def test_a_command_without_its_last_answer_is_repeated_under_its_id():
    bench = Bench()
    bench.look(("a", 3, 5))
    [wish] = bench.look(("a", 3, 5))
    assert bench.look(("a", 3, 5), after_s=59.0) == []
    assert bench.look(("a", 3, 5), after_s=1.0) == [wish]
    bench.reply("ask-0", "sending")
    assert bench.look(("a", 3, 5), after_s=59.0) == []
    assert bench.look(("a", 3, 5), after_s=1.0) == [wish]


def test_what_is_done_and_still_missing_is_asked_for_less_and_less_often():
    bench = Bench()
    bench.look(("a", 3, 5))
    pauses = []
    asked_s = None
    while len(pauses) < 12:
        if bench.look(("a", 3, 5)):
            if asked_s is not None:
                pauses.append(bench.now_s - asked_s)
            asked_s = bench.now_s
            bench.reply(f"ask-{len(pauses)}", "done")
    assert pauses[:5] == [10.0, 10.0, 20.0, 40.0, 80.0]
    assert pauses[-1] == 3_600.0


def test_the_next_gap_is_asked_for_at_once_when_one_is_closed():
    bench = Bench()
    bench.look(("a", 3, 5), ("a", 8, 8))
    bench.look(("a", 3, 5), ("a", 8, 8))
    bench.reply("ask-0", "done")
    [wish] = bench.look(("a", 8, 8))
    assert int(wish["from"]) == 8


def test_what_is_gone_is_noted_and_not_asked_for_again():
    bench = Bench()
    bench.look(("a", 3, 9))
    bench.look(("a", 3, 9))
    gone = bench.reply("ask-0", "refused", (0, 99))
    assert (gone.source, gone.epoch, gone.ranges) == (SOURCE, "a", [(3, 9)]), "no more than asked"
    for _ in range(3):
        assert bench.look(("a", 3, 9), gone=True) == []


@pytest.mark.parametrize(
    "payload",
    [
        *(b"", b"[]", b"{}", b"[" * 100_000, b"\xff", b'{"id":"ask-0"}'),
        b'{"id":"ask-9","backfill":{"state":"done","epoch":"a","missing":[]}}',
        TOLD % (b"refused", b"b", b"3", b"5"),
        TOLD % (b"done", b"a", b"x", b"-1"),
        TOLD % (b"done", b"a", b"9" * 5_000, b"4"),
    ],
)
def test_an_answer_that_makes_no_sense_makes_nothing_gone(payload):
    bench = Bench()
    bench.look(("a", 3, 5))
    bench.look(("a", 3, 5))
    assert bench.asker.reply(SOURCE, payload, bench.now_s) is None


def test_answers_of_another_gateway_count_for_nothing():
    bench = Bench()
    bench.look(("a", 3, 5))
    bench.look(("a", 3, 5))
    assert bench.reply("ask-0", "refused", (3, 5), source="urn:shelfgate:store:other") is None
    assert bench.look(("a", 3, 5)) == [], "the command is still open"
