# SPDX-License-Identifier: Apache-2.0
"""How pictures of a case look: colours, and the words for what really happens.

Truth is gold or painted; what sensors say is in all other bright colours.
"""

from typing import Final

from gateway.simulator.exam.cases import Case
from gateway.simulator.stock import TrueAct
from vision.figure import Colour

GROUND: Final[Colour] = (30, 26, 24)
RULE: Final[Colour] = (66, 60, 56)
WORDS: Final[Colour] = (225, 225, 225)
QUIET: Final[Colour] = (150, 146, 142)
TRUTH: Final[Colour] = (70, 190, 255)
"""Gold."""
PAST: Final[Colour] = (60, 130, 170)
"""Gold of what is over."""
READING: Final[Colour] = (255, 225, 150)
TRACKS: Final[tuple[Colour, ...]] = (
    (255, 235, 40),  # cyan
    (255, 90, 255),  # magenta
    (110, 255, 90),  # green
    (90, 90, 255),  # red
    (255, 150, 90),  # blue
    (205, 180, 255),  # pink
    (170, 255, 210),  # mint
    (255, 120, 170),  # violet
)
"""Tracks take turns."""


def told(act: TrueAct, case: Case) -> tuple[str, str]:
    """Return who does what, and where and how, as two lines."""
    hand = act.hand or act.shopper
    bill = f" for {act.shopper}" if act.hand else ""
    back = "puts back" if act.shopper in case.truth.baskets else "stocks"
    verb = "picks" if act.direction == "pick" else back
    name = case.store.products[act.gtin].name
    what = f"{hand} {verb} {act.quantity} \N{MULTIPLICATION SIGN} {name}{bill}"
    where = f"{'from' if act.direction == 'pick' else 'on'} {plates_named(act.plates)}"
    if act.misplaced:
        where += ", misplaced"
    if act.undecidable:
        where += ", undecidable"
    return what, where


def plates_named(names: tuple[str, ...]) -> str:
    """Return plates of one shelf in short: ``g1.s2.p3 p4``."""
    return " ".join([names[0], *(name.rpartition(".")[2] for name in names[1:])])
