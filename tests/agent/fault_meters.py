"""Meters that each go wrong in one way, behind two TCP ports: Modbus TCP, and a serial server that passes RTU bytes through."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from pymodbus.framer import FramerRTU

SILENT, REFUSES, BUSY, UNREACHED, STRANGER = 1, 2, 3, 4, 5
_EXCEPTION = {REFUSES: 2, BUSY: 6, UNREACHED: 11}


@dataclass(frozen=True, slots=True)
class Ports:
    """Where they answer: Modbus TCP, RTU through a serial server, and a port on which nobody listens."""

    tcp: int
    rtu: int
    nobody: int


def _tcp_answer(request: bytes) -> bytes:
    unit, function = request[6], request[7]
    if unit == SILENT:
        return b""
    if unit == STRANGER:
        return request[:4] + b"\x00\x03" + bytes([unit + 10, function | 0x80, 2])
    return request[:4] + b"\x00\x03" + bytes([unit, function | 0x80, _EXCEPTION[unit]])


def _rtu_answer(request: bytes) -> bytes:
    """The right number of bytes and a checksum that is wrong."""
    count = 2 * int.from_bytes(request[4:6], "big")
    body = request[:2] + bytes([count]) + bytes(count)
    return body + (FramerRTU.compute_CRC(body) ^ 0x0101).to_bytes(2, "big")


def _serve(listening: socket.socket, rtu: bool) -> None:
    while True:
        try:
            connection, _address = listening.accept()
        except OSError:
            return
        threading.Thread(target=_answer, args=(connection, rtu), daemon=True).start()


def _answer(connection: socket.socket, rtu: bool) -> None:
    with connection:
        try:
            while request := connection.recv(4096):
                connection.sendall(_rtu_answer(request) if rtu else _tcp_answer(request))
        except OSError:
            return


@contextmanager
def faulty_meters() -> Iterator[Ports]:
    """Answers on two ports of this machine while the block lasts."""
    with socket.socket() as tcp, socket.socket() as rtu, socket.socket() as nobody:
        for each in (tcp, rtu, nobody):
            each.bind(("127.0.0.1", 0))
        for each, is_rtu in ((tcp, False), (rtu, True)):
            each.listen()
            threading.Thread(target=_serve, args=(each, is_rtu), daemon=True).start()
        yield Ports(*(each.getsockname()[1] for each in (tcp, rtu, nobody)))
        for each in (tcp, rtu):
            each.shutdown(socket.SHUT_RDWR)
