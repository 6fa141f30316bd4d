# SPDX-License-Identifier: Apache-2.0
"""Which Modbus transmitters are on a silent line. Registers are read, and none is ever written.

Whoever speaks Modbus answers a question for a register, if only by refusing it. So each unit is
asked for one, in frames without a byte that a scale takes for a key; only where one answered are
the registers asked for that shipped maps name.
"""

import asyncio
from collections.abc import Callable
from typing import Final

from drivers.modbus import maps
from drivers.modbus.codec import Framing, Question, Registers
from drivers.modbus.config import ModbusConfig
from drivers.modbus.line import Line, Lines
from drivers.ports import OpenStream
from drivers.probe.judging import Finding, Table

BAUD: Final = 9_600
UNITS: Final = range(1, 9)
"""Whom to ask; a unit that is not there costs the time of an answer."""
FIRST: Final = maps.Read(2, 1)
LATE_S: Final = 0.1
"""So often a unit is asked again of which a late answer may come."""
DECIMALS: Final = 3
LEAST_G: Final = 0.001
"""A fraction that is less than this and not 0 is a map of integers read by the wrong one."""
MAP_FILE: Final = "map.toml"


def first_question(unit_id: int, framing: Framing = "rtu") -> Question:
    """Return what finds out whether a unit is there."""
    return Question(unit_id, 3, FIRST, framing=framing, transaction=unit_id)


async def transmitters(
    url: str, framing: Framing, open_stream: OpenStream, say: Callable[[str], None]
) -> list[Finding]:
    """Return what the first transmitter of a line may be, most likely first; empty: there is none.

    Args:
        url: The port's path, or ``socket://host:port``.
        framing: How frames look.
        open_stream: Opens the port, for one owner.
        say: Takes what is being tried, in words.

    Raises:
        OSError: The port cannot be opened, or was lost.
    """
    config = ModbusConfig(name="any", url=url, unit="kg", framing=framing)
    lines = Lines(lambda url, baud, _bits: open_stream(url, baud))
    units: list[int] = []
    async with lines.opener(config)(url, BAUD) as line:
        for unit_id in UNITS:
            say(f"asking for a register: Modbus {framing.upper()}, unit {unit_id}")
            if await line.ask(first_question(unit_id, framing)) is not None:
                units.append(unit_id)
        if not units:
            return []
        say(f"asking for weights: Modbus {framing.upper()}, unit {units[0]}")
        table: Table = {"driver": "modbus", "unit_ids": units}
        if framing == "tcp":
            table["framing"] = framing
        found = [await _by_map(line, name, table, framing) for name in maps.shipped()]
    likely = sorted((one for one in found if one is not None), key=lambda one: one[0])
    if likely:
        return [finding for _, finding in likely]
    unknown = table | {"map_file": MAP_FILE, "unit": "kg"}
    return [Finding(unknown, len(units), 0, "registers that no known map has")]


async def _by_map(
    line: Line, name: str, table: Table, framing: Framing
) -> tuple[bool, Finding] | None:
    """Return whether a map is doubtful, and what is weighed by it; None: no such registers."""
    kept = maps.load(name)
    plan = maps.Plan(kept, [1], decimals=DECIMALS, unit="kg")
    registers: dict[int, int] = {}
    for read in plan.reads:
        transaction = line.next_transaction()
        question = Question(
            table["unit_ids"][0], kept.function, read, framing=framing, transaction=transaction
        )
        while (answer := await line.ask(question)) == "late":  # noqa: ASYNC110 - nothing tells its end.
            await asyncio.sleep(LATE_S)  # The map before asked for what this unit does not have.
        if not isinstance(answer, Registers):
            return None
        registers.update(enumerate(answer.values, read.address))
    [reading] = plan.readings(registers)
    grams = reading.grams
    doubtful = grams is None or 0 < abs(grams) < LEAST_G
    shows = "no weight" if grams is None else f"{grams.normalize():f} g"
    integers = {} if kept.type == "f32" else {"decimals": DECIMALS}
    table = table | {"map": name, "unit": "kg"} | integers
    return doubtful, Finding(table, len(plan.reads), 0, shows)
