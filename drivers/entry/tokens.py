# SPDX-License-Identifier: Apache-2.0
"""Entry tokens: compact JWS signed with EdDSA (RFC 7515, RFC 8037), verified without a network.

The order of the checks: length, key id known, algorithm as the key has it (never as the token
says), signature, issuer and store, time. Whether a token was seen before is the engine's to judge,
by the hash of its id. A token never reaches a log, a message or an input.
"""

import json
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import Any, Final

import jwt

from gateway.domain.inputs import Stamp, TokenVerdict

log = logging.getLogger(__name__)

TOKEN_BYTES_MAX: Final = 1024
LIFE_S_MAX: Final = 120
"""A token that claims to live longer than this is malformed."""
ID_CHARS_MIN: Final = 12
"""72 bits in base64: below that, ids of different tokens may collide or be guessed."""
TEXT_CHARS_MAX: Final = 128
SECONDS_MAX: Final = 1 << 40
SKEW_S_MAX: Final = 300.0
"""How far a clock that nobody keeps may widen the time check; never without limit."""
AHEAD_NS_MAX: Final = 86_400_000_000_000
"""A key file that is dated later than this from now was written by a wrong clock."""
KEYS_MAX: Final = 64
JWKS_BYTES_MAX: Final = 64 * 1024
LOOK_EVERY_NS: Final = 1_000_000_000
"""The key file is looked at again at most this often."""
_JWS: Final = jwt.PyJWS(algorithms=["EdDSA"])
NS: Final = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Verified:
    """What is known of a token; all but ``verdict`` only where it is ``valid``."""

    verdict: TokenVerdict
    shopper: str | None = field(default=None, repr=False)
    token_hash: str | None = None
    expires_utc_ns: int | None = None
    """From then on the token cannot verify any more, whatever the skew."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EntryConfig:
    """Whose tokens open the gate."""

    jwks: Path
    """File with the public keys, a JSON Web Key Set (RFC 7517)."""
    issuer: str
    store: str
    """The tokens' audience."""
    skew_s: float = 5.0
    max_age_days: float = 14.0
    """A key file that was not renewed for this long opens nothing any more."""
    renew: str = "Renew the file"
    """What to do about such a file."""


class Verifier:
    """Judges entry tokens by the keys of a file, which is read again when it changes.

    The file's time of change says when its keys were known to be right.
    """

    def __init__(self, config: EntryConfig, unknown_key: Callable[[], None] = lambda: None) -> None:
        """Prepare; a missing or broken file is a warning, and opens nothing.

        Args:
            config: Whose tokens open the gate.
            unknown_key: Called where a token names a key that the file does not have.
        """
        self._config = config
        self._unknown_key = unknown_key
        self._keys: dict[str, jwt.PyJWK] = {}
        self._seen: tuple[int, int, int] | None = None
        self._looked_ns: int | None = None
        self._complaints: dict[str, str] = {}
        """What was said last about the file, and about its age."""

    def verify(self, text: str, stamp: Stamp) -> Verified:
        """Judge what a scanner read. Total: any text has a verdict.

        Args:
            text: The scan, without AIM identifier and terminator.
            stamp: When it was scanned. While its UTC is not trusted, the time check is widened by
                the clock's greatest error, and by ``SKEW_S_MAX`` where that is unknown or larger.
        """
        if not text.isascii() or len(text) > TOKEN_BYTES_MAX or text.count(".") != 2:
            return Verified("malformed")
        self._look(stamp)
        try:
            kid = jwt.get_unverified_header(text).get("kid")
        except (jwt.PyJWTError, ValueError, TypeError, RecursionError):
            return Verified("malformed")
        key = self._keys.get(kid) if isinstance(kid, str) else None
        if key is None:
            self._unknown_key()
        if key is None or self._too_old(stamp):
            return Verified("bad-signature" if key is None else "keys-too-old")
        try:
            content = _JWS.decode(text, key.key, algorithms=["EdDSA"])
        except (jwt.InvalidSignatureError, jwt.InvalidAlgorithmError):
            return Verified("bad-signature")
        except (jwt.PyJWTError, ValueError, TypeError, RecursionError):
            return Verified("malformed")
        return self._judge(content, stamp)

    def opens(self, stamp: Stamp) -> bool:
        """Tell whether any token could be valid now: there are keys, and they are young enough."""
        self._look(stamp)
        return bool(self._keys) and not self._too_old(stamp)

    def _judge(self, content: bytes, stamp: Stamp) -> Verified:
        """Judge the claims of a token whose signature holds."""
        claims = _read_claims(content)
        if claims is None:
            return Verified("malformed")
        if claims.issuer != self._config.issuer:
            return Verified("bad-signature")  # The key is not meant for this issuer.
        if self._config.store not in claims.stores:
            return Verified("other-store")
        now_s, skew_s = stamp.utc_ns / NS, self._skew_s(stamp)
        if now_s < claims.issued_s - skew_s:
            return Verified("not-yet-valid")
        if now_s > claims.expires_s + skew_s:
            return Verified("expired")
        name = f"{len(claims.issuer)}:{claims.issuer}{claims.token_id}".encode()
        return Verified(
            "valid",
            shopper=claims.subject,
            token_hash=blake2b(name, digest_size=16).hexdigest(),
            # The skew may widen after this scan, so the mark outlives the widest.
            expires_utc_ns=int((claims.expires_s + max(SKEW_S_MAX, self._config.skew_s)) * NS),
        )

    def _skew_s(self, stamp: Stamp) -> float:
        skew_s = self._config.skew_s
        if stamp.utc_trusted:
            return skew_s
        error_s = SKEW_S_MAX if stamp.utc_error_ms is None else stamp.utc_error_ms / 1_000
        return max(skew_s, min(skew_s + error_s, SKEW_S_MAX))

    def _too_old(self, stamp: Stamp) -> bool:
        assert self._seen is not None, "keys come with the time of their file"
        age_ns = stamp.utc_ns - self._seen[0]
        # A clock that nobody keeps may be behind; one that is kept says that the file's was ahead.
        ahead = stamp.utc_trusted and age_ns < -AHEAD_NS_MAX
        if not ahead and age_ns <= self._config.max_age_days * 86_400 * NS:
            return False
        problem = f"older than {self._config.max_age_days:g} days, so no entry token is valid"
        if ahead:
            problem = "dated in the future, so nobody knows how old, and no entry token is valid"
        self._complain("age", problem, self._config.renew)
        return True

    def _look(self, stamp: Stamp) -> None:
        """Read the key file again if it changed since the last look."""
        if self._looked_ns is not None and stamp.mono_ns - self._looked_ns < LOOK_EVERY_NS:
            return
        self._looked_ns = stamp.mono_ns
        try:
            stat = self._config.jwks.stat()
            seen = (stat.st_mtime_ns, stat.st_size, stat.st_ino)
            if seen == self._seen:
                return
            keys = read_jwks(self._config.jwks)
        except OSError as error:
            problem = error.strerror or "cannot be read"
            self._complain("file", problem, "The keys read before stay in use")
            return
        except ValueError as error:
            self._complain("file", str(error), "The keys read before stay in use")
            return
        self._keys, self._seen = keys, seen
        self._complaints.clear()

    def _complain(self, about: str, problem: str, remedy: str) -> None:
        """Say once what is wrong with the key file."""
        if problem != self._complaints.get(about):
            self._complaints[about] = problem
            log.warning("entry keys %s: %s. %s", self._config.jwks, problem, remedy)


