# SPDX-License-Identifier: Apache-2.0
"""Laws about the code itself that no linter knows: imports, licences, names, sizes."""

import argparse
import ast
import re
import subprocess
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LINES_MAX = 500
FUNCTION_LINES_MAX = 60


@cache
def tracked():
    """Return the files of the repository, those not yet added included."""
    done = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT,
        capture_output=True,
        check=False,
    )
    if done.returncode:  # An archive without its history.
        skip = {".venv", ".git", "__pycache__", ".mypy_cache", ".ruff_cache", ".pytest_cache"}
        files = [path for path in ROOT.rglob("*") if not skip & set(path.parts)]
    else:
        files = [ROOT / name for name in done.stdout.decode().split("\0") if name]
    return sorted(path for path in files if path.is_file())


def sources(*folders):
    """Return Python files under folders of the repository."""
    tops = folders or ("gateway", "drivers", "vision", "tests")
    return [
        path
        for path in tracked()
        if path.suffix == ".py" and path.relative_to(ROOT).parts[0] in tops
    ]


def name_of(path):
    return path.relative_to(ROOT).as_posix()


@cache
def tree_of(path):
    return ast.parse(path.read_text("utf-8"))


def imports_of(path):
    """Return every module that a file imports, wherever in it."""
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name_of(path)}: relative import. Write the whole name"
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def under(name, package):
    return name == package or name.startswith(f"{package}.")


# Imports.

STANDARD_AND_PURE = {
    "abc",
    "base64",
    "bisect",
    "collections",
    "dataclasses",
    "datetime",
    "enum",
    "functools",
    "hashlib",
    "heapq",
    "itertools",
    "math",
    "operator",
    "re",
    "types",
    "typing",
}


def test_the_domain_is_pure():
    for path in sources("gateway"):
        if not under(name_of(path), "gateway") and "gateway/domain/" not in name_of(path):
            continue
        for name in imports_of(path):
            top = name.split(".")[0]
            allowed = STANDARD_AND_PURE | {"msgspec", "numpy", "gateway"}
            assert top in allowed, f"{name_of(path)} imports {name}"
            if top == "gateway" and name != "gateway":
                assert under(name, "gateway.domain"), f"{name_of(path)} imports {name}"


def test_the_domain_asks_no_clock_and_no_chance():
    forbidden = {("datetime", "now"), ("datetime", "utcnow"), ("datetime", "today")}
    forbidden |= {("np", "random"), ("numpy", "random"), ("os", "environ")}
    for path in sources("gateway"):
        if "gateway/domain/" not in name_of(path):
            continue
        for node in ast.walk(tree_of(path)):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                pair = (node.value.id, node.attr)
                assert pair not in forbidden, f"{name_of(path)}:{node.lineno} uses {pair}"


ONE_PLACE = {
    "aiosqlite": "gateway/database.py",
    "amqtt": "drivers/mqtt/",
    "biip": "drivers/labels/",
    "cv2": "vision/",
    "jwt": "drivers/entry/",
    "ncnn": "vision/detectors/ncnn.py",
    "onnx": "vision/yolo/",
    "onnxruntime": "vision/detectors/onnx.py",
    "openvino": "vision/detectors/openvino.py",
    "paho": "drivers/mqtt/",
    "psycopg": "gateway/simulator/postgres.py",
    "pymodbus": "drivers/modbus/",
    "serial": "drivers/serial_port.py",
    "torch": "vision/yolo/",
    "torchvision": "vision/yolo/",
    "ultralytics": "vision/yolo/",
    "zxingcpp": "vision/codes.py",
}
"""Where each library of hardware or network may appear. Simulated devices sign their own tokens."""
ALSO = {"jwt": "gateway/simulator/", "pymodbus": "gateway/simulator/"}


@pytest.mark.parametrize("library", sorted(ONE_PLACE))
def test_a_library_appears_in_one_place(library):
    places = (ONE_PLACE[library], ALSO.get(library, ONE_PLACE[library]))
    for path in sources("gateway", "drivers", "vision"):
        for name in imports_of(path):
            if under(name, library):
                assert name_of(path).startswith(places), f"{name_of(path)} imports {name}"


def test_upstream_hops_do_not_import_downstream_ones():
    """Drivers and vision know the domain and the ports, never the daemon around them."""
    for path in sources("drivers", "vision"):
        for name in imports_of(path):
            if under(name, "gateway") and name != "gateway":
                assert under(name, "gateway.domain"), f"{name_of(path)} imports {name}"
            if under(name, "drivers") and name_of(path).startswith("vision/"):
                allowed = under(name, "drivers.ports") or under(name, "drivers.errors")
                assert allowed or name == "drivers", f"{name_of(path)} imports {name}"


