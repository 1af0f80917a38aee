"""The site file: which meters hang on which links, and where their readings go.

`Site` is what an electrician writes, checked key by key; the rules that need the whole file at once (a
duplicate address on one line, a link nobody named) stand in `config.check`.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Discriminator, Field, Tag, WithJsonSchema

from config.keep import Keep
from config.language import N_, _
from config.mistake import KIND, shown
from config.modbus import ModbusPoint
from config.model import Declared, Medium
from config.opcua import OpcuaPoint
from config.plate import Certificate, Day, Months, Papers
from config.ratio import OwnRatio
from config.scalar import SPAN_SCHEMA, FreeText, QuantityName, SerialFormat, Shape, Span, Whole, as_decimal, as_text, span_ms
from config.scalar import Name as Name
from config.scalar import PlainText as PlainText

_DAY = 86_400_000
_SHORTEST = 100
_NO_PORT = N_("is not a serial port; write the port's path such as /dev/ttyUSB0 or /dev/serial/by-id/..., or socket://host:port")


def _interval(value: object) -> object:
    text = as_text(value)
    if not isinstance(text, str):
        return _("a time span") if isinstance(text, bool) else text
    milliseconds = span_ms(text)
    if milliseconds < _SHORTEST or _DAY % milliseconds:
        raise ValueError(
            _(
                "{text} does not divide a day into equal parts; take 1s, 5s, 10s, 15s, 30s, 1m, 5m, 10m, 15m, 30m or 1h",
                text=shown(text),
            )
        )
    return milliseconds


# In milliseconds.
Interval = Annotated[int, BeforeValidator(_interval), WithJsonSchema(SPAN_SCHEMA)]
# Which addresses there are is the protocol's matter (`config.protocols`), checked once the meter's model is known.
Address = Annotated[str, Shape(r"[^\x00-\x1f\x7f]{0,40}", N_("is not a meter's address"))]
Port = Annotated[Whole, Field(ge=1, le=65535)]
_PORT = "(6553[0-5]|655[0-2][0-9]|65[0-4][0-9]{2}|6[0-4][0-9]{3}|[0-5]?[0-9]{1,4})"
Endpoint = Annotated[str, Shape(f"[A-Za-z0-9._-]{{1,253}}:{_PORT}", N_("is not host:port; write for example 192.168.1.20:502"))]
Host = Annotated[str, Shape("[A-Za-z0-9.:_-]{1,253}", N_("is not a host; write only its name or address, such as 192.168.1.5"))]
SerialPort = Annotated[str, Shape(rf"/[^\s\x00]{{1,200}}|(socket|rfc2217)://[A-Za-z0-9._-]{{1,253}}:{_PORT}", _NO_PORT)]
GatewayName = Annotated[
    str,
    Shape(
        "[a-z0-9][a-z0-9-]{0,39}/[a-z0-9][a-z0-9-]{0,39}",
        N_("is not site/gateway; write two words of small letters, digits and dashes, such as plant-north/gateway-1"),
    ),
]
Topic = Annotated[
    str,
    Shape(
        r"[^#+$\x00-\x1f\x7f-\x9f]{1,200}",
        N_("is not a topic; write words with / between them, without +, # and $, such as meterseal/v1"),
    ),
]
WitnessKey = Annotated[
    str,
    Shape(
        r"[^\s+]{1,100}\+[0-9a-f]{8}\+[A-Za-z0-9+/]{44}",
        N_("is not a witness's key line; copy it as `meterseal witness init` printed it"),
    ),
]
CollectorKey = Annotated[
    str,
    Shape(
        r"[^\s+]{1,100}\+[0-9a-f]{8}\+[A-Za-z0-9+/]{44}",
        N_("is not a collector's key line; copy it as `meterseal collect init` printed it"),
    ),
]
GatewayKey = Annotated[
    str,
    Shape(
        r"meterseal/[a-z0-9-]{1,40}/[a-z0-9-]{1,40}\+[0-9a-f]{8}\+[A-Za-z0-9+/]{44}",
        N_("is not a gateway's key line; copy it from the enrolment form (Public key)"),
    ),
]
UsedName = Annotated[str, Shape(r"[^\x00-\x1f\x7f]{1,120}", N_("is not a name"))]
Framing = Literal["tcp", "rtu", "ascii"]
Server = Annotated[
    str,
    Shape(
        rf"opc\.tcp://[A-Za-z0-9._-]{{1,253}}(:{_PORT})?(/[!-~]{{0,200}})?",
        N_("is not the address of an OPC UA server; write for example opc.tcp://192.168.1.30:4840/path"),
    ),
]
Uri = Annotated[
    str, Shape(r"[!-~]{1,400}", N_("is not the server's application URI; `meterseal trust` shows it, such as urn:plant:scada"))
]
Fingerprint = Annotated[
    str,
    Shape(
        "sha256:[0-9a-fA-F]{64}",
        N_("is not a certificate's fingerprint; write sha256: and its 64 hexadecimal digits, as `meterseal trust` shows them"),
    ),
]
# Those that OPC 10000-7 has withdrawn are read too, to be told of with what to write instead (`config.opcua_rules`).
Policy = Annotated[
    str,
    Shape(
        "None|Basic256Sha256|Aes128_Sha256_RsaOaep|Aes256_Sha256_RsaPss|Basic128Rsa15|Basic256",
        N_("is not a security policy; write Basic256Sha256, Aes128_Sha256_RsaOaep, Aes256_Sha256_RsaPss or None"),
    ),
]


class Link(Declared):
    """One way to meters: an RS-485 line on a serial port, a TCP connection, or an OPC UA server."""

    serial: SerialPort | None = None
    """The serial port, such as /dev/ttyUSB0; socket:// or rfc2217:// for serial servers. Either this or tcp or opcua."""
    tcp: Endpoint | None = None
    """host:port of a meter or converter, such as 192.168.1.20:502. Either this or serial or opcua."""
    opcua: Server | None = None
    """An OPC UA server, such as opc.tcp://192.168.1.30:4840/path. Either this or serial or tcp."""
    framing: Framing | None = None
    """tcp (Modbus TCP) on tcp and rtu on serial unless said otherwise; rtu on tcp is a transparent serial server."""
    baud: Annotated[Whole, Field(ge=300, le=921600)] | None = None
    """Bits per second of the line; else what its meters' models say."""
    format: SerialFormat | None = None
    """Data bits, parity and stop bits, such as 8N1; else what its meters' models say."""
    timeout_ms: Annotated[Whole, Field(ge=10, le=60000)] | None = None
    """How long a meter may take to begin its answer, in milliseconds; else what its model says."""
    longest_answer_ms: Annotated[Whole, Field(ge=10, le=120000)] | None = None
    """How late the slowest meter may still answer, in milliseconds: after a timeout the line is silent for so long,
    so that a late answer is never taken for another one."""
    security: Policy | None = None
    """For opcua: how the connection is protected; Basic256Sha256 unless said otherwise. None: anybody can read and alter it."""
    mode: Literal["Sign", "SignAndEncrypt"] | None = None
    """For opcua: whether what is said is only signed, or encrypted too; SignAndEncrypt unless said otherwise."""
    login: Literal["anonymous", "user", "certificate"] | None = None
    """For opcua: how the gateway logs in; anonymous unless said otherwise, user where user is given."""
    user: Annotated[str, Shape(r"[^\x00-\x1f\x7f]{1,200}", N_("is not a user name"))] | None = None
    """For opcua: the user name; the password stands in the environment or in a secrets file, never here."""
    certificate: Fingerprint | None = None
    """For opcua: the fingerprint of the server's certificate; else the one that `meterseal trust` has kept."""
    server: Uri | None = None
    """For opcua: the server's application URI, held against what it says at every connect and in every reading."""

    @property
    def frames(self) -> Framing:
        """The framing in force of Modbus; other protocols have their own."""
        return self.framing or ("tcp" if self.tcp else "rtu")

    @property
    def policy(self) -> Policy:
        """The OPC UA security policy in force."""
        return self.security or "Basic256Sha256"

    @property
    def protection(self) -> Literal["None", "Sign", "SignAndEncrypt"]:
        """The OPC UA message security mode in force."""
        return "None" if self.policy == "None" else self.mode or "SignAndEncrypt"

    @property
    def identity(self) -> Literal["anonymous", "user", "certificate"]:
        """How the gateway logs in at the OPC UA server."""
        return self.login or ("user" if self.user else "anonymous")


