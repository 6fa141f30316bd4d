# SPDX-License-Identifier: Apache-2.0
"""Settings files: what they mean, alone and beside a store file, and their mistakes."""

import shutil

import pytest

from gateway.cli import main
from gateway.config import ConfigError, check, load, load_settings, read_secret
from tests.gateway.config.files import SETTINGS, STORE, problems_of


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


def test_shelves_may_share_a_line_of_modbus_and_a_map_of_ones_own_lies_beside_the_file(folder):
    mine = (MODBUS % ("b", 3, "")).replace("map =", "map_file =")
    (folder / "settings.toml").write_text(SETTINGS + MODBUS % ("a", 2, "") + mine)
    _, first, second = load_settings(folder / "settings.toml").device
    assert first.url == second.url
    assert (first.map, second.map_file) == ("eagle-ei", str(folder / "eagle-ei"))


def test_doors_may_share_a_relay_board(folder):
    both = RELAY % ("a", 1, 9600) + RELAY % ("b", 2, 9600)
    (folder / "settings.toml").write_text(SETTINGS + both)
    _, first, second = load_settings(folder / "settings.toml").device
    assert (first.url, second.url, second.channel) == ("/y", "/y", 2)


@pytest.mark.parametrize("table", ["", "[history]\nfree_megabytes = 100\n"])
def test_a_disk_with_too_little_room_is_a_warning(folder, capsys, monkeypatch, table):
    usage = shutil.disk_usage(folder)._replace(free=150_000_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: usage)
    warned = not table  # 200 is the default.
    (folder / "settings.toml").write_text(f'gateway = "gw"\ndatabase = "gateway.db"\n{table}')
    words = ("--settings", str(folder / "settings.toml"), "--store", str(folder / "store.toml"))
    assert main(["check", *words]) == 0
    told = f"history.free_megabytes: {folder} has 150 MB free, less than 200. Make room there, or"
    assert (told in capsys.readouterr().out) is warned
    _, _, warnings = load(folder / "settings.toml", folder / "store.toml")
    assert any(told in item.text and item.severity == "warning" for item in warnings) is warned


# Mistakes.

MODBUS = """
[[device]]
driver = 'modbus'
name = '%s'
url = '/y'
map = 'eagle-ei'
unit = 'kg'
unit_ids = [%d]
%s"""
RELAY = """
[[device]]
driver = 'relay'
name = '%s'
url = '/y'
when_dead = 'locked'
channel = %d
baud = %d
"""
SCALE = "[[device]]\ndriver = 'scale'\nname = 'a'\nurl = '/z'\nprotocol = 'sma'\n"