EXAM_MAY_KNOW = {"inputs", "store", "gtin"}
"""Of the domain: contracts, no way of deciding."""
EXAM_RUNS_THE_ENGINE = {"examinee.py": {"engine", "events"}, "evaluate.py": {"events"}}


def test_the_exam_shares_nothing_with_the_engine_but_the_contracts():
    """Otherwise it would flatter whatever the engine assumes."""
    files = [path for path in sources("gateway") if "gateway/simulator/exam/" in name_of(path)]
    assert len(files) > 15
    for path in files:
        allowed = EXAM_MAY_KNOW | EXAM_RUNS_THE_ENGINE.get(path.name, set())
        for name in imports_of(path):
            if under(name, "gateway.domain") and name != "gateway.domain":
                module = name.split(".")[2]
                assert module in allowed, f"{name_of(path)} imports {name}"


ROOTS = {"gateway/app.py", "gateway/cli.py", "gateway/vision_link.py"}
"""Where things are put together: the daemon, the command line, the vision worker's process."""


def test_the_daemon_does_not_import_torch_even_through_others():
    """Follow every import from the daemon, but those inside functions: they are asked for."""
    seen, todo = set(), ["gateway.app"]
    while todo:
        module = todo.pop()
        path = ROOT / (module.replace(".", "/") + ".py")
        if not path.exists():
            path = ROOT / module.replace(".", "/") / "__init__.py"
        if module in seen or not path.exists():
            continue
        seen.add(module)
        for node in tree_of(path).body:
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
            for name in names:
                top = name.split(".")[0]
                assert top not in {"torch", "ultralytics", "cv2"}, f"{module} imports {name}"
                if top in {"gateway", "drivers", "vision"}:
                    todo.append(name)


def test_only_the_roots_know_the_composition_root():
    for path in sources("gateway", "drivers", "vision"):
        if name_of(path) in ROOTS:
            continue
        for name in imports_of(path):
            assert not under(name, "gateway.app"), f"{name_of(path)} imports {name}"


# Licences.


def test_every_python_file_says_its_licence_first():
    for path in sources():
        agpl = name_of(path).startswith(("vision/yolo/", "tests/vision/yolo/"))
        first = path.read_text("utf-8").partition("\n")[0]
        expected = "AGPL-3.0-or-later" if agpl else "Apache-2.0"
        assert first == f"# SPDX-License-Identifier: {expected}", name_of(path)


def test_both_licence_texts_are_there():
    names = {path.stem for path in (ROOT / "LICENSES").glob("*.txt")}
    assert names == {"Apache-2.0", "AGPL-3.0-or-later"}


def test_every_model_says_its_licence_beside_it():
    for path in tracked():
        if path.suffix in {".onnx", ".pt"}:
            beside = path.with_name(path.name + ".license")
            assert "AGPL-3.0-or-later" in beside.read_text("utf-8"), name_of(path)


# Habits.


def test_no_task_is_made_outside_a_group():
    for path in sources("gateway", "drivers", "vision"):
        for node in ast.walk(tree_of(path)):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
                continue
            bare = node.func.attr in {"create_task", "ensure_future"}
            owner = ast.unparse(node.func.value)
            assert not bare or owner not in {"asyncio", "loop"}, (
                f"{name_of(path)}:{node.lineno}: {owner}.{node.func.attr}. Use a task group"
            )
            if node.func.attr == "create_task":
                named = any(keyword.arg == "name" for keyword in node.keywords)
                assert named, f"{name_of(path)}:{node.lineno}: a task without a name"


def test_no_error_is_swallowed_without_a_word():
    for path in sources("gateway", "drivers", "vision"):
        for node in ast.walk(tree_of(path)):
            if not isinstance(node, ast.ExceptHandler):
                continue
            caught = "everything" if node.type is None else ast.unparse(node.type)
            wide = caught in {"everything", "Exception", "BaseException"}
            silent = all(isinstance(item, ast.Pass) for item in node.body)
            assert not (wide and silent), f"{name_of(path)}:{node.lineno} swallows {caught}"
            cancelled = "CancelledError" in caught or caught in {"everything", "BaseException"}
            passed_on = any(
                isinstance(item, ast.Raise)
                or (isinstance(item, ast.Name) and item.id == node.name is not None)
                for item in ast.walk(node)
            )
            assert not cancelled or passed_on, f"{name_of(path)}:{node.lineno} swallows {caught}"


