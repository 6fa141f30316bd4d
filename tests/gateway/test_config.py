# SPDX-License-Identifier: Apache-2.0
"""Settings and store files: what they mean, and that every mistake is found in its place."""

import re
import tomllib
from pathlib import Path
from typing import get_args

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.bridge.config import BridgeConfig
from drivers.scanner.config import ScannerConfig
from gateway.config import (
    ConfigError,
    Entry,
    History,
    Journal,
    Settings,
    Uplink,
    Vision,
    check,
    load,
    load_settings,
    load_store,
    read_secret,
)
from gateway.config_read import _strip, _structs_of
from gateway.config_rules import check_digit, degenerate
from gateway.config_store import read_store
from gateway.config_tables import KEYS, TABLES, StoreTable
from gateway.config_toml import load_document
from gateway.domain.inputs import EngineSettings

ROOT = Path(__file__).parents[2]
DEMO = ROOT / "fixtures" / "stores" / "demo.toml"

STORE = """\
version = 1

[store]
name = "corner"

[[product]]
gtin = "4006381333931"
name = "Pen"
unit_g = 8
tolerance_g = 0.4

[[product]]
gtin = "96385074"
name = "Gum"
unit_g = 15.5

[[gondola]]
name = "g1"

[[gondola.shelf]]
name = "g1.s1"
front_mm = [0, 0, 1000, 0]
z_mm = 800
depth_mm = 350
plates = 4

[[gondola.shelf]]
name = "g1.s2"
front_mm = [0, 0, 1000, 0]
z_mm = 1200
depth_mm = 350

[[gondola.shelf.plate]]
name = "left"
offset_mm = 0
width_mm = 500
calibration = { id = "2026-11", zero_raw = 84213, counts_per_g = 410.5 }

[[gondola.shelf.plate]]
name = "right"
offset_mm = 500
width_mm = 500

[[facing]]
gtin = "4006381333931"
plates = ["g1.s1.p1", "g1.s1.p2"]

[[zone]]
name = "in"
kind = "entry"
x_mm = [-1000, 0]
y_mm = [-1000, 0]

[[zone]]
name = "out"
kind = "exit"
x_mm = [1000, 2000]
y_mm = [-1000, 0]

[[door]]
name = "gate"

[[scanner]]
name = "entry"
zone = "in"
door = "gate"

[[camera]]
name = "c1"
size_px = [640, 480]
floor_points = [[10, 10, 0, 0], [600, 10, 2000, 0], [600, 400, 2000, -1500], [10, 400, 0, -1500]]
"""

SETTINGS = """\
gateway = "gw-1"
database = "gateway.db"

[uplink]
host = "localhost"

[[device]]
driver = "bridge"
name = "g1.s2"
url = "/dev/ttyUSB0"
channels = [0, 1]
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "store.toml").write_text(STORE)
    (tmp_path / "settings.toml").write_text(SETTINGS)
    return tmp_path


def problems_of(folder, text, name="store.toml"):
    path = folder / name
    if isinstance(text, bytes):
        path.write_bytes(text)
    else:
        path.write_text(text)
    load = load_store if name == "store.toml" else load_settings
    with pytest.raises(ConfigError) as caught:
        load(path)
    return [str(problem).removeprefix(f"{folder}/") for problem in caught.value.problems]


def line_of(text, part, nth=1):
    """Return the line of a part's nth appearance."""
    lines = [number for number, line in enumerate(text.splitlines(), 1) if part in line]
    return lines[nth - 1]


# What the files mean.


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


def test_settings_have_defaults_and_absolute_paths(folder):
    settings = load_settings(folder / "settings.toml")
    assert settings.database == str(folder / "gateway.db")
    assert settings.broker.starts_own
    assert settings.broker.address == ("127.0.0.1", 1883)
    assert settings.uplink.address == ("localhost", 1883)
    assert settings.uplink.acknowledge == "application"
    assert settings.journal is None
    assert settings.device[0].device == "shelf/g1.s2"


def test_tls_changes_the_port(folder):
    text = SETTINGS.replace('host = "localhost"', 'host = "a.example"\ntls = { ca = "ca.pem" }')
    (folder / "settings.toml").write_text(text)
    uplink = load_settings(folder / "settings.toml").uplink
    assert uplink.address == ("a.example", 8883)
    assert uplink.tls.ca == str(folder / "ca.pem")


@pytest.mark.parametrize("name", ["settings", "store"])
def test_the_documented_samples_are_right(name):
    sample = ROOT / "docs" / "samples" / f"{name}.toml"
    load = load_store if name == "store" else load_settings
    load(sample)


