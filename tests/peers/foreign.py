"""Other people's Modbus servers, started for a test with one and the same map, each in a thread or process of its own."""

from __future__ import annotations

import contextlib
import shutil
import socket
import struct
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import modbus_tk.defines  # type: ignore[import-untyped]  # has no types
import modbus_tk.modbus_rtu  # type: ignore[import-untyped]  # has no types
import modbus_tk.modbus_tcp  # type: ignore[import-untyped]  # has no types
import pytest
import serial
from pymodbus import FramerType, ModbusDeviceIdentification
from pymodbus.server import ModbusSerialServer, ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice
from pyModbusTCP.server import DataBank, DeviceIdentification, ModbusServer  # type: ignore[import-untyped]  # has no types

UNIT = 17
CELLS = 200
BAUD = 115200
VENDOR, PRODUCT, REVISION = "Fremdwerk", "FW-1", "2.11"


def _words(data: bytes) -> list[int]:
    return [int.from_bytes(data[i : i + 2], "big") for i in range(0, len(data), 2)]


def _turned(words: list[int]) -> list[int]:
    return [(word & 0xFF) << 8 | word >> 8 for word in words]


_FLOAT = _words(struct.pack(">f", 230.5))
_LONG = _words(struct.pack(">I", 12345678))
HOLDING = [
    *_FLOAT,  # 0: ABCD
    *_FLOAT[::-1],  # 2: CDAB
    *_turned(_FLOAT),  # 4: BADC
    *_turned(_FLOAT[::-1]),  # 6: DCBA
    *_LONG,  # 8
    *_LONG[::-1],  # 10
    *_words(struct.pack(">hH", -123, 65413)),  # 12, 13
    *_words(struct.pack(">Q", 12345678901)),  # 14
    *_words(struct.pack(">q", -12345678901))[::-1],  # 18: low word first
    *_words(struct.pack(">d", 1 / 3)),  # 22
    *_words(b"FW-0815\0"),  # 26
    *_words(bytes.fromhex("0000184223570000")),  # 30: packed decimal digits
]
INPUT = [1000 + address for address in range(CELLS)]
COILS = [address % 3 == 0 for address in range(CELLS)]
INPUTS = [address % 5 == 0 for address in range(CELLS)]


def free_port() -> int:
    """A port nobody listens on at this moment, for servers that cannot be asked which one they got."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def wait_until_it_listens(port: int) -> None:
    """Returns when a server accepts connections: some bind only in their own thread. Raises TimeoutError."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        with contextlib.suppress(ConnectionRefusedError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.01)
    raise TimeoutError(port)


# --- libmodbus ----------------------------------------------------------------------------------------------


def libmodbus_server(folder: Path) -> Path:
    """The C server, compiled. Skips the test where a compiler or the library is missing."""
    if not shutil.which("gcc") or not shutil.which("pkg-config"):
        pytest.skip("no C compiler: apt-get install gcc pkg-config libmodbus-dev")
    flags = subprocess.run(["pkg-config", "--cflags", "--libs", "libmodbus"], capture_output=True, text=True, check=False)
    if flags.returncode:
        pytest.skip("no libmodbus: apt-get install libmodbus-dev")
    source = Path(__file__).with_name("libmodbus_server.c")
    subprocess.run(
        ["gcc", "-Wall", "-Werror", "-o", str(folder / "libmodbus_server"), str(source), *flags.stdout.split()], check=True
    )
    return folder / "libmodbus_server"


