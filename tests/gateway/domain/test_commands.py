# SPDX-License-Identifier: Apache-2.0
import msgspec
import pytest

from gateway.domain.commands import REMEMBERED
from gateway.domain.effects import Backfill, EraseShopper, Reply
from gateway.domain.gtin import valid_gtin
from gateway.domain.store import Facing
from tests.gateway.domain.scene import (
    CRISPS,
    DOUBT_S,
    JAM,
    OIL,
    TEA,
    Body,
    corner_store,
    names,
)

NEW = "09506000130057"


def product(gtin=NEW, unit_g=510.0, tolerance_g=9.0):
    return {"gtin": gtin, "name": "New", "unit_g": unit_g, "tolerance_g": tolerance_g}


def facing(gtin, *plates):
    return {"gtin": gtin, "plates": list(plates)}


def answer(effects):
    (reply,) = [effect for effect in effects if isinstance(effect, Reply)]
    return reply.status, reply.message


# Planogram and prices


def test_a_planogram_replaces_what_belongs_where(scene):
    before = scene.engine._layout.version
    wanted = {
        "facings": [facing(NEW, "g1.s1.p2"), facing(JAM, "g1.s1.p3")],
        "products": [product()],
    }
    effects, made = scene.command("planogram", wanted)
    assert (answer(effects), made) == (("ok", ""), [])
    anna = scene.enter("anna")
    scene.act("anna", {"g1.s1.p2": -510.0})
    scene.leave()
    assert scene.receipt(anna) == {NEW: 1}
    (picked,) = scene.named("item.picked")
    assert picked["store_version"] != before
    assert scene.named("session.started")[0]["store_version"] == picked["store_version"]


def test_a_planogram_survives_a_restart_until_the_store_file_changes(scene):
    wanted = {"facings": [facing(NEW, "g1.s1.p2")], "products": [product()]}
    scene.command("planogram", wanted)
    version = scene.engine._layout.version
    scene.restart()
    assert scene.engine._layout.version == version
    scene.store = corner_store(facings=(Facing(gtin=OIL, plates=("g1.s1.p0",)),))
    scene.restart()
    assert scene.engine._layout.version == scene.store.version


@pytest.mark.parametrize(
    ("wanted", "problem"),
    [
        ({"facings": [facing(NEW, "g1.s1.p2")]}, f"unknown product {NEW}"),
        ({"facings": [facing(TEA, "g9.s1.p2")]}, "unknown plate g9.s1.p2"),
        ({"facings": [facing(TEA)]}, "no plate"),
        ({"facings": [facing(TEA, "g1.s1.p2", "g2.s1.p0")]}, "more than one shelf"),
        ({"facings": [], "products": [product("09506000130058")]}, "09506000130058"),
        ({"facings": [], "products": [product("")]}, "GTIN"),
        ({"facings": [], "products": [product(unit_g=0.0)]}, "weights above 0"),
        ({"facings": [], "products": [product(unit_g=1e300)]}, NEW),
        ({"facings": [], "products": [product(tolerance_g=-1.0)]}, NEW),
        ({"facings": [], "products": [product(tolerance_g=1e300)]}, NEW),
        ({"facings": "all"}, "facings"),
        ({}, "facings"),
        ({"facings": [], "shelves": []}, "shelves"),
        ([], "object"),
        (b'{"facings": [', "truncated"),
        (b'{"facings": [{"gtin": "\xff"}]}', "utf-8"),
        (b'{"facings": [{"x": ' + b"[" * 100_000 + b"}]}", "recursion"),
    ],
)
def test_a_planogram_that_does_not_fit_changes_nothing(scene, wanted, problem):
    before = scene.engine._layout.version
    effects, made = scene.command("planogram", wanted)
    status, message = answer(effects)
    assert status == "error"
    assert problem.lower() in message.lower()
    assert made == []
    assert scene.engine._layout.version == before
    assert scene.state.overrides is None


