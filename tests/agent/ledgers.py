"""Good logs in memory for tests, made with a fixed key, and the ways an attacker edits them.

Frames are built here by hand (own CRC-16, own frame headers, formulas written out), so that nothing the verifier
uses has also made what it verifies, except the sealing itself.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from agent import checkpoint
from agent.merkle import Frontier
from agent.record import EMPTY_LOG
from agent.rhythm import Rhythm
from agent.seal import Key, Record, base64url, from_base64url, rotation_statement, seal
from tests.agent.both import verify

GATEWAY = "plant/gw1"
ORIGIN = f"meterseal/{GATEWAY}"
START = datetime(2026, 3, 1, tzinfo=UTC)
EVERY_S = 900
EVERY_MS = 1000 * EVERY_S
FAST_MS = 60_000
SERIAL = 202311045

MODEL = b"""model: test-meter
revision: 2
maker: Nobody
product: a meter that exists in tests only
medium: electricity
protocol: modbus
trust: {level: B, sources: [{url: this test, kind: community}]}
identity:
  - {name: serial, at: {address: 100, type: u32}}
points:
  - {quantity: active_energy_import, at: {address: 0, type: u32}, scale: 0.01, ratio: ct}
  - {quantity: active_power, at: {address: 10, type: i16}, scale: 100, range: [-200000, 200000]}
  - {quantity: voltage.l1, at: {address: 20, type: u16, missing: [ffff]}, scale: 0.1}
  - {quantity: current.l1, at: {address: 21, type: u16}, scale: 0.001, default: false}
examples:
  - origin: made for this test
    frames: [{request: 01 03 00 14 00 01 c4 0e, answer: 01 03 02 08 fc be 05}]
    values: {voltage.l1: '230.0'}
