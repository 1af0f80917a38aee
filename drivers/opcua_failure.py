"""Why an OPC UA server does not let us read, in words that say what to do. Pure: status codes come in by name.

The names are those of OPC 10000-4, 7.39, and OPC 10000-6, annex A. What is not in the table here is told by its name.
"""

from __future__ import annotations

from config.language import N_, _
from drivers.errors import LinkDown
from drivers.opcua_settings import ServerSettings

_OUR_CERTIFICATE = N_(
    "In the server's own program, move the certificate of this gateway (opcua/own.der in the state directory) from its rejected "
    "to its trusted certificates."
)
_OUR_NAME = N_(
    "Run `meterseal init --opcua` with the site name the gateway has now, and trust the new certificate in the server."
)
_CLOCK = N_("Compare the clocks of server and gateway: both should follow a time server.")
_LOGIN = N_("Check `login:` and `user:` of the link, the password, and the user's rights in the server.")
_ENDPOINT = N_(
    "Copy the endpoint from the server's own program, with its path, into site.yaml; `meterseal trust LINK` lists what it offers."
)
_SESSIONS = N_("End other clients of the server, or raise its number of sessions.")
_WAIT = N_("It is tried again by itself. If it recurs, look at the server's own log.")

_KINDS = {
    "certificate_refused": (N_("it does not trust the certificate of this gateway"), _OUR_CERTIFICATE),
    "wrong_application_uri": (N_("it says that our certificate is not made for this application"), _OUR_NAME),
    "clock_difference": (N_("it says that our time, or the dates of our certificate, cannot be right"), _CLOCK),
    "login_refused": (N_("it does not let this user in"), _LOGIN),
    "no_endpoint": (N_("it has no such endpoint"), _ENDPOINT),
    "too_many_sessions": (N_("it has no room for another client"), _SESSIONS),
    "session_closed": (N_("it has ended our session"), _WAIT),
}
_BY_NAME = {
    "BadCertificateUntrusted": "certificate_refused",
    "BadSecurityChecksFailed": "certificate_refused",
    "BadCertificateInvalid": "certificate_refused",
    "BadCertificateChainIncomplete": "certificate_refused",
    "BadCertificateUseNotAllowed": "certificate_refused",
    "BadCertificateRevoked": "certificate_refused",
    "BadCertificateUriInvalid": "wrong_application_uri",
    "BadCertificateTimeInvalid": "clock_difference",
    "BadInvalidTimestamp": "clock_difference",
    "BadIdentityTokenRejected": "login_refused",
    "BadIdentityTokenInvalid": "login_refused",
    "BadUserAccessDenied": "login_refused",
    "BadUserSignatureInvalid": "login_refused",
    "BadTcpEndpointUrlInvalid": "no_endpoint",
    "BadServerUriInvalid": "no_endpoint",
    "BadCertificateHostNameInvalid": "no_endpoint",
    "BadSecurityPolicyRejected": "no_endpoint",
    "BadSecurityModeRejected": "no_endpoint",
    "BadTooManySessions": "too_many_sessions",
    "BadTcpNotEnoughResources": "too_many_sessions",
    "BadMaxConnectionsReached": "too_many_sessions",
    "BadSessionIdInvalid": "session_closed",
    "BadSessionClosed": "session_closed",
    "BadSessionNotActivated": "session_closed",
    "BadSecureChannelClosed": "session_closed",
    "BadSecureChannelIdInvalid": "session_closed",
    "BadSecureChannelTokenUnknown": "session_closed",
    "BadTcpSecureChannelUnknown": "session_closed",
    "BadConnectionClosed": "session_closed",
    "BadTimeout": "session_closed",
}
_OTHERWISE = "server_refused"
CAUSES = (*_KINDS, _OTHERWISE)  # those that a status leads to; the other ones stand at the reasons below
_LASTING = ("certificate_refused", "wrong_application_uri", "clock_difference", "login_refused", "no_endpoint")
TOO_MUCH = (
    "BadTooManyOperations",
    "BadEncodingLimitsExceeded",
    "BadResponseTooLarge",
    "BadRequestTooLarge",
    "BadTcpMessageTooLarge",
)


