# SPDX-License-Identifier: Apache-2.0
"""Entry tokens: only a fresh one of our issuer, for our store, signed by a known key, is valid."""

import base64
import json
import logging
import os
from pathlib import Path

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ed448
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from drivers.entry.tokens import SKEW_S_MAX, EntryConfig, Verifier, read_jwks
from gateway.domain.inputs import Stamp

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
OTHER_KEY = Ed25519PrivateKey.from_private_bytes(bytes(32))
NOW_S = 1_795_000_000
JTI = "AAECAwQFBgcICQoL"


def b64(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def public(key, kid, **more):
    raw = key.public_key().public_bytes_raw()
    return {"kty": "OKP", "crv": "Ed25519", "kid": kid, "x": b64(raw)} | more


def claims(**changes):
    made = {
        "iss": "https://id.example",
        "aud": "corner",
        "sub": "shopper-1",
        "jti": JTI,
        "iat": NOW_S,
        "exp": NOW_S + 30,
    } | changes
    return {name: value for name, value in made.items() if value is not ...}


def token(key=KEY, kid="k1", headers=None, **changes):
    headers = {"kid": kid} | (headers or {})
    return jwt.encode(claims(**changes), key, algorithm="EdDSA", headers=headers)


def raw_token(payload, header=None, key=KEY):
    head = b64(json.dumps(header or {"alg": "EdDSA", "kid": "k1"}).encode())
    body = b64(payload)
    return f"{head}.{body}.{b64(key.sign(f'{head}.{body}'.encode()))}"


def write_keys(path, *keys, age_s=0.0):
    path.write_text(json.dumps({"keys": list(keys)}))
    os.utime(path, (NOW_S - age_s, NOW_S - age_s))


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "keys.json"
    write_keys(path, public(KEY, "k1"), public(OTHER_KEY, "k2"))
    return EntryConfig(jwks=path, issuer="https://id.example", store="corner")


@pytest.fixture
def verifier(config):
    return Verifier(config)


def at(offset_s=0.0, *, mono_s=0.0, trusted=True, error_ms=1):
    utc_ns = NOW_S * 10**9 + int(offset_s * 10**9)
    return Stamp(int(mono_s * 10**9), utc_ns, trusted, error_ms, "boot")


def test_a_good_token_is_valid_and_names_the_shopper(verifier):
    verified = verifier.verify(token(), at())
    assert verified.verdict == "valid"
    assert verified.shopper == "shopper-1"
    assert len(verified.token_hash) == 32
    assert "shopper" not in repr(verified)
    assert JTI not in repr(verified)


def test_the_hash_follows_issuer_and_id_alone(verifier):
    first = verifier.verify(token(), at()).token_hash
    assert verifier.verify(token(sub="shopper-2", iat=NOW_S - 1), at()).token_hash == first
    assert verifier.verify(token(jti=JTI[::-1]), at()).token_hash != first


def test_the_mark_outlives_every_skew_with_which_the_token_could_verify(verifier):
    expires_ns = verifier.verify(token(), at()).expires_utc_ns
    after_s = expires_ns / 1e9 - NOW_S + 0.001
    late = at(after_s, trusted=False, error_ms=None)
    assert verifier.verify(token(), late).verdict == "expired"


@pytest.mark.parametrize(
    ("changes", "verdict"),
    [
        ({"aud": "other"}, "other-store"),
        ({"aud": ["other", "elsewhere"]}, "other-store"),
        ({"aud": ["other", "corner"]}, "valid"),
        ({"aud": "Corner"}, "other-store"),
        ({"aud": []}, "malformed"),
        ({"aud": ...}, "malformed"),
        ({"aud": 5}, "malformed"),
        ({"iss": "https://evil.example"}, "bad-signature"),
        ({"iss": ...}, "malformed"),
        ({"sub": ...}, "malformed"),
        ({"sub": ""}, "malformed"),
        ({"sub": "x" * 129}, "malformed"),
        ({"sub": "a\x1b[31m"}, "malformed"),
        ({"jti": ...}, "malformed"),
        ({"jti": "short"}, "malformed"),
        ({"jti": "\ud800" * 16}, "malformed"),
        ({"iat": ...}, "malformed"),
        ({"exp": ...}, "malformed"),
        ({"exp": NOW_S}, "malformed"),
        ({"exp": NOW_S + 121}, "malformed"),
        ({"exp": NOW_S + 120}, "valid"),
        ({"iat": NOW_S + 3600, "exp": NOW_S + 3630}, "not-yet-valid"),
        ({"iat": 2**40, "exp": 2**40 + 30}, "malformed"),
    ],
)
def test_each_claim_counts(verifier, changes, verdict):
    made = raw_token(json.dumps(claims(**changes)).encode())
    assert verifier.verify(made, at()).verdict == verdict


@pytest.mark.parametrize(
    "number", ["NaN", "Infinity", "-1", "true", '"1795000000"', "null", "1e999", "9" * 400]
)
@pytest.mark.parametrize("name", ["iat", "exp"])
def test_times_that_are_no_dates_are_malformed(verifier, name, number):
    payload = json.dumps(claims(**{name: "@"})).replace('"@"', number).encode()
    assert verifier.verify(raw_token(payload), at()).verdict == "malformed"


@pytest.mark.parametrize(
    ("offset_s", "verdict"),
    [(-5.1, "not-yet-valid"), (-4.9, "valid"), (34.9, "valid"), (35.1, "expired")],
)
def test_a_trusted_clock_allows_the_configured_skew(verifier, offset_s, verdict):
    assert verifier.verify(token(), at(offset_s)).verdict == verdict


@pytest.mark.parametrize(
    ("error_ms", "offset_s", "verdict"),
    [
        (2_000, 36.9, "valid"),
        (2_000, 37.1, "expired"),
        (None, 30 + SKEW_S_MAX - 1, "valid"),
        (None, 30 + SKEW_S_MAX + 1, "expired"),
        (None, -SKEW_S_MAX - 1, "not-yet-valid"),
        (10**9, 30 + SKEW_S_MAX + 1, "expired"),
    ],
)
def test_an_untrusted_clock_widens_it_but_never_without_limit(
    verifier, error_ms, offset_s, verdict
):
    stamp = at(offset_s, trusted=False, error_ms=error_ms)
    assert verifier.verify(token(), stamp).verdict == verdict


def hmac_with_public_key():
    """The classic confusion: an HMAC whose secret is the public key."""
    head = b64(b'{"alg":"HS256","kid":"k1"}')
    body = b64(json.dumps(claims()).encode())
    secret = KEY.public_key().public_bytes_raw()
    signature = jwt.algorithms.HMACAlgorithm(jwt.algorithms.HMACAlgorithm.SHA256).sign(
        f"{head}.{body}".encode(), secret
    )
    return f"{head}.{body}.{b64(signature)}"


FORGED = {
    "another key": lambda: token(OTHER_KEY),
    "unknown kid": lambda: token(kid="k9"),
    "no kid": lambda: raw_token(json.dumps(claims()).encode(), {"alg": "EdDSA"}),
    "alg none": lambda: b64(b'{"alg":"none","kid":"k1"}') + "." + token().split(".")[1] + ".",
    "alg HS256": hmac_with_public_key,
    "alg ES256": lambda: raw_token(json.dumps(claims()).encode(), {"alg": "ES256", "kid": "k1"}),
    "signature cut": lambda: token()[:-8],
    "claims swapped": lambda: ".".join(
        [*token().split(".")[:1], token(sub="thief").split(".")[1], token().split(".")[2]]
    ),
}


@pytest.mark.parametrize("name", FORGED)
def test_forgeries_are_refused(verifier, name):
    verified = verifier.verify(FORGED[name](), at())
    assert verified.verdict in ("bad-signature", "malformed")
    assert verified.shopper is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "4006381333931",
        "https://id.gs1.org/01/09521321123453",
        "..",
        "a.b.c",
        "é.b.c",
        "." * 1024,
        "x" * 2000 + ".y.z",
        b64(b"[" * 700) + ".b.c",
        b64(b'{"alg":"EdDSA","kid":{}}') + ".b.c",
        b64(b'{"alg":"EdDSA","kid":"k1","crit":["x"]}') + ".b.c",
        b64(b"\xff\xff") + ".b.c",
    ],
    ids=range(12),
)
def test_whatever_else_is_scanned_is_refused(verifier, text):
    assert verifier.verify(text, at()).verdict in ("malformed", "bad-signature")


