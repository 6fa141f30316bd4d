# SPDX-License-Identifier: Apache-2.0
"""Store files: what they mean, and that every mistake is found in its place."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.config import ConfigError, load_store
from gateway.config_rules import degenerate
from gateway.config_store import read_store
from gateway.domain.gtin import check_digit
from tests.gateway.config.files import DEMO, ROOT, STORE, line_of, problems_of


def test_a_store_file_becomes_the_store(folder):
    store = load_store(folder / "store.toml")
    assert store.name == "corner"
    assert list(store.products) == ["00000096385074", "04006381333931"]
    assert store.products["00000096385074"].tolerance_g == 1.0  # 4 %, 1 g at least.
    equal, tables = store.shelves
    assert [plate.name for plate in equal.plates] == [f"g1.s1.p{n}" for n in (1, 2, 3, 4)]
    assert [plate.offset_mm for plate in equal.plates] == [0, 250, 500, 750]
    assert tables.plates[0].calibration.counts_per_g == 410.5
    assert store.facings[0].gtin == "04006381333931"
    assert store.zones[0].x_mm == (-1000, 0)
    assert store.scanners[0].door == "gate"
    assert store.doors == ("gate",)
    assert store.cameras[0].floor_points[1].mm == (2000, 0)


def test_equal_stores_have_equal_versions_however_they_are_written(folder):
    version = load_store(folder / "store.toml").version
    (folder / "store.toml").write_text("# A comment.\n" + STORE.replace("1000, 0]", "1000.0, 0 ]"))
    assert load_store(folder / "store.toml").version == version
    (folder / "store.toml").write_text(STORE.replace("unit_g = 8", "unit_g = 8.1"))
    assert load_store(folder / "store.toml").version != version


def test_pieces_come_together(folder):
    whole = load_store(folder / "store.toml")
    head, products = STORE.split("[[product]]", 1)
    products, rest = products.split("[[gondola]]", 1)
    (folder / "products.toml").write_text("[[product]]" + products)
    (folder / "store.toml").write_text(f'include = ["products.toml"]\n{head}[[gondola]]{rest}')
    assert load_store(folder / "store.toml") == whole


def test_a_csv_planogram_makes_facings_of_neighbouring_plates(folder):
    before, _, rest = STORE.partition("[[facing]]")
    text = f'planogram = "plan.csv"\n{before}[[zone]]{rest.partition("[[zone]]")[2]}'
    (folder / "store.toml").write_text(text)
    (folder / "plan.csv").write_bytes(
        b"\xef\xbb\xbfPlate,GTIN,remark\r\n"
        b"g1.s1.p2,4006381333931,\r\n"
        b"g1.s1.p1,4006381333931,end cap\r\n"
        b"\r\n"
        b"g1.s1.p4,4006381333931,\r\n"
        b'"left",00000096385074,"a, b"\r\n'
    )
    facings = load_store(folder / "store.toml").facings
    assert [facing.plates for facing in facings] == [
        ("g1.s1.p1", "g1.s1.p2"),
        ("g1.s1.p4",),
        ("left",),
    ]


def test_the_fixture_stores_are_right():
    stores = sorted((ROOT / "fixtures" / "stores").glob("*.toml"))
    assert DEMO in stores
    for path in stores:
        read = read_store(path)
        store, problems = read.store, read.problems
        assert store is not None, problems
        assert problems == []


# Mistakes, each with its line and a remedy.

MISTAKES = [
    (
        ('"4006381333931"\nname', '"4006381333932"\nname'),
        "4006381333932 has a wrong check digit (1 expected)",
        ("gtin", 1),
    ),
    (('"96385074"', '"96385"'), "'96385' is not a GTIN", ('"96385"', 1)),
    (('"96385074"', "96385074"), "is a number (96385074). Give a GTIN", ("= 96385074", 1)),
    (('"96385074"', '"4006381333931"'), "GTIN 04006381333931 is already at store.toml:7", None),
    (("unit_g = 8\n", "unit_g = 0\n"), "unit_g: is 0. Give the weight", ("unit_g = 0", 1)),
    (("unit_g = 8\n", "unit_g = nan\n"), "is nan. Give a finite number", ("unit_g = nan", 1)),
    (("unit_g = 8\n", "unit_g = -inf\n"), "is -inf", ("unit_g = -inf", 1)),
    (("unit_g = 8\n", f"unit_g = {10**400}\n"), "product[0].unit_g", ("unit_g = 1000", 1)),
    (("unit_g = 8\n", "unit_gr = 8\n"), "unit_gr: unknown key. Did you mean unit_g?", None),
    (("unit_g = 8\n", ""), "product[0].unit_g: missing. Give the weight of one unit", None),
    (("[[zone]]", "[[zones]]"), "zones: unknown key. Did you mean zone?", ("[[zones]]", 1)),
    (("version = 1", "version = 2"), "version: is 2", ("version", 1)),
    (("version = 1", "version = true"), "version: is True", ("version", 1)),
    (("version = 1", ""), "version: missing. Write version = 1", None),
    (('[store]\nname = "corner"\n', ""), "store: missing", None),
    (('name = "corner"', 'name = "a/b"'), "store.name", ("a/b", 1)),
    (('name = "corner"', 'name = "a\\n"'), "store.name", ("a\\n", 1)),
    (
        ("offset_mm = 500", "offset_mm = 400"),
        "plate right overlaps plate left by 100 mm",
        ("[[gondola.shelf.plate]]", 2),
    ),
    (
        ("offset_mm = 500\nwidth_mm = 500", "offset_mm = 500\nwidth_mm = 600"),
        "plate right ends at 1100 mm, past the shelf's end at 1000 mm",
        ("[[gondola.shelf.plate]]", 2),
    ),
    (("counts_per_g = 410.5", "counts_per_g = 0"), "counts_per_g: is 0", ("calibration", 1)),
    (("depth_mm = 350\nplates = 4", "depth_mm = 350"), "needs either plates or plate", None),
    (("[0, 0, 1000, 0]", "[0, 0, 0, 0]"), "front_mm: has no length", ("front_mm", 1)),
    (("[0, 0, 1000, 0]", "[0, 0, 1000]"), "front_mm: has 3 entries. Give the front edge", None),
    (('name = "g1.s2"', 'name = "g1.s1"'), "shelf g1.s1 is already at store.toml:21", None),
    (('name = "right"', 'name = "left"'), "plate left is already at store.toml:34", None),
    (('name = "right"', 'name = "g1.s1.p1"'), "plate g1.s1.p1 is already at", None),
    (
        ('"g1.s1.p2"]', '"g1.s1.p9"]'),
        "plate g1.s1.p9 is not in this store. Did you mean g1.s1.p",
        ("g1.s1.p9", 1),
    ),
    (('"g1.s1.p2"]', '"left"]'), "plates: are on different shelves", ("plates = [", 1)),
    (('"g1.s1.p2"]', '"g1.s1.p1"]'), "plates: names a plate twice", ("plates = [", 1)),
    (
        ('gtin = "4006381333931"\nplates', 'gtin = "012345678905"\nplates'),
        "product 00012345678905 is not in this store",
        ("012345678905", 1),
    ),
    (("x_mm = [-1000, 0]", "x_mm = [0, -1000]"), "x_mm: the zone has no area", None),
    (('kind = "entry"', 'kind = "entri"'), 'Give "entry" or "exit"', ("entri", 1)),
    (('zone = "in"', 'zone = "im"'), "zone im is not in this store. Did you mean in?", None),
    (('zone = "in"', 'zone = "out"'), "out is an exit zone", ("zone = ", 1)),
    (('door = "gate"', 'door = "gait"'), "door gait is not in this store", ("gait", 1)),
    ((", [10, 400, 0, -1500]]", "]"), "floor_points: has 3 points. Give four", None),
    (("[600, 400, 2000, -1500]", "[600, 400, 1000, 0]"), "floor_points: lie on a line", None),
    (("[600, 10, 2000, 0]", "[700, 10, 2000, 0]"), "[1]: is outside the image", None),
    (("[600, 10, 2000, 0]", "[600, 10, inf, 0]"), "floor_points[1][2]: is inf", None),
    (("plates = 4\n", "plates = 4\nplates = 5\n"), "not TOML", ("plates = 5", 1)),
    (("[[door]]", "[door]"), "door: must come many times. Write [[door]]", ("[door]", 1)),
    (("unit_g = 15.5", "unit_g = 15.5\nprice_minor = 3"), "belong together", None),
    (("version = 1", 'version = 1\ninclude = "x.toml"'), "include: must be a list", None),
    (("version = 1", 'version = 1\ninclude = ["x.toml"]'), "x.toml: cannot be read", None),
]


@pytest.mark.parametrize(("change", "expected", "place"), MISTAKES, ids=lambda item: str(item)[:60])
def test_a_mistake_in_the_store_file_is_named_with_its_line_and_remedy(
    folder, change, expected, place
):
    assert change[0] in STORE
    text = STORE.replace(*change, 1)
    found = problems_of(folder, text)
    assert len(found) == 1, found
    assert expected in found[0]
    if place is not None:
        assert found[0].startswith(f"store.toml:{line_of(text, *place)}: "), found


def test_all_mistakes_are_told_at_once_and_none_only_follows_from_another(folder):
    text = (
        STORE.replace("unit_g = 8\n", "unit_g = -8\n")
        .replace("plates = 4", "plates = 0")
        .replace('kind = "exit"', 'kind = "exot"')
        .replace("size_px = [640, 480]", "size = [640, 480]")
    )
    keys = [problem.split(": ")[1] for problem in problems_of(folder, text)]
    assert sorted(keys) == [
        "camera[0].size",
        "gondola[0].shelf[0].plates",
        "product[0].unit_g",
        "zone[1].kind",
    ]


def test_a_mistake_in_a_piece_names_the_piece(folder):
    (folder / "more.toml").write_text('[[door]]\nname = "gate"\n[store]\nname = "x"\n')
    found = problems_of(folder, 'include = ["more.toml"]\n' + STORE)
    assert len(found) == 2
    assert found[0].startswith("more.toml:3: store: only in the main file")
    place = f"store.toml:{line_of(STORE, '[[door]]') + 2}"
    assert f"more.toml:2: door[0].name: door gate is already at {place}" in found[1]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"plate,gtin\ng1.s1.p9,4006381333931\n", "plan.csv:2: plate: plate g1.s1.p9 is not in"),
        (b"plate,gtin\ng1.s1.p1,4006381333932\n", "plan.csv:2: gtin: 4006381333932 has a wrong"),
        (b"plate,gtin\nleft,96385074\nleft,96385074\n", "plan.csv:3: plate: repeats an earlier"),
        (b"plate;gtin\nleft;96385074\n", "plan.csv:1: header: lacks plate or gtin"),
        (b"plate,gtin\nleft\n", "plan.csv:2: row: too few columns"),
        (b'plate,gtin\n"left,96385074\n', "plan.csv:1: header: not CSV"),
        (b"", "plan.csv:1: header: lacks plate or gtin"),
        (b"plate,gtin\nl\xff,96385074\n", "plan.csv:2: not UTF-8"),
    ],
)
def test_a_mistake_in_the_planogram_is_named_with_its_line(folder, content, expected):
    (folder / "plan.csv").write_bytes(content)
    [found] = problems_of(folder, 'planogram = "plan.csv"\n' + STORE)
    assert found.startswith(expected)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "version: missing"),
        (b"\xff\xfe", "store.toml:1: not UTF-8"),
        (b"version = 1\nname = 'x\n", "store.toml:2: not TOML"),
        (b"a = " + b"[" * 100_000, "nested too deeply"),
        (b"#" * (4 * 1024 * 1024 + 1), "larger than 4194304 bytes"),
    ],
    ids=["empty", "not UTF-8", "torn", "deep", "large"],
)
def test_a_file_that_is_no_store_is_refused_with_its_reason(folder, content, expected):
    assert expected in problems_of(folder, content)[0]


def test_a_missing_file_is_told_with_its_name(tmp_path):
    with pytest.raises(ConfigError, match=r"none\.toml: cannot be read: No such file"):
        load_store(tmp_path / "none.toml")


def test_a_store_without_a_way_in_or_out_is_warned_about(folder):
    text = STORE.split("[[zone]]", maxsplit=1)[0]
    (folder / "store.toml").write_text(text)
    read = read_store(folder / "store.toml")
    store, problems = read.store, read.problems
    assert store is not None
    assert {problem.severity for problem in problems} == {"warning"}
    assert [problem.problem for problem in problems] == [
        "no entry zone",
        "no exit zone",
        "4 of 6 plates have no facing",
    ]


# The rules of numbers, and any bytes at all.

DEMO_BYTES = DEMO.read_bytes()


@given(
    cuts=st.lists(
        st.tuples(st.integers(0, len(DEMO_BYTES)), st.integers(0, 40), st.binary(max_size=12)),
        min_size=1,
        max_size=4,
    )
)
def test_any_damage_to_a_store_file_is_answered_with_problems_or_a_store(tmp_path_factory, cuts):
    content = DEMO_BYTES
    for at, length, put in cuts:
        content = content[:at] + put + content[at + length :]
    path = tmp_path_factory.getbasetemp() / "damaged.toml"
    path.write_bytes(content)
    read = read_store(path)
    store, problems = read.store, read.problems
    assert (store is None) == any(problem.severity == "error" for problem in problems)


@pytest.mark.parametrize(
    ("gtin", "digit"),
    [("9638507", "4"), ("01234567890", "5"), ("400638133393", "1"), ("0952132112345", "8")],
)
def test_check_digits_are_those_of_the_standard(gtin, digit):
    assert check_digit(gtin) == digit


SQUARE = [(0.0, 0.0), (1000.0, 0.0), (1000.0, 1000.0), (0.0, 1000.0)]


@pytest.mark.parametrize(
    ("points", "expected"),
    [
        (SQUARE, False),
        ([(0.0, 0.0)] * 4, True),
        ([(0.0, 0.0), (1.0, 1.0), (2.0, 2.0), (3.0, 3.0)], True),
        ([(0.0, 0.0), (1.0, 1.0), (2.0, 2.0), (9.0, 0.0)], True),
        ([(0.0, 0.0), (1.0, 1.0), (2.0, 2.0), (9.0, 0.0), (0.0, 9.0)], False),
        ([*SQUARE, (0.0, 0.0)], False),
    ],
)
def test_floor_points_that_leave_the_homography_open_are_known(points, expected):
    assert degenerate(points) is expected
