"""The status page's server: read-only, plain HTTP/1.1 (RFC 9112), off unless the site file has `page:`.

 1. Only GET and HEAD are answered, one request a connection, no body is read.
 2. A request must name this machine as its host, by an address or by its own name: a page of somebody else's cannot have a
    browser inside the plant read this one under a name of its own (DNS rebinding).
 3. What is sent allows no script, no frame and nothing from elsewhere (Content-Security-Policy).
 4. A request has a few seconds and a few kilobytes, and so many may be under way; more are turned away. Pages are made one at a
    time in a thread: polling never waits for them.
 5. Where the port cannot be had it is told, and tried again every minute: nothing else waits for it.

h11 reads and writes the bytes (the extra `page`); it has no dependencies and opens no sockets. What this file does not know: what
is on a page (`agent.page_look`).
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import socket
from collections.abc import Callable
from email.utils import formatdate
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import h11

from agent.clock import Clock
from agent.condition import Seen
from agent.metrics import CONTENT_TYPE, exposition
from agent.page_look import Answer, Look
from config.check import SiteFile
from config.language import _

_MOST_CONNECTIONS = 32
_LONGEST_HEAD, _LONGEST_ADDRESS = 8192, 200
_READ_SECONDS = 5.0
_WRITE_SECONDS = 20.0
_AGAIN_SECONDS = 60.0
_TEXT, _ALLOWED = "text/plain; charset=utf-8", "GET, HEAD"
_POLICY = "default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
_HEADERS = (
    ("Content-Security-Policy", _POLICY),
    ("X-Content-Type-Options", "nosniff"),
    ("X-Frame-Options", "DENY"),
    ("Referrer-Policy", "no-referrer"),
    ("Cross-Origin-Opener-Policy", "same-origin"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    ("Cache-Control", "no-store"),
    ("Connection", "close"),
)


class _NotAnswered(Exception):
    """A request that gets a status and one line instead of a page."""

    def __init__(self, status: int, words: str) -> None:
        super().__init__(words)
        self.status = status


async def serve_page(
    endpoint: str, site: Callable[[], SiteFile], state: Path, seen: Callable[[], Seen], clock: Clock, log: Any
) -> None:
    """Serves the page until it is cancelled.

    Args:
        endpoint: host:port.
        site: the site file in force.
        state: the state directory.
        seen: how the agent is at this moment.
        clock, log: as everywhere.
    """
    host, port = endpoint.rsplit(":", 1)
    style = Path(__file__).with_name("page.css").read_bytes()
    page = _Page(Look(site, state, clock, style), seen)
    told = False
    while True:
        try:
            server = await asyncio.start_server(page.hear, host, int(port), limit=_LONGEST_HEAD)
        except OSError as error:
            if not told:
                hint = _("Write another port behind page: in site.yaml, or end what uses it. It is tried again every minute.")
                log.warning("page.cannot_listen", page=endpoint, reason=error.strerror or str(error), hint=hint)
            told = True
            await clock.sleep(_AGAIN_SECONDS)
            continue
        addresses = [f"http://{_written(each)}/" for each in server.sockets]
        log.info("page.listening", page=addresses)
        async with server:
            await server.serve_forever()


def _written(listening: socket.socket) -> str:
    host, port = listening.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


class _Page:
    def __init__(self, look: Look, seen: Callable[[], Seen]) -> None:
        self._look = look
        self._seen = seen
        self._one = asyncio.Lock()
        self._connections = 0

    async def hear(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answers the one request of a connection."""
        self._connections += 1
        try:
            if self._connections <= _MOST_CONNECTIONS:
                connection = h11.Connection(h11.SERVER, max_incomplete_event_size=_LONGEST_HEAD)
                sent = await self._answered(connection, reader)
                writer.write(sent)
                async with asyncio.timeout(_WRITE_SECONDS):
                    await writer.drain()
        except (ConnectionError, TimeoutError):
            return  # who asked went away, or took too long
        finally:
            self._connections -= 1
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    async def _answered(self, connection: h11.Connection, reader: asyncio.StreamReader) -> bytes:
        """The bytes that answer what arrives. Raises ConnectionError, TimeoutError."""
        method = b"GET"
        try:
            async with asyncio.timeout(_READ_SECONDS):
                request = await _request(connection, reader)
            method = request.method
            answer = await self._answer(request)
        except _NotAnswered as refusal:
            answer = Answer(refusal.status, _TEXT, f"{refusal}\n".encode())
        except h11.RemoteProtocolError as error:
            answer = Answer(error.error_status_hint, _TEXT, f"{_('This is no request that can be read.')}\n".encode())
        return _bytes(connection, answer, head_only=method == b"HEAD")

    async def _answer(self, request: h11.Request) -> Answer:
        headers = {name: value.decode("latin-1") for name, value in request.headers}
        if request.method not in (b"GET", b"HEAD"):
            raise _NotAnswered(405, _("This page can only be read."))
        if not is_this_machine(headers.get(b"host", "")):
            raise _NotAnswered(421, _("Open this page under the gateway's address or its own name."))
        try:
            target = urlsplit(request.target.decode("latin-1"))
            asked = parse_qs(target.query[:_LONGEST_ADDRESS], max_num_fields=8).get("lang", [""])[0]
        except ValueError:
            raise _NotAnswered(400, _("This is no address that can be read.")) from None
        if target.path == "/metrics":
            return Answer(200, CONTENT_TYPE, exposition(self._seen()).encode())
        accepted, path = headers.get(b"accept-language", ""), target.path[:_LONGEST_ADDRESS]
        async with self._one:
            return await asyncio.to_thread(self._look.at, path, asked, accepted, self._seen())


def is_this_machine(host: str) -> bool:
    """Whether a Host header (RFC 9110, 7.2) is an address, or a name of this machine's own."""
    name = host.strip()
    if name.startswith("["):
        name = name[1:].partition("]")[0]
    elif name.count(":") == 1:
        name = name.partition(":")[0]
    try:
        ipaddress.ip_address(name)
    except ValueError:
        own = socket.gethostname().lower()
        return name.lower().rstrip(".") in {"localhost", own, own.partition(".")[0], f"{own.partition('.')[0]}.local"}
    return True


async def _request(connection: h11.Connection, reader: asyncio.StreamReader) -> h11.Request:
    """The request that arrives. Raises h11.RemoteProtocolError, ConnectionError."""
    while True:
        event = connection.next_event()
        if isinstance(event, h11.Request):
            return event
        if event is not h11.NEED_DATA:
            raise ConnectionResetError("empty")
        connection.receive_data(await reader.read(_LONGEST_HEAD))


def _bytes(connection: h11.Connection, answer: Answer, *, head_only: bool) -> bytes:
    if connection.our_state is not h11.SEND_RESPONSE and connection.our_state is not h11.IDLE:
        raise ConnectionResetError("ended")
    headers = [("Date", formatdate(usegmt=True)), ("Content-Type", answer.content_type), *_HEADERS]
    headers += [("Content-Length", str(len(answer.body)))]
    headers += [("Allow", _ALLOWED)] if answer.status == 405 else []
    sent = connection.send(h11.Response(status_code=answer.status, headers=headers)) or b""
    if not head_only:
        sent += connection.send(h11.Data(data=answer.body)) or b""
        sent += connection.send(h11.EndOfMessage()) or b""
    return sent
