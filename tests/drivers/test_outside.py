# SPDX-License-Identifier: Apache-2.0
"""Drivers of other packages: the page's example, installed, and packages that are not usable."""

import asyncio
import os
import re
import subprocess
import sys
import tomllib
from contextlib import asynccontextmanager

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drivers import outside
from drivers.errors import DeviceGoneError
from gateway.config import ConfigError, load_settings
from gateway.intake import Intake
from tests.drivers.chunks import CUTS, fed_in_pieces
from tests.test_tidy import ROOT
from tests.virtual_time import LoopClock

PAGE = (ROOT / "docs" / "drivers.md").read_text("utf-8")
PROJECT, TABLE = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)
[MODULE] = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
SETTINGS = f'gateway = "gw-1"\ndatabase = "gateway.db"\n{TABLE}'
STORE = (ROOT / "docs" / "samples" / "store.toml").read_text("utf-8")


def install(folder, name, entry, module, text):
    """Put a package into a folder as an installer would: its module and what describes it."""
    about = folder / f"{name}-1.0.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text(f"[shelfgate.drivers]\n{entry}\n")
    (folder / f"{module}.py").write_text(text)


@pytest.fixture
def packages(tmp_path, monkeypatch):
    """A folder on the path, in which packages are installed."""
    folder = tmp_path / "packages"
    folder.mkdir()
    monkeypatch.syspath_prepend(folder)
    outside.find.cache_clear()
    yield folder
    outside.find.cache_clear()
    for path in folder.glob("*.py"):
        sys.modules.pop(path.stem, None)


def read(tmp_path, text=SETTINGS):
    path = tmp_path / "settings.toml"
    path.write_text(text)
    return load_settings(path)


def install_example(folder):
    project = tomllib.loads(PROJECT)
    [(name, leads_to)] = project["project"]["entry-points"][outside.GROUP].items()
    [module] = project["tool"]["setuptools"]["py-modules"]
    install(folder, project["project"]["name"], f"{name} = {leads_to}", module, MODULE)


def test_the_example_is_installed_by_pip_and_passes_the_check(tmp_path):
    source, target = tmp_path / "source", tmp_path / "target"
    source.mkdir()
    (source / "pyproject.toml").write_text(PROJECT)
    (source / "acme_shelves.py").write_text(MODULE)
    pip = ("pip", "install", "--quiet", "--no-index", "--no-deps", "--no-build-isolation")
    command = [sys.executable, "-m", *pip, "--disable-pip-version-check", "--target", target, "."]
    subprocess.run(command, cwd=source, check=True, timeout=50)
    (tmp_path / "settings.toml").write_text(SETTINGS)
    (tmp_path / "store.toml").write_text(STORE)
    path = os.pathsep.join([str(target), str(ROOT)])
    check = ("check", "--settings", "settings.toml", "--store", "store.toml")
    done = subprocess.run(
        [sys.executable, "-m", "gateway.cli", *check],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
        timeout=50,
    )
    assert "the store has no such shelf of 2 plates. Correct it" in done.stdout, done
    assert "settings.toml:3: device[0]:" in done.stdout


@settings(deadline=None)
@given(
    stream=st.lists(
        st.sampled_from([b"1.0;2\n", b"\xff\n", b"nan;1\n", b"3;-4.5\r\n", b"1;2;3\n"])
    ),
    cuts=CUTS,
)
def test_how_bytes_are_cut_changes_nothing_for_the_example(stream, cuts):
    names = {}
    exec(compile(MODULE, "acme_shelves", "exec"), names)
    whole = names["Decoder"](2).feed(b"".join(stream))
    assert fed_in_pieces(names["Decoder"](2), b"".join(stream), cuts) == whole


