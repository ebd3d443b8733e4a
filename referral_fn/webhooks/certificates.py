"""The certificates that notifications are signed with: fetched from Microsoft only, checked, and kept for a while."""

import functools
import re
import time
import warnings
from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from pathlib import Path

import aiohttp
import certifi
from cryptography import x509
from cryptography.utils import CryptographyDeprecationWarning
from cryptography.x509.verification import Store

from referral_fn import http_call, log
from referral_fn.errors import RetryableError, SignatureError
from referral_fn.single_flight import SingleFlight
from referral_fn.webhooks import signature
from referral_fn.webhooks.budget import Budget
from referral_fn.webhooks.signature import Claim, Signer

ISSUER_HOSTS = frozenset({"www.microsoft.com", "caissuers.microsoft.com"})
"""Where Microsoft's authorities publish their certificates ("Azure Certificate Authority details")."""

MAX_AGE = 24 * 3600
"""Seconds for which a checked certificate is trusted without another look."""

MAX_SIGNERS = 16
"""Certificates kept. There is one signer at a time; the rest is room for its successors."""

ROTATION_CHECK = 60
"""Age in seconds from which a signature that does not match may mean that the certificate was replaced at its URL."""

REFUSAL_AGE = 60
"""Seconds for which a URL without a valid certificate is refused without another look."""

OUTAGE_AGE = 5
"""Seconds for which a URL whose host did not answer is not tried again."""

MAX_FAILURES = 256
"""URLs remembered as failed. More than the budget allows within their time."""

UNKNOWN_BURST, UNKNOWN_INTERVAL = 10, 6
"""URLs that have never had a valid certificate: so many may be tried at once, and one more each so many seconds.
Anybody can call the webhook and name a URL; each look-up makes at most four requests."""

_TIMEOUT = 5
_PEM = re.compile(rb"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", re.DOTALL)
_ISSUER_URL = re.compile(r"https?://(?P<host>[a-z0-9.-]+(?::[0-9]+)?)(?:/[A-Za-z0-9._~%-]+)+", re.ASCII)


@dataclass(frozen=True, slots=True)
class _Kept:
    signer: Signer
    since: float


@dataclass(frozen=True, slots=True)
class _Failure:
    until: float
    error: Callable[[], SignatureError | RetryableError]