def test_types_are_ignored_with_a_code_and_a_reason():
    for path in sources("gateway", "drivers", "vision"):
        reasoned = 0
        for number, line in enumerate(path.read_text("utf-8").splitlines(), 1):
            if "type: ignore" not in line:
                continue
            # One reason serves the lines that follow it directly.
            coded = re.search(r"type: ignore\[[a-z, -]+\]( *#? *-? *\S)?", line)
            assert coded, f"{name_of(path)}:{number}: give the code"
            assert coded[1] or reasoned == number - 1, f"{name_of(path)}:{number}: give the reason"
            reasoned = number


def test_files_and_functions_stay_small():
    for path in sources("gateway", "drivers", "vision"):
        lines = path.read_text("utf-8").count("\n")
        assert lines < LINES_MAX, f"{name_of(path)} has {lines} lines. Split it"
        for node in ast.walk(tree_of(path)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                length = node.end_lineno - node.lineno + 1
                place = f"{name_of(path)}:{node.lineno} {node.name}"
                assert length < FUNCTION_LINES_MAX, f"{place} has {length} lines. Split it"


def test_asserts_are_on():
    assert __debug__


# The repository.

TOP_LEVEL = {
    ".ci",
    ".gitignore",
    "ARCHITECTURE.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "LICENSES",
    "Makefile",
    "README.md",
    "docs",
    "drivers",
    "fixtures",
    "gateway",
    "pyproject.toml",
    "systemd",
    "tests",
    "vision",
}


def test_the_top_level_holds_what_it_should():
    found = {path.relative_to(ROOT).parts[0] for path in tracked()}
    assert found == TOP_LEVEL


def test_no_address_of_a_package_registry_is_written_down():
    words = [r"pypi\.org", r"pythonhosted", r"registry\.npmjs", r"--(extra-)?index-url"]
    pattern = re.compile("|".join(words) + r'|"resolved":')
    for path in tracked():
        if path == Path(__file__) or path.suffix in {".onnx", ".png", ".jpg", ".mp4", ".gz"}:
            continue
        found = pattern.search(path.read_text("utf-8", errors="replace"))
        assert found is None, f"{name_of(path)} holds {found[0]}"


def test_every_requirement_is_pinned_exactly():
    lines = (ROOT / ".ci" / "constraints.txt").read_text("utf-8").splitlines()
    pins = [line for line in lines if line and not line.startswith("#")]
    assert len(pins) > 50
    for line in pins:
        assert re.fullmatch(r"[a-z0-9-]+==[0-9][\w.]*(; platform_machine == \"\w+\")?", line), line


def test_contributing_stays_short():
    assert len((ROOT / "CONTRIBUTING.md").read_text("utf-8").splitlines()) <= 40


def test_links_between_documents_lead_somewhere():
    for path in tracked():
        if path.suffix != ".md":
            continue
        for link in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", path.read_text("utf-8")):
            if "://" not in link:
                assert (path.parent / link).exists(), f"{name_of(path)} links to {link}"


def test_every_make_target_is_documented():
    makefile = (ROOT / "Makefile").read_text("utf-8")
    [targets] = re.findall(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)
    texts = [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
    told = "\n".join(path.read_text("utf-8") for path in texts)
    for target in set(targets.split()) - {"help"}:
        assert f"make {target}" in told, f"make {target} is in no document"


def test_every_command_is_documented_and_gives_an_example():
    from gateway.cli import _parser

    texts = [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
    told = "\n".join(path.read_text("utf-8") for path in texts)
    actions = _parser(None)._actions
    [commands] = [action for action in actions if isinstance(action, argparse._SubParsersAction)]
    for name, parser in commands.choices.items():
        assert f"shelfgate {name}" in told, f"shelfgate {name} is in no document"
        assert parser.epilog, f"shelfgate {name} --help gives no example"
        assert "Example" in parser.epilog
        assert parser.description, f"shelfgate {name} --help does not say what it is for"


def test_every_test_of_the_fault_matrix_is_there():
    matrix = (ROOT / "docs" / "reliability.md").read_text("utf-8")
    named = re.findall(r"`([a-z0-9_/]+\.py)::(test_\w+)`", matrix)
    assert len(named) > 50
    for file, test in named:
        path = ROOT / "tests" / file
        defined = {
            node.name for node in ast.walk(tree_of(path)) if isinstance(node, ast.FunctionDef)
        }
        assert test in defined, f"docs/reliability.md: {file} has no {test}"
