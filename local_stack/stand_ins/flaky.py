"""A queue service in trouble: passes calls on to Azurite, but for those it refuses, and those whose answer it loses."""

import random
from http import HTTPStatus
from typing import TYPE_CHECKING

import aiohttp
from aiohttp import web
from multidict import CIMultiDict, CIMultiDictProxy

if TYPE_CHECKING:
    from collections.abc import Callable

_OWN = {"host", "connection", "content-length", "transfer-encoding", "content-encoding", "date", "server"}
"""Headers of one connection; all others are passed on."""


class FlakyQueues:
    """Stands before a queue service."""

    def __init__(self, service_url: str, session: aiohttp.ClientSession) -> None:
        self._service = service_url
        self._session = session
        self.refused = 0.0
        """The share of calls that are answered 503 and not passed on."""
        self.lost = 0.0
        """The share of calls that are passed on, and whose connection then breaks before the answer."""
        self.fault: Callable[[web.Request], web.Response | None] = lambda _: None
        """Answers a call in the service's place, or leaves it to the service."""
        self.app = web.Application()
        self.app.router.add_route("*", "/{path:.*}", self._pass_on)

    async def _pass_on(self, request: web.Request) -> web.StreamResponse:
        if random.random() < self.refused:
            return web.Response(status=HTTPStatus.SERVICE_UNAVAILABLE, headers={"x-ms-error-code": "ServerBusy"})
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
    """The headers that are not of one connection only."""
    return CIMultiDict((name, value) for name, value in headers.items() if name.lower() not in _OWN)
