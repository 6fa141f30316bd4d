# SPDX-License-Identifier: Apache-2.0
"""Changes told by hand to a beam of explanations: what moved, and whose hand it may have been."""

from itertools import count
from math import log

from gateway.domain.beliefs import Attribution, Beliefs
from gateway.domain.choices import Scenery
from gateway.domain.explanations import extend
from gateway.domain.goods import Known, at_home, place_loglik
from gateway.domain.layout import FacingPlace
from gateway.domain.readings import Move, Reading

S = 1_000_000_000
KNOWN = {"tea": Known(240.0, 6.0), "jam": Known(390.0, 10.0), "oil": Known(900.0, 20.0)}
FACINGS = {
    gtin: FacingPlace(gtin, 125.0 + 250.0 * n, 125.0 + 250.0 * n) for n, gtin in enumerate(KNOWN)
}
PLATES = [f"p{n}" for n in range(len(KNOWN))]
PLATE_OF = dict(zip(KNOWN, PLATES, strict=True))
UNIT_G = {gtin: known.unit_g for gtin, known in KNOWN.items()}


def moved(total_g, plate=0):
    """Return goods that left a plate, below 0, or came to it."""
    return Move(
        plates=(plate,),
        main=plate,
        total_g=total_g,
        sigma_g=0.9,
        plain_g=0.7,
        x_mm=125.0 + 250.0 * plate,
        slack_mm=85.0,
        since_ns=10 * S,
        half_ns=10 * S,
        until_ns=11 * S,
    )


class Story:
    """What is believed while one change after another is explained."""

    def __init__(self, *sessions):
        self.beliefs = Beliefs()
        self.names = (f"c{n}" for n in count(1))
        for session in sessions:
            self.beliefs.join(session, {}, {})

    def act(self, total_g, plate, who, **wanted):
        """One move by whoever of ``who`` it was, each with a share; return the change."""
        return self.read([Reading(0.0, (moved(total_g, plate),))], who, **wanted)

    def read(self, readings, who, *, carts=True, unseen=(), met=None, near=()):
        """Explain a change that may be read in several ways."""
        change = next(self.names)
        shares = {session: log(share) for session, share in who.items()}
        scenery = Scenery(
            change=change,
            shelf="s1",
            plate_names=PLATES,
            who=lambda _move: {None: log(1e-4), **shares},
            home=lambda move: at_home(move, list(FACINGS.values()), KNOWN),
            bound=lambda _move: 0.0,
            known=KNOWN,
            place=lambda move, gtin: place_loglik(move, FACINGS[gtin]),
            unseen=unseen,
            carts=carts,
            met=met or {},
            near=lambda _move: near,
        )
        self.beliefs.beam, options, _ = extend(
            self.beliefs.beam, change, readings, scenery, self.beliefs.asked
        )
        self.beliefs.open[change] = Attribution(
            change=change,
            subject="shelf/s1",
            since_ns=0,
            stable_ns=0,
            options=options,
            weights=[],
            started="",
            ended="",
        )
        return change

    def cart(self, session):
        """Return what the best explanation has in a cart."""
        return {gtin: line.quantity for gtin, line in self.beliefs.lines(session).items()}

    def sure(self, session, gtin):
        """Return how sure a line is."""
        return self.beliefs.lines(session)[gtin].probability

    def told(self, change):
        """Return the acts of a change by the best explanation: who, what, how many."""
        option = self.beliefs.open[change].options[self.beliefs.best.chosen[change]]
        return [(act.session, act.gtin, act.quantity) for act in option if act.gtin]
