"""agent.timestamp: checkpoints stamped by an authority made of OpenSSL, and checked offline."""

from __future__ import annotations

import asyncio
import contextlib
import re
import subprocess
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from shutil import which

import pytest
import structlog
from structlog.testing import LogCapture

from agent.bundle import Bundle
from agent.checkpoints import keep_timestamped, until_midnight
from agent.clock import Clock
from agent.export import export
from agent.findings import CannotCheck
from agent.ledger_file import LedgerReader
from agent.timestamp import NoTimestamp, ask
from config.site import Timestamp
from config.zone import zone_of
from tests.agent.both import verify
from tests.agent.gateway import begun, new_key, stop
from tests.agent.heard import Heard
from tests.agent.ledgers import Gateway
from tests.brokers import until
from tests.peers.authority import Authority

pytest.importorskip("rfc3161_client", reason="install the extra `timestamp`: rfc3161-client")


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Authority]:
    with Authority(tmp_path_factory.mktemp("tsa")) as made:
        yield made


def gateway_of_now() -> Gateway:
    gateway = Gateway()
    gateway.now = datetime.now(UTC).replace(microsecond=0)
    return gateway.begin()


def test_a_stamped_checkpoint_is_checked_offline_and_says_since_when_it_existed(authority: Authority) -> None:
    gateway = gateway_of_now()
    note = gateway.checkpoint()
    size = len(gateway.log.records)
    gateway.log.responses[size] = ask(authority.url, note)
    report = verify(gateway.log, key=gateway.key_line, authorities=[authority.root])
    assert report.exit_code == 0, report.text()
    assert f"the first {size} by timestamp authority Test authority" in report.text()


