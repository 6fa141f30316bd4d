# SPDX-License-Identifier: Apache-2.0
"""Every decoder, given good bytes and what becomes of them, by Hypothesis."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzz import targets
from tests.fuzz.mutate import mutate
from tests.fuzz.seeds import GTIN, seeds

SEEDS = seeds()
SLOW = {"visit": 40, "store": 100, "database": 10}
FOUND = [
    ("settings", b"a = " + b"9" * 5_000),
    ("store", b"[store]\nname = " + b"9" * 5_000),
    ("snapshot", SEEDS["snapshot"][0].replace(b'"dtype"', b'"x"')),
    ("snapshot", SEEDS["snapshot"][0].replace(b'"shape"', b'"x"')),
    ("snapshot", SEEDS["snapshot"][0].replace(b'"<f8"', b'"01x"')),
    ("snapshot", SEEDS["snapshot"][0].replace(GTIN.encode(), b"4006381333931", 1)),
    ("command", b'\x04{"id":"c-5","shopper":"x","' + b"y" * 60_000 + b'":1}'),
    ("command", b'\x02{"id":"c-3","by":"x","acts":[],"review":"' + b"y" * 60_000 + b'"}'),
    ("database", SEEDS["database"][0].replace(b"autoindex_epochs", b"autoi\xb9\x06ex_epochs")),
    ("database", SEEDS["database"][0].replace(b"boot-scanner", b"boot\xb9scanner")),
    ("tail", b'{"type":1,"time":"","data":{}}'),
    ("tail", b"[" * 50_000),
    ("tail", '{"type":"\x9b2J"}'.encode()),
    ("instore", b"\x00" + b"[" * 50_000),
    ("instore", b'\x00{"x":' + b"[" * 50_000),
]
"""What fuzzing found, and its like, once mended."""


@pytest.mark.parametrize(("name", "data"), FOUND, ids=range(len(FOUND)))
def test_what_was_found_stays_mended(name, data):
    targets.TARGETS[name](data)


def test_every_target_has_seeds():
    assert SEEDS.keys() == targets.TARGETS.keys()


@pytest.mark.parametrize("name", sorted(targets.TARGETS))
def test_good_bytes_are_taken(name):
    for seed in SEEDS[name]:
        targets.TARGETS[name](seed)


@pytest.mark.parametrize("name", sorted(targets.TARGETS))
def test_changed_bytes_have_an_answer(name):
    @settings(max_examples=SLOW.get(name, 200), suppress_health_check=list(HealthCheck))
    @given(
        st.integers(0, len(SEEDS[name]) - 1), st.randoms(use_true_random=True), st.integers(0, 3)
    )
    def hold(number, random, times):
        seed = SEEDS[name][number]  # By its number: a database is too long to be printed.
        for _ in range(1 + times):
            seed = mutate(random, seed)
        targets.TARGETS[name](seed)

    hold()


@pytest.mark.parametrize("name", sorted(targets.TARGETS))
def test_any_bytes_have_an_answer(name):
    @settings(max_examples=min(50, SLOW.get(name, 50)))
    @given(st.binary(max_size=300))
    def hold(data):
        targets.TARGETS[name](data)

    hold()
