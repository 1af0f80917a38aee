"""How a person's record gets into the ledger: through the running agent, or with the state's lock where none runs.

What this file does not know: what may be sealed so (`agent.by_person`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agent.by_person import NotSealed, drafted, own_account, receipt, why_refused
from agent.clock import Clock
from agent.draft import Fields
from agent.key_change import key_in_force
from agent.ledger import Ledger
from agent.ledger_file import LedgerError, LedgerReader
from agent.record import RecordError
from agent.seal import Record
from agent.state import LEDGER_FILE, only_agent

if TYPE_CHECKING:
    from agent.control import Sealing


def sealing(
    past: LedgerReader,
    clock: Clock,
    clock_was_set: Callable[[], Awaitable[object]],
    append: Callable[[Fields], Awaitable[Record]],
) -> Sealing:
    """What the running agent's socket seals with.

    `clock_was_set`: deals with a wall clock that was set, before anything else; `append`: seals it with what follows from it.
    """

    async def seal(kind: object, given: object, account: str) -> dict[str, Any]:
        try:
            await clock_was_set()
            record = await append(drafted(clock, kind, given, account, past))
        except NotSealed as error:
            return {"error": str(error)}
        except RecordError as error:
            return {"error": str(why_refused(error))}
        except LedgerError as error:
            return {"error": str(error), "hint": error.hint, "code": error.code}
        return receipt(record)

    return seal


def seal_by_person(state: Path, gateway: str, kind: str, fields: Mapping[str, Any], clock: Clock | None = None) -> dict[str, Any]:
    """Has a person's record sealed, by the running agent where there is one; its number `n`, `time` and `leaf`.

    Args:
        state: the state directory.
        gateway: `site/gateway`.
        kind: one of `agent.by_person.JUDGES`.
        fields: the kind's own fields with `who`.
        clock: where no agent runs; else the machine's.

    Raises:
        NotSealed: it cannot be sealed.
        ControlError: an agent runs and does not answer.
        AgentRunningError: an agent is just starting or ending.
        KeyFileError, LedgerError: without an agent, the key or the ledger cannot be used.
    """
    from agent.control import ask

    answer = ask(state, {"do": "seal", "kind": kind, "record": dict(fields)})
    if answer is None:
        answer = asyncio.run(_alone(state, gateway, kind, fields, clock or Clock()))
    if "error" in answer:
        raise NotSealed(f"{answer['error']} {answer.get('hint', '')}".strip(), answer.get("code", "MS-307"))
    return answer


async def _alone(state: Path, gateway: str, kind: str, fields: Mapping[str, Any], clock: Clock) -> dict[str, Any]:
    """Seals it with the state's lock held, as the only writer."""
    key = key_in_force(state)
    with only_agent(state), closing(LedgerReader(state / LEDGER_FILE)) as past:
        record = drafted(clock, kind, dict(fields), own_account(), past)
        ledger = await Ledger.open(state / LEDGER_FILE, gateway, key, 0.0)
        try:
            sealed = await ledger.append(record)
            await ledger.checkpoint()
        except RecordError as error:
            raise why_refused(error) from None
        finally:
            await ledger.close()
    return receipt(sealed[0])
