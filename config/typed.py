"""From text with places to the declared types; every mistake in plain words, at its place.

pydantic finds what is wrong, but says it in the words of a programming language. Here each kind of its errors has
a sentence of ours, unknown keys get the nearest known one, and missing keys an example of what to write.

What this file does not know: rules that concern more than one key (`config.check`).
"""

from __future__ import annotations

import re
import types
from collections.abc import Callable, Mapping
from typing import Any, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from config.language import N_, _
from config.mistake import KIND, ConfigError, Mistake, Path, did_you_mean, listed, looks_secret, nearest, shown
from config.text import Document, read_text

T = TypeVar("T", bound=BaseModel)

NO_PASSWORDS = N_(
    "passwords do not go into this file: set the environment variable {variable}, "
    "or write it into a file {file} in the secrets folder (METERSEAL_SECRETS_DIR)"
)

# What to write where a key is missing.
EXAMPLES = {
    "gateway": "gateway: plant-north/gateway-1",
    "links": "links: {line1: {serial: /dev/ttyUSB0}}",
    "meters": N_("meters:  with an entry for each meter"),
    "id": "id: main-incomer",
    "link": "link: line1",
    "model": "model: eastron-sdm630",
    "address": "address: 12",
    "host": "host: 192.168.1.5",
    "type": "type: u32",
    "at": "at: {address: 72, type: f32}",
    "quantity": "quantity: active_energy_import",
    "name": "name: serial",
    "number": "number: DL2025-03318",
    "valid_until": "valid_until: 2027-06-30",
    "count": "count: 2",
    "baud": "baud: 9600",
    "format": "format: 8N1",
    "url": "url: the document's address or title",
    "kind": "kind: maker",
    "level": "level: C",
    "sources": "sources: [{url: the maker's manual V1.2, kind: maker}]",
    "answer": "answer: 01 03 04 00 00 00 00 FA 33",
    "origin": "origin: captured from the meter in hall 3",
    "frames": N_("frames:  with the request and the answer"),
    "values": "values: {active_energy_import: '1234.5'}",
    "revision": "revision: 1",
    "maker": "maker: Eastron",
    "product": "product: SDM630-Modbus V2",
    "medium": "medium: electricity",
    "protocol": "protocol: modbus",
    "trust": "trust: {level: C, sources: [{url: the maker's manual V1.2, kind: maker}]}",
    "every": "every: 5s",
    "quantities": "quantities: [active_power]",
    "dlt645": "dlt645: {edition: 2007}",
    "edition": "edition: 2007",
    "cjt188": "cjt188: {meter_type: 10, identifier_order: low_first, lengths: {901F: 22}}",
    "meter_type": "meter_type: 10",
    "identifier_order": "identifier_order: low_first",
    "lengths": "lengths: {901F: 22}",
    "identifier": "identifier: 901F",
    "first": "first: 0",
    "bytes": "bytes: 4",
    "obis": "obis: 1.8.0",
    "node": "node: nsu=http://plant.example/meters;s=Press1.Energy",
    "points": N_("points:  with an entry for each quantity"),
    "examples": N_("examples:  with frames and the values they give"),
}

_LINES = N_("write lines such as  key: value  here, indented")
_LIST = N_("write a list here: one entry a line, each beginning with a dash")


def _bound(words: str, key: str) -> Callable[[Mapping[str, Any], str], str]:
    return lambda context, value: f"{value} {_(words)} {context.get(key)}"


