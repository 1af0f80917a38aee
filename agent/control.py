"""The running agent's ear for commands: a socket in the state directory, for the account that the agent runs under.

One line of JSON asks, one line answers:

    {"do": "live"}                                     how every line, meter and broker stands at this moment
    {"do": "condition"}                                whether the agent is well, and what ails it (`agent.condition`)
    {"do": "read", "meter": "EM-1", "introduce": false}   one meter, read now, between the agent's own polls
    {"do": "spot", "meter": "EM-1", "nonce": "k3Jd8sPq", "who": "li.na"}   the same, and it is sealed
    {"do": "seal", "kind": "correction", "record": {...}}   a person's record is sealed (`agent.by_person` says which may be)

Nothing else can be done here. `seal` adds a record and can change none; the account it is sealed under is the asking
process's own, as the kernel tells it.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol

from agent.book import Book
from agent.by_person import account_of
from agent.condition import Delivery
from agent.faults import code_of_error
from agent.polled import Polled
from agent.progress import Progress
from agent.read_once import read_meter
from agent.spot import take_spot
from config.language import _, speaking, spoken
from config.system_words import reason_of
from drivers import Exchange, Request
from drivers.errors import LinkDown

SOCKET_FILE = "agent.sock"
_LONGEST = 65_536
_ASK_SECONDS = 120.0
_CREDENTIALS = struct.Struct("3i")  # process, account, group (unix(7), SO_PEERCRED)

# Seals a person's record: its kind, its fields and the account that asks; what is told of it.
Sealing = Callable[[object, object, str], Awaitable[dict[str, Any]]]


class Watching(Protocol):
    """Who knows how the agent is."""

    def condition(self) -> dict[str, Any]:
        """Its condition, for whoever asks."""

    def deliveries(self) -> Sequence[Delivery]:
        """How delivery stands, for each broker."""


class ControlError(Exception):
    """The running agent did not answer, or could not do what was asked."""


@asynccontextmanager
async def listening(
    state: Path,
    pollers: Mapping[str, Poller],
    meters: Mapping[str, Sequence[Polled]],
    sealing: Sealing,
    book: Book,
    watch: Watching,
) -> AsyncIterator[None]:
    """Answers commands while the block lasts. `pollers`, `meters`: by the link's name."""
    ear = _Ear(pollers, meters, sealing, book, watch)
    with _reached(state) as path:
        path.unlink(missing_ok=True)  # left behind by an agent that was killed; the state's lock keeps a second one away
        server = await asyncio.start_unix_server(ear.hear, sock=_own_socket(path), limit=_LONGEST)
        try:
            yield
        finally:
            server.close()
            path.unlink(missing_ok=True)


def _own_socket(path: Path) -> socket.socket:
    """A socket that is the agent's own account's from its first moment on."""
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    os.fchmod(made.fileno(), 0o600)  # on Linux what is bound takes its mode from here (unix(7))
    made.bind(str(path))
    return made