def refused(settings: ServerSettings, status: str, *, reading: bool = False) -> LinkDown:
    """The server answered with a bad status, named as in the standard. `reading`: it had let us in before."""
    cause = _BY_NAME.get(status, _OTHERWISE)
    if reading and cause == "login_refused":
        cause = "session_closed"  # some say so of a session that they have forgotten
    words, hint = (_(each) for each in _KINDS.get(cause, (N_("it refuses"), _WAIT)))
    hint = hint.replace("LINK", settings.name)
    return LinkDown(cause, f"{settings.name} ({settings.url}): {words} ({status})", hint, lasting=cause in _LASTING)


def hung_up(settings: ServerSettings) -> LinkDown:
    """The server closed the connection where certificates are exchanged: most do so without a word to whom they do not trust."""
    words = _("{name} ({url}) hung up when it saw the certificate of this gateway", name=settings.name, url=settings.url)
    return LinkDown("certificate_refused", words, _(_OUR_CERTIFICATE), lasting=True)


def lost(settings: ServerSettings) -> LinkDown:
    """The connection broke."""
    return LinkDown("connection_lost", _("{name} ({url}) closed the connection", name=settings.name, url=settings.url), _(_WAIT))


def unreachable(settings: ServerSettings, why: str) -> LinkDown:
    """Nobody takes the connection; `why` in whole words."""
    hint = _(
        "Check the network cable, `opcua:` of {name} in site.yaml, and that the server's program is running.", name=settings.name
    )
    return LinkDown("no_connection", why, hint)


def silent(settings: ServerSettings) -> LinkDown:
    """The server did not answer in time."""
    words = _(
        "{name} ({url}) did not answer within {timeout_s:g} s", name=settings.name, url=settings.url, timeout_s=settings.timeout_s
    )
    return LinkDown(
        "no_answer", words, _("Is the server's program hanging or overloaded? `timeout_ms` of the link says how long is waited.")
    )


def not_offered(settings: ServerSettings, offered: list[str]) -> LinkDown:
    """The server has no endpoint with the security that the site file asks for."""
    asked = f"{settings.security} {settings.mode}" if settings.secure else _("no security")
    hint = _(
        "It offers: {offered}. Switch {asked} on in the server, or write what it offers into site.yaml.",
        offered=", ".join(offered) or "nothing",
        asked=asked,
    )
    return LinkDown(
        "no_endpoint",
        _("{name} ({url}) does not offer {asked}", name=settings.name, url=settings.url, asked=asked),
        hint,
        lasting=True,
    )


def untrusted(settings: ServerSettings, fingerprint: str) -> LinkDown:
    """The server shows a certificate that nobody has trusted."""
    if not settings.pin:
        words = _("nobody has confirmed the certificate of {name} ({url}) yet", name=settings.name, url=settings.url)
        hint = _("Run `meterseal trust {name}` and compare its fingerprint with the one at the server.", name=settings.name)
    else:
        words = _(
            "{name} ({url}) shows another certificate (sha256:{fingerprint}) than the one that was trusted (sha256:{pin})",
            name=settings.name,
            url=settings.url,
            fingerprint=fingerprint,
            pin=settings.pin,
        )
        hint = _(
            "Was the server installed anew? Then compare the fingerprint there and run `meterseal trust {name}`, "
            "or change `certificate:` in site.yaml, and restart the agent. If not, somebody else may be "
            "answering in its place.",
            name=settings.name,
        )
    return LinkDown("untrusted_certificate", words, hint, lasting=True)


def other_server(settings: ServerSettings, found: str) -> LinkDown:
    """Another application answers under this address."""
    words = _(
        "at {url} answers {found}, not {server}",
        url=settings.url,
        found=found or _("a server without a name"),
        server=settings.server,
    )
    hint = _(
        "Check the address of {name} and `server:` in site.yaml; if the server was replaced, run `meterseal trust {name}`.",
        name=settings.name,
    )
    return LinkDown("other_server", words, hint, lasting=True)


def password_in_clear(settings: ServerSettings) -> LinkDown:
    """The password would be readable for everybody on the network."""
    words = _("{name} ({url}) wants the password without encryption", name=settings.name, url=settings.url)
    return LinkDown(
        "password_in_clear", words, _("Write  mode: SignAndEncrypt  at the link, or log in with a certificate."), lasting=True
    )


def not_opcua(settings: ServerSettings, why: str) -> LinkDown:
    """What answers cannot be understood."""
    words = _("what {name} ({url}) answers is no sound OPC UA: {why}", name=settings.name, url=settings.url, why=why)
    return LinkDown(
        "not_opcua", words, _("Is this the port of the OPC UA server? If it is, report this with the server's make and version.")
    )