def test_the_example_reads_a_shelf(tmp_path, packages):
    from drivers.registry import build

    install_example(packages)
    [config] = read(tmp_path).device
    sent = [b"412.0;0.5\n4", b"12.5;0.5\nnonsense\n"]

    class Line:
        async def receive(self):
            if not sent:
                raise OSError(5, "Input/output error")
            return sent.pop(0)

    @asynccontextmanager
    async def open_stream(_url, _baud):
        yield Line()

    async def main():
        intake = Intake(LoopClock())
        driver = build(config, clock=LoopClock(), open_stream=open_stream, judge=None)
        with pytest.raises(DeviceGoneError, match="Input/output error"):
            await driver.run(intake, lambda: None)
        return intake.take(9), intake.totals

    items, totals = asyncio.run(main())
    assert [item.w for item in items] == [[[412.0, 0.5]], [[412.5, 0.5]]]
    assert {item.device for item in items} == {"shelf/g2.s1"}
    assert totals == {"malformed": 1}


def test_a_wrong_key_of_its_table_is_told_as_any_other(tmp_path, packages):
    install_example(packages)
    with pytest.raises(ConfigError, match=r"plats: unknown key\. Did you mean plates") as caught:
        read(tmp_path, SETTINGS.replace("plates", "plats"))
    assert "Valid here" not in str(caught.value)


BAD = {
    "nothing": ("", "has no attribute|AttributeError"),
    "another thing": ("FAMILY = 7", "acme_shelves:FAMILY is no drivers.outside.Family"),
    "an import that fails": ("import no_such_module", "No module named 'no_such_module'"),
    "no struct": (
        "from drivers.outside import Family\nFAMILY = Family(config=int, build=print)",
        "has a config that is no msgspec.Struct",
    ),
    "another tag": (MODULE.replace('tag="acme"', 'tag="other"'), 'without tag_field="driver", tag'),
    "no name": (MODULE.replace("    name: str\n", ""), "has a config without field name"),
    "no device": (MODULE.replace("    @property\n", ""), "has a config without property device"),
    "what may change": (
        MODULE.replace("frozen=True", "frozen=False"),
        "has a config without frozen=True",
    ),
    "no build": (MODULE.replace("build=build", "build=None"), "build or problems that cannot be"),
}


@pytest.mark.parametrize("fault", BAD)
def test_a_package_that_is_not_usable_is_told_at_the_table_that_names_it(tmp_path, packages, fault):
    text, expected = BAD[fault]
    install(packages, "acme-shelves", "acme = acme_shelves:FAMILY", "acme_shelves", text)
    with pytest.raises(ConfigError, match=expected) as caught:
        read(tmp_path)
    [problem] = caught.value.problems
    assert str(problem).startswith(f"{tmp_path}/settings.toml:4: device[0].driver: driver acme of")
    assert "acme-shelves" in problem.remedy


def test_two_packages_with_one_name_are_told(tmp_path, packages):
    install_example(packages)
    install(packages, "roadrunner", "acme = beep:FAMILY", "beep", "exit()")
    told = "driver acme comes from acme-shelves and roadrunner. Uninstall all but one"
    with pytest.raises(ConfigError, match=told):
        read(tmp_path)


def test_a_package_that_is_missing_is_told_once_and_others_tables_are_read(tmp_path):
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, SETTINGS + TABLE + "[history]\ndays = -1\n")
    first, second = caught.value.problems
    assert "unknown driver, and no installed package brings it. Valid here: bridge" in str(first)
    assert "history.days" in str(second)


def test_nothing_of_a_package_is_imported_unless_a_table_names_it(tmp_path, packages):
    install(
        packages, "acme-shelves", "acme = acme_shelves:FAMILY", "acme_shelves", "raise SystemExit"
    )
    install(packages, "thief", "scale = thief:FAMILY", "thief", "exit()")
    scale = '[[device]]\ndriver = "scale"\nname = "g1.s1"\nurl = "/dev/x"\nprotocol = "sma"\n'
    [config] = read(tmp_path, SETTINGS.replace(TABLE, scale)).device
    assert type(config).__module__ == "drivers.scale.config"
