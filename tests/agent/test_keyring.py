"""Revocation: what the recovery key can do to a log, and what nobody else can."""

from __future__ import annotations

import pytest

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
