"""A Service Bus namespace with the documented features that this app and its host use.

What the app uses is the documented REST interface. Its host uses AMQP in the real world; here that is `_receive`, and
the documented calls that renew, complete and abandon a message.
"""

import asyncio
import itertools
import json
import time
import uuid
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Any

import jwt
from aiohttp import web

from local_stack.stand_ins.service_bus_entity import Entity, Stored
from local_stack.stand_ins.tokens import Issuer

__all__ = ["BusQueue", "DeadLetters", "Entity", "ServiceBus", "Stored"]

AUDIENCE = "https://servicebus.azure.net"
MAX_ID = 128
MAX_PROPERTIES = 64 * 1024
"""Bytes of all properties together."""

_STANDARD = {
    *("accept", "accept-encoding", "authorization", "brokerproperties", "connection", "content-length"),
    *("content-type", "date", "expect", "host", "transfer-encoding", "user-agent"),
}
_BROKER = {
    *("MessageId", "SessionId", "CorrelationId", "Label", "To", "ReplyTo", "ReplyToSessionId", "PartitionKey"),
    *("TimeToLive", "TimeToLiveTimeSpan", "ScheduledEnqueueTimeUtc", "ViaPartitionKey", "ForcePersistence"),
}


class ServiceBus:
    """One namespace."""

    def __init__(self, issuer: Issuer) -> None:
        self._issuer = issuer
        self.numbers = itertools.count(1)
        self._down_until = 0.0
        self.entities: dict[str, Entity] = {}
        self.url = ""
        """Its base URL, once it is served."""
        self.app = web.Application(client_max_size=100 * 1024 * 1024)
        self.app.router.add_post("/{entity}/messages", self._send)
        self.app.router.add_post("/{entity}/messages/head", self._peek_lock)
        self.app.router.add_delete("/{entity}/messages/{number}/{lock}", self._complete)
        self.app.router.add_put("/{entity}/messages/{number}/{lock}", self._abandon)
        self.app.router.add_post("/{entity}/messages/{number}/{lock}", self._renew)
        self.app.router.add_post("/{entity}/_receive", self._receive)

    @property
    def namespace(self) -> str:
        """Its host and port."""
        return self.url.removeprefix("https://")

    async def restart(self) -> None:
        """Be unavailable for a second, and release all locks."""
        self._down_until = time.time() + 1
        for entity in self.entities.values():
            for message in entity.messages:
                message.lock, message.locked_until = None, 0
        await asyncio.sleep(1)

    def _entity(self, request: web.Request) -> Entity:
        if time.time() < self._down_until:
            raise _refused(web.HTTPServiceUnavailable, "The service is unable to process the request")
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        try:
            self._issuer.check(token if scheme == "Bearer" else "", AUDIENCE)
        except jwt.InvalidTokenError:
            raise _refused(web.HTTPUnauthorized, "40103: Invalid authorization token signature") from None
        try:
            return self.entities[request.match_info["entity"]]
        except KeyError:
            raise _refused(web.HTTPGone, "No such entity") from None

    async def _send(self, request: web.Request) -> web.Response:
        entity = self._entity(request)
        if entity.refuses:
            raise _refused(web.HTTPServiceUnavailable, "The service is unable to process the request")
        broker, properties = _broker_properties(request), _custom_properties(request)
        body = await request.read()
        if not request.headers.get("Content-Type"):
            raise _refused(web.HTTPBadRequest, "Content-Type is missing")
        if entity.sessions and not broker.get("SessionId"):
            raise _refused(web.HTTPBadRequest, "The SessionId was not set on a message")
        described = len(json.dumps(broker)) + sum(len(name) + len(str(value)) for name, value in properties.items())
        if len(body) + described > entity.max_message or described > MAX_PROPERTIES:
            raise _refused(web.HTTPForbidden, "MessageSizeExceeded")
        if sum(len(message.body) for message in entity.messages) + len(body) > entity.capacity:
            raise _refused(web.HTTPForbidden, "QuotaExceeded: the maximum entity size has been reached")
        now = time.time()
        entity.seen = {name: until for name, until in entity.seen.items() if until > now}
        message_id = broker["MessageId"]
        if message_id in entity.seen:
            entity.dropped += 1
            return web.Response(status=HTTPStatus.CREATED)
        if entity.dedup_seconds:
            entity.seen[message_id] = now + entity.dedup_seconds
        due = broker.pop("ScheduledEnqueueTimeUtc", now)
        content_type = request.headers["Content-Type"]
        entity.messages.append(Stored(next(self.numbers), body, broker, properties, content_type, due))
        entity.messages.sort(key=lambda message: (message.due, message.sequence_number))
        return web.Response(status=HTTPStatus.CREATED)

    async def _peek_lock(self, request: web.Request) -> web.Response:
        entity = self._entity(request)
        if entity.sessions:
            raise _refused(web.HTTPBadRequest, "It is not possible for an entity that requires sessions")
        locked = self._lock(entity, 1)
        if not locked:
            return web.Response(status=HTTPStatus.NO_CONTENT)
        message = locked[0]
        headers = {
            "BrokerProperties": json.dumps(_received(message)),
            "Location": f"{self.url}/{entity.name}/messages/{message.sequence_number}/{message.lock}",
            **{name: json.dumps(value) for name, value in message.properties.items()},
        }
        return web.Response(
            status=HTTPStatus.CREATED,
            body=message.body,
            headers={**headers, "Content-Type": message.content_type},
        )

    async def _receive(self, request: web.Request) -> web.Response:
        """For the host's listener: up to `max` messages, locked. It does not know sessions."""
        entity = self._entity(request)
        if entity.sessions:
            raise _refused(web.HTTPBadRequest, "It is not possible for an entity that requires sessions")
        return web.json_response(
            [
                {
                    "body": message.body.decode("latin-1"),
                    "properties": message.properties,
                    "contentType": message.content_type,
                    **_received(message),
                }
                for message in self._lock(entity, int(request.query["max"]))
            ]
        )

    @staticmethod
    def _lock(entity: Entity, most: int) -> list[Stored]:
        now = time.time()
        locked = []
        for message in entity.visible(now):
            if message.delivery_count >= entity.max_delivery_count:
                entity.messages.remove(message)
                entity.dead_letters.append(message)
                continue
            message.delivery_count += 1
            message.lock, message.locked_until = str(uuid.uuid4()), now + entity.lock_seconds
            locked.append(message)
            if len(locked) == most:
                break
        return locked

    def _held(self, request: web.Request) -> tuple[Entity, Stored]:
        entity = self._entity(request)
        for message in entity.messages:
            if str(message.sequence_number) == request.match_info["number"]:
                if message.lock == request.match_info["lock"] and message.locked_until > time.time():
                    return entity, message
                break
        raise _refused(web.HTTPNotFound, "The lock supplied is invalid")

    async def _complete(self, request: web.Request) -> web.Response:
        entity, message = self._held(request)
        entity.messages.remove(message)
        return web.Response()

    async def _abandon(self, request: web.Request) -> web.Response:
        _, message = self._held(request)
        message.lock, message.locked_until = None, 0
        return web.Response()

    async def _renew(self, request: web.Request) -> web.Response:
        entity, message = self._held(request)
        message.locked_until = time.time() + entity.lock_seconds
        return web.Response()


