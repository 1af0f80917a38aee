"""A certificate authority for tests of TLS, made with the library `cryptography`."""

from __future__ import annotations

import contextlib
import ipaddress
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID


class Authority:
    """A certificate authority of its own, and the certificates it signs."""

    def __init__(self, folder: Path, name: str) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self._folder = folder
        usage = x509.BasicConstraints(ca=True, path_length=None)
        self.file = self._write(f"{name}.pem", self._signed(self._name, self._key.public_key(), usage))

    def certificate(self, name: str, *, days: int = 2) -> tuple[str, str]:
        """A certificate and its key for a host name or address, valid up to `days` from now."""
        key = ec.generate_private_key(ec.SECP256R1())
        names: x509.GeneralName = x509.DNSName(name)
        with contextlib.suppress(ValueError):
            names = x509.IPAddress(ipaddress.ip_address(name))
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        certificate = self._signed(subject, key.public_key(), x509.SubjectAlternativeName([names]), days=days)
        private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        return self._write(f"{name}-{days}.pem", certificate), self._write(f"{name}-{days}.key", private)

    def _signed(
        self, subject: x509.Name, public: ec.EllipticCurvePublicKey, extension: x509.ExtensionType, days: int = 2
    ) -> bytes:
        end = datetime.now(UTC) + timedelta(days=days)
        builder = x509.CertificateBuilder().subject_name(subject).issuer_name(self._name).public_key(public)
        builder = (
            builder.serial_number(x509.random_serial_number()).not_valid_before(end - timedelta(days=9)).not_valid_after(end)
        )
        return builder.add_extension(extension, critical=False).sign(self._key, hashes.SHA256()).public_bytes(Encoding.PEM)

    def _write(self, name: str, content: bytes) -> str:
        path = self._folder / name
        path.write_bytes(content)
        return str(path)
