"""Reading the file of a program that runs beside gateways: a witness's, a collector's."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

from config.library import read_bytes
from config.mistake import ConfigError
from config.model import Declared
from config.text import read_text
from config.typed import typed

T = TypeVar("T", bound=Declared)


def load_declared(wanted: type[T], path: Path) -> T:
    """The declaration of this kind in a file.

    Raises:
        ConfigError: with every mistake that was found.
    """
    document = read_text(read_bytes(path), str(path))
    declared, mistakes = typed(wanted, document)
    if declared is None or mistakes:
        raise ConfigError(mistakes)
    return declared
