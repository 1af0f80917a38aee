"""An OPC UA server in a process of its own, made with asyncua: its counters go on at every read, and it obeys on its input.

    python -m tests.peers.opcua_meters --meters 2 --points 3

Meter M1 has the nodes `ns=plant;s=M1.P0`, `M1.P1`, ...; P0 counts by one each time it is read, the others hold 10*meter+point.
A line on its input is a command; each is answered by one line. The end of the input ends it.

    forget        it forgets all sessions, as after the time-out of a server
    reads         how many nodes were asked for in each Read since the last time
    hangup        it closes all connections
    clients       how many connections there are
    grow          M1.P1 becomes a list of 30000 numbers
    change 5 6 7  M1.P1 has these values, one after the other
    reorder       the plant gets another number among its namespaces, and there all values but the counters' are larger by 1000
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

PLANT = "http://plant.example/meters"
SERVER = "urn:plant.example:scada"
USER, PASSWORD = "meter", "secret"


@dataclass
class Peer:
    """A server that runs.

    Attributes:
        url: its endpoint.
        process: its process.
    """

    url: str
    process: subprocess.Popen[str]
    port: int
    words: list[str] = field(default_factory=list)

    def tell(self, command: str) -> str:
        """Its answer to a command."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{command}\n")
        self.process.stdin.flush()
        return self.process.stdout.readline().strip()

    def kill(self) -> None:
        """Kills it as a power cut would."""
        self.process.kill()
        self.process.wait()
        self._shut()

    def freeze(self) -> None:
        """It hangs: connections are still taken by its kernel, nobody answers."""
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """It goes on."""
        self.process.send_signal(signal.SIGCONT)

    def again(self, *words: str) -> Peer:
        """The same server, killed and started anew on its port."""
        if self.process.poll() is None:
            self.kill()
        return start(*self.words, *words, port=self.port)

    def stop(self) -> None:
        """Ends it."""
        if self.process.poll() is None:
            self.thaw()
            self.process.kill()
            self.process.wait()
        self._shut()

    def _shut(self) -> None:
        for stream in (self.process.stdin, self.process.stdout):
            if stream is not None:
                with contextlib.suppress(BrokenPipeError):
                    stream.close()


def start(*words: str, port: int = 0) -> Peer:
    """Starts a server and waits until it can be connected to."""
    command = [sys.executable, "-m", "tests.peers.opcua_meters", "--port", str(port), *words]
    root = Path(__file__).parents[2]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=root)
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        raise RuntimeError("the OPC UA server did not start")
    bound = int(line)
    return Peer(f"opc.tcp://127.0.0.1:{bound}/plant", process, bound, list(words))


@contextlib.contextmanager
def serving(*words: str) -> Iterator[Peer]:
    """A server for the length of a block."""
    peer = start(*words)
    try:
        yield peer
    finally:
        peer.stop()


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--uri", default=SERVER)
    parser.add_argument("--meters", type=int, default=2)
    parser.add_argument("--points", type=int, default=3)
    parser.add_argument("--namespaces", default=PLANT, help="in this order, with commas between")
    parser.add_argument("--certificate", type=Path)
    parser.add_argument("--key", type=Path)
    parser.add_argument("--trusted", type=Path, help="the only client's certificate that is let in; else all are")
    parser.add_argument("--most", type=int, default=0, help="MaxNodesPerRead as stated")
    parser.add_argument("--takes", type=int, default=0, help="how many nodes it really takes in one Read")
    parser.add_argument("--login", action="store_true", help="only the user meter with the password secret")
    return parser.parse_args()


async def _serve(options: argparse.Namespace) -> None:
    from asyncua import Server, ua
    from asyncua.server.user_managers import UserManager

    class OneUser(UserManager):
        def get_user(self, iserver: Any, username: Any = None, password: Any = None, certificate: Any = None) -> Any:
            from asyncua.crypto.permission_rules import User, UserRole

            fits = not options.login or (username == USER and password in (PASSWORD, PASSWORD.encode()))
            return User(role=UserRole.User) if fits else None

    _telling_overflow()
    server = Server(user_manager=OneUser())
    server._application_uri = options.uri
    await server.init()
    await server.set_application_uri(options.uri)
    server.set_endpoint(f"opc.tcp://127.0.0.1:{options.port or _free_port()}/plant")
    port = server.endpoint.port
    if options.certificate:
        await _secured(server, options)
    else:
        server.set_security_policy([ua.SecurityPolicyType.NoSecurity])
    if options.most:
        limits = server.get_node(ua.NodeId(ua.ObjectIds.Server_ServerCapabilities_OperationLimits_MaxNodesPerRead))
        await limits.write_value(ua.Variant(options.most, ua.VariantType.UInt32))
    for uri in options.namespaces.split(","):
        await server.register_namespace(uri)
    index = await server.get_namespace_index(PLANT)
    await _meters(server, index, options.meters, options.points)
    reads = _counting_reads(server, options.takes)
    async with server:
        print(port, flush=True)
        await _obey(server, reads, options)


