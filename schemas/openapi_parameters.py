"""What callers send to the HTTP API: parameters, bodies and keys as OpenAPI objects."""

from typing import Any

from schemas.event_examples import TRACE
from schemas.openapi_models import GUID


def path_id(name: str, description: str, example: str) -> dict[str, Any]:
    """Return a GUID in the path as a parameter."""
    return {
        "name": name,
        "in": "path",
        "required": True,
        "description": description,
        "schema": {"type": "string", "pattern": f"^{GUID}$", "maxLength": 36},
        "example": example,
    }


def context() -> list[dict[str, Any]]:
    """Return the headers that calls may have; the first, only calls that can be answered immediately."""
    header = {"in": "header", "required": False, "schema": {"type": "string"}}
    return [
        {
            "name": "Prefer",
            **header,
            "description": "With `respond-async` the referral is queued, and the answer is 202 (RFC 7240).",
            "example": "respond-async",
        },
        {
            "name": "traceparent",
            **header,
            "description": "W3C Trace Context, copied to the event. A malformed one is ignored.",
            "example": TRACE.traceparent,
        },
        {
            "name": "tracestate",
            **header,
            "description": "The same; kept only with a `traceparent`.",
            "example": TRACE.tracestate,
        },
    ]


def body(schema: dict[str, Any], examples: dict[str, Any], *, required: bool = True) -> dict[str, Any]:
    """Return a request body in JSON."""
    return {"required": required, "content": {"application/json": {"schema": schema, "examples": examples}}}


def security_schemes() -> dict[str, Any]:
    """Return the function key, and the headers that sign a notification.

    A key in the query string works, too, but is not offered: logs would keep it.
    """
    key: dict[str, Any] = {"type": "apiKey", "in": "header"}
    return {
        "functionKey": {**key, "name": "x-functions-key", "description": "A function key of the app."},
        "signature": {
            **key,
            "name": "Authorization",
            "description": "`Signature` and the signature in base64, unless the registration says otherwise.",
        },
        "signatureHeader": {
            **key,
            "name": "x-ms-signature",
            "description": "The same, if the registration has `SignatureTokenToMsSignatureHeader`.",
        },
        "signatureCertificate": {
            **key,
            "name": "x-ms-certificate-url",
            "description": "Where the signer's certificate is: https, on a host of `WEBHOOK_CERTIFICATE_HOSTS`.",
        },
        "signatureAlgorithm": {
            **key,
            "name": "x-ms-signature-algorithm",
            "description": "`rsa-sha256`, `rsa-sha384` or `rsa-sha512`.",
        },
    }
