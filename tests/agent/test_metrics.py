"""agent.metrics: what Prometheus reads, and what dashboard and alert rules ask for."""

from __future__ import annotations

import asyncio
import json
import re
import urllib.request
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner
from prometheus_client.parser import text_string_to_metric_families

from agent import metrics
from agent.cli import main
from agent.clock import Trust
from agent.condition import AILMENTS
from agent.ledger_file import LedgerError
from tests.agent.at_work import at_work, until
from tests.agent.plants import simulator_of
from tests.agent.test_cli_health import HALL, METER, site
from tests.agent.test_condition import WELL

MONITORING = Path(__file__).parents[2] / "deploy" / "monitoring"
SEEN = replace(
    WELL,
    links={
        'line "1"\\2': {"open": True, "down": False, "busy_percent": 25, "overruns": 3, "meters": {"EM-1": {"failures": 2}}},
        "hall": {"open": False, "down": True, "busy_percent": 0, "overruns": 0, "meters": {"WM-1": {"failures": 0}}},
    },
)


def values(text: str) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """Samples by name and labels, as the parser of Prometheus' own client reads them."""
    families = text_string_to_metric_families(text)
    return {(each.name, tuple(sorted(each.labels.items()))): each.value for family in families for each in family.samples}


def test_the_parser_of_prometheus_reads_every_metric_with_its_labels() -> None:
    read = values(metrics.exposition(SEEN))
    assert {name for name, _ in read} == set(metrics.METRICS)
    assert read["meterseal_records_sealed_total", ()] == 120
    assert read["meterseal_link_busy_ratio", (("link", 'line "1"\\2'),)] == 0.25
    assert read["meterseal_meter_failures", (("link", 'line "1"\\2'), ("meter", "EM-1"))] == 2
    assert read["meterseal_delivery_waiting_records", (("broker", "plant"),)] == 3
    assert read["meterseal_clock_error_seconds", ()] == 0.008
    assert read["meterseal_disk_free_bytes", ()] == 4 * 2**30


def test_every_ailment_has_its_line_and_the_present_ones_are_one() -> None:
    read = values(metrics.exposition(replace(WELL, links={}, ledger=LedgerError("full"))))
    told = {dict(labels)["name"]: value for (name, labels), value in read.items() if name == "meterseal_ailment"}
    assert set(told) == set(AILMENTS)
    assert {name for name, value in told.items() if value} == {"ledger_failed"}
    assert read["meterseal_healthy", ()] == 0


def test_what_is_not_known_is_left_out() -> None:
    text = metrics.exposition(replace(WELL, links={}, deliveries=(), trust=Trust("unknown", None)))
    assert "meterseal_clock_error_seconds" not in text
    assert "meterseal_delivery_connected" not in text


@pytest.mark.parametrize("file", ["dashboard.json", "alerts.yaml"])
def test_every_metric_and_ailment_that_dashboard_and_rules_name_exists(file: str) -> None:
    text = (MONITORING / file).read_text("utf-8")
    loaded = json.loads(text) if file.endswith("json") else yaml.safe_load(text)
    rules = loaded["panels"] if file.endswith("json") else [rule for group in loaded["groups"] for rule in group["rules"]]
    asked = [rule["targets"][0]["expr"] if file.endswith("json") else rule["expr"] for rule in rules]
    named = {name for expression in asked for name in re.findall(r"\bmeterseal_\w+", expression)}
    assert named
    assert named - set(metrics.METRICS) == set()
    for names in re.findall(r'name[=!]~"([^"]+)"', " ".join(asked)):
        assert set(names.split("|")) <= set(AILMENTS)


def test_the_codes_in_the_alert_rules_are_faults() -> None:
    from agent.faults import FAULTS

    assert set(re.findall(r"MS-\d{3}", (MONITORING / "alerts.yaml").read_text("utf-8"))) <= set(FAULTS)


async def test_the_running_agent_tells_them_to_the_program_and_over_loopback(tmp_path: Path) -> None:
    places = ["--site", str(tmp_path / "site.yaml"), "--state", str(tmp_path / "state")]
    async with simulator_of(tmp_path, METER, hall=HALL) as plant:
        text = site(plant.address_of("hall"), "page: 127.0.0.1:0")
        async with at_work(tmp_path, text) as agent:
            await until(lambda: agent.readings("EM-1"))
            told = await asyncio.to_thread(CliRunner().invoke, main, ["status", "--metrics", *places])
            assert told.exit_code == 0
            assert values(told.output)["meterseal_records_sealed_total", ()] > 4
            await until(lambda: agent.events("page.listening"))
            address = agent.events("page.listening")[0]["page"][0]
            with await asyncio.to_thread(urllib.request.urlopen, f"{address}metrics", timeout=30) as answer:
                assert answer.headers["Content-Type"] == metrics.CONTENT_TYPE
                assert ("meterseal_meter_failures", (("link", "hall"), ("meter", "EM-1"))) in values(answer.read().decode())


def test_without_an_agent_there_are_none(tmp_path: Path) -> None:
    (tmp_path / "site.yaml").write_text("gateway: a/b\n")
    done = CliRunner().invoke(main, ["status", "--metrics", "--site", str(tmp_path / "site.yaml"), "--state", str(tmp_path)])
    assert done.exit_code == 1