def test_the_fixture_stores_are_right():
    stores = sorted((ROOT / "fixtures" / "stores").glob("*.toml"))
    assert DEMO in stores
    for path in stores:
        store, problems = read_store(path)
        assert store is not None, problems
        assert problems == []


# Mistakes in a store file, each with its line and a remedy.

MISTAKES = [
    (
        ('"4006381333931"\nname', '"4006381333932"\nname'),
        "4006381333932 has a wrong check digit (1 expected)",
        ("gtin", 1),
    ),
    (('"96385074"', '"96385"'), "'96385' is not a GTIN", ('"96385"', 1)),
    (('"96385074"', "96385074"), "expected str, got int. Give a GTIN", ("= 96385074", 1)),
    (('"96385074"', '"4006381333931"'), "GTIN 04006381333931 is already at store.toml:7", None),
    (("unit_g = 8\n", "unit_g = 0\n"), "expected float > 0", ("unit_g = 0", 1)),
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
    (("[0, 0, 1000, 0]", "[0, 0, 1000]"), "front_mm: expected array of length 4", None),
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
    store, problems = read_store(folder / "store.toml")
    assert store is not None
    assert {problem.severity for problem in problems} == {"warning"}
    assert [problem.problem for problem in problems] == [
        "no entry zone",
        "no exit zone",
        "4 of 6 plates have no facing",
    ]


# Mistakes in the settings.


@pytest.mark.parametrize(
    ("added", "expected"),
    [
        ("[brokker]\nembedded = true", "brokker: unknown key. Did you mean broker?"),
        ("[broker]\nembeded = true", "broker.embeded: unknown key. Did you mean embedded?"),
        ("[broker]\nembedded = true\nhost = 'x'", "broker.host: is given beside embedded"),
        ("[broker]\nembedded = false", "broker.host: missing"),
        ("[broker]\nport = 70000", "broker.port: expected int <= 65535"),
        ("[broker]\nhost = 'x'\npassword_file = 'p'", "broker.username: missing beside"),
        ("[engine]\ncertainty = 1.5", "engine.certainty: is 1.5"),
        ("[engine]\nexit_after_ms = 0", "engine.exit_after_ms: is 0"),
        ("[journal]\nmegabytes = 3", "journal.directory: missing. Give a file"),
        ("[[device]]\ndriver = 'scaner'", "device[1].driver: unknown driver. Did you mean scanner"),
        ("[[device]]\nname = 'x'", "device[1].driver: missing. Give one of: bridge, scanner"),
        (
            "[[device]]\ndriver = 'bridge'\nname = 'g1.s2'\nurl = 'x'\nchannels = [1]",
            "device[1].name: device shelf/g1.s2 is named twice",
        ),
        ("[[vision]]\ncamera = 'c1'\nurl = 'x'", "vision[0].model: missing"),
        ("[uplink.tls]\ncert = 'a'", "uplink.tls: cert and key belong together"),
        ("password = 'secret'", "uplink.password: unknown key. Did you mean password_file?"),
    ],
)
def test_a_mistake_in_the_settings_is_named(folder, added, expected):
    head, device = SETTINGS.split("[[device]]")
    text = f"{head}{added}\n[[device]]{device}"
    if added.startswith("[[device]]"):
        text = SETTINGS + added
    found = problems_of(folder, text, "settings.toml")
    assert any(expected in problem for problem in found), found


def test_problems_never_show_a_secret(folder):
    head = SETTINGS.split("[[device]]", maxsplit=1)[0]
    found = problems_of(folder, head + "password = 'hunter2'\n", "settings.toml")
    assert "hunter2" not in "".join(found)


# Both files together.


def checked(folder):
    found = check(folder / "settings.toml", folder / "store.toml")
    return [str(problem).replace(f"{folder}/", "") for problem in found]


def test_check_says_nothing_wrong_of_what_is_right(folder):
    entry = '[entry]\njwks = "keys.json"\nissuer = "shop"\n'
    (folder / "settings.toml").write_text(SETTINGS.replace("[[device]]", entry + "[[device]]"))
    key = '{"kty": "OKP", "crv": "Ed25519", "kid": "a", "x": "AAAA"}'
    (folder / "keys.json").write_text(f'{{"keys": [{key}]}}')
    calibration = 'calibration = { id = "2026-11", zero_raw = 1, counts_per_g = 410.5 }'
    right = 'name = "right"\noffset_mm = 500\nwidth_mm = 500\n'
    assert right in STORE
    whole = STORE.replace(right, right + calibration + "\n").replace(
        '"g1.s1.p2"]', '"g1.s1.p2", "g1.s1.p3", "g1.s1.p4"]'
    )
    whole += '[[facing]]\ngtin = "96385074"\nplates = ["left", "right"]\n'
    (folder / "store.toml").write_text(whole)
    assert checked(folder) == []


def test_check_finds_what_only_both_files_together_show(folder):
    text = SETTINGS.replace('name = "g1.s2"', 'name = "g9.s9"')
    text += "[[vision]]\ncamera = 'c9'\nurl = 'x'\nmodel = 'none.onnx'\n"
    (folder / "settings.toml").write_text(text)
    found = checked(folder)
    assert any("model: none.onnx cannot be read" in problem for problem in found)
    assert any("camera c9 is not in the store file" in problem for problem in found)
    assert any("no shelf of this name" in problem for problem in found)
    assert any(problem.startswith("warning: ") and "entry" in problem for problem in found)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (None, "keys.json cannot be read: No such file"),
        ("[]", "is not a key set"),
        ('{"keys": [1]}', "is not a key set"),
        ('{"keys": [{"kty": "RSA"}]}', "has no Ed25519 key with a kid"),
        ('{"keys": [{"kty": "OKP", "crv": "Ed25519", "kid": "a", "x": "…"}]}', None),
    ],
)
def test_check_looks_into_the_key_set(folder, content, expected):
    if content is not None:
        (folder / "keys.json").write_text(content)
    entry = '[entry]\njwks = "keys.json"\nissuer = "shop"\n'
    (folder / "settings.toml").write_text(SETTINGS.replace("[[device]]", entry + "[[device]]"))
    found = [problem for problem in checked(folder) if "entry.jwks" in problem]
    assert bool(found) == (expected is not None)
    if expected is not None:
        assert expected in found[0]


