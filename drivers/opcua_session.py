"""A session with one OPC UA server: opened with every check of who it is, read in batches, the bytes kept as they arrived.

 1. A session is never repaired. Whatever goes wrong ends it with a plain reason, and a new client is built for the next
    one: nothing of an old connection, channel or subscription lives on. asyncua's own reconnecting is not used.
 2. Where nothing is read for long, the server is asked for its state, so that it does not end the session, and so that one
    that hangs is found out.

Imported only where an OPC UA link is configured: asyncua and what it brings take some 60 MB.

What this file does not know: meters, schedules, values, and how a server is trusted (`drivers.opcua_connect`).
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Sequence
from typing import Any

from asyncua import ua
from asyncua.client.ua_client import UaClientState
from asyncua.common.utils import Buffer
from asyncua.ua.attribute_ids import AttributeIds
from asyncua.ua.ua_binary import nodeid_from_binary, struct_to_binary

from config.language import _
from drivers import Exchange, Instant
from drivers.errors import BadFrame, LinkDown, MeterError, NoAnswer
from drivers.opcua_changes import Told, Watched
from drivers.opcua_client import TellingClient as Client
from drivers.opcua_connect import connected, drop, status_of, why_down
from drivers.opcua_failure import TOO_MUCH, lost
from drivers.opcua_read import LONGEST_ANSWER, Batch, batches, read_response
from drivers.opcua_settings import ServerSettings
from drivers.opcua_subscribe import follow
from drivers.wire import Moments

_LONGEST_BEAT = 60.0
_CLOSING_SECONDS = 1.0
_KEPT = 64  # batches that are remembered, as most instants ask for the same
_FEWEST = 10  # nodes in one Read; a server that refuses even so few refuses something else


class Session:
    """A session with one server. Not open until `open`.

    Attributes:
        settings: how it is reached.
        heard: set whenever it was opened, for who waits while nothing is asked.
        heard_at: when the newest answer arrived, monotonic seconds.
        busy_s: for how many seconds answers were waited for.
        moved_to: never anything; a serial adapter's line has it.
        namespaces: the server's table of namespaces.
        server: its application URI.
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
        self.server = ""
        self.certificate = ""
        self.most = 0
        self._bears = 0  # what it was found to take, if that is less than it states
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
        return self.down

    # --- opening and closing ----------------------------------------------------------------------------------

    async def open(self) -> None:
        """Connects, checks who answers, and logs in. Raises LinkDown."""
        await self.close()
        made = await connected(self.settings)
        self._ended, self._why = asyncio.Event(), None
        self._client = made.client
        self.namespaces, self.server, self.certificate = made.namespaces, made.server, made.certificate
        self.most = min(made.most or self._bears, self._bears or made.most)
        self.heard_at = time.monotonic()
        self._beating = asyncio.create_task(self._beat(made.client))
        self.heard.set()

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
            drop(client)

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
                    self._end(why_down(self.settings, error, reading=True))
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
            raise self.down
        made: list[Exchange] = []
        while len(made) < len(requests):
            batch = self._next_batch(requests, len(made))
            try:
                made += await self._ask(client, batch)
            except _TooMuch:
                self.most = self._bears
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
            why = why_down(self.settings, error, reading=True)
            if self._ended.is_set() and self._why is not None:
                why = self.down
            elif status_of(error) in TOO_MUCH:
                self._bears = max(_FEWEST, len(batch.nodes) // 2)
                if len(batch.requests) > 1 and len(batch.nodes) > _FEWEST:
                    raise _TooMuch from None
            self._end(why)
            failed: MeterError = NoAnswer(why.cause, str(why), why.hint) if isinstance(error, TimeoutError) else why
            return [Exchange(request, b"", sent, None, None, failed) for request in batch.requests]
        finally:
            self.busy_s += time.monotonic() - begun
        arrived = self._clock.instant()
        self.heard_at = time.monotonic()
        return [_exchange(request, answer, sent, arrived) for request, answer in zip(batch.requests, answers, strict=True)]

    async def _asked(self, client: Client, batch: Batch) -> bytes:
        """The body of the answer, from its type id on."""
        if self._ended.is_set() or client.uaclient.protocol is None:
            raise self.down
        parameters = self._parameters.get(batch.nodes)
        if parameters is None:
            self._parameters.clear()
            parameters = self._parameters[batch.nodes] = _parameters(batch)
        request = ua.ReadRequest(Parameters=parameters)
        return bytes(await client.uaclient.protocol.send_request(request, self.settings.timeout_s))

    # --- changes ----------------------------------------------------------------------------------------------

    async def follow(self, watched: Sequence[Watched], told: Told) -> str:
        """Has nodes watched by a subscription of this session, and tells their changes until that ends. Returns why."""
        client = self._client
        if client is None or self._ended.is_set() or client.uaclient.protocol is None:
            return self.down.cause
        protocol = client.uaclient.protocol

        async def ask(request: Any, timeout_s: float) -> bytes:
            return bytes(await protocol.send_request(request, timeout_s))

        try:
            await follow(ask, self.settings.timeout_s, watched, told)
        except MeterError as error:
            return error.cause
        except Exception as error:
            return why_down(self.settings, error, reading=True).cause
        return ""

    @property
    def down(self) -> LinkDown:
        """Why it has ended."""
        why = self._why or lost(self.settings)
        return LinkDown(why.cause, str(why), why.hint)


def _exchange(request: bytes, answer: bytes, sent: Instant, arrived: Instant) -> Exchange:
    """A request and its answer; one that no record could hold is a failed one, without its bytes."""
    if len(answer) <= LONGEST_ANSWER:
        return Exchange(request, answer, sent, arrived, arrived)
    message = _("the answer has {answer} bytes, more than a record can hold", answer=len(answer))
    hint = _("A node of the meter holds a long list: take a node that holds the single value.")
    return Exchange(request, b"", sent, arrived, arrived, BadFrame("too_long", message, hint))


class _TooMuch(Exception):
    """The server takes fewer nodes in one Read."""


def _parameters(batch: Batch) -> ua.ReadParameters:
    """A Read of the batch's nodes. Raises BadFrame if asyncua would not send them byte for byte as they are kept as evidence."""
    nodes = [ua.ReadValueId(nodeid_from_binary(Buffer(node)), AttributeIds.Value) for node in batch.nodes]
    made = ua.ReadParameters(MaxAge=0, TimestampsToReturn=ua.TimestampsToReturn.Both, NodesToRead=nodes)
    if not struct_to_binary(made).endswith(batch.array):
        raise BadFrame("bad_request", _("the nodes cannot be asked for as they are written"))
    return made
