"""What `meterseal trust` and `meterseal browse` print of a server. Everything a server says is made harmless here."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

from cryptography import x509
from cryptography.hazmat.primitives import hashes

from agent.findings import printable
from agent.opcua_certificate import OwnCertificate, fingerprint_of
from agent.opcua_trust import TrustedServer
from config.cause_words import cause_words
from config.language import N_, _
from config.opcua_rules import DEPRECATED
from config.opcua_units import quantities_in
from config.site import Link
from drivers.opcua_browse import Offer, Seen
from drivers.opcua_status import cause_of, is_bad

_NO_SECURITY = N_("anybody on the network can read and change it")
_WITHDRAWN = N_("withdrawn, not used by meterseal")


def one_line(text: str) -> str:
    """A text of the server as one harmless line."""
    return printable(text.replace("\n", " "))


def offers_text(offers: Sequence[Offer], link: Link) -> str:
    """The endpoints of a server, and which one the site file asks for."""
    lines = [_("The server offers:")]
    for offer in offers:
        notes = [_(_WITHDRAWN)] if offer.policy in DEPRECATED else [_(_NO_SECURITY)] if offer.policy == "None" else []
        notes += ["<- site.yaml"] if is_asked_for(offer, link) else []
        lines.append(f"  {one_line(offer.policy):<22} {offer.mode:<15} {', '.join(notes)}".rstrip())
    logins = dict.fromkeys(login for offer in offers for login in offer.logins)
    return "\n".join([*lines, _("It lets in: {logins}", logins=", ".join(logins) or _("nobody"))])


def is_asked_for(offer: Offer, link: Link) -> bool:
    """Whether it is the endpoint that the site file asks for."""
    return offer.policy == link.policy and offer.mode == link.protection


def server_text(offer: Offer, now: datetime) -> str:
    """Who a server says it is, with its certificate as people compare it."""
    lines = [
        _("Application URI  {server}", server=one_line(offer.server)),
        _("Name             {name}", name=one_line(offer.name)),
    ]
    if not offer.certificate:
        return "\n".join([*lines, _("Certificate      none")])
    try:
        certificate = x509.load_der_x509_certificate(offer.certificate)
    except ValueError:
        return "\n".join([*lines, _("Certificate      damaged: it cannot be read")])
    first, last = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    lines += [
        _("Certificate      {subject}", subject=one_line(certificate.subject.rfc4514_string())),
        _("  valid          {first:%Y-%m-%d} to {last:%Y-%m-%d}", first=first, last=last),
        f"  SHA-256        {grouped(fingerprint_of(offer.certificate))}",
        f"  SHA-1          {grouped(certificate.fingerprint(hashes.SHA1()).hex())}",  # noqa: S303 - what many servers show
    ]
    return "\n".join([*lines, *(f"  ! {one_line(doubt)}" for doubt in _doubts(certificate, offer.server, now))])


def _doubts(certificate: x509.Certificate, server: str, now: datetime) -> Iterator[str]:
    if now < certificate.not_valid_before_utc:
        yield _(
            "not valid yet: this gateway's clock shows {now:%Y-%m-%d %H:%M} UTC. Compare the clocks of server and gateway.",
            now=now,
        )
    if now > certificate.not_valid_after_utc:
        yield _(
            "no longer valid: this gateway's clock shows {now:%Y-%m-%d %H:%M} UTC. Give the server a new certificate.", now=now
        )
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        uris = names.get_values_for_type(x509.UniformResourceIdentifier)
    except (ValueError, x509.ExtensionNotFound):
        uris = []
    if server not in uris:
        yield _(
            "it is made for {uris}, not for {server}: was the server renamed after it was made?",
            uris=", ".join(uris) or _("nobody"),
            server=server,
        )


def changed_text(kept: TrustedServer, offer: Offer) -> str:
    """What is other than what was confirmed before; empty where nothing is."""
    new = fingerprint_of(offer.certificate) if offer.certificate else ""
    if (kept.fingerprint, kept.server) == (new, offer.server):
        return ""
    return "\n".join(
        [
            _(
                "THIS IS NOT THE SERVER THAT {confirmed_by} CONFIRMED ON {confirmed_at}:",
                confirmed_by=one_line(kept.confirmed_by),
                confirmed_at=kept.confirmed_at[:10],
            ),
            _("  then  {server}  {print}", server=one_line(kept.server), print=grouped(kept.fingerprint) or _("no certificate")),
            _("  now   {server}  {print}", server=one_line(offer.server), print=grouped(new) or _("no certificate")),
            _("Was it installed anew or replaced? If nobody knows of that, somebody else may be answering in its place."),
        ]
    )


def own_text(own: OwnCertificate) -> str:
    """What a person has to do at the server."""
    return "\n".join(
        [
            _(
                "At the server: put this gateway's certificate among the trusted ones "
                "(mostly it lies among the rejected ones now)."
            ),
            _("  file             {path}", path=own.path),
            _("  application URI  {application}", application=own.application),
            f"  SHA-256          {grouped(own.fingerprint)}",
            _("  valid until      {until:%Y-%m-%d}", until=own.until),
        ]
    )


def grouped(fingerprint: str) -> str:
    """Hexadecimal digits in groups of four, as people compare them."""
    return " ".join(fingerprint[at : at + 4] for at in range(0, len(fingerprint), 4))


def now_utc() -> datetime:
    """The gateway's time."""
    return datetime.now(UTC)


def tree_text(seen: Sequence[Seen]) -> Iterator[str]:
    """The lines of a tree: what has a value with type, value, unit and quality, and under it the node to write down."""
    for each in seen:
        margin = "  " * each.depth
        note = f"   ({each.note})" if each.note else ""
        if not each.node:
            yield f"{margin}...{note}"
        elif not each.type:
            yield f"{margin}{one_line(each.name)}/{note}"
            if note:
                yield f"{margin}    {one_line(each.node)}"
        else:
            yield f"{margin}{one_line(each.name)}   {described(each)}{note}"
            yield f"{margin}    {one_line(each.node)}"


def described(each: Seen) -> str:
    """Type, value, unit and quality of a variable."""
    if each.type == "structure":
        return _("structure: not supported, look for its parts below it")
    kind = _("{type} list of {length}", type=each.type, length=each.length) if each.length is not None else each.type
    status = each.status or 0
    doubt = f"   {cause_words(cause_of(status))}" if cause_of(status) else ""
    value = _("no value") if is_bad(status) else one_line(each.value)
    unit = one_line(each.unit) or (_("unit {id}", id=each.unit_id) if each.unit_id else "")
    unknown = _(" (meterseal does not know this unit)") if each.unit_id and not quantities_in(each.unit_id) else ""
    return f"{kind}   {value} {unit}".rstrip() + unknown + doubt
