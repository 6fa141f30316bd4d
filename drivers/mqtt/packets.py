# SPDX-License-Identifier: Apache-2.0
"""A paho client that does once for many packets what paho does for each.

paho writes every packet by a call of the kernel of its own, reads each in three or four, and makes
the properties of each PUBLISH and PUBACK anew, which nothing here looks at. Together that was most
of what an event cost (docs/performance.md). What is overridden and used here is private to
paho, as it was read in version 2.2.0. ``pyproject.toml`` names the versions, and
``tests/drivers/mqtt/test_packets.py`` what of paho has to be there.
"""

from collections import deque
from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, Literal

from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import MessageType, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

if TYPE_CHECKING:
    from paho.mqtt.client import _OutPacket

PACKET_BYTES_MAX: Final = 1 << 20
"""Of what the broker sends; neither contract needs a tenth of it."""
AHEAD_BYTES: Final = 1 << 16
"""What is read at once, and about what is written at once."""


class PacketClient(Client):
    """Reads and writes many packets at once, and takes no memory for one beyond the limit."""

    _ahead = b""
    _at = 0
    on_puback: Callable[[int, ReasonCode], None]
    """Called with the packet id and the reason of each PUBACK of what ``send`` queued."""

    def __init__(self, *of: Any, **options: Any) -> None:  # noqa: ANN401 - as paho's.
        """Take what paho's client takes."""
        super().__init__(*of, **options)
        self._unacknowledged: set[int] = set()

    @property
    def ahead(self) -> bool:
        """Whether bytes were read that no packet has taken yet."""
        return self._at < len(self._ahead)

    def _sock_recv(self, bufsize: int) -> bytes:
        # Asked for all that the packet's head announces, before anything of it is kept.
        if bufsize > PACKET_BYTES_MAX:
            raise OverflowError(f"a packet of {bufsize} bytes, the limit is {PACKET_BYTES_MAX}")
        if not self.ahead:
            self._ahead, self._at = b"", 0
            self._ahead = super()._sock_recv(max(bufsize, AHEAD_BYTES))
        data = self._ahead[self._at : self._at + bufsize]
        self._at += len(data)
        return data

    def _packet_write(self) -> MQTTErrorCode:
        if len(self._out_packet) > 1:
            self._out_packet = _joined(self._out_packet)
        return super()._packet_write()

    def _handle_publish(self) -> MQTTErrorCode:
        # MQTT 5.0, section 3.3: topic, packet id if QoS is not 0, properties, payload.
        head, packet = self._in_packet["command"], self._in_packet["packet"]
        qos = (head >> 1) & 3
        if qos > 1:
            return super()._handle_publish()
        at = 2 + int.from_bytes(packet[:2])
        topic, mid = packet[2:at], 0
        if qos:
            mid = int.from_bytes(packet[at : at + 2])
            at += 2
        if self._protocol == MQTTProtocolVersion.MQTTv5:
            at = _past_properties(packet, at)
        if at > len(packet) or not topic:
            raise ValueError("a PUBLISH that ends before its payload, or has no topic")
        message = MQTTMessage(mid, bytes(topic))
        message.dup, message.qos, message.retain = bool(head & 8), qos, bool(head & 1)
        message.payload = packet[at:]
        self._handle_on_message(message)
        return self._send_puback(mid) if qos else MQTTErrorCode.MQTT_ERR_SUCCESS

    def send(
        self, topic: str, payload: bytes, *, retain: bool, properties: Properties | None
    ) -> int:
        """Queue a PUBLISH of QoS 1, and keep nothing of it: nobody sends it again by itself.

        Returns:
            Its packet id; 0: there is no connection.

        Raises:
            ValueError: No such topic may be published to.
        """
        if self._sock is None:
            return 0
        encoded = topic.encode()
        self._raise_for_invalid_topic(encoded)
        mid = self._mid_generate()
        while mid in self._unacknowledged:
            mid = self._mid_generate()
        self._send_publish(mid, encoded, payload, 1, retain, properties=properties)
        self._unacknowledged.add(mid)
        return mid

    def _handle_pubackcomp(self, cmd: Literal["PUBACK", "PUBCOMP"]) -> MQTTErrorCode:
        packet = self._in_packet["packet"]
        if cmd != "PUBACK" or len(packet) < 2:
            return super()._handle_pubackcomp(cmd)
        mid = int.from_bytes(packet[:2])
        if mid in self._unacknowledged:
            self._unacknowledged.remove(mid)
            self.on_puback(mid, _reason(bytes(packet[2:3])))
        return MQTTErrorCode.MQTT_ERR_SUCCESS


@lru_cache(maxsize=256)
def _reason(code: bytes) -> ReasonCode:
    return ReasonCode(PacketTypes.PUBACK, identifier=code[0] if code else 0)


def _past_properties(packet: bytes | bytearray, at: int) -> int:
    """Return where the properties end whose length begins at ``at`` (MQTT 5.0, section 2.2.2)."""
    length = 0
    for shift in range(0, 28, 7):
        if at >= len(packet):
            break
        byte = packet[at]
        at += 1
        length |= (byte & 0x7F) << shift
        if byte < 0x80:
            return at + length
    raise ValueError("a PUBLISH whose properties have no length")


def _joined(packets: "deque[_OutPacket]") -> "deque[_OutPacket]":
    """Return the same bytes in fewer pieces; those on whose end paho waits stay alone."""
    pieces: deque[_OutPacket] = deque()
    for packet in packets:
        rest = packet["packet"][packet["pos"] :]
        last = pieces[-1] if pieces else None
        if last is None or _awaited(last) or _awaited(packet) or last["to_process"] > AHEAD_BYTES:
            piece = packet.copy()
            piece["packet"], piece["pos"], piece["to_process"] = bytearray(rest), 0, len(rest)
            pieces.append(piece)
        else:
            last["packet"] += rest
            last["to_process"] += len(rest)
    return pieces


def _awaited(packet: "_OutPacket") -> bool:
    kind = packet["command"] & 0xF0
    return kind == MessageType.DISCONNECT or (kind == MessageType.PUBLISH and not packet["qos"])
