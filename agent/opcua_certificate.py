"""The gateway's own OPC UA certificate: what servers know it by. Application instance certificate of OPC 10000-6, 6.2.2.

It lies in the state directory (`opcua/own.der`, its key `opcua/own.key` with mode 0600) and is no part of the seal: a
server lets this gateway in by it, records are signed by another key. It signs itself; a server believes it because a
person has moved it to the server's folder of trusted certificates.

It holds for twenty years: where it ends, reading ends, and an authority that could renew it is seldom found in a plant.
It holds from a day before it is made, as a server whose clock is behind refuses what does not hold yet.
"""

from __future__ import annotations

import platform
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from agent.keys import KeyFileError, keep_private, read_private
from config.language import N_, _

FOLDER = "opcua"
CERTIFICATE_FILE = "own.der"
KEY_FILE = "own.key"
_YEARS = 20
_BITS = 2048  # the largest that every policy and every old server takes (OPC 10000-7: 2048 to 4096)
_FIRST_TRUE_YEAR = 2025
_MAKE = N_("Run `meterseal init --opcua`.")


@dataclass(frozen=True, slots=True)
class OwnCertificate:
    """The gateway's certificate with its key.

    Attributes:
        path, key_path: where the two lie: DER, and PEM.
        certificate: DER.
        application: the application URI in it; a client must state the same one (OPC 10000-4, 5.6.2).
        fingerprint: SHA-256 of the DER, hexadecimal.
        until: when it ends.
    """

    path: Path
    key_path: Path
    certificate: bytes
    application: str
    fingerprint: str
    until: datetime


def application_uri(host: str, gateway: str) -> str:
    """The name of this gateway among all OPC UA applications: `urn:HOST:meterseal:SITE:GATEWAY`."""
    plain = re.sub(r"[^A-Za-z0-9.-]", "-", host) or "gateway"
    return f"urn:{plain}:meterseal:{gateway.replace('/', ':')}"


def make_certificate(state: Path, gateway: str, host: str = "", now: datetime | None = None) -> OwnCertificate:
    """A new key and certificate in the state directory. Never overwrites one.

    Args:
        state: the state directory.
        gateway: site and gateway as in the site file.
        host: the machine's name, else as the system says.
        now: the time, else the system's.

    Raises:
        KeyFileError: there is one already, or the gateway's clock is not set.
    """
    now = now or datetime.now(UTC)
    if now.year < _FIRST_TRUE_YEAR:
        raise KeyFileError(
            _("this gateway's clock shows {now:%Y-%m-%d %H:%M} UTC", now=now),
            _("Set the clock first: a certificate has dates."),
        )
    folder = state / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    private = generate_private_key(public_exponent=65537, key_size=_BITS)
    keep_private(
        folder / KEY_FILE,
        private,
        _("To make a new one, take {folder} away; servers have to be told of it anew.", folder=folder),
    )
    certificate = _signed(private, gateway, host or platform.node() or "localhost", now)
    (folder / CERTIFICATE_FILE).write_bytes(certificate.public_bytes(Encoding.DER))
    return load_certificate(state)


def load_certificate(state: Path) -> OwnCertificate:
    """The gateway's certificate from the state directory.

    Raises:
        KeyFileError: there is none, it is damaged, others may read its key, or the key is another one's.
    """
    path, key_path = state / FOLDER / CERTIFICATE_FILE, state / FOLDER / KEY_FILE
    private = read_private(key_path, _MAKE)
    try:
        der = path.read_bytes()
        certificate = x509.load_der_x509_certificate(der)
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        (application,) = names.get_values_for_type(x509.UniformResourceIdentifier)
    except FileNotFoundError:
        raise KeyFileError(_("there is no certificate at {path}", path=path), _(_MAKE)) from None
    except (ValueError, x509.ExtensionNotFound) as error:
        raise KeyFileError(
            _("{path} is no certificate of this gateway: {error}", path=path, error=error),
            _("Bring it back from where you keep its copy."),
        ) from None
    if certificate.public_key() != private.public_key():
        raise KeyFileError(
            _("{path} and {key_path} do not belong together", path=path, key_path=key_path),
            _("Bring both back from where you keep their copies."),
        )
    return OwnCertificate(path, key_path, der, application, fingerprint_of(der), certificate.not_valid_after_utc)


def fingerprint_of(certificate: bytes) -> str:
    """SHA-256 of a DER certificate, hexadecimal: as site.yaml pins a server's, without its `sha256:`."""
    digest = hashes.Hash(hashes.SHA256())
    digest.update(certificate)
    return digest.finalize().hex()


def _signed(private: RSAPrivateKey, gateway: str, host: str, now: datetime) -> x509.Certificate:
    name = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "meterseal"),
            x509.NameAttribute(NameOID.COMMON_NAME, f"meterseal {gateway.replace('/', ' ')}"),
        ]
    )
    own = x509.SubjectKeyIdentifier.from_public_key(private.public_key())
    usage = x509.KeyUsage(
        digital_signature=True,
        content_commitment=True,
        key_encipherment=True,
        data_encipherment=True,
        key_agreement=False,
        key_cert_sign=True,  # it signs itself; servers on OpenSSL refuse it otherwise
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )
    url = x509.UniformResourceIdentifier(application_uri(host, gateway))
    dns = x509.DNSName(re.sub(r"[^A-Za-z0-9.-]", "-", host))
    return (
        x509.CertificateBuilder(name, name, private.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=365 * _YEARS + _YEARS // 4))
        .add_extension(own, critical=False)
        .add_extension(x509.AuthorityKeyIdentifier(own.digest, None, None), critical=False)
        .add_extension(x509.SubjectAlternativeName([url, dns]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
        .sign(private, hashes.SHA256())
    )
