"""What went wrong between the agent and a broker, in plain words with what to do. Pure.

The reason codes are those of MQTT 5.0, section 2.4.
"""

from __future__ import annotations

import socket
import ssl
from dataclasses import dataclass, replace

from config.language import N_, _

NOBODY_LISTENS = 16
FIRST_REFUSAL = 128
TOO_LARGE = 149
NO_RETAIN = 154

_WRONG_VERSION = 132
_NOT_AUTHORIZED = 135
_LOG = N_("Look into the broker's log.")
_LET_IN = (
    N_("the broker does not accept the user name, the password or the certificate"),
    N_("Check `username` under `mqtt:` and the password that is given here against the broker's users."),
)
_ANOTHER = N_("Ask whoever runs the broker for the address to use, and write it in site.yaml.")
_REASONS = {
    128: (N_("the broker says no and gives no reason"), _LOG),
    129: (N_("the broker could not read what it was sent"), _LOG),
    130: (N_("the broker found a breach of the MQTT rules"), _LOG),
    131: (N_("the broker is not able to take this"), _LOG),
    _WRONG_VERSION: (
        N_("the broker does not speak MQTT 5"),
        N_("Switch MQTT 5 on in the broker or take a newer one: older MQTT reports refused readings as taken."),
    ),
    133: (N_("the broker does not allow this gateway's client name"), N_("Allow the client name `meterseal-…` in the broker.")),
    134: _LET_IN,
    _NOT_AUTHORIZED: _LET_IN,
    136: (N_("the broker is out of service at present"), N_("Nothing to do here: it is tried again by itself.")),
    137: (N_("the broker is too busy at present"), N_("Nothing to do here: it is tried again by itself.")),
    138: (N_("the broker has banned this gateway"), N_("Have the ban lifted in the broker.")),
    139: (N_("the broker is shutting down"), N_("Nothing to do here: it is tried again by itself.")),
    140: (
        N_("the broker asks for another way of signing in"),
        N_("Allow user name and password, or certificates, in the broker."),
    ),
    141: (N_("the broker has heard nothing from this gateway for too long"), N_("Check the network between gateway and broker.")),
    142: (
        N_("another client has connected to the broker with this gateway's name"),
        N_("Two agents have the same `gateway:`, or one agent or collector runs twice. Stop one of them."),
    ),
    143: (
        N_("the broker does not allow what is asked for here"),
        N_("Check `topic` in site.yaml, and the broker's access list (ACL)."),
    ),
    144: (N_("the broker does not allow this topic"), N_("Check `topic` in site.yaml.")),
    145: (N_("the broker still waits for the end of an earlier message"), N_("Nothing to do here: it is tried again by itself.")),
    146: (N_("the broker does not know the message that is answered"), _LOG),
    147: (N_("the broker was sent more at once than it allows"), _LOG),
    148: (N_("the broker does not allow short names for topics"), _LOG),
    TOO_LARGE: (N_("this is larger than the broker takes"), N_("Raise the broker's limit for the size of a message.")),
    150: (N_("the broker finds that too much is sent"), N_("Raise the broker's rate limit for this gateway.")),
    151: (N_("the broker's limit for this gateway is used up"), N_("Raise this gateway's quota in the broker.")),
    152: (N_("somebody has ended the connection in the broker"), N_("Ask whoever runs the broker.")),
    153: (N_("the broker finds the content not to be what it is said to be"), _LOG),
    NO_RETAIN: (N_("the broker does not keep retained messages"), N_("Nothing to do: they are left out from now on.")),
    155: (N_("the broker acknowledges nothing (no QoS 1)"), N_("Switch QoS 1 on in the broker.")),
    156: (N_("the broker asks to use another one at present"), _ANOTHER),
    157: (N_("the broker has moved"), _ANOTHER),
    158: (N_("the broker knows no shared subscriptions"), N_("Nothing to do at this gateway: it asks for none.")),
    159: (N_("the broker finds that this gateway connects too often"), N_("Raise the broker's limit for connections.")),
    160: (N_("the broker allows connections only for a certain time"), N_("Nothing to do here: it is tried again by itself.")),
    161: (N_("the broker cannot number subscriptions"), N_("Nothing to do at this gateway: it asks for no numbers.")),
    162: (N_("the broker does not allow + and # in what is asked for"), N_("Allow them in the broker.")),
}

