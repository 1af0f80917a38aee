"""Model files: the shipped ones and a site's own, found by their names and read into declared models.

A model file is called as the model in it, with `.yaml` behind. Shipped files lie in `config/models`; a site has a
folder `models` beside its file, or names others under `models:`. A name that is in both is a mistake, since nobody
could say which one was meant.

A file's bytes are kept beside what they declare: the ledger stores them, and `read_model` reads such stored bytes
again. Nothing read here is trusted for what a value means without the digest that a sealed declaration quotes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from config.language import _
from config.map_rules import is_generic as is_generic
from config.mistake import ConfigError, Mistake, did_you_mean, shown
from config.model import ModelFile, Point
from config.protocols import PROTOCOLS, Protocol
from config.system_words import reason_of
from config.text import LARGEST, Document, read_text
from config.typed import typed

USUAL_FOLDER = "models"
_SUFFIXES = (".yaml", ".yml")
# Characters that JSON allows as they are and YAML does not, or folds.
_NOT_IN_YAML = re.compile("[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]")


def read_bytes(path: Path) -> bytes:
    """A file's bytes, at most a little more than a declaration may have. Raises ConfigError saying what to check."""
    try:
        if not path.is_file():
            wrong = _("is a folder, not a file") if path.is_dir() else _("there is no such file; check the name and the folder")
            raise ConfigError([Mistake(str(path), 0, 0, "", wrong)], "MS-101")
        with path.open("rb") as file:
            return file.read(LARGEST + 1)
    except OSError as error:
        reason = reason_of(error).lower()
        message = _("cannot be read ({reason}); check who may read it and the folders above it", reason=reason)
        raise ConfigError([Mistake(str(path), 0, 0, "", message)], "MS-101") from None


@lru_cache(maxsize=256)
def read_model(text: bytes, name: str) -> ModelFile:
    """The model in a file's bytes, or in bytes that a ledger kept.

    Args:
        text: the bytes.
        name: what messages shall call them.

    Raises:
        ConfigError: with every mistake that was found.
    """
    document = read_text(text, name)
    protocol = _protocol(document)
    declared, mistakes = typed(protocol.model, document)
    if declared is not None:
        mistakes += [document.mistake(path, message) for path, message in protocol.findings(declared)]
    if declared is None or mistakes:
        raise ConfigError(mistakes)
    return ModelFile(declared, text)


def _protocol(document: Document) -> Protocol:
    """The protocol that a model file names. Raises ConfigError for one that there is not."""
    top = document.value if isinstance(document.value, dict) else {}
    name = top.get("protocol", "modbus")  # a file without one is told of the missing key like of any other
    if isinstance(name, str) and name not in PROTOCOLS and ("protocol",) not in document.refused:
        near = did_you_mean(name, PROTOCOLS) or _(" There are {protocols}.", protocols=", ".join(PROTOCOLS))
        raise ConfigError(
            [document.mistake(("protocol",), _("there is no protocol {name}.{hint}", name=shown(name), hint=near).rstrip(".。"))]
        )
    return PROTOCOLS.get(str(name), PROTOCOLS["modbus"])


def load_model(path: Path | str) -> ModelFile:
    """The model in a file. Raises ConfigError, also where file and model have different names."""
    path = Path(path)
    made = read_model(read_bytes(path), str(path))
    if path.stem != made.declared.model:
        message = _(
            "{model} stands in a file called {name}: give file and model the same name",
            model=made.declared.model,
            name=shown(path.name),
        )
        raise ConfigError([Mistake(str(path), 1, 1, "model", message)])
    return made


@lru_cache(maxsize=1)
def shipped_models() -> Mapping[str, Path]:
    """The shipped files by their models' names; they do not change while a program runs."""
    return {path.stem: path for path in sorted(_shipped_folder().glob("*.yaml"))}


def _shipped_folder() -> Path:
    return Path(str(files("config") / "models"))


def model_folders(beside: Path, named: Iterable[str]) -> list[Path]:
    """A site's folders of models: those it names, and a folder called `models` beside its file. `beside`: that file's folder."""
    folders = [beside / name for name in named]
    usual = beside / USUAL_FOLDER
    if usual.is_dir() and usual.resolve() not in (folder.resolve() for folder in (*folders, _shipped_folder())):
        folders.append(usual)
    return folders


def find_models(folders: Iterable[Path]) -> dict[str, Path]:
    """Every model file by its name: the shipped ones and those in the folders.

    Raises:
        ConfigError: no such folder, or one name twice.
    """
    found = dict(shipped_models())
    mistakes = []
    for folder in folders:
        if not folder.is_dir():
            mistakes.append(Mistake(str(folder), 0, 0, "", _("there is no such folder")))
            continue
        for path in sorted(folder.iterdir()):
            if path.suffix not in _SUFFIXES or path.name.startswith("."):
                continue
            if path.stem in found:
                whose = _("a shipped model") if found[path.stem] == shipped_models().get(path.stem) else f"in {found[path.stem]}"
                message = _(
                    "{stem} is also {whose}; give this one a name of its own, such as {stem}-own", stem=path.stem, whose=whose
                )
                mistakes.append(Mistake(str(path), 0, 0, "", message))
            else:
                found[path.stem] = path
    if mistakes:
        raise ConfigError(mistakes)
    return found


def load_models(folders: Iterable[Path | str] = ()) -> dict[str, ModelFile]:
    """Every model by name: the shipped ones and those in the folders. Raises ConfigError with all mistakes in them."""
    made: dict[str, ModelFile] = {}
    mistakes: list[Mistake] = []
    for name, path in find_models([Path(folder) for folder in folders]).items():
        try:
            made[name] = load_model(path)
        except ConfigError as error:
            mistakes += error.mistakes
    if mistakes:
        raise ConfigError(mistakes)
    return made


def unknown_model(name: str, known: Iterable[str]) -> str:
    """What to tell of a model that there is none of."""
    names = sorted(known)
    near = did_you_mean(name, names)
    return (
        _("there is no model {name}.{near}", name=shown(name), near=near)
        if near
        else _("there is no model {name}; see `meterseal models`", name=shown(name))
    )


def with_points(base: ModelFile, points: tuple[Point, ...]) -> ModelFile:
    """A generic model with a meter's own points.

    Its text is canonical JSON (sorted keys) with every default written out, so that it reads back as the same
    model even if a default should change; `read_model` reads it.
    """
    declared = base.declared.model_copy(update={"points": points})
    return ModelFile(declared, canonical_json(declared.model_dump(mode="json", exclude_none=True)))


def canonical_json(value: Any) -> bytes:
    """JSON with sorted keys that YAML readers take as the same text."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return _NOT_IN_YAML.sub(lambda found: f"\\u{ord(found[0]):04x}", text).encode("utf-8")
