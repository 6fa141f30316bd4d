# SPDX-License-Identifier: Apache-2.0
"""What is wrong with a value is told in plain words, with the value."""

import datetime as dt
from typing import Annotated, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Meta

from gateway.config_words import describe, faults, needed, refused

Port = Annotated[int, Meta(ge=1, le=65_535)]
Pair = tuple[float, float]
Text = Annotated[str, Meta(min_length=1, max_length=200)]


@pytest.mark.parametrize(
    ("value", "wanted", "problem"),
    [
        (0, Port, "is 0"),
        (1.5, Port, "is 1.5"),
        ("1883", Port | None, 'is text ("1883")'),
        (True, Port, "is true"),
        ("app", Literal["application", "broker"], 'is "app"'),
        (3, Literal[4, 5], "is 3"),
        ("", Text, "is empty"),
        ("x" * 201, Text, "has 201 letters"),
        ("a\nb", Annotated[str, Meta(pattern="^[a-z]+$")], 'is "a\ufffdb"'),
        ([1.0], Text, "is a list"),
        ({"a": 1}, Text, "is a table"),
        (dt.date(2026, 1, 2), Text, "is a date or time (2026-01-02)"),
        ([1.0], Pair, "has 1 entry"),
    ],
)
def test_the_problem_is_plain_and_shows_the_value(value, wanted, problem):
    assert refused(value, wanted)
    assert [told for _, told, _ in faults(value, wanted)] == [problem]


def test_every_wrong_element_of_a_list_is_told_with_its_place():
    found = list(faults([[1, "a"], [2, 3], 4], tuple[Pair, ...]))
    assert found == [((0, 1), 'is text ("a")', float), ((2,), "is a number (4)", Pair)]


def test_what_is_needed_is_named_where_nothing_describes_it():
    assert needed(int | None) == "a whole number"
    assert needed(Annotated[float, Meta(gt=0)]) == "a number"


TOML = st.recursive(
    st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@given(value=TOML, wanted=st.sampled_from([Port, Text, Pair, tuple[Pair, ...], Port | None, bool]))
def test_whatever_is_refused_has_a_problem_of_one_printable_line(value, wanted):
    if refused(value, wanted):
        found = list(faults(value, wanted))
        assert found
        assert all(told.isprintable() for _, told, _ in found)
        assert describe(value, wanted)
