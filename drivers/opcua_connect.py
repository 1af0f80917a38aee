"""Connecting to an OPC UA server: who answers is checked before anything is believed, and what fails is told in plain words.

 1. With security, the server's certificate must be the one that is pinned, and it must prove that it holds its key. What a
    server merely offers is never accepted. Its application URI is checked as well, at every connect.
 2. Always the host that the user wrote: servers tell names that only resolve in their own network.

What this file does not know: what is read (`drivers.opcua_session`).
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

from asyncua import ua
from asyncua.crypto import security_policies
from asyncua.crypto.uacrypto import CertProperties
from asyncua.ua.uaerrors import UaStatusCodeError

from config.language import _
from drivers.errors import LinkDown
from drivers.opcua_client import TellingClient as Client
from drivers.opcua_failure import (
    hung_up,
    lost,
    not_offered,
    not_opcua,
    other_server,
    password_in_clear,
    refused,
    silent,
    unreachable,
    untrusted,
)
from drivers.opcua_settings import ENCRYPTED, ServerSettings
from drivers.wire import why_not_connected

_POLICIES: dict[str, Any] = {
    "Basic256Sha256": security_policies.SecurityPolicyBasic256Sha256,
    "Aes128_Sha256_RsaOaep": security_policies.SecurityPolicyAes128Sha256RsaOaep,
    "Aes256_Sha256_RsaPss": security_policies.SecurityPolicyAes256Sha256RsaPss,
}
_SESSION_MS = 600_000
_CHANNEL_MS = 3_600_000
_TABLES = ("i=2255", "i=2254")  # Server_NamespaceArray, Server_ServerArray
_MOST_NODES = "i=11705"  # Server_ServerCapabilities_OperationLimits_MaxNodesPerRead

# It tells of every failure by itself, at length and with tracebacks. What a person needs is in the errors raised here.
logging.getLogger("asyncua").setLevel(logging.CRITICAL + 1)


@dataclass(frozen=True, slots=True)
class Connection:
    """A server that was reached, checked and logged in to.

    Attributes:
        client: asyncua's, without any task of its own.
        namespaces: its table of namespaces.
        server: its application URI.
        certificate: SHA-256 of its certificate, hexadecimal; empty without security.
        most: so many nodes it takes in one Read; 0 if it states no limit.
    """

    client: Client
    namespaces: tuple[str, ...]
    server: str
    certificate: str
    most: int


async def connected(settings: ServerSettings) -> Connection:
    """Connects, checks who answers, and logs in. Raises LinkDown."""
    client = _new_client(settings)
    try:
        certificate = await _trusted(settings, client) if settings.secure else ""
        await _reach(settings, client)
        await client.send_hello()
        try:
            await client.open_secure_channel()
        except ConnectionError:
            raise (hung_up if settings.secure else lost)(settings) from None
        created = await client.create_session()
        await _log_in(settings, client)
        namespaces, servers = await _tables(client)
        server = servers[0] if servers else _uri_in(created.ServerEndpoints)
        _must_be(settings, server)
        return Connection(client, namespaces, server, certificate, await _limit(client))
    except BaseException as error:
        drop(client)
        if isinstance(error, Exception):
            raise why_down(settings, error) from None
        raise


async def endpoints_of(settings: ServerSettings) -> Sequence[Any]:
    """What a server tells of its endpoints to whoever asks; nothing of it is proven. Raises LinkDown, UaError, OSError."""
    asking = _new_client(settings)
    try:
        await _reach(settings, asking)
        await asking.send_hello()
        await asking.open_secure_channel()
        return await asking.get_endpoints()
    finally:
        drop(asking)


def drop(client: Client) -> None:
    """Lets go of a client's connection at once, whatever is still to be sent on it."""
    protocol = client.uaclient.protocol
    if protocol is not None and protocol.transport is not None:
        protocol.transport.abort()
    client.uaclient.disconnect_socket()


def why_down(settings: ServerSettings, error: Exception, *, reading: bool = False) -> LinkDown:
    """An error of asyncua or of the network as a reason that people understand. `reading`: it had let us in before."""
    if isinstance(error, LinkDown):
        return error
    if isinstance(error, TimeoutError):
        return silent(settings)
    if isinstance(error, OSError):
        return lost(settings)
    if name := status_of(error):
        return refused(settings, name, reading=reading)
    if type(error).__name__ == "InvalidSignature" or "certificate mismatch" in str(error):
        return untrusted(settings, "")
    if "No matching endpoints" in str(error):
        return not_offered(settings, [])
    return not_opcua(settings, str(error) or type(error).__name__)


