# SPDX-License-Identifier: Apache-2.0
"""What is done for many packets at once does what paho's own client does for each."""

import inspect

import paho.mqtt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from drivers.mqtt.packets import AHEAD_BYTES, PacketClient

CODES = (0x00, 0x10, 0x80, 0x87, 0x97)
PROTOCOLS = (MQTTProtocolVersion.MQTTv311, MQTTProtocolVersion.MQTTv5)


METHODS = {
    "_sock_recv": ["self", "bufsize"],
    "_packet_write": ["self"],
    "_handle_publish": ["self"],
    "_handle_pubackcomp": ["self", "cmd"],
    "_handle_on_message": ["self", "message"],
    "_send_puback": ["self", "mid"],
    "_send_publish": [
        *("self", "mid", "topic", "payload", "qos", "retain", "dup", "info", "properties"),
    ],
    "_mid_generate": ["self"],
    "_raise_for_invalid_topic": ["topic"],
}
"""What the driver overrides or calls, with parameters."""
ATTRIBUTES = {"_in_packet", "_out_packet", "_protocol", "_sock"}
PACKETS = {
    "_in_packet": {"command", "packet"},
    "_out_packet": {"command", "packet", "pos", "to_process", "qos"},
}
READ_ANEW = "Read it, mend drivers/mqtt/packets.py, then name the version in pyproject.toml"


class Wire:
    """A socket that gives what it has in pieces, and takes so many bytes at a time."""

    def __init__(self, pieces=(), takes=1 << 30):
        self._pieces = list(pieces)
        self._takes = takes
        self.calls = 0
        self.sent = bytearray()

    def recv(self, size):
        if not self._pieces:
            raise BlockingIOError
        piece = self._pieces.pop(0)
        if piece is None:
            raise BlockingIOError
        if len(piece) > size:
            self._pieces.insert(0, piece[size:])
        return piece[:size]

    def send(self, data):
        self.calls += 1
        data = data[: self._takes]
        self.sent += data
        return len(data)

    def close(self):
        pass

    @property
    def empty(self):
        return not self._pieces


def rig(kind, protocol, wire):
    """Return a client on that wire, and what it said."""
    client = kind(CallbackAPIVersion.VERSION2, "one", protocol=protocol)
    client._sock = wire
    client.max_inflight_messages_set(0)
    client.on_socket_register_write = lambda *_of: None  # A loop writes, not whoever publishes.
    said = []
    client.on_message = lambda _client, _data, of: said.append(
        (of._topic, bytes(of.payload), of.qos, of.retain, of.dup, of.mid)
    )
    client.on_publish = lambda _client, _data, mid, code, _of: said.append((mid, code.value))
    client.on_puback = lambda mid, code: said.append((mid, code.value))
    return client, said


def put(client, topic, payload):
    """Publish with QoS 1."""
    if isinstance(client, PacketClient):
        assert client.send(topic, payload, retain=False, properties=None)
    else:
        client.publish(topic, payload, qos=1)


def read(client, wire):
    """Read until nothing is left."""
    while not wire.empty or getattr(client, "ahead", False):
        client.loop_read()


def length(size):
    """Return a length as MQTT writes it."""
    found = bytearray()
    while True:
        size, byte = divmod(size, 128)
        found.append(byte | (0x80 if size else 0))
        if not size:
            return bytes(found)


def text(data):
    return len(data).to_bytes(2) + data


def publish(protocol, message):
    topic, payload, qos, flags, properties = message
    body = text(topic) + ((7).to_bytes(2) if qos else b"")
    if protocol == MQTTProtocolVersion.MQTTv5:
        body += length(len(properties)) + properties
    body += payload
    return bytes([0x30 | flags | qos << 1]) + length(len(body)) + body


def puback(protocol, mid, code):
    body = mid.to_bytes(2)
    if protocol == MQTTProtocolVersion.MQTTv5 and code is not None:
        body += bytes([code])
    return b"\x40" + length(len(body)) + body


topics = st.one_of(st.sampled_from([b"a/b", b"\xff"]), st.binary(min_size=1, max_size=200))
properties = st.sampled_from(
    [b"", b"\x03" + text(b"application/json"), b"\x26" + text(b"k" * 90) + text(b"v" * 90)]
)
messages = st.tuples(
    *(topics, st.binary(max_size=300), st.sampled_from([0, 1, 2]), st.sampled_from([0, 1, 8, 9])),
    properties,
)


def cut(data, pieces, pauses):
    """Cut bytes into pieces at these shares; between two there may be nothing to read."""
    at, found = 0, []
    for size in pieces:
        found += [data[at : at + size], *([None] if pauses else [])]
        at += size
    return [one for one in [*found, data[at:]] if one is None or one]


