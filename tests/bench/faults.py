"""The ledger under faults: one row for each, and after each the whole ledger is verified again.

    make faults                     or     python -m tests.bench.faults --kills 1000 --cuts 100 --seed 7

A row is good if every record that was told to be on disk is there with the bytes it had, no number stands for another record,
and `verify` finds nothing but losses that signed records state. Rows that need root, FUSE or cgroups are left
out, with the reason.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from agent import damage, draft
from agent.ledger import Ledger
from agent.ledger_file import LedgerError, LedgerReader
from agent.ledger_room import Room
from agent.packing import next_block
from agent.record import parse
from agent.retention import take_away
from agent.verify import verify as audit
from tests.agent.both import verify
from tests.agent.gateway import GATEWAY
from tests.bench import faults_writer
from tests.bench.delivery_faults import agent_killed
from tests.bench.faults_writer import KEY, KEY_LINE, Writer
from tests.bench.power_cut import after_cut

ROOT = Path(__file__).parents[2]
_DISK = 24 << 20
_LIMIT_S = 60.0
_LEAST_PACKING = 2500  # so many records are sealed, on whatever machine, where blocks are to be cut through
_FEW = 10  # so many processes may take the seconds that imports take


class NotHereError(Exception):
    """A row cannot be run on this machine; the message says why."""


class Work:
    """A writer in a process of its own, and what it said."""

    def __init__(self, state: Path, batch: int, *words: str) -> None:
        command = [sys.executable, "-m", "tests.bench.faults_writer", str(state), str(batch), *words]
        self.process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)

    def line(self) -> str:
        """The next line it says; empty when it has ended."""
        assert self.process.stdout
        return self.process.stdout.readline().strip()

    def sealed(self, records: int) -> int:
        """How many records it has, once these are so many more than at first."""
        first = last = int(self.line())
        while last < first + records and (said := self.line()):
            last = int(said) if said.isdigit() else last
        return last

    def until(self, word: str) -> bool:
        """Whether it said a word before it ended."""
        while said := self.line():
            if said.startswith(word):
                return True
        return False

    def kill(self) -> int:
        """Kills it with SIGKILL; how many records it said to be on disk last."""
        self.process.kill()
        assert self.process.stdout
        said = [line.strip() for line in self.process.stdout if line.strip().isdigit()]
        self.process.stdout.close()
        self.process.wait()
        return int(said[-1]) if said else 0


class Forked:
    """The same, forked from this process, which has everything imported: so a thousand can live and die in minutes."""

    def __init__(self, state: Path, batch: int, fault: str = "") -> None:
        reading, writing = os.pipe()
        self._pid = os.fork()
        if self._pid == 0:
            os.close(reading)
            os.dup2(writing, 1)
            try:
                asyncio.run(faults_writer.main(state, batch, fault))
            finally:
                os._exit(1)
        os.close(writing)
        self._said = os.fdopen(reading)

    def line(self) -> str:
        """The next line it says; empty when it has ended."""
        return self._said.readline().strip()

    def kill(self) -> int:
        """Kills it with SIGKILL; how many records it said to be on disk last."""
        os.kill(self._pid, signal.SIGKILL)
        said = [line.strip() for line in self._said if line.strip().isdigit()]
        self._said.close()
        os.waitpid(self._pid, 0)
        return int(said[-1]) if said else 0


def content(state: Path) -> dict[int, bytes]:
    """Every record by its number."""
    with contextlib.closing(LedgerReader(state / "ledger.sqlite")) as reader:
        return dict(reader.payloads())


def judged(state: Path) -> str:
    """What an audit of the whole ledger says, in a few words. Raises AssertionError where it finds anything."""
    with contextlib.closing(LedgerReader(state / "ledger.sqlite")) as reader:
        report = verify(reader, key=KEY_LINE)
    assert report.exit_code == 0, report.text()
    lost = f", {report.gone['lost']} stated as lost" if report.gone["lost"] else ""
    pruned = f", {report.gone['pruned']} stated as pruned" if report.gone["pruned"] else ""
    return f"{report.records} records in order{lost}{pruned}"


def goes_on(state: Path, before: dict[int, bytes], acknowledged: int = 0) -> str:
    """Starts once more, seals some, and holds the ledger against what was there before."""
    work = Work(state, 3)
    work.sealed(6)
    work.kill()
    now = content(state)
    assert all(now.get(n, payload) == payload for n, payload in before.items()), "a number stands for another record"
    assert max(now) >= acknowledged, "numbers went back"
    return judged(state)


@contextlib.contextmanager
def small_disk(folder: Path, size: int = _DISK) -> Iterator[Path]:
    """An ext4 file system of its own on a loop device. Raises NotHereError."""
    if os.geteuid():
        raise NotHereError("a file system can only be mounted as root")
    image, mounted = folder / "disk.img", folder / "disk"
    mounted.mkdir()
    with image.open("wb") as file:
        file.truncate(size)
    _run("mkfs.ext4", "-q", "-F", str(image))
    _run("mount", "-o", "loop", str(image), str(mounted))
    try:
        yield mounted
    finally:
        subprocess.run(["umount", "-l", str(mounted)], capture_output=True, check=False)


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise NotHereError(f"{' '.join(command[:2])}: {done.stderr.strip()[:80]}")


# --- rows -----------------------------------------------------------------------------------------------------------------


def kills(folder: Path, chance: random.Random, count: int) -> str:
    """SIGKILL between seal, insert and commit."""
    before: dict[int, bytes] = {}
    for _ in range(count):
        work = (Forked if count > _FEW else Work)(folder, chance.choice((1, 5, 40)))
        if chance.random() < 0.7:
            work.line()  # else it is killed while it begins
        time.sleep(chance.uniform(0.0, 0.05))
        acknowledged = work.kill()
        now = content(folder) if (folder / "ledger.sqlite").exists() else {}
        assert len(now) >= acknowledged, f"{acknowledged} were acknowledged, {len(now)} are there"
        assert {n: now.get(n) for n in before} == before
        before = now
    return f"{count} kills, nothing acknowledged is lost; {judged(folder)}"


def kills_while_packing(folder: Path, chance: random.Random, count: int) -> str:
    """SIGKILL while records are put into blocks."""
    before: dict[int, bytes] = {}
    for _ in range(count + 1):
        work = (Forked if count > _FEW else Work)(folder, 400 if not before else 60, "packing")
        try:
            while (said := work.line()) and int(said) < 1200 and not before:
                pass
            time.sleep(chance.uniform(0.0, 0.1))
        finally:
            acknowledged = work.kill()
        now = content(folder)
        assert len(now) >= acknowledged, f"{acknowledged} were acknowledged, {len(now)} are there"
        assert {n: now.get(n) for n in before} == before
        before = now
    return f"{count} kills, {packed(folder)} records are packed, nothing is lost; {judged(folder)}"


def kills_while_delivering(folder: Path, chance: random.Random, count: int) -> str:
    """SIGKILL between commit, publish, PUBACK and receipt: an agent at a broker, with a collector that gives receipts."""
    return asyncio.run(agent_killed(folder, chance.randrange(10**6), count))


def packed(folder: Path) -> int:
    """How many records of a ledger are packed."""
    with contextlib.closing(LedgerReader(folder / "ledger.sqlite")) as reader:
        return reader.packed()[0]


def power_cuts(folder: Path, chance: random.Random, count: int, *words: str, batch: int = 2) -> str:
    """Any sectors that were not flushed are lost; the file system goes on by its journal."""
    if os.geteuid() or not shutil.which("fusermount3"):
        raise NotHereError("needs root and fuse3")
    fuse, mounted, log = folder / "fuse", folder / "disk", folder / "log"
    fuse.mkdir()
    mounted.mkdir()
    serving = subprocess.Popen([sys.executable, "-m", "tests.bench.power_cut", str(fuse), str(_DISK), str(log)], cwd=ROOT)
    told: list[tuple[int, int]] = []
    try:
        _wait((fuse / "disk.img").exists, "the FUSE file")
        _run("mkfs.ext4", "-q", "-F", str(fuse / "disk.img"))
        _run("mount", "-o", "loop", str(fuse / "disk.img"), str(mounted))
        work = Work(mounted, batch, *words)
        began, least = time.monotonic(), _LEAST_PACKING if words else 1
        while (time.monotonic() - began < max(3.0, count * 0.05) or told[-1][0] < least) and (said := work.line()):
            told.append((int(said), log.stat().st_size))
        work.kill()
        whole, in_blocks = content(mounted), packed(mounted)
        assert in_blocks or not words, "nothing was packed"
        _run("umount", str(mounted))
    finally:
        subprocess.run(["umount", "-l", str(mounted)], capture_output=True, check=False)  # where it failed before that
        subprocess.run(["fusermount3", "-u", str(fuse)], capture_output=True, check=False)
        serving.terminate()
        serving.wait()
    data = log.read_bytes()
    lost = torn = 0
    for cut in range(count):
        acknowledged, at = chance.choice(told)
        image, sectors = after_cut(data, min(len(data), at + chance.randrange(60_000)), _DISK, chance)
        lost += sectors
        disk = folder / f"cut-{cut}.img"  # its own: the kernel lets go of the one before at some time behind umount
        disk.write_bytes(image)
        try:
            _run("mount", "-o", "loop", str(disk), str(mounted))
        except NotHereError:  # ext4 refuses a superblock of which one of two sectors is old: no file system, no ledger
            torn += 1
            assert torn <= 1 + count // 20, "the file system does not come back"
            continue
        try:
            there = content(mounted)
            assert len(there) >= acknowledged, f"cut {cut}: {acknowledged} were acknowledged, {len(there)} are there"
            assert all(whole[n] == payload for n, payload in there.items())
            said = goes_on(mounted, there, acknowledged) if cut % 10 == 0 else judged(mounted)
        finally:
            _run("umount", str(mounted))
            disk.unlink()
    untold = f", {torn} times ext4's own superblock was torn" if torn else ""
    told_of = f"{untold}, {in_blocks} records are packed" if words else untold
    return f"{count} cuts, {lost} sectors lost{told_of}, nothing acknowledged is lost; {said}"


def full_while_appending(folder: Path, chance: random.Random, count: int) -> str:
    """The disk is full; sealing stops, and goes on by itself when there is room."""
    with small_disk(folder) as state:
        ballast = state / "ballast"
        ballast.write_bytes(bytes(14 << 20))
        work = Work(state, 20)
        assert work.until("refused"), "the disk was never full"
        ballast.unlink()
        before = content(state)
        while not (said := work.line()).isdigit():
            assert said, "it did not go on"
        work.kill()
        return f"went on by itself; {goes_on(state, before)}"


def full_while_pruning(folder: Path, chance: random.Random, count: int, *words: str) -> str:
    """The disk is full to the last byte: records are taken away all the same, a checkpoint is signed, sealing goes on."""
    with small_disk(folder) as state:
        work = Work(state, 300 if words else 20, *words)
        work.sealed(3000)
        work.kill()
        before = packed(state)
        told = asyncio.run(_prune_on_full(state))
        if words:
            assert packed(state) < before, "no packed record was taken away"
        return told


def full_while_packing(folder: Path, chance: random.Random, count: int) -> str:
    """The disk is full at some write of a block: its records stay as they are, and are packed when there is room."""
    with small_disk(folder) as state:
        work = Work(state, 50)
        work.sealed(4000)
        work.kill()
        return asyncio.run(_pack_on_full(state, chance, count))


async def _pack_on_full(state: Path, chance: random.Random, count: int) -> str:
    ledger = await Ledger.open(state / "ledger.sqlite", GATEWAY, KEY, 0.0, Room(state / "ledger.sqlite", floor=0))
    refused, ballast, before = 0, state / "ballast", content(state)
    for _ in range(count):
        block = next_block(ledger.path, 2**62, [], 0)
        if block is None:
            break
        with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as file:
            while True:
                file.write(bytes(4096))
        os.truncate(ballast, ballast.stat().st_size - 4096 * chance.randrange(80))
        try:
            await ledger.pack(block.first, block.data)
        except LedgerError:
            refused += 1
        assert content(state) == before
        ballast.unlink()
    assert refused, "the disk was never full"
    while block := next_block(ledger.path, 2**62, [], 0):
        await ledger.pack(block.first, block.data)
    await ledger.close()
    return f"refused {refused} times, {packed(state)} records are packed; {goes_on(state, before)}"


async def _prune_on_full(state: Path) -> str:
    writer = Writer(state)
    ledger = await writer.begin()
    readings = writer.readings()
    await ledger.append(*(next(readings) for _ in range(600)))  # the WAL has its room on disk
    with contextlib.suppress(OSError), (state / "ballast").open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))
    refused, again = False, next(readings)
    try:
        await ledger.append(again)
    except LedgerError:
        refused = True
    assert refused, "the disk was never full"
    with contextlib.closing(LedgerReader(ledger.path)) as reader:
        before = dict(reader.payloads())

    class Quiet:
        info = warning = error = staticmethod(lambda event, **fields: None)

    record = await take_away(ledger, 1200, [], writer.clock, Quiet())
    assert record is not None
    (state / "ballast").unlink()
    await asyncio.sleep(1.1)
    await ledger.append(again)
    await ledger.checkpoint()
    await ledger.close()
    now = content(state)
    assert all(now[n] == before[n] for n in now.keys() & before.keys())
    return judged(state)


def full_at_the_limit(folder: Path, chance: random.Random, count: int) -> str:
    """The ledger's own limit of pages is reached: appends are refused, records are taken away, sealing goes on."""
    return asyncio.run(_at_the_limit(folder))