class Fast(Declared):
    """Quantities that are read more often than the rest of a meter."""

    every: Interval
    """How often they are read, such as 5s."""
    quantities: Annotated[tuple[QuantityName, ...], Field(min_length=1)]
    """Which ones. They are left out of the meter's other readings."""


class Changes(Declared):
    """Quantities behind an OPC UA server whose every change is told between two readings, not only how they stand then."""

    quantities: Annotated[tuple[QuantityName, ...], Field(min_length=1)]
    """Which ones; they are among those that are read."""
    sampling: Annotated[Span, Field(ge=50, le=60_000)] = 500
    """How often the server looks whether they have changed, such as 500ms."""
    queue: Annotated[Whole, Field(ge=2, le=10_000)] = 100
    """So many changes the server keeps of each until they are fetched; with only one it would not tell what was lost."""


def _protocol_of_point(value: object) -> str:
    """Which kind of point an entry is meant to be: one with a node is OPC UA's, all others are Modbus'."""
    at = value.get("at") if isinstance(value, dict) else getattr(value, "at", None)
    return OPCUA_POINT if isinstance(value, OpcuaPoint) or (isinstance(at, dict) and "node" in at) else MODBUS_POINT


MODBUS_POINT, OPCUA_POINT = f"{KIND}modbus", f"{KIND}opcua"
OwnPoint = Annotated[
    Annotated[ModbusPoint, Tag(MODBUS_POINT)] | Annotated[OpcuaPoint, Tag(OPCUA_POINT)], Discriminator(_protocol_of_point)
]


