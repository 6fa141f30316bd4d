# SPDX-License-Identifier: Apache-2.0
"""Commands from upstream, from planogram to the keys of scales. Each is answered, once done."""

from collections.abc import Callable
from typing import Annotated, Final, TypeVar

import msgspec

from gateway.domain import changes, events, products, scale_keys
from gateway.domain.effects import Backfill, EraseShopper, Reply
from gateway.domain.events import Act
from gateway.domain.gtin import valid_gtin
from gateway.domain.inputs import Command
from gateway.domain.layout import Layout
from gateway.domain.output import Step
from gateway.domain.refusals import worded
from gateway.domain.state import Overrides, Review, apply_overrides
from gateway.domain.store import Facing, Product

REMEMBERED: Final = 500
"""Answers kept, so that a repeated command is answered again and not done again."""
ANSWER_CHARS_MAX: Final = 500
SHOWN: Final = 8
PRODUCTS_MAX: Final = 20_000
"""Products of a store, those that planograms have brought along included."""
WEIGHT_G_MAX: Final = 1e5
DECIDED_UNITS_MAX: Final = 100
ACTS_MAX: Final = 20
TOLERANCE: Final = 0.04
TOLERANCE_G_MIN: Final = 1.0
"""Of a unit weight, where none is given, but at least 1 g: as in a store file."""
ANSWERED_LATER: Final = frozenset({"backfill", "erase", "zero", "tare"})
SEQUENCE_MAX: Final = 2**63 - 1
Word = Annotated[str, msgspec.Meta(max_length=64)]
"""What ends up in every receipt is short."""


Body = TypeVar("Body", bound=msgspec.Struct)


