# SPDX-License-Identifier: Apache-2.0
"""What is installed on a gateway: units that systemd accepts, an installer that repeats well."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "systemd"
UNITS = ["shelfgate", "shelfgate-vision"]


def tool(name, package):
    path = shutil.which(name) or shutil.which(name, path="/usr/bin:/usr/sbin:/bin:/sbin")
    if path is None:
        pytest.skip(f"{name}: not installed. Install {package}")
    return path


def run(*command, **options):
    return subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=50, **options
    )


def startable(unit, folder):
    """Return a copy of a unit whose programme exists here."""
    text = (FOLDER / f"{unit}.service").read_text("utf-8")
    assert re.search(r"^ExecStart=/opt/shelfgate/bin/shelfgate \w+ ", text, re.MULTILINE)
    path = folder / f"{unit}.service"
    path.write_text(re.sub(r"^ExecStart=\S+", "ExecStart=/bin/true", text, flags=re.MULTILINE))
    return path


@pytest.mark.parametrize("unit", UNITS)
def test_a_unit_is_what_systemd_understands(unit, tmp_path):
    analyze = tool("systemd-analyze", "systemd")
    done = run(analyze, "verify", "--man=no", startable(unit, tmp_path))
    assert done.returncode == 0, done.stderr
    assert "shelfgate" not in done.stderr


@pytest.mark.parametrize("unit", UNITS)
def test_a_unit_is_closed_to_what_it_does_not_need(unit, tmp_path):
    analyze = tool("systemd-analyze", "systemd")
    path = startable(unit, tmp_path)
    done = run(analyze, "security", "--offline=true", "--threshold=30", path)
    assert done.returncode == 0, done.stdout


def test_the_daemon_is_watched_and_may_read_the_clock():
    text = (FOLDER / "shelfgate.service").read_text("utf-8")
    assert "Type=notify" in text
    assert "WatchdogSec=" in text
    assert "ProtectClock=yes" not in text
    assert text.rindex("SystemCallFilter=adjtimex") > text.rindex("SystemCallFilter=~")


def test_the_worker_that_has_frames_leaves_no_core_dump():
    lines = (FOLDER / "shelfgate-vision.service").read_text("utf-8").splitlines()
    assert "LimitCORE=0" in lines


def installed(destination):
    return {
        path.relative_to(destination).as_posix(): oct(path.stat().st_mode & 0o777)
        for path in destination.rglob("*")
        if path.is_file()
    }


def test_the_installer_puts_files_in_their_places_and_keeps_what_was_written(tmp_path):
    environment = {**os.environ, "DESTDIR": str(tmp_path)}
    done = run(FOLDER / "install.sh", "--vision", env=environment)
    assert done.returncode == 0, done.stderr
    first = installed(tmp_path)
    assert first["etc/systemd/system/shelfgate.service"] == "0o644"
    assert first["etc/shelfgate/settings.toml"] == "0o640"
    assert "etc/systemd/system/shelfgate-vision.service" in first
    documents = "opt/shelfgate/share/docs"
    assert {f"{documents}/asyncapi.json", f"{documents}/samples/settings.toml"} <= first.keys()
    command = tmp_path / "usr/local/bin/shelfgate"
    assert str(command.readlink()) == "/opt/shelfgate/bin/shelfgate"
    settings = tmp_path / "etc/shelfgate/settings.toml"
    settings.write_text("# Mine.\n")
    assert run(FOLDER / "install.sh", "--vision", env=environment).returncode == 0
    assert settings.read_text() == "# Mine.\n"
    assert installed(tmp_path) == first
    assert run(FOLDER / "install.sh", "--remove", env=environment).returncode == 0
    assert not command.is_symlink()
    assert set(installed(tmp_path)) == {
        "etc/shelfgate/planogram.csv",
        "etc/shelfgate/settings.toml",
        "etc/shelfgate/store.toml",
    }


def test_the_installer_refuses_what_it_does_not_know():
    done = run(FOLDER / "install.sh", "--visoin")
    assert done.returncode == 2
    assert "--visoin: unknown option. Try --help" in done.stderr


def test_the_installer_says_how_it_is_used():
    done = run(FOLDER / "install.sh", "--help")
    assert done.returncode == 0
    assert "sudo systemd/install.sh" in done.stdout


@pytest.mark.parametrize("script", ["systemd/install.sh", ".ci/run"])
def test_a_shell_script_is_clean(script):
    done = run(tool("shellcheck", "shellcheck"), ROOT / script)
    assert done.returncode == 0, done.stdout


# Rules of udev.

RULES = FOLDER / "70-shelfgate.rules"
KEY = re.compile(
    r'(?P<key>[A-Z]+)(?:\{(?P<of>[\w./]+)\})?(?P<operator>==|!=|\+=|:=|-=|=)"(?P<value>[^"]*)"'
)
MATCHED = {"ACTION", "SUBSYSTEM", "DRIVER", "ATTR", "ENV", "TEST"}
SET = {"ENV", "ATTR", "GROUP", "MODE", "GOTO", "LABEL"}


def rules():
    """Return each rule of the file as its keys."""
    found = []
    for line in RULES.read_text("utf-8").splitlines():
        if not line or line.startswith("#"):
            continue
        keys = [KEY.fullmatch(part) for part in line.split(", ")]
        assert all(keys), f'{line}: not KEY{{of}}=="value", …'
        found.append([key.groupdict() for key in keys])
    return found


def test_the_rules_of_udev_are_well_formed():
    labels, jumps = [], []
    for rule in rules():
        for key in rule:
            matches = key["operator"] in ("==", "!=")
            assert key["key"] in (MATCHED if matches else SET), key
            assert (key["of"] is not None) == (key["key"] in {"ATTR", "ENV"}), key
        labels += [key["value"] for key in rule if key["key"] == "LABEL"]
        jumps += [(len(labels), key["value"]) for key in rule if key["key"] == "GOTO"]
    for passed, label in jumps:
        assert label in labels[passed:], f"{label}: jumped to, and not further down"


def test_udev_takes_its_rules():
    """From version 254 on udevadm can say so itself."""
    udevadm = shutil.which("udevadm", path="/usr/bin:/bin:/usr/sbin:/sbin")
    if udevadm is None or run(udevadm, "verify", "--help").returncode:
        return
    done = run(udevadm, "verify", "--resolve-names=never", RULES)
    assert done.returncode == 0, done.stdout + done.stderr


def test_ports_are_open_to_their_group_alone_and_hidden_from_modem_manager():
    sets = {
        (key["key"], key["of"]): key["value"]
        for rule in rules()
        for key in rule
        if key["operator"] == "="
    }
    assert sets["MODE", None] == "0660"
    assert sets["GROUP", None] == "dialout"
    assert "m shelfgate dialout" in (FOLDER / "shelfgate.sysusers").read_text("utf-8")
    assert sets["ENV", "ID_MM_DEVICE_IGNORE"] == sets["ENV", "ID_MM_PORT_IGNORE"] == "1"
