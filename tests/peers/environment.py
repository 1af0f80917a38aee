"""Other people's programs in virtual environments of their own, so that what they need stays out of the project's."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest


def environment(folder: Path, package: str) -> str:
    """The Python of a new virtual environment with a package in it. Skips where it cannot be had."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True, capture_output=True)
    python = str(folder / "bin" / "python")
    pip = [sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--disable-pip-version-check", package]
    made = subprocess.run(pip, capture_output=True, text=True, timeout=50, check=False)
    if made.returncode:
        pytest.skip(f"pip cannot install {package}: {made.stderr.strip()[-200:]}")
    return python
