"""The verbs init, key show, key rotate and key revoke, as a person types them."""

from __future__ import annotations

import asyncio
import re
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner

from agent.cli import main
from agent.clock import Clock
from agent.draft import enrolment
from agent.key_change import check_recovery, key_in_force, keys_in_ledger
from agent.keys import KeyFileError, make_key, read_recovery
from agent.ledger import Ledger
from agent.ledger_file import LedgerReader
from agent.record import parse
from agent.recovery import new_recovery_key
from agent.state import LEDGER_FILE, only_agent
from tests.agent.both import verify
from tests.agent.gateway import StillClock, begun, stop

SITE = """gateway: plant/gw1
links: {hall: {tcp: "127.0.0.1:1502"}}
meters:
  - {id: EM-001, link: hall, model: eastron-sdm120, address: 1}
"""


class Desk:
    """A gateway's folder, and what its keeper types."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.state = folder, folder / "state"
        self.site = folder / "site.yaml"
        self.site.write_text(SITE)

    def type(self, *words: str, expect: int = 0, answers: str = "") -> str:
        options = ["--site", str(self.site), "--state", str(self.state)]
        result = CliRunner().invoke(main, [*words, *options], input=answers)
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        assert result.exit_code == expect, result.output
        return result.output

    def work(self, records: int = 3) -> None:
        """What the agent does: it seals, signed by whatever key is in force."""

        async def seal() -> None:
            clock = Clock()
            key = key_in_force(self.state)
            ledger = await Ledger.open(self.state / LEDGER_FILE, "plant/gw1", key, 0.0)
            if ledger.size == 0:
                await ledger.append(enrolment(clock, key, "tester", read_recovery(self.state, "plant/gw1")))
            for _ in range(records):
                await ledger.append(stop(clock))
            await ledger.close()

        asyncio.run(seal())

    def report(self) -> str:
        with closing(LedgerReader(self.state / LEDGER_FILE)) as log:
            report = verify(log, key=(self.state / "key.vkey").read_text())
        assert report.exit_code == 0, report.text()
        return report.text()

    def kinds(self) -> list[str]:
        with closing(LedgerReader(self.state / LEDGER_FILE)) as log:
            return [str(parse(payload).get("action", "work")) for _, payload in log.payloads()]


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def code_in(output: str) -> str:
    found = re.search(r"^ *((?:[A-Z2-7]{4}-){14}[A-Z2-7]{2})$", output, re.MULTILINE)
    assert found, output
    return found[1]


def test_init_shows_the_recovery_code_once_and_keeps_it_nowhere(desk: Desk) -> None:
    code = code_in(desk.type("init"))
    kept = b"".join(path.read_bytes() for path in desk.folder.rglob("*") if path.is_file())
    assert code.encode() not in kept
    assert (desk.state / "enrolment.html").exists()
    assert code not in (desk.state / "enrolment.txt").read_text()


def test_init_writes_the_recovery_code_to_a_file_elsewhere_instead(desk: Desk) -> None:
    assert "lies in the state directory" in desk.type("init", "--recovery", str(desk.state / "r.txt"), expect=2)
    said = desk.type("init", "--recovery", str(desk.folder / "stick.txt"))
    code = code_in((desk.folder / "stick.txt").read_text())
    assert code not in said
    assert (desk.folder / "stick.txt").stat().st_mode & 0o777 == 0o600


def test_two_rotations_leave_a_log_in_order_and_each_key_its_own_range(desk: Desk) -> None:
    desk.type("init")
    for _ in range(2):
        desk.work()
        desk.type("key", "rotate", "--who", "zhao.min")
    desk.work()
    assert "3 keys in this log" in desk.report()
    shown = desk.type("key", "show")
    assert re.search(r"signs from record 0 to record 4\n", shown)
    assert re.search(r"signs from record 5 to record 8\n", shown)
    assert re.search(r"signs from record 9 to now\n", shown)
    assert not (desk.state / "key.next.pem").exists()


def test_a_stolen_key_is_revoked_with_the_code_and_the_next_one_with_the_next_code(desk: Desk) -> None:
    code = code_in(desk.type("init"))
    desk.work()
    said = desk.type("key", "revoke", answers=f"{code.lower()}\ny\n")
    desk.work()
    assert "2 keys in this log" in desk.report()
    refused = desk.type("key", "revoke", answers=f"{code}\ny\n", expect=2)
    assert "the one of this log is" in refused
    desk.type("key", "revoke", answers=f"{code_in(said)}\ny\n")
    desk.work()
    desk.report()
    assert desk.kinds().count("revoke") == 2


def test_a_revocation_may_say_since_when_the_key_was_stolen(desk: Desk) -> None:
    code = code_in(desk.type("init"))
    desk.work()
    assert "not record 99" in desk.type("key", "revoke", "--since", "99", answers=f"{code}\ny\n", expect=2)
    desk.type("key", "revoke", "--since", "2", answers=f"{code}\ny\n")
    desk.work()
    report = desk.type("verify", expect=1)
    assert re.search(r"STOLEN  1 finding.*records 2 to \d+ are signed by key", report, re.DOTALL)


def test_a_lost_key_is_replaced_with_the_code(desk: Desk) -> None:
    desk.type("init", "--recovery", str(desk.folder / "stick.txt"))
    desk.work()
    (desk.state / "key.pem").unlink()
    assert "no key" in desk.type("key", "rotate", expect=2)
    new = str(desk.folder / "new.txt")
    desk.type("key", "revoke", "--code", str(desk.folder / "stick.txt"), "--recovery", new)
    desk.work()
    desk.report()


def test_a_wrong_code_changes_nothing(desk: Desk) -> None:
    desk.type("init")
    desk.work()
    before = desk.kinds()
    assert "not a recovery code" in desk.type("key", "revoke", answers="ABCD\n", expect=2)
    assert desk.kinds() == before


def test_keys_are_not_changed_while_the_agent_runs_nor_before_the_log_began(desk: Desk) -> None:
    desk.type("init")
    assert "Run the agent once first" in desk.type("key", "rotate", expect=2)
    desk.work()
    with only_agent(desk.state):
        assert "already running" in desk.type("key", "rotate", expect=2)
    assert desk.kinds().count("rotate") == 0


def test_a_rotation_that_was_cut_short_behind_the_record_is_finished_by_the_next_start(desk: Desk) -> None:
    desk.type("init")
    desk.work()
    old = (desk.state / "key.pem").read_bytes()
    desk.type("key", "rotate")
    (desk.state / "key.pem").rename(desk.state / "key.next.pem")  # as a power cut between the commit and the renaming leaves it
    (desk.state / "key.pem").write_bytes(old)
    (desk.state / "key.pem").chmod(0o600)
    desk.work()
    desk.report()
    assert (desk.state / "key.pem").read_bytes() != old


def test_the_old_key_cannot_go_on_after_a_rotation(desk: Desk) -> None:
    desk.type("init")
    desk.work()
    old = (desk.state / "key.pem").read_bytes()
    desk.type("key", "rotate")
    (desk.state / "key.pem").write_bytes(old)
    assert "is not the key of this ledger" in desk.type("key", "show", expect=2)


async def test_a_log_begun_without_a_recovery_key_says_so_when_asked_to_revoke(tmp_path: Path) -> None:
    key = make_key(tmp_path, "plant/gw1")
    await (await begun(tmp_path / LEDGER_FILE, key, StillClock())).close()
    ring = keys_in_ledger(tmp_path)
    assert ring
    with pytest.raises(KeyFileError, match="no recovery key"):
        check_recovery(ring, new_recovery_key())