def test_prices_come_onto_the_receipt(scene):
    prices = {
        "version": "spring",
        "prices": [{"gtin": TEA, "unit_price_minor": 349, "currency": "EUR"}],
    }
    assert answer(scene.command("prices", prices)[0]) == ("ok", "")
    scene.restart()
    scene.run(2.0)
    scene.enter("anna")
    scene.act("anna", {"g1.s1.p2": -240.0})
    scene.act("anna", {"g1.s1.p3": -390.0})
    scene.leave()
    (cart,) = scene.named("cart.closed")
    tea, jam = cart["lines"]
    assert (tea["unit_price_minor"], tea["currency"], tea["price_version"]) == (
        349,
        "EUR",
        "spring",
    )
    assert (jam["unit_price_minor"], jam["currency"], jam["price_version"]) == (None, None, None)


@pytest.mark.parametrize(
    ("price", "problem"),
    [
        ({"gtin": NEW, "unit_price_minor": 1, "currency": "EUR"}, NEW),
        ({"gtin": TEA, "unit_price_minor": -1, "currency": "EUR"}, ">= 0"),
        ({"gtin": TEA, "unit_price_minor": 10**30, "currency": "EUR"}, "<="),
        ({"gtin": TEA, "unit_price_minor": 1.5, "currency": "EUR"}, "Give a whole number"),
        ({"gtin": TEA, "unit_price_minor": 1, "currency": "euro"}, "[A-Z]{3}"),
        ({"gtin": TEA, "unit_price_minor": 1}, "currency"),
    ],
)
def test_prices_that_are_none_change_nothing(scene, price, problem):
    good = {"gtin": JAM, "unit_price_minor": 1, "currency": "EUR"}
    effects, _ = scene.command("prices", {"version": "p", "prices": [good, price]})
    status, message = answer(effects)
    assert (status, problem in message) == ("error", True), message
    assert scene.state.store.products[JAM].price_minor is None


# Others


def test_backfill_is_asked_of_the_outbox(scene):
    wanted = {"epoch": "e" * 32, "from": "00000000000000000042", "to": "43"}
    effects, made = scene.command("backfill", wanted, command="b1")
    assert made == []
    # Whoever reads the history answers, with what there is of it; so does a repeat.
    assert effects == [Backfill("b1", "e" * 32, 42, 43)]
    again, _ = scene.command("backfill", wanted, command="b1")
    assert again == effects
    del wanted["to"]
    effects, _ = scene.command("backfill", wanted, command="b2")
    assert effects == [Backfill("b2", "e" * 32, 42, None)]


def test_erasing_is_asked_of_the_outbox_each_time(scene):
    for _ in range(2):
        effects, made = scene.command("erase", {"shopper": "anna"}, command="x1")
        assert (effects, made) == ([EraseShopper("x1", "anna")], [])
    assert answer(scene.command("erase", {"shopper": ""}, command="x2")[0])[0] == "error"


def test_a_gtin_may_be_given_as_on_the_label(scene):
    price = {"gtin": TEA.lstrip("0"), "unit_price_minor": 1, "currency": "EUR"}
    assert answer(scene.command("prices", {"version": "1", "prices": [price]})[0]) == ("ok", "")
    assert scene.state.store.products[TEA].price_minor == 1


@pytest.mark.parametrize("sequence", ["", "-1", "x", "1" * 21, "9" * 20, "٣", "1_0"])
def test_backfill_needs_sequences(scene, sequence):
    for wanted in ({"from": sequence}, {"from": "1", "to": sequence}, {"from": "7", "to": "6"}):
        effects, _ = scene.command("backfill", {"epoch": "e", **wanted}, command=str(wanted)[:99])
        assert answer(effects)[0] == "error"
        assert not any(isinstance(effect, Backfill) for effect in effects)


def test_an_unknown_command_is_answered_with_what_there_is(scene):
    status, message = answer(scene.command("reboot", {})[0])
    assert status == "error"
    assert "'reboot'" in message
    assert "backfill, erase, planogram, prices, review, tare, zero" in message


