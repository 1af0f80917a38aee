"""agent.by_person: what a person has sealed, with and without a running agent, and that nothing else can be."""

from __future__ import annotations

import asyncio
import contextlib
import getpass
from pathlib import Path
from typing import Any

import pytest

from agent.by_person import NotSealed
from agent.by_person_seal import seal_by_person
from agent.control import ask
from agent.ledger_file import LedgerReader
from agent.record import parse
from agent.state import LEDGER_FILE, AgentRunningError, only_agent
from tests.agent.at_work import at_work, until
from tests.agent.both import verify
from tests.agent.gateway import GATEWAY, FastClock
from tests.agent.plants import simulator_of

METER = {"id": "M-1", "model": "eastron-sdm120", "address": "1", "serial": "70000001"}
CORRECTION = {
    "meter": {"id": "EM-1"},
    "from": "2026-03-01T00:00:00.000Z",
    "to": "2026-03-02T00:00:00.000Z",
    "what": "ct",
    "old": "400/5",
    "new": "200/5",
    "reason": "the plate was misread",
    "who": "wang.li",
}


def site(endpoint: str) -> str:
    lines = ["every: 10s", "commit_seconds: 0", "links:", f"  hall: {{tcp: '{endpoint}', framing: rtu}}", "meters:"]
    return "\n".join([*lines, "  - {id: EM-1, link: hall, model: eastron-sdm120, address: 1}", ""])


def records(state: Path, kind: str) -> list[dict[str, Any]]:
    with contextlib.closing(LedgerReader(state / LEDGER_FILE)) as past:
        return [parse(payload) for _, payload in past.kind_records(kind, newest_first=False)]


async def test_the_running_agent_seals_a_correction_under_the_account_the_system_tells(tmp_path: Path) -> None:
    async with simulator_of(tmp_path, METER, hall={"tcp": "127.0.0.1:0", "framing": "rtu"}) as plant:
        async with at_work(tmp_path, site(plant.address_of("hall"))) as agent:
            await until(lambda: agent.readings("EM-1"))
            sealed = await asyncio.to_thread(seal_by_person, agent.state, GATEWAY, "correction", CORRECTION)
            wrong = CORRECTION | {"meter": {"id": "EM-9"}}
            with pytest.raises(NotSealed, match="There is no meter EM-9"):
                await asyncio.to_thread(seal_by_person, agent.state, GATEWAY, "correction", wrong)
        (record,) = records(agent.state, "correction")
        assert record["n"] == sealed["n"]
        assert (record["who"], record["account"]) == ("wang.li", getpass.getuser())


async def test_a_correction_sealed_while_no_agent_runs_leaves_the_account_of_polls_as_it_was(tmp_path: Path) -> None:
    async with simulator_of(tmp_path, METER, hall={"tcp": "127.0.0.1:0", "framing": "rtu"}) as plant:
        text, clock = site(plant.address_of("hall")), FastClock(20.0)
        async with at_work(tmp_path, text, clock) as agent:
            await until(lambda: agent.readings("EM-1"))
        sealed = await asyncio.to_thread(seal_by_person, agent.state, GATEWAY, "correction", CORRECTION, clock)
        assert records(agent.state, "correction")[0]["n"] == sealed["n"]
        async with at_work(tmp_path, text, clock) as agent:
            await until(lambda: agent.readings("EM-1"))
        assert [start["after"] for start in records(agent.state, "start")] == ["first", "stop"]


async def test_nothing_but_what_a_person_may_say_is_sealed_at_a_command(tmp_path: Path) -> None:
    async with simulator_of(tmp_path, METER, hall={"tcp": "127.0.0.1:0", "framing": "rtu"}) as plant:
        async with at_work(tmp_path, site(plant.address_of("hall"))) as agent:
            await until(lambda: agent.readings("EM-1"))
            reading = agent.readings("EM-1")[0]
            for kind, record in (
                ("reading", reading),
                ("reading", {}),
                ("meter", {"meter": {}}),
                ("stop", {"reason": "sigterm", "who": "me"}),
                ("clock", {"who": "me"}),
                (["correction"], CORRECTION),
                ("correction", [CORRECTION]),
                ("correction", CORRECTION | {"n": 3}),
                ("correction", CORRECTION | {"account": "root"}),
                ("correction", CORRECTION | {"time": "2020-01-01T00:00:00.000Z"}),
                ("correction", CORRECTION | {"sig": "A" * 86}),
                ("correction", CORRECTION | {"who": " "}),
                ("correction", CORRECTION | {"more": "fields"}),
                ("correction", CORRECTION | {"new": "400/5"}),
                ("correction", CORRECTION | {"new": "many"}),
                ("correction", CORRECTION | {"to": CORRECTION["from"]}),
                ("correction", CORRECTION | {"meter": "EM-1"}),
                ("correction", CORRECTION | {"meter": {"id": "EM-1", "serial": "1"}}),
            ):
                answer = await asyncio.to_thread(ask, agent.state, {"do": "seal", "kind": kind, "record": record})
                assert answer
                assert answer.keys() <= {"error", "hint"}, (kind, record)
            more = {"do": "seal", "kind": "correction", "record": CORRECTION, "account": "root"}
            assert await asyncio.to_thread(ask, agent.state, more) == {"error": "there is no such command"}
        assert records(agent.state, "correction") == []


async def test_while_an_agent_holds_the_state_nobody_else_writes(tmp_path: Path) -> None:
    async with (
        simulator_of(tmp_path, METER, hall={"tcp": "127.0.0.1:0", "framing": "rtu"}) as plant,
        at_work(tmp_path, site(plant.address_of("hall"))) as agent,
    ):
        await until(lambda: agent.readings("EM-1"))
    with only_agent(agent.state), pytest.raises(AgentRunningError):
        await asyncio.to_thread(seal_by_person, agent.state, GATEWAY, "correction", CORRECTION)
    assert records(agent.state, "correction") == []
    with contextlib.closing(LedgerReader(agent.state / LEDGER_FILE)) as past:
        assert verify(past, key=None).findings.total == 0
