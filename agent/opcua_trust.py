"""What a person has confirmed about an OPC UA server: its certificate and its application URI.

One file a link in the state directory (`opcua/trusted/LINK.json`), written by `meterseal trust`. A server is never
believed because it offers a certificate; it is believed because somebody has compared the fingerprint at its panel,
or because site.yaml pins it. What is in force stands in the meter's sealed declaration.
"""

from __future__ import annotations

import base64
import json
import os
from dataclasses import dataclass
from pathlib import Path

from agent.keys import KeyFileError
from agent.opcua_certificate import FOLDER, fingerprint_of
from config.language import _

TRUSTED_FOLDER = "trusted"


@dataclass(frozen=True, slots=True)
class TrustedServer:
    """A server as a person has confirmed it.

    Attributes:
        link: the link's name in the site file.
        url: the endpoint's URL as it was in the site file then.
        server: its application URI.
        certificate: DER; empty where it is spoken to without security.
        confirmed_by, confirmed_at: who, and when (RFC 3339, UTC).
    """

    link: str
    url: str
    server: str
    certificate: bytes
    confirmed_by: str
    confirmed_at: str

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the certificate, hexadecimal; empty where there is none."""
        return fingerprint_of(self.certificate) if self.certificate else ""


def trusted_server(state: Path, link: str) -> TrustedServer | None:
    """What was confirmed for a link; None where nobody has yet.

    Raises:
        KeyFileError: the file is damaged.
    """
    path = _path(state, link)
    try:
        fields = json.loads(path.read_bytes())
        kept = TrustedServer(
            link=link,
            url=str(fields["url"]),
            server=str(fields["server"]),
            certificate=base64.b64decode(fields["certificate"], validate=True),
            confirmed_by=str(fields["confirmed_by"]),
            confirmed_at=str(fields["confirmed_at"]),
        )
        sha256 = fields["sha256"]
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as error:
        raise KeyFileError(_("{path} is damaged: {error}", path=path, error=error), _anew(path, link)) from None
    if kept.fingerprint != sha256:
        raise KeyFileError(
            _("{path} is damaged: the fingerprint in it is not that of its certificate", path=path), _anew(path, link)
        )
    return kept


def keep_trusted(state: Path, server: TrustedServer) -> Path:
    """Writes what was confirmed, in place of what was before; the file's path."""
    path = _path(state, server.link)
    path.parent.mkdir(parents=True, exist_ok=True)
    fields = {
        "url": server.url,
        "server": server.server,
        "sha256": server.fingerprint,
        "confirmed_by": server.confirmed_by,
        "confirmed_at": server.confirmed_at,
        "certificate": base64.b64encode(server.certificate).decode("ascii"),
    }
    part = path.with_suffix(".part")
    with part.open("w", encoding="utf-8") as file:
        file.write(json.dumps(fields, indent=2, ensure_ascii=False) + "\n")
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
    return path


def _anew(path: Path, link: str) -> str:
    return _("Take {path} away and run `meterseal trust {link}` anew.", path=path, link=link)


def _path(state: Path, link: str) -> Path:
    return state / FOLDER / TRUSTED_FOLDER / f"{link}.json"
