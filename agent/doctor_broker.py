"""Whether a broker can be reached, takes the login, and lets this gateway publish under its topics.

One message is published: a line of text to `<topics of this gateway>/doctor`, not retained, under a client name of its
own, so that the connection of a running agent is not taken over. Nothing that is delivered passes through here.
"""

from __future__ import annotations

import queue
import secrets
import time
from collections.abc import Iterator, Mapping
from typing import Any

from agent.condition import NO_RECEIPT, Delivery, without_receipts
from agent.doctor import Finding, coded
from agent.mqtt import Acknowledged, Connected, Connection, Event, Lost, Message, on_this_machine, port_of
from agent.topics import TEXT, base_of
from config.language import N_, _
from config.site import Mqtt

_SECONDS = 15.0
_REFUSED = 128
_NO_PASSWORD = N_(
    "This command knows no password. Give it the agent's (METERSEAL_MQTT_PASSWORD, or a secrets folder), or start the agent "
    "and ask again: then the agent tells."
)


def broker_findings(broker: Mqtt, gateway: str, password: str | None, seconds: float = _SECONDS) -> Iterator[Finding]:
    """Connects once and publishes once.

    Args:
        broker: as in the site file.
        gateway: site and gateway.
        password: of the user; None without one.
        seconds: how long each step may take.
    """
    place = _("broker {name}", name=broker.name)
    where = f"{broker.host}:{port_of(broker)}"
    if not broker.tls and not on_this_machine(broker.host):
        words = _("the connection is not encrypted: whoever listens reads the readings") + (
            _(" and the password") if password else ""
        )
        todo = _("Write  tls: {}  (or with ca:) for this broker, if it can do TLS.")
        yield Finding("look", place, words, todo, "MS-506" if password else "")
    events: queue.Queue[Event] = queue.Queue()
    connection = Connection(broker, f"meterseal-doctor-{secrets.token_hex(4)}", password, None, events.put)
    try:
        connection.open()
        met = _next(events, seconds)
        if isinstance(met, Lost):
            unknown = broker.username and password is None and met.trouble.fault == "MS-503"
            yield Finding("wrong", place, _words(met), _(_NO_PASSWORD) if unknown else met.trouble.hint, met.trouble.fault)
            return
        if not isinstance(met, Connected):
            yield Finding(
                "wrong", place, _("{where} does not answer", where=where), _("Check its address, the cable and the firewall.")
            )
            return
        yield Finding(
            "ok",
            place,
            _("{where} takes the connection{value}", where=where, value=f" of {broker.username}" if broker.username else ""),
        )
        topic = f"{base_of(broker.topic, gateway)}/doctor"
        connection.publish(Message(topic, b"meterseal doctor was here", TEXT))
        yield from coded("MS-505", [_published(place, topic, _next(events, seconds))])
    finally:
        connection.drop()


def told_by_agent(broker: Mqtt, told: Mapping[str, Any]) -> Finding:
    """What the running agent tells of a broker whose password is not known here. `told`: an `agent.condition.Delivery`."""
    place = _("broker {name}", name=broker.name)
    if told["why"]:
        return Finding("wrong", place, told["why"], told["hint"], told["fault"])
    if not told["connected"]:
        return Finding("look", place, _("the agent is just connecting"), _("Ask again in a minute."))
    standing = Delivery(**told)
    if standing.lacks_receipts:
        return Finding("look", place, without_receipts(standing), _(NO_RECEIPT), "MS-511")
    return Finding("ok", place, _("the agent is connected and sends; its password is not known here, so nothing was tried"))


def _published(place: str, topic: str, answer: Event | None) -> Finding:
    todo = _(
        "Give this gateway's user the right to publish to {removesuffix}/# in the broker's access list.",
        removesuffix=topic.removesuffix("/doctor"),
    )
    if isinstance(answer, Acknowledged) and answer.code < _REFUSED:
        return Finding("ok", place, _("publishing to {topic} is allowed", topic=topic))
    if isinstance(answer, Acknowledged):
        return Finding(
            "wrong",
            place,
            _("it refuses what is published to {topic}: {words}", topic=topic, words=answer.words or answer.code),
            todo,
        )
    if isinstance(answer, Lost):
        return Finding(
            "wrong", place, _("it ended the connection when something was published: {words}", words=_words(answer)), todo
        )
    return Finding("wrong", place, _("it does not acknowledge what is published to {topic}", topic=topic), todo)


def _words(lost: Lost) -> str:
    """Why there is no connection, with what the broker says itself."""
    return f"{lost.trouble.why}: {lost.trouble.words}" if lost.trouble.words else lost.trouble.why


def _next(events: queue.Queue[Event], seconds: float) -> Event | None:
    """The next event that says how it went; None: there was none in time."""
    end = time.monotonic() + seconds
    while (rest := end - time.monotonic()) > 0:
        try:
            event = events.get(timeout=rest)
        except queue.Empty:
            return None
        if isinstance(event, Connected | Lost | Acknowledged):
            return event
    return None