def test_a_repeated_command_is_answered_again_and_not_done_again(scene):
    good = {"version": "p", "prices": [{"gtin": TEA, "unit_price_minor": 1, "currency": "EUR"}]}
    bad = {"epoch": "e", "from": "x"}
    scene.command("prices", good, command="p1")
    first, _ = scene.command("backfill", bad, command="b1")
    scene.restart()
    other = {"version": "q", "prices": [{"gtin": TEA, "unit_price_minor": 9, "currency": "EUR"}]}
    assert answer(scene.command("prices", other, command="p1")[0]) == ("ok", "")
    assert scene.state.store.products[TEA].price_minor == 1
    again, _ = scene.command("backfill", {"epoch": "e", "from": "1"}, command="b1")
    assert again == first


@pytest.mark.parametrize(
    ("name", "body", "words"),
    [
        ("backfill", {"epoch": "e", "from": 0}, 'from: is a number. Write it as text, "0"'),
        (
            "backfill",
            {"epoch": "e", "from": "0", "to": 10**30},
            "to: is a number. Write it as text, ",
        ),
        ("backfill", {"epoch": 5, "from": "0"}, 'epoch: is a number. Write it as text, "5"'),
        ("backfill", {"epoch": "e", "from": None}, "from: is null. Give text"),
        ("backfill", {"epoch": "e", "to": "1"}, "from: is missing. Give it"),
        (
            "backfill",
            {"epoch": "e", "from": "0", "until": "1"},
            "until: unknown field. Known are epoch, from, to, id",
        ),
        ("backfill", ["e"], "the body: is a list. Give an object"),
        ("erase", {"shopper": ["x"]}, "shopper: is a list. Give text"),
        ("erase", {"shopper": True}, "shopper: is true or false. Give text"),
        (
            "prices",
            {"version": "1", "prices": [{"gtin": 4, "unit_price_minor": 1, "currency": "EUR"}]},
            'prices[0].gtin: is a number. Write it as text, "4"',
        ),
        (
            "prices",
            {"version": "1", "prices": [{"gtin": "4", "unit_price_minor": "1"}]},
            "prices[0].unit_price_minor: is text. Write it as a number, without quotes",
        ),
        (
            "prices",
            {"version": "1", "prices": [{"gtin": "4", "price": 1}]},
            "prices[0].price: unknown field. Correct its name, or leave it out",
        ),
        (
            "prices",
            b'{"version": "1", "prices": [{"gtin": 4}], "prices": []}',
            "prices[0].gtin: is a number. Write it as text, in quotes",
        ),
        ("planogram", {"facings": "all"}, "facings: is text. Give a list"),
        (
            "planogram",
            {"facings": [], "products": [{"gtin": TEA, "name": "x"}]},
            "products[0].unit_g: is missing. Give it",
        ),
    ],
)
def test_a_body_of_the_wrong_kind_is_told_in_plain_words(scene, name, body, words):
    effects, _ = scene.command(name, body)
    status, message = answer(effects)
    assert status == "error"
    assert message.startswith(words), message


def test_answers_are_remembered_only_so_long(scene):
    for n in range(REMEMBERED + 5):
        scene.command("nothing", {}, command=f"c{n}")
    assert len(scene.state.commands) == REMEMBERED
    assert sum(kind == "command" for kind, _ in scene.rows) == REMEMBERED
    assert "c0" not in scene.state.commands


@pytest.mark.parametrize(
    ("gtin", "valid"),
    [
        (CRISPS, True),
        ("00012345678905", True),
        ("00012345678906", False),
        ("0001234567890", False),
        ("0001234567890a", False),
        ("٠٠٠١٢٣٤٥٦٧٨٩٠٥", False),
    ],
)
def test_gtins(gtin, valid):
    assert valid_gtin(gtin) is valid


# Reviews


