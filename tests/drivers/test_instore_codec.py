# SPDX-License-Identifier: Apache-2.0
"""The in-store contract: what is taken, and that nothing else harms anything."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.instore.codec import Known, Rejected, Scanned, decode
from gateway.domain.inputs import DeviceStatus, DoorState, People, PersonSeen, Samples, Wrist
from tests.small_store import small_store, stamp

KNOWN = Known.of(small_store())
ROOT = "shelfgate/v1/corner/"
SAMPLES = "shelf/g1.s1/samples"
PEOPLE = "camera/over/people"
LOOKED = "camera/over/looked"
SCAN = "scanner/gate/scan"
DOOR = "door/front/state"
STATUS = "shelf/g1.s1/status"

GOOD = {
    LOOKED: {
        "v": 1,
        "boot": "9f3a",
        "seq": 9,
        "t_ms": 900,
        "look": "l1",
        "frames": [
            {"after_ms": 0, "people": [{"track": "17", "wrists": [{"mm": [1, 2, 3]}]}]},
            {"after_ms": 33, "people": []},
        ],
    },
    SAMPLES: {
        "v": 1,
        "boot": "9f3a",
        "seq": 7,
        "t_ms": 1583245,
        "period_us": 16667,
        "unit": "g",
        "w": [[812.4, None, 1], [812.5, 3.25, -1e3]],
    },
    PEOPLE: {
        "v": 1,
        "boot": "9f3a",
        "seq": 8,
        "people": [
            {
                "track": "17",
                "score": 0.93,
                "floor_mm": [1240, -2310],
                "floor_sigma_mm": 80,
                "wrists": [
                    {
                        "mm": [1190, 80, 1420],
                        "score": 0.81,
                        "sigma_mm": 40,
                        "ray_mm": [[0, 0, 2700], [1190, 80, 1420]],
                    }
                ],
                "appearance": [0.5, -0.5],
            },
            {"track": "18"},
        ],
    },
    SCAN: {"v": 1, "boot": "9f3a", "seq": 0, "t_ms": 12, "text": "a.b.c", "aim": "]Q1"},
    DOOR: {"v": 1, "boot": "9f3a", "seq": 0, "t_ms": 12, "open": True},
    STATUS: {"v": 1, "state": "online", "fw": "1.4", "boot": "9f3a"},
}
AT = stamp(5)


def take(topic, message, *, retained=False):
    payload = message if isinstance(message, bytes) else json.dumps(message).encode()
    return decode(KNOWN, ROOT + topic, payload, retained=retained, stamp=AT)


def test_samples_become_an_input():
    assert take(SAMPLES, GOOD[SAMPLES]) == Samples(
        at=AT,
        device="shelf/g1.s1",
        boot="9f3a",
        seq=7,
        t_ms=1583245,
        period_us=16667,
        unit="g",
        w=[[812.4, None, 1.0], [812.5, 3.25, -1000.0]],
    )


def test_a_sender_on_the_same_host_brings_its_own_time():
    item = take(SAMPLES, GOOD[SAMPLES] | {"host_boot": "kernel", "host_mono_ms": 12.5})
    assert (item.host_boot, item.host_mono_ms) == ("kernel", 12.5)


def test_the_answer_to_a_look_becomes_an_input():
    item = take(LOOKED, GOOD[LOOKED])
    assert (item.device, item.look, item.t_ms) == ("camera/over", "l1", 900)
    assert [(frame.after_ms, len(frame.people)) for frame in item.frames] == [(0, 1), (33, 0)]
    assert item.frames[0].people[0] == PersonSeen(track="17", wrists=[Wrist((1.0, 2.0, 3.0))])


def test_people_become_an_input_and_everything_but_the_track_may_be_absent():
    assert take(PEOPLE, GOOD[PEOPLE]) == People(
        at=AT,
        device="camera/over",
        boot="9f3a",
        seq=8,
        people=[
            PersonSeen(
                track="17",
                score=0.93,
                floor_mm=(1240.0, -2310.0),
                floor_sigma_mm=80.0,
                wrists=[
                    Wrist(
                        (1190.0, 80.0, 1420.0),
                        0.81,
                        40.0,
                        ((0.0, 0.0, 2700.0), (1190.0, 80.0, 1420.0)),
                    )
                ],
                appearance=[0.5, -0.5],
            ),
            PersonSeen(track="18"),
        ],
    )


def test_a_scan_waits_for_its_verdict_and_hides_its_text():
    scan = take(SCAN, GOOD[SCAN])
    assert isinstance(scan, Scanned)
    assert scan.message.text == "a.b.c"
    assert "a.b.c" not in repr(scan)


def test_doors_and_states_become_inputs():
    assert take(DOOR, GOOD[DOOR]) == DoorState(
        at=AT, device="door/front", boot="9f3a", seq=0, t_ms=12, open=True
    )
    assert take(STATUS, GOOD[STATUS], retained=True) == DeviceStatus(
        at=AT, device="shelf/g1.s1", state="online", boot="9f3a", fw="1.4"
    )


@pytest.mark.parametrize("topic", GOOD)
def test_unknown_extra_fields_are_ignored(topic):
    more = GOOD[topic] | {"extra": {"deep": [1, {"x": None}]}, "überlang": "ß"}
    assert take(topic, more) == take(topic, GOOD[topic])


@pytest.mark.parametrize("topic", [SAMPLES, PEOPLE, SCAN, DOOR])
def test_retained_messages_are_refused_but_on_status(topic):
    refused = take(topic, GOOD[topic], retained=True)
    assert isinstance(refused, Rejected)
    assert refused.reason == "retained"


REQUIRED = [
    (topic, name)
    for topic, message in GOOD.items()
    for name in message
    if name not in {"t_ms", "fw", "aim"}
]


@pytest.mark.parametrize(("topic", "name"), REQUIRED)
def test_a_missing_field_rejects_the_message_and_is_named(topic, name):
    message = {key: value for key, value in GOOD[topic].items() if key != name}
    refused = take(topic, message)
    assert isinstance(refused, Rejected)
    assert refused.reason == "malformed"
    assert f"`{name}`" in refused.detail


@pytest.mark.parametrize(
    ("topic", "name"), [(topic, name) for topic, message in GOOD.items() for name in message]
)
@pytest.mark.parametrize("wrong", ["'wrong'", '{"a":1}', "true", "-1", "1e3", "[[[]]]", "1.5"])
def test_a_wrong_field_rejects_the_message_or_is_legal(topic, name, wrong):
    payload = json.dumps(GOOD[topic] | {name: "@"}).replace('"@"', wrong).encode()
    assert isinstance(
        take(topic, payload), Rejected | Samples | People | Scanned | DoorState | DeviceStatus
    )
    if wrong in ("'wrong'", '{"a":1}'):
        assert take(topic, payload).reason == "malformed"


def changed(topic, **fields):
    return json.dumps(GOOD[topic] | fields).encode()


def with_weight(text):
    return changed(SAMPLES, w=[[1, 2, "@"]]).replace(b'"@"', text)


HOSTILE = {
    "nothing": (SAMPLES, b""),
    "half": (SAMPLES, json.dumps(GOOD[SAMPLES]).encode()[:40]),
    "two": (SAMPLES, json.dumps(GOOD[SAMPLES]).encode() * 2),
    "no object": (SAMPLES, b"[1]"),
    "binary": (SAMPLES, bytes(range(256))),
    "invalid UTF-8 in a field": (SAMPLES, changed(SAMPLES, boot="@").replace(b"@", b"\xff\xfe")),
    "invalid UTF-8 in an unknown field": (
        SAMPLES,
        changed(SAMPLES, extra="@").replace(b"@", b"\xc3\x28"),
    ),
    "surrogate": (SAMPLES, changed(SAMPLES, boot="\ud800")),
    "NUL": (SAMPLES, changed(SAMPLES, boot="a\0")),
    "NaN": (SAMPLES, with_weight(b"NaN")),
    "Infinity": (SAMPLES, with_weight(b"-Infinity")),
    "overflowing": (SAMPLES, with_weight(b"1e400")),
    "many digits": (SAMPLES, with_weight(b"9" * 5000)),
    "text weight": (SAMPLES, with_weight(b'"12"')),
    "boolean weight": (SAMPLES, with_weight(b"true")),
    "deep": (SAMPLES, b'{"v":1,"x":' + b"[" * 60_000),
    "deep where it counts": (SAMPLES, with_weight(b"[" * 60_000)),
    "ragged": (SAMPLES, changed(SAMPLES, w=[[1, 2, 3], [1, 2]])),
    "too many plates": (SAMPLES, changed(SAMPLES, w=[[1, 2, 3, 4]])),
    "no samples": (SAMPLES, changed(SAMPLES, w=[])),
    "no plates": (SAMPLES, changed(SAMPLES, w=[[]])),
    "too many samples": (SAMPLES, changed(SAMPLES, w=[[1, 2, 3]] * 601)),
    "another version": (SAMPLES, changed(SAMPLES, v=2)),
    "long boot": (SAMPLES, changed(SAMPLES, boot="x" * 65)),
    "huge seq": (SAMPLES, changed(SAMPLES, seq=2**53 + 1)),
    "gigantic seq": (SAMPLES, changed(SAMPLES, seq=10**300)),
    "negative seq": (SAMPLES, changed(SAMPLES, seq=-1)),
    "another unit": (SAMPLES, changed(SAMPLES, unit="kg")),
    "no period": (SAMPLES, changed(SAMPLES, period_us=0)),
    "crowd": (PEOPLE, changed(PEOPLE, people=[{"track": str(n)} for n in range(65)])),
    "octopus": (
        PEOPLE,
        changed(PEOPLE, people=[{"track": "1", "wrists": [{"mm": [0, 0, 0]}] * 5}]),
    ),
    "film": (LOOKED, changed(LOOKED, frames=[{"after_ms": n, "people": []} for n in range(65)])),
    "backwards": (
        LOOKED,
        changed(LOOKED, frames=[{"after_ms": n, "people": []} for n in (5, 3)]),
    ),
    "twins looked at": (
        LOOKED,
        changed(LOOKED, frames=[{"after_ms": 0, "people": [{"track": "1"}, {"track": "1"}]}]),
    ),
    "twins": (PEOPLE, changed(PEOPLE, people=[{"track": "1"}, {"track": "1"}])),
    "far away": (PEOPLE, changed(PEOPLE, people=[{"track": "1", "floor_mm": [1e9, 0]}])),
    "flat": (PEOPLE, changed(PEOPLE, people=[{"track": "1", "floor_mm": [1]}])),
    "certain": (PEOPLE, changed(PEOPLE, people=[{"track": "1", "floor_sigma_mm": 0}])),
    "long track": (PEOPLE, changed(PEOPLE, people=[{"track": "x" * 65}])),
    "wide appearance": (
        PEOPLE,
        changed(PEOPLE, people=[{"track": "1", "appearance": [0.0] * 513}]),
    ),
    "long text": (SCAN, changed(SCAN, text="x" * 1025)),
    "ajar": (DOOR, changed(DOOR, open="ajar")),
    "another state": (STATUS, changed(STATUS, state="asleep")),
    "bell in fw": (STATUS, changed(STATUS, fw="\a")),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_payloads_are_rejected_as_malformed(name):
    topic, payload = HOSTILE[name]
    refused = take(topic, payload)
    assert isinstance(refused, Rejected)
    assert refused.reason == "malformed"
    assert refused.device == "/".join(topic.split("/")[:2])


def test_64_kib_is_the_limit_and_it_is_checked_first():
    padded = json.dumps(GOOD[SAMPLES]).encode().ljust(64 * 1024)
    assert isinstance(take(SAMPLES, padded), Samples)
    refused = take(SAMPLES, b"[" * (64 * 1024 + 1))
    assert refused.reason == "too-long"


@pytest.mark.parametrize(
    ("topic", "reason", "device"),
    [
        (ROOT + "shelf/g9.s9/samples", "unknown-device", "shelf/g9.s9"),
        (ROOT + "shelf/gate/samples", "unknown-device", "shelf/gate"),
        (ROOT + "fridge/g1.s1/status", "unknown-device", "fridge/g1.s1"),
        (ROOT + "shelf/" + "x" * 500 + "/samples", "unknown-device", "shelf/" + "x" * 122),
        (ROOT + "shelf/g1.s1/people", "unknown-topic", "shelf/g1.s1"),
        (ROOT + "door/front/open", "unknown-topic", "door/front"),
        (ROOT + "shelf/g1.s1", "unknown-topic", "mqtt/other"),
        (ROOT + "shelf/\x1b[2J\x07\n/samples", "unknown-topic", "mqtt/other"),
        (ROOT + "shelf/g1.s1/samples/more", "unknown-topic", "mqtt/other"),
        ("shelfgate/v1/other/shelf/g1.s1/samples", "unknown-topic", "mqtt/other"),
        ("shelf/g1.s1/samples", "unknown-topic", "mqtt/other"),
        ("", "unknown-topic", "mqtt/other"),
    ],
)
def test_what_the_store_does_not_know_is_refused(topic, reason, device):
    payload = json.dumps(GOOD[SAMPLES]).encode()
    refused = decode(KNOWN, topic, payload, retained=False, stamp=AT)
    assert isinstance(refused, Rejected)
    assert (refused.reason, refused.device) == (reason, device)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4)
    ),
    max_leaves=10,
)


@given(st.sampled_from(list(GOOD)), st.binary(max_size=300), st.booleans())
def test_any_bytes_have_an_answer(topic, payload, retained):
    assert isinstance(take(topic, payload, retained=retained), Rejected)


@given(st.data())
def test_any_json_in_any_field_has_an_answer(data):
    topic = data.draw(st.sampled_from(list(GOOD)))
    name = data.draw(st.sampled_from(list(GOOD[topic])))
    take(topic, GOOD[topic] | {name: data.draw(JSON)})


@given(
    st.lists(
        st.lists(
            st.none() | st.floats(allow_nan=False, allow_infinity=False), min_size=3, max_size=3
        ),
        min_size=1,
        max_size=20,
    ),
    st.integers(0, 2**53),
)
def test_every_weight_survives(weights, seq):
    item = take(SAMPLES, GOOD[SAMPLES] | {"w": weights, "seq": seq})
    assert (item.w, item.seq) == (weights, seq)