def test_openssl_checks_a_bundles_timestamps_as_the_page_shows(authority: Authority, tmp_path: Path) -> None:
    gateway = gateway_of_now()
    gateway.checkpoint()
    gateway.after(60).started()
    note = gateway.checkpoint()
    gateway.log.notes[-1] += "\u2014 a-witness AAAA\n"
    gateway.log.responses[len(gateway.log.records)] = ask(authority.url, note)
    export(gateway.log, tmp_path / "evidence.zip")
    (tmp_path / "authority.pem").write_bytes(authority.root)
    page = Path(__file__).parents[2].joinpath("docs", "verify.md").read_text("utf-8")
    words = next(block for block in re.findall(r"```bash\n(.*?)```", page, re.DOTALL) if "openssl ts" in block)
    if not which("unzip"):
        pytest.skip("install unzip to run this test")
    ran = subprocess.run(["bash", "-euo", "pipefail", "-c", words], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (ran.returncode, "Verification: OK" in ran.stdout + ran.stderr) == (0, True), ran.stdout + ran.stderr


def test_a_timestamp_over_something_else_is_found(authority: Authority) -> None:
    gateway = gateway_of_now()
    gateway.checkpoint()
    gateway.log.responses[len(gateway.log.records)] = ask(authority.url, "another note\n\n\n")
    found = verify(gateway.log, key=gateway.key_line, authorities=[authority.root]).findings
    assert set(found.counts) == {"TIMESTAMP"}


def test_a_timestamp_that_was_changed_or_lies_beside_no_checkpoint_is_found(authority: Authority) -> None:
    gateway = gateway_of_now()
    response = bytearray(ask(authority.url, gateway.checkpoint()))
    response[-5] ^= 1
    gateway.log.responses = {len(gateway.log.records): bytes(response), 3: b"nonsense"}
    assert verify(gateway.log, key=gateway.key_line, authorities=[authority.root]).findings.counts == {"TIMESTAMP": 2}


def test_another_authoritys_timestamp_is_found(authority: Authority, tmp_path: Path) -> None:
    gateway = gateway_of_now()
    gateway.log.responses[len(gateway.log.records)] = ask(authority.url, gateway.checkpoint())
    other = Authority(tmp_path).root
    assert set(verify(gateway.log, key=gateway.key_line, authorities=[other]).findings.counts) == {"TIMESTAMP"}


def test_what_is_no_certificate_is_refused() -> None:
    with pytest.raises(CannotCheck, match="--tsa"):
        verify(Gateway().begin().log, key=None, authorities=[b"nonsense"])


def test_a_record_dated_behind_the_timestamp_over_it_is_found(authority: Authority) -> None:
    gateway = gateway_of_now()
    gateway.after(3600).started()
    gateway.log.responses[len(gateway.log.records)] = ask(authority.url, gateway.checkpoint())
    assert set(verify(gateway.log, key=gateway.key_line, authorities=[authority.root]).findings.counts) == {"TIME-WINDOW"}


def test_an_authority_that_is_not_there_or_out_of_order_is_told(authority: Authority) -> None:
    with pytest.raises(NoTimestamp, match="did not answer"):
        ask("http://127.0.0.1:9/", "note\n\n\n")
    authority.broken = True
    try:
        with pytest.raises(NoTimestamp, match="no timestamp"):
            ask(authority.url, "note\n\n\n")
    finally:
        authority.broken = False


async def test_the_agent_has_its_newest_checkpoint_stamped_and_exports_it(authority: Authority, tmp_path: Path) -> None:
    key, clock, events = new_key(), Clock(), LogCapture()
    ledger = await begun(tmp_path / "ledger.sqlite", key, clock)
    await ledger.append(stop(clock))
    log = structlog.wrap_logger(None, processors=[events], wrapper_class=structlog.make_filtering_bound_logger(0))
    asking = asyncio.create_task(keep_timestamped(Timestamp(url=authority.url), ledger, clock, log))
    await until(lambda: any(entry["event"] == "timestamp.taken" for entry in events.entries))
    asking.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await asking
    await ledger.close()
    with closing(LedgerReader(ledger.path)) as reader:
        export(reader, tmp_path / "evidence.zip")
    with closing(Bundle(tmp_path / "evidence.zip")) as bundle:
        report = verify(bundle, key=None, authorities=[authority.root])
    assert report.anchors["timestamp authority Test authority"].size == 2
    assert not report.findings.total


async def test_an_authority_that_does_not_answer_is_told_of_and_sealing_goes_on(tmp_path: Path, heard: Heard) -> None:
    clock, events = Clock(), LogCapture()
    ledger = await begun(tmp_path / "ledger.sqlite", new_key(), clock)
    log = structlog.wrap_logger(None, processors=[events], wrapper_class=structlog.make_filtering_bound_logger(0))
    asking = asyncio.create_task(keep_timestamped(Timestamp(url="http://127.0.0.1:9/"), ledger, clock, log))
    await until(lambda: bool(events.entries))
    asking.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await asking
    await ledger.append(stop(clock))
    await ledger.close()
    assert [entry["event"] for entry in events.entries] == ["timestamp.failed"]
    heard.tells(events.entries[0], "MS-805")


@pytest.mark.parametrize(
    ("moment", "zone", "seconds"),
    [
        ("2026-03-01T23:59:00+08:00", "Asia/Shanghai", 60),
        ("2026-03-01T00:00:00+08:00", "Asia/Shanghai", 86_400),
        ("2026-03-28T12:00:00+01:00", "Europe/Berlin", 12 * 3600),
        ("2026-03-29T00:00:00+01:00", "Europe/Berlin", 23 * 3600),
        ("2026-10-25T00:00:00+02:00", "Europe/Berlin", 25 * 3600),
        ("2026-10-25T02:30:00+01:00", "Europe/Berlin", 21.5 * 3600),
    ],
)
def test_midnight_is_the_plants_own_also_where_clocks_change(moment: str, zone: str, seconds: float) -> None:
    assert until_midnight(int(datetime.fromisoformat(moment).timestamp()) * 1_000_000_000, zone_of(zone)) == seconds