def _broker_properties(request: web.Request) -> dict[str, Any]:
    try:
        broker = json.loads(request.headers.get("BrokerProperties", "{}"))
        if not isinstance(broker, dict) or set(broker) - _BROKER:
            raise ValueError
        broker.setdefault("MessageId", uuid.uuid4().hex)
        for name in ("MessageId", "SessionId", "CorrelationId", "PartitionKey"):
            if not isinstance(broker.get(name, ""), str) or len(broker.get(name, "")) > MAX_ID:
                raise ValueError
        if "PartitionKey" in broker and broker.get("SessionId", broker["PartitionKey"]) != broker["PartitionKey"]:
            raise ValueError
        if "ScheduledEnqueueTimeUtc" in broker:
            if not broker["ScheduledEnqueueTimeUtc"].endswith(" GMT"):
                raise ValueError
            broker["ScheduledEnqueueTimeUtc"] = parsedate_to_datetime(broker["ScheduledEnqueueTimeUtc"]).timestamp()
    except (ValueError, TypeError, AttributeError):
        raise _refused(web.HTTPBadRequest, "BrokerProperties are malformed") from None
    return broker


def _custom_properties(request: web.Request) -> dict[str, Any]:
    """All non-standard headers are properties; string values are quoted."""
    properties = {}
    for name, value in request.headers.items():
        if name.lower() not in _STANDARD:
            try:
                properties[name] = json.loads(value)
            except ValueError:
                raise _refused(web.HTTPBadRequest, f"The property {name} is malformed") from None
    return properties


