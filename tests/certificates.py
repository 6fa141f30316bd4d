# SPDX-License-Identifier: Apache-2.0
"""Authorities and certificates for tests, made on the spot."""

import datetime as dt
from ipaddress import ip_address

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

DAY = dt.timedelta(days=1)


def certificate(folder, name, *, issuer=None, host="127.0.0.1", days=1):
    """Write a key and a certificate; return ``(key, certificate, certificate's path)``.

    Args:
        folder: Gets ``<name>.crt`` and ``<name>.key``.
        name: Its common name.
        issuer: What this returned for an authority; None makes an authority.
        host: The address it is for; None: a name that nothing here has.
        days: How long it is valid from now on; below 0 it has expired.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    signer, issued_by = (key, subject) if issuer is None else (issuer[0], issuer[1].subject)
    now = dt.datetime.now(dt.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issued_by)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - 9 * DAY)
        .not_valid_after(now + days * DAY)
        .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    if issuer is None:
        usage = dict.fromkeys(
            (
                *("digital_signature", "content_commitment", "key_encipherment"),
                *("data_encipherment", "key_agreement", "encipher_only", "decipher_only"),
            ),
            False,
        )
        builder = builder.add_extension(
            x509.KeyUsage(key_cert_sign=True, crl_sign=True, **usage), critical=True
        )
    else:
        names = x509.SubjectAlternativeName(
            [x509.DNSName("broker.example")] if host is None else [x509.IPAddress(ip_address(host))]
        )
        authority = x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key())
        builder = builder.add_extension(names, critical=False).add_extension(
            authority, critical=False
        )
    made = builder.sign(signer, hashes.SHA256())
    path = folder / f"{name}.crt"
    path.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    write_key(folder / f"{name}.key", key)
    return key, made, path


def write_key(path, key, password=None):
    """Write a private key, encrypted where there is a password."""
    lock = serialization.NoEncryption()
    if password is not None:
        lock = serialization.BestAvailableEncryption(password)
    path.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, lock)
    )


def revocations(folder, issuer, *revoked):
    """Write an authority's list of revoked certificates; return its path."""
    now = dt.datetime.now(dt.UTC)
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(issuer[1].subject)
        .last_update(now - DAY)
        .next_update(now + DAY)
    )
    for _, one, _ in revoked:
        entry = x509.RevokedCertificateBuilder().serial_number(one.serial_number)
        builder = builder.add_revoked_certificate(entry.revocation_date(now - DAY).build())
    path = folder / "revoked.crl"
    made = builder.sign(issuer[0], hashes.SHA256())
    path.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    return path


def tls_lines(folder, server):
    """Return Mosquitto's lines for a server certificate of ``authority``."""
    return (
        f"cafile {folder / 'authority.crt'}",
        f"certfile {folder / f'{server}.crt'}",
        f"keyfile {folder / f'{server}.key'}",
    )
