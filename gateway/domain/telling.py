# SPDX-License-Identifier: Apache-2.0
"""What is told of changes, and what of it is written down: acts, doubts, carts."""

from collections.abc import Sequence
from typing import Any, Final

from gateway.domain import events, products
from gateway.domain.beliefs import Attribution
from gateway.domain.choices import Sketch, identified, plain
from gateway.domain.closing import write_carts
from gateway.domain.events import Act
from gateway.domain.holdings import remember_misplaced
from gateway.domain.output import Step
from gateway.domain.reviews import act_of, candidates_of, in_question, taken_unseen
from gateway.domain.state import Decided, Doubt, Review

LATER: Final = "later evidence"


def tell(step: Step, reason: str = LATER, review: Review | None = None) -> None:
    """Tell what the best explanation says that was not told, and write down the carts."""
    beliefs = step.state.beliefs
    for one in beliefs.open.values():
        best = beliefs.best.chosen[one.change]
        if best != one.told:
            _tell_one(step, one, best)
    remember_misplaced(step)
    _remember_doubts(step)
    write_carts(step, reason, review)


def sessions_of(*acts: Sequence[Act]) -> list[str]:
    """Return whose acts they are, in order, each once."""
    return sorted({act.session for some in acts for act in some if act.session is not None})


def _tell_one(step: Step, one: Attribution, best: int) -> None:
    one.told = best
    known = identified(one.options[best])
    if one.revision >= 0 and plain(known) == plain(one.acts):
        return  # By another plate, or in another way: nothing that anybody was told.
    before = one.acts
    one.acts = acts = [act_of(act, _act_probability(step, one, act)) for act in known]
    for act in acts:
        products.use(step, act.gtin)
    if one.revision < 0 and not acts:
        return
    one.revision += 1
    fields: dict[str, Any] = {
        "change": one.change,
        "revision": one.revision,
        "acts": acts,
        "weights": one.weights,
        "started": one.started,
        "ended": one.ended,
    }
    if one.revision > 0:
        fields |= {"reason": LATER, "sessions": sessions_of(before, acts)}
        step.emit(events.AttributionRevised, f"change/{one.change}", **fields)
    else:
        for direction, kind in (("pick", events.ItemPicked), ("put-back", events.ItemPutBack)):
            if any(act.direction == direction for act in acts):
                step.emit(kind, one.subject, one.stable_ns, **fields)
    if one.change in step.state.decided:
        remember_told(step, one)


def _remember_doubts(step: Step) -> None:
    """Write down what is still to be asked, for a start that comes before."""
    state = step.state
    wanted = {
        one.change: (one, reason)
        for one in state.beliefs.open.values()
        if not one.asked and (reason := doubtful(step, one)) is not None
    }
    for change in sorted(state.doubts.keys() - wanted.keys()):
        forget_doubt(step, change)
    for change, (one, reason) in wanted.items():
        known = state.doubts.get(change)
        if known is not None and (known.reason, known.told.revision) == (reason, one.revision):
            continue
        state.doubts[change] = Doubt(
            change=change,
            subject=one.subject,
            reason=reason,
            candidates=candidates_of(state.beliefs.options(change)),
            weights=one.weights,
            started=one.started,
            ended=one.ended,
            told=Decided(one.acts, one.revision),
            near=one.near,
        )
        step.touch("doubt", change)


def forget_doubt(step: Step, change: str) -> None:
    """Drop a question that waited: it was asked, or needs no answer any more."""
    if step.state.doubts.pop(change, None) is not None:
        step.touch("doubt", change)


def _act_probability(step: Step, one: Attribution, act: Sketch) -> float:
    """Return how likely it is that an act was done, whatever else was."""
    wanted = plain([act])[0]
    return sum(
        share for share, acts in step.state.beliefs.options(one.change) if wanted in plain(acts)
    )


def remember_told(step: Step, one: Attribution) -> None:
    """Keep, with an open review, what was told of its change."""
    step.state.decided[one.change] = Decided(one.acts, one.revision)
    step.touch("decided", one.change)


def doubtful(step: Step, one: Attribution) -> str | None:
    """Return why a person has to be asked about a change, as far as is known now."""
    if unexplained(step, one):
        return "unexplained-weight"
    unsure = step.state.beliefs.sure_of(one.change) < step.state.settings.certainty
    return "uncertain" if unsure or answers_review(step, one) else None


def answers_review(step: Step, one: Attribution) -> bool:
    """Tell whether a change brought back what an open review may give to somebody else."""
    brought = [act for act in one.acts if act.direction == "put-back"]
    nobodys = {act.gtin for act in brought if act.session is None}
    if nobodys and not nobodys.isdisjoint(taken_unseen(step)):
        return True
    return bool(brought) and not in_question(step).isdisjoint(act.gtin for act in brought)


def unexplained(step: Step, one: Attribution) -> bool:
    """Tell whether a change left something behind that nothing known can be."""
    return any(load.change == one.change for load in step.state.beliefs.best.loads)
