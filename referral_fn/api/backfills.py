"""Backfills over HTTP: start one, and see how far it has come."""

from collections.abc import Mapping
from datetime import datetime
from http import HTTPStatus
from typing import TYPE_CHECKING

from referral_fn import strict_json
from referral_fn.api import problems
from referral_fn.api.handlers import OpenApp, Response, is_missing, refusal
from referral_fn.api.problems import Problem
from referral_fn.errors import RetryableError
from referral_fn.referrals.backfill_page import STATUS
from referral_fn.referrals.request import InvalidRequestError, read_referral_id
from referral_fn.settings import SettingsError
from referral_fn.timestamps import read_utc

if TYPE_CHECKING:
    from referral_fn.backfill import Backfiller

MAX_BODY = 4096
"""Bytes of a body; what it may hold has a hundred."""

_Refused = (InvalidRequestError, RetryableError, SettingsError)


async def start(open_app: OpenApp, headers: Mapping[str, str], body: bytes) -> Response:
    """`POST /api/backfills`: start a run. The body may be empty."""
    name = "start_backfill"
    if is_missing(headers, body) and "transfer-encoding" in headers:
        return refusal(name, Problem("length-required", "send the body with a Content-Length, not chunked"))
    try:
        status, since, republish = _read(body)
        run = await _backfiller(open_app).start(status=status, since=since, republish=republish)
    except _Refused as error:
        return refusal(name, problems.of_error(error))
    location = {"Location": f"/api/backfills/{run.id}"}
    return Response(HTTPStatus.ACCEPTED, strict_json.dumps(run.document()), headers=location)


async def show(open_app: OpenApp, run_id: str | None) -> Response:
    """`GET /api/backfills/{id}`: how far a run has come."""
    name = "show_backfill"
    try:
        run = await _backfiller(open_app).runs.read(read_referral_id(run_id, "/id"))
    except _Refused as error:
        return refusal(name, problems.of_error(error))
    if run is None:
        return refusal(name, Problem("backfill-not-found", "there is no run of this ID"))
    return Response(HTTPStatus.OK, strict_json.dumps(run.document()))


def _backfiller(open_app: OpenApp) -> "Backfiller":
    state = open_app().state
    if state is None:  # these functions are only registered with a table
        raise RetryableError("state-unavailable", "a backfill needs the table that STATE_URL names")
    return state.backfiller


def _read(body: bytes) -> tuple[str | None, datetime | None, bool]:
    """The status and the time that a body asks for, and whether what was published is wanted, too.

    Raises:
        InvalidRequestError: it is no JSON object of these, or too large.
    """
    if not body:
        return None, None, False
    if len(body) > MAX_BODY:
        raise InvalidRequestError("", f"must have at most {MAX_BODY} bytes", "request-too-large")
    try:
        document = strict_json.loads(body)
    except strict_json.InvalidJSONError as error:
        raise InvalidRequestError("", str(error)) from None
    if not isinstance(document, dict) or document.keys() - {"status", "since", "all"}:
        raise InvalidRequestError("", "must be a JSON object with any of status, since and all")
    status = document.get("status")
    if "status" in document and not (isinstance(status, str) and STATUS.fullmatch(status)):
        raise InvalidRequestError("/status", "must be a referral's status, such as New")
    republish = document.get("all", False)
    if not isinstance(republish, bool):
        raise InvalidRequestError("/all", "must be true or false")
    try:
        return status, read_utc(document["since"]) if "since" in document else None, republish
    except ValueError as error:
        raise InvalidRequestError("/since", str(error)) from None
