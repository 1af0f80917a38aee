"""asyncua's client, told why a server does not open a secure channel.

A server that does not take our certificate answers the request for a channel with a fault, and the fault's status says
why: not trusted, not valid by the server's clock, ... asyncua 2.1.0 takes that answer for a damaged one and drops the
status with it. Here the status reaches the caller, as it does for all other services.

Imported only where an OPC UA link is configured.
"""

from __future__ import annotations

from asyncua import ua
from asyncua.client.client import Client
from asyncua.client.ua_client import UaClient, UASocketProtocol
from asyncua.common.shortcuts import Shortcuts


class _Channel(UASocketProtocol):
    """The connection. Raises the status of a refused channel where it arrives: whoever waits for the answer gets it."""

    def _process_received_message(self, msg: ua.Message | ua.Acknowledge | ua.ErrorMessage | None) -> None:
        asked = self._open_secure_channel_exchange
        first = isinstance(asked, ua.OpenSecureChannelParameters) and asked.RequestType == ua.SecurityTokenRequestType.Issue
        if first and isinstance(msg, ua.Message):
            body = msg.body()  # type: ignore[no-untyped-call]  # asyncua states no types there
            self.check_answer(body, " in response to OpenSecureChannelRequest")
        super()._process_received_message(msg)


class _Transport(UaClient):
    def _make_protocol(self) -> UASocketProtocol:
        self.protocol = _Channel(self._timeout, security_policy=self.security_policy)
        self.protocol.pre_request_hook = self._pre_request_hook
        self.protocol.on_connection_lost = self._on_transport_lost
        self.protocol.is_session_closing = self._is_session_closing
        return self.protocol


class TellingClient(Client):
    """asyncua's `Client`; a refused channel raises UaStatusCodeError with the server's status."""

    def __init__(self, url: str, timeout: float) -> None:
        super().__init__(url, timeout=timeout)
        self.uaclient = _Transport(timeout)
        self.uaclient.pre_request_hook = self._wait_until_ready
        self.nodes = Shortcuts(self.uaclient.session)