@contextmanager
def libmodbus(program: Path, *arguments: str) -> Iterator[str]:
    """The C server at work; what it said when it was ready."""
    tables: dict[str, list[int] | list[bool]] = {"h": HOLDING, "i": INPUT, "c": COILS, "d": INPUTS}
    cells = "".join(f"{name} {at} {int(value)}\n" for name, values in tables.items() for at, value in enumerate(values))
    with subprocess.Popen([str(program), *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin
        assert process.stdout
        process.stdin.write(cells)
        process.stdin.close()
        try:
            said = process.stdout.readline().strip()
            assert said, "the libmodbus server did not start"
            yield said
        finally:
            process.kill()


# --- pyModbusTCP --------------------------------------------------------------------------------------------


@contextmanager
def pymodbustcp() -> Iterator[str]:
    """Its address as `host:port`."""
    bank = DataBank(coils_size=CELLS, d_inputs_size=CELLS, h_regs_size=CELLS, i_regs_size=CELLS)
    bank.set_holding_registers(0, HOLDING)
    bank.set_input_registers(0, INPUT)
    bank.set_coils(0, COILS)
    bank.set_discrete_inputs(0, INPUTS)
    told = DeviceIdentification(
        vendor_name=VENDOR.encode(), product_code=PRODUCT.encode(), major_minor_revision=REVISION.encode()
    )
    server = ModbusServer("127.0.0.1", free_port(), no_block=True, data_bank=bank, device_id=told)
    server.start()
    try:
        yield f"127.0.0.1:{server.port}"
    finally:
        server.stop()


# --- modbus-tk ----------------------------------------------------------------------------------------------


def _fill(server: modbus_tk.modbus.Server) -> None:
    meter = server.add_slave(UNIT)
    for name, kind, values in (
        ("h", modbus_tk.defines.HOLDING_REGISTERS, HOLDING + [0] * (CELLS - len(HOLDING))),
        ("i", modbus_tk.defines.ANALOG_INPUTS, INPUT),
        ("c", modbus_tk.defines.COILS, COILS),
        ("d", modbus_tk.defines.DISCRETE_INPUTS, INPUTS),
    ):
        meter.add_block(name, kind, 0, CELLS)
        meter.set_values(name, 0, [int(value) for value in values])


@contextmanager
def modbus_tk_tcp() -> Iterator[str]:
    """Its address as `host:port`."""
    port = free_port()
    server = modbus_tk.modbus_tcp.TcpServer(port, "127.0.0.1")
    _fill(server)
    server.start()
    wait_until_it_listens(port)
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.stop()


@contextmanager
def modbus_tk_rtu(device: str) -> Iterator[None]:
    """At work on a serial port."""
    server = modbus_tk.modbus_rtu.RtuServer(serial.Serial(device, BAUD))
    _fill(server)
    server.start()
    try:
        yield
    finally:
        server.stop()


# --- pymodbus, the only one with ASCII framing --------------------------------------------------------------


def _device() -> SimDevice:
    return SimDevice(
        UNIT,
        simdata=(
            [SimData(0, values=COILS, datatype=DataType.BITS)],
            [SimData(0, values=INPUTS, datatype=DataType.BITS)],
            [SimData(0, values=HOLDING, datatype=DataType.REGISTERS)],
            [SimData(0, values=INPUT, datatype=DataType.REGISTERS)],
        ),
    )


def _identity() -> ModbusDeviceIdentification:
    return ModbusDeviceIdentification({0: VENDOR, 1: PRODUCT, 2: REVISION})  # type: ignore[no-untyped-call]  # pymodbus leaves it so


@asynccontextmanager
async def pymodbus_tcp(framer: FramerType) -> AsyncIterator[str]:
    """Its address as `host:port`."""
    server = ModbusTcpServer(_device(), framer=framer, identity=_identity(), address=("127.0.0.1", 0))
    await server.serve_forever(background=True)
    assert server.transport
    host, port = server.transport.sockets[0].getsockname()  # type: ignore[attr-defined]  # an asyncio.Server here
    try:
        yield f"{host}:{port}"
    finally:
        await server.shutdown()  # type: ignore[no-untyped-call]  # as above


@asynccontextmanager
async def pymodbus_serial(framer: FramerType, device: str) -> AsyncIterator[None]:
    """At work on a serial port."""
    server = ModbusSerialServer(_device(), framer=framer, identity=_identity(), port=device, baudrate=BAUD)
    await server.serve_forever(background=True)
    try:
        yield
    finally:
        await server.shutdown()  # type: ignore[no-untyped-call]  # as above