class Meter(Declared):
    """One meter: its own number, its link, model and address, and what is printed on its plate."""

    id: Name
    """The meter's name in all records; never given to another meter."""
    link: UsedName
    """The link it hangs on, as named under links."""
    model: UsedName
    """Its model: the name of a file in config/models or in a folder listed under models."""
    address: Address = ""
    """Its address on the link, as on its display or plate: on Modbus 1 to 247."""
    serial: PlainText = ""
    """The serial number printed on its plate."""
    ct: OwnRatio | None = None
    """Current transformer ratio as on its plate, such as 400/5; 1 for a meter without transformers; unknown for now."""
    vt: OwnRatio | None = None
    """Voltage transformer ratio as on its plate, such as 10000/100; 1 for a meter without transformers; unknown for now."""
    place: PlainText = ""
    """Where it is mounted and what it measures."""
    maker: Papers | None = None
    """The maker on its plate, where that is not the one its model names."""
    product: Papers | None = None
    """The type on its plate, where that is not the one its model names."""
    medium: Medium | None = None
    """What flows through it, where its model does not say: generic models."""
    pipe_mm: Annotated[Whole, Field(ge=1, le=5000)] | None = None
    """Inner diameter of the pipe in millimetres, of a meter of volume: what cannot have flowed through it is not counted."""
    accuracy_class: Papers | None = None
    """Its class, such as 0.5S."""
    measuring_range: Papers | None = None
    """Its range, such as 3x1.5(6) A or 0.2-20 m3/h."""
    certificate: Certificate | None = None
    """Its newest certificate, such as {number: DL2025-03318, valid_until: 2027-06-30}."""
    verification_months: Months | None = None
    """How often it must be verified, in months, such as 72."""
    seal: Papers | None = None
    """The number of the seal on it."""
    installed: Day | None = None
    """The day since which it hangs there, such as 2026-02-01."""
    every: Interval | None = None
    """How often it is read, such as 15m; else what the site says."""
    quantities: tuple[QuantityName, ...] = ()
    """What is read; else what its model reads by default."""
    fast: Fast | None = None
    """Quantities that are read more often than the rest, such as {every: 5s, quantities: [active_power]}."""
    changes: Changes | None = None
    """For OPC UA: what is told at every change, such as {quantities: [active_power], sampling: 500ms, queue: 100}."""
    baud: Annotated[Whole, Field(ge=300, le=921600)] | None = None
    """Its own speed, where the meters of a line have several; else the link's."""
    format: SerialFormat | None = None
    """Its own data bits, parity and stop bits, where the meters of a line have several; else the link's."""
    points: tuple[OwnPoint, ...] = ()
    """For generic models only: the meter's own registers, or the nodes of its server."""


class Tls(Declared):
    """Certificates of a broker connection: the authority that vouches for the broker, and our own if it asks."""

    ca: FreeText | None = None
    """File with the certificate of the authority that signed the broker's; else the system's authorities."""
    certificate: FreeText | None = None
    """File with the gateway's own certificate, where the broker asks for one."""
    key: FreeText | None = None
    """File with the private key of that certificate."""