@pytest.mark.parametrize("payload", [b"", b"[]", b"[" * 600, b"\xff", b'{"iss":1}', b"null"])
def test_a_signed_payload_that_is_no_set_of_claims_is_malformed(verifier, payload):
    assert verifier.verify(raw_token(payload), at()).verdict == "malformed"


def test_the_length_limit_is_1_kb(verifier):
    long = token(cart="x" * 700)
    assert len(long) > 1024
    assert verifier.verify(long, at()).verdict == "malformed"


@given(st.text(max_size=200))
def test_any_text_has_a_verdict(text):
    config = EntryConfig(jwks=Path("/nonexistent/keys.json"), issuer="i", store="s")
    assert Verifier(config).verify(text, at()).verdict in ("malformed", "bad-signature")


@given(st.integers(0, 273), st.integers(1, 255))
def test_any_changed_byte_is_refused(tmp_path_factory, position, flip):
    path = tmp_path_factory.getbasetemp() / "flip.json"
    if not path.exists():
        write_keys(path, public(KEY, "k1"))
    verifier = Verifier(EntryConfig(jwks=path, issuer="https://id.example", store="corner"))
    good = token().encode()
    position %= len(good)
    text = (good[:position] + bytes([good[position] ^ flip]) + good[position + 1 :]).decode(
        "latin-1"
    )
    # The last character of each part may carry unused bits.
    if _decoded(text) != _decoded(good.decode()):
        assert verifier.verify(text, at()).verdict != "valid"


