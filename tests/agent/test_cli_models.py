"""meterseal models: the list, all of one, and a file of one's own checked."""

from __future__ import annotations

import shutil
from pathlib import Path

from click.testing import CliRunner, Result

from agent.cli import main

SHIPPED = Path(__file__).parents[2] / "config" / "models"


def run(*words: object) -> Result:
    return CliRunner().invoke(main, ["models", *map(str, words)])


def own(folder: Path, before: str = "", after: str = "") -> Path:
    """A copy of a shipped model under another name, a text of it replaced."""
    text = (SHIPPED / "eastron-sdm120.yaml").read_text("utf-8").replace("model: eastron-sdm120", "model: eastron-sdm120-hall3", 1)
    assert before in text
    path = folder / "eastron-sdm120-hall3.yaml"
    path.write_text(text.replace(before, after, 1), "utf-8")
    return path


def test_all_of_a_model_is_told_with_its_sources_and_what_is_open() -> None:
    told = run("show", "eastron-sdm120")
    assert told.exit_code == 0
    for text in (
        "revision 1",
        "SHA-256",
        "trust   A",
        "source    maker",
        "open  ",
        "active_energy_import",
        "address 72, type f32",
    ):
        assert text in told.output
    assert run("show", "eastron-sdm120", "--file").output.strip() == (SHIPPED / "eastron-sdm120.yaml").read_text("utf-8").strip()


def test_a_misspelt_model_is_named() -> None:
    told = run("show", "eastron-sdm12")
    assert told.exit_code == 2
    assert "eastron-sdm120" in told.output


def test_a_sites_own_models_stand_beside_the_shipped_ones_without_being_named(tmp_path: Path) -> None:
    shutil.copy(Path(__file__).parents[2] / "config" / "site.example.yaml", tmp_path / "site.yaml")
    (tmp_path / "models").mkdir()
    own(tmp_path / "models")
    listed = run("--site", tmp_path / "site.yaml").output
    assert "eastron-sdm120-hall3             A  electricity  Eastron SDM120-Modbus, SDM120M, SDM120CT  (your own)" in listed
    assert "(your own)" in run("--site", tmp_path / "site.yaml").output
    assert run("show", "eastron-sdm120-hall3", "--site", tmp_path / "site.yaml").exit_code == 0


def test_a_file_that_is_right_is_compared_with_the_shipped_model_it_is_named_after(tmp_path: Path) -> None:
    same = run("check", own(tmp_path))
    assert same.exit_code == 0
    assert "2 examples hold exactly the 15 values they state." in same.output
    assert "It says the same as the shipped eastron-sdm120, revision 1." in same.output
    other = run("check", own(tmp_path), "--against", "eastron-sdm220")
    assert "Otherwise than in the shipped eastron-sdm220:" in other.output
    assert "settings" not in other.output
    assert "identity: serial: only here" in other.output


def test_every_mistake_is_told_with_line_and_column(tmp_path: Path) -> None:
    path = own(tmp_path, "revision: 1\n", "revision: none\nspeed: 3\n")
    told = run("check", path)
    assert told.exit_code == 2
    assert [line.split(" ")[0].removeprefix(f"{path}:") for line in told.output.splitlines()] == ["2:11", "3:1"]


def test_an_example_that_its_frames_do_not_give_is_a_mistake_at_its_place(tmp_path: Path) -> None:
    path = own(tmp_path, "voltage.l1: 231.4", "voltage.l1: 231.5")
    line = next(number for number, text in enumerate(path.read_text("utf-8").splitlines(), 1) if "voltage.l1: 231.5" in text)
    told = run("check", path)
    assert told.exit_code == 2
    assert f"{path}:{line}:19 examples[0].values.voltage.l1: 231.5 is stated, the frames give 231.4" in told.output


def test_a_damaged_frame_is_a_mistake_at_its_place(tmp_path: Path) -> None:
    told = run("check", own(tmp_path, "40 B0 00 00 0E CB", "40 B0 00 00 0E CC"))
    assert told.exit_code == 2
    assert "examples[0].frames[1]: this is no answer to its request: " in told.output
