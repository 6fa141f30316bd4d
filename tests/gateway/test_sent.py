# SPDX-License-Identifier: Apache-2.0
"""Ranges of what was sent, beside a plain set."""

from hypothesis import given
from hypothesis import strategies as st

from gateway.sent import Sent

EPOCH, OTHER = "1" * 32, "2" * 32
STEPS = st.lists(st.tuples(st.sampled_from(["add", "cover", "undo"]), st.integers(0, 12)))


@given(steps=STEPS)
def test_the_limit_is_the_last_before_a_gap(steps):
    one, plain, most = Sent(), set(), -1
    one.add(OTHER, 3)
    for what, sequence in steps:
        if what == "add":
            assert one.add(EPOCH, sequence) == (sequence not in plain)
            most = max(most, sequence)
        elif what == "cover":
            assert one.cover(EPOCH, sequence) == (sequence not in plain)
        elif sequence in plain:
            one.undo(EPOCH, sequence)
        (plain.discard if what == "undo" else plain.add)(sequence)
    for acknowledged in range(-1, 14):
        limit = acknowledged
        while limit + 1 in plain:
            limit += 1
        assert one.limit(EPOCH, acknowledged) == limit
    assert dict(one.most()) == {OTHER: 3} | ({EPOCH: most} if most >= 0 else {})
    assert one.limit("3" * 32, -1) == -1


def test_nothing_is_forgotten_however_many_gaps_there_are():
    one, count = Sent(), 20_000
    for sequence in range(1, 2 * count, 2):
        one.cover(EPOCH, sequence)
    for sequence in range(0, 2 * count, 2):
        assert one.limit(EPOCH, -1) == sequence - 1, "what is not sent is not believed"
        one.add(EPOCH, sequence)
    assert one.limit(EPOCH, -1) == 2 * count - 1
    assert len(one._firsts[EPOCH]) == 1, "what has no gap is one range"
