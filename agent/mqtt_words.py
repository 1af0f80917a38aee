"""What went wrong between the agent and a broker, in plain words with what to do. Pure.

The reason codes are those of MQTT 5.0, section 2.4.
"""

from __future__ import annotations

import socket
import ssl
from dataclasses import dataclass, replace

NOBODY_LISTENS = 16
FIRST_REFUSAL = 128
TOO_LARGE = 149
NO_RETAIN = 154

_WRONG_VERSION = 132
_NOT_AUTHORIZED = 135
_LOG = "Look into the broker's log."
_LET_IN = (
    "the broker does not accept the user name, the password or the certificate of this gateway",
    "Check `username` in site.yaml and the password given to the agent against the broker's users.",
)
_ANOTHER = "Ask whoever runs the broker for the address to use, and write it in site.yaml."
_REASONS = {
    128: ("the broker says no and gives no reason", _LOG),
    129: ("the broker could not read what it was sent", _LOG),
    130: ("the broker found a breach of the MQTT rules", _LOG),
    131: ("the broker is not able to take this", _LOG),
    _WRONG_VERSION: (
        "the broker does not speak MQTT 5",
        "Switch MQTT 5 on in the broker or take a newer one: older MQTT reports refused readings as taken.",
    ),
    133: ("the broker does not allow this gateway's client name", "Allow the client name `meterseal-…` in the broker."),
    134: _LET_IN,
    _NOT_AUTHORIZED: _LET_IN,
    136: ("the broker is out of service at present", "Nothing to do here: it is tried again by itself."),
    137: ("the broker is too busy at present", "Nothing to do here: it is tried again by itself."),
    138: ("the broker has banned this gateway", "Have the ban lifted in the broker."),
    139: ("the broker is shutting down", "Nothing to do here: it is tried again by itself."),
    140: ("the broker asks for another way of signing in", "Allow user name and password, or certificates, in the broker."),
    141: ("the broker has heard nothing from this gateway for too long", "Check the network between gateway and broker."),
    142: (
        "another client has connected to the broker with this gateway's name",
        "Two agents have the same `gateway:` in their site.yaml, or one agent runs twice. Stop one of them.",
    ),
    143: ("the broker does not allow what is asked for here", "Check `topic` in site.yaml, and the broker's access list (ACL)."),
    144: ("the broker does not allow this topic", "Check `topic` in site.yaml."),
    145: ("the broker still waits for the end of an earlier message", "Nothing to do here: it is tried again by itself."),
    146: ("the broker does not know the message that is answered", _LOG),
    147: ("the broker was sent more at once than it allows", _LOG),
    148: ("the broker does not allow short names for topics", _LOG),
    TOO_LARGE: ("this is larger than the broker takes", "Raise the broker's limit for the size of a message."),
    150: ("the broker finds that too much is sent", "Raise the broker's rate limit for this gateway."),
    151: ("the broker's limit for this gateway is used up", "Raise this gateway's quota in the broker."),
    152: ("somebody has ended the connection in the broker", "Ask whoever runs the broker."),
    153: ("the broker finds the content not to be what it is said to be", _LOG),
    NO_RETAIN: ("the broker does not keep retained messages", "Nothing to do: they are left out from now on."),
    155: ("the broker acknowledges nothing (no QoS 1)", "Switch QoS 1 on in the broker."),
    156: ("the broker asks to use another one at present", _ANOTHER),
    157: ("the broker has moved", _ANOTHER),
    158: ("the broker knows no shared subscriptions", "Nothing to do at this gateway: it asks for none."),
    159: ("the broker finds that this gateway connects too often", "Raise the broker's limit for connections."),
    160: ("the broker allows connections only for a certain time", "Nothing to do here: it is tried again by itself."),
    161: ("the broker cannot number subscriptions", "Nothing to do at this gateway: it asks for no numbers."),
    162: ("the broker does not allow + and # in what is asked for", "Allow them in the broker."),
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
    why, hint = _REASONS.get(code, (f"the broker gives reason {code}", _LOG))
    return Trouble(why, hint, words, code)


def connect_refused(code: int, words: str, version: str = "5") -> Trouble:
    """The broker answered the connection with no (CONNACK)."""
    if code == _WRONG_VERSION and version != "5":
        return Trouble(f"the broker does not speak MQTT {version}", "Take `version` out of site.yaml.", words, code)
    return replace(_reason(code, words), fault=_NOT_LET_IN if code in _LETS_NOT_IN else "")


def disconnected(code: int, words: str) -> Trouble:
    """The broker ended the connection and said why (DISCONNECT)."""
    if code < FIRST_REFUSAL:
        return Trouble("the broker ended the connection", _LOG, words, code)
    if code == _NOT_AUTHORIZED:
        return Trouble("the broker no longer lets this gateway in", _LET_IN[1], words, code, _NOT_LET_IN)
    return _reason(code, words)


def publish_refused(code: int, words: str, topic: str) -> Trouble:
    """The broker refused a message on a topic (PUBACK)."""
    if code == _NOT_AUTHORIZED:
        hint = f"Allow this gateway to write {topic} in the broker's access list (ACL)."
        return Trouble(f"the broker does not allow this gateway to publish on {topic}", hint, words, code)
    return _reason(code, words)


def broke_rules(why: str) -> Trouble:
    """The broker did what no honest one does; the connection was ended from here."""
    return Trouble(why, "Check that host and port are those of your broker. No reading is harmed: it is tried again by itself.")


def own_certificate_expired(name: str, at: str, over: bool) -> Trouble:
    """The certificate of this gateway is out of its time, and the broker does not let it in."""
    if over:
        hint = "Put a renewed one in its place: it is taken at the next attempt, without a restart."
        return Trouble(f"this gateway's own certificate ({name}) has expired on {at}", hint, fault=_CERTIFICATE)
    why = f"this gateway's own certificate ({name}) is valid only from {at} on"
    return Trouble(why, "Check the date of this gateway.", fault=_CERTIFICATE)


def broker_closed(code: int, was_connected: bool, version: str = "5") -> Trouble:
    """The connection ended without a word of the broker; `code` is what paho makes of it."""
    if code == 130 and was_connected:  # paho knows no reason 149 in an acknowledgement; mosquitto's message_size_limit gives it
        hint = "Look into the broker's log. Most often it found a message too large: raise its limit for the size of a message."
        return Trouble("the broker answered a message with something that MQTT 5 does not know", hint)
    if code == 130:
        return Trouble(
            f"the broker sent something that is not MQTT {version}", "Check that host and port are those of an MQTT broker."
        )
    if code == 141:
        return no_answer()
    if was_connected:
        again = "If it comes back again and again, two agents have the same `gateway:` in their site.yaml."
        return Trouble("the connection broke off", f"Check the network and that the broker is running. {again}")
    return Trouble(
        "the broker closed the connection without a word",
        f"Check that the port is the right one with or without `tls:`, and that the broker speaks MQTT {version}.",
    )


def no_answer() -> Trouble:
    """The connection stands, but nothing comes back."""
    return Trouble("the broker does not answer", "Check the network between gateway and broker, and the broker itself.")


def file_unusable(what: str, names: str, error: OSError) -> Trouble:
    """A certificate or key file under `tls:` is missing or holds something else."""
    said = error.strerror if error.strerror and not isinstance(error, ssl.SSLError) else "it does not hold what it should"
    if isinstance(error, ssl.SSLError) and "," in names:
        said = "they do not belong together, or the key has a password"
    why = f"the {what} under tls cannot be used ({names}): {said}"
    return Trouble(why, "Correct the files named under `tls:` in site.yaml.", fault=_CERTIFICATE)


def unreachable(error: Exception, host: str, port: int) -> Trouble:
    """No connection came about: the network, or the broker's certificate."""
    at = f"{host}:{port}"
    if isinstance(error, ssl.SSLCertVerificationError):
        return replace(_certificate(error, host), fault=_CERTIFICATE)
    if isinstance(error, ssl.SSLError):
        hint = "Check that the port is the broker's TLS port, and that the broker asks for no other certificate."
        return Trouble(f"no secure connection to {at} comes about ({error.reason or 'TLS'})", hint, fault=_CERTIFICATE)
    if isinstance(error, socket.gaierror | ValueError):
        return Trouble(f"the name {host} is not known", "Check `host` in site.yaml, and the gateway's name server (DNS).")
    if isinstance(error, ConnectionRefusedError):
        return Trouble(f"nothing listens at {at}", "Check that the broker is running, and host and port in site.yaml.")
    if isinstance(error, ConnectionError):
        hint = "Check that the port is the right one with or without `tls:`, and that the broker is not overloaded."
        return Trouble(f"{at} breaks the connection off at once", hint)
    if isinstance(error, TimeoutError):
        return Trouble(f"{at} does not answer", "Check the network cable or modem, and that no firewall stands between.")
    said = getattr(error, "strerror", None) or str(error)
    return Trouble(f"{at} cannot be reached: {said}", "Check the network cable or modem, and host and port in site.yaml.")


def _certificate(error: ssl.SSLCertVerificationError, host: str) -> Trouble:
    if error.verify_code in _WRONG_NAME:
        return Trouble(
            f"the broker's certificate is for another name than {host}",
            "Write in site.yaml the host name of the certificate, or have the certificate made for this one.",
        )
    if error.verify_code in (_NOT_YET, _EXPIRED):
        state = "has expired" if error.verify_code == _EXPIRED else "is not valid yet"
        return Trouble(f"the broker's certificate {state}", "Check the date of this gateway first; then renew the certificate.")
    if error.verify_code in _UNKNOWN_ISSUER:
        return Trouble(
            "the broker's certificate is not signed by the authority under `tls: ca`",
            "Copy the certificate of the broker's authority to the gateway and name it as `ca` under `tls:` in site.yaml.",
        )
    return Trouble(f"the broker's certificate does not hold: {error.verify_message}", _LOG)
