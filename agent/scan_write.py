"""What a search found, as lines of a site file; and a site file with such lines added.

Nothing that stands in a file is changed or taken out: lines are added at the end of its links and of its meters, and
what hangs on the same link at the same address already is left out.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from os.path import realpath

from agent.scan_meet import address_in
from agent.scan_name import Named
from agent.scan_steps import Met
from config.language import _
from config.model import MeterModel
from config.ratio import UNKNOWN
from config.text import Document

_PLAIN = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_"


@dataclass(frozen=True, slots=True)
class Place:
    """Where a search took place.

    Attributes:
        link: the link's name in the site file.
        serial, tcp: port or endpoint; one of the two.
        framing: how Modbus is carried, where that is not what goes without saying.
    """

    link: str
    serial: str | None
    tcp: str | None
    framing: str | None = None


def speed_of(meters: Iterable[Met]) -> tuple[int, str] | None:
    """The speed and format that most of them have; None on TCP."""
    speeds = Counter((met.baud, met.character) for met in meters if met.baud and met.character)
    (baud, character), _unused = speeds.most_common(1)[0] if speeds else ((None, None), 0)
    return (baud, character) if baud and character else None


def link_line(place: Place, speed: tuple[int, str] | None) -> str:
    """A link as it stands under `links:`."""
    where = f"serial: {place.serial}" if place.serial else f'tcp: "{place.tcp}"'
    framing = f", framing: {place.framing}" if place.framing else ""
    port = f", baud: {speed[0]}, format: {speed[1]}" if speed and place.serial else ""
    return f"  {place.link}: {{{where}{framing}{port}}}"


def meter_lines(
    found: Sequence[Named],
    models: Mapping[str, MeterModel],
    place: Place,
    speed: tuple[int, str] | None,
    taken: Iterable[str] = (),
) -> list[str]:
    """The meters as they stand under `meters:`, each behind a remark with how sure that is.

    `speed`: the link's; `taken`: ids that other meters have. Who fits no model stands in a remark only.
    """
    used = set(taken)
    addresses: set[str] = set()
    made: list[str] = []
    for each in found:
        if not each.model:
            made.append(_("  # {who} answers, and fits no model: see its manual, and `meterseal try`", who=_who(each.met)))
            continue
        model = models[each.model]
        if (address := address_in(each.met, model)) in addresses:
            made.append(_("  # {who} answers too: on one line no two meters may have one address", who=_who(each.met)))
            continue
        addresses.add(address)
        made.append(f"  # {_trusted(each)}")
        keys = {"id": _id(each.met, place.link, used), "link": place.link, "model": each.model}
        keys |= {"address": address} if address else {}
        if each.serial:
            keys["serial"] = each.serial
        own = each.met.baud and place.serial and (each.met.baud, each.met.character) != speed
        keys |= {"baud": str(each.met.baud), "format": str(each.met.character)} if own else {}
        ratios = [key for key in ("ct", "vt") if any(point.ratio in (key, "ct_vt") for point in model.points if point.default)]
        keys |= dict.fromkeys(ratios, UNKNOWN)
        text = ", ".join(f"{key}: {_written(value)}" for key, value in keys.items())
        made.append(
            f"  - {{{text}}}"
            + (
                _("   # write the ratio on the transformers' plates, such as 400/5; 1 for a meter without transformers")
                if ratios
                else ""
            )
        )
    return made


def _trusted(each: Named) -> str:
    also = _("; or {others}", others=", ".join(each.others)) if each.others else ""
    return _one_line(f"{_(each.sure)}: {'; '.join(each.why)}{also}")


def _who(met: Met) -> str:
    speed = _(" at {baud} {character}", baud=met.baud, character=met.character) if met.baud else ""
    return _("address {address} ({protocol}){speed}", address=met.address or _("(none)"), protocol=met.protocol, speed=speed)


def _id(met: Met, link: str, used: set[str]) -> str:
    digits = met.address[:8] if met.protocol == "mbus" else met.address
    base = f"{link}-{digits.lstrip('0') or '0'}" if digits else f"{link}-meter"
    name = next(each for each in (base, *(f"{base}-{number}" for number in range(2, 1000))) if each not in used)
    used.add(name)
    return name


def _written(value: str) -> str:
    return (
        value if value and set(value) <= set(_PLAIN) and value not in ("true", "false") else json.dumps(value, ensure_ascii=False)
    )


def _one_line(text: str) -> str:
    """A remark with nothing in it that would end the line: what meters say of themselves is a stranger's word."""
    return "".join(character if character.isprintable() else " " for character in text)


