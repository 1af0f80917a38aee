"""The rules of a site file that concern more than one key.

Each rule is a function that yields findings: the path of keys to the place, and a sentence that says what is wrong
and what to write. It sees links, meters and brokers that are right by themselves; one that is not is None here and
was told already.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from config.language import N_, _
from config.library import is_generic
from config.mistake import Path, did_you_mean, listed, shown
from config.model import Finding, ModelFile, Point
from config.opcua import OpcuaPoint
from config.opcua_rules import opcua_link_findings, opcua_meter_findings, opcua_password_clashes
from config.protocols import PROTOCOLS
from config.site import Link, Meter, Mqtt
from config.typed import password_names

Meters = Sequence[tuple[int, Meter]]

GENERIC_OPCUA = "generic-opcua"
_TRANSFORMERS = {"ct": (N_("current"), "400/5"), "vt": (N_("voltage"), "10000/100")}


def link_findings(links: Mapping[str, Link | None]) -> Iterator[Finding]:
    """Rules of one link, and of two links on one port."""
    first: dict[str, str] = {}
    for name, link in links.items():
        if link is None:
            continue
        yield from _one_link(("links", name), link)
        port = _port(link)
        if port in first:
            key = "opcua" if link.opcua else "serial" if link.serial else "tcp"
            same = _("at the same server") if link.opcua else _("on the same port")
            yield (
                ("links", name, key),
                _("{first} is {same}; put all its meters on one of the two links", first=first[port], same=same),
            )
        elif port:
            first[port] = name
    yield from opcua_password_clashes(links)


def _port(link: Link) -> str:
    """One spelling for one port or host."""
    if link.opcua:
        return link.opcua.rstrip("/").lower()
    text = (link.serial or link.tcp or "").rstrip("/")
    return text if text.startswith("/") else text.partition("://")[2].lower() or text.lower()


def _one_link(path: tuple[str, str], link: Link) -> Iterator[Finding]:
    given = [key for key in ("serial", "tcp", "opcua") if getattr(link, key)]
    if not given:
        example = _("serial: /dev/ttyUSB0  or  tcp: 192.168.1.20:502  or  opcua: opc.tcp://192.168.1.30:4840")
        yield path, _("the port is missing; write  {example}", example=example)
    if len(given) > 1:
        yield (*path, given[1]), _("a link has either {given}; take one out", given=_(" or ").join(given))
        return
    yield from opcua_link_findings(path, link)
    if link.serial and link.framing == "tcp":
        yield (*path, "framing"), _("tcp is not possible on a serial port; take framing out, or write rtu or ascii")
    if link.tcp and link.tcp.rpartition(":")[2].strip("0") == "":
        yield (*path, "tcp"), _("port 0 is not possible; Modbus TCP is mostly on port 502")
    for key in ("baud", "format"):
        if link.tcp and getattr(link, key) is not None:
            yield (*path, key), _("{key} belongs to serial ports; over tcp it is set in the converter: take it out", key=key)


def format_findings(name: str, link: Link, protocols: Iterable[str]) -> Iterator[Finding]:
    """Whether a link's format can carry what its meters speak. `protocols`: of its meters."""
    if link.frames == "rtu" and link.format and link.format.startswith("7") and "modbus" in protocols:
        message = _("{value}: rtu needs 8 data bits; write 8N1, 8E1, 8O1 or 8N2, or framing: ascii", value=link.format)
        yield ("links", name, "format"), message


def serial_value(link: Link, models: Sequence[ModelFile], key: str) -> int | str | None:
    """`baud` or `format` of a link: its own, else the one that the models of all its meters name, else None."""
    own: int | str | None = getattr(link, key)
    if own is not None:
        return own
    named = {getattr(model.declared.serial, key, None) for model in models}
    return named.pop() if len(named) == 1 else None