def _received(message: Stored) -> dict[str, Any]:
    return {
        **message.broker,
        "SequenceNumber": message.sequence_number,
        "DeliveryCount": message.delivery_count,
        "LockToken": message.lock,
        "LockedUntilUtc": datetime.fromtimestamp(message.locked_until, UTC).isoformat(),
    }


def _refused(kind: type[web.HTTPError], detail: str) -> web.HTTPError:
    text = f"<Error><Code>{kind.status_code}</Code><Detail>{detail}</Detail></Error>"
    return kind(text=text, content_type="application/xml")


class BusQueue:
    """A queue in the namespace, for tests and demonstrations."""

    def __init__(self, bus: ServiceBus, entity: Entity) -> None:
        bus.entities[entity.name] = self.entity = entity
        self._bus = bus
        self.name = entity.name
        self.url = f"sb://{bus.namespace}/{entity.name}"

    async def send(self, text: str) -> None:
        """Send a message unchanged."""
        session = {"SessionId": str(uuid.uuid4())} if self.entity.sessions else {}
        broker = {"MessageId": uuid.uuid4().hex, **session}
        number = next(self._bus.numbers)
        self.entity.messages.append(Stored(number, text.encode(), broker, {}, "text/plain", time.time()))
        await asyncio.sleep(0)

    async def texts(self) -> list[str]:
        """The visible messages."""
        return [message.body.decode() for message in self.entity.visible(time.time())]

    async def documents(self) -> list[Any]:
        """The visible messages, parsed as JSON."""
        return [json.loads(text) for text in await self.texts()]

    async def peek(self) -> list[tuple[str, Any]]:
        """The visible messages: their sequence numbers, and what they say as JSON. They stay where they are."""
        visible = self.entity.visible(time.time())
        return [(f"{self.name} {message.sequence_number}", json.loads(message.body)) for message in visible]

    async def count(self) -> int:
        """The number of messages, scheduled and locked ones included."""
        return len(self.entity.messages)

    async def take(self) -> Any | None:
        """Remove a message and return it as JSON; None if none is visible."""
        visible = self.entity.visible(time.time())
        if not visible:
            return None
        self.entity.messages.remove(visible[0])
        return json.loads(visible[0].body)

    async def clear(self) -> None:
        """Remove all messages, scheduled and locked ones included."""
        self.entity.messages.clear()


class DeadLetters:
    """A queue's dead letters."""

    def __init__(self, queue: BusQueue) -> None:
        self.name = f"{queue.name}/$deadletterqueue"
        self.url = queue.url
        self._entity = queue.entity

    async def count(self) -> int:
        """The number of dead letters."""
        return len(self._entity.dead_letters)

    async def clear(self) -> None:
        """Remove all dead letters."""
        self._entity.dead_letters.clear()
