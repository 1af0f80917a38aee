"""What tests of the agent share by name."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from config import language
from tests.agent.heard import Heard


@pytest.fixture
def heard(monkeypatch: pytest.MonkeyPatch) -> Heard:
    """Notes all that is said in English while the test runs, with its Chinese."""
    monkeypatch.setattr(language, "_spoken", [language.ENGLISH])
    catalog_of = language._catalog
    made = Heard(catalog_of(language.CHINESE))
    monkeypatch.setattr(language, "_catalog", lambda spoken: made if spoken == language.ENGLISH else catalog_of(spoken))
    return made


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A real file system of 1 MB."""
    directory = tmp_path / "small"
    directory.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", directory], capture_output=True, check=False)
    if mounted.returncode:
        pytest.skip("a small file system can only be mounted as root")
    yield directory
    subprocess.run(["umount", "--lazy", directory], check=True)  # a test that failed may hold files