def serial_findings(name: str, link: Link, meters: Sequence[tuple[Meter, ModelFile]]) -> Iterator[Finding]:
    """Serial settings that nobody states. `meters`: all of the link, with their models."""
    if not link.serial or link.tcp or link.serial.startswith("socket://") or not meters:
        return
    models = [model for _unused, model in meters]
    for key, example in (("baud", "9600"), ("format", "8N1")):
        if serial_value(link, models, key) is None and not all(getattr(meter, key) for meter, _unused in meters):
            said = sorted({f"{getattr(model.declared.serial, key)}" for model in models if model.declared.serial})
            why = (
                _("its meters leave the factory with {said}", said=listed(said))
                if len(said) > 1
                else _("not all models of its meters say it")
            )
            yield (
                ("links", name),
                _(
                    "{key} is missing ({why}); write for example  {key}: {example}  as it is set at the meters",
                    key=key,
                    why=why,
                    example=example,
                ),
            )


def fast_findings(index: int, meter: Meter, model: ModelFile, every_ms: int) -> Iterator[Finding]:
    """Rules of what is read more often than the rest. `every_ms`: how often the rest is read."""
    if meter.fast is None:
        return
    path = ("meters", index, "fast")
    told = [point.quantity for point in model.declared.points]
    for number, quantity in enumerate(meter.fast.quantities):
        if quantity not in told:
            near = did_you_mean(quantity, told)
            yield (
                (*path, "quantities", number),
                _(
                    "{model} does not tell {quantity}{value}",
                    model=meter.model,
                    quantity=quantity,
                    value=f".{near}" if near else "",
                ),
            )
        elif quantity in meter.quantities or quantity in meter.fast.quantities[:number]:
            yield (
                (*path, "quantities", number),
                _("{quantity} stands twice; leave it under fast or under quantities", quantity=quantity),
            )
    if meter.fast.every >= every_ms:
        yield (*path, "every"), _("is not more often than the rest of the meter; write a shorter time, or take fast out")


def meters_findings(meters: Meters, links: Mapping[str, Link | None], protocols: Mapping[int, str]) -> Iterator[Finding]:
    """Rules between meters: ids, links and addresses. `protocols`: of each meter whose model is known, by its index."""
    ids: set[str] = set()
    taken: dict[tuple[str, str], list[Meter]] = {}
    for index, meter in meters:
        if meter.id in ids:
            yield ("meters", index, "id"), _("{id} stands twice; give each meter an id of its own", id=meter.id)
        ids.add(meter.id)
        if meter.link not in links:
            yield ("meters", index, "link"), unknown_link(meter.link, links)
            continue
        if index not in protocols:
            continue
        yield from opcua_meter_findings(index, meter, protocols[index], links)
        if protocols[index] == "opcua":
            continue  # any number of meters may be behind one server
        before = taken.setdefault((meter.link, protocols[index]), [])
        both = PROTOCOLS[protocols[index]].both
        other = next((each for each in before if both(each.address, meter.address)), None)
        if other:
            yield _place_of_address(index, meter), _called_twice(meter, other)
        before.append(meter)


def _place_of_address(index: int, meter: Meter) -> Path:
    return ("meters", index, "address") if meter.address else ("meters", index)


def _called_twice(meter: Meter, other: Meter) -> str:
    """The message for two meters on one link that answer to one address."""
    if meter.address == other.address:
        return _(
            "address {address} on {link} is already that of {id}",
            address=meter.address or _("none"),
            link=meter.link,
            id=other.id,
        )
    told = _(" and ").join(f"{each.id} ({each.address or _('no address')})" for each in (other, meter))
    return _(
        "{told} would both answer on {link}: one address also calls the other; write the whole number of each",
        told=told,
        link=meter.link,
    )


def unknown_link(name: str, links: Mapping[str, object]) -> str:
    """The message for a link that the site file does not have."""
    hint = did_you_mean(name, links) or (
        _(" There is {links}.", links=_some(links)) if len(links) == 1 else _(" There are {links}.", links=_some(links))
    )
    return _("there is no link {name}.{hint}", name=shown(name), hint=hint).rstrip(".。")


def _some(names: Mapping[str, object]) -> str:
    return ", ".join(shown(name) for name in list(names)[:8]) or _("none")


