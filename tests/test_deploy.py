"""What lies in deploy/: units, scripts, the broker's settings with its certificates, and the plant of containers."""

from __future__ import annotations

import os
import re
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
import yaml

from agent.checkpoint import origin_of, verifier_key
from agent.ledger_tables import FORMAT
from config.beside import load_declared
from config.check import load_site
from config.collect import CollectFile
from tests.agent.gateway import new_key
from tests.brokers import Mosquitto, program

ROOT = Path(__file__).parents[1]
DEPLOY = ROOT / "deploy"
UNITS = sorted((DEPLOY / "systemd").glob("*.service"))
SCRIPTS = sorted([*DEPLOY.rglob("*.sh"), *(ROOT / "tests" / "system").glob("*.sh"), *(DEPLOY / "deb").glob("p*")])
# Tenths. Without a running systemd the address lists are not seen, which counts 0.2 more than on the gateway (docs/install.md).
MOST_EXPOSED = {"meterseal": 17, "meterseal-witness": 16, "meterseal-collect": 16}


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_every_script_can_be_read_by_its_shell_and_run(script: Path) -> None:
    shell = script.read_text("utf-8").splitlines()[0].removeprefix("#!")
    assert shell in ("/bin/sh", "/bin/bash", "/usr/bin/env bash")
    subprocess.run([*shell.split(), "-n", str(script)], check=True)
    assert script.name in ("checks.sh", "machine.sh") or os.access(script, os.X_OK)


