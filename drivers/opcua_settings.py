"""How an OPC UA server is reached, who we are there, and who it must be. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

NO_SECURITY = "None"
ENCRYPTED = "SignAndEncrypt"


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """How an OPC UA server is reached.

    Attributes:
        name: the link's name in the site file.
        url: the endpoint as the user wrote it, `opc.tcp://host:port/path`; its host is never replaced by what a server tells.
        security: `None`, `Basic256Sha256`, `Aes128_Sha256_RsaOaep` or `Aes256_Sha256_RsaPss`.
        mode: `Sign` or `SignAndEncrypt`; without meaning where there is no security.
        login: `anonymous`, `user` or `certificate`.
        user, password: for `user`.
        certificate, key: our own certificate (DER) and its key (PEM); needed with security.
        application: the application URI in our certificate.
        pin: SHA-256 of the server's certificate, hexadecimal; empty: nobody has trusted one yet.
        server: the server's application URI; empty: not known.
        timeout_s: how long each answer is waited for.
    """

    name: str
    url: str
    security: str = "Basic256Sha256"
    mode: str = ENCRYPTED
    login: str = "anonymous"
    user: str = ""
    password: str = field(default="", repr=False)
    certificate: Path | None = None
    key: Path | None = None
    application: str = "urn:meterseal:gateway"
    pin: str = ""
    server: str = ""
    timeout_s: float = 5.0

    @property
    def secure(self) -> bool:
        """Whether messages are signed, and the server's certificate is checked."""
        return self.security != NO_SECURITY

    @property
    def over_tcp(self) -> bool:
        """Always: the other side may close a connection that nobody uses."""
        return True