def points_findings(index: int, meter: Meter) -> Iterator[Finding]:
    """Whether a meter has points of its own exactly where its model is a generic one."""
    opcua = meter.model == GENERIC_OPCUA
    if is_generic(meter.model) and not meter.points:
        at = _("{node: 'nsu=http://plant.example/meters;s=Press1.Energy'}") if opcua else "{address: 72, type: f32}"
        example = _("points: [{{quantity: active_energy_import, at: {at}}}]", at=at)
        what = _("nodes") if opcua else _("registers")
        yield (
            ("meters", index),
            _(
                "points is missing: {model} knows no {what}; write for example  {example}",
                model=meter.model,
                what=what,
                example=example,
            ),
        )
    if meter.points and not is_generic(meter.model):
        message = _(
            "only generic models take points; {model} has its own: take points out, or write model: generic-modbus",
            model=shown(meter.model),
        )
        yield ("meters", index, "points"), message
    if is_generic(meter.model):
        for number, point in enumerate(meter.points):
            if isinstance(point, OpcuaPoint) != opcua:
                example = (
                    _("nodes; write  at: {node: 'nsu=...;s=Energy'}")
                    if opcua
                    else _("registers; write  at: {address: 72, type: f32}")
                )
                yield ("meters", index, "points", number, "at"), _("{model} reads {example}", model=meter.model, example=example)


def model_findings(index: int, meter: Meter, model: ModelFile, polled: Sequence[Point]) -> Iterator[Finding]:
    """Rules between a meter and its model: quantities and transformer ratios."""
    told = [point.quantity for point in model.declared.points]
    for number, quantity in enumerate(meter.quantities):
        path = ("meters", index, "quantities", number)
        if quantity not in told:
            near = did_you_mean(quantity, told)
            hint = f".{near}" if near else _("; see `meterseal models show {model}`", model=meter.model)
            yield path, _("{model} does not tell {quantity}{hint}", model=meter.model, quantity=quantity, hint=hint)
        elif quantity in meter.quantities[:number]:
            yield path, _("{quantity} stands twice", quantity=quantity)
    if not polled and not meter.quantities and not meter.fast:
        yield ("meters", index), _("quantities is missing: {model} reads nothing unless it is listed", model=meter.model)
    for key in ("ct", "vt"):
        yield from _ratio_findings(index, meter, model, polled, key)


def _ratio_findings(index: int, meter: Meter, model: ModelFile, polled: Sequence[Point], key: str) -> Iterator[Finding]:
    kind, plate = _TRANSFORMERS[key]
    wanting = {key, "ct_vt"}
    given = getattr(meter, key) is not None
    if not given and any(point.ratio in wanting for point in polled):
        why = _("{model} counts the {kind} transformer's secondary side", model=meter.model, kind=_(kind))
        todo = _(
            "write the ratio on its plate, such as  {key}: {plate}, or  {key}: 1  where the meter has none", key=key, plate=plate
        )
        yield ("meters", index), _("{key} is missing: {why}; {todo}", key=key, why=why, todo=todo)
    if given and not any(point.ratio in wanting for point in model.declared.points):
        if any(point.ratio == "already_primary" for point in model.declared.points):
            why = _("the meter applies the ratio itself ({model} tells primary values), it would count twice", model=meter.model)
        else:
            why = _("no value of {model} depends on a {kind} transformer", model=meter.model, kind=_(kind))
        yield ("meters", index, key), _("{why}; take {key} out", why=why, key=key)


def mqtt_findings(brokers: Sequence[tuple[int, Mqtt]]) -> Iterator[Finding]:
    """Rules of the brokers: names that are unique, also as names of passwords; certificate and key together."""
    taken: dict[str, str] = {}
    for index, broker in brokers:
        variable, _unused = password_names(broker.name)
        if variable in taken:
            same = (
                _("stands twice")
                if taken[variable] == broker.name
                else _("is too like {taken}: both have {variable}", taken=taken[variable], variable=variable)
            )
            yield (
                ("mqtt", index, "name"),
                _("{name} {same}; give each broker a name of its own, such as name: cloud", name=broker.name, same=same),
            )
        taken.setdefault(variable, broker.name)
        if broker.tls and bool(broker.tls.certificate) != bool(broker.tls.key):
            missing = "key" if broker.tls.certificate else "certificate"
            yield ("mqtt", index, "tls"), _("{missing} is missing: certificate and key belong together", missing=missing)
