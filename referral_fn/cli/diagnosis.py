"""The steps of `doctor`: each depends on others, and is skipped when one of those fails."""

import base64
import dataclasses
import difflib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Literal, TypeVar

from referral_fn import strict_json
from referral_fn.cli.session import Session, open_session
from referral_fn.credentials.entra import EXCHANGE_SCOPE
from referral_fn.credentials.vault import Secret
from referral_fn.errors import PermanentError, RetryableError
from referral_fn.partner_center import PartnerCenter
from referral_fn.queues.base import Queue
from referral_fn.queues.opening import open_queue
from referral_fn.referrals.request import ReferralRequest
from referral_fn.settings import Settings, SettingsError, read_settings
from referral_fn.state.table import StorageTable
from referral_fn.state.watermark import Watermark

Status = Literal["works", "fails", "skipped", "warning"]

_OTHER_NAMES = {
    *("ReferralRequests__queueServiceUri", "ReferralRequests__accountName", "ReferralRequests__credential"),
    *("ReferralRequests__fullyQualifiedNamespace", "ReferralRequests__clientId", "AZURE_CLIENT_CERTIFICATE_PASSWORD"),
    *("REFERRAL_REQUESTS_QUEUE", "AZURE_AUTHORITY_HOST", "AZURE_TENANT_ID", "AZURE_CLIENT_SECRET", "AZURE_USERNAME"),
    *("AZURE_CLIENT_CERTIFICATE_PATH", "AZURE_FEDERATED_TOKEN_FILE", "AZURE_TOKEN_CREDENTIALS", "AZURE_CONFIG_DIR"),
}
"""Names that are no field of the settings: the trigger's, and those that azure-identity reads."""

_SIMILARITY = 0.86
"""Of two names, from which on one is taken for a misspelling of the other: one or two letters of ten."""

_TOKEN_ADVICE = {
    "developer": "sign in with `az login` as somebody who has the roles in docs/credentials.md",
    "managed-identity": "this needs a Function App that has the managed identity of AZURE_CLIENT_ID; "
    "on your own machine set REFERRALS_AUTH=developer and run `az login`",
    "federated-app": "compare the app registration and its federated credential with docs/credentials.md",
    "app-user": "run `referral-fn consent`; if that does not help, compare docs/credentials.md",
}
"""By mode of REFERRALS_AUTH: what to do without a token for Partner Center."""

_NOT_FOUND = (
    "the ID is not that of a referral in this account, or the user may not see it "
    "(a Referrals Admin sees all, a Referrals User only those whose team includes them)"
)
"""What a 404 means if it comes from the API, which then names an error code."""


@dataclass(frozen=True, slots=True)
class Check:
    """One step: what was tried, and the result."""

    step: str
    status: Status
    detail: str = ""


@dataclass(frozen=True, slots=True)
class _Step:
    name: str
    attempt: Callable[[], Awaitable[str]]
    """Returns a remark on what it found, or an empty text."""
    needs: tuple[str, ...] = ()


async def examine(environment: Mapping[str, str], referral_id: str | None) -> AsyncIterator[Check]:
    """Try each step with the settings as they are.

    Args:
        environment: the app settings.
        referral_id: a referral to fetch; None leaves that step out.

    Yields:
        A check for each step, and for each setting whose name looks misspelt. With invalid settings there are no
        further steps.
    """
    for name, known in misspelt(environment).items():
        yield Check("settings", "warning", f"{name} is not a setting: is {known} meant?")
    try:
        settings = read_settings(environment)
    except SettingsError as error:
        for problem in error.problems:
            yield Check("settings", "fails", f"{problem.name} {problem.rule}")
        return
    yield Check("settings", "works")
    async with open_session(settings) as session:
        working: set[str] = set()
        for step in Diagnosis(settings, session, referral_id).steps():
            check = await _try(step, working)
            if check.status == "works":
                working.add(step.name)
            yield check


async def _try(step: _Step, working: set[str]) -> Check:
    if missing := [name for name in step.needs if name not in working]:
        return Check(step.name, "skipped", f"needs {' and '.join(missing)}")
    try:
        return Check(step.name, "works", await step.attempt())
    except (RetryableError, PermanentError) as error:
        return Check(step.name, "fails", str(error))


def misspelt(environment: Mapping[str, str]) -> dict[str, str]:
    """The variables whose names look like misspelt settings, and the settings that are probably meant."""
    names = {field.metadata["name"] for field in dataclasses.fields(Settings)} | _OTHER_NAMES
    by_upper = {name.upper(): name for name in names}
    suspects: dict[str, str] = {}
    for variable in environment:
        similar = difflib.get_close_matches(variable.upper(), by_upper, n=1, cutoff=_SIMILARITY)
        if variable not in names and similar:
            suspects[variable] = by_upper[similar[0]]
    return suspects


