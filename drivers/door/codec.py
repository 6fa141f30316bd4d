# SPDX-License-Identifier: Apache-2.0
"""What a relay board is told, without I/O.

LCUS boards take four bytes: A0, the relay's number from 1, 01 (on) or 00 (off), and the low byte of
the sum of these three.
"""

from typing import Final

from drivers.door.config import RelayConfig

START: Final = 0xA0


def lcus(channel: int, *, on: bool) -> bytes:
    """Return an LCUS command for a relay, numbered from 1."""
    command = bytes((START, channel, on))
    return command + bytes((sum(command) & 0xFF,))


def command(config: RelayConfig, *, unlocked: bool) -> bytes:
    """Return what makes the door locked or unlocked.

    A relay without power is at rest, and so is the door: ``when_dead`` says what that means.
    So the relay is energised to unlock a door that is locked without a gateway, and to lock one
    that is unlocked without.
    """
    on = unlocked == (config.when_dead == "locked")
    if config.board == "lcus":
        return lcus(config.channel, on=on)
    text = config.energise if on else config.release
    assert text is not None, "looked at when the settings were read"
    return text.encode()