# X509_V_ERR_… of OpenSSL, as ssl.SSLCertVerificationError.verify_code carries them.
_NOT_YET, _EXPIRED = 9, 10
_UNKNOWN_ISSUER = (2, 18, 19, 20, 21)
_WRONG_NAME = (62, 64)


_NOT_LET_IN, _CERTIFICATE = "MS-503", "MS-504"
_LETS_NOT_IN = (133, 134, _NOT_AUTHORIZED, 138, 140)


@dataclass(frozen=True, slots=True)
class Trouble:
    """Something that stands between the ledger and the broker.

    Attributes:
        why: what is wrong, in plain words.
        hint: what a person can do.
        words: what the broker says itself; empty if it says nothing.
        code: the MQTT reason code; 0 where there is none.
        fault: the fault that it is, where that is more than what was tried tells; else empty.
    """

    why: str
    hint: str
    words: str = ""
    code: int = 0
    fault: str = ""

    def told(self) -> dict[str, str]:
        """The trouble as the journal tells it."""
        fields = {"why": self.why, "hint": self.hint}
        fields |= {"code": self.fault} if self.fault else {}
        return fields | ({"broker_says": self.words} if self.words else {})


def _reason(code: int, words: str) -> Trouble:
    why, hint = _REASONS.get(code, (_("the broker gives reason {code}", code=code), _LOG))
    return Trouble(_(why), _(hint), words, code)


def connect_refused(code: int, words: str, version: str = "5") -> Trouble:
    """The broker answered the connection with no (CONNACK)."""
    if code == _WRONG_VERSION and version != "5":
        return Trouble(
            _("the broker does not speak MQTT {version}", version=version), _("Take `version` out of site.yaml."), words, code
        )
    return replace(_reason(code, words), fault=_NOT_LET_IN if code in _LETS_NOT_IN else "")


def disconnected(code: int, words: str) -> Trouble:
    """The broker ended the connection and said why (DISCONNECT)."""
    if code < FIRST_REFUSAL:
        return Trouble(_("the broker ended the connection"), _(_LOG), words, code)
    if code == _NOT_AUTHORIZED:
        return Trouble(_("the broker no longer lets this gateway in"), _(_LET_IN[1]), words, code, _NOT_LET_IN)
    return _reason(code, words)


def publish_refused(code: int, words: str, topic: str) -> Trouble:
    """The broker refused a message on a topic (PUBACK)."""
    if code == _NOT_AUTHORIZED:
        hint = _("Allow this gateway to write {topic} in the broker's access list (ACL).", topic=topic)
        return Trouble(_("the broker does not allow this gateway to publish on {topic}", topic=topic), hint, words, code)
    return _reason(code, words)


def broke_rules(why: str) -> Trouble:
    """The broker did what no honest one does; the connection was ended from here."""
    return Trouble(
        why, _("Check that host and port are those of your broker. No reading is harmed: it is tried again by itself.")
    )


def own_certificate_expired(name: str, at: str, over: bool) -> Trouble:
    """The certificate of this gateway is out of its time, and the broker does not let it in."""
    if over:
        hint = _("Put a renewed one in its place: it is taken at the next attempt, without a restart.")
        return Trouble(
            _("this gateway's own certificate ({name}) has expired on {at}", name=name, at=at), hint, fault=_CERTIFICATE
        )
    why = _("this gateway's own certificate ({name}) is valid only from {at} on", name=name, at=at)
    return Trouble(why, _("Check the date of this gateway."), fault=_CERTIFICATE)


