"""config.links: the links of a site file that has no meters yet."""

from pathlib import Path

import pytest

from config.links import load_links
from config.mistake import ConfigError

SCADA = "gateway: plant/gw\nlinks:\n  scada: {opcua: 'opc.tcp://10.0.0.9:4840/plant'%s}\n"


def written(folder: Path, text: str) -> Path:
    path = folder / "site.yaml"
    path.write_text(text, "utf-8")
    return path


@pytest.mark.parametrize("rest", ["", "meters: []\n", "meters:\n  - {id: press, link: nowhere}\nunknown: key\n"])
def test_links_are_read_whatever_the_meters_are(tmp_path: Path, rest: str) -> None:
    found = load_links(written(tmp_path, SCADA % "" + rest))
    assert found.gateway == "plant/gw"
    assert found.links["scada"].opcua == "opc.tcp://10.0.0.9:4840/plant"


def test_a_mistake_in_a_link_is_told_with_its_place(tmp_path: Path) -> None:
    for text, place, words in (
        (SCADA % ", securty: None", "3:51", "Did you mean security?"),
        (SCADA % ", security: Basic256", "3:61", "write  security: Basic256Sha256"),
        ("links: {scada: {serial: /dev/ttyUSB0}}\n", "1:1", "gateway is missing"),
    ):
        with pytest.raises(ConfigError) as caught:
            load_links(written(tmp_path, text))
        assert f"site.yaml:{place} " in str(caught.value)
        assert words in str(caught.value)