@pytest.fixture
def doubt(scene):
    """Two reach into the same shelf at once; nobody can tell who took the tea."""
    anna, bert = scene.enter("anna"), scene.enter("bert")
    scene.reach("bert", "g1.s1.p2")
    scene.act("anna", {"g1.s1.p2": -240.0})
    scene.bodies["bert"].wrist_mm = None
    scene.stand("bert", "g2.s1.p0")
    scene.run(11.0)
    (review,) = scene.named("review.requested")
    scene.anna, scene.bert, scene.review = anna, bert, review
    return scene


def decision(scene, *sessions, gtin=TEA, quantity=1, direction="pick", **changed):
    acts = [
        {
            "session": session,
            "gtin": gtin,
            "quantity": quantity,
            "direction": direction,
            "plate": "g1.s1.p2",
            "probability": 1.0,
        }
        | changed
        for session in sessions
    ]
    return {"review": scene.review["review"], "acts": acts, "by": "clerk"}


def test_what_cannot_be_told_is_billed_to_one_and_asked(doubt):
    (picked,) = doubt.named("item.picked")
    (act,) = picked["acts"]
    assert act["session"] in {doubt.anna, doubt.bert}
    assert 0.3 < act["probability"] < 0.7
    held = {name: list(session.lines) for name, session in doubt.state.sessions.items()}
    assert sorted(held.values()) == [[], [TEA]]
    assert held[act["session"]] == [TEA]
    review = doubt.review
    assert review["reason"] == "uncertain"
    assert review["sessions"] == sorted([doubt.anna, doubt.bert])
    assert {one["acts"][0]["session"] for one in review["candidates"][:2]} == {
        doubt.anna,
        doubt.bert,
    }
    assert review["weights"][0]["delta_g"] == pytest.approx(-240.0, abs=2.0)


def test_a_decision_goes_into_the_open_cart(doubt):
    effects, made = doubt.command("review", decision(doubt, doubt.bert, probability=0.4))
    assert answer(effects) == ("ok", "")
    assert names(made) == ["review.resolved", "attribution.revised"]
    resolved, revised = (one.data for one in made)
    assert resolved["by"] == "clerk"
    assert [act["probability"] for act in resolved["acts"]] == [1.0]
    assert revised["change"] == resolved["change"] == doubt.review["change"]
    assert (revised["revision"], revised["acts"]) == (1, resolved["acts"])
    doubt.leave("anna")
    doubt.leave("bert")
    assert (doubt.receipt(doubt.anna), doubt.receipt(doubt.bert)) == ({}, {TEA: 1})
    assert doubt.named("cart.adjusted") == []
    assert [cart["open"] for cart in doubt.named("cart.closed")] == [[], []]


def test_a_decision_after_the_receipt_adjusts_every_cart_it_may_touch(doubt):
    doubt.act("anna", {"g1.s1.p3": -390.0})
    doubt.leave("anna", DOUBT_S)
    doubt.leave("bert", DOUBT_S)
    assert [cart["open"] for cart in doubt.named("cart.closed")] == [[doubt.review["review"]]] * 2
    doubt.restart()
    effects, made = doubt.command("review", decision(doubt, doubt.anna))
    assert answer(effects) == ("ok", "")
    assert names(made) == [
        "review.resolved",
        "attribution.revised",
        "cart.adjusted",
        "cart.adjusted",
    ]
    assert doubt.receipt(doubt.anna) == {TEA: 1, JAM: 1}
    assert doubt.receipt(doubt.bert) == {}
    for cart in doubt.named("cart.adjusted"):
        assert (cart["revision"], cart["open"]) == (1, [])
    assert doubt.state.closed == {}
    assert not [key for key in doubt.rows if key[0] in {"closed", "review", "decided"}]


def test_nobody_took_it_is_a_decision_too(doubt):
    _, made = doubt.command("review", decision(doubt))
    assert names(made) == ["review.resolved", "attribution.revised"]
    assert made[1].data["acts"] == []
    assert doubt.anna in made[1].data["sessions"], "it was told, or likeliest, to be hers"
    doubt.leave("anna", DOUBT_S)
    assert doubt.receipt(doubt.anna) == {}


