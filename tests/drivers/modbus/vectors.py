# SPDX-License-Identifier: Apache-2.0
"""Frames of Modbus with what they say, and what the registers of shipped maps hold.

Frames and addresses come from the protocol's and the devices' descriptions, not from the codec.
"""

from drivers.modbus.codec import Question
from drivers.modbus.config import ModbusConfig
from drivers.modbus.maps import Read

URL = "/dev/ttyUSB0"


def config(**settings):
    """Return settings of a shelf of one plate on a transmitter."""
    table = {"name": "g3.s1", "url": URL, "unit": "kg"}
    if "map_file" not in settings:
        table |= {"map": "pavone-jbx8", "decimals": 3}
    return ModbusConfig(**(table | settings))


GROSS_AND_NET = Read(7, 4)
FLOAT = Read(0x2000, 2)
REQUESTS = {
    "01 03 00 07 00 04 F5 C8": GROSS_AND_NET,
    "01 03 20 00 00 02 CF CB": FLOAT,
}
ANSWERS = [
    (GROSS_AND_NET, "01 03 08 00 00 01 9C FF FF FF DA 84 55", (0, 412, 0xFFFF, 0xFFDA)),
    (FLOAT, "01 03 04 3E D2 F1 AA 92 0D", (0x3ED2, 0xF1AA)),
]
REFUSAL = "01 83 02 C0 F1"


def question(read=GROSS_AND_NET, **more):
    """Return a question to unit 1."""
    return Question(1, 3, read, **more)


# Map, channel, registers as on the wire, grams with decimals = 3 and unit = "kg".
HELD = [
    ("cas-ci-600d", 1, {7: 0, 8: 412}, 412),
    ("pavone-jbx8", 1, {1: 0xFFFF, 2: 0xFFDA}, -38),
    ("eagle-ei", 1, {0x1000: 0x3ED2, 0x1001: 0xF1AA}, 412),
    ("eagle-ei", 4, {0x1006: 0x3ED2, 0x1007: 0xF1AA}, 412),
    ("eagle-ei", 5, {0x2000: 0x3ED2, 0x2001: 0xF1AA}, 412),
    ("tuna-id551pn", 1, {2: 0x3ED2, 3: 0xF1AA, 4: 1 << 15}, 412),
    ("dingsong", 1, {1_151: 0, 1_152: 412}, 412),
    ("dingsong", 63, {1_275: 0, 1_276: 412}, 412),
]
