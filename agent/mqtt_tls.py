"""TLS to a broker: its certificate and name are checked, and ours is shown. All files are read anew for each connection, so
that a renewed certificate is taken without a restart."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509

from agent.mqtt_words import Trouble, file_unusable, own_certificate_expired
from config.language import _
from config.site import Tls


class FileUnusable(Exception):
    """A file under `tls:` is missing or holds something else.

    Attributes:
        trouble: that in words.
    """

    def __init__(self, trouble: Trouble) -> None:
        super().__init__(trouble.why)
        self.trouble = trouble


class _Socket(ssl.SSLSocket):
    """A TLS socket that closes itself when the handshake fails: paho forgets it then."""

    def do_handshake(self, block: bool = False) -> None:
        try:
            super().do_handshake(block)
        except OSError:
            self.close()
            raise


def tls_context(tls: Tls) -> ssl.SSLContext:
    """TLS 1.2 or newer; the broker's certificate and name are always checked. Read anew for each connection.

    Raises:
        FileUnusable: a certificate or key file is missing or holds something else.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.sslsocket_class = _Socket
    try:
        if tls.ca:
            context.load_verify_locations(tls.ca)
        else:
            context.load_default_certs()
    except OSError as error:  # SSLError is one
        raise FileUnusable(file_unusable("ca", str(tls.ca), error)) from None
    if tls.certificate:
        try:
            # Without a password given here OpenSSL would ask for one on the terminal.
            context.load_cert_chain(tls.certificate, tls.key, password="")
        except OSError as error:
            names = f"{tls.certificate}, {tls.key}" if tls.key else tls.certificate
            raise FileUnusable(file_unusable(_("certificate and key"), names, error)) from None
    return context


def own_expired(tls: Tls | None) -> Trouble | None:
    """That the gateway's own certificate has expired or is not valid yet, if so. A broker only breaks off without a word then."""
    certificate = _own(tls)
    if tls is None or certificate is None:
        return None
    begin, end, now = certificate.not_valid_before_utc, certificate.not_valid_after_utc, datetime.now(UTC)
    if begin <= now <= end:
        return None
    return own_certificate_expired(str(tls.certificate), f"{end if now > end else begin:%Y-%m-%d %H:%M} UTC", over=now > end)


def valid_until(tls: Tls | None) -> datetime | None:
    """When the gateway's own certificate expires; None where it has none, or none that can be read."""
    certificate = _own(tls)
    return certificate.not_valid_after_utc if certificate else None


def _own(tls: Tls | None) -> x509.Certificate | None:
    if tls is None or tls.certificate is None:
        return None
    try:
        return x509.load_pem_x509_certificate(Path(tls.certificate).read_bytes())
    except (OSError, ValueError):
        return None  # told by whoever wants to use it
