"""The single keys of a site file: what each takes, and what each refuses."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Any

import pytest
from pydantic import BaseModel

from config.mistake import ConfigError, did_you_mean, listed, looks_secret, shown
from config.modbus import At, ModbusPoint, modbus_address
from config.protocols import PROTOCOLS
from config.site import Link, Meter, Mqtt, Site
from config.typed import EXAMPLES, read_as


def _with(kind: type[BaseModel], **keys: Any) -> Any:
    needed: dict[type[BaseModel], dict[str, Any]] = {
        Meter: {"id": "main", "link": "line1", "model": "eastron-sdm630", "address": "1"},
        Link: {},
        Mqtt: {"host": "192.168.1.5"},
        ModbusPoint: {"quantity": "voltage", "at": {"address": "0", "type": "u16"}},
        At: {"address": "0", "type": "u16"},
        Site: {"gateway": "a/b", "links": {"l": {}}, "meters": [{"id": "m", "link": "l", "model": "x", "address": "1"}]},
    }
    return kind.model_validate(needed[kind] | keys)


@pytest.mark.parametrize(
    ("written", "seconds"), [("900", 900), ("15m", 900), ("60s", 60), ("1h", 3600), ("24h", 86400), (5, 5), ("500ms", 0.5)]
)
def test_a_time_span_is_seconds_minutes_or_hours(written: object, seconds: float) -> None:
    assert _with(Site, every=written).every == 1000 * seconds


@pytest.mark.parametrize("written", ["0", "7m", "25h", "-5", "1.5h", "15 m", "fast", "", True, ["15m"], "9" * 400])
def test_a_time_span_that_does_not_divide_a_day_is_refused(written: object) -> None:
    with pytest.raises(ValueError, match="every"):
        _with(Site, every=written)


@pytest.mark.parametrize(("written", "address"), [("1", "1"), ("007", "7"), ("247", "247"), (12, "12")])
def test_a_modbus_address_loses_its_leading_zeros(written: object, address: str) -> None:
    assert modbus_address(_with(Meter, address=written).address) == address


@pytest.mark.parametrize("written", ["0", "248", "-1", "1.0", "0x10", "٣", "²", "", True, "12 ", "1" * 5000])
def test_an_address_outside_1_to_247_is_refused(written: object) -> None:
    with pytest.raises(ValueError, match="address"):
        modbus_address(_with(Meter, address=written).address)


@pytest.mark.parametrize("written", ["400/5", "1", "10000/100", "2.5/1", "0.5", 1])
def test_a_ratio_is_kept_as_it_stands_on_the_plate(written: object) -> None:
    assert _with(Meter, ct=written).ct == str(written)


@pytest.mark.parametrize("written", ["0", "400/0", "400:5", "400/", "/5", "-400/5", "1e3", "4 00/5", "", True, "٤/٥"])
def test_a_ratio_that_is_none_is_refused(written: object) -> None:
    with pytest.raises(ValueError, match="ct"):
        _with(Meter, ct=written)


@pytest.mark.parametrize("written", ["000012345670", "NO", "12:30", "1e3", "编号 5", ""])
def test_a_serial_number_is_any_text(written: str) -> None:
    assert _with(Meter, serial=written).serial == written


@pytest.mark.parametrize("written", ["a\nb", "a\x7f", "x" * 121, True])
def test_a_serial_number_has_one_line_of_at_most_120_letters(written: object) -> None:
    with pytest.raises(ValueError, match="serial"):
        _with(Meter, serial=written)


@pytest.mark.parametrize(
    "written",
    [
        "/dev/ttyUSB0",
        "/dev/serial/by-id/usb-FTDI_FT232R-if00-port0",
        "/run/line-1",
        "socket://10.0.0.9:4001",
        "rfc2217://gw:4001",
    ],
)
def test_a_serial_port_is_a_path_or_a_serial_server(written: str) -> None:
    assert _with(Link, serial=written).serial == written


@pytest.mark.parametrize(
    "written", ["COM3", "ttyUSB0", "/dev/tty USB0", "socket://gw", "http://gw:80", "socket://u:p@gw:4001", ""]
)
def test_another_word_is_no_serial_port(written: str) -> None:
    with pytest.raises(ValueError, match="serial"):
        _with(Link, serial=written)


@pytest.mark.parametrize("written", ["192.168.1.20", "192.168.1.20:", "gw:65536", "gw:99999", "a b:502", "http://gw:502", ":502"])
def test_tcp_needs_host_and_port(written: str) -> None:
    with pytest.raises(ValueError, match="tcp"):
        _with(Link, tcp=written)


def test_framing_is_tcp_on_tcp_and_rtu_on_serial_unless_said_otherwise() -> None:
    assert _with(Link, tcp="gw:502").frames == "tcp"
    assert _with(Link, serial="/dev/ttyUSB0").frames == "rtu"
    assert _with(Link, tcp="gw:502", framing="rtu").frames == "rtu"


@pytest.mark.parametrize("written", ["9600.0", "9_600", "09600", "9600 ", "+9600", True, "1" * 30, "९६००"])
def test_a_whole_number_is_only_digits(written: object) -> None:
    with pytest.raises(ValueError, match="baud"):
        _with(Link, baud=written)


def test_registers_may_be_written_in_hexadecimal() -> None:
    assert _with(At, address="0x0048").address == 72


@pytest.mark.parametrize("written", ["yes", "on", "1", "True", 1])
def test_only_true_and_false_switch(written: object) -> None:
    with pytest.raises(ValueError, match="default"):
        _with(ModbusPoint, default=written)


def test_a_scale_is_exact() -> None:
    assert _with(ModbusPoint, scale="0.10").scale == Decimal("0.10")
    assert str(_with(ModbusPoint, scale="1e-3").scale) == "0.001"


@pytest.mark.parametrize("written", ["0,01", "1/100", "nan", "inf", "Infinity", "1_0", True, "", ".", "1e999"])
def test_a_scale_that_is_no_decimal_number_is_refused(written: object) -> None:
    with pytest.raises(ValueError, match="scale"):
        _with(ModbusPoint, scale=written)


@pytest.mark.parametrize("written", ["nan", "11", "-1", "1s", True])
def test_commit_seconds_are_0_to_10(written: object) -> None:
    with pytest.raises(ValueError, match="commit_seconds"):
        _with(Site, commit_seconds=written)


def test_a_value_in_a_message_is_one_short_line() -> None:
    assert shown("x" * 500) == "x" * 59 + "…"
    assert shown("a\nb\x00c") == "a b c"
    assert shown("user:hunter2@host") == "what stands here"
    assert shown([1, 2]) == "a list"
    assert shown({"a": 1}) == "a block of keys"
    assert shown(True) == "true"
    assert shown("") == "an empty text"


@pytest.mark.parametrize("name", ["password", "mqtt_Passwort", "pwd", "client_secret", "token", "密码"])
def test_a_key_that_looks_secret_is_known_as_such(name: str) -> None:
    assert looks_secret(name)


def test_the_nearest_known_word_is_offered_and_none_where_none_is_near() -> None:
    assert did_you_mean("Eastron SDM630", ["eastron-sdm120", "eastron-sdm630"]) == " Did you mean eastron-sdm630?"
    assert did_you_mean("xyz", ["eastron-sdm630"]) == ""
    assert listed(["a"]) == "a"
    assert listed(["a", "b", "c"]) == "a, b or c"


def _needed_keys(schema: dict[str, Any]) -> set[str]:
    blocks = [schema, *schema.get("$defs", {}).values()]
    return {key for block in blocks for key in block.get("required", [])}


def test_every_key_that_must_be_written_has_an_example_of_what_to_write() -> None:
    needed = _needed_keys(Site.model_json_schema())
    for protocol in PROTOCOLS.values():
        needed |= _needed_keys(protocol.model.model_json_schema())
    assert needed == set(EXAMPLES)


def test_a_whole_declaration_reads_from_bytes_with_every_mistake_at_once() -> None:
    content = b"gateway: a/b\nlinks: {l: {tcp: gw}}\nmeters: [{id: m, link: l, model: x, address: 1, every: 7m}]\n"
    with pytest.raises(ConfigError) as caught:
        read_as(Site, content, "site.yaml")
    assert [(mistake.line, mistake.path) for mistake in caught.value.mistakes] == [(2, "links.l.tcp"), (3, "meters[0].every")]
    assert re.fullmatch(r"site\.yaml:2:18 links\.l\.tcp: .*\nsite\.yaml:3:56 meters\[0\]\.every: .*", str(caught.value))