class NewProduct(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A product that a planogram brings along; prices come with their own command."""

    gtin: str
    name: Annotated[str, msgspec.Meta(max_length=200)]
    unit_g: float
    tolerance_g: float | None = None
    """4 % of the unit weight when absent, at least 1 g."""
    sku: Word | None = None


class PlanogramCommand(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Replace all facings; products named here are added or replaced."""

    facings: list[Facing]
    products: list[NewProduct] = []
    id: str | None = None


class Price(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One product's price."""

    gtin: str
    unit_price_minor: Annotated[int, msgspec.Meta(ge=0, le=10**12)]
    currency: Annotated[str, msgspec.Meta(pattern="^[A-Z]{3}$")]


class PricesCommand(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Set prices; products not named keep theirs."""

    version: Word
    prices: list[Price]
    id: str | None = None


class ReviewCommand(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Decide a review: the acts as they were; none means that nobody took anything."""

    review: str
    acts: list[Act]
    by: Word
    id: str | None = None


class BackfillCommand(
    msgspec.Struct,
    frozen=True,
    forbid_unknown_fields=True,
    rename={"first": "from", "last": "to"},
):
    """Send events of an epoch again, both ends included."""

    epoch: Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
    first: Word
    """A sequence: up to 20 digits."""
    last: Word | None = None
    """To the end of what the epoch has when absent."""
    id: str | None = None


class EraseCommand(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Forget a shopper's pseudonym in every event that the gateway keeps."""

    shopper: Annotated[str, msgspec.Meta(min_length=1, max_length=128)]
    id: str | None = None


class KeyCommand(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Press a scale's key while nobody is at its shelf; what lies on it stays as it was."""

    shelf: Word
    id: str | None = None


class CommandError(Exception):
    """Why a command is refused; the message is the answer."""


def carry_out(step: Step, command: Command) -> Layout | None:
    """Carry out a command and answer it; return the layout where it changed."""
    state = step.state
    known = state.commands.get(command.id)
    if known is not None:
        _answer(step, command.id, known)
        return None
    handler = _HANDLERS.get(command.name, _unknown)
    layout = None
    try:
        layout = handler(step, command)
        answer = "ok"
    except (CommandError, msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        answer = f"error: {error}"[:ANSWER_CHARS_MAX]  # It may quote what was sent.
    if command.name in ANSWERED_LATER and answer == "ok":
        # Done and answered after the commit. Not remembered: after a kill in between, a repeat
        # must do it.
        return None
    step.keep("command", state.commands, command.id, answer, REMEMBERED)
    _answer(step, command.id, answer)
    return layout


def _read(command: Command, wanted: type[Body]) -> Body:
    try:
        return msgspec.json.decode(command.data, type=wanted)
    except msgspec.ValidationError as error:
        raise CommandError(worded(error, command.data, wanted)) from error


def _unknown(_step: Step, command: Command) -> None:
    names = ", ".join(sorted(_HANDLERS))
    raise CommandError(f"unknown command {command.name!r}; known are {names}")


def _answer(step: Step, command: str, answer: str) -> None:
    status, _, message = answer.partition(": ")
    step.effects.append(
        Reply(command=command, status="ok" if status == "ok" else "error", message=message)
    )


def _planogram(step: Step, command: Command) -> Layout:
    wanted = _read(command, PlanogramCommand)
    store = step.state.store
    products = dict(store.products)
    for new in wanted.products:
        gtin = _gtin(new.gtin)
        known = products.get(gtin)
        usual_g = max(TOLERANCE_G_MIN, TOLERANCE * new.unit_g)
        tolerance_g = usual_g if new.tolerance_g is None else new.tolerance_g
        if not (0 < new.unit_g <= WEIGHT_G_MAX and 0 <= tolerance_g <= WEIGHT_G_MAX):
            raise CommandError(
                f"product {gtin}: needs weights above 0, at most {WEIGHT_G_MAX:.0f} g"
            )
        products[gtin] = Product(
            gtin=gtin,
            name=new.name,
            unit_g=new.unit_g,
            tolerance_g=tolerance_g,
            sku=new.sku,
            price_minor=known.price_minor if known else None,
            currency=known.currency if known else None,
        )
    if len(products) > PRODUCTS_MAX:
        raise CommandError(f"more than {PRODUCTS_MAX} products. A new store file forgets old ones")
    facings = tuple(Facing(gtin=_gtin(one.gtin), plates=one.plates) for one in wanted.facings)
    candidate = msgspec.structs.replace(store, products=products)
    problems = Layout(candidate).facing_problems(facings)
    if problems:
        raise CommandError("; ".join(problems[:5]))
    return _override(step, facings, products, store.prices_version)


def _prices(step: Step, command: Command) -> Layout:
    wanted = _read(command, PricesCommand)
    products = dict(step.state.store.products)
    for price in wanted.prices:
        gtin = _gtin(price.gtin)
        product = products.get(gtin)
        if product is None:
            raise CommandError(f"unknown product {price.gtin}. Bring it with a planogram first")
        products[gtin] = msgspec.structs.replace(
            product, price_minor=price.unit_price_minor, currency=price.currency
        )
    return _override(step, step.state.store.facings, products, wanted.version)


def _override(
    step: Step,
    facings: tuple[Facing, ...],
    products: dict[str, Product],
    prices_version: str | None,
) -> Layout:
    state = step.state
    overrides = Overrides(state.file_version, facings, products, prices_version)
    state.overrides = overrides
    step.touch("store", "overrides")
    return Layout(apply_overrides(state.store, overrides))


def _backfill(step: Step, command: Command) -> None:
    wanted = _read(command, BackfillCommand)
    first = _sequence("from", wanted.first)
    last = None if wanted.last is None else _sequence("to", wanted.last)
    if last is not None and last < first:
        raise CommandError("to: is before from")
    step.effects.append(Backfill(command.id, wanted.epoch, first, last))


def _sequence(field: str, text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 20 and int(text) <= SEQUENCE_MAX):
        raise CommandError(f"{field}: needs up to 20 digits, below 2^63")
    return int(text)


def _erase(step: Step, command: Command) -> None:
    wanted = _read(command, EraseCommand)
    step.effects.append(EraseShopper(command.id, wanted.shopper))


def _zero(step: Step, command: Command) -> None:
    _press(step, command, "zero")


def _tare(step: Step, command: Command) -> None:
    _press(step, command, "tare")


def _press(step: Step, command: Command, key: scale_keys.Key) -> None:
    problem = scale_keys.press(step, command.id, _read(command, KeyCommand).shelf, key)
    if problem is not None:
        raise CommandError(problem)


def _review(step: Step, command: Command) -> None:
    wanted = _read(command, ReviewCommand)
    state = step.state
    review = state.reviews.get(wanted.review)
    if review is None:
        remedy = "Give the review of a review.requested that was not decided yet"
        raise CommandError(f"review {wanted.review} is not open. {remedy}")
    acts = [msgspec.structs.replace(act, gtin=_gtin(act.gtin)) for act in wanted.acts]
    if len(acts) > ACTS_MAX:
        raise CommandError(f"{len(acts)} acts: one change has at most {ACTS_MAX}")
    if sum(act.quantity for act in acts) > DECIDED_UNITS_MAX:
        raise CommandError(f"acts of more than {DECIDED_UNITS_MAX} units: no change has so many")
    for act in acts:
        _refuse_act(step, review, act)
    # A person says so: the machine's doubt is over.
    acts = [msgspec.structs.replace(act, probability=1.0) for act in acts]
    del state.reviews[review.id]
    step.touch("review", review.id)
    step.emit(
        events.ReviewResolved,
        f"review/{review.id}",
        review=review.id,
        change=review.change,
        acts=acts,
        by=wanted.by,
    )
    changes.decide(step, review, acts)


def _refuse_act(step: Step, review: Review, act: Act) -> None:
    if act.session is not None and act.session not in review.sessions:
        known = ", ".join(review.sessions[:SHOWN]) or "none"
        remedy = f"Give one of its sessions ({known}), or null"
        raise CommandError(f"session {act.session} has no part in review {review.id}. {remedy}")
    if products.find(step.state, act.gtin) is None:
        remedy = "Bring it with a planogram first"
        raise CommandError(f"act of product {act.gtin}: unknown product. {remedy}")
    if not 1 <= act.quantity <= DECIDED_UNITS_MAX:
        remedy = f"Give 1 to {DECIDED_UNITS_MAX}"
        raise CommandError(f"act of product {act.gtin}: quantity {act.quantity}. {remedy}")
    if act.plate not in step.layout.plates:
        felt = {weight.plate for weight in review.weights}  # The store may have lost them by now.
        felt |= {one.plate for candidate in review.candidates for one in candidate.acts}
        if act.plate not in felt:
            remedy = f"Give one of {', '.join(sorted(felt)[:SHOWN])}, or another of the store"
            raise CommandError(f"act at plate {act.plate}: unknown plate. {remedy}")
    if not 0.0 < act.probability <= 1.0:
        remedy = "Give 1, or another above 0"
        raise CommandError(f"act at plate {act.plate}: probability {act.probability}. {remedy}")


def _gtin(text: str) -> str:
    """Return a GTIN of 8, 12, 13 or 14 digits in its 14 digits."""
    gtin = text.zfill(14)
    if len(text) not in {8, 12, 13, 14} or not valid_gtin(gtin):
        raise CommandError(f"product {text[:20]}: no GTIN. Give 8, 12, 13 or 14 digits, checked")
    return gtin


_HANDLERS: Final[dict[str, Callable[[Step, Command], Layout | None]]] = {
    "planogram": _planogram,
    "prices": _prices,
    "review": _review,
    "backfill": _backfill,
    "erase": _erase,
    "zero": _zero,
    "tare": _tare,
}