def test_paho_has_what_is_used_of_it_though_it_is_private():
    version = f"paho {paho.mqtt.__version__}"
    for name, parameters in METHODS.items():
        method = getattr(Client, name, None)
        assert method is not None, f"{version}: has no method Client.{name}. {READ_ANEW}"
        found = [*inspect.signature(method).parameters]
        assert found == parameters, f"{version}: Client.{name} takes {found}. {READ_ANEW}"
    lacking = ATTRIBUTES - vars(Client(CallbackAPIVersion.VERSION2)).keys()
    assert not lacking, f"{version}: a Client has no {lacking}. {READ_ANEW}"
    client, _said = rig(Client, MQTTProtocolVersion.MQTTv5, Wire())
    client.publish("up", b"x", qos=1)
    for name, packet in (("_in_packet", client._in_packet), ("_out_packet", client._out_packet[0])):
        lacking = PACKETS[name] - packet.keys()
        assert not lacking, f"{version}: what is in {name} has no {lacking}. {READ_ANEW}"


@given(
    protocol=st.sampled_from(PROTOCOLS),
    sent=st.lists(messages, max_size=6),
    codes=st.lists(st.sampled_from([None, *CODES]), max_size=6),
    cuts=st.tuples(st.lists(st.integers(1, 400), max_size=12), st.booleans()),
    takes=st.integers(1, 500),
)
def test_packets_are_read_and_written_as_paho_does(protocol, sent, codes, cuts, takes):
    stream = b"".join(publish(protocol, one) for one in sent)
    stream += b"".join(puback(protocol, mid, code) for mid, code in enumerate(codes, start=1))
    found = []
    for kind in (Client, PacketClient):
        wire = Wire(cut(stream, *cuts), takes)
        client, said = rig(kind, protocol, wire)
        for number in range(len(codes)):
            put(client, "up", b"x" * number)
        client.publish("up", b"zero", qos=0)
        read(client, wire)
        while client.want_write():
            client.loop_write()
        waits = client._unacknowledged if kind is PacketClient else client._out_messages
        found.append((said, bytes(wire.sent), len(waits)))
    assert found[0] == found[1]


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_many_packets_leave_in_one_write(protocol):
    wire = Wire()
    client, _said = rig(PacketClient, protocol, wire)
    for _ in range(50):
        put(client, "up", b"x" * 900)
    client.loop_write()
    assert wire.calls == 1
    for _ in range(200):
        put(client, "up", b"x" * 900)
    client.loop_write()
    assert wire.calls <= 2 + 200 * 920 // AHEAD_BYTES


def test_a_disconnect_ends_the_connection_once_all_before_it_is_written():
    wire = Wire()
    client, _said = rig(PacketClient, MQTTProtocolVersion.MQTTv5, wire)
    put(client, "up", b"last")
    client.disconnect()
    client.loop_write()
    assert b"last" in wire.sent
    assert wire.sent[-2:] == b"\xe0\x00"
    assert client.socket() is None


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\x00",
        b"\x00\x09up",
        b"\x00\x02up",  # No packet id.
        b"\x00\x02up\x00\x07",  # No length of properties.
        b"\x00\x02up\x00\x07\x05",
        b"\x00\x02up\x00\x07\xff\xff\xff\xff\x01",
        b"\x00\x00\x00\x07\x00payload",
    ],
)
def test_a_publish_that_is_none_is_refused(body):
    wire = Wire([b"\x32" + length(len(body)) + body])
    client, said = rig(PacketClient, MQTTProtocolVersion.MQTTv5, wire)
    with pytest.raises(ValueError, match="a PUBLISH"):
        read(client, wire)
    assert not said
    assert not wire.sent


def test_a_packet_id_is_not_used_again_before_its_puback():
    wire = Wire()
    client, said = rig(PacketClient, MQTTProtocolVersion.MQTTv311, wire)
    put(client, "up", b"")
    client._last_mid = 65_534
    assert [client.send("up", b"", retain=False, properties=None) for _ in range(2)] == [65_535, 2]
    wire._pieces.append(puback(MQTTProtocolVersion.MQTTv311, 1, None) * 2)
    read(client, wire)
    assert said == [(1, 0)], "once"
    client._last_mid = 65_535
    assert client.send("up", b"", retain=False, properties=None) == 1


def test_nothing_is_published_without_a_connection_or_to_a_wildcard():
    client, _said = rig(PacketClient, MQTTProtocolVersion.MQTTv5, Wire())
    with pytest.raises(ValueError, match="wildcards"):
        client.send("a/#", b"", retain=False, properties=None)
    client._sock = None
    assert client.send("up", b"", retain=False, properties=None) == 0
