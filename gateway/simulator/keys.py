# SPDX-License-Identifier: Apache-2.0
"""The other side of the entry: keys, and the tokens that shoppers hold to the scanner.

Tokens are compact JWS with EdDSA (RFC 7515, RFC 8037), written here by hand so that the gateway's
verifier meets what it did not make.
"""

import base64
import json
import secrets
import time
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

ISSUER = "shelfgate-simulator"
LIFE_S = 45
JWKS_NAME = "entry.jwks.json"
KEY_NAME = "entry.pem"


class TokenMaker:
    """Signs entry tokens of one store."""

    def __init__(self, store: str, key: Ed25519PrivateKey) -> None:
        self._store = store
        self._key = key
        public = _text(key.public_key().public_bytes_raw())
        self._kid = public[:12]
        self.jwks = {
            "keys": [
                {
                    "kty": "OKP",
                    "crv": "Ed25519",
                    "alg": "EdDSA",
                    "use": "sig",
                    "kid": self._kid,
                    "x": public,
                }
            ]
        }

    @classmethod
    def in_directory(cls, store: str, directory: Path) -> "TokenMaker":
        """Read the key of a directory, or make one there with its public half as a JWKS file."""
        directory.mkdir(parents=True, exist_ok=True)
        file = directory / KEY_NAME
        if file.exists():
            key = load_pem_private_key(file.read_bytes(), password=None)
            if not isinstance(key, Ed25519PrivateKey):
                raise ValueError(f"{file}: not an Ed25519 key. Remove it to have one made")
        else:
            key = Ed25519PrivateKey.generate()
            file.touch(mode=0o600)
            file.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        maker = cls(store, key)
        (directory / JWKS_NAME).write_text(json.dumps(maker.jwks, indent=1) + "\n")
        return maker

    def token(self, shopper: str) -> str:
        """Return a fresh token that lets a shopper in once, within ``LIFE_S`` seconds."""
        now = int(time.time())
        header = {"alg": "EdDSA", "kid": self._kid, "typ": "JWT"}
        claims = {
            "iss": ISSUER,
            "aud": self._store,
            "sub": shopper,
            "jti": secrets.token_urlsafe(16),
            "iat": now,
            "exp": now + LIFE_S,
        }
        signed = ".".join(
            _text(json.dumps(part, separators=(",", ":")).encode()) for part in (header, claims)
        )
        return f"{signed}.{_text(self._key.sign(signed.encode()))}"


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
