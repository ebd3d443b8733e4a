"""The proxy to the app's HTTP API. It records what callers ask for and get, which the app's log does not say."""

import json
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

import aiohttp
from aiohttp import web

from local_stack.demo.http_rules import error, json_object
from local_stack.demo.record_stream import RecordStream
from local_stack.stand_ins.flaky import without_own

_MAX_SHOWN = 100
"""Characters of an ID that somebody sends."""


class AppCalls:
    """Passes calls on to the app."""

    def __init__(self, session: aiohttp.ClientSession, records: RecordStream, app_url: Callable[[], str]) -> None:
        self._session = session
        self._records = records
        self._app_url = app_url

    async def forward(self, request: web.Request) -> web.Response:
        """Proxy a call for the referral in the path, and record the call and its response."""
        return await self._forward(request, request.match_info["id"].lower()[:_MAX_SHOWN])

    async def request(self, request: web.Request) -> web.Response:
        """Proxy a call for one referral or several in the body, and record what becomes of each."""
        body = await json_object(request)
        if "referralIds" not in body:
            return await self._forward(request, str(body.get("referralId")).lower()[:_MAX_SHOWN])
        response = await self.proxy(request)
        ids = body["referralIds"] if isinstance(body["referralIds"], list) else []
        for result in _json(response).get("results", []):
            if result["status"] == "queued":
                self._records.add("received", referralId=result["referralId"], by="batch")
                continue
            item = str(ids[result["index"]])[:_MAX_SHOWN]
            self._records.add(
                "refused", messageId=f"batch item {item}", what="Item of a batch", detail=result["detail"]
            )
        return response

    async def _forward(self, request: web.Request, referral_id: str) -> web.Response:
        self._records.add("received", referralId=referral_id, by="HTTP")
        response = await self.proxy(request)
        problem = _json(response) if response.status >= HTTPStatus.BAD_REQUEST else {}
        self._records.add(
            "responded",
            referralId=referral_id,
            status=response.status,
            reason=str(problem.get("type", "")).rpartition(":")[2],
            detail=problem.get("detail") or problem.get("error") or "",
        )
        return response

    async def proxy(self, request: web.Request) -> web.Response:
        """Pass a call on, and its response back."""
        body, headers = await request.read(), without_own(request.headers)
        url = self._app_url() + str(request.rel_url)
        try:
            async with self._session.request(
                request.method, url, data=body, headers=headers, allow_redirects=False
            ) as response:
                headers = without_own(response.headers)
                return web.Response(status=response.status, body=await response.read(), headers=headers)
        except aiohttp.ClientError:
            return error(
                "The app does not answer. A dead worker is replaced soon; the terminal of `make run` says more.",
                HTTPStatus.BAD_GATEWAY,
            )


def _json(response: web.Response) -> dict[str, Any]:
    """The members of a response's JSON body; none if it is anything else."""
    try:
        document = json.loads(response.body if isinstance(response.body, bytes) else b"")
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}