async def _at_the_limit(folder: Path) -> str:
    writer = Writer(folder)
    ledger = await writer.begin()
    await ledger.close()
    ledger = await Ledger.open(ledger.path, ledger.gateway, KEY, 0.0, Room(ledger.path, 4_000_000))
    refused, readings = 0, writer.readings()
    clock, waiting = writer.clock, [next(readings) for _ in range(20)]
    for _ in range(300):
        try:
            await ledger.append(*waiting)
            clock, waiting = writer.clock, [next(readings) for _ in range(20)]
        except LedgerError:
            refused += 1
            first = 0
            with contextlib.closing(LedgerReader(ledger.path)) as reader:
                first = max((each["end"] for each in _prunes(reader)), default=0)
            await ledger.prune(first, first + 512, partial(draft.prune, clock, first, first + 512, why="room"))
    await ledger.close()
    assert refused, "the limit was never reached"
    return f"refused {refused} times, pruned as often; {judged(folder)}"


def _prunes(reader: LedgerReader) -> Iterator[dict[str, int]]:
    return (parse(payload) for _, payload in reader.kind_records("prune"))


def read_only(folder: Path, chance: random.Random, count: int) -> str:
    """The file system turns itself read-only after an error; mounted anew, the agent goes on."""
    with small_disk(folder) as state:
        work = Work(state, 5)
        acknowledged = work.sealed(100)
        _run("mount", "-o", "remount,abort", str(state))
        assert work.until("refused"), "writing went on"
        work.kill()
        _run("umount", str(state))
        _run("mount", "-o", "loop", str(folder / "disk.img"), str(state))
        before = content(state)
        assert len(before) >= acknowledged
        return f"refused while read-only; {goes_on(state, before, acknowledged)}"