class Batch(Declared):
    """Several records in one message, for links where each byte is paid for."""

    seconds: Annotated[Whole, Field(ge=1, le=3600)] = 60
    """How long readings are gathered before they are sent, in seconds."""
    compress: Literal["gzip", "none"] = "gzip"
    """How the message is compressed."""


class Mqtt(Declared):
    """One broker that readings are delivered to. Its password never stands here."""

    name: Name = "broker"
    """A name of its own where there are several; its delivery is counted under it."""
    host: Host
    """The broker's name or address."""
    port: Port | None = None
    """1883 without tls and 8883 with it, unless said otherwise."""
    username: Annotated[str, Shape(r"[^\x00-\x1f\x7f]{1,200}", N_("is not a user name"))] | None = None
    """The user name; the password stands in the environment or in a secrets file, never here."""
    tls: Tls | None = None
    """Certificates; `tls: {}` for an encrypted connection with the system's authorities."""
    topic: Topic = "meterseal/v1"
    """What all topics begin with."""
    window: Annotated[Whole, Field(ge=1, le=1000)] = 20
    """How many records may be under way before the broker has acknowledged them."""
    keepalive: Annotated[Whole, Field(ge=5, le=3600)] = 30
    """Seconds after which a silent connection is tested."""
    collector: CollectorKey | None = None
    """Key line of the collector behind this broker, as `meterseal collect init` prints it: then a record counts as delivered
    once the collector's receipt covers it. None: once the broker has acknowledged it."""
    version: Annotated[Literal["5", "3.1.1"], BeforeValidator(as_text)] = "5"
    """The MQTT version; 3.1.1 only for a broker that has no 5, for there a refused reading looks as if it were taken."""
    backlog_per_second: Annotated[Whole, Field(ge=1, le=100_000)] = 500
    """How many records a second at most are sent of what has piled up while the broker was away."""
    batch: Batch | None = None
    """For metered links: several records in one compressed message, such as {seconds: 60}."""
    topics: Literal["gateway", "places"] = "gateway"
    """Where a meter's topics stand: below the gateway, or as in a unified namespace below the site and the meter's place."""
    numbers: Literal["none", "sent", "retained"] = "none"
    """For dashboards: each value once more, as a message of its own; retained if the broker shall keep the newest one."""


class Timestamp(Declared):
    """An authority that stamps checkpoints with its time (RFC 3161)."""

    url: Annotated[
        str, Shape(r"https?://[^\s\x00-\x1f\x7f]{1,300}", N_("is not the address of a timestamp authority; write http://…"))
    ]
    """Where it answers."""
    every: Interval = 86_400_000
    """How often it is asked, such as 24h."""


class Site(Declared):
    """A whole site file."""

    gateway: GatewayName
    """The site's and this gateway's name, with / between them. It stands in every record and is never changed."""
    timezone: UsedName = "UTC"
    """The plant's time zone, such as Asia/Shanghai: days are closed at its midnight."""
    every: Interval = 900_000
    """How often each meter is read unless it says otherwise, such as 15m."""
    commit_seconds: Annotated[float, BeforeValidator(as_decimal), Field(ge=0, le=10)] = 1.0
    """How many seconds readings may be gathered before they are written to disk: 0 writes each at once."""
    models: tuple[UsedName, ...] = ()
    """Folders with model files of your own, relative to the site file; one called models beside it needs no mention."""
    links: Annotated[dict[Name, Link], Field(min_length=1)]
    """The ways to the meters, each under a name of its own."""
    meters: Annotated[tuple[Meter, ...], Field(min_length=1)]
    """All meters."""
    page: Endpoint | None = None
    """Where the agent serves its status page, such as 127.0.0.1:8480 for this machine only; none without it. Extra `page`."""
    witnesses: tuple[WitnessKey, ...] = ()
    """Key lines of those outside who cosign this gateway's checkpoints, as `meterseal witness init` prints them."""
    timestamp: Timestamp | None = None
    """An authority that stamps the newest checkpoint with its time now and then; the extra `timestamp` must be installed."""
    keep: Keep = Keep()
    """How long readings stay on the gateway, such as {months: 36, megabytes: 4000}."""
    mqtt: tuple[Mqtt, ...] = ()
    """The brokers that readings are delivered to. None: readings stay in the ledger."""
