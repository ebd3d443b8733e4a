"""The host's web site: HTTP-triggered functions, and the admin endpoint that starts a timer's function.

Sources: `GrpcMessageConversionExtensions.ToRpcHttp`, `WebScriptHostHttpRoutesManager` and `FunctionsController` of the
Functions host; that routes ignore case is ASP.NET Core's rule. Like Core Tools, the site asks for no keys.
"""

import json
import re
import secrets
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from http import HTTPStatus
from urllib.parse import unquote

from aiohttp import web

from local_stack.host import wire
from local_stack.host.channel import Call, InvocationError
from local_stack.host.dispatcher import Function, Invoker

MAX_BODY = 100 * 1024 * 1024
_TRACE_PARENT = re.compile(r"00-([0-9a-f]{32})-[0-9a-f]{16}-([0-9a-f]{2})\Z")


@dataclass(frozen=True)
class Route:
    """The route of an HTTP-triggered function."""

    function: Function
    segments: tuple[str, ...]
    methods: frozenset[str]

    def match(self, path: list[str]) -> dict[str, str] | None:
        """The route's parameters, if the path is this route's; case does not matter outside of parameters."""
        if len(path) != len(self.segments):
            return None
        params = {}
        for segment, part in zip(self.segments, path, strict=True):
            if segment.startswith("{"):
                params[segment.strip("{}")] = part
            elif segment.lower() != part.lower():
                return None
        return params


class HttpSite:
    """Serves an app's HTTP-triggered functions."""

    def __init__(self, dispatcher: Invoker, prefix: str) -> None:
        self._dispatcher = dispatcher
        self._prefix = prefix
        self._routes: list[Route] = []
        self.timers: dict[str, Callable[[], Awaitable[None]]] = {}
        """What runs a timer's function, by the function's name in lower case."""

    def add(self, functions: Iterable[Function]) -> None:
        """Map the routes of HTTP-triggered functions. A literal segment goes before a parameter."""
        for function in functions:
            trigger = function.trigger
            route = f"{self._prefix}/{trigger.get('route') or function.name}".strip("/")
            methods = frozenset(method.upper() for method in trigger.get("methods") or [])
            self._routes.append(Route(function, tuple(route.split("/")), methods))
        self._routes.sort(key=lambda route: [segment.startswith("{") for segment in route.segments])

    def application(self) -> web.Application:
        """The site."""
        site = web.Application(client_max_size=MAX_BODY)
        site.router.add_post("/admin/functions/{name}", self._run_function)
        site.router.add_route("*", r"/{path:[\s\S]*}", self._call)
        return site

    async def _run_function(self, request: web.Request) -> web.Response:
        """Start a function by its name, and do not wait for it."""
        try:
            json.loads(await request.read())
        except ValueError:
            return web.Response(status=HTTPStatus.BAD_REQUEST)
        run = self.timers.get(request.match_info["name"].lower())
        if not run:
            return web.Response(status=HTTPStatus.NOT_FOUND)
        await run()
        return web.Response(status=HTTPStatus.ACCEPTED)

    async def _call(self, request: web.Request) -> web.Response:
        path = [_decoded(part) for part in request.url.raw_path.strip("/").split("/")]
        for route in self._routes:
            params = route.match(path)
            if params is not None and (request.method in route.methods or not route.methods):
                return await self._invoke(route.function, request, params)
        return web.Response(status=HTTPStatus.NOT_FOUND)

    async def _invoke(self, function: Function, request: web.Request, params: dict[str, str]) -> web.Response:
        http = await _rpc_http(request, params)
        inputs: dict[str, wire.TypedData] = {function.trigger["name"]: {"http": http}}
        metadata = {name: wire.string(value) for name, value in params.items()}
        trace = _child_of(request.headers.get("traceparent", "")), request.headers.get("tracestate", "")
        try:
            returned = await self._dispatcher.invoke(
                Call(function.id, function.name, inputs, metadata, *trace),
                "This function was programmatically called via the host APIs.",
            )
        except InvocationError:
            return web.Response(status=HTTPStatus.INTERNAL_SERVER_ERROR)
        return _response(returned)


def new_trace_parent() -> str:
    """A new trace."""
    return f"00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-00"


def _child_of(trace_parent: str) -> str:
    """The caller's trace with a span of the host's, which is what the function sees as its parent."""
    match = _TRACE_PARENT.match(trace_parent)
    return f"00-{match[1]}-{secrets.token_hex(8)}-{match[2]}" if match else new_trace_parent()


async def _rpc_http(request: web.Request, params: dict[str, str]) -> dict[str, object]:
    """The request as the worker sees it: without its body, unless a Content-Length says that there is one."""
    query = {name: ",".join(request.query.getall(name)) for name in request.query}
    return {
        "method": request.method,
        "url": str(request.url),
        "headers": {name.lower(): ",".join(request.headers.getall(name)) for name in request.headers},
        "query": {name: value for name, value in query.items() if value},
        "params": params,
        "body": wire.binary(await request.read()) if request.content_length else {},
    }


def _response(returned: wire.TypedData | None) -> web.Response:
    http = (returned or {}).get("http")
    if http is None:  # a function that returns nothing, or something that is no response
        return web.Response(status=HTTPStatus.NO_CONTENT if returned is None else HTTPStatus.OK)
    return web.Response(status=int(http["status_code"]), headers=http["headers"], body=wire.to_bytes(http["body"]))


def _decoded(part: str) -> str:
    """A segment of a path, decoded; an encoded slash stays encoded, as ASP.NET Core leaves it."""
    return "%2F".join(unquote(piece) for piece in re.split("%2f", part, flags=re.IGNORECASE))
