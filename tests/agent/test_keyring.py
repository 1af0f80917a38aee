"""Revocation: what the recovery key can do to a log, and what nobody else can."""

from __future__ import annotations

import pytest

from agent.trace import trace
from tests.agent.both import verify
from tests.agent.ledgers import Gateway, classes, new_key


def gateway_of_two_keys() -> Gateway:
    """A log whose first key was revoked after two readings, and two readings of its successor."""
    gateway = Gateway(recovery=new_key("recovery")).begin().after(0.3)
    gateway.reading("rtu-1")
    gateway.after(900).reading("rtu-1")
    gateway.revoke(new_key("second"), new_key("recovery two"))
    gateway.after(900).reading("rtu-1")
    gateway.after(900).reading("rtu-1")
    return gateway


def test_a_revocation_by_the_recovery_key_leaves_the_log_in_order() -> None:
    gateway = gateway_of_two_keys()
    report = verify(gateway.log, key=gateway.key_line)
    assert (report.exit_code, report.keys) == (0, 2), report.text()
    assert classes(gateway.log, gateway.key_line, fast=True) == set()


def test_the_revoked_key_vouches_for_nothing_later() -> None:
    gateway = gateway_of_two_keys()
    gateway.key = gateway.first_key
    gateway.after(900).reading("rtu-1")
    found = verify(gateway.log, key=gateway.key_line).findings
    assert "expired before record" in found.kept["KEY"][0].what


def stolen_since(since: int) -> Gateway:
    """A log whose first key signs records 0 to 7 and is revoked by record 8."""
    gateway = Gateway(recovery=new_key("recovery")).begin().after(0.3)
    for _ in range(2):
        gateway.after(900).reading("rtu-1")
    assert gateway.revoke(new_key("second"), since=since).n == 8
    gateway.after(900).reading("rtu-1")
    return gateway


def test_what_a_stolen_key_may_have_signed_is_named() -> None:
    gateway = stolen_since(7)
    for fast in (False, True):
        report = verify(gateway.log, key=gateway.key_line, fast=fast)
        assert report.findings.counts == {"STOLEN": 1}
        assert "records 7 to 7 are signed by key" in report.text()
    assert {n: trace(gateway.log, n=n, key=gateway.key_line).exit_code for n in (6, 7, 9)} == {6: 0, 7: 1, 9: 0}


def test_a_key_that_is_revoked_before_it_signed_for_a_thief_casts_no_doubt() -> None:
    gateway = stolen_since(8)
    assert verify(gateway.log, key=gateway.key_line).exit_code == 0


def test_a_key_is_stolen_only_while_it_is_in_force() -> None:
    gateway = stolen_since(9)
    assert classes(gateway.log, gateway.key_line) == {"KEY"}


@pytest.mark.parametrize("thief", ["gateway", "other"])
def test_nobody_else_revokes_a_key(thief: str) -> None:
    gateway = Gateway(recovery=new_key("recovery")).begin()
    gateway.recovery = new_key(thief)
    gateway.revoke(new_key("second"))
    gateway.after(0.3).reading("rtu-1")
    assert classes(gateway.log, gateway.key_line) >= {"KEY", "SIGNATURE"}


def test_a_log_without_a_recovery_key_has_no_revocation() -> None:
    gateway = Gateway().begin()
    gateway.recovery = new_key("recovery")
    gateway.revoke(new_key("second"))
    assert "of which this log has none" in verify(gateway.log, key=gateway.key_line).findings.kept["KEY"][0].what


def test_after_a_revocation_only_the_following_recovery_key_revokes() -> None:
    gateway = gateway_of_two_keys()
    gateway.revoke(new_key("third"))
    assert classes(gateway.log, gateway.key_line) == set()
    gateway = gateway_of_two_keys()
    gateway.recovery = new_key("recovery")
    gateway.revoke(new_key("third"))
    assert "KEY" in classes(gateway.log, gateway.key_line)


def test_a_revocation_of_another_key_than_the_one_in_force_is_found() -> None:
    gateway = Gateway(recovery=new_key("recovery")).begin()
    gateway.key = new_key("never enrolled")
    gateway.revoke(new_key("second"))
    assert "in force is" in verify(gateway.log, key=gateway.key_line).findings.kept["KEY"][0].what


def test_a_rotation_after_a_revocation_goes_on() -> None:
    gateway = gateway_of_two_keys()
    gateway.rotate(new_key("third"))
    gateway.after(900).reading("rtu-1")
    assert classes(gateway.log, gateway.key_line) == set()
