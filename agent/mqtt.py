"""One connection to a broker over MQTT 5 (OASIS MQTT Version 5.0), or over 3.1.1 where the site file asks for it.

 1. A connection is used once. After a loss paho would send again whatever it holds, without regard to any window; so a
    new Connection with a new paho client is made, and what was not acknowledged is the caller's to publish again.
 2. paho runs in its own thread and stays alive when the agent is busy. Its callbacks only `tell`: a lock taken in
    one of them could wait for a thread that waits for paho's own lock.
 3. Only a reason of 128 and more in an acknowledgement tells a refused publish; MQTT 3.1.1 acknowledges it as a
    success. So 3.1.1 is spoken only where the site file says so.
 4. A broker may be anybody's: a packet larger than we ever asked for, and a message nobody asked for, end the connection.

What it does not know: records, windows, the ledger, and when to try again.
"""

from __future__ import annotations

import contextlib
import ipaddress
import socket
import ssl
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, cast

from paho.mqtt.client import Client, ConnectFlags, DisconnectFlags, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from agent.mqtt_tls import FileUnusable, own_expired, tls_context
from agent.mqtt_words import Trouble, broke_rules, broker_closed, connect_refused, disconnected, unreachable
from config.language import _
from config.site import Mqtt

_CONNECT_SECONDS = 10.0
_UNLIMITED = 2**28
LARGEST_ARRIVAL = 65_536
_MOST_IN_FLIGHT = 65535
_WITH_WILL = 4


@dataclass(frozen=True, slots=True)
class Message:
    """Something to publish, at QoS 1 unless it may be lost."""

    topic: str
    payload: bytes
    content_type: str
    retain: bool = False
    qos: int = 1

    @property
    def size(self) -> int:
        """How many bytes its PUBLISH packet has at most (MQTT 5.0, section 3.3)."""
        return 16 + len(self.topic.encode()) + len(self.content_type) + len(self.payload)


@dataclass(frozen=True, slots=True)
class Connected:
    """The broker took the connection, within these limits (MQTT 5.0, section 3.2.2.3)."""

    receive_maximum: int
    largest_packet: int
    retains: bool


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """The broker answered a publish: reason 0 is taken, 16 taken without a subscriber, 128 and more refused."""

    mid: int
    code: int
    words: str


@dataclass(frozen=True, slots=True)
class Lost:
    """There is no connection, or none any more."""

    trouble: Trouble


@dataclass(frozen=True, slots=True)
class Arrived:
    """A message of a topic that was subscribed. `retained`: the broker had kept it; else somebody publishes it just now."""

    topic: str
    payload: bytes
    retained: bool


Event = Connected | Acknowledged | Lost | Arrived
Tell = Callable[[Event], None]


def port_of(destination: Mqtt) -> int:
    """The broker's port: as declared, else 8883 with TLS and 1883 without."""
    return destination.port or (8883 if destination.tls else 1883)


def on_this_machine(host: str) -> bool:
    """Whether a host is this machine itself, so that nothing sent to it passes a network."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class Connection:
    """A connection to a broker with clean start, from `open` to `drop`.

    `tell` is called from other threads: once with Connected, for each acknowledgement with Acknowledged, and at least
    once with Lost when the connection could not be made or has ended. `will` is what the broker publishes when the
    connection ends without a word, or with `leave`.
    """

    def __init__(
        self,
        destination: Mqtt,
        client_id: str,
        password: str | None,
        will: Message | None,
        tell: Tell,
        largest: int = LARGEST_ARRIVAL,
    ) -> None:
        self._destination = destination
        self._largest = largest
        self._tell = tell
        self._lock = threading.Lock()
        self._dropped = False
        self._speaks_5 = destination.version == "5"
        self._will = will
        self._client = _client(destination, client_id, password, will)
        self._client.largest = largest
        _listen(self._client, destination, tell)

    def open(self) -> None:
        """Begins to connect; returns at once. Names are looked up and TLS is agreed in a thread of its own."""
        threading.Thread(target=self._open, name=f"connect {self._destination.name}", daemon=True).start()

    def publish(self, message: Message) -> int:
        """Hands a message to paho; the packet identifier that its acknowledgement will carry."""
        properties = _properties(message.content_type) if self._speaks_5 else None
        made = self._client.publish(message.topic, message.payload, message.qos, message.retain, properties)
        return made.mid

    def subscribe(self, topics: Sequence[str]) -> None:
        """Asks for the messages of these topics at QoS 1; they are told as Arrived. Only after Connected."""
        self._client.asks = True
        if self._speaks_5:
            self._client.subscribe([(topic, SubscribeOptions(qos=1)) for topic in topics])
        else:
            self._client.subscribe([(topic, 1) for topic in topics])

    def leave(self) -> None:
        """Disconnects in order and has the broker publish the will (MQTT 5.0, section 3.14.2.1, reason 4).

        MQTT 3.1.1 cannot ask for that: the will is published from here, before.
        """
        if self._speaks_5:
            self._client.disconnect(ReasonCode(PacketTypes.DISCONNECT, identifier=_WITH_WILL))
            return
        if self._will:
            self.publish(self._will)
        self._client.disconnect()

    def drop(self) -> None:
        """Lets go of the connection at once, whatever state it is in; paho's thread then ends by itself."""
        with self._lock:
            self._dropped = True
            held = cast("socket.socket | None", self._client.socket())
        if held is not None:
            with contextlib.suppress(OSError):
                # The plain socket's own shutdown: that of a TLS socket takes the TLS state from under paho's thread.
                socket.socket.shutdown(held, socket.SHUT_RDWR)

    def _open(self) -> None:
        client = self._client
        host, port = self._destination.host, port_of(self._destination)
        try:
            if self._destination.tls:
                client.tls_set_context(tls_context(self._destination.tls))
            if self._speaks_5:
                client.connect(host, port, self._destination.keepalive, clean_start=True, properties=_largest(self._largest))
            else:
                client.connect(host, port, self._destination.keepalive)
        except FileUnusable as error:
            self._tell(Lost(error.trouble))
            return
        except (OSError, ValueError) as error:  # ValueError: no host can have this name
            expired = own_expired(self._destination.tls) if isinstance(error, ssl.SSLError) else None
            of_broker = isinstance(error, ssl.SSLCertVerificationError)
            self._tell(Lost(expired if expired and not of_broker else unreachable(error, host, port)))
            return
        with self._lock:
            if self._dropped:
                client.disconnect()
            else:
                client.loop_start()


