"""CJ/T 188 in files: addresses as on the plate, and maps that would take a value from a wrong place."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from config.check import load_site
from config.cjt188 import Cjt188Model, cjt188_address, cjt188_findings
from config.library import load_models, read_model
from config.mistake import ConfigError, path_text

FOLDER = Path(__file__).parents[2] / "config" / "models"
MODEL = "cjt188-water-2004"


@pytest.mark.parametrize(
    ("written", "address"),
    [
        ("78330123456789", "78330123456789"),
        ("00201510270588", "00201510270588"),
        ("12345678", "00000012345678"),
        ("0", "00000000000000"),
        ("78 33 01 23 45 67 89", "78330123456789"),
        ("20691530f1ffff", "20691530F1FFFF"),
        ("25-11110059200991", "25-11110059200991"),
        ("1a-4711", "1A-00000000004711"),
        ("AAAAAAAAAAAAAA", "AAAAAAAAAAAAAA"),
        ("aa-aaaaaaaaaaaaaa", "AA-AAAAAAAAAAAAAA"),
        ("AA-78330123456789", "AA-78330123456789"),
        ("A0AB0000000001", "A0AB0000000001"),
        ("0AA00000000000", "0AA00000000000"),
    ],
)
def test_an_address_has_one_spelling_of_fourteen_digits(written: str, address: str) -> None:
    assert cjt188_address(written) == address
    assert cjt188_address(address) == address


@pytest.mark.parametrize(
    ("written", "words"),
    [
        ("", "address is missing; write for example  address: 78330123456789"),
        ("783301234567890", "at most 14 digits"),
        ("hall 3", "is not a CJ/T 188 address"),
        ("1-78330123456789", "is not a CJ/T 188 address"),
        ("25-", "is not a CJ/T 188 address"),
        ("10-25-4711", "is not a CJ/T 188 address"),
        ("7833012345678G", "is not a CJ/T 188 address"),
        ("99999999999999", "none answers it"),
        ("10-99999999999999", "none answers it"),
        ("AAAA", "stands for any meter"),
        ("7833AAAAAAAAAA", "stands for any meter"),
    ],
)
def test_what_is_no_address_is_refused_in_plain_words(written: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        cjt188_address(written)


def test_a_site_takes_a_meter_with_the_number_on_its_plate(tmp_path: Path) -> None:
    (tmp_path / "site.yaml").write_text(
        "gateway: a/b\nlinks:\n  line1: {serial: /dev/ttyUSB0}\nmeters:\n"
        "  - {id: W1, link: line1, model: cjt188-water-2018, address: 12345678}\n"
        "  - {id: W2, link: line1, model: cjt188-water-2018, address: 11-00201510270588, quantities: [volume_forward.m12]}\n",
        "utf-8",
    )
    site = load_site(tmp_path / "site.yaml")
    assert [meter.address for meter in site.site.meters] == ["00000012345678", "11-00201510270588"]
    assert [point.quantity for point in site.points_of(site.site.meters[0])] == ["volume_forward"]
    assert site.serial_settings("line1") == (2400, "8E1")


def test_two_meters_with_one_number_on_a_line_are_told(tmp_path: Path) -> None:
    (tmp_path / "site.yaml").write_text(
        "gateway: a/b\nlinks:\n  line1: {serial: /dev/ttyUSB0}\nmeters:\n"
        "  - {id: W1, link: line1, model: cjt188-water-2018, address: 4711}\n"
        "  - {id: W2, link: line1, model: cjt188-water-2004, address: 00004711}\n",
        "utf-8",
    )
    with pytest.raises(ConfigError, match="already that of W1"):
        load_site(tmp_path / "site.yaml")


# --- maps -----------------------------------------------------------------------------------------------------------


def findings_of(**changed: Any) -> list[str]:
    """What is told of the water model after its keys were changed; keys of the first point's place with `at_`."""
    content = load_models()[MODEL].declared.model_dump(mode="json", exclude_none=True)
    for key, value in changed.items():
        if key.startswith("at_"):
            content["points"][0]["at"][key.removeprefix("at_")] = value
        elif key == "point":
            content["points"][0] |= value
        elif key == "limits":
            content["cjt188"] |= value
        else:
            content[key] = value
    model = Cjt188Model.model_validate(content)
    return [f"{path_text(path)}: {words}" for path, words in cjt188_findings(model)]


