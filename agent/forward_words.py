"""What delivery to one broker tells: how it stands, and to the journal each thing once as long as it stays the same."""

from __future__ import annotations

from dataclasses import dataclass

from structlog.typing import FilteringBoundLogger

from agent.broker_words import BLIND, BLIND_HINT
from agent.mqtt import Message, on_this_machine, port_of
from agent.mqtt_words import NOBODY_LISTENS, Trouble
from agent.topics import Tree
from agent.window import Parcel
from config.language import _
from config.site import Mqtt


@dataclass(frozen=True, slots=True)
class State:
    """How delivery to one broker stands.

    Attributes:
        connected: whether the broker has taken the connection.
        next_n: the first record that it has not acknowledged.
        why, hint: what is in the way at present and what to do; empty while all is well.
        words: what the broker says about it itself; empty if it says nothing.
        beyond: how many records behind that one it has acknowledged.
        code: the MQTT reason code of what is in the way; 0 where there is none.
        fault: the fault that it is, where that is more than the kind of trouble tells; else empty.
    """

    connected: bool
    next_n: int
    why: str
    hint: str
    words: str
    beyond: int = 0
    code: int = 0
    fault: str = ""


class Teller:
    """Tells what happens to the delivery to one broker."""

    def __init__(self, destination: Mqtt, tree: Tree, log: FilteringBoundLogger) -> None:
        self._destination = destination
        self._tree = tree
        self._log = log.bind(destination=destination.name, host=f"{destination.host}:{port_of(destination)}")
        self._no_connection: Trouble | None = None
        self._said: set[tuple[str, int]] = set()

    def begin(self, has_password: bool) -> None:
        """What the site file asks for and a person should think over."""
        if has_password and not self._destination.tls and not on_this_machine(self._destination.host):
            why = _("the password goes over the network unencrypted")
            self._log.warning("forward.password_in_clear", why=why, hint=_("Write `tls:` for this broker in site.yaml."))
        if self._destination.version != "5":
            self._log.warning("forward.old_version", why=_(BLIND), hint=_(BLIND_HINT))

    def connected(self, next_n: int, waiting: int) -> None:
        """The broker took the connection."""
        self._no_connection = None
        self._log.info("forward.connected", next_n=next_n, waiting=waiting)

    def lost(self, trouble: Trouble, was_connected: bool) -> None:
        """There is no connection, or none any more."""
        if was_connected:
            self._log.warning("forward.lost", **trouble.told())
        elif trouble != self._no_connection:
            self._log.error("forward.cannot_connect", **trouble.told())
            self._no_connection = trouble

    def refused(self, parcel: Parcel, trouble: Trouble) -> None:
        """The broker refuses records."""
        self._log.error("forward.refused", n=parcel.numbers[0], topic=parcel.message.topic, **trouble.told())

    def copy_refused(self, message: Message, trouble: Trouble) -> None:
        """The broker refuses a retained copy."""
        if self._first_time(self._tree.part_of(message), trouble.code):
            self._log.error("forward.refused", retained=True, topic=message.topic, **trouble.told())

    def nobody_listens(self, message: Message) -> None:
        """The broker has no subscriber for a record."""
        if self._first_time(self._tree.part_of(message), NOBODY_LISTENS):
            hint = _(
                "Subscribe to {base}/# where the readings are collected; until then the broker throws them away.",
                base=self._tree.base,
            )
            self._log.warning("forward.nobody_listens", topic=message.topic, hint=hint)

    def _first_time(self, place: str, code: int) -> bool:
        """Whether this has not been said since the agent began."""
        if (place, code) in self._said:
            return False
        self._said.add((place, code))
        return True
