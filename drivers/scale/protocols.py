# SPDX-License-Identifier: Apache-2.0
"""Which protocols there are: how each looks, its usual line, and what is said to the scale."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal, get_args

from drivers.scale.codecs import (
    a_and_d,
    cas,
    lines,
    mt_sics,
    nci,
    ohaus,
    sartorius,
    sma,
    toledo,
    toledo_8217,
)
from drivers.scale.config import Protocol, ScaleConfig
from drivers.scale.frames import Decoder, Line, Wire


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What is usual for a protocol, and what may be said in it."""

    title: str
    wire: Callable[[ScaleConfig], Wire]
    baud: int
    line: Line
    talk: Literal["listen", "poll"]
    """The usual way."""
    poll: bytes = b""
    """Asks for one weight; empty: it cannot be asked."""
    greeting: tuple[tuple[bytes, str], ...] = ()
    """Sent at the start one after the other, each with the command that its answer names."""
    start: bytes = b""
    """Sent after the greeting: makes the scale send by itself."""
    serial_from: str = ""
    """The command whose answer is the serial number."""
    zero: bytes = b""
    tare: bytes = b""
    key_answers: tuple[str, str] | None = None
    """The commands that answers to ``zero`` and ``tare`` name; None: what became of it is not said.
    """
    unit_needed: bool = False
    """No unit is on the wire."""


def _always(wire: Wire) -> Callable[[ScaleConfig], Wire]:
    return lambda _config: wire


def _toledo(config: ScaleConfig) -> Wire:
    return toledo.wire(with_checksum=config.checksum, with_tare=config.tare)


def _lines(config: ScaleConfig) -> Wire:
    return lines.wire(lines_format(config))


def lines_format(config: ScaleConfig) -> lines.LinesFormat:
    """Return the description that a scale's settings hold or name.

    Raises:
        KeyError: They name one that there is not.
    """
    if config.lines is not None:
        return config.lines
    return lines.load(config.format or "")


PROTOCOLS: Final[dict[Protocol, Facts]] = {
    "mt-sics": Facts(
        title="Mettler-Toledo MT-SICS",
        wire=_always(mt_sics.WIRE),
        baud=9_600,
        line="8N1",
        talk="listen",
        greeting=((mt_sics.RESET, "I4"), (mt_sics.WHO, "I2")),
        start=mt_sics.REPEAT,
        serial_from="I4",
        zero=mt_sics.ZERO,
        tare=mt_sics.TARE,
        key_answers=("ZI", "TI"),
    ),
    "sma": Facts(
        title="SMA SCP-0499, level 1 and 2",
        wire=_always(sma.WIRE),
        baud=9_600,
        line="8N1",
        talk="poll",
        poll=sma.POLL,
        zero=sma.ZERO,
        tare=sma.TARE,
    ),
    "nci": Facts(
        title="NCI / Weigh-Tronix SCP-01",
        wire=_always(nci.WIRE),
        baud=9_600,
        line="7E1",
        talk="poll",
        poll=nci.POLL,
        zero=nci.ZERO,
        tare=nci.TARE,
    ),
    "toledo": Facts(
        title="Toledo continuous",
        wire=_toledo,
        baud=9_600,
        line="8N1",
        talk="listen",
    ),
    "toledo-8217": Facts(
        title="Toledo 8217",
        wire=_always(toledo_8217.WIRE),
        baud=9_600,
        line="7E1",
        talk="poll",
        poll=toledo_8217.POLL,
        zero=toledo_8217.ZERO,
        tare=toledo_8217.TARE,
        unit_needed=True,
    ),
    "a-and-d": Facts(
        title="A&D standard format",
        wire=_always(a_and_d.WIRE),
        baud=2_400,
        line="7E1",
        talk="listen",
        poll=a_and_d.POLL,
        zero=a_and_d.ZERO,
        tare=a_and_d.TARE,
    ),
    "ohaus": Facts(
        title="Ohaus",
        wire=_always(ohaus.WIRE),
        baud=9_600,
        line="8N1",
        talk="listen",
        poll=ohaus.POLL,
        zero=ohaus.ZERO,
        tare=ohaus.TARE,
    ),
    "sartorius": Facts(
        title="Sartorius SBI, 16 and 22 characters",
        wire=_always(sartorius.WIRE),
        baud=1_200,
        line="7O1",
        talk="poll",
        poll=sartorius.POLL,
        zero=sartorius.ZERO,
        tare=sartorius.TARE,
    ),
    "cas": Facts(
        title="CAS, 22 bytes",
        wire=_always(cas.WIRE),
        baud=9_600,
        line="8N1",
        talk="listen",
    ),
    "lines": Facts(
        title="any lines of text",
        wire=_lines,
        baud=9_600,
        line="8N1",
        talk="listen",
    ),
}


def line_of(config: ScaleConfig) -> Line:
    """Return the bits of a character on a scale's line."""
    return config.line or PROTOCOLS[config.protocol].line


def poll_of(config: ScaleConfig) -> bytes:
    """Return what a scale is asked with; empty: it sends by itself."""
    facts = PROTOCOLS[config.protocol]
    if config.protocol == "lines":
        poll = lines_format(config).poll.encode("latin-1", "replace")
        return b"" if config.talk == "listen" else poll
    return facts.poll if (config.talk or facts.talk) == "poll" else b""


def decoder_of(config: ScaleConfig) -> Decoder:
    """Return a decoder for a scale's settings, which were found right."""
    wire = PROTOCOLS[config.protocol].wire(config)
    return Decoder(wire, line=line_of(config), unit=config.unit)


def problems(config: ScaleConfig) -> list[str]:
    """Say what in a scale's settings does not fit its protocol, each with a remedy."""
    found = []
    facts = PROTOCOLS[config.protocol]
    if config.protocol == "lines":
        found += _lines_problems(config)
    elif config.lines is not None or config.format is not None:
        found.append('lines or format beside another protocol. Write protocol = "lines"')
    elif config.talk == "poll" and not facts.poll:
        found.append(f"protocol {config.protocol} cannot be asked. Remove talk")
    elif config.talk == "listen" and facts.unit_needed:
        found.append(f"protocol {config.protocol} sends nothing by itself. Remove talk")
    if facts.unit_needed and config.unit is None:
        found.append(
            f"protocol {config.protocol} has no unit on the wire. Give unit as on the display"
        )
    if config.serial is not None and not facts.serial_from:
        found.append(f"protocol {config.protocol} tells no serial number. Remove serial")
    if config.protocol != "toledo" and not (config.checksum and config.tare):
        found.append("checksum and tare are for Toledo continuous. Remove them")
    if config.channels != (0,) and config.protocol != "lines":
        found.append(f"protocol {config.protocol} has one channel, 0. Remove channels")
    return found


def _lines_problems(config: ScaleConfig) -> list[str]:
    if (config.lines is None) == (config.format is None):
        return ["protocol lines needs a description. Give one of format and [device.lines]"]
    try:
        described = lines_format(config)
    except KeyError:
        known = ", ".join(lines.shipped())
        return [f"format {config.format} is not known. Known are {known}"]
    fault = lines.problem(described)
    if fault is not None:
        return [f"lines: {fault}"]
    if config.talk == "poll" and not described.poll:
        return ["talk is poll, and the description has none. Give lines.poll"]
    if config.unit is None and "(?P<unit>" not in described.pattern:
        return ["lines: no unit. Give unit, or a group unit in the pattern"]
    return []


assert tuple(PROTOCOLS) == get_args(Protocol)
