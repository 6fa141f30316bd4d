# SPDX-License-Identifier: Apache-2.0
"""What the files of a ``tls`` table hold is looked at before anything connects."""

import os

import pytest

from gateway.cli import main
from gateway.config import ConfigError, check, load
from tests.certificates import certificate, revocations, write_key
from tests.gateway.config.files import SETTINGS

GOOD = {"ca": "authority.crt", "cert": "right.crt", "key": "right.key"}


@pytest.fixture
def made(folder):
    """An authority, two clients, and files that are none of it."""
    ours = certificate(folder, "authority")
    right = certificate(folder, "right", issuer=ours)
    certificate(folder, "other", issuer=ours)
    revocations(folder, ours, right)
    write_key(folder / "locked.key", right[0], b"a passphrase")
    (folder / "garbage.pem").write_bytes(b"\x00 no PEM \xff")
    (folder / "empty.pem").write_bytes(b"")
    head, tail = b"-----BEGIN CERTIFICATE-----\n", b"\n-----END CERTIFICATE-----\n"
    (folder / "broken.crt").write_bytes(head + b"AAAA" + tail)
    for path in folder.glob("*.key"):
        path.chmod(0o600)
    return folder


def write(folder, **files):
    lines = "".join(f'{name} = "{file}"\n' for name, file in files.items())
    text = SETTINGS.replace("[[device]]", f"[uplink.tls]\n{lines}\n[[device]]")
    (folder / "settings.toml").write_text(text)


def told(folder):
    found = check(folder / "settings.toml", folder / "store.toml")
    return [str(one).replace(f"{folder}/", "") for one in found if "uplink" in one.key]


def test_files_that_are_right_are_not_complained_of(made):
    write(made, **GOOD)
    assert told(made) == []


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"ca": "garbage.pem"}, ["8: uplink.tls.ca: holds no certificate. Name the PEM file"]),
        ({"ca": "empty.pem"}, ["8: uplink.tls.ca: holds no certificate. "]),
        ({"ca": "right.key"}, ["8: uplink.tls.ca: holds no certificate. "]),
        ({"ca": "revoked.crl"}, ["8: uplink.tls.ca: holds no certificate. "]),
        ({"ca": "none.pem"}, ["8: uplink.tls.ca: none.pem cannot be read: No such file"]),
        (
            {"cert": "right.key", "key": "right.crt"},
            ["9: uplink.tls.cert: holds no certificate. Name this client's PEM file"],
        ),
        ({"cert": "broken.crt"}, ["9: uplink.tls.cert: holds no certificate. "]),
        ({"key": "other.key"}, ["10: uplink.tls.key: is the key of another certificate. Name"]),
        ({"key": "locked.key"}, ["10: uplink.tls.key: has a passphrase. Give a key without one"]),
        ({"key": "authority.crt"}, ["10: uplink.tls.key: holds no private key. Name the PEM"]),
        ({"key": "empty.pem"}, ["10: uplink.tls.key: holds no private key. "]),
        (
            {"ca": "garbage.pem", "key": "none.key"},
            ["8: uplink.tls.ca: holds no", "10: uplink.tls.key: none.key cannot be read: No such"],
        ),
    ],
)
def test_a_file_that_cannot_be_used_is_named_by_check_and_keeps_from_starting(
    made, changed, expected
):
    for name in ("authority.crt", "empty.pem"):
        (made / name).chmod(0o600)
    write(made, **GOOD | changed)
    found = [one for one in told(made) if not one.startswith("warning: ")]
    assert len(found) == len(expected), found
    for problem, words in zip(found, expected, strict=True):
        assert problem.startswith(f"settings.toml:{words}"), problem
    with pytest.raises(ConfigError) as caught:
        load(made / "settings.toml", made / "store.toml")
    assert sum("uplink.tls" in one.key for one in caught.value.problems) == len(expected)


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_file_without_permission_is_named(made):
    (made / "right.key").chmod(0)
    write(made, **GOOD)
    [problem] = told(made)
    assert "10: uplink.tls.key: right.key cannot be read: Permission denied. Check" in problem


def test_nobody_is_asked_for_a_passphrase(made, capfd):
    write(made, **GOOD | {"key": "locked.key"})
    assert main(["check", *flags(made)]) == 1
    out, err = capfd.readouterr()
    assert "has a passphrase" in out
    assert "pass phrase" not in out + err


def test_a_key_that_others_may_read_is_warned_of(made):
    (made / "right.key").chmod(0o644)
    write(made, **GOOD)
    expected = "10: uplink.tls.key: others may read the secret. chmod 600 right.key"
    assert told(made) == [f"warning: settings.toml:{expected}"]


def flags(folder):
    return ("--settings", str(folder / "settings.toml"), "--store", str(folder / "store.toml"))