# pydantic's kind of error -> our sentence, from its context and the value as it may be shown.
_SENTENCES: dict[str, Callable[[Mapping[str, Any], str], str]] = {
    "value_error": lambda context, value: str(context["error"]),
    "string_type": lambda context, value: _(
        "{value} is not a text; write one value here, in quotes if it is true or false", value=value
    ),
    "string_too_long": _bound(N_("is too long; letters at most:"), "max_length"),
    "string_too_short": _bound(N_("is too short; letters at least:"), "min_length"),
    "greater_than_equal": _bound(N_("is too small; the least is"), "ge"),
    "less_than_equal": _bound(N_("is too large; the most is"), "le"),
    "int_type": lambda context, value: _("{value} is not a whole number", value=value),
    "int_parsing": lambda context, value: _("{value} is not a whole number", value=value),
    "int_parsing_size": lambda context, value: _("{value} is too large", value=value),
    "float_type": lambda context, value: _("{value} is not a number", value=value),
    "float_parsing": lambda context, value: _("{value} is not a number", value=value),
    "finite_number": lambda context, value: _("{value} is not a number", value=value),
    "decimal_type": lambda context, value: _("{value} is not a decimal number such as 0.01", value=value),
    "decimal_parsing": lambda context, value: _("{value} is not a decimal number such as 0.01", value=value),
    "bool_type": lambda context, value: _("{value} is not possible here; write true or false", value=value),
    "bool_parsing": lambda context, value: _("{value} is not possible here; write true or false", value=value),
    "model_type": lambda context, value: _(_LINES),
    "model_attributes_type": lambda context, value: _(_LINES),
    "dict_type": lambda context, value: _(_LINES),
    "tuple_type": lambda context, value: _(_LIST),
    "list_type": lambda context, value: _(_LIST),
    "too_short": lambda context, value: _("at least one entry is needed here"),
    "too_long": lambda context, value: _("too many entries; at most {context} here", context=context.get("max_length")),
}


def read_as(kind: type[T], data: bytes, file: str) -> T:
    """The declaration in a file's bytes.

    Args:
        kind: the declared type of the whole file.
        data: the file's bytes.
        file: its name, as messages shall show it.

    Raises:
        ConfigError: with every mistake that was found.
    """
    document = read_text(data, file)
    declared, mistakes = typed(kind, document)
    if declared is None:
        raise ConfigError(mistakes)
    return declared


def typed(kind: type[T], document: Document) -> tuple[T | None, list[Mistake]]:
    """The declaration in a document, or None and every mistake of a single key."""
    try:
        declared = kind.model_validate(document.value)
    except ValidationError as error:
        found = error.errors(include_url=False)
        misspelt = {_meant(kind, each["loc"]) for each in found if each["type"] == "extra_forbidden"}
        told = [each for each in found if _worth_telling(each, document, misspelt)]
        return None, [*document.mistakes, *(_mistake(kind, document, each) for each in told)]
    return (None if document.mistakes else declared), list(document.mistakes)


def sentence_of(error: ErrorDetails, secret: bool = False) -> str:
    """pydantic's finding about one value in plain words; the value is not repeated where it may be secret."""
    value = _("this value") if secret else shown(error["input"])
    context = error.get("ctx", {})
    if error["type"] == "literal_error":
        choices = re.findall(r"[A-Za-z0-9_.]+", str(context["expected"]).replace(" or ", " "))
        near = did_you_mean(str(error["input"]), choices)
        words = _("{value} is not possible here; write {choices}.{near}", value=value, choices=listed(choices), near=near)
        return words.removesuffix(".").removesuffix("。")
    kind = error["type"]
    if kind in ("too_short", "too_long") and isinstance(error["input"], str):
        kind = f"string_{kind}"
    told = _SENTENCES.get(kind)
    return told(context, value) if told else _("{value} is not possible here", value=value)


def _worth_telling(error: ErrorDetails, document: Document, misspelt: set[Path]) -> bool:
    """False for what only follows from another mistake that is told."""
    if error["type"] == "missing" and error["loc"] in misspelt:
        return False
    # Entries that are wrong do not count for pydantic: a list of one wrong entry is not too short for us.
    if error["type"] == "too_short" and error["input"] and not isinstance(error["input"], str):
        return False
    return not _refused(document, error["loc"])


def _written(path: Path) -> Path:
    """A path as it stands in the file: without the steps that say which kind of block was meant."""
    return tuple(step for step in path if not _is_kind(step))


def _is_kind(step: int | str) -> bool:
    return isinstance(step, str) and step.startswith(KIND)


