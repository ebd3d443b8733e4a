"""HTTP functions that serve the OpenAPI description and the event schemas."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import azure.functions as func

if TYPE_CHECKING:
    from referral_fn.api.handlers import Response


def register(functions: func.FunctionApp, as_azure: Callable[["Response"], func.HttpResponse]) -> None:
    """Add the functions. They need no key, and work whatever the settings.

    Args:
        functions: the function app.
        as_azure: makes an answer one of Azure Functions.
    """

    @functions.function_name("openapi")
    @functions.route("openapi.json", methods=["GET"], auth_level=func.AuthLevel.ANONYMOUS)
    async def openapi(req: func.HttpRequest) -> func.HttpResponse:  # noqa: ARG001 - a trigger's signature
        """Describe this API."""
        from referral_fn.api import contracts  # noqa: PLC0415 - indexing should not wait for it

        return as_azure(contracts.openapi())

    @functions.function_name("read_schema")
    @functions.route("schemas/{name}", methods=["GET"], auth_level=func.AuthLevel.ANONYMOUS)
    async def read_schema(req: func.HttpRequest) -> func.HttpResponse:
        """Serve a JSON Schema of the events."""
        from referral_fn.api import contracts  # noqa: PLC0415

        return as_azure(contracts.schema(req.route_params.get("name"), req.headers))