@lru_cache(maxsize=8)
def _properties(content_type: str) -> Properties:
    """The properties of a publish; paho reads them and changes nothing."""
    properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]  # paho leaves its __init__ unannotated
    properties.ContentType = content_type
    return properties


def _largest(size: int) -> Properties:
    """Nothing larger than this is sent to us by a broker (MQTT 5.0, section 3.1.2.11.4)."""
    properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]  # the same
    properties.MaximumPacketSize = size
    return properties


class _Client(Client):
    """paho's client, with a limit to what a broker can make it hold.

    Attributes:
        asks: whether anything is subscribed.
        largest: bytes of the largest packet that is taken.
        broke: what the broker did that ended the connection, in plain words; empty if nothing.
    """

    asks = False
    largest = LARGEST_ARRIVAL
    broke = ""

    def _sock_recv(self, bufsize: int) -> bytes:
        """paho asks here for all that is left of a packet: before one that is too large has any memory."""
        if bufsize > self.largest:
            self.broke = _("the broker sent something far too large")
            raise ConnectionAbortedError(self.broke)
        return super()._sock_recv(bufsize)

    def _handle_publish(self) -> MQTTErrorCode:
        """A message has arrived. At quality of service 2 paho would keep it; nothing is ever subscribed so."""
        if not self.asks or self._in_packet["command"] & 0b100:
            self.broke = _("the broker sent a message that nobody here asked for")
            return MQTTErrorCode.MQTT_ERR_PROTOCOL
        return super()._handle_publish()


def _client(destination: Mqtt, client_id: str, password: str | None, will: Message | None) -> _Client:
    speaks_5 = destination.version == "5"
    client = _Client(
        CallbackAPIVersion.VERSION2,
        client_id=client_id,
        clean_session=None if speaks_5 else True,
        protocol=MQTTProtocolVersion.MQTTv5 if speaks_5 else MQTTProtocolVersion.MQTTv311,
        reconnect_on_failure=False,
    )
    client.connect_timeout = _CONNECT_SECONDS
    client.max_inflight_messages = _MOST_IN_FLIGHT  # the window is the caller's
    if destination.username is not None or password is not None:
        client.username_pw_set(destination.username or "", password)
    if will:
        properties = Properties(PacketTypes.WILLMESSAGE) if speaks_5 else None  # type: ignore[no-untyped-call]  # the same
        if properties:
            properties.ContentType = will.content_type
        client.will_set(will.topic, will.payload, qos=1, retain=will.retain, properties=properties)
    return client


def _listen(client: _Client, destination: Mqtt, tell: Tell) -> None:
    """Has paho's callbacks tell. They hold no reference to a Connection or its client: the client goes when that goes."""
    taken = threading.Event()

    def on_connect(_client: Client, _: Any, __: ConnectFlags, reason: ReasonCode, properties: Properties | None) -> None:
        if reason.is_failure:
            tell(Lost(connect_refused(reason.value, _words(properties), destination.version)))
            return
        taken.set()
        tell(
            Connected(
                receive_maximum=getattr(properties, "ReceiveMaximum", _MOST_IN_FLIGHT),
                largest_packet=getattr(properties, "MaximumPacketSize", _UNLIMITED),
                retains=bool(getattr(properties, "RetainAvailable", 1)),
            )
        )

    def on_publish(_client: Client, _: Any, mid: int, reason: ReasonCode, properties: Properties | None) -> None:
        tell(Acknowledged(mid, reason.value, _words(properties)))

    def on_disconnect(own: Client, _: Any, flags: DisconnectFlags, reason: ReasonCode, properties: Properties | None) -> None:
        if broke := cast("_Client", own).broke:
            tell(Lost(broke_rules(broke)))
        elif not taken.is_set() and (expired := own_expired(destination.tls)):
            tell(Lost(expired))
        elif flags.is_disconnect_packet_from_server:
            tell(Lost(disconnected(reason.value, _words(properties))))
        else:
            tell(Lost(broker_closed(reason.value, taken.is_set(), destination.version)))

    def on_message(_client: Client, _: Any, message: MQTTMessage) -> None:
        tell(Arrived(message.topic, bytes(message.payload), message.retain))

    client.on_message = on_message
    client.on_connect = on_connect
    client.on_publish = on_publish
    client.on_disconnect = on_disconnect


def _words(properties: Properties | None) -> str:
    """What the broker says itself, if it does: one line, at most 200 characters."""
    text = str(getattr(properties, "ReasonString", ""))
    return "".join(letter if letter.isprintable() else " " for letter in text)[:200].strip()
