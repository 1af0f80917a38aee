"""A sample of `make mutations`: one changed byte of an export never passes both verifiers, nor one of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent import keyring
from agent import verify as first
from agent.export import export
from tests.agent.both import second
from tests.bench.mutations import CHANGED, ZIP_FILE, Maker, draws, plant, remember, unnoticed


@pytest.fixture
def remembering(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was done once is known, for this test only: each is put back behind it."""
    for module, names in (
        (second, ("is_signed", "parse", "milliseconds", "evaluate")),
        (keyring, ("signed",)),
        (first, ("parse",)),
    ):
        for name in names:
            monkeypatch.setattr(module, name, getattr(module, name))
    remember()


@pytest.mark.usefixtures("remembering")
def test_no_change_of_one_byte_passes_unnoticed(tmp_path: Path) -> None:
    gateway = plant(40)
    export(gateway.log, tmp_path / "a.zip")
    file = (tmp_path / "a.zip").read_bytes()
    maker = Maker(gateway.log, file, tmp_path)
    drawn = [maker.change(*draw) for draw in draws(gateway.log, file, 300, seed=1)]
    assert len({change.part.split(" ")[0] for change in drawn}) == 4
    passed = [str(change) for change in drawn if change.part != ZIP_FILE and unnoticed(change, gateway.key_line, tmp_path)]
    assert passed == []


@pytest.mark.usefixtures("remembering")
def test_no_change_of_the_zip_file_passes_unnoticed(tmp_path: Path) -> None:
    gateway = plant(36)
    export(gateway.log, tmp_path / "a.zip")
    file = (tmp_path / "a.zip").read_bytes()
    maker = Maker(gateway.log, file, tmp_path)
    for draw in draws(gateway.log, file, 600, seed=2):
        if draw[0] == ZIP_FILE:
            change = maker.change(*draw)
            assert unnoticed(change, gateway.key_line, tmp_path / CHANGED) == [], str(change)
