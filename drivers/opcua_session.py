"""A session with one OPC UA server: opened with every check of who it is, read in batches, the bytes kept as they arrived.

 1. With security, the server's certificate must be the one that is pinned, and it must prove that it holds its key. What a
    server merely offers is never accepted. Its application URI is checked as well, at every opening.
 2. Always the host that the user wrote: servers tell names that only resolve in their own network.
 3. A session is never repaired. Whatever goes wrong ends it with a plain reason, and a new client is built for the next
    one: nothing of an old connection, channel or subscription lives on. asyncua's own reconnecting is not used.
 4. Where nothing is read for long, the server is asked for its state, so that it does not end the session, and so that one
    that hangs is found out.

Imported only where an OPC UA link is configured: asyncua and what it brings take some 60 MB.

What this file does not know: meters, schedules, values.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import time
from collections.abc import Sequence
from typing import Any, cast

from asyncua import ua
from asyncua.client.ua_client import UaClientState
from asyncua.common.utils import Buffer
from asyncua.crypto import security_policies
from asyncua.crypto.uacrypto import CertProperties
from asyncua.ua.attribute_ids import AttributeIds
from asyncua.ua.ua_binary import nodeid_from_binary, struct_to_binary
from asyncua.ua.uaerrors import UaStatusCodeError

from drivers import Exchange
from drivers.errors import BadFrame, LinkDown, MeterError, NoAnswer
from drivers.opcua_client import TellingClient as Client
from drivers.opcua_failure import (
    TOO_MUCH,
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
from drivers.opcua_read import Batch, batches, read_response
from drivers.opcua_settings import ENCRYPTED, ServerSettings
from drivers.wire import Moments, why_not_connected

_POLICIES = {
    "Basic256Sha256": security_policies.SecurityPolicyBasic256Sha256,
    "Aes128_Sha256_RsaOaep": security_policies.SecurityPolicyAes128Sha256RsaOaep,
    "Aes256_Sha256_RsaPss": security_policies.SecurityPolicyAes256Sha256RsaPss,
}
_SESSION_MS = 600_000
_CHANNEL_MS = 3_600_000
_LONGEST_BEAT = 60.0
_CLOSING_SECONDS = 1.0
_MOST_NODES = "i=11705"  # Server_ServerCapabilities_OperationLimits_MaxNodesPerRead
_KEPT = 64  # batches that are remembered, as most instants ask for the same
_FEWEST = 10  # nodes in one Read; a server that refuses even so few refuses something else

# It tells of every failure by itself, at length and with tracebacks. What a person needs is in the errors raised here.
logging.getLogger("asyncua").setLevel(logging.CRITICAL + 1)


class Session:
    """A session with one server. Not open until `open`.

    Attributes:
        settings: how it is reached.
        heard: set whenever it was opened, for who waits while nothing is asked.
        heard_at: when the newest answer arrived, monotonic seconds.
        busy_s: for how many seconds answers were waited for.
        moved_to: never anything; a serial adapter's line has it.
        namespaces, servers: the server's tables as they are at the opening; of `servers` the first is its own URI.
        certificate: SHA-256 of the server's certificate, hexadecimal; empty without security.
        most: so many nodes it takes in one Read; 0 if it states no limit.
    """

    def __init__(self, settings: ServerSettings, clock: Moments) -> None:
        self.settings = settings
        self.heard = asyncio.Event()
        self.heard_at = 0.0
        self.busy_s = 0.0
        self.moved_to = ""
        self.namespaces: tuple[str, ...] = ()
        self.servers: tuple[str, ...] = ()
        self.certificate = ""
        self.most = 0
        self._clock = clock
        self._client: Client | None = None
        self._beating: asyncio.Task[None] | None = None
        self._ended = asyncio.Event()
        self._why: LinkDown | None = None
        self._batches: dict[tuple[tuple[bytes, ...], int], Batch] = {}
        self._parameters: dict[tuple[bytes, ...], ua.ReadParameters] = {}

    @property
    def is_open(self) -> bool:
        """Whether it can be read from."""
        return self._client is not None and not self._ended.is_set()

    async def lost(self) -> LinkDown:
        """Returns when the session has ended, with the reason."""
        await self._ended.wait()
        return self._why_ended()

    # --- opening and closing ----------------------------------------------------------------------------------

    async def open(self) -> None:
        """Connects, checks who answers, and logs in. Raises LinkDown."""
        await self.close()
        self._ended, self._why = asyncio.Event(), None
        client = self._client = self._new_client()
        try:
            await self._connect(client)
        except BaseException as error:
            await self.close()
            if isinstance(error, Exception):
                raise self._down(error) from None
            raise
        self.heard_at = time.monotonic()
        self._beating = asyncio.create_task(self._beat(client))
        self.heard.set()

    def _new_client(self) -> Client:
        settings = self.settings
        client = Client(settings.url, timeout=settings.timeout_s)
        client.name = client.description = "meterseal"
        client.application_uri = settings.application
        client.product_uri = "urn:meterseal"
        client.session_timeout, client.secure_channel_timeout = _SESSION_MS, _CHANNEL_MS
        return client

    async def _connect(self, client: Client) -> None:
        settings = self.settings
        if settings.secure:
            await self._trust(client)
        await self._reach(client)
        await client.send_hello()
        try:
            await client.open_secure_channel()
        except ConnectionError:
            raise (hung_up if settings.secure else lost)(settings) from None
        created = await client.create_session()
        await self._log_in(client)
        self.namespaces, self.servers = await self._tables(client)
        self._must_be(self.servers[0] if self.servers else _uri_in(created.ServerEndpoints))
        self.most = await self._limit(client)

    async def _trust(self, client: Client) -> None:
        """Asks which certificate the server has, and goes on only with the one that is pinned."""
        settings = self.settings
        asking = self._new_client()
        await self._reach(asking)
        try:
            await asking.send_hello()
            await asking.open_secure_channel()
            endpoints = await asking.get_endpoints()
            await asking.close_secure_channel()
        finally:
            _drop(asking)
        policy, mode = _POLICIES[settings.security], ua.MessageSecurityMode[settings.mode]
        offered = [each for each in endpoints if each.SecurityPolicyUri == policy.URI and each.SecurityMode == mode]
        if not offered:
            raise not_offered(settings, sorted({_described(each) for each in endpoints}))
        certificate = first_certificate(offered[0].ServerCertificate or b"")
        self.certificate = hashlib.sha256(certificate).hexdigest()
        if self.certificate != settings.pin:
            raise untrusted(settings, self.certificate)
        self._must_be(_uri_in(offered))
        await self._secure(client, policy, mode, certificate)

    async def _secure(self, client: Client, policy: Any, mode: Any, certificate: bytes) -> None:
        settings = self.settings
        if settings.certificate is None or settings.key is None:
            raise ValueError("security needs a certificate of our own")
        own, key = CertProperties(settings.certificate, "der"), CertProperties(settings.key, "pem")
        await client.set_security(policy, own, key, None, CertProperties(certificate, "der"), mode)

    async def _log_in(self, client: Client) -> None:
        settings = self.settings
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

    async def _tables(self, client: Client) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """The server's namespaces and its own URI."""
        nodes = [client.get_node(name) for name in ("i=2255", "i=2254")]
        found = await asyncio.gather(*(node.read_data_value(raise_on_bad_status=False) for node in nodes))
        tables = [each.Value.Value if each.Value is not None else None for each in found]
        return tuple(tables[0] or ()), tuple(tables[1] or ())

    async def _limit(self, client: Client) -> int:
        """How many nodes the server takes in one Read (OPC 10000-5, 6.3.11); 0 if it does not say."""
        found = await client.get_node(_MOST_NODES).read_data_value(raise_on_bad_status=False)
        value = found.Value.Value if found.Value is not None else None
        return value if isinstance(value, int) and value > 0 else 0

    def _must_be(self, found: str) -> None:
        if self.settings.server and found != self.settings.server:
            raise other_server(self.settings, found)

    async def close(self) -> None:
        """Ends the session and gives the connection back."""
        client, self._client = self._client, None
        beating, self._beating = self._beating, None
        if beating and beating is not asyncio.current_task():
            beating.cancel()
            await asyncio.gather(beating, return_exceptions=True)
        self._ended.set()
        if client is None:
            return
        try:
            if client.state is UaClientState.CONNECTED and self._why is None:
                with contextlib.suppress(Exception):  # one that does not answer any more is left without a word
                    async with asyncio.timeout(_CLOSING_SECONDS):
                        await client.close_session()
                        await client.close_secure_channel()
        finally:
            _drop(client)

    def _end(self, why: LinkDown) -> None:
        """The session is of no use any more."""
        self._why = self._why or why
        self._ended.set()

    async def _beat(self, client: Client) -> None:
        """Keeps session and channel alive, and finds out when the connection breaks or the server hangs."""
        async with client.subscribe_state() as changes:
            renewed = time.monotonic()
            while client.state is UaClientState.CONNECTED:
                channel_s = 0.6 * client.secure_channel_timeout / 1000
                rest = renewed + channel_s - time.monotonic()
                nap = max(0.01, min(_LONGEST_BEAT, rest, client.session_timeout / 3000))
                with contextlib.suppress(TimeoutError):
                    await changes.next_change(nap)
                    break
                try:
                    if time.monotonic() - renewed >= channel_s:
                        await client.open_secure_channel(renew=True)
                        client.uaclient.revolve_security_token()
                        renewed = time.monotonic()
                    if time.monotonic() - self.heard_at >= nap:
                        await client.nodes.server_state.read_data_value(raise_on_bad_status=False)
                        self.heard_at = time.monotonic()
                except Exception as error:
                    self._end(self._down(error))
                    return
        self._end(lost(self.settings))

    # --- reading ----------------------------------------------------------------------------------------------

    async def read(self, requests: Sequence[bytes]) -> list[Exchange]:
        """The exchange of each request, in order: its own bytes of the Reads that fetched them all.

        What fails is told in the exchanges, and ends the session; what was not asked because of it has no exchange's
        answer either. `requests` are in the form that is sent (`drivers.opcua_read.resolved`).

        Raises:
            LinkDown: the session is not open.
        """
        client = self._client
        if client is None or self._ended.is_set():
            raise self._why_ended()
        made: list[Exchange] = []
        while len(made) < len(requests):
            batch = self._next_batch(requests, len(made))
            try:
                made += await self._ask(client, batch)
            except _TooMuch:
                self.most = max(_FEWEST, len(batch.nodes) // 2)
        return made

    def _next_batch(self, requests: Sequence[bytes], done: int) -> Batch:
        key = (tuple(requests[done:]), self.most)
        if key not in self._batches:
            if len(self._batches) >= _KEPT:
                self._batches.clear()
            self._batches[key] = batches(requests[done:], self.most)[0]
        return self._batches[key]

    async def _ask(self, client: Client, batch: Batch) -> list[Exchange]:
        sent, begun = self._clock.instant(), time.monotonic()
        try:
            answers = batch.answers(read_response(await self._asked(client, batch)))
        except Exception as error:
            why = self._down(error, reading=True)
            if self._ended.is_set() and self._why is not None:
                why = self._why_ended()
            elif _status(error) in TOO_MUCH and len(batch.nodes) > _FEWEST:
                raise _TooMuch from None
            self._end(why)
            failed: MeterError = NoAnswer(why.cause, str(why), why.hint) if isinstance(error, TimeoutError) else why
            return [Exchange(request, b"", sent, None, None, failed) for request in batch.requests]
        finally:
            self.busy_s += time.monotonic() - begun
        arrived = self._clock.instant()
        self.heard_at = time.monotonic()
        return [
            Exchange(request, answer, sent, arrived, arrived) for request, answer in zip(batch.requests, answers, strict=True)
        ]

    async def _asked(self, client: Client, batch: Batch) -> bytes:
        """The body of the answer, from its type id on."""
        if self._ended.is_set() or client.uaclient.protocol is None:
            raise self._why_ended()
        parameters = self._parameters.get(batch.nodes)
        if parameters is None:
            self._parameters.clear()
            parameters = self._parameters[batch.nodes] = _parameters(batch)
        request = ua.ReadRequest(Parameters=parameters)
        return bytes(await client.uaclient.protocol.send_request(request, self.settings.timeout_s))

    def _why_ended(self) -> LinkDown:
        why = self._why or lost(self.settings)
        return LinkDown(why.cause, str(why), why.hint)

    # --- what went wrong --------------------------------------------------------------------------------------

    async def _reach(self, client: Client) -> None:
        try:
            await client.connect_socket()
        except (OSError, ValueError) as error:  # TimeoutError is an OSError; ValueError: a host name that cannot be one
            endpoint = f"{client.server_url.hostname}:{client.server_url.port}"
            why = f"{endpoint} does not answer" if isinstance(error, TimeoutError) else why_not_connected(endpoint, error)
            raise unreachable(self.settings, why) from None

    def _down(self, error: Exception, *, reading: bool = False) -> LinkDown:
        """An error of asyncua or of the network as a reason that people understand. `reading`: it had let us in before."""
        if isinstance(error, LinkDown):
            return error
        if isinstance(error, TimeoutError):
            return silent(self.settings)
        if isinstance(error, OSError):
            return lost(self.settings)
        if name := _status(error):
            return refused(self.settings, name, reading=reading)
        if type(error).__name__ == "InvalidSignature" or "certificate mismatch" in str(error):
            return untrusted(self.settings, self.certificate)
        if "No matching endpoints" in str(error):
            return not_offered(self.settings, [])
        return not_opcua(self.settings, str(error) or type(error).__name__)


class _TooMuch(Exception):
    """The server takes fewer nodes in one Read."""


def _drop(client: Client) -> None:
    """Lets go of a client's connection at once, whatever is still to be sent on it."""
    protocol = client.uaclient.protocol
    if protocol is not None and protocol.transport is not None:
        protocol.transport.abort()
    client.uaclient.disconnect_socket()


def _parameters(batch: Batch) -> ua.ReadParameters:
    """A Read of the batch's nodes. Raises BadFrame if asyncua would not send them byte for byte as they are kept as evidence."""
    nodes = [ua.ReadValueId(nodeid_from_binary(Buffer(node)), AttributeIds.Value) for node in batch.nodes]
    made = ua.ReadParameters(MaxAge=0, TimestampsToReturn=ua.TimestampsToReturn.Both, NodesToRead=nodes)
    if not struct_to_binary(made).endswith(batch.array):
        raise BadFrame("bad_request", "the nodes cannot be asked for as they are written")
    return made


def _status(error: BaseException) -> str:
    """The name of the status code that an error is about; empty if it is about none."""
    return str(ua.StatusCode(error.code).name) if isinstance(error, UaStatusCodeError) else ""


def _uri_in(endpoints: Sequence[Any]) -> str:
    return next((each.Server.ApplicationUri or "" for each in endpoints), "")


def _described(endpoint: Any) -> str:
    return f"{str(endpoint.SecurityPolicyUri).rpartition('#')[2]} {endpoint.SecurityMode.name}".replace("None None_", "None")


def first_certificate(der: bytes) -> bytes:
    """The first of a chain of DER certificates, which is the server's own (OPC 10000-6, 6.2.6)."""
    if der[1:2] != b"\x82":
        return der
    return der[: 4 + int.from_bytes(der[2:4], "big")]