def _refused(document: Document, path: Path) -> bool:
    """Whether something at this path, or around it, was already reported while reading."""
    path = _written(path)
    return any(path[:length] in document.refused for length in range(1, len(path) + 1))


def _mistake(kind: type[BaseModel], document: Document, error: ErrorDetails) -> Mistake:
    path = _written(error["loc"])
    if path and path[-1] == "[key]":
        return document.mistake(path[:-1], sentence_of(error), at_key=True)
    key = str(path[-1]) if path else ""
    if error["type"] == "missing":
        if isinstance(path[-1], int):
            return document.mistake(path[:-1], _("{path} or more entries are needed here", path=path[-1] + 1))
        return document.mistake(
            path[:-1],
            _("{key} is missing; write for example  {examples}", key=key, examples=_(EXAMPLES.get(key, key + ": ..."))),
        )
    if error["type"] == "extra_forbidden":
        return document.mistake(path, _unknown_key(kind, document, error["loc"]), at_key=True)
    return document.mistake(path, sentence_of(error, looks_secret(key)))


def _meant(kind: type[BaseModel], path: Path) -> Path:
    """The path that an unknown key was most likely meant for; that key is then not told as missing too."""
    block = _block(kind, path[:-1])
    return (*path[:-1], nearest(str(path[-1]), block.model_fields if block else ()) or "")


def _unknown_key(kind: type[BaseModel], document: Document, path: Path) -> str:
    key = str(path[-1])
    if looks_secret(key):
        variable, file = _password_beside(document, _written(path))
        return _(NO_PASSWORDS).format(variable=variable, file=file)
    block = _block(kind, path[:-1])
    known = list(block.model_fields) if block else []
    near = did_you_mean(key, known)
    return (
        _("this key is not known here.{near}", near=near)
        if near
        else _("this key is not known here; known are {known}", known=", ".join(known))
    )


def _password_beside(document: Document, path: Path) -> tuple[str, str]:
    """Variable and file of the password that belongs to a block: a link's by its name, a broker's by its key `name`."""
    if len(path) == 3 and path[0] == "links":
        return opcua_password_names(str(path[1]))
    block: Any = document.value
    for step in path[:-1]:
        block = block[step]
    name = block.get("name")
    return password_names(name if isinstance(name, str) else "broker")


def password_names(broker: str) -> tuple[str, str]:
    """Environment variable and secrets file that hold a broker's password."""
    if broker == "broker":
        return "METERSEAL_MQTT_PASSWORD", "mqtt_password"
    return _names_of("mqtt_password", broker)


def opcua_password_names(link: str) -> tuple[str, str]:
    """Environment variable and secrets file that hold the password of an OPC UA link's user."""
    return _names_of("opcua_password", link)


def _names_of(secret: str, owner: str) -> tuple[str, str]:
    name = f"{secret}_{re.sub('[^A-Za-z0-9]', '_', owner)}"
    return f"METERSEAL_{name.upper()}", name.lower()


def _block(kind: type[BaseModel], path: Path) -> type[BaseModel] | None:
    """The declared type of the block at a path."""
    here: Any = kind
    for step in path:
        if _is_kind(step):
            here = next(each for each in get_args(here) if any(getattr(tag, "tag", "") == step for tag in each.__metadata__))
            here = get_args(here)[0]
            continue
        if isinstance(here, type) and issubclass(here, BaseModel):
            fields = here.model_fields
            here = fields[step].annotation if step in fields else None
        else:
            here = get_args(here)[1 if get_origin(here) is dict else 0] if get_args(here) else None
        here = _bare(here)
    return here if isinstance(here, type) and issubclass(here, BaseModel) else None


def _bare(annotation: Any) -> Any:
    """An annotation without `| None` and without metadata."""
    if get_origin(annotation) in (Union, types.UnionType):
        annotation = next(each for each in get_args(annotation) if each is not types.NoneType)
    return get_args(annotation)[0] if hasattr(annotation, "__metadata__") else annotation