def test_the_shipped_model_has_no_findings() -> None:
    assert findings_of() == []


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"at_identifier": "9020"}, "points[0].at.identifier: cjt188.lengths does not say how long"),
        ({"at_first": 16}, "points[0].at.first: the field reaches beyond the 19 bytes of block 901F"),
        ({"at_bytes": 16, "at_first": 3}, "points[0].at.first: the field reaches beyond"),
        ({"at_unit": "none", "at_units": {"29": "1"}}, "points[0].at.units: there is no unit byte here"),
        ({"at_units": {"29": "0"}}, "points[0].at.units.29: 0 would make every value 0"),
        ({"at_missing": ["99"]}, "points[0].at.missing[0]: 99 has not 4 bytes"),
        ({"at_type": "hex", "at_decimals": 0, "at_unit": "none"}, "points[0].at.type: hex is text"),
        ({"at_type": "clock", "at_bytes": 7, "at_decimals": 0, "at_unit": "none"}, "points[0].at.type: clock is text"),
        ({"at_type": "bits", "at_decimals": 0, "at_unit": "none"}, "points[0].at.bits: which bits?"),
        ({"at_type": "bits", "at_decimals": 0, "at_unit": "none", "at_bits": "40"}, "none above 31"),
        ({"at_type": "bits", "at_decimals": 0, "at_unit": "none", "at_bits": "3-1"}, "write the lower bit first"),
        ({"at_type": "bits", "at_unit": "none", "at_bits": "1"}, "points[0].at.decimals: bits has none"),
        ({"at_bits": "1"}, "points[0].at.bits: only type bits takes bits"),
        ({"at_type": "binary", "at_bytes": 9}, "points[0].at.bytes: binary has at most 8 bytes"),
        ({"point": {"quantity": "temperature"}}, "unit bytes come into kWh, kW, m3, m3/h, not into Cel"),
        (
            {"point": {"plus": [{"at": {"identifier": "D120", "first": 0, "bytes": 4}}]}},
            "the parts of one value stand in one block",
        ),
        (
            {"point": {"plus": [{"at": {"identifier": "901F", "first": 0, "bytes": 4}, "scale": "0"}]}},
            "plus[0].scale: 0 would make",
        ),
        ({"point": {"scale": "0"}}, "points[0].scale: 0 would make every value 0"),
        (
            {"attest": [{"name": "w", "at": {"identifier": "901F", "first": 0, "bytes": 4, "unit": "behind"}}]},
            "belongs to a quantity",
        ),
        (
            {"attest": [{"name": "w", "at": {"identifier": "901F", "first": 9, "bytes": 6, "type": "clock"}}]},
            "a clock has 7 bytes",
        ),
        (
            {"attest": [{"name": "w", "scale": "2", "at": {"identifier": "901F", "first": 9, "bytes": 6, "type": "hex"}}]},
            "take scale out",
        ),
        ({"limits": {"lengths": {"901F": 20}}}, "attest[0].at.first: the field reaches beyond the 17 bytes"),
    ],
    ids=str,
)
def test_a_map_that_points_to_a_wrong_place_is_told(changed: dict[str, Any], told: str) -> None:
    found = findings_of(**changed)
    assert any(told in each for each in found), found


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ('meter_type: "10"', "meter_type: water", "is not a byte"),
        ("identifier_order: high_first", "identifier_order: high", "identifier_order"),
        ("lengths: {901F: 0x16,", "lengths: {901: 0x16,", "is not a data identifier"),
        ("lengths: {901F: 0x16,", "lengths: {901F: 2,", "is too small"),
        ("first: 0, bytes: 4, decimals: 2, unit: behind}}", "first: 0, bytes: 4, decimals: 2, unit: after}}", "unit"),
    ],
)
def test_a_wrong_key_of_a_model_file_is_told_with_its_line(old: str, new: str, told: str) -> None:
    text = (FOLDER / f"{MODEL}.yaml").read_text("utf-8")
    assert old in text
    with pytest.raises(ConfigError) as caught:
        read_model(text.replace(old, new, 1).encode(), "own.yaml")
    assert told in str(caught.value)
    assert all(mistake.line > 1 for mistake in caught.value.mistakes)
