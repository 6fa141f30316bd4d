# SPDX-License-Identifier: Apache-2.0
"""Listens on a port, and asks where nothing comes by itself.

A device that sends by itself is never written to. What is asked cannot harm whatever hears it: only
for weights, each protocol at its usual rate and line, because letters that arrive at another rate
may become other letters. Of Modbus registers are read alone.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from drivers.network_port import address_of
from drivers.ports import ByteStream, OpenStream
from drivers.probe.judging import Finding, findings, text_lines
from drivers.scale.config import Protocol
from drivers.scale.frames import sent
from drivers.scale.protocols import PROTOCOLS

if TYPE_CHECKING:
    from drivers.modbus.codec import Framing

RATES: Final = (9_600, 115_200, 2_400, 1_200, 4_800, 19_200, 38_400, 57_600)
"""Bits per second, the most usual first."""
SILENCE_S: Final = 5.0
"""What says nothing for this long does not send by itself."""
LISTEN_S: Final = 3.0
"""A bridge that is reset as its port is opened needs two of them."""
ENOUGH: Final = 8
"""So many frames leave no doubt."""
BYTES_MAX: Final = 16_384
GROWN: Final = 1.25
"""Bytes are judged again once there are so many times more: all of them are read anew."""
ANSWER_S: Final = 1.0
PAUSE_S: Final = 0.2
"""An answer has ended when nothing followed for this long."""
ASKS: Final = 3
INSTEAD: Final[dict[Protocol, bytes]] = {"mt-sics": b"SI\r\n"}
"""What is asked of a scale whose greeting would reset it, and make it send by itself."""


@dataclass(frozen=True, slots=True)
class Probed:
    """What a port gave."""

    found: list[Finding]
    """Most likely first; empty: nothing that is known."""
    baud: int | None
    """At which that was; None: nothing came at any rate, or the port has none."""
    lines: list[str]
    """What came, where it is text that nothing understands."""
    received: bool
    """Whether anything came."""


def question_of(protocol: Protocol) -> bytes:
    """Return what asks a scale for a weight and does nothing else; empty: it cannot be asked."""
    return INSTEAD.get(protocol, PROTOCOLS[protocol].poll)


async def probe(
    url: str, open_stream: OpenStream, say: Callable[[str], None] = lambda _text: None
) -> Probed:
    """Find out what is on a port.

    Args:
        url: The port's path, or ``socket://host:port``.
        open_stream: Opens it, for one owner.
        say: Takes what is being tried, in words.

    Raises:
        OSError: The port cannot be opened, somebody else has it, or it was lost.
    """
    rates = RATES if address_of(url) is None else RATES[:1]
    heard = False
    for baud in rates:
        say(f"listening at {baud} baud" if len(rates) > 1 else "listening")
        async with open_stream(url, baud) as stream:
            data = await _listen(stream, LISTEN_S if heard else SILENCE_S)
        found = findings(data)
        if found:
            return Probed(found, baud if len(rates) > 1 else None, [], received=True)
        if not data and not heard:
            return await _asked(url, open_stream, say)
        lines = text_lines(data)
        if lines:
            return Probed([], baud if len(rates) > 1 else None, lines, received=True)
        heard = heard or bool(data)
    return Probed([], None, [], received=True)


async def _asked(url: str, open_stream: OpenStream, say: Callable[[str], None]) -> Probed:
    """Ask a silent port for a weight, in each protocol that can be asked."""
    heard = False
    for protocol, facts in PROTOCOLS.items():
        question = question_of(protocol)
        if not question:
            continue
        say(f"asking for a weight: {facts.title}, {facts.baud} {facts.line}")
        data = b""
        with suppress(ConnectionError):  # A server that hears another's protocol may hang up.
            async with open_stream(url, facts.baud) as stream:
                for _ in range(ASKS):
                    await stream.send(sent(question, facts.line))
                    answer = await _answer(stream)
                    if not answer:
                        break
                    data += answer
        found = [_asked_table(one) for one in findings(data)]
        if found:
            return Probed(found, facts.baud, [], received=True)
        heard = heard or bool(data)
    return await _transmitters(url, open_stream, say) or Probed([], None, [], received=heard)


async def _transmitters(
    url: str, open_stream: OpenStream, say: Callable[[str], None]
) -> Probed | None:
    """Ask a silent port for registers; None: no transmitter answers."""
    from drivers.probe import modbus  # noqa: PLC0415  Loads pymodbus.

    is_line = address_of(url) is None
    framings: tuple[Framing, ...] = ("rtu",) if is_line else ("rtu", "tcp")
    for framing in framings:
        found: list[Finding] = []
        with suppress(ConnectionError):
            found = await modbus.transmitters(url, framing, open_stream, say)
        if found:
            return Probed(found, modbus.BAUD if is_line else None, [], received=True)
    return None


def _asked_table(found: Finding) -> Finding:
    """Say in the settings that the scale has to be asked, where that is not usual for it."""
    facts = PROTOCOLS.get(found.table.get("protocol", ""))
    if facts is not None and facts.talk == "listen" and facts.poll:
        found.table["talk"] = "poll"
    return found


async def _listen(stream: ByteStream, seconds: float) -> bytes:
    """Return what came by itself, at the latest when the time is up."""
    data, judged = b"", 0
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            while len(data) < BYTES_MAX:
                data += await stream.receive()
                if len(data) < judged * GROWN:
                    continue
                judged = len(data)
                if max((one.good for one in findings(data)), default=0) >= ENOUGH:
                    break
    return data


async def _answer(stream: ByteStream) -> bytes:
    """Return what came after a question; empty: nothing."""
    data = b""
    with suppress(TimeoutError):
        while len(data) < BYTES_MAX:
            async with asyncio.timeout(PAUSE_S if data else ANSWER_S):
                data += await stream.receive()
    return data