def test_somebody_without_a_session_took_it_is_a_decision_too(doubt):
    doubt.leave("anna", DOUBT_S)
    effects, made = doubt.command("review", decision(doubt, None))
    assert answer(effects) == ("ok", "")
    assert names(made) == ["review.resolved", "attribution.revised", "cart.adjusted"]
    assert made[1].data["acts"][0]["session"] is None
    doubt.leave("bert", DOUBT_S)
    assert (doubt.receipt(doubt.anna), doubt.receipt(doubt.bert)) == ({}, {})


def test_two_reviews_of_a_cart_are_two_revisions(doubt):
    first = doubt.review
    doubt.reach("bert", "g1.s1.p3")
    doubt.act("anna", {"g1.s1.p3": -390.0})
    doubt.leave("anna", DOUBT_S)
    doubt.leave("bert", DOUBT_S)
    second = doubt.named("review.requested")[-1]
    assert second["review"] != first["review"]
    assert sorted(doubt.named("cart.closed")[0]["open"]) == sorted(
        [first["review"], second["review"]]
    )
    doubt.command("review", decision(doubt, doubt.anna), command="r1")
    doubt.review = second
    doubt.command("review", decision(doubt, doubt.anna, gtin=JAM), command="r2")
    told = [
        (cart["revision"], len(cart["open"]))
        for cart in doubt.named("cart.adjusted")
        if cart["session"] == doubt.anna
    ]
    assert told == [(1, 1), (2, 0)]
    assert doubt.receipt(doubt.anna) == {TEA: 1, JAM: 1}


def test_a_review_is_decided_once(doubt):
    wanted = decision(doubt, doubt.bert)
    doubt.command("review", wanted, command="r1")
    doubt.command("review", wanted, command="r1")
    status, message = answer(doubt.command("review", wanted, command="r2")[0])
    assert (status, "not open" in message) == ("error", True)
    assert len(doubt.named("review.resolved")) == 1
    assert doubt.state.sessions[doubt.bert].lines[TEA].quantity == 1


@pytest.mark.parametrize(
    ("changed", "remedy"),
    [
        ({"session": "nobody"}, "or null"),
        ({"gtin": NEW}, "Bring it with a planogram"),
        ({"quantity": 0}, "Give 1 to 100"),
        ({"quantity": -1}, "Give 1 to 100"),
        ({"quantity": 10**30}, "no change has so many"),
        ({"plate": "g9.s9.p9"}, "Give one of g1.s1.p2, or another"),
        ({"probability": 0.0}, "above 0"),
        ({"probability": 1.5}, "Give 1"),
        ({"direction": "steal"}, "direction"),
    ],
)
def test_a_decision_that_makes_no_sense_changes_nothing(doubt, changed, remedy):
    effects, made = doubt.command("review", decision(doubt, doubt.bert, **changed))
    status, message = answer(effects)
    assert (status, made) == ("error", [])
    assert remedy in message
    assert list(doubt.state.reviews) == [doubt.review["review"]]


def test_a_decided_misplacement_is_remembered(scene):
    anna, bert = scene.enter("anna"), scene.enter("bert")
    scene.act("anna", {"g1.s1.p3": -390.0})
    scene.stand("anna", "g2.s1.p0")
    scene.run(0.4)
    scene.act("bert", {"g1.s1.p3": -390.0})
    # Both hold jam, both reach for the tea: one of them leaves the jam there.
    scene.reach("bert", "g1.s1.p2")
    scene.act("anna", {"g1.s1.p2": +390.0})
    scene.bodies["bert"].wrist_mm = None
    scene.stand("bert", "g2.s1.p0")
    scene.run(11.0)
    (scene.review,) = scene.named("review.requested")
    scene.anna, scene.bert = anna, bert
    back = decision(scene, bert, gtin=JAM, direction="put-back", misplaced=True)
    assert answer(scene.command("review", back)[0]) == ("ok", "")
    assert scene.state.holdings["g1.s1.p2"].misplaced == {JAM: 1}
    scene.restart()
    assert scene.state.holdings["g1.s1.p2"].misplaced == {JAM: 1}
    scene.run(2.0)
    scene.bodies["staff"] = Body((-1_500.0, 0.0))
    scene.act("anna", {"g1.s1.p2": -390.0})
    assert scene.named("item.picked")[-1]["acts"][0]["misplaced"]
    assert scene.state.holdings["g1.s1.p2"].misplaced == {}