def test_check_warns_of_a_password_that_others_may_read_or_that_travels_in_the_clear(folder):
    (folder / "secret").write_text("hunter2\n")
    (folder / "secret").chmod(0o644)
    login = 'host = "far.example"\nusername = "gw"\npassword_file = "secret"'
    (folder / "settings.toml").write_text(SETTINGS.replace('host = "localhost"', login))
    found = "\n".join(checked(folder))
    assert "others may read the secret" in found
    assert "crosses the network in the clear" in found
    assert "hunter2" not in found


def test_both_files_are_read_at_once_or_refused_at_once(folder):
    text = SETTINGS.replace("[[device]]", "[[device]]\nname_ = 1", 1)
    (folder / "settings.toml").write_text(text)
    (folder / "store.toml").write_text(STORE.replace("unit_g = 8", "unit_g = 0"))
    with pytest.raises(ConfigError) as caught:
        load(folder / "settings.toml", folder / "store.toml")
    assert [problem.line for problem in caught.value.problems] == [8, 9]
    (folder / "store.toml").write_text(STORE)
    calibrated = 'name = "right"\ncalibration = { id = "1", zero_raw = 1, counts_per_g = 9 }'
    (folder / "store.toml").write_text(STORE.replace('name = "right"', calibrated))
    (folder / "settings.toml").write_text(SETTINGS)
    settings, store, warnings = load(folder / "settings.toml", folder / "store.toml")
    assert (settings.gateway, store.name) == ("gw-1", "corner")
    assert {problem.severity for problem in warnings} == {"warning"}


# Secrets.


def test_a_secret_comes_from_a_file_or_from_a_credential(folder, monkeypatch):
    (folder / "secret").write_text("hunter2\n")
    assert read_secret(str(folder / "secret")) == "hunter2"
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(folder))
    assert read_secret("credential:secret") == "hunter2"
    assert read_secret("credential:../secret") == "hunter2"  # Never outside the folder.


@pytest.mark.parametrize("content", [b"", b"\n", b"\xff", b"x" * 5_000])
def test_a_secret_that_cannot_be_one_is_refused(folder, content):
    (folder / "secret").write_bytes(content)
    with pytest.raises(ConfigError):
        read_secret(str(folder / "secret"))


def test_a_credential_outside_systemd_is_refused(monkeypatch):
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    with pytest.raises(ConfigError, match="systemd passed no credentials"):
        read_secret("credential:uplink")


# The scanner of lines, the numbers' rules, and any bytes at all.


def paths_of(node, path=()):
    if isinstance(node, dict):
        for key, value in node.items():
            yield (*path, key)
            yield from paths_of(value, (*path, key))
    elif isinstance(node, list):
        for index, value in enumerate(node):
            yield (*path, index)
            yield from paths_of(value, (*path, index))