class Signers:
    """The signers whose certificates passed all checks, by the URL of the certificate.

    Args:
        session: the connections to use.
        extra_roots: a PEM file of roots to trust beside Mozilla's.
        issuer_hosts: where the certificates of issuers may be fetched from.
        clock: seconds, monotonic.
        now: the time, for the validity of certificates.
    """

    def __init__(
        self,
        session: aiohttp.ClientSession,
        extra_roots: Path | None = None,
        issuer_hosts: Collection[str] = ISSUER_HOSTS,
        *,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._session = session
        self._extra_roots = extra_roots
        self._issuer_hosts = issuer_hosts
        self._clock = clock
        self._now = now
        self._kept: dict[str, _Kept] = {}
        self._failures: dict[str, _Failure] = {}
        self._unknown = Budget(UNKNOWN_BURST, UNKNOWN_INTERVAL, clock)
        self._lookups: SingleFlight[str, _Kept] = SingleFlight()

    async def check(self, body: bytes, claim: Claim) -> None:
        """Check that the body is signed by Microsoft.

        Raises:
            SignatureError: it is not.
            RetryableError: `certificate-unavailable`: the certificate could not be fetched, or must not be fetched now.
        """
        kept = self._kept.get(claim.certificate_url)
        if kept is None or not self._is_fresh(kept):
            kept = await self._look_up(claim.certificate_url)
        try:
            signature.check_signature(body, claim, kept.signer)
        except SignatureError:
            if self._clock() - kept.since < ROTATION_CHECK:
                raise
            kept = await self._look_up(claim.certificate_url)
            signature.check_signature(body, claim, kept.signer)
        self._keep(claim.certificate_url, kept)

    def _is_fresh(self, kept: _Kept) -> bool:
        return self._clock() - kept.since < MAX_AGE and self._now() < kept.signer.not_after

    def _keep(self, url: str, kept: _Kept) -> None:
        """Keep a signer, and forget the one that was not used for longest."""
        self._kept.pop(url, None)
        self._kept[url] = kept
        if len(self._kept) > MAX_SIGNERS:
            del self._kept[next(iter(self._kept))]

    async def _look_up(self, url: str) -> _Kept:
        """Fetch and check a certificate: once for all who wait for it, and not too often."""
        failure = self._failures.get(url)
        if failure and self._clock() < failure.until:
            raise failure.error()
        if url not in self._kept and url not in self._lookups:
            wait = self._unknown.spend()
            if wait is not None:
                detail = "too many unknown certificates are asked for"
                raise RetryableError("certificate-unavailable", detail, retry_after=wait)
        return await self._lookups.run(url, lambda: self._fetch_and_keep(url))

    async def _fetch_and_keep(self, url: str) -> _Kept:
        try:
            kept = _Kept(await self._fetch_signer(url), self._clock())
        except SignatureError as error:
            self._remember(url, REFUSAL_AGE, functools.partial(SignatureError, error.check, str(error)))
            raise
        except RetryableError as error:
            self._remember(url, OUTAGE_AGE, functools.partial(RetryableError, error.reason, str(error)))
            raise
        self._keep(url, kept)
        return kept

    def _remember(self, url: str, seconds: float, error: Callable[[], SignatureError | RetryableError]) -> None:
        self._failures.pop(url, None)
        self._failures[url] = _Failure(self._clock() + seconds, error)
        if len(self._failures) > MAX_FAILURES:
            del self._failures[next(iter(self._failures))]

    @functools.cached_property
    def _roots(self) -> Store:
        """Mozilla's roots, Microsoft's among them, and those of WEBHOOK_EXTRA_ROOTS. Read when first needed."""
        roots = _read_roots(Path(certifi.where()))
        if self._extra_roots:
            extra = _read_roots(self._extra_roots)
            roots += extra
            log.info("webhook.roots", extra=len(extra))
        return Store(roots)

    async def _fetch_signer(self, url: str) -> Signer:
        """Fetch a certificate, and intermediates for as long as they are what is missing."""
        certificate = await self._fetch(url)
        intermediates: list[x509.Certificate] = []
        while True:
            try:
                return signature.check_signer(certificate, intermediates, self._roots, self._now())
            except SignatureError as error:
                issuer = self._issuer_url(intermediates[-1] if intermediates else certificate)
                full = len(intermediates) == signature.MAX_INTERMEDIATES
                if error.check != "certificate-chain" or issuer is None or full:
                    raise
            intermediates.append(await self._fetch(issuer))

    def _issuer_url(self, certificate: x509.Certificate) -> str | None:
        """Where to fetch the issuer's certificate. Plain http is enough: its signature is what makes it trusted."""
        for url in signature.issuer_urls(certificate):
            match = _ISSUER_URL.fullmatch(url)
            if match and match["host"] in self._issuer_hosts:
                return url
        return None

    async def _fetch(self, url: str) -> x509.Certificate:
        """Fetch one certificate, following no redirect.

        Raises:
            SignatureError: `certificate-fetch`, `certificate-encoding`: there is nothing, or no certificate.
            RetryableError: `certificate-unavailable`: the host does not answer, or not now.
        """
        try:
            response = await http_call.send(
                self._session, "GET", url, seconds=_TIMEOUT, max_bytes=signature.MAX_CERTIFICATE
            )
        except http_call.NoResponseError as error:
            raise RetryableError("certificate-unavailable", f"the certificate's host: {error}") from None
        if response.status >= HTTPStatus.INTERNAL_SERVER_ERROR or response.status == HTTPStatus.TOO_MANY_REQUESTS:
            raise RetryableError("certificate-unavailable", f"the certificate's host answered {response.status}")
        if response.status != HTTPStatus.OK:
            raise SignatureError("certificate-fetch", f"the certificate's host answered {response.status}")
        return signature.read_certificate(response.body)


def _read_roots(file: Path) -> list[x509.Certificate]:
    """Read the certificates of a PEM file one by one, so that one that cannot be read does not hide the others."""
    roots = []
    with warnings.catch_warnings(action="ignore", category=CryptographyDeprecationWarning):
        for pem in _PEM.findall(file.read_bytes()):
            try:
                roots.append(x509.load_pem_x509_certificate(pem))
            except ValueError:
                continue
    return roots
