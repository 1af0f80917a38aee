"""config.collect: a collector's file, all mistakes at once, and never a password repeated."""

from __future__ import annotations

from pathlib import Path

import pytest

from config.beside import load_declared
from config.collect import CollectFile
from config.mistake import ConfigError

KEY = "meterseal/plant/gw1+ea4712c5+AfgEzoCnt8+c32qKgpCUcfMV/IHSm02iBOIhw+W49mXA"


def loaded(folder: Path, *lines: str) -> CollectFile:
    path = folder / "collect.yaml"
    path.write_text("\n".join(["mqtt: {host: 192.168.1.5}", *lines, ""]))
    return load_declared(CollectFile, path)


def test_a_broker_and_the_gateways_key_lines_are_enough(tmp_path: Path) -> None:
    declared = loaded(tmp_path, "gateways:", f"  - {KEY}")
    assert declared.gateways == (KEY,)
    assert declared.postgres is None


def test_a_witnesss_key_line_is_no_gateways(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is not a gateway's key line; copy it from the enrolment form"):
        loaded(tmp_path, "gateways:", "  - plant-it+2fb02ac2+BPgEzoCnt8+c32qKgpCUcfMV/IHSm02iBOIhw+W49mXA")


@pytest.mark.parametrize("reached", ["host=db PASSWORD=hunter2", "postgresql://collector:hunter2@db/meterseal"])
def test_a_password_is_refused_and_not_repeated(tmp_path: Path, reached: str) -> None:
    with pytest.raises(ConfigError, match="no password goes into this file") as refused:
        loaded(tmp_path, "gateways:", f"  - {KEY}", f"postgres: {reached}")
    assert "hunter2" not in str(refused.value)