def test_reviews_do_not_break_the_store_version(doubt):
    versions = {made.data["store_version"] for made in doubt.events}
    assert versions == {corner_store().version}
    assert msgspec.json.decode(bytes(doubt.rows["review", doubt.review["review"]].value))


def test_a_decision_is_on_the_whole_of_a_change(shopping):
    # Tea beyond doubt, and beside it something that nobody is known to hold.
    shopping.act("anna", {"g1.s1.p2": -240.0, "g1.s1.p3": +330.0}, wait_s=12.0)
    picked = shopping.named("item.picked")[-1]
    (shopping.review,) = shopping.named("review.requested")
    assert shopping.review["change"] == picked["change"]
    assert [act["gtin"] for act in picked["acts"]] == [TEA]
    shopping.restart()
    wanted = decision(shopping, None, gtin=OIL, direction="put-back", plate="g1.s1.p3")
    wanted["acts"] += decision(shopping, shopping.anna)["acts"]
    _, made = shopping.command("review", wanted)
    revised = made[1].data
    assert revised["revision"] > picked["revision"]
    assert [(act["session"], act["gtin"]) for act in revised["acts"]] == [
        (None, OIL),
        (shopping.anna, TEA),
    ]
    shopping.leave()
    assert shopping.receipt(shopping.anna) == {TEA: 2}


def jam(session):
    return {
        "session": session,
        "gtin": JAM,
        "quantity": 1,
        "direction": "pick",
        "plate": "g1.s1.p3",
        "probability": 1.0,
    }


def asked_about_half_a_jam(scene, shopper="anna"):
    """Somebody lifts what weighs half a jam; return the session and the review."""
    session = scene.enter(shopper)
    scene.act(shopper, {"g1.s1.p3": -200.0}, wait_s=12.0)
    return session, scene.named("review.requested")[-1]


def test_a_decision_that_nobody_thought_of_is_carried_out_and_its_hand_is_done(scene):
    """The other half is no second jam, whoever takes it: a person said that the first was one."""
    scene.run(2.0)
    anna, review = asked_about_half_a_jam(scene)
    effects, _ = scene.command(
        "review", {"review": review["review"], "acts": [jam(anna)], "by": "clerk"}
    )
    assert answer(effects)[0] == "ok"
    scene.act("anna", {"g1.s1.p3": -190.0}, wait_s=12.0)
    scene.leave("anna")
    assert scene.receipt(anna) == {JAM: 1}


def test_a_hand_that_was_forgotten_ends_in_nobodys_cart(scene):
    scene.run(2.0)
    asked_about_half_a_jam(scene)
    scene.leave("anna")
    scene.run(60.0)
    bert = scene.enter("bert")
    scene.act("bert", {"g1.s1.p3": -190.0}, wait_s=12.0)
    scene.leave("bert")
    assert scene.receipt(bert) == {}


def test_a_decision_long_after_the_receipt_leaves_no_cart_behind(scene):
    scene.run(2.0)
    anna, review = asked_about_half_a_jam(scene)
    scene.leave("anna")
    scene.run(95.0)
    scene.command("review", {"review": review["review"], "acts": [jam(anna)], "by": "clerk"})
    assert scene.receipt(anna) == {JAM: 1}
    assert scene.state.beliefs.best.carts == {}
    scene.enter("dora")
    made = scene.act("dora", {"g1.s1.p3": 390.0}, wait_s=14.0)
    acts = [act for one in made for act in one.data.get("acts", [])]
    assert all(act["session"] is None for act in acts)
