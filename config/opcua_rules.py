"""The rules of OPC UA links and of the meters behind them: what belongs together, and what nobody should do any more.

Each rule yields the path of keys to the place and a sentence that says what is wrong and what to write.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from config.language import _
from config.model import Finding
from config.site import Link, Meter
from config.typed import opcua_password_names

DEPRECATED = ("Basic128Rsa15", "Basic256")  # OPC 10000-7: SHA-1 and short keys
OPCUA_KEYS = ("security", "mode", "login", "user", "certificate", "server")
_PORT_KEYS = ("framing", "baud", "format", "longest_answer_ms")


def opcua_link_findings(path: tuple[str, str], link: Link) -> Iterator[Finding]:
    """What is wrong with the keys of a link that concern OPC UA, whatever kind of link it is."""
    if not link.opcua:
        for key in OPCUA_KEYS:
            if getattr(link, key) is not None:
                yield (*path, key), _("{key} belongs to opcua links; take it out", key=key)
        return
    for key in _PORT_KEYS:
        if getattr(link, key) is not None:
            yield (
                (*path, key),
                _("{key} belongs to serial and tcp links; an OPC UA server needs none: take it out", key=key),
            )
    yield from _protection_findings(path, link)
    yield from _login_findings(path, link)


def _protection_findings(path: tuple[str, str], link: Link) -> Iterator[Finding]:
    if link.policy in DEPRECATED:
        instead = _("switch on Basic256Sha256 at the server and write  security: Basic256Sha256")
        message = _("{policy} is withdrawn, it no longer protects; {instead}", policy=link.policy, instead=instead)
        yield (*path, "security"), message
    if link.policy == "None":
        for key in ("mode", "certificate"):
            if getattr(link, key) is not None:
                yield (
                    (*path, key),
                    _("security: None neither signs nor knows certificates; take {key} out, or take security out", key=key),
                )


def _login_findings(path: tuple[str, str], link: Link) -> Iterator[Finding]:
    key = "login" if link.login else "user"
    if link.identity == "user" and not link.user:
        yield (*path, "login"), _("the user name is missing; write for example  user: meterseal")
    if link.user and link.identity != "user":
        yield (
            (*path, "user"),
            _("login: {identity} takes no user name; take user out, or write  login: user", identity=link.identity),
        )
    if link.policy != "None":
        return
    if link.identity == "user":
        message = _("over security: None anybody on the network can read the password; take security out, or log in anonymously")
        yield (*path, key), message
    if link.identity == "certificate":
        yield (*path, key), _("a certificate proves nothing over security: None; take security out, or write  login: anonymous")


def opcua_meter_findings(index: int, meter: Meter, protocol: str, links: Mapping[str, Link | None]) -> Iterator[Finding]:
    """Whether a meter and the link it hangs on speak the same: OPC UA, or not."""
    link = links.get(meter.link)
    if link is None or not any((link.opcua, link.serial, link.tcp)):
        return
    if protocol == "opcua" and not link.opcua:
        message = _(
            "{model} needs an OPC UA server, {link} is none; write opcua: at the link, or take another link",
            model=meter.model,
            link=meter.link,
        )
        yield ("meters", index, "link"), message
    if protocol != "opcua" and link.opcua:
        instead = _("take another link, or write  model: generic-opcua  with points")
        message = _(
            "{link} is an OPC UA server, {model} does not speak to one; {instead}",
            link=meter.link,
            model=meter.model,
            instead=instead,
        )
        yield ("meters", index, "link"), message
    if link.opcua:
        for key in ("baud", "format"):
            if getattr(meter, key) is not None:
                yield ("meters", index, key), _("{key} belongs to meters on serial ports; take it out", key=key)


def changes_findings(index: int, meter: Meter, protocol: str, read: Sequence[str]) -> Iterator[Finding]:
    """Whether the changes of what a meter names can be told. `read`: all quantities that are read from it."""
    if meter.changes is None:
        return
    path = ("meters", index, "changes")
    if protocol != "opcua":
        yield (
            path,
            _("only an OPC UA server tells changes by itself; take changes out, or read these quantities more often (fast)"),
        )
        return
    for number, quantity in enumerate(meter.changes.quantities):
        if quantity not in read:
            yield (
                (*path, "quantities", number),
                _(
                    "{quantity} is not read from {id}; add it to what is read, or take it out here",
                    quantity=quantity,
                    id=meter.id,
                ),
            )
        elif quantity in meter.changes.quantities[:number]:
            yield (*path, "quantities", number), _("{quantity} stands twice; take one of them out", quantity=quantity)


def opcua_password_clashes(links: Mapping[str, Link | None]) -> Iterator[Finding]:
    """Links whose names are so alike that one password would go to both servers."""
    taken: dict[str, str] = {}
    for name, link in links.items():
        if link is None or link.identity != "user":
            continue
        variable, _unused = opcua_password_names(name)
        if variable in taken:
            yield (
                ("links", name),
                _(
                    "{name} is too like {taken}: both have {variable}; give one of them another name",
                    name=name,
                    taken=taken[variable],
                    variable=variable,
                ),
            )
        taken.setdefault(variable, name)