@contextmanager
def _reached(state: Path) -> Iterator[Path]:
    """The socket's path, short enough for a socket address (108 bytes) however deep the state directory lies."""
    directory = os.open(state, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield Path(f"/proc/self/fd/{directory}/{SOCKET_FILE}")
    finally:
        os.close(directory)


class Reading(Protocol):
    """Who reads meters by hand over a way that the agent holds."""

    async def ask(self, meter: Polled, requests: Sequence[Request], /) -> list[Exchange]:
        """The exchanges of one conversation. Raises LinkDown."""


class Poller(Protocol):
    """Who polls the meters of a link or a server."""

    @property
    def by_hand(self) -> Reading:
        """Who reads them by hand."""

    @property
    def progress(self) -> Progress:
        """How far it has got."""

    def stalled_s(self) -> float:
        """For how many seconds nothing has moved, where that is too long; else 0."""

    async def run(self) -> None:
        """Polls until `finish` is called, or for ever."""

    def finish(self) -> None:
        """Begins nothing new: `run` returns when what is under way has ended and is written."""

    def live(self) -> dict[str, Any]:
        """How they stand at this moment, for people."""


class _Ear:
    def __init__(
        self,
        pollers: Mapping[str, Poller],
        meters: Mapping[str, Sequence[Polled]],
        sealing: Sealing,
        book: Book,
        watch: Watching,
    ) -> None:
        self._pollers = pollers
        self._watch = watch
        self._meters = meters
        self._sealing = sealing
        self._book = book

    async def hear(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answers one connection's one question."""
        try:
            answer = await self._answer(await reader.readline(), _account(writer))
            writer.write(json.dumps(answer).encode() + b"\n")
            await writer.drain()
        except (ConnectionError, ValueError):
            return  # who asked did not wait, or sent more than anybody has to ask
        finally:
            writer.close()

    async def _answer(self, line: bytes, account: str) -> dict[str, Any]:
        try:
            asked = json.loads(line)
        except ValueError:
            return {"error": _("the command was not understood")}
        if not isinstance(asked, dict):
            return {"error": _("there is no such command")}
        with speaking(str(asked.pop("lang", spoken()))):
            return await self._told(asked, account)

    async def _told(self, asked: dict[str, Any], account: str) -> dict[str, Any]:
        """What comes of a command, in the language of whoever asks."""
        if asked.get("do") == "live":
            links = {name: poller.live() for name, poller in self._pollers.items()}
            return {"links": links, "brokers": {each.broker: asdict(each) for each in self._watch.deliveries()}}
        if asked.get("do") == "condition":
            return self._watch.condition()
        if asked.get("do") == "read":
            return await self._read(str(asked.get("meter")), introduce=asked.get("introduce") is True)
        if asked.get("do") == "seal" and asked.keys() == {"do", "kind", "record"}:
            return await self._sealing(asked["kind"], asked["record"], account)
        if asked.get("do") == "spot" and asked.keys() == {"do", "meter", "nonce", "who"}:
            words = {name: str(asked[name]) for name in ("nonce", "who")}
            return await self._spot(str(asked["meter"]), words | {"account": account})
        return {"error": _("there is no such command")}

    async def _spot(self, meter: str, asked: dict[str, str]) -> dict[str, Any]:
        for name, polled in self._meters.items():
            mine = [each for each in polled if each.id == meter]
            if mine:
                return await take_spot(self._pollers[name].by_hand.ask, whole(mine), self._book, asked)
        return _unknown(meter)

    async def _read(self, meter: str, *, introduce: bool) -> dict[str, Any]:
        for name, polled in self._meters.items():
            mine = [each for each in polled if each.id == meter]
            if mine:
                try:
                    text, complete = await read_meter(self._pollers[name].by_hand.ask, whole(mine), introduce)
                except LinkDown as error:
                    return {"error": str(error), "hint": error.hint, "code": code_of_error(error)}
                return {"text": text, "complete": complete}
        return _unknown(meter)


def _unknown(meter: str) -> dict[str, Any]:
    hint = _("Was it started with another site file?")
    return {"error": _("the running agent has no meter {meter}", meter=meter), "hint": hint, "code": "MS-904"}


def _account(writer: asyncio.StreamWriter) -> str:
    """Under which account the asking process runs, as the kernel tells it."""
    told = writer.get_extra_info("socket").getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    return account_of(_CREDENTIALS.unpack(told)[1])


def whole(schedules: Sequence[Polled]) -> Polled:
    """A meter with the points of all its schedules."""
    first = schedules[0]
    points = tuple(point for each in schedules for point in each.points)
    return Polled(first.id, first.driver, first.target, points, first.every_ms, first.port)


def ask(state: Path, question: Mapping[str, Any], seconds: float = _ASK_SECONDS) -> dict[str, Any] | None:
    """The running agent's answer to a command; None where no agent listens. `seconds`: how long it is waited for.

    Raises:
        ControlError: it listens and does not answer.
    """
    try:
        with _reached(state) as path, socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(seconds)
            try:
                connection.connect(str(path))
            except (FileNotFoundError, ConnectionRefusedError):
                return None
            connection.sendall(json.dumps({**question, "lang": spoken()}).encode() + b"\n")
            with connection.makefile("rb") as answering:
                line = answering.readline()
    except FileNotFoundError:
        return None
    except PermissionError:
        raise ControlError(
            _("only the account that the agent runs under may ask it: see who owns {state}", state=state)
        ) from None
    except TimeoutError:
        raise ControlError(_("the running agent did not answer in time")) from None
    except OSError as error:
        raise ControlError(_("the running agent cannot be asked: {strerror}", strerror=reason_of(error))) from None
    if not line.endswith(b"\n"):
        raise ControlError(_("the agent gave no answer: see its journal, and try again"))
    answer: dict[str, Any] = json.loads(line)
    return answer
