"""Other people's Modbus servers are read right: values, coils, refusals and identification, on every framing."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from pymodbus import FramerType

from agent.clock import Clock
from drivers import Exchange, Request, Target, load, modbus
from drivers.formula import evaluate
from drivers.link import Link, LinkSettings
from tests.peers import foreign
from tests.peers.foreign import UNIT
from tests.peers.ptys import Line
from tests.peers.registers import place, target

pytestmark = pytest.mark.filterwarnings("ignore:isSet:DeprecationWarning")  # modbus-tk's own thread

DRIVER = load("modbus")
LITTLE = {"word_order": "little"}
TURNED = {"byte_order": "little"}
VALUES = [
    (place("f32", 0), "230.5"),
    (place("f32", 2, **LITTLE), "230.5"),
    (place("f32", 4, **TURNED), "230.5"),
    (place("f32", 6, **LITTLE, **TURNED), "230.5"),
    (place("u32", 8, scale="0.01"), "123456.78"),
    (place("u32", 10, **LITTLE), "12345678"),
    (place("i16", 12, scale="0.1"), "-12.3"),
    (place("u16", 13), "65413"),
    (place("u64", 14), "12345678901"),
    (place("i64", 18, **LITTLE), "-12345678901"),
    (place("f64", 22), "0.3333333333333333"),
    (place("ascii", 26, count=4), "FW-0815"),
    (place("bcd", 30, count=4, scale="0.01"), "1842235700.00"),
    (place("u16", 7, function=4), "1007"),
    (place("u16", 130, function=4), "1130"),
    *((place("bit", address, function=1), str(int(address % 3 == 0))) for address in (0, 1, 2, 3, 7, 8, 9, 20, 51)),
    *((place("bit", address, function=2), str(int(address % 5 == 0))) for address in (4, 5, 11, 12, 15, 140)),
]


@dataclass(frozen=True, slots=True)
class Peer:
    """A foreign server, reached.

    Attributes:
        link: open.
        meter: its address and framing.
        identifies: whether it tells what it is (function 43/14).
        is_silent_for_others: whether it ignores requests to other addresses.
    """

    link: Link
    meter: Target
    identifies: bool
    is_silent_for_others: bool


@asynccontextmanager
async def reached(framing: str, identifies: bool, is_silent_for_others: bool, **at: str) -> AsyncIterator[Peer]:
    timeout = 2.0 if framing == "tcp" else 0.8  # an opened line is first listened to for as long as an answer may take
    link = Link(LinkSettings("line", framing, baud=foreign.BAUD, timeout_s=timeout, longest_answer_s=timeout, **at), Clock())
    await link.open()
    meter = target({"quantity": "voltage", "at": {"address": 0, "type": "u16"}}, address=UNIT, framing=framing, max_gap=8)
    try:
        yield Peer(link, meter, identifies, is_silent_for_others)
    finally:
        await link.close()


@asynccontextmanager
async def libmodbus_tcp(folder: Path) -> AsyncIterator[Peer]:
    program = foreign.libmodbus_server(folder)
    with foreign.libmodbus(program, "tcp") as port:
        async with reached("tcp", False, False, tcp=f"127.0.0.1:{port}") as peer:
            yield peer


@asynccontextmanager
async def libmodbus_rtu(folder: Path) -> AsyncIterator[Peer]:
    program = foreign.libmodbus_server(folder)
    with Line() as line, foreign.libmodbus(program, "rtu", line.other, str(foreign.BAUD), str(UNIT)):
        async with reached("rtu", False, True, serial=line.one) as peer:
            yield peer


@asynccontextmanager
async def pymodbustcp(folder: Path) -> AsyncIterator[Peer]:
    with foreign.pymodbustcp() as endpoint:
        async with reached("tcp", True, False, tcp=endpoint) as peer:
            yield peer


@asynccontextmanager
async def modbus_tk_tcp(folder: Path) -> AsyncIterator[Peer]:
    with foreign.modbus_tk_tcp() as endpoint:
        async with reached("tcp", False, True, tcp=endpoint) as peer:
            yield peer


@asynccontextmanager
async def modbus_tk_rtu(folder: Path) -> AsyncIterator[Peer]:
    with Line() as line, foreign.modbus_tk_rtu(line.other):
        async with reached("rtu", False, True, serial=line.one) as peer:
            yield peer


@asynccontextmanager
async def pymodbus_ascii_over_tcp(folder: Path) -> AsyncIterator[Peer]:
    async with foreign.pymodbus_tcp(FramerType.ASCII) as endpoint, reached("ascii", True, False, tcp=endpoint) as peer:
        yield peer


@asynccontextmanager
async def pymodbus_rtu_over_tcp(folder: Path) -> AsyncIterator[Peer]:
    async with (
        foreign.pymodbus_tcp(FramerType.RTU) as endpoint,
        reached("rtu", True, False, serial=f"socket://{endpoint}") as peer,
    ):
        yield peer


@asynccontextmanager
async def pymodbus_ascii(folder: Path) -> AsyncIterator[Peer]:
    with Line() as line:
        async with foreign.pymodbus_serial(FramerType.ASCII, line.other), reached("ascii", True, False, serial=line.one) as peer:
            yield peer


PEERS: list[Callable[[Path], AbstractAsyncContextManager[Peer]]] = [
    libmodbus_tcp,
    libmodbus_rtu,
    pymodbustcp,
    modbus_tk_tcp,
    modbus_tk_rtu,
    pymodbus_ascii_over_tcp,
    pymodbus_rtu_over_tcp,
    pymodbus_ascii,
]


async def ask(peer: Peer, request: Request) -> Exchange:
    return await peer.link.exchange(DRIVER, request)


def other_address(peer: Peer) -> Target:
    return Target(peer.meter.model, str(UNIT + 1), peer.meter.framing)


@pytest.mark.parametrize("started", PEERS)
async def test_a_foreign_server_is_read_right(
    started: Callable[[Path], AbstractAsyncContextManager[Peer]], tmp_path: Path
) -> None:
    async with started(tmp_path) as peer:
        exchanges = [await ask(peer, request) for request in DRIVER.requests(peer.meter, [point for point, _ in VALUES])]
        assert [str(exchange.error) for exchange in exchanges if exchange.error] == []
        requests, answers = [exchange.request for exchange in exchanges], [exchange.answer for exchange in exchanges]
        found = [evaluate(DRIVER.locate(peer.meter, requests, point), answers).value for point, _ in VALUES]
        assert found == [text for _, text in VALUES]

        refused = await ask(peer, DRIVER.requests(peer.meter, [place("u16", 5000)])[0])
        assert refused.error
        assert refused.error.cause == "illegal_address"

        await identify(peer)

        if peer.is_silent_for_others:
            silent = await ask(peer, DRIVER.requests(other_address(peer), [place("u16", 12)])[0])
            assert silent.error
            assert silent.error.cause == "no_answer"
        again = await ask(peer, DRIVER.requests(peer.meter, [place("u16", 13)])[0])
        assert again.error is None


async def identify(peer: Peer) -> None:
    told = await ask(peer, modbus.identification_request(peer.meter))
    if peer.identifies:
        assert told.error is None
        objects, _ = modbus.identification(told.answer, peer.meter.framing)
        assert [objects[name] for name in ("maker", "product", "revision")] == [foreign.VENDOR, foreign.PRODUCT, foreign.REVISION]
    else:
        assert told.error
        assert told.error.cause in {"illegal_function", "no_answer"}


async def test_a_single_object_of_an_identification_can_be_asked_for() -> None:
    with foreign.pymodbustcp() as endpoint:
        async with reached("tcp", True, False, tcp=endpoint) as peer:
            for code, number in ((1, 0), (4, 1)):
                told = await ask(peer, modbus.identification_request(peer.meter, number, code))
                assert told.error is None
                objects, following = modbus.identification(told.answer, "tcp")
                assert objects[("maker", "product")[number]] == (foreign.VENDOR, foreign.PRODUCT)[number]
                assert following is None