class Diagnosis:
    """What the app needs, as steps."""

    def __init__(self, settings: Settings, session: Session, referral_id: str | None) -> None:
        self._settings = settings
        self._session = session
        self._tokens = session.tokens
        self._referral_id = referral_id
        self._queues: dict[str, Queue] = {
            name: open_queue(url, session.http, session.tokens.identity, settings.service_bus_max_message)
            for name, url in (
                ("events queue", settings.events_url),
                ("rejects queue", settings.rejects_url),
                ("requests queue", settings.requests_url),
            )
        }

    def steps(self) -> list[_Step]:
        """The steps of the settings' mode, in an order in which each comes after those it needs."""
        mode = self._settings.referrals_auth
        steps = [_Step("identity", self._identity)]
        if mode == "federated-app":
            steps.append(_Step("assertion", self._assertion, ("identity",)))
        if mode == "app-user":
            steps.append(_Step("key vault", self._secret, ("identity",)))
        steps.append(_Step("token", self._token, tuple(step.name for step in steps)))
        if self._referral_id:
            steps.append(_Step("referral", self._referral, ("token",)))
        steps += [_Step(name, _probing(name, queue), ("identity",)) for name, queue in self._queues.items()]
        if self._settings.state_url:
            steps.append(_Step("table", self._table, ("identity",)))
        return steps

    async def _identity(self) -> str:
        mode = "developer" if self._settings.referrals_auth == "developer" else "managed-identity"
        try:
            token = await self._tokens.identity.token(self._queues["events queue"].scope)
        except RetryableError as error:
            raise _advised(error, _TOKEN_ADVICE[mode]) from None
        return identity_of(token)

    async def _assertion(self) -> str:
        await self._tokens.identity.token(EXCHANGE_SCOPE)
        return ""

    async def _secret(self) -> str:
        await Secret(self._settings.refresh_token_secret or "", self._session.http, self._tokens.identity).read()
        return ""

    async def _token(self) -> str:
        try:
            token = await self._tokens.partner_center.token(self._settings.referrals_scope)
        except RetryableError as error:
            raise _advised(error, _TOKEN_ADVICE[self._settings.referrals_auth]) from None
        return identity_of(token)

    async def _referral(self) -> str:
        client = PartnerCenter(self._settings, self._session.http, self._tokens.partner_center)
        try:
            await client.fetch(ReferralRequest(self._referral_id or ""))
        except (PermanentError, RetryableError) as error:
            raise _advised(error, self._explain(error)) from None
        return ""

    async def _table(self) -> str:
        table = StorageTable(self._settings.state_url or "", self._session.http, self._tokens.identity)
        try:
            await Watermark(table).read()
        except RetryableError as error:
            raise _advised(error, "compare STATE_URL with the account") from None
        return ""

    def _explain(self, error: PermanentError | RetryableError) -> str:
        """The possible causes of Partner Center's refusal, or what to do about it."""
        upstream = error.upstream or {}
        match error.reason:
            case "referral-not-found":
                address = "" if "code" in upstream else "REFERRALS_URL is not the address of the API, or "
                return f"{address}{_NOT_FOUND}"
            case "upstream-denied" if self._settings.referrals_auth != "app-user":
                return "today's API accepts only an app with a user, so set REFERRALS_AUTH=app-user"
            case "upstream-denied" if upstream.get("status") == HTTPStatus.FORBIDDEN:
                return (
                    "the user needs the role Referrals Admin in Partner Center, and conditional access must allow them"
                )
            case "upstream-denied":
                return "the token was not accepted; REFERRALS_SCOPE and REFERRALS_URL must belong to the same API"
        return ""


E = TypeVar("E", bound=PermanentError | RetryableError)


def _advised(error: E, advice: str) -> E:
    text = f"{error}: {advice}" if advice and advice not in str(error) else str(error)
    return type(error)(error.reason, text, upstream=error.upstream)


def _probing(name: str, queue: Queue) -> Callable[[], Awaitable[str]]:
    async def probe() -> str:
        try:
            await queue.probe()
        except (RetryableError, PermanentError) as error:
            setting = f"{name.partition(' ')[0].upper()}_URL"
            raise _advised(error, f"compare {setting} with the account; docs/queues.md has the roles") from None
        return ""

    return probe


def identity_of(token: str) -> str:
    """Whose access token this is, from its claims. They are not verified: the service that gets the token does that."""
    try:
        payload = token.split(".")[1]
        claims = strict_json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    except (IndexError, ValueError):
        return ""
    if not isinstance(claims, dict):
        return ""
    names = {
        "user": claims.get("upn") or claims.get("preferred_username") or claims.get("unique_name"),
        "client ID": claims.get("appid") or claims.get("azp"),
        "object ID": claims.get("oid"),
        "tenant": claims.get("tid"),
    }
    return ", ".join(f"{name} {value}" for name, value in names.items() if isinstance(value, str))