def damaged(how: Callable[[Path, random.Random], None], *words: str) -> Callable[[Path, random.Random, int], str]:
    """A row: a ledger of some hundred records, or of as many packed ones, is damaged on disk, several times anew."""

    def row(folder: Path, chance: random.Random, count: int) -> str:
        told = ""
        for number in range(min(count, 5)):
            state, before, acknowledged = _written(folder / str(number), *words)
            how(state / "ledger.sqlite", chance)
            told = goes_on(state, before, acknowledged)
        return f"{min(count, 5)} times, the last: {told}"

    return row


def _written(state: Path, *words: str) -> tuple[Path, dict[int, bytes], int]:
    """A ledger whose writer was killed: where it is, what it holds, and how many records were acknowledged."""
    state.mkdir()
    work = Work(state, 300 if words else 7, *words)
    acknowledged = work.sealed(1500 if words else 400)
    acknowledged = max(acknowledged, work.kill())
    assert packed(state) or not words, "nothing was packed"
    return state, content(state), acknowledged


def flipped(*words: str) -> Callable[[Path, random.Random, int], str]:
    """A row: bits are flipped in a ledger, several times anew; `verify` has to name what is not what was sealed."""

    def row(folder: Path, chance: random.Random, count: int) -> str:
        named, told = [], ""
        for number in range(count):
            state, before, acknowledged = _written(folder / str(number), *words)
            flip_bits(state / "ledger.sqlite", chance)
            named.append(finding(state, before))
            if damage.begin(state / "ledger.sqlite", 0) is None:  # in the middle of the file a person has it saved
                damage.forced(state / "ledger.sqlite", "damaged_pages", 0, thorough=True)
            told = goes_on(state, before, acknowledged)
        found = [each for each in named if each]
        last = f' ("{found[-1]}")' if found else ""
        unharmed = f", {len(named) - len(found)} times no record was hit" if len(found) < len(named) else ""
        return f"named by verify {len(found)} of {count} times{last}{unharmed}; the last: {told}"

    return row