@pytest.mark.parametrize(
    ("added", "expected"),
    [
        ("[brokker]\nembedded = true", "brokker: unknown key. Did you mean broker?"),
        ("[broker]\nembeded = true", "broker.embeded: unknown key. Did you mean embedded?"),
        ("[broker]\nembedded = true\nhost = 'x'", "broker.host: is given beside embedded"),
        ("[broker]\nembedded = false", "broker.host: missing"),
        ("[broker]\nport = 70000", "broker.port: is 70000. Give a port"),
        ("[broker]\nhost = 'x'\npassword_file = 'p'", "broker.username: missing beside"),
        ("[engine]\ncertainty = 1.5", "engine.certainty: is 1.5"),
        ("[engine]\nexit_after_ms = 0", "engine.exit_after_ms: is 0"),
        ("[journal]\nmegabytes = 3", "journal.directory: missing. Give a file"),
        (
            "[[device]]\ndriver = 'scaner'",
            "driver: unknown driver, and no installed package brings it. Did you mean scanner",
        ),
        (
            "[[device]]\ndriver = 'relay'\nname = 'x'\nurl = '/dev/ttyUSB9'",
            'device[1].when_dead: missing. Give "locked" (fail-secure: nobody is let in) or "unlo',
        ),
        (
            (
                "[[device]]\ndriver = 'tasmota'\nname = 'x'\ntopic = 'a'\n"
                "[[device]]\ndriver = 'number'\nname = 'y'\ntopics = ['tele/a/SENSOR']"
            ),
            "topic tele/a/SENSOR is named twice",
        ),
        (
            "[[device]]\ndriver = 'number'\nname = 'y'\ntopics = ['a', 'a']",
            "topic a is named twice",
        ),
        (
            "[[device]]\ndriver = 'number'\nname = 'y'\ntopics = ['a/#']",
            "device[1].topics[0]: ",
        ),
        ("[[device]]\nname = 'x'", "device[1].driver: missing. Give one of: bridge, scale, mo"),
        (
            "[[device]]\ndriver = 'bridge'\nname = 'g1.s2'\nurl = 'x'\nchannels = [1]",
            "device[1].name: device shelf/g1.s2 is named twice",
        ),
        (
            SCALE + "line = '8E1'",
            'device[1].line: is "8E1". Give "8N1", "7E1", "7O1" or "7N2"',
        ),
        (
            (
                "[[device]]\ndriver = 'scale'\nname = 'a'\nurl = 'y'\nprotocol = 'lines'\n"
                "[device.lines]\npatern = 'x'"
            ),
            "device[1].lines.patern: unknown key. Did you mean pattern?",
        ),
        (
            (
                "[[device]]\ndriver = 'scale'\nname = 'a'\nurl = '/z'\nprotocol = 'lines'\n"
                "[device.lines]\npattern = 'x'\nunit = 'kg'"
            ),
            "device[1].lines.unit: unknown key. Valid here: end, fault",
        ),
        (
            '[[device]]\n[device.lines]\npattern = "\\d+"',
            "Unescaped '\\' in a string. Write the text in single quotes",
        ),
        (MODBUS % ("a", 2, "\n") + MODBUS % ("b", 2, "\n"), "channel 1 of unit 2 on /y is named"),
        (
            MODBUS % ("a", 2, "\n") + MODBUS % ("b", 3, "baud = 19200\n"),
            "device[2].baud: differs from a's, which is on the same line. Give both the same",
        ),
        (MODBUS % ("a", 2, "line = '7E1'\n"), 'Give "8N1", "8N2", "8E1" or "8O1"'),
        (
            MODBUS % ("a", 2, "") + "[[device]]\ndriver = 'ssi'\nname = 'e'\nurl = '/y'",
            "device[2].url: port /y is named twice",
        ),
        (
            RELAY % ("a", 1, 9600) + RELAY % ("b", 1, 9600),
            "device[2].channel: relay 1 on /y is named",
        ),
        (
            RELAY % ("a", 1, 9600) + RELAY % ("b", 2, 19200),
            "device[2].baud: differs from a's, which is on the same line. Give both the same",
        ),
        (
            RELAY % ("a", 1, 9600) + SCALE.replace("/z", "/y"),
            "device[2].url: port /y is named twice",
        ),
        (SCALE.replace("'/z'", "'sockt://y:1'"), "device[1].url: sockt:// is not known. Write so"),
        (SCALE.replace("'/z'", "'ttyUSB0'"), 'device[1].url: is "ttyUSB0", no path of a port'),
        (
            "[[device]]\ndriver = 'keyboard'\nname = 'x'\nurl = 'event3'",
            'device[1].url: is "event3", no path of a port',
        ),
        ("[[vision]]\ncamera = 'c1'\nurl = 'x'", "vision[0].model: missing"),
        ("[uplink.tls]\ncert = 'a'", "uplink.tls: cert and key belong together"),
        ("password = 'secret'", "uplink.password: unknown key. Did you mean password_file?"),
        ("plaintext = true\n[uplink.tls]", "uplink.plaintext: is given beside tls"),
    ],
)
def test_a_mistake_in_the_settings_is_named(folder, added, expected):
    head, device = SETTINGS.split("[[device]]")
    text = f"{head}{added}\n[[device]]{device}"
    if added.lstrip().startswith("[[device]]"):
        text = f"{SETTINGS}\n{added}"
    found = problems_of(folder, text, "settings.toml")
    assert any(expected in problem for problem in found), found


