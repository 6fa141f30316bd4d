# SPDX-License-Identifier: Apache-2.0
"""A broker for one MQTT 5 client that answers as a test wants, wrongly where it wants that.

It routes nothing. Each connection takes the next of its scripts; the last one stays.
"""

import asyncio
import json
import struct
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

CONNECT, PUBLISH, PUBACK, SUBSCRIBE, PINGREQ, DISCONNECT = 1, 3, 4, 8, 12, 14


@dataclass
class Script:
    """What a connection is answered.

    Attributes:
        connack: Reason code of the CONNACK.
        receive_maximum: Of unacknowledged publishes; more are noted as ``violations``.
        maximum_packet: Largest packet in bytes; larger ones are noted as ``violations``.
        puback: Reason code of a publish, given its topic and how many of events came before on
            this connection; None: no answer, a negative number: DISCONNECT with that code.
    """

    connack: int = 0
    receive_maximum: int | None = None
    maximum_packet: int | None = None
    puback: object = None


@dataclass
class ScriptedBroker:
    """What came."""

    scripts: list
    port: int = 0
    connections: int = 0
    taken: list = field(default_factory=list)
    """Payloads of events that had a PUBACK without failure, in order."""
    statuses: list = field(default_factory=list)
    replies: list = field(default_factory=list)
    violations: list = field(default_factory=list)
    writer: object = None
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    held: list = field(default_factory=list)
    """Packet ids whose PUBACK waits for ``release``."""
    holding: bool = False
    events: int = 0
    """That came on this connection."""

    async def until(self, condition):
        while not condition():
            self.changed.clear()
            await self.changed.wait()

    def release(self):
        """Answer what was held back, the oldest first."""
        held, self.held = self.held, []
        for pid in held:
            self.writer.write(_packet(PUBACK << 4, struct.pack(">H", pid)))

    def send(self, topic, payload):
        """Publish to the client with QoS 0."""
        name = topic.encode()
        body = struct.pack(">H", len(name)) + name + b"\0" + payload
        self.writer.write(_packet(PUBLISH << 4, body))

    async def serve(self, reader, writer):
        script = self.scripts.pop(0) if len(self.scripts) > 1 else self.scripts[0]
        self.connections += 1
        self.writer = writer
        self.held = []
        self.events = 0
        try:
            while True:
                first, body = await _read(reader)
                if first >> 4 == PUBLISH:
                    goes_on = self._take(script, first, body)
                else:
                    goes_on = self._greet(script, first >> 4, body)
                self.changed.set()
                if not goes_on:
                    return
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self.changed.set()
            with suppress(OSError):
                writer.close()

    def _greet(self, script, kind, body):
        """Answer what is no publish; tell whether the connection goes on."""
        if kind == CONNECT:
            self.writer.write(_packet(0x20, bytes([0, script.connack]) + _limits(script)))
            return script.connack == 0
        if kind == SUBSCRIBE:
            codes = bytes([1] * _topics(body))
            self.writer.write(_packet(0x90, body[:2] + b"\0" + codes))
        elif kind == PINGREQ:
            self.writer.write(_packet(0xD0, b""))
        return kind != DISCONNECT

    def _take(self, script, first, body):
        topic, pid, payload = _publish(first, body)
        if script.maximum_packet and len(body) + 2 > script.maximum_packet:
            self.violations.append(f"{len(body)} bytes")
        code = 0 if script.puback is None else script.puback(topic, self.events)
        self.events += "/events/" in topic
        if code is not None and code < 0:
            self.writer.write(_packet(DISCONNECT << 4, bytes([-code, 0])))
            return False
        self.held.append(pid)
        if script.receive_maximum and len(self.held) > script.receive_maximum:
            self.violations.append(f"{len(self.held)} in flight")
        if code is not None:
            if not self.holding:
                self.held.remove(pid)
                self.writer.write(_packet(PUBACK << 4, struct.pack(">HBB", pid, code, 0)))
            if code < 0x80:
                self._keep(topic, payload)
        return True

    def _keep(self, topic, payload):
        if "/events/" in topic:
            self.taken.append(payload)
        elif "/replies/" in topic:
            self.replies.append(json.loads(payload))
        elif topic.endswith("/status"):
            self.statuses.append(json.loads(payload))


@asynccontextmanager
async def scripted_broker(*scripts):
    """Serve on loopback."""
    broker = ScriptedBroker(list(scripts) or [Script()])
    server = await asyncio.start_server(broker.serve, "127.0.0.1", 0)
    broker.port = server.sockets[0].getsockname()[1]
    try:
        yield broker
    finally:
        server.close()
        if broker.writer is not None:
            broker.writer.close()
        await server.wait_closed()


def _packet(first, body):
    length, rest = b"", len(body)
    while True:
        rest, digit = divmod(rest, 128)
        length += bytes([digit | (0x80 if rest else 0)])
        if not rest:
            return bytes([first]) + length + body


async def _read(reader):
    [first] = await reader.readexactly(1)
    size = shift = 0
    while True:
        [digit] = await reader.readexactly(1)
        size |= (digit & 0x7F) << shift
        shift += 7
        if digit < 0x80:
            return first, await reader.readexactly(size)


def _limits(script):
    properties = b""
    if script.receive_maximum is not None:
        properties += struct.pack(">BH", 0x21, script.receive_maximum)
    if script.maximum_packet is not None:
        properties += struct.pack(">BI", 0x27, script.maximum_packet)
    return bytes([len(properties)]) + properties


def _variable(body, at):
    size = shift = 0
    while True:
        digit = body[at]
        size |= (digit & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if digit < 0x80:
            return size, at


def _topics(body):
    size, at = _variable(body, 2)
    at, count = at + size, 0
    while at < len(body):
        [length] = struct.unpack_from(">H", body, at)
        at, count = at + 2 + length + 1, count + 1
    return count


def _publish(first, body):
    [length] = struct.unpack_from(">H", body)
    topic, at = body[2 : 2 + length].decode(), 2 + length
    pid = None
    if first & 0x06:
        [pid] = struct.unpack_from(">H", body, at)
        at += 2
    size, at = _variable(body, at)
    return topic, pid, body[at + size :]