TRICKY = '''\
a."b.c" = 1 # ] "
"quo\\"ted" = ["""x
[no]
= "y" ""\\"""", [ # a comment, ]
  1, 2,
], {k.l = "}", 'm n' = \'\'\'
'\'\'\'}]
[t.u]
v = 2026-11-21T10:00:00Z
[[t.w]]
x = [[1, 2], [3,
4]]
[t.w.y]
z = inf
[[t.w]]
[[t.w.deep]]
end = "\\\\"
'''


def test_every_key_of_a_tricky_document_has_its_line(tmp_path):
    path = tmp_path / "tricky.toml"
    path.write_text(TRICKY)
    document = load_document(path)
    assert document.data == tomllib.loads(TRICKY)
    lines = {path: document.lines[path] for path in paths_of(document.data)}
    assert lines["a", "b.c"] == 1
    assert lines['quo"ted', 1, 1] == 5
    assert lines['quo"ted', 2, "m n"] == 6
    assert lines["t", "u", "v"] == 9
    assert lines["t", "w", 0, "x", 1, 1] == 12
    assert lines["t", "w", 0, "y", "z"] == 14
    assert lines["t", "w", 1, "deep", 0, "end"] == 17


KEY = st.sampled_from(["a", "b", '"c.d"', "'e f'", '"\\u00e9"'])
SCALAR = st.sampled_from(
    ["1", "-0.5", "true", '"x # y"', "'[z]'", '"""m\n[n]\n"""', "'''o\n'''", "1979-05-27", "nan"]
)
VALUE = st.recursive(
    SCALAR,
    lambda inner: (
        st.lists(inner, max_size=3).map(lambda items: "[\n " + ", ".join(items) + "]")
        | st.dictionaries(KEY, inner, max_size=3).map(
            lambda items: "{" + ", ".join(f"{key} = {value}" for key, value in items.items()) + "}"
        )
    ),
    max_leaves=6,
)
TABLE = st.tuples(
    st.sampled_from(["[[t]]", "[[t.u]]", "[v]", "[v.w]", "[[t.u.x]]", "[t.y]"]),
    st.dictionaries(KEY, VALUE, max_size=3),
)


@given(st.lists(TABLE, max_size=5))
def test_every_key_of_any_document_has_a_line_that_holds_it(tables):
    text = "".join(
        header + "\n" + "".join(f"{key} = {value}\n" for key, value in pairs.items())
        for header, pairs in tables
    )
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return
    lines = scan(text)
    source = text.splitlines()
    for path in paths_of(data):
        assert path in lines
        key = path[-1]
        if isinstance(key, str) and key.isascii():
            assert key in source[lines[path] - 1]


def scan(text):
    from gateway.config_toml import _Scanner

    return _Scanner(text).scan()


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
    store, problems = read_store(path)
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


# The documents tell every key, and no key that there is not.


def keys_of(cls):
    """Return every key of a struct and of those in it."""
    for field in msgspec.structs.fields(cls):
        yield field.encode_name
        plain = _strip(field.type)[0]
        for part in (plain, *(_strip(argument)[0] for argument in get_args(plain))):
            for struct in _structs_of(part):
                yield from keys_of(struct)


def told_keys(page):
    """Return the keys in the first column of a page's tables."""
    rows = re.findall(r"^\| (`.*?) \|", (ROOT / "docs" / page).read_text("utf-8"), re.MULTILINE)
    return {key for row in rows for key in re.findall(r"`(\w+)`", row)}


def test_the_store_file_page_tells_every_key():
    known = {key for cls in (StoreTable, *TABLES.values()) for key in keys_of(cls)}
    known -= {"shelf", "id", "zero_raw", "counts_per_g"}  # Told in the text.
    assert told_keys("store-file.md") == known | set(KEYS) - {"store", *TABLES}


def test_the_settings_page_tells_every_key():
    known = set(keys_of(Settings))
    tables = {"broker", "uplink", "engine", "journal", "history", "entry", "device", "vision"}
    known -= tables | {"ca", "cert", "key"}
    assert told_keys("settings.md") == known


def test_the_settings_page_tells_the_defaults_that_hold():
    page = (ROOT / "docs" / "settings.md").read_text("utf-8")
    for cls in (
        Uplink,
        Journal,
        History,
        Entry,
        EngineSettings,
        Vision,
        BridgeConfig,
        ScannerConfig,
    ):
        for field in msgspec.structs.fields(cls):
            value = field.default
            if isinstance(value, bool):
                value = str(value).lower()
            elif isinstance(value, str):
                value = f'"{value}"'
            elif isinstance(value, int | float):
                value = f"{value:g}" if value < 1e5 else str(value)
            else:
                continue
            row = rf"^\| `{field.encode_name}` \| `?{re.escape(value)}`? \|"
            assert re.search(row, page, re.MULTILINE) or field.encode_name == "protocol", row
