"""config.opcua and config.opcua_rules: nodes as they are written, links of servers, and the meters behind them."""

from __future__ import annotations

from pathlib import Path
from uuid import UUID

import pytest

from config.check import SiteFile, load_site, read_model
from config.mistake import ConfigError
from config.opcua import NodeName, OpcuaModel, OpcuaPoint, node_name
from config.settings import Settings, load_settings, opcua_password, unused_passwords

GUID = UUID("72962b91-fa75-4ae6-8d28-b404dc7daf63")
PLANT = "http://plant.example/meters"
SITE = """gateway: plant/gw1
links:
  scada: {{opcua: "opc.tcp://192.168.1.30:4840"{link}}}
meters:
  - id: press-1
    link: scada
    model: generic-opcua
    points:
      - {{quantity: active_energy_import, at: {{node: "nsu=http://plant.example/meters;s=Press1", type: Double}}, max_age: 90s}}
  - id: press-2
    link: scada
    model: generic-opcua
    points: [{{quantity: active_energy_import, at: {{node: "nsu=http://plant.example/meters;s=Press2", index: 3}}}}]
"""


def site(folder: Path, link: str = "") -> SiteFile:
    (folder / "site.yaml").write_text(SITE.format(link=link), "utf-8")
    return load_site(folder / "site.yaml")


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("i=2258", NodeName("", "i", 2258)),
        (f"nsu={PLANT};i=0", NodeName(PLANT, "i", 0)),
        (f"nsu={PLANT};s=电能;a=b", NodeName(PLANT, "s", "电能;a=b".encode())),
        (f"nsu={PLANT};g=72962b91-fa75-4ae6-8d28-b404dc7daf63", NodeName(PLANT, "g", GUID.bytes_le)),
        (f"nsu={PLANT};b=AP8=", NodeName(PLANT, "b", b"\x00\xff")),
        ("nsu=a%3Bb%25;i=1", NodeName("a;b%", "i", 1)),
        ("nsu=http://opcfoundation.org/UA/;i=2258", NodeName("", "i", 2258)),
    ],
)  # fmt: skip
def test_a_node_is_read_as_the_standard_writes_it(text: str, name: NodeName) -> None:
    assert node_name(text) == name


@pytest.mark.parametrize(
    "text",
    ["", "Energy", "ns=2;s=x", "svr=1;nsu=a;i=1", "nsu=a", "nsu=;s=x", "s=x", f"nsu={PLANT};i=01", f"nsu={PLANT};i=-1",
     f"nsu={PLANT};g=72962b91", f"nsu={PLANT};b=???", f"nsu={PLANT};x=1", f"nsu={PLANT};s=", "i=4294967296", f"nsu={PLANT}; s=x"],
)  # fmt: skip
def test_what_is_no_node_is_refused_in_plain_words(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not a node|has no namespace"):
        node_name(text)


def test_meters_behind_one_server_have_models_of_their_own_that_read_back_the_same(tmp_path: Path) -> None:
    loaded = site(tmp_path)
    one, two = (loaded.models[name] for name in ("press-1", "press-2"))
    assert one.digest != two.digest
    for model in (one, two):
        again = read_model(model.text, "kept").declared
        assert again == model.declared
        assert isinstance(again, OpcuaModel)
    point = one.declared.points[0]
    assert isinstance(point, OpcuaPoint)
    assert (point.max_age, point.at.type, point.unit) == (90_000, "Double", "kWh")
    assert b'"max_age":"90s"' in one.text


@pytest.mark.parametrize(
    ("link", "expected"),
    [
        ("", ("Basic256Sha256", "SignAndEncrypt", "anonymous")),
        (", security: None", ("None", "None", "anonymous")),
        (", mode: Sign, user: meterseal", ("Basic256Sha256", "Sign", "user")),
        (", security: Aes256_Sha256_RsaPss, login: certificate", ("Aes256_Sha256_RsaPss", "SignAndEncrypt", "certificate")),
    ],
)
def test_a_connection_is_protected_unless_somebody_says_otherwise(
    link: str, expected: tuple[str, str, str], tmp_path: Path
) -> None:
    made = site(tmp_path, link).site.links["scada"]
    assert (made.policy, made.protection, made.identity) == expected


def test_the_example_in_the_page_for_electricians_is_right(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "protocols" / "opcua.md").read_text("utf-8")
    example = page.split("## In site.yaml\n")[1].split("```yaml\n")[1].split("```")[0]
    (tmp_path / "site.yaml").write_text(example, "utf-8")
    loaded = load_site(tmp_path / "site.yaml")
    assert {meter.model for meter in loaded.site.meters} == {"generic-opcua"}
    assert any(link.certificate for link in loaded.site.links.values())


# --- passwords ----------------------------------------------------------------------------------------------


def test_the_password_of_a_links_user_comes_from_the_environment_or_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings(secrets_dir=tmp_path)
    assert opcua_password(settings, "scada-1") is None
    (tmp_path / "opcua_password_scada_1").write_text("from the file\n", "utf-8")
    kept = opcua_password(settings, "scada-1")
    assert kept
    assert kept.get_secret_value() == "from the file"
    monkeypatch.setenv("METERSEAL_OPCUA_PASSWORD_SCADA_1", "from outside")
    assert load_settings()
    given = opcua_password(settings, "scada-1")
    assert given
    assert given.get_secret_value() == "from outside"


def test_a_password_for_a_link_that_needs_none_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("METERSEAL_OPCUA_PASSWORD_SCADA", "x")
    assert unused_passwords([], ["scada"]) == []
    (mistake,) = unused_passwords(["scada"], ["skada"])
    assert "the site file has no OPC UA link with a user of that name" in str(mistake)
    assert "METERSEAL_OPCUA_PASSWORD_SKADA" in str(mistake)
    monkeypatch.delenv("METERSEAL_OPCUA_PASSWORD_SCADA")
    monkeypatch.setenv("METERSEAL_OPCUA_PASSWORT_SCADA", "x")
    with pytest.raises(ConfigError, match="no such setting"):
        load_settings()


def test_two_links_whose_passwords_have_one_name_are_told(tmp_path: Path) -> None:
    text = SITE.format(link=", user: a").replace("meters:", '  SCADA: {opcua: "opc.tcp://other", user: b}\nmeters:', 1)
    (tmp_path / "site.yaml").write_text(text, "utf-8")
    with pytest.raises(ConfigError, match="SCADA is too like scada: both have METERSEAL_OPCUA_PASSWORD_SCADA"):
        load_site(tmp_path / "site.yaml")