def read_jwks(path: Path) -> dict[str, jwt.PyJWK]:
    """Read the Ed25519 keys of a JSON Web Key Set, by key id. Other kinds of key are left out.

    Raises:
        OSError: The file cannot be read.
        ValueError: It is no key set, or holds no usable key.
    """
    with path.open("rb") as file:
        return parse_jwks(file.read(JWKS_BYTES_MAX + 1))


def parse_jwks(content: bytes) -> dict[str, jwt.PyJWK]:
    """Return the Ed25519 keys of a JSON Web Key Set, by key id.

    Raises:
        ValueError: It is no key set, or holds no usable key.
    """
    if len(content) > JWKS_BYTES_MAX:
        raise ValueError(f"more than {JWKS_BYTES_MAX} bytes")
    try:
        document = json.loads(content)
        entries = document["keys"][:KEYS_MAX]
    except (ValueError, TypeError, KeyError, RecursionError):
        raise ValueError("not a JSON Web Key Set") from None
    keys: dict[str, jwt.PyJWK] = {}
    for entry in entries:
        key = _key(entry)
        if key is not None and key.key_id is not None:
            keys[key.key_id] = key
    if not keys:
        raise ValueError("no Ed25519 key with a key id")
    return keys


def _key(entry: Any) -> jwt.PyJWK | None:  # noqa: ANN401 - any JSON value.
    if not isinstance(entry, dict) or not isinstance(entry.get("kid"), str):
        return None
    # The algorithm belongs to the key; Ed448 and whatever else is not for entry tokens.
    if entry.get("kty") != "OKP" or entry.get("crv") != "Ed25519":
        return None
    if entry.get("alg", "EdDSA") != "EdDSA" or entry.get("use", "sig") != "sig" or "d" in entry:
        return None
    try:
        return jwt.PyJWK({name: entry.get(name) for name in ("kty", "crv", "x", "kid")}, "EdDSA")
    except (jwt.PyJWTError, ValueError, TypeError):
        return None


def _seconds(claim: Any) -> float | None:  # noqa: ANN401 - any JSON value.
    """Return a NumericDate (RFC 7519), or None when it is none."""
    if isinstance(claim, bool) or not isinstance(claim, int | float):
        return None
    return claim if 0 <= claim <= SECONDS_MAX else None


def _text(claim: Any) -> str | None:  # noqa: ANN401 - any JSON value.
    if not isinstance(claim, str) or not 1 <= len(claim) <= TEXT_CHARS_MAX:
        return None
    return claim if claim.isprintable() else None


@dataclass(frozen=True, slots=True)
class _Claims:
    """The claims of a token, complete and in form."""

    issuer: str
    stores: tuple[str, ...]
    subject: str
    token_id: str
    issued_s: float
    expires_s: float


def _read_claims(content: bytes) -> _Claims | None:
    """Return the claims, or None when one is missing or out of form."""
    try:
        claims = json.loads(content)
    except (ValueError, RecursionError):
        return None
    if not isinstance(claims, dict):
        return None
    issued_s, expires_s = _seconds(claims.get("iat")), _seconds(claims.get("exp"))
    if issued_s is None or expires_s is None or not 0 < expires_s - issued_s <= LIFE_S_MAX:
        return None
    issuer, subject, token_id = (_text(claims.get(name)) for name in ("iss", "sub", "jti"))
    if issuer is None or subject is None or token_id is None or len(token_id) < ID_CHARS_MIN:
        return None
    audience = claims.get("aud")
    stores = audience if isinstance(audience, list) else [audience]
    named = tuple(store for store in stores if isinstance(store, str))
    return _Claims(issuer, named, subject, token_id, issued_s, expires_s) if named else None