def _decoded(text):
    try:
        return [base64.urlsafe_b64decode(part + "==") for part in text.split(".")]
    except ValueError:
        return None


def test_keys_are_read_again_when_the_file_changes(config):
    verifier = Verifier(config)
    assert verifier.verify(token(kid="k3"), at(mono_s=0)).verdict == "bad-signature"
    write_keys(config.jwks, public(KEY, "k3"), age_s=-1)
    assert verifier.verify(token(kid="k3"), at(mono_s=0.5)).verdict == "bad-signature"
    assert verifier.verify(token(kid="k3"), at(mono_s=1.5)).verdict == "valid"
    assert verifier.verify(token(kid="k1"), at(mono_s=1.5)).verdict == "bad-signature"


def test_a_file_that_breaks_leaves_the_keys_in_use_and_says_so_once(config, caplog):
    verifier = Verifier(config)
    assert verifier.verify(token(), at(mono_s=0)).verdict == "valid"
    config.jwks.write_text("{")
    for second in range(2, 5):
        assert verifier.verify(token(), at(mono_s=second)).verdict == "valid"
    config.jwks.unlink()
    assert verifier.verify(token(), at(mono_s=6)).verdict == "valid"
    messages = [record.getMessage() for record in caplog.records]
    assert len(messages) == 2
    assert "not a JSON Web Key Set" in messages[0]
    assert "No such file" in messages[1]


def test_keys_that_were_not_renewed_open_nothing(config):
    write_keys(config.jwks, public(KEY, "k1"), age_s=15 * 86_400)
    assert Verifier(config).verify(token(), at()).verdict == "keys-too-old"
    write_keys(config.jwks, public(KEY, "k1"), age_s=13 * 86_400)
    assert Verifier(config).verify(token(), at()).verdict == "valid"


@pytest.mark.parametrize(
    "keys",
    [
        "nothing",
        [],
        [5],
        [{"kty": "oct", "kid": "k1", "k": "AAAA"}],
        [public(KEY, "k1") | {"alg": "ES256"}],
        [public(KEY, "k1") | {"use": "enc"}],
        [public(KEY, "k1") | {"x": "AA"}],
        [public(KEY, "k1") | {"x": 5}],
        [public(KEY, "k1") | {"kid": 5}],
        [public(KEY, "k1") | {"d": "secret"}],
        [
            public(KEY, "k1")
            | {
                "crv": "Ed448",
                "x": b64(ed448.Ed448PrivateKey.generate().public_key().public_bytes_raw()),
            }
        ],
    ],
    ids=range(11),
)
def test_only_ed25519_keys_with_an_id_are_taken(tmp_path, keys):
    path = tmp_path / "keys.json"
    path.write_text(json.dumps({"keys": keys}))
    with pytest.raises(ValueError, match=r"no Ed25519 key|not a JSON Web Key Set"):
        read_jwks(path)


def test_a_key_file_has_a_limit(tmp_path):
    path = tmp_path / "keys.json"
    path.write_text(" " * 70_000)
    with pytest.raises(ValueError, match="more than 65536 bytes"):
        read_jwks(path)


def test_no_token_reaches_a_log(verifier, caplog):
    caplog.set_level(logging.DEBUG)
    for made in (token(), token(OTHER_KEY), token(kid="k9"), "a.b.c"):
        verifier.verify(made, at())
        assert made not in caplog.text