def broker_closed(code: int, was_connected: bool, version: str = "5") -> Trouble:
    """The connection ended without a word of the broker; `code` is what paho makes of it."""
    if code == 130 and was_connected:  # paho knows no reason 149 in an acknowledgement; mosquitto's message_size_limit gives it
        hint = _(
            "Look into the broker's log. Most often it found a message too large: raise its limit for the size of a message."
        )
        return Trouble(_("the broker answered a message with something that MQTT 5 does not know"), hint)
    if code == 130:
        return Trouble(
            _("the broker sent something that is not MQTT {version}", version=version),
            _("Check that host and port are those of an MQTT broker."),
        )
    if code == 141:
        return no_answer()
    if was_connected:
        again = _("If it comes back again and again, two agents have the same `gateway:`, or one collector runs twice.")
        return Trouble(_("the connection broke off"), _("Check the network and that the broker is running. {again}", again=again))
    return Trouble(
        _("the broker closed the connection without a word"),
        _(
            "Check that the port is the right one with or without `tls:`, and that the broker speaks MQTT {version}.",
            version=version,
        ),
    )


def no_answer() -> Trouble:
    """The connection stands, but nothing comes back."""
    return Trouble(_("the broker does not answer"), _("Check the network between gateway and broker, and the broker itself."))


def file_unusable(what: str, names: str, error: OSError) -> Trouble:
    """A certificate or key file under `tls:` is missing or holds something else."""
    said = error.strerror if error.strerror and not isinstance(error, ssl.SSLError) else _("it does not hold what it should")
    if isinstance(error, ssl.SSLError) and "," in names:
        said = _("they do not belong together, or the key has a password")
    why = _("the {what} under tls cannot be used ({names}): {said}", what=what, names=names, said=said)
    return Trouble(why, _("Correct the files named under `tls:` in site.yaml."), fault=_CERTIFICATE)


def unreachable(error: Exception, host: str, port: int) -> Trouble:
    """No connection came about: the network, or the broker's certificate."""
    at = f"{host}:{port}"
    if isinstance(error, ssl.SSLCertVerificationError):
        return replace(_certificate(error, host), fault=_CERTIFICATE)
    if isinstance(error, ssl.SSLError):
        hint = _("Check that the port is the broker's TLS port, and that the broker asks for no other certificate.")
        return Trouble(
            _("no secure connection to {at} comes about ({reason})", at=at, reason=error.reason or "TLS"),
            hint,
            fault=_CERTIFICATE,
        )
    if isinstance(error, socket.gaierror | ValueError):
        return Trouble(
            _("the name {host} is not known", host=host), _("Check `host` in site.yaml, and the gateway's name server (DNS).")
        )
    if isinstance(error, ConnectionRefusedError):
        return Trouble(
            _("nothing listens at {at}", at=at), _("Check that the broker is running, and `host` and `port` under `mqtt:`.")
        )
    if isinstance(error, ConnectionError):
        hint = _("Check that the port is the right one with or without `tls:`, and that the broker is not overloaded.")
        return Trouble(_("{at} breaks the connection off at once", at=at), hint)
    if isinstance(error, TimeoutError):
        return Trouble(
            _("{at} does not answer", at=at), _("Check the network cable or modem, and that no firewall stands between.")
        )
    said = getattr(error, "strerror", None) or str(error)
    return Trouble(
        _("{at} cannot be reached: {said}", at=at, said=said),
        _("Check the network cable or modem, and `host` and `port` under `mqtt:`."),
    )


def _certificate(error: ssl.SSLCertVerificationError, host: str) -> Trouble:
    if error.verify_code in _WRONG_NAME:
        return Trouble(
            _("the broker's certificate is for another name than {host}", host=host),
            _("Write in site.yaml the host name of the certificate, or have the certificate made for this one."),
        )
    if error.verify_code in (_NOT_YET, _EXPIRED):
        state = _("has expired") if error.verify_code == _EXPIRED else _("is not valid yet")
        return Trouble(
            _("the broker's certificate {state}", state=state),
            _("Check the date of this gateway first; then renew the certificate."),
        )
    if error.verify_code in _UNKNOWN_ISSUER:
        return Trouble(
            _("the broker's certificate is not signed by the authority under `tls: ca`"),
            _("Copy the certificate of the broker's authority to the gateway and name it as `ca` under `tls:` in site.yaml."),
        )
    return Trouble(_("the broker's certificate does not hold: {verify_message}", verify_message=error.verify_message), _(_LOG))