@pytest.mark.parametrize(
    "url",
    [
        "http://x/keys",
        "https://user:hunter2@x/",
        "https://x:70000/keys",
        "https:///keys",
        "https://x/a b",
        "https://x/#a",
        "https://[/",
        "ftp://x",
        "",
    ],
)
def test_keys_are_fetched_over_https_alone_and_no_address_is_shown(folder, url):
    entry = f"[entry]\njwks = 'keys'\nissuer = 'i'\nrenew_s = 60\nurl = '{url}'\n"
    [found] = problems_of(folder, f"{SETTINGS}{entry}", "settings.toml")
    assert "entry.url: no address that keys can be fetched from. Give one that begins" in found
    assert "hunter2" not in found


def test_an_address_of_keys_is_good_with_port_path_and_query(folder):
    entry = "[entry]\njwks = 'keys'\nissuer = 'i'\nurl = 'https://[fd00::7]:8443/k?a=b'\n"
    (folder / "settings.toml").write_text(f"{SETTINGS}{entry}")
    assert load_settings(folder / "settings.toml").entry.renew_s == 3_600


def test_keys_that_are_still_to_be_fetched_are_a_note(folder):
    entry = "[entry]\njwks = 'keys'\nissuer = 'i'\nurl = 'https://x/keys'\n"
    (folder / "settings.toml").write_text(f"{SETTINGS}{entry}")
    (folder / "store.toml").write_text(STORE)
    [note] = [
        one for one in check(folder / "settings.toml", folder / "store.toml") if "jwks" in one.key
    ]
    assert (note.severity, "is not there yet" in note.problem) == ("note", True)


def test_no_operator_leaves_evidence_out(folder):
    head = SETTINGS.split("[[device]]", maxsplit=1)[0]
    found = problems_of(folder, head + "[engine]\nwithout = ['carts']\n", "settings.toml")
    assert any("engine.without: unknown key" in problem for problem in found), found


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


def test_a_mistake_hides_none_in_other_tables_or_in_both_files_together(folder):
    text = SETTINGS.replace('name = "g1.s2"', 'name = "g9.s9"').replace("port = ", "prot = ")
    text += "[broker]\nport = 0\nusername = 5\n"
    text += "[[vision]]\ncamera = 'c9'\nurl = 'x'\nmodel = 'none.onnx'\n"
    text += "[[vision]]\ncamera = 'c9'\nurl = 'x'\nmodel = 'none.onnx'\nthreads = 0\n"
    (folder / "settings.toml").write_text(text)
    (folder / "store.toml").write_text(STORE.replace('kind = "entry"', 'kind = "entri"'))
    found = "\n".join(checked(folder))
    for expected in (
        "broker.port: is 0. ",
        "broker.username: is a number (5). ",
        "vision[0].camera: camera c9 is not in the store file",
        "vision[0].model: ",
        "vision[1].threads: is 0. ",
        "no shelf of this name",
        'zone[0].kind: is "entri". ',
    ):
        assert expected in found, found
    assert "scanner[0].zone" not in found, "that follows from the zone"


def test_what_a_broken_table_may_have_held_is_not_missed(folder):
    text = SETTINGS + "[[vision]]\ncamera = 'c9'\nurl = 'x'\nmodel = 'none.onnx'\n"
    (folder / "settings.toml").write_text(text)
    store = STORE.replace("plates = 4", "plates = 0").replace("size_px", "size")
    (folder / "store.toml").write_text(store)
    found = "\n".join(checked(folder))
    assert "is not in the store file" not in found
    assert "no shelf of this name" not in found
    assert "gondola[0].shelf[0].plates: is 0. " in found