@pytest.mark.parametrize("unit", [each for each in UNITS if each.stem in MOST_EXPOSED], ids=lambda path: path.stem)
def test_the_sandbox_of_a_service_is_as_tight_as_it_is_said_to_be(unit: Path) -> None:
    if not shutil.which("systemd-analyze"):
        pytest.skip("install systemd for systemd-analyze")
    most = MOST_EXPOSED[unit.stem]
    words = ["systemd-analyze", "security", "--no-pager", "--offline=true", f"--threshold={most}", str(unit)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout.splitlines()[-1:] or done.stderr


def test_units_name_commands_that_the_program_has() -> None:
    from agent.cli import main

    for unit in UNITS:
        for verb in re.findall(r"^ExecStart=/opt/meterseal/bin/meterseal (\S+)", unit.read_text("utf-8"), re.MULTILINE):
            assert verb in main.commands


def test_the_package_does_not_go_in_over_the_ledger_of_a_newer_meterseal(tmp_path: Path) -> None:
    known = subprocess.run([sys.executable, str(DEPLOY / "ledger_format.py")], capture_output=True, text=True, check=True).stdout
    assert known.strip() == str(FORMAT)
    ledger = tmp_path / "ledger.sqlite"
    text = (DEPLOY / "deb" / "preinst").read_text("utf-8").replace("@LEDGER_FORMAT@", known.strip())
    (tmp_path / "preinst").write_text(text.replace("/var/lib/meterseal/ledger.sqlite", str(ledger)), "utf-8")
    for version, code in ((FORMAT, 0), (FORMAT + 1, 1), (FORMAT + 1000, 1)):
        with closing(sqlite3.connect(ledger, isolation_level=None)) as database:
            database.execute(f"PRAGMA user_version = {version}")
        words = ["/bin/sh", str(tmp_path / "preinst"), "upgrade", "0.0.9"]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        assert (done.returncode, "newer meterseal" in done.stderr) == (code, bool(code)), done.stderr


def test_the_installer_does_not_go_in_over_the_ledger_of_a_newer_meterseal(tmp_path: Path) -> None:
    if os.geteuid():
        pytest.skip("install.sh runs as root")
    ledger = tmp_path / "var" / "lib" / "meterseal" / "ledger.sqlite"
    ledger.parent.mkdir(parents=True)
    with closing(sqlite3.connect(ledger)) as database:
        database.execute(f"PRAGMA user_version = {FORMAT + 1}")
    words = [str(DEPLOY / "install.sh")]
    environment = os.environ | {"DESTDIR": str(tmp_path), "PYTHON": sys.executable}
    done = subprocess.run(words, capture_output=True, text=True, env=environment, timeout=60, check=False)
    assert done.returncode == 1
    assert f"(format {FORMAT + 1}; this one knows {FORMAT}). Nothing was changed." in done.stderr
    assert not (tmp_path / "opt").exists()


# --- the broker --------------------------------------------------------------------------------------------------


class Plant:
    """A plant's certificates, and a real mosquitto with the settings of deploy/mosquitto but for places and port."""

    def __init__(self, folder: Path) -> None:
        self.pki = folder / "pki"
        self.certify("broker", "localhost", "127.0.0.1")
        for name in ("plant-1/gw1", "plant-1/gw2", "collector"):
            self.certify("client", name)
        (folder / "data").mkdir()
        text = (DEPLOY / "mosquitto" / "mosquitto.conf").read_text("utf-8")
        places = {
            "/mosquitto/config/pki": self.pki,
            "/mosquitto/config/acl": DEPLOY / "mosquitto" / "acl",
            "/mosquitto/data/": f"{folder / 'data'}/",
        }
        for place, here in places.items():
            text = text.replace(place, str(here))
        lines = [line for line in text.splitlines() if line and not line.startswith(("#", "listener", "log_", "allow_anonymous"))]
        # The listener's own line comes first: what follows belongs to it.
        self.broker = Mosquitto(folder, *lines)

    def certify(self, *words: str) -> None:
        """Runs the script."""
        script = [str(DEPLOY / "mosquitto" / "certificates.sh"), str(self.pki), *words]
        subprocess.run(script, check=True, capture_output=True, timeout=60)

    def options(self, name: str) -> list[str]:
        """How mosquitto's clients show a certificate."""
        return ["--cafile", f"{self.pki}/ca.crt", "--cert", f"{self.pki}/{name}.crt", "--key", f"{self.pki}/{name}.key"]

    def publish(self, name: str | None, topic: str, *more: str, told: str | None = None) -> subprocess.CompletedProcess[str]:
        """Publishes as a client with this certificate, or with none."""
        words = [program("mosquitto_pub"), "-V", "5", "-h", "localhost", "-p", str(self.broker.port), "-q", "1", "-t", topic]
        words += self.options(name) if name else ["--cafile", f"{self.pki}/ca.crt"]
        words += more or ("-m", "x")
        return subprocess.run(words, input=told, capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture(scope="module")
def plant(tmp_path_factory: pytest.TempPathFactory) -> Plant:
    if not shutil.which("openssl"):
        pytest.skip("install openssl for certificates")
    return Plant(tmp_path_factory.mktemp("plant"))


def test_a_gateway_writes_in_its_own_corner_and_nowhere_else(plant: Plant) -> None:
    with plant.broker:
        own = plant.publish("plant-1-gw1", "meterseal/v1/plant-1/gw1/record")
        assert (own.returncode, own.stderr) == (0, "")
        assert "Not authorized" in plant.publish("plant-1-gw1", "meterseal/v1/plant-1/gw2/record").stderr
        assert "Not authorized" in plant.publish("collector", "meterseal/v1/plant-1/gw1/record").stderr
        receipt = plant.publish("collector", "meterseal/v1/plant-1/gw1/collector/12345678/receipt")
        assert (receipt.returncode, receipt.stderr) == (0, "")


def test_without_a_certificate_of_the_plant_nobody_gets_in(plant: Plant, tmp_path: Path) -> None:
    stranger = [str(DEPLOY / "mosquitto" / "certificates.sh"), str(tmp_path / "other"), "client", "plant-1/gw1"]
    subprocess.run(stranger, check=True, capture_output=True, timeout=60)
    for kind in ("crt", "key"):
        shutil.copy(tmp_path / "other" / f"plant-1-gw1.{kind}", plant.pki / f"stranger.{kind}")
    with plant.broker:
        assert plant.publish(None, "meterseal/v1/plant-1/gw1/record").returncode != 0
        assert plant.publish("stranger", "meterseal/v1/plant-1/gw1/record").returncode != 0


def test_what_the_broker_has_acknowledged_outlives_kill_9(plant: Plant) -> None:
    topic = "meterseal/v1/plant-1/gw1/record"
    away = [program("mosquitto_sub"), "-V", "5", "-h", "localhost", "-p", str(plant.broker.port), "-q", "1", "-t", topic]
    away += [*plant.options("collector"), "-c", "-i", "away", "-x", "3600"]
    with plant.broker:
        subprocess.run([*away, "-E"], check=True, timeout=60)  # a session, and nobody there
        numbers = [f"{number}" for number in range(100)]
        sent = plant.publish("plant-1-gw1", topic, "-l", told="\n".join(numbers))
        assert (sent.returncode, sent.stderr) == (0, "")
        plant.broker.kill()
        plant.broker.start()
        back = subprocess.run([*away, "-W", "5"], capture_output=True, text=True, timeout=100, check=False).stdout.split()
        # It writes when it has dealt with what arrived together: the newest few may be missing. By default all are.
        assert back == numbers[: len(back)]
        assert len(back) >= 50


def test_the_authority_is_made_once_and_a_key_is_kept_when_its_certificate_is_renewed(plant: Plant) -> None:
    before = {name: (plant.pki / name).read_bytes() for name in ("ca.key", "ca.crt", "plant-1-gw1.key", "plant-1-gw1.crt")}
    plant.certify("client", "plant-1/gw1")
    after = {name: (plant.pki / name).read_bytes() for name in before}
    assert {name for name in before if before[name] != after[name]} == {"plant-1-gw1.crt"}
    assert (plant.pki / "ca.key").stat().st_mode & 0o077 == 0


# --- containers --------------------------------------------------------------------------------------------------


def compose() -> dict[str, dict[str, dict[str, object]]]:
    loaded: dict[str, dict[str, dict[str, object]]] = yaml.safe_load((DEPLOY / "compose.yaml").read_text("utf-8"))
    return loaded


def test_the_plant_of_containers_hangs_together() -> None:
    plan = compose()
    services, volumes, networks = plan["services"], plan["volumes"], plan["networks"]
    for name, service in services.items():
        assert {"image", "build"} & set(service), name
        assert set(map(str, service.get("depends_on", ()))) <= set(services), name  # type: ignore[call-overload]  # list or map
        assert set(service.get("networks", ())) <= set(networks), name  # type: ignore[call-overload]  # a list
        for mounted in service.get("volumes", ()):  # type: ignore[attr-defined]  # a list
            place = mounted.split(":")[0]
            made = place.startswith(("./pki/", "./compose/site.yaml", "./compose/collect.yaml"))  # by prepare.sh
            assert made or place in volumes or (DEPLOY / place).exists(), f"{name}: {place}"


def test_containers_may_write_nothing_but_their_volume_and_run_as_nobody_of_the_machine() -> None:
    for name, service in compose()["services"].items():
        if name != "database":  # the database's own image looks after itself
            assert (service["read_only"], service["cap_drop"]) == (True, ["ALL"]), name
            assert str(service["user"]).split(":")[0] not in ("", "0", "root"), name


def test_the_files_that_are_prepared_are_files_the_programs_take(tmp_path: Path) -> None:
    line = verifier_key(origin_of("plant-1/gw1"), new_key().public)
    collector = verifier_key("plant-1/collector", new_key().public)
    for name, mark, key in (("site", "@COLLECTOR@", collector), ("collect", "@GATEWAY@", line)):
        text = (DEPLOY / "compose" / f"{name}.template.yaml").read_text("utf-8")
        (tmp_path / f"{name}.yaml").write_text(text.replace(mark, key), "utf-8")
    assert load_site(tmp_path / "site.yaml").site.gateway == "plant-1/gw1"
    assert load_declared(CollectFile, tmp_path / "collect.yaml").postgres


def test_the_image_runs_without_root_and_asks_the_agent_for_its_health() -> None:
    text = (ROOT / "Dockerfile").read_text("utf-8")
    last = text.split("\nFROM ")[-1]
    assert re.search(r"^USER (?!root|0)\w+", last, re.MULTILINE)
    assert '["meterseal", "status", "--health"]' in last
    assert "requirements-all.txt" in text
