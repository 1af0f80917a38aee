"""agent.recovery: the recovery key as a code on paper."""

from __future__ import annotations

import pytest

from agent.recovery import RecoveryCodeError, new_recovery_key, read_recovery_code, recovery_code
from agent.seal import Key


def test_a_code_is_read_back_however_it_was_typed() -> None:
    key = new_recovery_key()
    code = recovery_code(key)
    assert len(code.split("-")) == 15
    for typed in (code, code.lower(), code.replace("-", " "), f"  {code}\n", code.replace("O", "0").replace("I", "1")):
        assert read_recovery_code(typed).public == key.public


@pytest.mark.parametrize("key", [new_recovery_key() for _ in range(8)], ids=range(8))
def test_every_wrong_letter_and_every_missing_one_is_noticed(key: Key) -> None:
    code = recovery_code(key)
    for at, letter in enumerate(code):
        if letter != "-":
            for wrong in ("" if at < len(code) - 1 else "x", "A" if letter != "A" else "C"):
                with pytest.raises(RecoveryCodeError):
                    read_recovery_code(code[:at] + wrong + code[at + 1 :])


@pytest.mark.parametrize("text", ["", "nonsense", "AAAA-AAAA", "\u00e9" * 58, "?" * 58])
def test_what_is_no_code_is_refused(text: str) -> None:
    with pytest.raises(RecoveryCodeError):
        read_recovery_code(text)