def test_check_finds_what_only_both_files_together_show(folder):
    text = SETTINGS.replace('name = "g1.s2"', 'name = "g9.s9"')
    text += "[[vision]]\ncamera = 'c9'\nurl = 'x'\nmodel = 'none.onnx'\n"
    (folder / "settings.toml").write_text(text)
    found = checked(folder)
    assert any("model: none.onnx cannot be read" in problem for problem in found)
    assert any("camera c9 is not in the store file" in problem for problem in found)
    assert any("no shelf of this name" in problem for problem in found)
    assert any(problem.startswith("warning: ") and "entry" in problem for problem in found)


def test_a_cameras_address_without_a_scheme_that_names_nothing_is_told(folder, monkeypatch):
    monkeypatch.chdir(folder)
    (folder / "clip.mp4").touch()
    (folder / "clips").mkdir()
    good = ["rtsp://192.0.2.1/1", "0", "/dev/null", "clip.mp4"]
    bad = ["eve:secret@192.0.2.1/1", "/dev/video-none", "none.mp4", "clips"]
    text = SETTINGS
    for number, url in enumerate(good + bad):
        text += f"[[vision]]\ncamera = 'c{number}'\nurl = '{url}'\nmodel = 'clip.mp4'\n"
    (folder / "settings.toml").write_text(text)
    found = [problem for problem in checked(folder) if ".url: " in problem]
    assert len(found) == len(bad)
    assert all(problem.startswith("warning: ") for problem in found)
    assert f"vision[{len(good)}].url: has no scheme and names no device or file here" in found[0]
    assert "secret" not in found[0]


def test_a_model_may_be_the_folder_of_an_export(folder):
    made = folder / "people_ncnn_model"
    made.mkdir()
    vision = "[[vision]]\ncamera = 'c1'\nurl = 'x'\n"
    text = f"{SETTINGS}{vision}model = '{made}'\nhands = '{made}'\n"
    (folder / "settings.toml").write_text(text + f"reidentification = '{made}'\n")
    [problem] = [one for one in checked(folder) if "people_ncnn_model" in one]
    assert ".reidentification: " in problem
    assert "cannot be read: Is a directory" in problem


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
    login += "\n[broker]\n" + login
    login = login.replace("[broker]", "plaintext = true\n[broker]")
    (folder / "settings.toml").write_text(SETTINGS.replace('host = "localhost"', login))
    found = "\n".join(checked(folder))
    assert found.count("others may read the secret") == 2
    assert "uplink.plaintext: events, commands and the password cross the network" in found
    assert "crosses the network in the clear" in found
    assert "hunter2" not in found


@pytest.mark.parametrize("host", ["far.example", "192.168.1.9", "localhost.example"])
def test_an_uplink_to_another_machine_is_encrypted_unless_told_otherwise(folder, host):
    text = SETTINGS.replace("localhost", host)
    [problem] = problems_of(folder, text, "settings.toml")
    assert f"uplink.tls: missing, and {host} is another machine. Add [uplink.tls]" in problem
    for told in ("plaintext = true", "tls = {}"):
        (folder / "settings.toml").write_text(text.replace("[uplink]", f"[uplink]\n{told}"))
        assert load_settings(folder / "settings.toml").uplink.address[0] == host


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


@pytest.mark.parametrize("name", ["../secret", "/etc/secret", "", ".", "..", "a/b"])
def test_a_credential_is_never_outside_the_folder(folder, monkeypatch, name):
    (folder / "secret").write_text("hunter2\n")
    text = f"username = 'gw'\npassword_file = 'credential:{name}'\n[[device]]"
    (folder / "settings.toml").write_text(SETTINGS.replace("[[device]]", text, 1))
    for directory in (None, folder):
        if directory is not None:
            monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(directory))
        with pytest.raises(ConfigError, match="is no name of a credential"):
            read_secret(f"credential:{name}")
        expected = f"uplink.password_file: credential:{name} is no name of a credential. Write"
        assert any(expected in one and one.startswith("settings") for one in checked(folder))


