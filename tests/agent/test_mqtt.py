"""agent.mqtt and agent.mqtt_words: signing in, TLS, and every way in which a broker can say no, in plain words."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from tests.agent.delivery import Plant, caught_up, planted, running
from tests.brokers import Line, Mosquitto, until


@pytest.fixture
async def plant(tmp_path: Path) -> AsyncIterator[Plant]:
    async with planted(tmp_path) as made:
        yield made


# --- what stands in the way ----------------------------------------------------------------------------------------


async def test_a_wrong_password_is_told_once_in_plain_words_and_a_corrected_one_is_let_in(plant: Plant, tmp_path: Path) -> None:
    with Mosquitto(tmp_path, users={"gw1": "right"}) as broker:
        async with (
            Line(broker.port) as line,
            running(plant.forwarder(line.port, username="gw1", password="wrong")) as forwarder,
        ):
            await until(lambda: line.accepted > 2)
            assert (
                forwarder.state.why == "the broker does not accept the user name, the password or the certificate of this gateway"
            )
        assert len(plant.told("forward.cannot_connect")) == 1
        assert "password given to the agent" in plant.told("forward.cannot_connect")[0]["hint"]
        async with running(plant.forwarder(broker.port, username="gw1", password="right")) as forwarder:
            await until(lambda: caught_up(forwarder, plant))
    assert plant.told("forward.password_in_clear") == []  # it stays on this machine
    assert "wrong" not in repr(plant.events.entries)
    assert "right" not in repr(plant.events.entries)


async def test_a_password_that_would_cross_a_network_in_clear_is_warned_of_once(plant: Plant) -> None:
    # 0.0.0.0 is no loopback address by its number, and leads to this machine all the same.
    with Mosquitto(plant.path.parent, users={"gw1": "right"}) as broker:
        async with running(plant.forwarder(broker.port, host="0.0.0.0", username="gw1", password="right")) as forwarder:
            await until(lambda: caught_up(forwarder, plant))
    assert [entry["log_level"] for entry in plant.told("forward.password_in_clear")] == ["warning"]


async def _answering(answer: bytes) -> asyncio.Server:
    """A broker that answers each connection with the same bytes and closes it."""

    async def answer_once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1000)
        writer.write(answer)
        writer.close()

    return await asyncio.start_server(answer_once, "127.0.0.1", 0)


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        ("20020001", "the broker does not speak MQTT 5"),  # MQTT 3.1.1, section 3.2.2.3: unacceptable protocol version
        ("2003008400", "the broker does not speak MQTT 5"),
        ("2003008800", "the broker is out of service at present"),
        ("15030300020228", "the broker sent something that is not MQTT 5"),  # a TLS alert
        (b"HTTP/1.1 400 Bad Request\r\n".hex() * 4, "the broker sent something that is not MQTT 5"),
        ("", "the broker closed the connection without a word"),
    ],
)
async def test_a_broker_that_speaks_no_mqtt_5_is_told_in_plain_words(answer: str, why: str, plant: Plant) -> None:
    server = await _answering(bytes.fromhex(answer))
    async with server, running(plant.forwarder(server.sockets[0].getsockname()[1])) as forwarder:
        await until(lambda: forwarder.state.why)
        assert forwarder.state.why == why
        assert forwarder.state.hint
        assert forwarder.state.next_n == 0


async def test_the_brokers_own_words_are_told_on_one_line(plant: Plant) -> None:
    words = b"pay your bill\nfirst"
    properties = bytes([3 + len(words), 0x1F, 0, len(words)]) + words
    server = await _answering(bytes([0x20, 2 + len(properties), 0, 0x8A]) + properties)  # CONNACK, banned, reason string
    async with server, running(plant.forwarder(server.sockets[0].getsockname()[1])) as forwarder:
        await until(lambda: forwarder.state.why)
        assert forwarder.state.words == "pay your bill first"
    assert plant.told("forward.cannot_connect")[0]["broker_says"] == "pay your bill first"


async def test_a_broker_that_keeps_nothing_retained_gets_the_records_all_the_same(plant: Plant, tmp_path: Path) -> None:
    with Mosquitto(tmp_path, "retain_available false") as broker:
        async with running(plant.forwarder(broker.port)) as forwarder:
            await until(lambda: caught_up(forwarder, plant))
    assert plant.told("forward.cannot_connect")[0]["why"] == "the broker does not keep retained messages"


# --- TLS -----------------------------------------------------------------------------------------------------------


class Authority:
    """A certificate authority of its own, and the certificates it signs."""

    def __init__(self, folder: Path, name: str) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self._folder = folder
        usage = x509.BasicConstraints(ca=True, path_length=None)
        self.file = self._write(f"{name}.pem", self._signed(self._name, self._key.public_key(), usage))

    def certificate(self, name: str, *, days: int = 2) -> tuple[str, str]:
        """A certificate and its key for a host name or address, valid up to `days` from now."""
        key = ec.generate_private_key(ec.SECP256R1())
        names: x509.GeneralName = x509.DNSName(name)
        with contextlib.suppress(ValueError):
            names = x509.IPAddress(ipaddress.ip_address(name))
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        certificate = self._signed(subject, key.public_key(), x509.SubjectAlternativeName([names]), days=days)
        private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        return self._write(f"{name}-{days}.pem", certificate), self._write(f"{name}-{days}.key", private)

    def _signed(
        self, subject: x509.Name, public: ec.EllipticCurvePublicKey, extension: x509.ExtensionType, days: int = 2
    ) -> bytes:
        end = datetime.now(UTC) + timedelta(days=days)
        builder = x509.CertificateBuilder().subject_name(subject).issuer_name(self._name).public_key(public)
        builder = (
            builder.serial_number(x509.random_serial_number()).not_valid_before(end - timedelta(days=9)).not_valid_after(end)
        )
        return builder.add_extension(extension, critical=False).sign(self._key, hashes.SHA256()).public_bytes(Encoding.PEM)

    def _write(self, name: str, content: bytes) -> str:
        path = self._folder / name
        path.write_bytes(content)
        return str(path)


def tls_settings(certificate: str, key: str, *more: str) -> tuple[str, ...]:
    return (f"certfile {certificate}", f"keyfile {key}", *more)


async def test_records_go_through_tls_with_certificates_of_both_sides(plant: Plant, tmp_path: Path) -> None:
    authority = Authority(tmp_path, "plant-ca")
    settings = tls_settings(*authority.certificate("127.0.0.1"), f"cafile {authority.file}", "require_certificate true")
    with Mosquitto(tmp_path, *settings, "use_identity_as_username true") as broker:
        certificate, key = authority.certificate("gw1")
        tls = {"ca": authority.file, "certificate": certificate, "key": key}
        await plant.read(200)
        async with running(plant.forwarder(broker.port, tls=tls)) as forwarder:
            await until(lambda: caught_up(forwarder, plant))
        assert "u'gw1'" in broker.log()  # the name in our certificate
        async with running(plant.forwarder(broker.port, name="other", tls={"ca": authority.file})) as forwarder:
            await until(lambda: forwarder.state.why)
            assert forwarder.state.next_n == 0  # without a certificate of our own: not let in


@pytest.mark.parametrize(
    ("case", "why"),
    [
        ("wrong authority", "the broker's certificate is not signed by the authority under `tls: ca`"),
        ("wrong name", "the broker's certificate is for another name than localhost"),
        ("expired", "the broker's certificate has expired"),
        ("no file", "the ca under tls cannot be used (nowhere.pem): No such file or directory"),
        ("no certificate", "the ca under tls cannot be used ({empty}): it does not hold what it should"),
        (
            "foreign key",
            "the certificate and key under tls cannot be used ({pair}): they do not belong together, or the key has a password",
        ),
        ("no tls there", "127.0.0.1:{port} breaks the connection off at once"),
    ],
)
async def test_what_is_wrong_with_tls_is_told_in_plain_words(case: str, why: str, plant: Plant, tmp_path: Path) -> None:
    authority, stranger = Authority(tmp_path, "plant-ca"), Authority(tmp_path, "stranger")
    certificate, key = authority.certificate("127.0.0.1", days=-1 if case == "expired" else 2)
    (tmp_path / "empty.pem").write_text("")
    pair = {"certificate": certificate, "key": stranger.certificate("gw1")[1]}
    tls = {
        "wrong authority": {"ca": stranger.file},
        "no file": {"ca": "nowhere.pem"},
        "no certificate": {"ca": str(tmp_path / "empty.pem")},
        "foreign key": {"ca": authority.file, **pair},
    }.get(case, {"ca": authority.file})
    host = "localhost" if case == "wrong name" else "127.0.0.1"
    with Mosquitto(tmp_path, *(() if case == "no tls there" else tls_settings(certificate, key))) as broker:
        async with running(plant.forwarder(broker.port, host=host, tls=tls)) as forwarder:
            await until(lambda: forwarder.state.why)
            expected = why.format(port=broker.port, empty=tmp_path / "empty.pem", pair=", ".join(pair.values()))
            assert forwarder.state.why == expected
            assert forwarder.state.hint
            assert forwarder.state.next_n == 0


async def test_a_plain_connection_to_a_tls_port_is_told_in_plain_words(plant: Plant, tmp_path: Path) -> None:
    authority = Authority(tmp_path, "plant-ca")
    with Mosquitto(tmp_path, *tls_settings(*authority.certificate("127.0.0.1"))) as broker:
        async with running(plant.forwarder(broker.port)) as forwarder:
            await until(lambda: forwarder.state.why)
            assert forwarder.state.why == "the broker closed the connection without a word"
            assert "with or without `tls:`" in forwarder.state.hint
