"""Two meters on one line must have addresses of which none calls the other: wildcards, shortened and general ones too."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from config.check import load_site
from config.mistake import ConfigError
from config.protocols import PROTOCOLS

MODELS = {
    "dlt645": "dlt645-2007-single-phase",
    "cjt188": "cjt188-water-2018",
    "mbus": "mbus-water",
    "iec62056_21": "iec62056-21-electricity",
}
BOTH = [
    ("dlt645", "AAAAAAAAAAAA", "12345678"),
    ("dlt645", "AAAAAAAA5678", "202311045678"),
    ("dlt645", "AAAA11045678", "AAAAAAAA5678"),
    ("cjt188", "AAAAAAAAAAAAAA", "78330123456789"),
    ("cjt188", "20-AAAAAAAAAAAAAA", "11-78330123456789"),
    ("cjt188", "AA-78330123456789", "78330123456789"),
    ("mbus", "12345678", "123456782D2C0804"),
    ("mbus", "12345678FFFF0804", "123456782D2CFF04"),
    ("iec62056_21", "", "00012345"),
    ("iec62056_21", "12345", "00012345"),
]
APART = [
    ("dlt645", "AAAAAAAA5678", "202311045679"),
    ("dlt645", "12345678", "112345678"),
    ("cjt188", "78330123456789", "78330123456788"),
    ("cjt188", "11-78330123456789", "10-78330123456789"),
    ("mbus", "12345678", "12345679"),
    ("mbus", "123456782D2C0804", "123456782D2C0904"),
    ("mbus", "12345678FFFF0804", "123456782D2CFF07"),
    ("mbus", "12", "123"),
    ("iec62056_21", "12345", "12346"),
]


def site(folder: Path, protocol: str, *addresses: str, links: tuple[str, str] = ("bus", "bus")) -> Path:
    quantity = "volume_forward" if protocol in ("cjt188", "mbus") else "active_energy_import"
    lines = ["gateway: a/b", "links:", "  bus: {serial: /dev/ttyUSB0}"]
    lines += ["  other: {serial: /dev/ttyUSB1}"] if "other" in links else []
    lines.append("meters:")
    for number, (address, link) in enumerate(zip(addresses, links, strict=True), 1):
        keys = f'link: {link}, model: {MODELS[protocol]}, address: "{address}", quantities: [{quantity}]'
        lines.append(f"  - {{id: M{number}, {keys}}}")
    path = folder / "site.yaml"
    path.write_text("\n".join(lines) + "\n", "utf-8")
    return path


@pytest.mark.parametrize(("protocol", "one", "other"), BOTH)
@pytest.mark.parametrize("turned", [False, True])
def test_an_address_that_also_calls_another_meter_on_the_line_is_a_mistake(
    protocol: str, one: str, other: str, turned: bool, tmp_path: Path
) -> None:
    one, other = (other, one) if turned else (one, other)
    with pytest.raises(ConfigError) as raised:
        load_site(site(tmp_path, protocol, one, other))
    (mistake,) = raised.value.mistakes
    assert re.search(r"M1 \(.*\) and M2 \(.*\) would both answer on bus: .*; write the whole number of each", str(mistake))


@pytest.mark.parametrize(("protocol", "one", "other"), APART)
def test_addresses_that_call_one_meter_each_share_a_line(protocol: str, one: str, other: str, tmp_path: Path) -> None:
    assert len(load_site(site(tmp_path, protocol, one, other)).site.meters) == 2


def test_on_lines_of_their_own_any_addresses_are_right(tmp_path: Path) -> None:
    protocol, one, other = BOTH[0]
    assert len(load_site(site(tmp_path, protocol, one, other, links=("bus", "other"))).site.meters) == 2


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("text", ["", "AA", "1234567", "12345678XY", "meter", "ZZ" * 20])
def test_whatever_is_written_can_be_compared(protocol: str, text: str) -> None:
    both = PROTOCOLS[protocol].both
    assert both(text, text)
    assert both(text, "00000012345678") == both("00000012345678", text)
