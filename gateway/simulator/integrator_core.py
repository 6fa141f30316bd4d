# SPDX-License-Identifier: Apache-2.0
"""A reference integrator without its network: a turn stores, acknowledges, and asks.

It does no I/O but the ledger's, and is told the time (seconds, monotonic).
"""

import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence

import msgspec

from gateway.simulator.asking import LOOK_S, Asker, Wish
from gateway.simulator.ledger import Books, number
from gateway.simulator.proof import Gap, Proof


class _Birth(msgspec.Struct):
    state: str
    epoch: str
    sequence: str | None = None
    waiting_epoch: str | None = None
    waiting_sequence: str | None = None


class _Coming(msgspec.Struct, frozen=True):
    """From where on a gateway sends by itself what is missing here."""

    epoch: str
    sequence: int
    current: str
    """The epoch that the gateway was in."""

    def holds(self, gap: Gap) -> bool:
        """Tell whether a gap closes by itself."""
        if gap.epoch == self.epoch:
            return gap.first >= self.sequence
        return gap.epoch == self.current


class IntegratorCore:
    """Messages in, acknowledgements and commands out."""

    def __init__(
        self,
        ledger: Books,
        *,
        prove: Callable[[], list[Proof]] | None = None,
        look_s: float = LOOK_S,
        name: Callable[[], str] = lambda: f"ask-{secrets.token_hex(8)}",
    ) -> None:
        """Begin with a look at everything.

        Args:
            ledger: Where events are stored.
            prove: Returns what is missing of each gateway; None: nobody is asked for it.
            look_s: How often to look for that.
            name: Returns a new id for a command.
        """
        self._ledger = ledger
        self._prove = prove
        self._look_s = look_s
        self._asker = Asker(name, look_s=look_s)
        self._coming: dict[str, _Coming] = {}
        self._look_at_s = 0.0
        self._thorough = True

    @property
    def asks(self) -> bool:
        """Whether it asks gateways for what is missing."""
        return self._prove is not None

    def wait_s(self, now_s: float) -> float | None:
        """Return when the next turn is due though nothing comes in; None: never."""
        return max(0.0, self._look_at_s - now_s) if self.asks else None

    def look_at_all(self) -> None:
        """Look next time even where the ledger sees no gap."""
        self._thorough = True

    def turn(
        self,
        payloads: Sequence[bytes],
        statuses: Mapping[str, Iterable[bytes]],
        replies: Iterable[tuple[str, bytes]],
        now_s: float,
    ) -> tuple[dict[str, bytes], list[Wish]]:
        """Take in what came.

        Args:
            payloads: Events.
            statuses: Of each gateway, in order.
            replies: To commands, with the gateway's source.
            now_s: Monotonic.

        Returns:
            The acknowledgement for each gateway that is to get one, and what to ask for.
        """
        answers = self.take(payloads, statuses)
        answered, wishes = self.ask(replies, now_s)
        return answers | answered, wishes

    def take(
        self, payloads: Sequence[bytes], statuses: Mapping[str, Iterable[bytes]]
    ) -> dict[str, bytes]:
        """Take in events and statuses; return acknowledgements."""
        for source, told in statuses.items():
            for status in told:
                self._take_status(source, status)
        sources = statuses.keys() | (self._ledger.store(payloads) if payloads else set())
        return self._ledger.acknowledgements(sources)

    def ask(
        self, replies: Iterable[tuple[str, bytes]], now_s: float
    ) -> tuple[dict[str, bytes], list[Wish]]:
        """Return acknowledgements that replies changed, and what to ask for."""
        answered: dict[str, bytes] = {}
        for source, reply in replies:
            gone = self._asker.reply(source, reply, now_s)
            if gone is not None:
                self._ledger.note_gone(gone.source, gone.epoch, gone.ranges)
                answered |= self._ledger.acknowledgements([source])
        return answered, self._look(now_s)

    def _take_status(self, source: str, payload: bytes) -> None:
        """Note how far a gateway has come; look at everything when its epoch is another."""
        try:
            birth = msgspec.json.decode(payload, type=_Birth)
            reached = None if birth.sequence is None else number(birth.sequence)
            waits = None if birth.waiting_sequence is None else number(birth.waiting_sequence)
        except (ValueError, RecursionError):
            return
        self._coming.pop(source, None)
        if birth.waiting_epoch is not None and waits is not None:
            self._coming[source] = _Coming(birth.waiting_epoch, waits, birth.epoch)
        if self._ledger.note_birth(source, birth.epoch, reached):
            self._thorough = True

    def _look(self, now_s: float) -> list[Wish]:
        """Look for what is missing now and then; return what to ask for."""
        if self._prove is None or now_s < self._look_at_s:
            return []
        self._look_at_s = now_s + self._look_s
        if not (self._thorough or self._ledger.lacks_some()):
            return []
        proofs = [self._without_what_comes(proof) for proof in self._prove()]
        self._thorough = any(proof.wanted for proof in proofs)
        return self._asker.look(proofs, now_s)

    def _without_what_comes(self, proof: Proof) -> Proof:
        coming = self._coming.get(proof.source)
        if coming is None:
            return proof
        gaps = tuple(gap for gap in proof.gaps if not coming.holds(gap))
        return msgspec.structs.replace(proof, gaps=gaps)
