# SPDX-License-Identifier: Apache-2.0
"""What ESPHome, Tasmota, plain numbers and JSON say, and what they cannot say."""

import json
from decimal import Decimal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.mqtt.config import Message
from drivers.mqtt_shelf.codec import LATE_NS, Decoder, Presence, Refused
from drivers.mqtt_shelf.config import EsphomeConfig, JsonConfig, NumberConfig, TasmotaConfig
from drivers.scale.reading import Reading

ESPHOME = EsphomeConfig(name="s", prefix="node", sensors=("a", "b"))
TASMOTA = TasmotaConfig(name="s", topic="hx")
NUMBER = NumberConfig(name="s", topics=("w/0", "w/1"), cells=2, unit="kg")
JSON = JsonConfig(
    name="s",
    topic="j",
    values_at=("/p/0/w", "/p/1/w"),
    unit_at="/u",
    time_at="/ms",
    sequence_at="/n",
    status_at="/state",
    good=("ok", "true"),
    availability="j/there",
    online="1",
    offline="0",
)
TELE = (
    '{"Time":"2026-11-21T16:00:00","HX711":{"Weight":0.412,"Count":3,"WeightRaw":48211,'
    '"AbsRaw":8442211}}'
)
DOCUMENT = {"p": [{"w": 1.5}, {"w": "2"}], "u": "kg", "ms": 5_000, "n": 7, "state": "ok"}


def told(config, topic, payload, *, retain=False, now_ns=0):
    return told_by(Decoder(config), topic, payload, retain=retain, now_ns=now_ns)


def told_by(decoder, topic, payload, *, retain=False, now_ns=0):
    if isinstance(payload, dict):
        payload = json.dumps(payload)
    data = payload if isinstance(payload, bytes) else payload.encode()
    return decoder.take(Message(topic, data, retain, 0, 0), now_ns)


def grams(results):
    return [(one.channel, one.grams) for one in results if isinstance(one, Reading)]


def reasons(results):
    return [(one.reason, one.times) for one in results if isinstance(one, Refused)]


@pytest.mark.parametrize(
    ("config", "topic", "payload", "expected"),
    [
        (ESPHOME, "node/sensor/b/state", "412.5", [(1, Decimal("412.5"))]),
        (ESPHOME, "node/sensor/a/state", " -3 ", [(0, Decimal(-3))]),
        (ESPHOME, "node/sensor/a/state", "nan", [(0, None)]),
        (ESPHOME, "node/sensor/a/state", "1.5e2", [(0, Decimal(150))]),
        (
            TASMOTA,
            "tele/hx/SENSOR",
            TELE,
            [(0, Decimal(412))],
        ),
        (NUMBER, "w/1", "0.1,nan", [(2, Decimal(100)), (3, None)]),
        (JSON, "j", DOCUMENT, [(0, Decimal(1500)), (1, Decimal(2000))]),
        (JSON, "j", DOCUMENT | {"state": "wait"}, [(0, None), (1, None)]),
        (JSON, "j", DOCUMENT | {"state": True}, [(0, Decimal(1500)), (1, Decimal(2000))]),
        (JSON, "j", DOCUMENT | {"p": [{"w": None}, {"w": 2}]}, [(0, None), (1, Decimal(2000))]),
        (
            JSON,
            "j",
            DOCUMENT | {"u": "lb"},
            [(0, Decimal("680.388555")), (1, Decimal("907.18474"))],
        ),
    ],
)
def test_weights_become_grams_and_no_value_is_not_zero(config, topic, payload, expected):
    results = told(config, topic, payload)
    assert grams(results) == expected
    assert reasons(results) == []


def test_raw_counts_stay_what_they_are():
    config = msgspec.structs.replace(ESPHOME, unit="raw")
    assert grams(told(config, "node/sensor/a/state", "-8388608")) == [(0, Decimal(-8388608))]


