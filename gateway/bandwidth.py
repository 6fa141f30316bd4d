# SPDX-License-Identifier: Apache-2.0
"""How much of the line the uplink may take: what is live goes at once, the rest fills what is left.

What is live may be more than the line takes, for a while or for good. What can wait gets a share
even then, or a burst would block it until all of that is paid back.

A pure state machine: time is passed in (``now_ns``, monotonic).
"""

from typing import Final

SECOND_NS: Final = 1_000_000_000
BURST_NS: Final = SECOND_NS // 5  # What was not used of this long may be used at once.
SHARE: Final = 10
"""What can wait may take one part in so many of the line, whatever is live."""
OVERHEAD: Final = 200
"""Bytes of a message beside its payload: topic, properties, headers down to Ethernet, PUBACK."""


class Bandwidth:
    """An allowance of bits a second."""

    def __init__(self, kbit_s: int | None) -> None:
        """Begin with all of it.

        Args:
            kbit_s: Thousands of bits a second; None: no limit.
        """
        self._ns_a_byte = 0.0 if kbit_s is None else 8 * SECOND_NS / (1_000 * kbit_s)
        self._full_ns = 0
        self._share_full_ns = 0

    def spend(self, payload_bytes: int, now_ns: int, *, live: bool) -> None:
        """Note that a message goes out, whether there is allowance for it or not."""
        cost_ns = int((payload_bytes + OVERHEAD) * self._ns_a_byte)
        self._full_ns = max(self._full_ns, now_ns) + cost_ns
        if not live:
            self._share_full_ns = max(self._share_full_ns, now_ns) + SHARE * cost_ns

    def due_ns(self) -> int:
        """Return when what can wait may go out."""
        full_ns = min(self._full_ns, self._share_full_ns)
        return full_ns - BURST_NS if self._ns_a_byte else 0