"""
QUANTITIES = ("active_energy_import", "active_power", "voltage.l1")
TWO_SCHEDULES = [
    {"every_ms": EVERY_MS, "quantities": ["active_energy_import", "voltage.l1"]},
    {"every_ms": FAST_MS, "quantities": ["active_power"]},
]
DIGEST = hashlib.sha256(MODEL).hexdigest()


def new_key(seed: str = "gateway") -> Key:
    """The same key for the same seed, never to be used elsewhere."""
    return Key(Ed25519PrivateKey.from_private_bytes(hashlib.sha256(f"meterseal test {seed}".encode()).digest()))


def crc(data: bytes) -> bytes:
    """CRC-16/MODBUS bit by bit, low byte first."""
    register = 0xFFFF
    for byte in data:
        register ^= byte
        for _ in range(8):
            register = (register >> 1) ^ (0xA001 if register & 1 else 0)
    return register.to_bytes(2, "little")


def rtu(pdu: bytes, unit: int = 1) -> bytes:
    data = bytes([unit]) + pdu
    return data + crc(data)


def tcp(pdu: bytes, number: int, unit: int = 2) -> bytes:
    return number.to_bytes(2, "big") + b"\0\0" + (len(pdu) + 1).to_bytes(2, "big") + bytes([unit]) + pdu


def asked(address: int, count: int) -> bytes:
    return b"\x03" + address.to_bytes(2, "big") + count.to_bytes(2, "big")


def told(data: bytes) -> bytes:
    return b"\x03" + bytes([len(data)]) + data


def frame(request: bytes, answer: bytes, fault: str = "") -> dict[str, Any]:
    return {"request": request.hex(), "answer": answer.hex(), "ms": 31} | ({"fault": fault} if fault else {})


def stamp(moment: datetime) -> str:
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03d}Z"


@dataclass
class MemoryLog:
    """A log that is a list: what `agent.verify.Log` asks for, and nothing in the way of an attacker."""

    records: list[bytes] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    responses: dict[int, bytes] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=lambda: {DIGEST: MODEL})
    rows: list[int] = field(default_factory=list)  # where some are gone: the n of those that are there
    gone: list[tuple[int, int, bytes]] = field(default_factory=list)

    def size(self) -> int:
        return len(self.records)

    def payloads(self, start: int = 0, stop: int | None = None) -> Iterator[tuple[int, bytes]]:
        yield from [(n, self.records[at]) for at, n in enumerate(self.rows or range(len(self.records)))][start:stop]

    def checkpoints(self) -> list[str]:
        return list(self.notes)

    def kept(self) -> list[tuple[int, int, bytes]]:
        return list(self.gone)

    def timestamps(self) -> dict[int, bytes]:
        return dict(self.responses)

    def models(self) -> dict[str, bytes]:
        return dict(self.files)

    def fields(self, n: int) -> dict[str, Any]:
        made: dict[str, Any] = json.loads(self.records[n])
        return made

    def edit(self, n: int, change: Callable[[dict[str, Any]], object]) -> None:
        """Changes a record in place without the key: the signature stays as it was."""
        fields = self.fields(n)
        change(fields)
        self.records[n] = json.dumps(fields, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()

    def find(self, kind: str, number: int = 0, **wanted: Any) -> int:
        """n of the number-th record of a kind; negative numbers count from the end."""
        found = [n for n in range(len(self.records)) if _fits(self.fields(n), kind, wanted)]
        return found[number]


def _fits(fields: dict[str, Any], kind: str, wanted: dict[str, Any]) -> bool:
    return fields["kind"] == kind and all(fields.get(name) == value for name, value in wanted.items())


class Gateway:
    """A gateway with two meters: `rtu-1` on a line, with a current transformer, and `tcp-2` with its serial number."""

    def __init__(self, key: Key | None = None, recovery: Key | None = None) -> None:
        self.key = key or new_key()
        self.recovery = recovery
        self.first_key = self.key
        self.log = MemoryLog()
        self.now = START
        self.uptime_ms = 100_000
        self.boot = "3f9c1d2a"
        self.trusted = "synchronized"
        self.counts: dict[str, int] = {}
        self.declared: dict[str, str] = {}
        self.sources: dict[str, dict[str, Any]] = {}
        self.prev = EMPTY_LOG
        self.frontier = Frontier()
        self.rhythm = Rhythm()
        self.number = 0

    @property
    def key_line(self) -> str:
        return checkpoint.verifier_key(ORIGIN, self.first_key.public)

    def after(self, seconds: float) -> Gateway:
        """Lets time pass, on both clocks."""
        self.now += timedelta(seconds=seconds)
        self.uptime_ms += int(seconds * 1000)
        return self

    def append(self, kind: str, **fields: Any) -> Record:
        """Seals a record of now."""
        clock = {"state": self.trusted, "error_ms": 8, "boot": self.boot, "uptime_ms": self.uptime_ms}
        draft = {"kind": kind, "time": stamp(self.now), "clock": clock, **fields}
        record = seal(draft, gateway=GATEWAY, n=len(self.log.records), prev=self.prev, key=self.key)
        if self.rhythm.is_due(draft):
            self.checkpoint()
        self.rhythm = self.rhythm.after(draft)
        self.log.records.append(record.payload)
        self.prev = record.leaf
        self.frontier = self.frontier.append(record.leaf)
        return record

    def checkpoint(self) -> str:
        note = checkpoint.write(ORIGIN, len(self.log.records), self.frontier.root(), self.key)
        self.log.notes.append(note)
        self.rhythm = Rhythm()
        return note

    def begin(self) -> Gateway:
        """Enrolment, start, configuration, both declarations, the serial number of the second meter."""
        enrolled = {"action": "enrol", "algorithm": "ed25519", "public": base64url(self.key.public), "who": "wang.li"}
        self.append("key", **enrolled | ({"recovery": base64url(self.recovery.public)} if self.recovery else {}))
        self.append("start", version="0.1.0", config="ab" * 32, after="first")
        self.append("config", digest="ab" * 32, who="wang.li")
        self.declare("rtu-1", serial="EM-77", framing="rtu", address="1", ct="400/5")
        self.declare("tcp-2", serial=str(SERIAL), framing="tcp", address="2", ct="1")
        self.identify()
        return self

    def declare(self, meter: str, **changes: Any) -> Record:
        fields = {
            "id": meter,
            "model": "test-meter",
            "revision": 2,
            "digest": DIGEST,
            "trust": "B",
            "link": "line1",
            "place": "hall 3",
            "schedules": [{"every_ms": EVERY_MS, "quantities": list(QUANTITIES)}],
        }
        record = self.append("meter", meter=fields | changes)
        self.declared[meter] = base64url(record.leaf)
        self.sources[meter] = {"id": meter, "serial": changes["serial"], "serial_from": "plate"}
        return record

    def source(self, meter: str) -> dict[str, Any]:
        self.counts[meter] = self.counts.get(meter, -1) + 1
        return {**self.sources[meter], "declared": self.declared[meter], "count": self.counts[meter]}

    def exchange(self, meter: str, address: int, data: bytes) -> dict[str, Any]:
        """One question and its answer, good."""
        question = asked(address, len(data) // 2)
        if meter == "rtu-1":
            return frame(rtu(question), rtu(told(data)))
        self.number += 1
        return frame(tcp(question, self.number), tcp(told(data), self.number))

    def identify(self, meter: str = "tcp-2", serial: int = SERIAL, expected: int = SERIAL) -> Record:
        frames = [self.exchange(meter, 100, serial.to_bytes(4, "big"))]
        formula = "0@9:u32be" if meter == "tcp-2" else "0@3:u32be"
        record = self.append(
            "identity",
            meter=self.source(meter),
            expected=str(expected),
            found=str(serial),
            match=serial == expected,
            formula=formula,
            frames=frames,
        )
        self.sources[meter]["serial_from"] = "register"
        return record

    def frames(self, meter: str, energy: int, power: int, voltage: int) -> list[dict[str, Any]]:
        return [
            self.exchange(meter, 0, energy.to_bytes(4, "big")),
            self.exchange(meter, 10, power.to_bytes(2, "big", signed=True)),
            self.exchange(meter, 20, voltage.to_bytes(2, "big")),
        ]

    def values(self, meter: str, energy: int, power: int, voltage: int) -> list[dict[str, Any]]:
        """What these registers must come to."""
        at, ratio, times = (3, "*400/5", 80) if meter == "rtu-1" else (9, "", 1)
        hundredths = energy * times
        made: list[dict[str, Any]] = [
            {
                "quantity": "active_energy_import",
                "value": f"{hundredths // 100}.{hundredths % 100:02d}",
                "unit": "kWh",
                "formula": f"0@{at}:u32be*0.01{ratio}",
            },
            {"quantity": "active_power", "value": str(power * 100), "unit": "W", "formula": f"1@{at}:i16be*100"},
        ]
        if abs(power) > 2000:
            made[1] |= {"quality": "uncertain", "cause": "out_of_range"}
        formula = f"2@{at}:u16be!ffff*0.1"
        if voltage == 0xFFFF:
            made.append({"quantity": "voltage.l1", "formula": formula, "quality": "bad", "cause": "not_available"})
        else:
            value = f"{voltage // 10}.{voltage % 10}"
            made.append({"quantity": "voltage.l1", "value": value, "unit": "V", "formula": formula})
        return made

    def reading(self, meter: str, energy: int = 18422357, power: int = 1873, voltage: int = 2311, **changes: Any) -> Record:
        """A reading of the instant that has just been due."""
        fields = {
            "meter": self.source(meter),
            "every_ms": EVERY_MS,
            "due": stamp(self.due),
            "frames": self.frames(meter, energy, power, voltage),
            "values": self.values(meter, energy, power, voltage),
        }
        return self.append("reading", **(fields | changes))

    def fast(self, meter: str, power: int = 1873, **changes: Any) -> Record:
        """A reading of the power alone, by the schedule of `TWO_SCHEDULES` that is due more often."""
        formula = "0@3:i16be*100" if meter == "rtu-1" else "0@9:i16be*100"
        fields = {
            "meter": self.source(meter),
            "every_ms": FAST_MS,
            "due": stamp(self.due_at(FAST_MS)),
            "frames": [self.exchange(meter, 10, power.to_bytes(2, "big", signed=True))],
            "values": [{"quantity": "active_power", "value": str(power * 100), "unit": "W", "formula": formula}],
        }
        return self.append("reading", **(fields | changes))

    def slow(self, meter: str, energy: int = 18422357, voltage: int = 2311) -> Record:
        """A reading of all but the power, by the other schedule of `TWO_SCHEDULES`."""
        frames = self.frames(meter, energy, 0, voltage)
        values = self.values(meter, energy, 0, voltage)
        values[2]["formula"] = "1" + values[2]["formula"][1:]
        return self.reading(meter, frames=[frames[0], frames[2]], values=[values[0], values[2]])

    @property
    def due(self) -> datetime:
        return self.due_at(EVERY_MS)

    def due_at(self, every_ms: int) -> datetime:
        """The newest instant of a schedule."""
        every = timedelta(milliseconds=every_ms)
        return START + (self.now - START) // every * every

    def gap(
        self,
        meter: str,
        state: str,
        since: datetime,
        due: datetime,
        missed: int,
        cause: str = "no_answer",
        every_ms: int = EVERY_MS,
    ) -> Record:
        request = rtu(asked(0, 2)) if meter == "rtu-1" else tcp(asked(0, 2), 1)
        frames = [frame(request, b"", "no_answer")] if state == "opened" and cause == "no_answer" else []
        told = {"every_ms": every_ms, "since": stamp(since), "due": stamp(due), "cause": cause, "missed": missed}
        return self.append("gap", meter=self.source(meter), state=state, frames=frames, **told)

    def hole(self, meter: str, since: datetime, due: datetime, cause: str, every_ms: int = EVERY_MS) -> None:
        """A gap from its opening to its end, told afterwards."""
        missed = (due - since) // timedelta(milliseconds=every_ms)
        self.gap(meter, "opened", since, due, missed, cause, every_ms)
        self.gap(meter, "closed", since, due, missed, cause, every_ms)

    def started(self, after: str = "stop") -> Record:
        """The agent begins."""
        return self.append("start", version="0.1.0", config="ab" * 32, after=after)

    def rotate(self, new: Key) -> Record:
        proof = base64url(new.sign(rotation_statement(GATEWAY, self.key.name, new.public)))
        fields = {"action": "rotate", "algorithm": "ed25519", "public": base64url(new.public), "proof": proof, "who": "zhao.min"}
        record = self.append("key", **fields)
        self.key = new
        return record

    def revoke(self, new: Key, following: Key | None = None, since: int | None = None) -> Record:
        """The recovery key revokes the key in force and brings a new one, and another recovery key."""
        assert self.recovery
        proof = base64url(new.sign(rotation_statement(GATEWAY, self.key.name, new.public, "revocation")))
        fields = {"action": "revoke", "algorithm": "ed25519", "public": base64url(new.public), "proof": proof, "who": "zhao.min"}
        fields |= {"revoked": self.key.name} | ({"recovery": base64url(following.public)} if following else {})
        fields |= {} if since is None else {"since": since}  # type: ignore[dict-item]  # a number among texts
        self.key = self.recovery
        record = self.append("key", **fields)
        self.key, self.recovery = new, following or self.recovery
        return record

    def step(self, seconds: int) -> Record:
        """The wall clock is set; the time since boot is not."""
        before, self.now = self.now, self.now + timedelta(seconds=seconds)
        return self.append("clock", step_ms=1000 * seconds, before=stamp(before), after=stamp(self.now))

    def reseal(self, start: int = 0) -> None:
        """What the owner of the key can do: seal everything anew from `start`, as the records now are.

        Where the checkpoints were thrown away, those that belong are signed anew too.
        """
        self.prev, self.frontier, self.rhythm = EMPTY_LOG, Frontier(), Rhythm()
        anew = not self.log.notes
        changed, self.log.records = self.log.records, []
        for n, payload in enumerate(changed):
            fields = json.loads(payload)
            fields = {
                name: value for name, value in fields.items() if name not in ("sig", "n", "prev", "key", "gateway", "meterseal")
            }
            if anew and self.rhythm.is_due(fields):
                self.checkpoint()
            self.rhythm = self.rhythm.after(fields)
            if n < start:
                record = seal(fields, gateway=GATEWAY, n=n, prev=self.prev, key=self.key)
                assert record.payload == payload
            else:
                record = seal(self._redeclared(fields), gateway=GATEWAY, n=n, prev=self.prev, key=self.key)
            self.log.records.append(record.payload)
            self.prev, self.frontier = record.leaf, self.frontier.append(record.leaf)
            if fields["kind"] == "meter":
                self.declared[fields["meter"]["id"]] = base64url(record.leaf)

    def _redeclared(self, fields: dict[str, Any]) -> dict[str, Any]:
        """Quotes the declarations as they are sealed now."""
        if "declared" in fields.get("meter", {}):
            fields["meter"]["declared"] = self.declared[fields["meter"]["id"]]
        return fields


def good_gateway() -> Gateway:
    """Three hours of two meters: readings, a gap of two polls, a value not available, one out of range; two checkpoints."""
    gateway = Gateway().begin()
    gateway.after(0.3)
    for quarter in range(12):
        if quarter == 4:
            since = gateway.due
            gateway.gap("rtu-1", "opened", since, since, 1)
        if quarter == 6:
            gateway.gap("rtu-1", "closed", since, gateway.due, 2)
        if quarter not in (4, 5):
            gateway.reading("rtu-1", energy=18422357 + quarter, power=2300 if quarter == 8 else 1873)
        gateway.after(0.2)
        gateway.reading("tcp-2", energy=990000 + 7 * quarter, voltage=0xFFFF if quarter == 3 else 2311)
        if quarter in (5, 10):
            gateway.checkpoint()
        gateway.after(EVERY_S - 0.2)
    return gateway


def classes(log: MemoryLog, key: str | None, **options: Any) -> set[str]:
    """The classes of findings in a log."""
    return set(verify(log, key=key, **options).findings.counts)


def public_of(fields: dict[str, Any]) -> bytes:
    return from_base64url(fields["public"])
