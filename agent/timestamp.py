"""Timestamps over checkpoints by a timestamp authority (RFC 3161): asking for one, and checking it offline.

What is stamped is the SHA-512 of a checkpoint's note as the gateway signed it. A timestamp says that the records it covers
existed at its time; it says nothing about what came after, and it is as good as the authority.

`rfc3161-client` is needed (the extra `timestamp`); it is imported only where a timestamp is asked for or checked.
"""

from __future__ import annotations

import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol

from cryptography import x509
from cryptography.x509.oid import NameOID

from agent.anchors import Anchor
from agent.findings import CannotCheck, Findings
from config.language import N_, _

if TYPE_CHECKING:
    from rfc3161_client import Verifier

_SECONDS = 20.0
_LARGEST = 65_536
_INSTALL = N_("install meterseal with the extra `timestamp` to have timestamps checked (pip install meterseal[timestamp])")


class NoTimestamp(Exception):
    """The authority gave no timestamp; why."""


class Timestamped(Protocol):
    """A log with timestamps."""

    def checkpoints(self) -> list[str]:
        """The signed notes."""

    def timestamps(self) -> dict[int, bytes]:
        """Responses by size."""


def gateway_note(note: str) -> str:
    """A checkpoint's note with the gateway's signature line only, as it was stamped."""
    text, _unused, lines = note.partition("\n\n")
    return f"{text}\n\n{lines.split(chr(10))[0]}\n"


def ask(url: str, note: str) -> bytes:
    """The authority's response over a note: RFC 3161 over HTTP, section 3.4. Blocks for up to 20 s.

    Raises:
        NoTimestamp: it cannot be reached, or it refused.
    """
    tsp = _library()
    request = tsp.TimestampRequestBuilder().data(gateway_note(note).encode()).build()
    headers = {"Content-Type": "application/timestamp-query"}
    try:
        asked = urllib.request.Request(url, request.as_bytes(), headers)  # noqa: S310  the site file allows http and https only
        with urllib.request.urlopen(asked, timeout=_SECONDS) as answered:  # noqa: S310  the same
            response: bytes = answered.read(_LARGEST + 1)
    except (OSError, ValueError) as error:
        raise NoTimestamp(_("{url} did not answer: {getattr}", url=url, getattr=getattr(error, "reason", error))) from None
    try:
        decoded = tsp.decode_timestamp_response(response[:_LARGEST])
    except ValueError:
        raise NoTimestamp(_("{url} answered with something that is no timestamp", url=url)) from None
    if decoded.status not in (0, 1) or decoded.tst_info.nonce != request.nonce:
        why = ", ".join(decoded.status_string) or str(decoded.status)
        raise NoTimestamp(_("{url} refused to stamp: {why}", url=url, why=why))
    return response


def anchors_of(log: Timestamped, authorities: Sequence[bytes], findings: Findings) -> Iterator[Anchor]:
    """A log's timestamps that one of these authorities made over its checkpoints; findings for the others.

    Args:
        log: notes and responses.
        authorities: certificates in PEM, the authority's own or the one that it is signed by.
        findings: where problems go.

    Raises:
        CannotCheck: a certificate is none, or the library is not installed.
    """
    verifier = _verifier(authorities)
    notes = {note.split("\n")[1]: gateway_note(note) for note in log.checkpoints() if note.count("\n") > 1}
    for size, response in log.timestamps().items():
        if str(size) not in notes:
            findings.add("TIMESTAMP", None, _("a timestamp over {size} records lies beside no checkpoint", size=size))
            continue
        try:
            decoded = _library().decode_timestamp_response(response)
            verifier.verify_message(decoded, notes[str(size)].encode())
        except Exception as error:  # whatever the library raises for a foreign answer, it proves no time
            findings.add("TIMESTAMP", None, _("the timestamp over {size} records: {error}", size=size, error=str(error)[:120]))
            continue
        made: datetime = decoded.tst_info.gen_time
        yield Anchor(_name_of(decoded), size, int(made.timestamp() * 1000), newest=False)


def _verifier(authorities: Sequence[bytes]) -> Verifier:
    builder = _library().VerifierBuilder()
    for pem in authorities:
        try:
            builder = builder.add_root_certificate(x509.load_pem_x509_certificate(pem))
        except ValueError:
            raise CannotCheck(_("--tsa: this is no certificate in PEM form (-----BEGIN CERTIFICATE-----)")) from None
    verifier: Verifier = builder.build()
    return verifier


def _name_of(decoded: Any) -> str:
    name = decoded.tst_info.name
    values = getattr(name, "value", None)
    common = values.get_attributes_for_oid(NameOID.COMMON_NAME) if isinstance(values, x509.Name) else []
    return _("timestamp authority {value!s}", value=common[0].value) if common else _("timestamp authority")


def _library() -> Any:
    try:
        import rfc3161_client
    except ImportError:
        raise CannotCheck(_(_INSTALL)) from None
    return rfc3161_client