def finding(state: Path, before: dict[int, bytes]) -> str:
    """What `verify` names in a ledger whose file was damaged; empty where every record is what it was."""
    try:
        with contextlib.closing(LedgerReader(state / "ledger.sqlite")) as reader:
            report = audit(reader, key=KEY_LINE)
    except LedgerError as error:
        return str(error)
    if report.exit_code:
        return next(f"{name}, {each[0]}" for name, each in report.findings.kept.items())
    assert content(state) == before, "verify finds nothing, and records are not what they were"
    return ""


def flip_bits(path: Path, chance: random.Random) -> None:
    """Some bits in the second half of the file."""
    _settle(path)
    data = bytearray(path.read_bytes())
    for _ in range(8):
        data[chance.randrange(len(data) // 2, len(data))] ^= 1 << chance.randrange(8)
    path.write_bytes(data)


def cut_wal(path: Path, chance: random.Random) -> None:
    """The WAL ends somewhere in its middle."""
    wal = path.with_name("ledger.sqlite-wal")
    wal.write_bytes(wal.read_bytes()[: chance.randrange(32, wal.stat().st_size)])


def cut_file(path: Path, chance: random.Random) -> None:
    """The file ends somewhere in its second half."""
    _settle(path)
    path.write_bytes(path.read_bytes()[: chance.randrange(path.stat().st_size // 2, path.stat().st_size)])


def empty(path: Path, chance: random.Random) -> None:
    """The file has no byte left."""
    _settle(path)
    path.write_bytes(b"")


def folder_instead(path: Path, chance: random.Random) -> None:
    """A directory lies where the file was."""
    _settle(path)
    path.unlink()
    path.mkdir()


def _settle(path: Path) -> None:
    with contextlib.closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def clock_steps(folder: Path, chance: random.Random, count: int) -> str:
    """The wall clock is set forth and back by up to a year between records."""

    async def run() -> str:
        writer = Writer(folder)
        ledger, clock = await writer.begin(), writer.clock
        for _ in range(count):
            clock.step(chance.choice((-1, 1)) * chance.uniform(2, 3e7))
            clock.move(60)
            await ledger.append(draft.stop(clock, "stepped"))
        await ledger.close()
        return f"{count} steps, each a record; {judged(folder)}"

    return asyncio.run(run())


def out_of_memory(folder: Path, chance: random.Random, count: int) -> str:
    """The kernel's out-of-memory killer ends the writer."""
    group = Path("/sys/fs/cgroup/memory") / f"meterseal-faults-{os.getpid()}"
    try:
        group.mkdir()
        (group / "memory.limit_in_bytes").write_text(str(90 << 20))
    except OSError as error:
        raise NotHereError(f"needs a memory cgroup (v1) as root: {error.strerror}") from None
    try:
        work = Work(folder, 5, "hog")
        work.line()
        (group / "cgroup.procs").write_text(str(work.process.pid))
        said = list(iter(work.line, ""))
        assert work.process.wait(_LIMIT_S) == -signal.SIGKILL, "it was not killed"
        acknowledged = max((int(each) for each in said if each.isdigit()), default=0)
        before = content(folder)
        assert len(before) >= acknowledged
        return f"killed by the kernel; {goes_on(folder, before, acknowledged)}"
    finally:
        _wait(lambda: not (group / "cgroup.procs").read_text().strip(), "the cgroup to be empty")
        group.rmdir()


def no_descriptors(folder: Path, chance: random.Random, count: int) -> str:
    """Every file descriptor of the process is taken; sealing goes on with those it holds."""
    work = Work(folder, 5, "descriptors")
    assert work.until("exhausted")
    work.sealed(100)
    work.kill()
    return f"sealed on with none left; {goes_on(folder, content(folder))}"


def _wait(done: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + _LIMIT_S
    while not done():
        assert time.monotonic() < end, f"waited for {what}"
        time.sleep(0.02)


Row = Callable[[Path, random.Random, int], str]
ROWS: dict[str, tuple[Row, str]] = {
    "kill -9": (kills, "kills"),
    "kill -9, packing": (kills_while_packing, "kills"),
    "kill -9, delivering": (kills_while_delivering, "kills"),
    "power cut": (power_cuts, "cuts"),
    "power cut, packing": (lambda folder, chance, count: power_cuts(folder, chance, count, "packing", batch=300), "cuts"),
    "disk full, appending": (full_while_appending, "times"),
    "disk full, pruning": (full_while_pruning, "times"),
    "disk full, packing": (full_while_packing, "cuts"),
    "disk full, pruning packed": (lambda folder, chance, count: full_while_pruning(folder, chance, count, "packing"), "times"),
    "limit of pages": (full_at_the_limit, "times"),
    "turned read-only": (read_only, "times"),
    "flipped bits": (flipped(), "times"),
    "flipped bits, packed": (flipped("packing"), "times"),
    "truncated WAL": (damaged(cut_wal), "times"),
    "truncated WAL, packed": (damaged(cut_wal, "packing"), "times"),
    "truncated file": (damaged(cut_file), "times"),
    "truncated file, packed": (damaged(cut_file, "packing"), "times"),
    "empty file": (damaged(empty), "times"),
    "directory instead": (damaged(folder_instead), "times"),
    "clock steps": (clock_steps, "cuts"),
    "out of memory": (out_of_memory, "times"),
    "no descriptors": (no_descriptors, "times"),
}


def run(names: list[str], counts: dict[str, int], seed: int) -> bool:
    """Runs rows and prints them; whether all that could be run were good."""
    good = True
    print(f"seed {seed}", flush=True)
    for name in names:
        row, which = ROWS[name]
        folder = Path(tempfile.mkdtemp(prefix="meterseal-faults-"))
        began = time.monotonic()
        try:
            said = "ok      " + row(folder, random.Random(f"{seed} {name}"), counts[which])
        except NotHereError as why:
            said = f"left out: {why}"
        except Exception as why:  # whatever ends a row, it has failed, and the others are run
            good, said = False, f"FAILED  {type(why).__name__}: {str(why)[:2000]}"
        print(f"{name:<26}{time.monotonic() - began:7.1f} s  {said}", flush=True)
        shutil.rmtree(folder, ignore_errors=True)
    return good


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("rows", nargs="*", choices=[*ROWS, []], help="some rows; else all")
    parser.add_argument("--kills", type=int, default=1000)
    parser.add_argument("--cuts", type=int, default=100)
    parser.add_argument("--times", type=int, default=5)
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    asked = parser.parse_args()
    counts = {"kills": asked.kills, "cuts": asked.cuts, "times": asked.times}
    return 0 if run(asked.rows or list(ROWS), counts, asked.seed) else 1


if __name__ == "__main__":
    sys.exit(main())
