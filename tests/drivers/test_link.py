"""The link: ways to reach a line, what is said when one is gone, turns, silence, and moments."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import random
import subprocess
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import serial

from agent.clock import Clock
from drivers import Exchange, Request, load, port, wire
from drivers.errors import LinkDown
from drivers.formula import evaluate
from drivers.link import Link, LinkSettings
from tests.peers.elsewhere import Elsewhere
from tests.peers.foreign import free_port
from tests.peers.hostile import HostileMeter, OnPty, sealed, word
from tests.peers.ptys import Pty
from tests.peers.registers import place, target
from tests.peers.scripted import HALF_CLOSE, HANG_UP, Scripted
from tests.peers.serial_server import SerialServer

DRIVER = load("modbus")
UNIT = 17
TIMEOUT, LONGEST = 0.1, 0.2


def request_for(address: int, framing: str = "rtu", **limits: object) -> Request:
    meter = target({"quantity": "voltage", "at": {"address": 0, "type": "u16"}}, address=UNIT, framing=framing, **limits)
    return DRIVER.requests(meter, [place("u32", address)])[0]


def value_of(exchange: Exchange, address: int, framing: str = "rtu") -> int:
    assert exchange.error is None
    meter = target({"quantity": "voltage", "at": {"address": 0, "type": "u16"}}, address=UNIT, framing=framing)
    return int(evaluate(DRIVER.locate(meter, [exchange.request], place("u32", address)), [exchange.answer]).value or -1)


def settings(framing: str = "rtu", baud: int = 115200, **more: object) -> LinkSettings:
    times = {"timeout_s": TIMEOUT, "longest_answer_s": LONGEST} | more
    return LinkSettings("hall 3", framing, baud=baud, **times)  # type: ignore[arg-type]  # names and numbers as the settings have them


@asynccontextmanager
async def opened(how: LinkSettings) -> AsyncIterator[Link]:
    link = Link(how, Clock())
    await link.open()
    try:
        yield link
    finally:
        await link.close()


def rtu_answer(request: bytes, number: int) -> bytes:
    return sealed(request[:2] + b"\4" + word(int.from_bytes(request[2:4], "big"), number).to_bytes(4, "big"))


def tcp_answer(request: bytes, number: int) -> bytes:
    return request[:4] + b"\0\7" + request[6:8] + b"\4" + word(int.from_bytes(request[8:10], "big"), number).to_bytes(4, "big")


def at_once(number: int, request: bytes) -> list[tuple[float, bytes]]:
    return [(0, rtu_answer(request, number) if len(request) == 8 else tcp_answer(request, number))]


# --- ways to reach a line -----------------------------------------------------------------------------------


async def test_a_meter_is_read_over_modbus_tcp() -> None:
    async with Scripted(at_once, 12) as peer, opened(settings("tcp", tcp=peer.endpoint)) as link:
        for number in range(3):
            exchange = await link.exchange(DRIVER, request_for(7, "tcp"))
            assert value_of(exchange, 7, "tcp") == word(7, number)
    assert [int.from_bytes(request[:2], "big") for _, request in peer.seen] == [1, 2, 3]


@pytest.mark.parametrize("how", ["socket", "tcp"])
async def test_a_meter_is_read_through_a_transparent_serial_server(how: str) -> None:
    async with Scripted(at_once) as peer:
        how_reached = settings(serial=f"socket://{peer.endpoint}") if how == "socket" else settings(tcp=peer.endpoint)
        async with opened(how_reached) as link:
            assert value_of(await link.exchange(DRIVER, request_for(7)), 7) == word(7, 0)


# pyserial's RFC 2217 client calls what Python has renamed since.
@pytest.mark.filterwarnings("ignore:set(Daemon|Name)\\(\\) is deprecated:DeprecationWarning")
async def test_a_meter_is_read_through_a_serial_server_that_speaks_rfc2217() -> None:
    with Pty() as pty, SerialServer(pty.name) as server:
        meter = HostileMeter(lambda number: "right", 0.1, 0)
        playing = OnPty(meter, pty.end)
        async with opened(settings(serial=server.url, timeout_s=2.0)) as link:
            for number in range(5):
                assert value_of(await link.exchange(DRIVER, request_for(0xFFFE)), 0xFFFE) == word(0xFFFE, number)
        playing.close()


@pytest.mark.parametrize("character", ["8N1", "8E1", "8O1", "8N2", "7E1"])
async def test_a_port_with_parity_opens_again_and_again(character: str) -> None:
    # A pty keeps no parity bit, and refuses one where nothing else about it changes: as soon as it is opened again.
    with Pty() as pty:
        meter = HostileMeter(lambda number: "right", 0.1, 0)
        playing = OnPty(meter, pty.end)
        for number in range(3):
            async with opened(settings(serial=pty.name, character=character)) as link:
                assert value_of(await link.exchange(DRIVER, request_for(7)), 7) == word(7, number)
        playing.close()


# --- what is said when it is gone ---------------------------------------------------------------------------


async def refusal_of(how: LinkSettings) -> LinkDown:
    link = Link(how, Clock())
    with pytest.raises(LinkDown) as caught:
        await link.open()
    assert not link.is_open
    assert caught.value.hint
    return caught.value


async def test_a_port_that_is_not_there_is_named(tmp_path: Path) -> None:
    missing = tmp_path / "ttyUSB0"
    assert str(await refusal_of(settings(serial=str(missing)))) == f"{missing} does not exist"


async def test_a_file_that_is_no_port_is_named(tmp_path: Path) -> None:
    file = tmp_path / "notes.txt"
    file.write_text("no port")
    assert str(await refusal_of(settings(serial=str(file)))) == f"{file} is no serial port"


async def test_a_port_in_use_by_another_program_is_named() -> None:
    with Pty() as pty, serial.Serial(pty.name, exclusive=True):
        assert str(await refusal_of(settings(serial=pty.name))) == f"{pty.name} is in use by another program"


async def test_a_second_link_on_the_same_port_is_refused() -> None:
    with Pty() as pty:
        async with opened(settings(serial=pty.name)):
            assert "in use by another program" in str(await refusal_of(settings(serial=pty.name)))


OPEN_AS_NOBODY = """
import asyncio, concurrent.futures.thread, os, sys
from agent.clock import Clock
from drivers.errors import LinkDown
from drivers.link import Link, LinkSettings
link = Link(LinkSettings("hall 3", "rtu", serial=sys.argv[1]), Clock())
if os.getuid() == 0:  # everything must be imported by now: a root user's Python may not be readable for others
    os.setgid(65534), os.setgroups([]), os.setuid(65534)