async def _secured(server: Any, options: argparse.Namespace) -> None:
    from asyncua import ua
    from asyncua.common.utils import ServiceError

    await server.load_certificate(str(options.certificate), "der")
    await server.load_private_key(str(options.key), format="pem")
    server.set_security_policy(
        [
            ua.SecurityPolicyType.Basic256Sha256_SignAndEncrypt,
            ua.SecurityPolicyType.Basic256Sha256_Sign,
            ua.SecurityPolicyType.Aes128Sha256RsaOaep_SignAndEncrypt,
            ua.SecurityPolicyType.Aes256Sha256RsaPss_SignAndEncrypt,
        ]
    )
    if options.trusted:
        from cryptography.hazmat.primitives.serialization import Encoding

        wanted = options.trusted.read_bytes()

        async def only(certificate: Any, description: Any) -> None:
            if certificate.public_bytes(Encoding.DER) != wanted:
                raise ServiceError(ua.StatusCodes.BadCertificateUntrusted)

        server.set_certificate_validator(only)


async def _meters(server: Any, index: int, meters: int, points: int, more: int = 0) -> None:
    from asyncua import ua

    counts: dict[str, int] = {}
    objects = server.nodes.objects
    aspace = server.iserver.aspace

    def count(node: Any, _: Any) -> Any:
        counts[node.Identifier] = counts.get(node.Identifier, 0) + 1
        now = datetime.now(UTC)
        value = ua.Variant(counts[node.Identifier], ua.VariantType.UInt32)
        return ua.DataValue(Value=value, SourceTimestamp=now, ServerTimestamp=now)

    for meter in range(1, meters + 1):
        folder = await objects.add_object(ua.NodeId(f"M{meter}", index), f"M{meter}")
        for point in range(points):
            name = f"M{meter}.P{point}"
            value = ua.Variant(more + 10 * meter + point, ua.VariantType.UInt32)
            node = await folder.add_variable(ua.NodeId(name, index), name, value)
            if point == 0:
                aspace.set_attribute_value_callback(node.nodeid, ua.AttributeIds.Value, count)


def _counting_reads(server: Any, takes: int) -> list[int]:
    """Counts the nodes of each Read that comes over the network."""
    from asyncua.server.internal_session import InternalSession
    from asyncua.ua.uaerrors import BadTooManyOperations

    counted: list[int] = []
    read = InternalSession.read

    async def counting(self: Any, params: Any) -> Any:
        if self.external:
            counted.append(len(params.NodesToRead))
            if takes and len(params.NodesToRead) > takes:
                raise BadTooManyOperations
        return await read(self, params)

    InternalSession.read = counting  # type: ignore[method-assign]  # a peer may count what it is asked
    return counted


def _telling_overflow() -> None:
    """Sets the Overflow bit where a queue is full, as the standard wants it (OPC 10000-4, 5.12.1.5); asyncua only throws away."""
    from asyncua import ua
    from asyncua.server.internal_subscription import InternalSubscription

    enqueue = InternalSubscription._enqueue_event

    async def telling(self: Any, mid: int, event: Any, size: int, queue: Any) -> None:
        held = queue.get(mid, [])
        full = bool(size) and len(held) >= size
        await enqueue(self, mid, event, size, queue)
        if full:
            oldest = queue[mid][0]
            told = oldest.Value
            oldest.Value = ua.DataValue(told.Value, ua.StatusCode(0x480), told.SourceTimestamp, told.ServerTimestamp)

    InternalSubscription._enqueue_event = telling  # type: ignore[method-assign]  # a peer may be more exact than its library


async def _obey(server: Any, reads: list[int], options: argparse.Namespace) -> None:
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while command := (await reader.readline()).decode().strip():
        answer = ""
        if command in ("forget", "hangup"):
            _leave(server, command)
        elif command == "reads":
            answer = json.dumps(reads)
            reads.clear()
        elif command == "clients":
            answer = str(len(server.bserver.clients))
        elif command.startswith("change "):
            await _change(server, command.split()[1:])
        elif command in ("reorder", "grow"):
            await (_reorder if command == "reorder" else _grow)(server, options)
        print(answer, flush=True)


def _leave(server: Any, command: str) -> None:
    """All clients lose their session, or their connection."""
    for client in server.bserver.clients:
        if command == "hangup":
            client.transport.close()
        elif client.processor is not None:
            client.processor.session = None


async def _change(server: Any, values: list[str]) -> None:
    """A value becomes one after the other."""
    from asyncua import ua

    index = await server.get_namespace_index(PLANT)
    for value in values:
        await server.get_node(ua.NodeId("M1.P1", index)).write_value(ua.Variant(int(value), ua.VariantType.UInt32))


async def _grow(server: Any, options: argparse.Namespace) -> None:
    """A value becomes a list that no record can hold."""
    from asyncua import ua

    index = await server.get_namespace_index(PLANT)
    await server.get_node(ua.NodeId("M1.P1", index)).write_value(ua.Variant([0] * 30_000, ua.VariantType.UInt32))


async def _reorder(server: Any, options: argparse.Namespace) -> None:
    """The plant gets another number while sessions go on; under the old one its nodes stay, but are not the plant's."""
    from asyncua import ua

    array = server.get_node(ua.NodeId(2255))
    table = await array.read_value()
    old = table.index(PLANT)
    table[old] = "http://other.example/"
    await array.write_value([*table, PLANT])
    await _meters(server, len(table), options.meters, options.points, more=1000)


def _free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


if __name__ == "__main__":
    logging.disable(logging.CRITICAL)
    os.environ.setdefault("PYTHONASYNCIODEBUG", "0")
    asyncio.run(_serve(_options()))
