# SPDX-License-Identifier: Apache-2.0
"""The linear matcher: what it takes, it matches as ``re`` does; what it cannot, it refuses."""

import re
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drivers.scale.patterns import DEPTH_MAX, Pattern, PatternError

ATOMS = ["a", "b", "1", r"\d", r"\s", r"\S", r"\w", r"\W", ".", "[ab]", "[^a]", "[a-c1]", "[]x]"]
ATOMS += [r"\x61", r"\.", r"[\d-]", "[a-]", r"\r", "^", "$"]
EXPRESSIONS = st.recursive(
    st.sampled_from(ATOMS),
    lambda inner: st.one_of(
        st.tuples(inner, inner).map("".join),
        st.tuples(inner, inner).map(lambda two: f"(?:{two[0]}|{two[1]})"),
        st.tuples(inner, st.sampled_from(["?", "{2}", "{1,3}", "{0,2}", "+", "*?"])).map(
            lambda two: f"(?:{two[0]}){two[1]}"
        ),
    ),
    max_leaves=8,
)


@settings(max_examples=80)
@given(EXPRESSIONS, st.lists(st.text("ab1 .\r-", max_size=8), min_size=3, max_size=3))
def test_a_line_matches_where_re_says_so(expression, lines):
    ours, theirs = Pattern(expression), re.compile(expression.encode(), re.DOTALL)
    for line in lines:
        # $ of re holds before a last newline as well; none is in these lines.
        assert (ours.match(line.encode()) is None) == (theirs.fullmatch(line.encode()) is None)


NAMED = [
    (r"(?P<a>a*)(?P<b>a*)", b"aaa"),
    (r"(?P<a>a*?)(?P<b>a*)", b"aaa"),
    (r"(?P<a>a|ab)(?P<b>b?)", b"ab"),
    (r"(?P<a>ab|a)(?P<b>b?)", b"ab"),
    (r"(?:(?P<a>\d+)|(?P<b>\w+))", b"a1"),
    (r"(?P<state>ST|US),(?P<k>GS|NT),\s*(?P<weight>-?\d+\.\d+)\s*(?P<unit>k?g)", b"ST,GS,  5.6 g"),
    (r"(?:(?P<a>.),?)+", b"a,b,c"),
    (r"(x)?(?P<a>\d{1,3})(?P<b>\d{0,9})", b"12345"),
]


@pytest.mark.parametrize(("expression", "line"), NAMED)
def test_groups_take_what_re_gives_them(expression, line):
    match = re.compile(expression.encode(), re.DOTALL).fullmatch(line)
    wanted = {name: text for name, text in match.groupdict().items() if text is not None}
    assert Pattern(expression).match(line) == wanted


REFUSED = {
    "": "is empty",
    "€": "beyond U+00FF",
    "(": "a ( without its ) at character 2. Close it",
    ")": "a ) without its (",
    "[a": "a [ without its ] at character 1",
    "[z-a]": "a range that is none",
    r"[\d-z]": "a range that is none",
    "*a": "nothing before it",
    "a**": "a repetition of a repetition",
    "a{2": "no repetition",
    "a{x}": "no repetition",
    "a{300}": "out of range",
    "a{3,2}": "out of range",
    r"(a)\1": "not offered",
    r"\b": "not offered",
    r"\x4": "two hex digits",
    "\\": "not offered",
    "(?=a)": "nothing looks around",
    "(?i)a": "not offered",
    "(?P<1>a)": "a name of its own",
    "(?P<a>x)(?P<a>y)": "a name of its own",
    "(?:a{200}){200}": "too large",
    "(" * (DEPTH_MAX + 1) + ")" * (DEPTH_MAX + 1): "too deep",
}


@pytest.mark.parametrize("expression", REFUSED)
def test_what_cannot_be_used_is_refused_with_a_remedy(expression):
    with pytest.raises(PatternError) as raised:
        Pattern(expression)
    assert REFUSED[expression] in str(raised.value)
    assert ". " in str(raised.value)


@given(st.text("ab1()[]{},*+?|^$.\\-dxP<>:=", max_size=40))
def test_any_text_is_compiled_or_refused(text):
    with suppress(PatternError):
        Pattern(text).match(b"ab1ab1")


@pytest.mark.parametrize(
    "expression", [r"(?:(?:a*)*)*b", r"(?:a|a)*b", r"(?:a?){100}a{100}b", r".*.*.*.*.*.*.*b"]
)
def test_work_is_bounded_by_line_times_expression(expression, monkeypatch):
    pattern = Pattern(expression)
    steps = 0
    follow = Pattern._follow

    def counted(self, ways, at, end):
        nonlocal steps
        found = follow(self, ways, at, end)
        steps += len(found)
        return found

    monkeypatch.setattr(Pattern, "_follow", counted)
    assert pattern.match(b"a" * 256) is None
    assert steps <= 257 * len(pattern._steps)


def test_repetitions_of_nothing_end():
    assert Pattern("(?:(?:(?:){256}){256}){256}a").match(b"a") == {}
