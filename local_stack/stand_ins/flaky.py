"""A faulty queue or table service: a proxy to Azurite that refuses some calls and loses some responses."""

import asyncio
import random
from http import HTTPStatus
from typing import TYPE_CHECKING

import aiohttp
from aiohttp import web
from multidict import CIMultiDict, CIMultiDictProxy

if TYPE_CHECKING:
    from collections.abc import Callable

_OWN = {"host", "connection", "content-length", "transfer-encoding", "content-encoding", "date", "server"}
"""Headers that belong to one connection; all others are forwarded."""


class FlakyQueues:
    """The proxy in front of a queue service, or a table service."""

    def __init__(self, service_url: str, session: aiohttp.ClientSession) -> None:
        self._service = service_url
        self._session = session
        self.refused = 0.0
        """The share of calls that are refused with 503."""
        self.lost = 0.0
        """The share of calls that are forwarded, but whose connection is dropped before the response."""
        self.stalled = 0.0
        """The share of calls that are never answered."""
        self.fault: Callable[[web.Request], web.Response | None] = lambda _: None
        """Returns a response in place of the service's, or None to forward the call."""
        self.app = web.Application()
        self.app.router.add_route("*", "/{path:.*}", self._pass_on)

    async def _pass_on(self, request: web.Request) -> web.StreamResponse:
        if random.random() < self.refused:
            return web.Response(status=HTTPStatus.SERVICE_UNAVAILABLE, headers={"x-ms-error-code": "ServerBusy"})
        if random.random() < self.stalled:
            await asyncio.Event().wait()
        if fault := self.fault(request):
            return fault
        headers = without_own(request.headers)
        url = self._service + str(request.rel_url)
        try:
            async with self._session.request(request.method, url, data=await request.read(), headers=headers) as answer:
                body = await answer.read()
        except aiohttp.ClientError:
            return self._broken(request)
        if random.random() < self.lost:
            return self._broken(request)
        return web.Response(status=answer.status, body=body, headers=without_own(answer.headers))

    @staticmethod
    def _broken(request: web.Request) -> web.Response:
        if request.transport:
            request.transport.abort()
        return web.Response()


def without_own(headers: CIMultiDictProxy[str]) -> CIMultiDict[str]:
    """The headers without those that belong to one connection."""
    return CIMultiDict((name, value) for name, value in headers.items() if name.lower() not in _OWN)
