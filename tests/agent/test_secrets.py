"""Nothing secret leaves: what the program prints, logs, exports and publishes holds no private key in any writing."""

from __future__ import annotations

import base64
import os
import re
import signal
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from agent.keys import read_key
from agent.recovery import read_recovery_code
from agent.seal import Key
from tests.brokers import Mosquitto, Subscriber, free_port, until

PROGRAM = Path(sys.executable).parent / "meterseal"
SITE = """gateway: plant/gw1
commit_seconds: 0
every: 1s
links: {{hall: {{tcp: "127.0.0.1:{silent}", timeout_ms: 50, longest_answer_ms: 50}}}}
meters:
  - {{id: EM-001, link: hall, model: eastron-sdm120, address: 1}}
mqtt:
  - {{host: 127.0.0.1, port: {broker}}}
"""


def writings(key: Key) -> list[bytes]:
    """A private key as somebody might let it slip out: raw, and in every common writing, wherever it begins in one."""
    raw = key.private.private_bytes_raw()
    found = [raw, raw.hex().encode(), raw.hex().upper().encode(), base64.b32encode(raw)[:48]]
    for shift in range(3):  # base64 of something that has the key inside, at each of the three alignments
        inside = base64.b64encode(bytes(shift) + raw)[4:40]
        found += [inside, inside.replace(b"+", b"-").replace(b"/", b"_")]
    code = base64.b32encode(raw)[:48]
    return [*found, b"-".join(code[at : at + 4] for at in range(0, 48, 4))]


class House:
    """A gateway's folder in which commands are typed; keeps all that they said."""

    def __init__(self, folder: Path, broker: Mosquitto) -> None:
        self.folder, self.said = folder, b""
        (folder / "site.yaml").write_text(SITE.format(silent=free_port(), broker=broker.port))
        kept = {name: value for name, value in os.environ.items() if not name.startswith("METERSEAL_")}
        self.environment = kept | {"METERSEAL_STATE": str(folder / "state"), "METERSEAL_LOG_LEVEL": "debug"}

    def type(self, *words: str) -> bytes:
        done = subprocess.run(
            [PROGRAM, *words], cwd=self.folder, env=self.environment, capture_output=True, timeout=60, check=False
        )
        self.said += done.stdout + done.stderr
        return done.stdout + done.stderr

    async def work(self, until_it_says: bytes) -> None:
        """Runs the agent until its journal tells something, then asks it for its state and stops it."""
        log = self.folder / "journal"
        with log.open("wb") as file:
            process = subprocess.Popen([PROGRAM, "run"], cwd=self.folder, env=self.environment, stdout=file, stderr=file)
        try:
            await until(lambda: until_it_says in log.read_bytes() or process.poll() is not None)
            for verb in (["status"], ["key", "show"]):
                self.type(*verb)
            process.send_signal(signal.SIGTERM)
            assert process.wait(30) == 0, log.read_text()
        finally:
            process.kill()
        self.said += log.read_bytes()


def keys_of(folder: Path, said: bytes) -> list[Key]:
    code = re.search(rb"^ *((?:[A-Z2-7]{4}-){14}[A-Z2-7]{2})$", said, re.MULTILINE)
    assert code
    return [read_key(folder / "state" / "key.pem"), read_recovery_code(code[1].decode())]


async def test_no_private_key_stands_in_anything_that_is_said_logged_exported_or_published(tmp_path: Path) -> None:
    with Mosquitto(tmp_path) as broker:
        house = House(tmp_path, broker)
        shown = house.type("init")  # the one place where the recovery code is shown
        house.said = b""
        secrets = keys_of(tmp_path, shown)
        async with Subscriber(broker, "#") as subscriber:
            for turn in range(2):
                await house.work(b"meter.silent")
                if turn == 0:
                    assert b"rotated" in house.type("key", "rotate")
                    secrets.append(read_key(tmp_path / "state" / "key.pem"))
            for verb in (["export", "evidence.zip"], ["verify", "--json"], ["check"]):
                house.type(*verb)
            published = b"\n".join(message.topic.encode() + message.payload for message in subscriber.seen)
    with zipfile.ZipFile(tmp_path / "evidence.zip") as bundle:
        exported = b"\n".join(bundle.read(name) for name in bundle.namelist())
    shared = [path for path in (tmp_path / "state").rglob("*") if path.is_file() and path.suffix != ".pem"]
    kept = b"\n".join(path.read_bytes() for path in shared)
    for place, content in {"said": house.said, "published": published, "exported": exported, "state": kept}.items():
        assert len(content) > 1000, place
        for key in secrets:
            assert key.public.hex()[:8]  # a key is there
            assert [slip for slip in writings(key) if slip in content] == [], place
    assert secrets[0].name.encode() in exported
    assert secrets[2].name.encode() in published


@pytest.mark.parametrize("around", [b"", b"x", b"xy", b"xyz"])
def test_the_search_finds_a_key_in_each_writing(around: bytes, tmp_path: Path) -> None:
    from agent.recovery import new_recovery_key, recovery_code

    key = new_recovery_key()
    raw = key.private.private_bytes_raw()
    inside = around + raw + b"behind"
    slipped = [inside, inside.hex().encode(), base64.b64encode(inside), base64.urlsafe_b64encode(inside)]
    for content in (*slipped, recovery_code(key).encode()):
        assert any(slip in content for slip in writings(key)), content
