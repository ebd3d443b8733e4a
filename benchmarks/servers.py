"""The servers, in their own process: they respond like the real ones, as quickly as aiohttp can.

Prints their settings as JSON, and serves until its standard input ends.
"""

import asyncio
import json
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from aiohttp import web

from benchmarks.documents import DOCUMENTS, SEED_ID, TOKEN_LENGTH
from local_stack.stand_ins.certificates import Authority
from local_stack.stand_ins.serving import HOST

_PUT = b"""<?xml version="1.0" encoding="utf-8"?><QueueMessagesList><QueueMessage>\
<MessageId>5974b586-0df3-4e2d-ad0c-18e3892bfca2</MessageId><InsertionTime>Mon, 23 Nov 2026 10:00:00 GMT</InsertionTime>\
<ExpirationTime>Fri, 31 Dec 9999 23:59:59 GMT</ExpirationTime><PopReceipt>YzQ4Yzg1MDIGM0MDFiZDAwYzEw</PopReceipt>\
<TimeNextVisible>Mon, 23 Nov 2026 10:00:00 GMT</TimeNextVisible></QueueMessage></QueueMessagesList>"""
_ROW = {
    "odata.etag": "W/\"datetime'2026-11-23T10%3A00%3A00.0000000Z'\"",
    "PartitionKey": SEED_ID,
    "RowKey": "referral",
    "EventId": f"{SEED_ID}@{SEED_ID}",
    "Sequence": "2018-01-01T00:00:00.000000Z",
    "Status": "New",
    "Substatus": "Pending",
    "Key": "00" * 16,
    "Fields": json.dumps({f"field{number}": "0" * 16 for number in range(25)}),
    "Attributes": "{}",
}
_HOUR = 3600

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


async def _referral(request: web.BaseRequest) -> web.StreamResponse:
    """A document after `delay` seconds."""
    parts = request.path.split("/")  # /{document}/{delay}/{referralId}
    await asyncio.sleep(float(parts[2]))
    return web.Response(body=DOCUMENTS[parts[1]], content_type="application/json")


class _Queues:
    """Takes messages, and counts them."""

    def __init__(self) -> None:
        self._count = 0
        self._waiting: list[tuple[int, asyncio.Future[None]]] = []

    async def respond(self, request: web.BaseRequest) -> web.StreamResponse:
        """Take a message; or answer `GET /{count}`, with how many there are, as soon as there are so many."""
        if request.method == "GET":
            await self._reach(int(request.path.strip("/")))
            return web.json_response(self._count)
        await request.read()
        self._count += 1
        for count, reached in self._waiting:
            if self._count >= count and not reached.done():
                reached.set_result(None)
        return web.Response(status=201, body=_PUT, content_type="application/xml")

    async def _reach(self, count: int) -> None:
        if self._count < count:
            waiter = count, asyncio.get_running_loop().create_future()
            self._waiting.append(waiter)
            await waiter[1]
            self._waiting.remove(waiter)


async def _table(request: web.BaseRequest) -> web.StreamResponse:
    """A table whose row of every referral knows another version, so that each event is compared and the row written."""
    await request.read()
    if "pause" in request.path:
        return web.Response(status=404)
    return web.json_response(_ROW) if request.method == "GET" else web.Response(status=204)


async def _token(request: web.BaseRequest) -> web.StreamResponse:
    resource = parse_qs(request.query_string)["resource"][0]
    expires = str(int(time.time()) + 24 * _HOUR)
    return web.json_response(
        {"access_token": "t" * TOKEN_LENGTH, "expires_on": expires, "resource": resource, "token_type": "Bearer"}
    )


async def _serve() -> None:
    with tempfile.TemporaryDirectory() as folder:
        authority = Authority(Path(folder))
        urls = {}
        for name, handler, tls in (
            ("upstream", _referral, authority.server_context()),
            ("queues", _Queues().respond, authority.server_context()),
            ("table", _table, authority.server_context()),
            ("identity", _token, None),
        ):
            runner = web.ServerRunner(web.Server(handler))
            await runner.setup()
            await web.TCPSite(runner, HOST, 0, ssl_context=tls).start()
            urls[name] = f"{'https' if tls else 'http'}://{HOST}:{runner.addresses[0][1]}"
        sys.stdout.write(json.dumps(_settings(urls, str(authority.root))) + "\n")
        sys.stdout.flush()
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


def _settings(urls: dict[str, str], root: str) -> dict[str, str]:
    return {
        "REFERRALS_AUTH": "managed-identity",
        "REFERRALS_URL": f"{urls['upstream']}/seed/0/{{referralId}}",
        "EVENTS_URL": f"{urls['queues']}/account/referral-events",
        "REJECTS_URL": f"{urls['queues']}/account/referral-rejects",
        "REQUESTS_URL": f"{urls['queues']}/account/referral-requests",
        "TABLE_URL": f"{urls['table']}/account/referrals",
        "IDENTITY_ENDPOINT": f"{urls['identity']}/msi/token",
        "IDENTITY_HEADER": "x",
        "SSL_CERT_FILE": root,
        "REQUESTS_CA_BUNDLE": root,
        "NO_PROXY": urlsplit(urls["queues"]).hostname or "",
    }


if __name__ == "__main__":
    asyncio.run(_serve())
