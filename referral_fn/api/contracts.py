"""The published descriptions over HTTP: this API, and the schemas of events."""

import functools
import hashlib
from collections.abc import Mapping
from http import HTTPStatus
from pathlib import Path

from referral_fn.api.handlers import Response, refusal
from referral_fn.api.problems import Problem

SCHEMAS = Path(__file__).parent.parent.parent / "schemas"
"""The folder with the schemas, which are deployed beside the package."""

CACHE_CONTROL = "public, max-age=86400"
"""A day: within a version of the app a schema never changes, and within `v1` an older revision stays true."""


def openapi() -> Response:
    """`GET /api/openapi.json`: the description of this API, which `make schemas` writes."""
    return Response(HTTPStatus.OK, Path(__file__).with_name("openapi.json").read_bytes())


def schema(name: str | None, headers: Mapping[str, str]) -> Response:
    """`GET /api/schemas/{name}`: a JSON Schema of events, or 304 for a caller who has this version of it."""
    body = _schemas().get((name or "").removesuffix(".json"))
    if body is None:
        return refusal("read_schema", Problem("schema-not-found", "there is no schema of this name"))
    etag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
    caching = {"ETag": etag, "Cache-Control": CACHE_CONTROL}
    if _has(headers.get("if-none-match", ""), etag):
        return Response(HTTPStatus.NOT_MODIFIED, headers=caching)
    return Response(HTTPStatus.OK, body, "application/schema+json", caching)


@functools.cache
def _schemas() -> dict[str, bytes]:
    """The schemas by name, so that a name is never used as a path."""
    return {path.stem: path.read_bytes() for path in SCHEMAS.glob("partnercenter.*.json")}


def _has(if_none_match: str, etag: str) -> bool:
    """Whether a caller has the version (RFC 9110, section 13.1.2: a weak comparison)."""
    tags = {tag.strip().removeprefix("W/") for tag in if_none_match.split(",")}
    return etag in tags or "*" in tags
