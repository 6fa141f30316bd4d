# SPDX-License-Identifier: Apache-2.0
"""UTC against the monotonic clock: when it steps, how long it has been steady, what rests on it.

Nothing is measured by UTC. It labels events, tells how long a reboot took, and says when a mark
against replayed tokens may go.
"""

from typing import Final

from gateway.domain import events
from gateway.domain.inputs import GatewayGap
from gateway.domain.output import Step
from gateway.domain.state import ToldClock

CLOCK_STEP_NS: Final = 500_000_000
"""A smaller step, or a slew until it has come to this much, is not told: labels may be off."""
STEADY_NS: Final = 3_600_000_000_000
"""What is forgotten by UTC waits until it was trusted, and did not step, for this long."""
DOWN_NS_MAX: Final = 100 * 365 * 86_400 * 1_000_000_000
"""Longest downtime believed: with the clock of another century, arithmetic must not overflow."""


def watch_clock(step: Step) -> None:
    """Tell when UTC moves against the monotonic clock, or begins to be trusted.

    It is looked at with every input, after what the input made: the event names the clock from
    which on the new offset holds, and shifts the name of no other event. What was told is durable,
    so that a step while the daemon was down is told by the next start.
    """
    state, at = step.state, step.at
    offset_ns = at.utc_ns - at.mono_ns
    told = state.told_clock
    if told is None or told.boot != at.boot:  # Offsets of two boots compare with nothing.
        _note(step, offset_ns)
        return
    trusted = told.utc_trusted if state.utc_trusted is None else state.utc_trusted
    if state.utc_trusted is None or not at.utc_trusted:
        state.utc_steady_ns = at.mono_ns
    state.utc_trusted = at.utc_trusted
    step_ns = offset_ns - told.utc_minus_mono_ns
    if abs(step_ns) < CLOCK_STEP_NS and (trusted or not at.utc_trusted):
        return
    _note(step, offset_ns)
    step.emit(
        events.ClockStepped,
        "gateway",
        step_ms=step_ns // 1_000_000,
        before_utc_minus_mono_ns=told.utc_minus_mono_ns,
        before_utc_trusted=trusted,
        utc_minus_mono_ns=offset_ns,
    )


def _note(step: Step, offset_ns: int) -> None:
    """Write down how the clocks stand, for a later start to compare with."""
    state, at = step.state, step.at
    state.utc_trusted, state.utc_steady_ns = at.utc_trusted, at.mono_ns
    state.told_clock = ToldClock(at.boot, offset_ns, at.utc_trusted)
    step.touch("clock", "told")


def begin_gap(step: Step, gap: GatewayGap) -> None:
    """Note since when the gateway was down: what settles first on each plate is compared."""
    state, at = step.state, step.at
    if gap.since_boot == at.boot:
        state.gap_since_ns = gap.since_mono_ns
        return
    # After a reboot the monotonic clock began again; UTC is the best that is left.
    down_ns = min(max(at.utc_ns - gap.since_utc_ns, 0), DOWN_NS_MAX)
    state.gap_since_ns = step.now_ns - down_ns


def forget_tokens(step: Step) -> None:
    """Forget tokens that cannot verify any more, but none while UTC is in doubt.

    Should UTC go back later, they verify again: so the latest expiry forgotten is kept, and no
    token is taken that expires as early (``outlived``).
    """
    state, at = step.state, step.at
    if not at.utc_trusted or at.mono_ns - state.utc_steady_ns < STEADY_NS:
        return
    expired = [key for key, utc_ns in state.tokens.items() if utc_ns < at.utc_ns]
    for key in expired:
        forgotten(step, state.tokens.pop(key))
        step.touch("token", key)


def forgotten(step: Step, expires_utc_ns: int) -> None:
    """Note that a token's mark is gone."""
    if expires_utc_ns > step.state.tokens_gone_utc_ns:
        step.state.tokens_gone_utc_ns = expires_utc_ns
        step.touch("horizon", "tokens")


def outlived(step: Step, expires_utc_ns: int | None) -> bool:
    """Tell whether a token may be one whose mark is gone."""
    return expires_utc_ns is not None and expires_utc_ns <= step.state.tokens_gone_utc_ns
