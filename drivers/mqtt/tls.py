# SPDX-License-Identifier: Apache-2.0
"""TLS towards a broker: the one place that makes a context, and what its files may lack."""

import ssl
from pathlib import Path
from typing import Any, Literal

from drivers.mqtt.config import Tls


class TlsFileError(OSError):
    """A file of a ``tls`` table cannot be used."""

    def __init__(self, key: Literal["ca", "cert", "key"], problem: str, remedy: str) -> None:
        super().__init__(f"tls.{key}: {problem}. {remedy}")
        self.key = key
        """Which of the table's files."""
        self.problem = problem
        """For example ``holds no certificate``."""
        self.remedy = remedy


class TlsSocket(ssl.SSLSocket):
    """Remembers the alert that ended it: with TLS 1.3 it comes after the handshake."""

    alert: str | None = None
    """As OpenSSL names it."""

    def recv(self, buflen: int = 1_024, flags: int = 0) -> bytes:
        """Receive as any socket; see ``alert``."""
        try:
            return super().recv(buflen, flags)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            raise
        except ssl.SSLError as error:
            self.alert = error.reason
            raise


class Context(ssl.SSLContext):
    """Remembers its socket, because paho leaves it open when the handshake fails."""

    sslsocket_class = TlsSocket
    wrapped: ssl.SSLSocket | None = None

    @classmethod
    def of(cls, tls: Tls) -> "Context":
        """Return a context that checks certificate and host name, with the files of a table.

        Raises:
            TlsFileError: The first file that cannot be used.
        """
        context = cls(ssl.PROTOCOL_TLS_CLIENT)  # Checks certificate and host name.
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.trust(tls)
        context.prove(tls)
        return context

    def trust(self, tls: Tls) -> None:
        """Take the authorities.

        Raises:
            TlsFileError: Their file cannot be used.
        """
        if tls.ca is None:
            self.load_default_certs()
            return
        _readable("ca", tls.ca)
        if not _holds_certificate(self, tls.ca):
            raise TlsFileError("ca", "holds no certificate", "Name the PEM file of the authority")

    def prove(self, tls: Tls) -> None:
        """Take this client's certificate and key, where there are any.

        Raises:
            TlsFileError: One of the two files cannot be used.
        """
        if tls.certificate is None:
            return
        _readable("cert", tls.certificate)
        if tls.key is not None:
            _readable("key", tls.key)
        try:
            self.load_cert_chain(tls.certificate, tls.key, password=_locked)
        except _LockedKeyError:
            remedy = "Give a key without one, mode 0600"
            raise TlsFileError("key", "has a passphrase", remedy) from None
        except OSError as error:
            raise _of_chain(error, tls.certificate) from error

    def wrap_socket(self, *args: Any, **kwargs: Any) -> ssl.SSLSocket:  # noqa: ANN401
        """Wrap as any context; see ``wrapped``."""
        self.wrapped = super().wrap_socket(*args, **kwargs)
        return self.wrapped


def file_problems(tls: Tls) -> list[TlsFileError]:
    """Return what is wrong with the files of a table: of the authorities, and of its own."""
    found = []
    for load in (Context.trust, Context.prove):
        try:
            load(Context(ssl.PROTOCOL_TLS_CLIENT), tls)
        except TlsFileError as error:
            found.append(error)
    return found


def _readable(key: Literal["ca", "cert", "key"], path: str) -> None:
    try:
        with Path(path).open("rb"):
            return
    except OSError as error:
        problem = f"{path} cannot be read: {error.strerror or type(error).__name__}"
        raise TlsFileError(key, problem, "Check the path and permissions") from error


def _of_chain(error: OSError, certificate: str) -> TlsFileError:
    """Return which file is meant by OpenSSL, which tells of both alike."""
    if not _holds_certificate(Context(ssl.PROTOCOL_TLS_CLIENT), certificate):
        return TlsFileError("cert", "holds no certificate", "Name this client's PEM file")
    match error:
        case ssl.SSLError(reason="KEY_VALUES_MISMATCH" | "KEY_TYPE_MISMATCH"):
            remedy = "Name the key that tls.cert was made for"
            return TlsFileError("key", "is the key of another certificate", remedy)
        case ssl.SSLError(reason=str(reason)) if reason.startswith(("CA_", "EE_")):
            return TlsFileError("cert", f"is too weak ({reason})", "Have a stronger one made")
    return TlsFileError("key", "holds no private key", "Name the PEM file of tls.cert's key")


def _holds_certificate(context: ssl.SSLContext, path: str) -> bool:
    before = context.cert_store_stats()["x509"]
    try:
        context.load_verify_locations(cafile=path)
    except OSError:
        return False
    return context.cert_store_stats()["x509"] > before  # A list of revocations loads as well.


def _locked() -> str:
    """Answer OpenSSL's question for a passphrase, which would else be put to the terminal."""
    raise _LockedKeyError


class _LockedKeyError(OSError):
    """A private key that nobody is there to unlock."""