try:
    asyncio.run(link.open())
except LinkDown as error:
    print(error)
"""


def test_a_port_that_may_not_be_opened_is_named_with_the_group_to_join() -> None:
    with Pty() as pty:
        os.chmod(pty.name, 0)
        root = Path(__file__).parents[2]
        ran = subprocess.run(
            [sys.executable, "-c", OPEN_AS_NOBODY, pty.name], cwd=root, capture_output=True, text=True, check=True
        )
    assert ran.stdout.strip() == f"{pty.name} may not be opened: the user of this program must be in the group dialout"


async def test_a_refused_connection_is_named() -> None:
    endpoint = f"127.0.0.1:{free_port()}"
    said = f"{endpoint} refuses the connection: the device is there, but nothing listens on that port"
    assert str(await refusal_of(settings(tcp=endpoint))) == said


@pytest.mark.filterwarnings("ignore:set(Daemon|Name)\\(\\) is deprecated:DeprecationWarning")
async def test_a_serial_server_that_refuses_the_connection_is_named() -> None:
    url = f"rfc2217://127.0.0.1:{free_port()}"
    said = f"{url} refuses the connection: the serial server is there, but nothing listens on that port"
    assert str(await refusal_of(settings(serial=url))) == said


@pytest.mark.parametrize("host", ["meter..hall", "no-such-host.invalid"])
async def test_a_name_that_nobody_knows_is_named(host: str) -> None:
    assert str(await refusal_of(settings(tcp=f"{host}:502"))) == f"the name {host} is not known in this network"


async def test_a_link_that_is_not_open_says_so() -> None:
    with pytest.raises(LinkDown, match="hall 3 is not open"):
        await Link(settings(tcp="127.0.0.1:1"), Clock()).exchange(DRIVER, request_for(7))


@pytest.mark.parametrize("framing", ["rtu", "tcp"])
@pytest.mark.parametrize("how", [HANG_UP, HALF_CLOSE])
async def test_a_peer_that_closes_instead_of_answering_is_noticed_at_once(how: bytes, framing: str) -> None:
    timeout = 30.0 if framing == "tcp" else 1.0  # an opened line is first listened to for as long as an answer may take
    script = [(0.02, how)]
    async with (
        Scripted(lambda number, request: script, 8 if framing == "rtu" else 12) as peer,
        opened(settings(framing, tcp=peer.endpoint, timeout_s=timeout)) as link,
    ):
        with pytest.raises(LinkDown, match="the other side closed the connection"):
            async with asyncio.timeout(20):
                await link.exchange(DRIVER, request_for(7, framing))
        assert not link.is_open
        with pytest.raises(LinkDown):
            await link.exchange(DRIVER, request_for(7, framing))


async def test_a_peer_that_closes_right_behind_its_answer_has_answered() -> None:
    async with (
        Scripted(lambda number, request: [*at_once(number, request), (0, HANG_UP)], 12) as peer,
        opened(settings("tcp", tcp=peer.endpoint)) as link,
    ):
        assert value_of(await link.exchange(DRIVER, request_for(7, "tcp")), 7, "tcp") == word(7, 0)
        async with asyncio.timeout(10):
            assert str(await link.lost()) == "the other side closed the connection"


async def test_a_peer_that_closes_while_a_late_answer_is_waited_for_is_noticed() -> None:
    async with (
        Scripted(lambda number, request: [(0.15, HANG_UP)]) as peer,
        opened(settings(tcp=peer.endpoint)) as link,
    ):
        assert (await link.exchange(DRIVER, request_for(7))).error
        with pytest.raises(LinkDown):
            await link.exchange(DRIVER, request_for(7))


async def test_an_adapter_that_is_pulled_is_noticed_while_nothing_is_asked() -> None:
    with Pty() as pty:
        async with opened(settings(serial=pty.name)) as link:
            pty.unplug()
            async with asyncio.timeout(10):
                assert "the port is gone" in str(await link.lost())
            with pytest.raises(LinkDown, match="the port is gone"):
                await link.exchange(DRIVER, request_for(7))


async def test_an_adapter_that_is_pulled_is_noticed_while_an_answer_is_awaited() -> None:
    with Pty() as pty:
        async with opened(settings(serial=pty.name, timeout_s=30.0, longest_answer_s=30.0)) as link:
            task = asyncio.create_task(link.exchange(DRIVER, request_for(7)))
            await asyncio.sleep(0)
            pty.unplug()
            with pytest.raises(LinkDown, match="the port is gone"):
                async with asyncio.timeout(20):
                    await task


async def test_an_adapter_that_takes_no_bytes_any_more_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(port, "_WRITE_SECONDS", 0.2)
    with Pty() as pty:
        adapter = await port.PortWire.open(pty.name, 9600, "8N1", Clock())
        with pytest.raises(LinkDown, match="the port is gone"):
            async with asyncio.timeout(30):
                await adapter.write(bytes(1_000_000))  # nobody reads the other end
        await adapter.close()


async def test_an_exchange_ends_when_its_link_is_closed() -> None:
    with Pty() as pty:
        async with opened(settings(serial=pty.name, timeout_s=30.0, longest_answer_s=30.0)) as link:
            task = asyncio.create_task(link.exchange(DRIVER, request_for(7)))
            await asyncio.sleep(0.01)
            await link.close()
            with pytest.raises(LinkDown):
                async with asyncio.timeout(20):
                    await task


async def test_a_link_opens_again_when_the_server_is_back() -> None:
    port = free_port()
    link = Link(settings("tcp", tcp=f"127.0.0.1:{port}"), Clock())
    async with Scripted(at_once, 12, port):
        await link.open()
        assert (await link.exchange(DRIVER, request_for(7, "tcp"))).error is None
    async with asyncio.timeout(10):
        await link.lost()
    with pytest.raises(LinkDown):
        await link.open()
    async with Scripted(at_once, 12, port):
        await link.open()
        assert value_of(await link.exchange(DRIVER, request_for(7, "tcp")), 7, "tcp") == word(7, 0)
    await link.close()


async def test_a_port_opens_again_when_the_adapter_is_back(tmp_path: Path) -> None:
    name = tmp_path / "rs485"
    link = Link(settings(serial=str(name)), Clock())
    for _ in range(2):
        with Pty() as pty:
            name.symlink_to(pty.name)
            playing = OnPty(HostileMeter(lambda number: "right", 0.1, 0), pty.end)
            await link.open()
            assert value_of(await link.exchange(DRIVER, request_for(7)), 7) == word(7, 0)
            playing.close()
        name.unlink()
        async with asyncio.timeout(10):
            await link.lost()
        with pytest.raises(LinkDown):
            await link.open()


# --- attribution on Modbus TCP ------------------------------------------------------------------------------


async def test_a_late_answer_on_modbus_tcp_is_skipped_by_its_transaction_number() -> None:
    def script(number: int, request: bytes) -> list[tuple[float, bytes]]:
        return [((0.15, 0.08)[number], tcp_answer(request, number))]

    async with Scripted(script, 12) as peer, opened(settings("tcp", tcp=peer.endpoint)) as link:
        late = await link.exchange(DRIVER, request_for(7, "tcp"))
        assert late.error
        assert late.error.cause == "no_answer"
        exchange = await link.exchange(DRIVER, request_for(9, "tcp"))
    assert value_of(exchange, 9, "tcp") == word(9, 1)
    assert exchange.answer[:2] == exchange.request[:2]
    assert exchange.first
    assert exchange.first.uptime_ns - exchange.sent.uptime_ns >= 70_000_000, "the late one came before, its moment is not ours"


async def test_an_answer_with_another_transaction_number_is_named() -> None:
    async with (
        Scripted(lambda number, request: [(0, b"\x77" + tcp_answer(request, number)[1:])], 12) as peer,
        opened(settings("tcp", tcp=peer.endpoint)) as link,
    ):
        exchange = await link.exchange(DRIVER, request_for(7, "tcp"))
    assert exchange.error
    assert exchange.error.cause == "wrong_transaction"
    assert exchange.answer == b"\x77" + tcp_answer(exchange.request, 0)[1:]


async def test_a_peer_that_speaks_no_modbus_is_named_at_once() -> None:
    async with (
        Scripted(lambda number, request: [(0, b"HTTP/1.1 400 Bad Request\r\n\r\n")], 12) as peer,
        opened(settings("tcp", tcp=peer.endpoint, timeout_s=30.0)) as link,
    ):
        async with asyncio.timeout(20):
            exchange = await link.exchange(DRIVER, request_for(7, "tcp"))
    assert exchange.error
    assert exchange.error.cause == "not_modbus"


async def test_answers_on_modbus_tcp_at_random_times_never_give_a_wrong_value() -> None:
    chance = random.Random(3)

    def script(number: int, request: bytes) -> list[tuple[float, bytes]]:
        return [(chance.choice((0, 0.01, 0.03, 0.05, 0.08)), tcp_answer(request, number))] * chance.choice((1, 1, 2))

    async def one() -> int:
        good = 0
        async with Scripted(script, 12) as peer, opened(settings("tcp", tcp=peer.endpoint, timeout_s=0.04)) as link:
            for _ in range(40):
                address = 2 * chance.randrange(1000)
                exchange = await link.exchange(DRIVER, request_for(address, "tcp"))
                if exchange.error is None:
                    good += 1
                    assert value_of(exchange, address, "tcp") == word(address, len(peer.seen) - 1)
        return good

    assert sum(await asyncio.gather(*(one() for _ in range(10)))) > 100


# --- turns and silence --------------------------------------------------------------------------------------


async def test_exchanges_take_turns() -> None:
    async with (
        Scripted(lambda number, request: [(0.01, rtu_answer(request, number))]) as peer,
        opened(settings(tcp=peer.endpoint)) as link,
    ):
        addresses = range(0, 40, 2)
        exchanges = await asyncio.gather(*(link.exchange(DRIVER, request_for(address)) for address in addresses))
    for address, exchange in zip(addresses, exchanges, strict=True):
        assert value_of(exchange, address) >> 16 == address
    for (seen, _), answered in zip(peer.seen[1:], peer.sent, strict=False):
        assert seen > answered, "a request was sent before the answer to the one before"


def gaps(peer: Scripted) -> list[float]:
    """Seconds from each answer to the next request, as the peer saw them."""
    return [seen - sent for (seen, _), sent in zip(peer.seen[1:], peer.sent, strict=False)]


@pytest.mark.parametrize(("baud", "silence"), [(115200, 0.00175), (9600, 3.5 * 10 / 9600), (2400, 3.5 * 10 / 2400)])
async def test_between_two_frames_the_line_is_silent_for_three_and_a_half_characters(baud: int, silence: float) -> None:
    async with Scripted(at_once) as peer, opened(settings(baud=baud, tcp=peer.endpoint, longest_answer_s=0.1)) as link:
        link_settings = link.settings
        for _ in range(3):
            assert (await link.exchange(DRIVER, request_for(7))).error is None
    assert link_settings.silence_s == pytest.approx(silence)
    assert min(gaps(peer)) >= silence


async def test_on_a_serial_port_the_silence_is_kept_too() -> None:
    with Pty() as pty:
        meter = HostileMeter(lambda number: "right", 0.1, 0)
        playing = OnPty(meter, pty.end)
        async with opened(settings(baud=2400, serial=pty.name)) as link:
            for _ in range(5):
                assert (await link.exchange(DRIVER, request_for(7))).error is None
        playing.close()
    pairs = zip(meter.served, meter.served[1:], strict=False)
    assert min(after.seen_ns - before.written_ns[-1] for before, after in pairs) / 1e9 >= 3.5 * 10 / 2400


@pytest.mark.parametrize("framing", ["rtu", "tcp"])
async def test_a_meter_gets_the_pause_it_needs_in_front_of_a_request(framing: str) -> None:
    async with Scripted(at_once, 8 if framing == "rtu" else 12) as peer, opened(settings(framing, tcp=peer.endpoint)) as link:
        for _ in range(3):
            assert (await link.exchange(DRIVER, request_for(7, framing, pause_ms=60))).error is None
    assert min(gaps(peer)) >= 0.06


async def test_whatever_comes_unasked_prolongs_the_silence() -> None:
    """Bytes that arrive between two exchanges are neither an answer nor a reason to talk into them."""

    def script(connection: int, number: int, request: bytes) -> list[tuple[float, bytes]]:
        return [(0.0, rtu_answer(request, number)), *([(0.005, b"\x55")] * 8 if number % 2 == 0 else [])]

    silence_ns = int(3.5 * 10 / 1200 * 1e9)
    with Elsewhere(script) as elsewhere:
        async with opened(settings(baud=1200, tcp=elsewhere.endpoint, longest_answer_s=0.1, timeout_s=0.5)) as link:
            for number in range(0, 20, 2):
                already = len(elsewhere.sent_ns)
                assert value_of(await link.exchange(DRIVER, request_for(7)), 7) == word(7, number)
                after = await link.exchange(DRIVER, request_for(7))
                assert value_of(after, 7) == word(7, number + 1)
                answer_and_stray = elsewhere.sent_ns[already : already + 9]
                apart = [later - earlier for earlier, later in itertools.pairwise(answer_and_stray)]
                if max(apart) < silence_ns / 2:  # on a stalled machine it may be right to ask between them
                    assert after.sent.uptime_ns - answer_and_stray[-1] >= silence_ns
                    return
    pytest.fail("this machine is too busy to send a byte every 5 ms")


@pytest.mark.parametrize("number_of_bytes", [0, 5])
async def test_after_a_failed_exchange_the_line_is_kept_silent_until_no_answer_can_come_any_more(number_of_bytes: int) -> None:
    def script(number: int, request: bytes) -> list[tuple[float, bytes]]:
        return at_once(number, request) if number else [(0, rtu_answer(request, number)[:number_of_bytes])]

    async with Scripted(script) as peer, opened(settings(tcp=peer.endpoint, longest_answer_s=0.3)) as link:
        assert (await link.exchange(DRIVER, request_for(7))).error
        assert (await link.exchange(DRIVER, request_for(7))).error is None
    assert peer.seen[1][0] - peer.seen[0][0] >= 0.3


async def test_a_late_answer_ends_the_silence_before_its_time() -> None:
    def script(number: int, request: bytes) -> list[tuple[float, bytes]]:
        return [(0.0 if number else 0.2, rtu_answer(request, number))]

    async with Scripted(script) as peer, opened(settings(tcp=peer.endpoint, longest_answer_s=1.5)) as link:
        assert (await link.exchange(DRIVER, request_for(7))).error
        assert value_of(await link.exchange(DRIVER, request_for(9)), 9) == word(9, 1)
    assert 0.2 <= peer.seen[1][0] - peer.seen[0][0] < 1.2


async def test_an_opened_line_is_listened_to_before_the_first_request() -> None:
    async with (
        Scripted(at_once) as peer,
        opened(settings(tcp=peer.endpoint, longest_answer_s=0.3)) as link,
    ):
        assert (await link.exchange(DRIVER, request_for(7))).error is None
        assert (await link.exchange(DRIVER, request_for(7))).error is None
    assert peer.seen[0][0] - peer.connected[0] >= 0.29
    assert peer.seen[1][0] - peer.seen[0][0] < 0.29


async def test_modbus_tcp_is_asked_without_listening_first() -> None:
    async with Scripted(at_once, 12) as peer, opened(settings("tcp", tcp=peer.endpoint, longest_answer_s=60.0)) as link:
        async with asyncio.timeout(30):
            assert (await link.exchange(DRIVER, request_for(7, "tcp"))).error is None


async def test_a_longer_timeout_of_the_site_stretches_the_wait_for_late_answers_too() -> None:
    request = request_for(7, timeout_ms=1000)
    assert request.longest_answer_s == 2.0
    on_the_line = 256 * 10 / 9600
    assert LinkSettings("l", "rtu").times(request) == (1.0, 2.0 + on_the_line)
    assert LinkSettings("l", "rtu", timeout_s=3.0).times(request) == (3.0, 6.0 + on_the_line)
    assert LinkSettings("l", "rtu", timeout_s=3.0, longest_answer_s=1.0).times(request) == (3.0, 3.0 + on_the_line)
    assert LinkSettings("l", "tcp", timeout_s=0.5).times(request) == (0.5, 2.0)


# --- lines that talk slowly, or always ----------------------------------------------------------------------


async def test_an_answer_that_has_begun_in_time_is_read_to_its_end() -> None:
    def script(number: int, request: bytes) -> list[tuple[float, bytes]]:
        answer = rtu_answer(request, number)
        return [(0.03 * step, answer[step : step + 1]) for step in range(len(answer))]

    async with Scripted(script) as peer, opened(settings(tcp=peer.endpoint, longest_answer_s=0.8)) as link:
        exchange = await link.exchange(DRIVER, request_for(7))
    assert value_of(exchange, 7) == word(7, 0)
    assert exchange.ms >= 240 > 1000 * TIMEOUT


async def test_a_line_that_never_falls_silent_fails_by_noise_and_does_not_hold_up_the_link() -> None:
    with Pty() as pty:
        stop = threading.Event()

        def babble() -> None:
            with contextlib.suppress(OSError):
                while not stop.wait(0.001):
                    os.write(pty.end, b"\x00\xff\x55")

        thread = threading.Thread(target=babble)
        thread.start()
        try:
            async with opened(settings(baud=2400, serial=pty.name)) as link:
                async with asyncio.timeout(30):
                    first = await link.exchange(DRIVER, request_for(7))
                    second = await link.exchange(DRIVER, request_for(7))
        finally:
            stop.set()
            thread.join()
    for exchange in (first, second):
        assert exchange.error
        assert exchange.error.cause == "noise"
        assert 0 < len(exchange.answer) <= 2048


# --- moments ------------------------------------------------------------------------------------------------


async def test_the_moments_are_those_of_the_answer_not_of_the_echo_in_front_of_it() -> None:
    def script(number: int, request: bytes) -> list[tuple[float, bytes]]:
        answer = rtu_answer(request, number)
        return [(0, b"\xff" + request), (0.04, answer[:3]), (0.08, answer[3:] + b"\x00")]

    async with Scripted(script) as peer, opened(settings(tcp=peer.endpoint)) as link:
        exchange = await link.exchange(DRIVER, request_for(7))
    assert value_of(exchange, 7) == word(7, 0)
    assert exchange.answer == rtu_answer(exchange.request, 0)
    assert exchange.first
    assert exchange.last
    assert exchange.first.uptime_ns - exchange.sent.uptime_ns >= 35_000_000
    assert exchange.last.uptime_ns - exchange.first.uptime_ns >= 35_000_000
    assert exchange.ms >= 75


async def test_silence_has_no_moments_and_a_fragment_has() -> None:
    def script(number: int, request: bytes) -> list[tuple[float, bytes]]:
        return [] if number == 0 else [(0.02, rtu_answer(request, number)[:5])]

    async with Scripted(script) as peer, opened(settings(tcp=peer.endpoint)) as link:
        silence = await link.exchange(DRIVER, request_for(7))
        fragment = await link.exchange(DRIVER, request_for(7))
    assert (silence.answer, silence.first, silence.last, silence.ms) == (b"", None, None, 0)
    assert fragment.error
    assert fragment.error.cause == "short_answer"
    assert fragment.answer == rtu_answer(fragment.request, 1)[:5]
    assert fragment.first
    assert fragment.ms >= 15


def test_what_arrived_is_kept_by_the_newest_bytes_with_their_moments() -> None:
    async def fill() -> None:
        clock = Clock()
        arriving = wire.Wire(clock)
        moments = [clock.instant() for _ in range(100)]
        for index, moment in enumerate(moments):
            arriving.feed(bytes([index]) * 50, moment)
        assert len(arriving.received) == 2048
        assert arriving.received[-1] == 99
        for index in (0, 1, 47, 48, 49, 1000, 2047):
            assert arriving.moment(index) == moments[arriving.received[index]]
        with pytest.raises(IndexError):
            arriving.moment(2048)
        arriving.clear()
        with pytest.raises(IndexError):
            arriving.moment(0)

    asyncio.run(fill())