def new_site(gateway: str, place: Place, found: Sequence[Named], models: Mapping[str, MeterModel]) -> str:
    """A whole site file."""
    speed = speed_of(each.met for each in found if each.model)
    return "\n".join(
        [
            _("# Written by `meterseal scan`. Compare every meter with its plate and its display: `meterseal pair`."),
            _(
                "gateway: {gateway}    # site/gateway, in every record; change it now, never once readings were sealed",
                gateway=gateway,
            ),
            _("timezone: UTC    # the plant's, such as Asia/Shanghai: days are closed at its midnight"),
            "every: 15m",
            "links:",
            link_line(place, speed),
            "meters:",
            *meter_lines(found, models, place, speed),
            "",
        ]
    )


def place_in(document: Document, place: Place) -> Place:
    """The place under the name that its port has in a site file; where another port has its name, under one that is free."""
    top = document.value if isinstance(document.value, dict) else {}
    named = top.get("links")
    links = named if isinstance(named, dict) else {}
    own = [name for name, link in links.items() if isinstance(link, dict) and _same_port(link, place)]
    if own:
        return replace(place, link=place.link if place.link in own else own[0])
    if place.link not in links:
        return place
    base = place.link.rstrip("0123456789") or place.link
    return replace(place, link=next(name for number in range(2, 1000) if (name := f"{base}{number}") not in links))


def _same_port(link: Mapping[str, object], place: Place) -> bool:
    if place.tcp:
        return link.get("tcp") == place.tcp
    return realpath(str(link.get("serial", ""))) == realpath(str(place.serial))


def added(
    text: str, document: Document, place: Place, found: Sequence[Named], models: Mapping[str, MeterModel]
) -> tuple[str, int]:
    """A site file's text with what it does not have yet, and how many meters were added.

    Args:
        text: the file's text.
        document: the same, read (`config.text.read_text`).
        place: where was searched.
        found: who was found.
        models: the models by name.

    Raises:
        ValueError: its links or meters are not written one below the other, so that nothing can be added.
    """
    top = document.value if isinstance(document.value, dict) else {}
    meters, links = top.get("meters"), top.get("links")
    if not isinstance(meters, list) or not isinstance(links, dict):
        raise ValueError(_("it has no links and meters"))  # noqa: TRY004  the file's mistake, not the caller's
    known = {(str(each.get("link")), str(each.get("address", ""))) for each in meters if isinstance(each, dict)}
    ids = {str(each.get("id")) for each in meters if isinstance(each, dict)}
    fresh = [each for each in found if each.model and (place.link, address_in(each.met, models[each.model])) not in known]
    if not fresh:
        return text, 0
    own = links.get(place.link)
    speed = speed_of(each.met for each in fresh)
    if isinstance(own, dict):
        speed = (int(str(own["baud"])), str(own["format"])) if "baud" in own and "format" in own else None
    lines = text.splitlines()
    made = meter_lines(fresh, models, place, speed, ids)
    parts = [("meters", made), *([] if isinstance(own, dict) else [("links", [link_line(place, speed)])])]
    ends = [(_end(lines, document, key), more) for key, more in parts]
    for end, more in sorted(ends, key=lambda each: each[0], reverse=True):
        lines[end:end] = more
    return "\n".join(lines) + "\n", len(fresh)


def _end(lines: Sequence[str], document: Document, key: str) -> int:
    """The number of the line behind a block's last one. Raises ValueError for a block in one line."""
    begin = document.keys[key,][0]
    if lines[begin - 1].split("#")[0].split(":", 1)[1].strip():
        raise ValueError(_("{key}: stands in one line; write what is below it one below the other", key=key))
    following = [line for path, (line, _unused) in document.keys.items() if len(path) == 1 and line > begin]
    end = min(following, default=len(lines) + 1) - 1
    while end > begin and (not lines[end - 1].strip() or lines[end - 1].startswith("#")):
        end -= 1
    return end