@pytest.mark.parametrize(
    "content", [b"", b"\n", b"\xff", b"x" * 5_000, b"hunter2\nhunter3\n", b"hunter2\rhunter3"]
)
def test_a_secret_that_cannot_be_one_is_refused(folder, content):
    (folder / "secret").write_bytes(content)
    with pytest.raises(ConfigError):
        read_secret(str(folder / "secret"))


def test_a_credential_outside_systemd_is_refused(monkeypatch):
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    with pytest.raises(ConfigError, match="is looked at under systemd only"):
        read_secret("credential:uplink")


def test_a_check_notes_neighbours_that_weigh_alike(folder, capsys):
    store = (folder / "store.toml").read_text()
    (folder / "store.toml").write_text(
        store + '[[facing]]\ngtin = "96385074"\nplates = ["g1.s1.p3"]\n'
    )
    (folder / "settings.toml").write_text(SETTINGS.split("[[device]]", maxsplit=1)[0])
    files = ["--settings", str(folder / "settings.toml"), "--store", str(folder / "store.toml")]
    assert main(["check", *files]) == 0
    *found, last = capsys.readouterr().out.replace(f"{folder}/", "").splitlines()
    assert last.endswith(": good")
    [note] = [one for one in found if "weighs like" in one]
    assert note == (
        "note: store.toml: plates g1.s1.p2, g1.s1.p3: 1 x Gum (00000096385074, 15.5 g) weighs like"
        " 2 x Pen (04006381333931, 16 g)."
        " Move one of them: plates do not tell 3 g apart"
    )
    (folder / "store.toml").write_text(store)
    main(["check", *files])
    assert "weighs like" not in capsys.readouterr().out
    (folder / "store.toml").write_text(store.replace("unit_g = 8", "unit_g = 0"))
    assert main(["check", *files]) == 1
    assert "weighs like" not in capsys.readouterr().out, "first it has to be right"


def test_a_check_of_many_that_weigh_alike_lists_the_first(folder, monkeypatch):
    monkeypatch.setattr("gateway.config.TOLD_MAX", 1)
    store = (folder / "store.toml").read_text()
    for plate in ("g1.s1.p3", "left", "right"):
        store += f'[[facing]]\ngtin = "96385074"\nplates = ["{plate}"]\n'
    store += '[[facing]]\ngtin = "4006381333931"\nplates = ["left"]\n'
    (folder / "store.toml").write_text(store)
    notes = [one for one in checked(folder) if "weigh" in one]
    assert len(notes) == 2
    assert "neighbours that weigh alike, beyond these: 1. Move or weigh those above" in notes[1]


def test_a_check_outside_systemd_ends_with_good_beside_credentials(folder, monkeypatch, capsys):
    head = SETTINGS.split("[[device]]", maxsplit=1)[0]
    login = "username = 'gw'\npassword_file = 'credential:uplink'\n"
    (folder / "settings.toml").write_text(head + login)
    files = ["--settings", str(folder / "settings.toml"), "--store", str(folder / "store.toml")]
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    assert main(["check", *files]) == 0
    *found, last = capsys.readouterr().out.replace(f"{folder}/", "").splitlines()
    assert last.endswith(": good")
    [note] = [one for one in found if "uplink" in one]
    thing = "note: settings.toml:8: uplink.password_file"
    assert note.startswith(f"{thing}: credential:uplink is looked at under systemd only. Pass it")
    # Under systemd it is looked at.
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(folder))
    assert any("uplink cannot be read: No such file" in one for one in checked(folder))
    (folder / "uplink").write_text("hunter2\n")
    (folder / "uplink").chmod(0o600)
    assert not any("uplink" in one for one in checked(folder))
