"""The site file as a whole, model files, and every mistake in `bad/`: one a file, with the exact message."""

from __future__ import annotations

import hashlib
import re
import shutil
import sys
import zoneinfo
from pathlib import Path

import pytest
import yaml

from config import text, zone
from config.check import SiteFile, load_model, load_models, load_site, read_model
from config.library import with_points
from config.mistake import ConfigError
from config.modbus import ModbusModel
from config.site import Meter, Site
from config.typed import read_as
from config.zone import zone_of

HERE = Path(__file__).parent
CONFIG = HERE.parent.parent / "config"
BAD_SITES = sorted((HERE / "bad").glob("*.yaml"))
BAD_MODELS = sorted((HERE / "bad" / "models").glob("*.yaml"))
GOOD = (HERE / "site.yaml").read_text("utf-8")


def _mistakes(path: Path | str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load_site(path)
    return str(caught.value).splitlines()


@pytest.fixture(name="folder")
def _folder(tmp_path: Path) -> Path:
    """A folder with the good site file, its models beside it."""
    shutil.copytree(HERE / "models", tmp_path / "models")
    (tmp_path / "site.yaml").write_text(GOOD, "utf-8")
    return tmp_path


def _changed(folder: Path, *changes: tuple[str, str]) -> Path:
    content = GOOD
    for before, after in changes:
        assert before in content
        content = content.replace(before, after, 1)
    (folder / "site.yaml").write_text(content, "utf-8")
    return folder / "site.yaml"


@pytest.fixture(name="site", scope="module")
def _site() -> SiteFile:
    return load_site(HERE / "site.yaml")


def _meter(site: SiteFile, name: str) -> Meter:
    return next(meter for meter in site.site.meters if meter.id == name)


@pytest.mark.parametrize("path", BAD_SITES, ids=lambda path: path.stem)
def test_a_site_file_with_one_mistake_gives_exactly_its_message(path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load_site(path)
    assert str(caught.value).replace(f"{path.parent}/", "") + "\n" == path.with_suffix(".expected").read_text("utf-8")
    assert len(caught.value.mistakes) == 1


@pytest.mark.parametrize("path", BAD_MODELS, ids=lambda path: path.stem)
def test_a_model_file_with_one_mistake_gives_exactly_its_message(path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        read_model(path.read_bytes(), path.name)
    assert str(caught.value) + "\n" == path.with_suffix(".expected").read_text("utf-8")
    assert len(caught.value.mistakes) == 1


@pytest.mark.parametrize("path", BAD_SITES, ids=lambda path: path.stem)
def test_the_pure_reader_gives_the_same_message(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text, "LOADER", yaml.SafeLoader)
    expected = path.with_suffix(".expected").read_text("utf-8")
    assert "\n".join(_mistakes(path)).replace(f"{path.parent}/", "") + "\n" == expected


def test_the_file_is_named_as_the_user_named_it(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _changed(folder, ("address: 3", "address: 300"))
    monkeypatch.chdir(folder)
    assert _mistakes("site.yaml") == ["site.yaml:27:14 meters[2].address: 300 is not a Modbus address (1 to 247)"]
    assert _mistakes("./site.yaml")[0].startswith("./site.yaml:27:14 meters[2].address: ")


def test_a_good_site_knows_links_models_points_and_digest(site: SiteFile) -> None:
    main, pump, boiler = site.site.meters
    assert site.text == (HERE / "site.yaml").read_bytes()
    assert site.digest == hashlib.sha256(site.text).hexdigest()
    assert site.link_of(boiler).tcp == "192.168.1.20:502"
    assert [point.quantity for point in site.points_of(main)] == ["active_energy_import", "current.l1", "frequency"]
    assert [point.quantity for point in site.points_of(pump)] == ["active_energy_import", "frequency"]
    assert main.serial == "000012345670"
    assert pump.every == 300_000
    assert set(site.models) == {"main-incomer", "pump", "boiler"}


def test_quantities_a_meter_lists_are_read_in_that_order_and_others_by_the_models_default(folder: Path) -> None:
    path = _changed(folder, ("[active_energy_import, frequency]", "[frequency, voltage.l1]"))
    site = load_site(path)
    assert [point.quantity for point in site.points_of(_meter(site, "pump"))] == ["frequency", "voltage.l1"]
    path = _changed(folder, ("    quantities: [active_energy_import, frequency]\n", ""))
    site = load_site(path)
    assert [point.quantity for point in site.points_of(_meter(site, "pump"))] == ["active_energy_import", "voltage.l1"]


def test_a_generic_meter_has_its_own_points_in_a_model_that_reads_back_as_the_same(site: SiteFile) -> None:
    model = site.model_of(_meter(site, "boiler"))
    assert [point.quantity for point in model.declared.points] == ["volume_forward"]
    assert model.declared.points[0].at.address == 16
    again = read_model(model.text, "kept in the ledger")
    assert again == model
    assert again.digest == model.digest


def test_the_text_of_any_model_with_points_of_its_own_reads_back_as_the_same() -> None:
    for path in sorted((HERE / "models").glob("*.yaml")):
        model = load_model(path)
        merged = with_points(model, model.declared.points)
        assert read_model(merged.text, "kept").declared == model.declared


def test_a_link_takes_baud_and_format_from_its_meters_models_when_they_agree(folder: Path) -> None:
    path = _changed(
        folder,
        (", baud: 9600, format: 8N1", ""),
        ("link: line1\n    model: hall-transformer", "link: line2\n    model: hall-transformer"),
    )
    content = path.read_text("utf-8").replace("  hall2:", "  line2: {serial: /dev/ttyUSB1, baud: 38400}\n  hall2:")
    path.write_text(content, "utf-8")
    site = load_site(path)
    assert site.serial_settings("line1") == (9600, "8N1")
    assert site.serial_settings("line2") == (38400, "8E1")


def test_a_serial_server_behind_a_socket_needs_no_baud_rate(folder: Path) -> None:
    path = _changed(folder, ("{serial: /dev/ttyUSB0, baud: 9600, format: 8N1}", "{serial: socket://192.168.1.9:4001}"))
    assert load_site(path).link_of(load_site(path).site.meters[0]).frames == "rtu"


def test_a_tcp_link_and_a_serial_server_on_one_host_and_port_are_one_port(folder: Path) -> None:
    path = _changed(folder, ("/dev/ttyUSB0", "socket://GW:4001"), ("192.168.1.20:502", "gw:4001"))
    assert [line.split(" ", 1)[1] for line in _mistakes(path)] == [
        "links.hall2.tcp: line1 is on the same port; put all its meters on one of the two links"
    ]


def test_mistakes_of_single_keys_and_of_the_whole_file_are_told_at_once_in_the_order_of_lines(folder: Path) -> None:
    path = _changed(
        folder,
        ("Asia/Shanghai", "Asia/Shangai"),
        ("id: main-incomer", "id: main incomer"),
        ("model: hall-direct", "model: hall-dirct"),
        ("link: hall2", "link: hal2"),
        ("    address: 3\n", ""),
    )
    assert [line.split(" ")[1].rstrip(":") for line in _mistakes(path)] == [
        "timezone",
        "meters[0].id",
        "meters[1].model",
        "meters[2]",
        "meters[2].link",
    ]


def test_a_mistake_in_a_model_file_is_told_with_that_files_name(folder: Path) -> None:
    broken = folder / "models" / "hall-direct.yaml"
    broken.write_text(broken.read_text("utf-8").replace("type: u32", "type: uint32"), "utf-8")
    (line,) = _mistakes(folder / "site.yaml")
    assert line.startswith(f"{broken}:10:61 points[0].at.type: uint32 is not possible here; write u8, ")


def test_a_model_file_that_nobody_uses_may_be_unfinished(folder: Path) -> None:
    (folder / "models" / "unfinished.yaml").write_text("model: unfinished\n", "utf-8")
    (folder / "models" / ".hidden.yaml").write_text("x", "utf-8")
    assert load_site(folder / "site.yaml").site.gateway == "plant-north/gateway-1"
    with pytest.raises(ConfigError, match="revision is missing"):
        load_models([folder / "models"])


def test_a_model_file_that_is_called_differently_than_its_model_is_a_mistake(folder: Path) -> None:
    (folder / "models" / "hall-direct.yaml").rename(folder / "models" / "hall-dirct.yaml")
    path = _changed(folder, ("model: hall-direct", "model: hall-dirct"))
    (line,) = _mistakes(path)
    assert line.endswith("model: hall-direct stands in a file called hall-dirct.yaml: give file and model the same name")


def test_one_model_name_in_two_places_is_a_mistake(folder: Path) -> None:
    shutil.copytree(folder / "models", folder / "more")
    lines = _mistakes(_changed(folder, ("[models]", "[models, more]")))
    assert len(lines) == 3
    assert lines[1].endswith(
        f"hall-direct is also in {folder}/models/hall-direct.yaml; give this one a name of its own, such as hall-direct-own"
    )


def test_a_model_with_the_name_of_a_shipped_one_is_a_mistake(folder: Path) -> None:
    shutil.copy(CONFIG / "models" / "generic-modbus.yaml", folder / "models")
    (line,) = _mistakes(folder / "site.yaml")
    assert line.endswith("generic-modbus is also a shipped model; give this one a name of its own, such as generic-modbus-own")


def test_all_models_load_by_name(folder: Path) -> None:
    models = load_models([folder / "models"])
    assert {"hall-direct", "generic-hall", "generic-modbus"} <= set(models)
    assert all(name == model.declared.model for name, model in models.items())


@pytest.mark.parametrize("make", ["missing", "folder"])
def test_a_site_file_that_is_none_is_told_without_a_place(tmp_path: Path, make: str) -> None:
    path = tmp_path / "site.yaml"
    if make == "folder":
        path.mkdir()
    (line,) = _mistakes(path)
    assert line.startswith(f"{path}: ")
    assert "there is no such file" in line or "is a folder, not a file" in line


def test_a_password_is_never_repeated_in_a_message(folder: Path) -> None:
    for key in ("password: hunter2", "passwd: hunter2", "Passwort: [hunter2]", "secret: {a: hunter2}", "username: [hunter2]"):
        assert "hunter2" not in "\n".join(_mistakes(_changed(folder, ("username: gateway-1", key))))


def test_utc_is_always_a_time_zone() -> None:
    assert zone_of("UTC").utcoffset(None) is not None


@pytest.mark.parametrize(
    "name", ["../etc/passwd", "/etc/localtime", "Asia", "localtime", "Asia/", "Asia/Shang\u0000hai", "x" * 5000, "a/" * 500]
)
def test_a_name_that_is_no_time_zone_is_refused_without_looking_at_other_files(name: str) -> None:
    with pytest.raises(KeyError, match="is not a time zone"):
        zone_of(name)


def test_without_a_time_zone_database_zones_with_one_offset_all_year_still_work(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    before = zoneinfo.TZPATH
    for name in [name for name in sys.modules if name.startswith("tzdata.")]:  # the package, where it was looked into before
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "tzdata", None)
    zoneinfo.reset_tzpath([str(tmp_path)])
    zoneinfo.ZoneInfo.clear_cache()
    zone._known.cache_clear()
    try:
        offset = zone_of("Asia/Shanghai").utcoffset(None)
        assert offset is not None
        assert offset.total_seconds() == 8 * 3600
        with pytest.raises(KeyError, match="install the package tzdata, or write UTC"):
            zone_of("Europe/Berlin")
    finally:
        zoneinfo.reset_tzpath(before)
        zoneinfo.ZoneInfo.clear_cache()
        zone._known.cache_clear()


def test_the_example_site_file_loads_as_it_is() -> None:
    site = load_site(CONFIG / "site.example.yaml")
    assert all(site.points_of(meter) for meter in site.site.meters)


def _blocks() -> list[str]:
    return re.findall(r"```yaml\n(.*?)```", (CONFIG / "README.md").read_text("utf-8"), re.DOTALL)


@pytest.mark.parametrize("block", _blocks(), ids=lambda block: block.split(":", 1)[0])
def test_every_yaml_block_of_the_readme_loads(block: str, tmp_path: Path) -> None:
    if block.startswith("model:"):
        assert read_as(ModbusModel, block.encode(), "README.md")
        assert read_model(block.encode(), "README.md").declared.points
        return
    whole = block
    if "gateway:" not in whole:
        whole += "gateway: plant-north/gateway-1\n"
    if "links:" not in whole:
        whole += "links: {line1: {serial: /dev/ttyUSB0}}\n"
    if "meters:" not in whole:
        whole += "meters: [{id: m, link: line1, model: eastron-sdm630, address: 1}]\n"
    (tmp_path / "site.yaml").write_text(whole, "utf-8")
    assert isinstance(load_site(tmp_path / "site.yaml").site, Site)


def test_the_readme_shows_enough_to_be_worth_testing() -> None:
    assert len(_blocks()) >= 6
