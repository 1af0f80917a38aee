"""The project as a package: its wheel holds what it needs, and its generic import names belong to nobody else."""

import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from the checkout and unpacked."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    subprocess.run(build, check=True, capture_output=True, timeout=100)
    (made,) = folder.glob("*.whl")
    with zipfile.ZipFile(made) as archive:
        archive.extractall(folder / "site")
    return folder / "site"


def test_the_wheel_holds_the_packages_with_their_data_and_nothing_else(wheel: Path) -> None:
    assert {path.name for path in wheel.iterdir() if not path.name.endswith(".dist-info")} == {"agent", "drivers", "config"}
    shipped = {str(path.relative_to(ROOT)) for path in (ROOT / "config").rglob("*") if path.suffix in (".yaml", ".json")}
    assert {name for name in shipped if not (wheel / name).is_file()} == set()
    assert len([name for name in shipped if name.startswith("config/models/")]) >= 12


def test_the_program_runs_from_the_wheel_alone(wheel: Path, tmp_path: Path) -> None:
    program = "import agent; print(agent.__file__); from agent.cli import main; main(['models'])"
    script = f"import sys; sys.path.insert(0, {str(wheel)!r}); {program}"
    done = subprocess.run(
        [sys.executable, "-I", "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.startswith(str(wheel))
    assert "eastron-sdm630" in done.stdout


def test_nobody_else_owns_the_import_names() -> None:
    for name in ("agent", "drivers", "config"):
        assert set(packages_distributions().get(name, [])) <= {"meterseal"}


@pytest.mark.parametrize("verb", ["--help", "check", "verify", "models"])
def test_heavy_libraries_are_loaded_only_where_they_are_needed(verb: str, tmp_path: Path) -> None:
    (tmp_path / "site.yaml").write_text("gateway: a/b\n", "utf-8")
    script = (
        "import sys\nfrom agent.cli import main\ntry:\n    main([sys.argv[1]])\nexcept SystemExit:\n    pass\n"
        "print([name for name in ('asyncua', 'paho', 'serial', 'rich', 'iotcore') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, verb], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.splitlines()[-1] == "[]", done.stdout


def test_every_module_is_short_enough_to_hold_one_idea() -> None:
    long = {
        str(path.relative_to(ROOT)): lines
        for name in ("agent", "drivers", "config")
        for path in (ROOT / name).glob("*.py")
        if (lines := len(path.read_text("utf-8").splitlines())) > 350
    }
    assert long == {}


def test_every_module_of_a_protocol_is_kept_from_ports_by_the_import_contract() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["importlinter"]["contracts"]
    (contract,) = [each for each in contracts if each["name"].startswith("protocols and formulas know no ports")]
    on_the_line = {
        "__init__",
        "adapter",
        "debt",
        "link",
        "opcua_browse",
        "opcua_client",
        "opcua_connect",
        "opcua_session",
        "opcua_subscribe",
        "port",
        "wire",
    }
    pure = {f"drivers.{path.stem}" for path in (ROOT / "drivers").glob("*.py")} - {f"drivers.{name}" for name in on_the_line}
    assert set(contract["source_modules"]) == pure


def test_every_requirement_is_pinned_with_hashes() -> None:
    wanted = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["dependencies"]
    names = {text.split(">")[0].split("=")[0].lower() for text in wanted}
    locked = (ROOT / "deploy" / "requirements.txt").read_text("utf-8")
    pinned = [line for line in locked.splitlines() if line and not line.startswith((" ", "#"))]
    assert names <= {line.split("==")[0].lower() for line in pinned}
    assert all(line.endswith("\\") for line in pinned)
    assert locked.count("--hash=sha256:") >= len(pinned)
