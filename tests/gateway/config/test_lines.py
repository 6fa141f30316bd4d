# SPDX-License-Identifier: Apache-2.0
"""Messages name lines: every key of any TOML document has one."""

import tomllib

from hypothesis import given
from hypothesis import strategies as st

from gateway.config_toml import load_document


def paths_of(node, path=()):
    if isinstance(node, dict):
        for key, value in node.items():
            yield (*path, key)
            yield from paths_of(value, (*path, key))
    elif isinstance(node, list):
        for index, value in enumerate(node):
            yield (*path, index)
            yield from paths_of(value, (*path, index))


TRICKY = '''\
a."b.c" = 1 # ] "
"quo\\"ted" = ["""x
[no]
= "y" ""\\"""", [ # a comment, ]
  1, 2,
], {k.l = "}", 'm n' = \'\'\'
'\'\'\'}]
[t.u]
v = 2026-11-21T10:00:00Z
[[t.w]]
x = [[1, 2], [3,
4]]
[t.w.y]
z = inf
[[t.w]]
[[t.w.deep]]
end = "\\\\"
'''


def test_every_key_of_a_tricky_document_has_its_line(tmp_path):
    path = tmp_path / "tricky.toml"
    path.write_text(TRICKY)
    document = load_document(path)
    assert document.data == tomllib.loads(TRICKY)
    lines = {path: document.lines[path] for path in paths_of(document.data)}
    assert lines["a", "b.c"] == 1
    assert lines['quo"ted', 1, 1] == 5
    assert lines['quo"ted', 2, "m n"] == 6
    assert lines["t", "u", "v"] == 9
    assert lines["t", "w", 0, "x", 1, 1] == 12
    assert lines["t", "w", 0, "y", "z"] == 14
    assert lines["t", "w", 1, "deep", 0, "end"] == 17


KEY = st.sampled_from(["a", "b", '"c.d"', "'e f'", '"\\u00e9"'])

SCALAR = st.sampled_from(
    ["1", "-0.5", "true", '"x # y"', "'[z]'", '"""m\n[n]\n"""', "'''o\n'''", "1979-05-27", "nan"]
)

VALUE = st.recursive(
    SCALAR,
    lambda inner: (
        st.lists(inner, max_size=3).map(lambda items: "[\n " + ", ".join(items) + "]")
        | st.dictionaries(KEY, inner, max_size=3).map(
            lambda items: "{" + ", ".join(f"{key} = {value}" for key, value in items.items()) + "}"
        )
    ),
    max_leaves=6,
)

TABLE = st.tuples(
    st.sampled_from(["[[t]]", "[[t.u]]", "[v]", "[v.w]", "[[t.u.x]]", "[t.y]"]),
    st.dictionaries(KEY, VALUE, max_size=3),
)


@given(st.lists(TABLE, max_size=5))
def test_every_key_of_any_document_has_a_line_that_holds_it(tables):
    text = "".join(
        header + "\n" + "".join(f"{key} = {value}\n" for key, value in pairs.items())
        for header, pairs in tables
    )
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return
    lines = scan(text)
    source = text.splitlines()
    for path in paths_of(data):
        assert path in lines
        key = path[-1]
        if isinstance(key, str) and key.isascii():
            assert key in source[lines[path] - 1]


def scan(text):
    from gateway.config_toml import _Scanner

    return _Scanner(text).scan()
