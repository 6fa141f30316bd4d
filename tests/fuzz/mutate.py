# SPDX-License-Identifier: Apache-2.0
"""What is done to good bytes: documents stay documents for a while, so that deep code is reached.

``random`` is all that decides, so a seed (or Hypothesis) says everything.
"""

import json
import math

HOSTILE = (
    *(None, True, False, 0, -1, 1, 2**31, 2**32, 2**53, 2**53 + 1, 2**63, -(2**63) - 1, 2**64),
    *(10**400, 0.5, -0.0, 1e-320, 1e308, -1e308, math.nan, math.inf, -math.inf),
    *("", "x", "x" * 65, "x" * 3_000, "\x00", "\x1b[2J", "\ud800", "\U0010ffff", "١٢", "é"),
    *("../../etc/passwd", "+", "#", "$SYS/x", "a/b", "1e9", "NaN", "9" * 30, "0" * 14),
    *([], {}, [[]], [None], {"": {}}, [1e308, -1e308] * 300),
)
"""Values that code tends not to expect."""
TOKENS = (
    *(b"\x00", b"\n", b"\r\n", b"\t", b"]", b"[", b"{", b"}", b'"', b"\\", b"\\ud800", b"'", b"#"),
    *(
        b"\xff",
        b"\xef\xbb\xbf",
        b"\xed\xa0\x80",
        b"\xf4\x90\x80\x80",
        b"\x1f\x8b",
        b"-",
        b"+",
        b".",
    ),
    *(b"1e999", b"9" * 20, b"9" * 5_000, b"NaN", b"null", b"true", b"1979-05-27T07:32:00Z"),
    *(b'"""', b"'''", b"=", b",", b"[[", b"]]", b'"crc":"', b"0x", b"_", b"inf"),
)
DEPTHS = (3, 100, 2_000, 20_000)


def mutate(random, data):
    """Return bytes like ``data``, changed in a few places."""
    if random.random() < 0.75:
        changed = _as_document(random, data)
        if changed is not None:
            data = changed
            if random.random() < 0.7:
                return data
    for _ in range(random.choice((1, 1, 1, 2, 5))):
        data = _as_bytes(random, data)
    return data


def _as_document(random, data):
    """Change values of a JSON document, or of JSON lines; None where it is none."""
    try:
        lines = [json.loads(line) for line in data.split(b"\n")]
    except (ValueError, RecursionError):
        return None
    for _ in range(random.choice((1, 1, 2, 4))):
        place = random.randrange(len(lines))
        lines[place] = _value(random, lines[place], lines)
        if random.random() < 0.1:
            lines.insert(random.randrange(len(lines) + 1), random.choice(lines))
    ascii_only = random.random() < 0.8
    text = "\n".join(
        json.dumps(line, ensure_ascii=ascii_only, separators=(",", ":")) for line in lines
    )
    text = text.encode("utf-8", "surrogatepass")
    if random.random() < 0.05:
        depth = random.choice(DEPTHS)
        text = text.replace(random.choice((b"null", b"1", b'""', b"{}")), b"[" * depth, 1)
    return text


def _value(random, value, lines):
    """Return a value with one thing in it changed."""
    chance = random.random()
    if isinstance(value, dict) and value and chance < 0.9:
        value = dict(value)
        key = random.choice(list(value))
        if chance < 0.06:
            del value[key]
        elif chance < 0.1:
            value[random.choice(("id", "v", "x", "\x00", "x" * 99))] = random.choice(HOSTILE)
        else:
            value[key] = _value(random, value[key], lines)
        return value
    if isinstance(value, list) and value and chance < 0.9:
        value = list(value)
        place = random.randrange(len(value))
        if chance < 0.05:
            del value[place]
        elif chance < 0.1:
            value *= random.choice((2, 10, 300))
        elif chance < 0.2:
            value.insert(place, random.choice(value))
        else:
            value[place] = _value(random, value[place], lines)
        return value
    if isinstance(value, int | float) and not isinstance(value, bool) and chance < 0.5:
        return _number(random, value)
    return random.choice(HOSTILE)


def _number(random, value):
    try:
        return random.choice(
            (value + 1, value - 1, -value, value * 2, value * 1_000, value / 3, int(value))
        )
    except (OverflowError, ValueError):
        return 0


def _as_bytes(random, data):
    """Return bytes with one stretch of them changed."""
    start = random.randrange(len(data) + 1)
    end = min(len(data), start + random.choice((0, 1, 1, 2, 8, 100)))
    what = random.randrange(6)
    if what == 0:
        middle = random.choice(TOKENS)
    elif what == 1:
        middle = b""
    elif what == 2:
        middle = data[start:end] * random.choice((2, 3, 50))
    elif what == 3:
        middle = bytes(byte ^ 1 << random.randrange(8) for byte in data[start:end])
    elif what == 4:
        middle = bytes(random.randrange(256) for _ in range(end - start))
    else:
        other = random.randrange(len(data) + 1)
        middle = data[other : other + (end - start)]
    return data[:start] + middle + data[end:]
