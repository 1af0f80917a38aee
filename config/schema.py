"""The JSON Schemas of site and model files, for completion and hover texts in editors. Drawn from the declared types.

`python -m config.schema` writes both files; a test fails when they are stale. An editor sees `address: 12` as a number
and `serial: 000012345670` as one too, so text fields admit numbers; what a value means is still decided by
`config.typed`. Rules between keys are not in a schema: `meterseal check` tells them.
"""

from __future__ import annotations

import ast
import inspect
import json
import sys
from collections.abc import Sequence
from functools import reduce
from itertools import pairwise
from operator import or_
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, Field, TypeAdapter

from config import keep, model, plate, site
from config.protocols import PROTOCOLS

DIALECT = "https://json-schema.org/draft/2020-12/schema"
FILES: dict[str, tuple[type[BaseModel], ...]] = {
    "site.schema.json": (site.Site,),
    "model.schema.json": tuple(protocol.model for protocol in PROTOCOLS.values()),
}

_BOUNDS = {"ge": "minimum", "le": "maximum"}  # pydantic leaves these as they are where text is converted first


def _field_texts() -> dict[str, dict[str, str]]:
    """The text below each field, by class and field; a class has those of the ones it is made from, too."""
    found: dict[str, dict[str, str]] = {}
    kinds = (sys.modules[protocol.model.__module__] for protocol in PROTOCOLS.values())
    for module in (model, *dict.fromkeys(kinds), plate, keep, site):
        for part in ast.parse(inspect.getsource(module)).body:
            if isinstance(part, ast.ClassDef):
                bases = [base.id for base in part.bases if isinstance(base, ast.Name)]
                found[part.name] = {key: text for base in bases for key, text in found.get(base, {}).items()}
                found[part.name] |= dict(_texts_of(part.body))
    return found


def _texts_of(body: list[ast.stmt]) -> list[tuple[str, str]]:
    texts = []
    for field, below in pairwise(body):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and isinstance(below, ast.Expr):
            value = below.value
            if isinstance(value, ast.Constant) and isinstance(value.value, str):
                texts.append((field.target.id, " ".join(value.value.split())))
    return texts


def schema_of(kinds: Sequence[type[BaseModel]]) -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of a whole file, with a description for every key.

    `kinds`: what the file may declare; where there are several, their key `protocol` tells which.
    """
    schema = _whole(kinds)
    texts = _field_texts()
    blocks = dict(schema.get("$defs", {}))
    if len(kinds) == 1:
        blocks[kinds[0].__name__] = schema
    for name, block in blocks.items():
        for key, field in block.get("properties", {}).items():
            field["description"] = texts[name][key]
    return {"$schema": DIALECT, **_plain(schema)}


def _whole(kinds: Sequence[type[BaseModel]]) -> dict[str, Any]:
    if len(kinds) == 1:
        return kinds[0].model_json_schema()
    union: Any = Annotated[reduce(or_, kinds), Field(discriminator="protocol")]
    return TypeAdapter(union).json_schema()


def _plain(value: Any) -> Any:
    """Without pydantic's titles, and without null: a key that says nothing is left out of a file."""
    if isinstance(value, list):
        return [_plain(each) for each in value if each != {"type": "null"}]
    if not isinstance(value, dict):
        return value
    kept = {key: each for key, each in value.items() if each is not None and not (key == "title" and isinstance(each, str))}
    made = {_BOUNDS.get(key, key): _plain(each) for key, each in kept.items()}
    if len(made.get("anyOf", ())) == 1:
        made = {**made.pop("anyOf")[0], **made}
    return made


def schema_text(kinds: Sequence[type[BaseModel]]) -> str:
    """The schema as it stands in its file."""
    return json.dumps(schema_of(kinds), indent=2, ensure_ascii=False) + "\n"


def write(folder: Path) -> None:
    """Writes both schema files into a folder."""
    for name, kind in FILES.items():
        (folder / name).write_text(schema_text(kind), "utf-8")


if __name__ == "__main__":
    write(Path(__file__).parent)
    sys.exit(0)