def status_of(error: BaseException) -> str:
    """The name of the status code that an error is about; empty if it is about none."""
    return str(ua.StatusCode(error.code).name) if isinstance(error, UaStatusCodeError) else ""


def _new_client(settings: ServerSettings) -> Client:
    client = Client(settings.url, timeout=settings.timeout_s)
    client.name = client.description = "meterseal"
    client.application_uri = settings.application
    client.product_uri = "urn:meterseal"
    client.session_timeout, client.secure_channel_timeout = _SESSION_MS, _CHANNEL_MS
    return client


async def _reach(settings: ServerSettings, client: Client) -> None:
    try:
        await client.connect_socket()
    except (OSError, ValueError) as error:  # TimeoutError is an OSError; ValueError: a host name that cannot be one
        endpoint = f"{client.server_url.hostname}:{client.server_url.port}"
        why = (
            _("{endpoint} does not answer", endpoint=endpoint)
            if isinstance(error, TimeoutError)
            else why_not_connected(endpoint, error)
        )
        raise unreachable(settings, why) from None


async def _trusted(settings: ServerSettings, client: Client) -> str:
    """Asks which certificate the server has, and prepares the client for the one that is pinned; its SHA-256."""
    endpoints = await endpoints_of(settings)
    policy, mode = _POLICIES[settings.security], ua.MessageSecurityMode[settings.mode]
    offered = [each for each in endpoints if each.SecurityPolicyUri == policy.URI and each.SecurityMode == mode]
    if not offered:
        raise not_offered(settings, sorted({_described(each) for each in endpoints}))
    certificate = first_certificate(offered[0].ServerCertificate or b"")
    fingerprint = hashlib.sha256(certificate).hexdigest()
    if fingerprint != settings.pin:
        raise untrusted(settings, fingerprint)
    _must_be(settings, _uri_in(offered))
    own, key = CertProperties(settings.certificate or b"", "der"), CertProperties(settings.key or b"", "pem")
    await client.set_security(policy, own, key, None, CertProperties(certificate, "der"), mode)
    return fingerprint


async def _log_in(settings: ServerSettings, client: Client) -> None:
    if settings.login == "user":
        in_clear = client.server_policy(ua.UserTokenType.UserName).SecurityPolicyUri.endswith("#None")
        if in_clear and not (settings.secure and settings.mode == ENCRYPTED):
            raise password_in_clear(settings)
        await client.activate_session(username=settings.user, password=settings.password)
        return
    if settings.login == "certificate":
        await client.load_client_certificate(str(settings.certificate), "der")
        await client.load_private_key(cast("Any", settings.key), extension="pem")
    await client.activate_session(certificate=client.user_certificate)


async def _tables(client: Client) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The server's namespaces, and its servers, of which the first is itself."""
    nodes = [client.get_node(name) for name in _TABLES]
    found = await asyncio.gather(*(node.read_data_value(raise_on_bad_status=False) for node in nodes))
    tables = [each.Value.Value if each.Value is not None else None for each in found]
    return tuple(tables[0] or ()), tuple(tables[1] or ())


async def _limit(client: Client) -> int:
    """How many nodes the server takes in one Read (OPC 10000-5, 6.3.11); 0 if it does not say."""
    found = await client.get_node(_MOST_NODES).read_data_value(raise_on_bad_status=False)
    value = found.Value.Value if found.Value is not None else None
    return value if isinstance(value, int) and value > 0 else 0


def _must_be(settings: ServerSettings, found: str) -> None:
    if settings.server and found != settings.server:
        raise other_server(settings, found)


def _uri_in(endpoints: Sequence[Any]) -> str:
    return next((each.Server.ApplicationUri or "" for each in endpoints), "")


def _described(endpoint: Any) -> str:
    policy = str(endpoint.SecurityPolicyUri).rpartition("#")[2]
    return policy if policy == "None" else f"{policy} {endpoint.SecurityMode.name}"


def first_certificate(der: bytes) -> bytes:
    """The first of a chain of DER certificates, which is the server's own (OPC 10000-6, 6.2.6)."""
    if der[1:2] != b"\x82":
        return der
    return der[: 4 + int.from_bytes(der[2:4], "big")]