@pytest.mark.parametrize(
    ("config", "topic", "payload", "reason"),
    [
        (ESPHOME, "node/sensor/a/state", "ON", "malformed"),
        (ESPHOME, "node/sensor/a/state", "1,2", "malformed"),
        (ESPHOME, "node/sensor/a/state", "inf", "malformed"),
        (ESPHOME, "node/sensor/a/state", "1e99", "malformed"),
        (ESPHOME, "node/sensor/a/state", "٣", "malformed"),
        (ESPHOME, "node/sensor/a/state", b"1" * 5_000, "too-long"),
        (ESPHOME, "node/status", "maybe", "malformed"),
        (NUMBER, "w/0", "1", "malformed"),
        (TASMOTA, "tele/hx/SENSOR", '{"Time":"2026-11-21T16:00:00"}', "no-value"),
        (TASMOTA, "tele/hx/SENSOR", "{", "malformed"),
        (TASMOTA, "tele/hx/SENSOR", b'{"HX711":{"Weight":"\xff"}}', "malformed"),
        (TASMOTA, "tele/hx/SENSOR", "[" * 60_000, "malformed"),
        (TASMOTA, "tele/hx/SENSOR", " " * 70_000, "too-long"),
        (TASMOTA, "tele/hx/SENSOR", '{"HX711":{"Weight":true}}', "malformed"),
        (JSON, "j", DOCUMENT | {"p": [{"w": 1}]}, "malformed"),
        (JSON, "j", DOCUMENT | {"u": "stone"}, "unit"),
        (JSON, "j", DOCUMENT | {"u": 5}, "unit"),
        (JSON, "j", DOCUMENT | {"n": -1}, "malformed"),
        (JSON, "j", DOCUMENT | {"n": 1.5}, "malformed"),
        (JSON, "j", DOCUMENT | {"ms": "1"}, "malformed"),
        (JSON, "j", DOCUMENT | {"state": []}, "malformed"),
    ],
)
def test_what_is_no_weight_is_refused_with_a_reason(config, topic, payload, reason):
    results = told(config, topic, payload)
    assert reasons(results) == [(reason, 1)]
    assert grams(results) == []


@pytest.mark.parametrize("config", [ESPHOME, TASMOTA, NUMBER, JSON])
def test_what_the_broker_kept_is_no_weight(config):
    topic = config.value_topics[0]
    assert told(config, topic, "1", retain=True) == [Refused("retained")]


@pytest.mark.parametrize(
    ("config", "topic", "words"),
    [
        (ESPHOME, "node/status", ("online", "offline")),
        (TASMOTA, "tele/hx/LWT", ("Online", "Offline")),
        (JSON, "j/there", ("1", "0")),
    ],
)
def test_presence_counts_however_old_it_is(config, topic, words):
    for word, online in zip(words, (True, False), strict=True):
        assert told(config, topic, word, retain=True) == [Presence(online)]


def test_numbers_tell_what_is_missing_or_comes_twice_and_begin_anew_with_the_device():
    decoder = Decoder(JSON)
    seen = [
        reasons(told_by(decoder, "j", DOCUMENT | {"n": n, "ms": ms}, now_ns=ms * 1_000_000))
        for n, ms in [(20, 100), (21, 200), (24, 300), (24, 300), (23, 300), (0, 400), (1, 500)]
    ]
    assert seen == [[], [], [("missing", 2)], [("repeat", 1)], [("late", 1)], [], []]


def test_what_a_stall_kept_back_is_not_taken_for_now():
    decoder = Decoder(JSON)
    later_ns = 3_000_000_000
    assert reasons(told_by(decoder, "j", DOCUMENT | {"n": 0, "ms": 1_000})) == []
    late = told_by(decoder, "j", DOCUMENT | {"n": 1, "ms": 1_200}, now_ns=later_ns)
    assert reasons(late) == [("late", 1)]
    now = DOCUMENT | {"n": 2, "ms": 1_000 + 3_000 - LATE_NS // 1_000_000 + 10}
    assert reasons(told_by(decoder, "j", now, now_ns=later_ns)) == []


@given(
    st.sampled_from([ESPHOME, TASMOTA, NUMBER, JSON]),
    st.one_of(
        st.binary(max_size=200),
        st.text(max_size=60).map(str.encode),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
            lambda inner: (
                st.lists(inner, max_size=4)
                | st.dictionaries(
                    st.sampled_from(["p", "w", "u", "ms", "n", "state", "HX711", "Weight"]), inner
                )
            ),
            max_leaves=20,
        ).map(lambda value: json.dumps(value).encode()),
    ),
    st.booleans(),
)
def test_nothing_raises(config, payload, retain):
    decoder = Decoder(config)
    for topic in (*config.value_topics, "node/status", "elsewhere"):
        for result in told_by(decoder, topic, payload, retain=retain):
            if isinstance(result, Reading) and result.grams is not None:
                assert abs(result.grams) <= 10**8


@pytest.mark.parametrize(
    "wrong",
    [
        {"driver": "esphome", "name": "s", "prefix": "a/+", "sensors": ["x"]},
        {"driver": "esphome", "name": "s", "prefix": "shelfgate/v1", "sensors": ["x"]},
        {"driver": "esphome", "name": "s", "prefix": "a", "sensors": ["x/#"]},
        {"driver": "tasmota", "name": "s", "topic": "$SYS/x"},
        {"driver": "number", "name": "s", "topics": ["a\u0000"]},
        {"driver": "number", "name": "s", "topics": ["#"]},
        {"driver": "json", "name": "s", "topic": "a", "values_at": ["w"]},
        {"driver": "json", "name": "s", "topic": "a", "values_at": ["/a~2"]},
    ],
)
def test_topics_with_wildcards_and_pointers_that_are_none_are_refused(wrong):
    from drivers.registry import AnyDriverConfig

    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(wrong, AnyDriverConfig)
