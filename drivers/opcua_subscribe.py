"""A subscription at an OPC UA server: told of every change of some nodes, the bytes kept as they arrived.

 1. One subscription, with an item for each node that is watched; the server samples each, queues its changes and throws
    the oldest away when the queue is full, and says so with the Overflow bit of the next one.
 2. A subscription is never repaired: whatever is wrong with it ends `follow`, and the next one begins anew. A message that
    is missing in the count of messages is such a fault.
 3. No change is never taken for a sign of life: a session is alive by its Reads.

Imported only where an OPC UA link is configured, as asyncua is.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from asyncua import ua
from asyncua.common.utils import Buffer
from asyncua.ua.attribute_ids import AttributeIds
from asyncua.ua.ua_binary import nodeid_from_binary, struct_from_binary

from config.language import _
from drivers.errors import BadFrame, Refused
from drivers.opcua_changes import Told, Watched, published
from drivers.opcua_status import cause_of, is_bad

Ask = Callable[[Any, float], Awaitable[bytes]]
_KEEP_ALIVE_MS = 5_000
_LIFETIMES = 30  # a subscription that we do not ask any more ends by itself after so many of them
_LONGEST_PUBLISHING_MS = 1_000
_LAST_SEQUENCE = 0xFFFFFFFF
NO_QUEUE = "no_queue"


async def follow(ask: Ask, timeout_s: float, watched: Sequence[Watched], told: Told) -> None:
    """Subscribes, and tells every change until `goes_on` says no.

    Args:
        ask: sends a request and gives the body of its answer, within so many seconds.
        timeout_s: how long an answer may take.
        watched: the nodes; their places are their numbers.
        told: what is done with it.

    Raises:
        UaError, OSError, TimeoutError: the server refused, or the connection is gone.
        Refused, BadFrame: what the server published is a no, or no sound message.
    """
    number, alive_s = await _subscribed(ask, timeout_s, watched)
    try:
        told.begun(await _items(ask, timeout_s, number, watched))
        await _publish(ask, timeout_s + 2 * alive_s, number, told)
    finally:
        with contextlib.suppress(Exception, asyncio.CancelledError):  # the session may be gone; then so is it
            gone = ua.DeleteSubscriptionsRequest(Parameters=ua.DeleteSubscriptionsParameters(SubscriptionIds=[number]))
            await ask(gone, min(timeout_s, 1.0))


async def _subscribed(ask: Ask, timeout_s: float, watched: Sequence[Watched]) -> tuple[int, float]:
    """The number of a new subscription, and how many seconds it may stay silent."""
    publishing = min(_LONGEST_PUBLISHING_MS, *(each.sampling_ms for each in watched))
    alive = max(1, _KEEP_ALIVE_MS // publishing)
    wanted = ua.CreateSubscriptionParameters(
        RequestedPublishingInterval=float(publishing),
        RequestedLifetimeCount=alive * _LIFETIMES,
        RequestedMaxKeepAliveCount=alive,
        MaxNotificationsPerPublish=0,
        PublishingEnabled=True,
        Priority=0,
    )
    body = await ask(ua.CreateSubscriptionRequest(Parameters=wanted), timeout_s)
    made = struct_from_binary(ua.CreateSubscriptionResponse, Buffer(body)).Parameters
    return made.SubscriptionId, made.RevisedMaxKeepAliveCount * made.RevisedPublishingInterval / 1000


async def _items(ask: Ask, timeout_s: float, number: int, watched: Sequence[Watched]) -> dict[int, str]:
    """Has the nodes watched. Returns the numbers of those that are not, or not as asked for, with the cause."""
    items = [_item(place, each) for place, each in enumerate(watched)]
    wanted = ua.CreateMonitoredItemsParameters(
        SubscriptionId=number, TimestampsToReturn=ua.TimestampsToReturn.Both, ItemsToCreate=items
    )
    body = await ask(ua.CreateMonitoredItemsRequest(Parameters=wanted), timeout_s)
    results = struct_from_binary(ua.CreateMonitoredItemsResponse, Buffer(body)).Results
    if len(results) != len(items):
        raise BadFrame("wrong_length", _("the server watches {results} of {items} nodes", results=len(results), items=len(items)))
    refused: dict[int, str] = {}
    for place, result in enumerate(results):
        if is_bad(result.StatusCode.value):
            refused[place] = cause_of(result.StatusCode.value)
        elif result.RevisedQueueSize < 2:  # with room for one alone a loss is not told (OPC 10000-4, 5.12.1.5)
            refused[place] = NO_QUEUE
    return refused


def _item(place: int, watched: Watched) -> Any:
    node = ua.ReadValueId(nodeid_from_binary(Buffer(watched.node)), AttributeIds.Value)
    # Any change of value or status; by default a server leaves none of them out.
    how = ua.MonitoringParameters(
        ClientHandle=place, SamplingInterval=float(watched.sampling_ms), QueueSize=watched.queue, DiscardOldest=True
    )
    return ua.MonitoredItemCreateRequest(ItemToMonitor=node, MonitoringMode=ua.MonitoringMode.Reporting, RequestedParameters=how)


async def _publish(ask: Ask, timeout_s: float, number: int, told: Told) -> None:
    """Takes what the server publishes, one message after the other, each acknowledged with the next question."""
    received: list[Any] = []
    expected = 1
    while told.goes_on():
        parameters = ua.PublishParameters(SubscriptionAcknowledgements=received)
        message = published(await ask(ua.PublishRequest(Parameters=parameters), timeout_s))
        received = []
        if message.subscription != number:
            continue  # the farewell of one before
        if message.sequence != expected:
            raise Refused(
                "message_missing",
                _(
                    "message {expected} of the subscription is missing, {sequence} came",
                    expected=expected,
                    sequence=message.sequence,
                ),
            )
        for place, value in message.changes:
            told.changed(place, value)
        if message.notifications:  # one without any is a sign of life, and has the number of the next that brings some
            received = [ua.SubscriptionAcknowledgement(SubscriptionId=number, SequenceNumber=message.sequence)]
            expected = 1 if expected == _LAST_SEQUENCE else expected + 1
