"""The certificates that notifications are signed with: fetched from Microsoft only, checked, and kept for a while."""

import asyncio
import functools
import re
import time
import warnings
from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp
import certifi
from cryptography import x509
from cryptography.utils import CryptographyDeprecationWarning
from cryptography.x509.verification import Store

from referral_fn import log
from referral_fn.errors import RetryableError, SignatureError
from referral_fn.webhooks import signature
from referral_fn.webhooks.signature import Claim, Signer

ISSUER_HOSTS = frozenset({"www.microsoft.com", "caissuers.microsoft.com"})
"""Where Microsoft's authorities publish their certificates ("Azure Certificate Authority details")."""

LONGEST_KEPT = 24 * 3600
"""Seconds that a checked certificate is trusted without looking again."""

MOST_KEPT = 16
"""Certificates kept, and fetched at the same time. There is one signer; the rest is room for its successors."""

ROTATION_CHECK = 60
"""Seconds after which a signature that does not match may mean that the certificate was replaced at its address."""

_PEM = re.compile(rb"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", re.DOTALL)
_TIME_OUT = aiohttp.ClientTimeout(total=5)
_LONGEST_CHAIN = 3


@dataclass(frozen=True, slots=True)
class _Kept:
    signer: Signer
    since: float

    def is_fresh(self) -> bool:
        return time.monotonic() - self.since < LONGEST_KEPT and datetime.now(UTC) < self.signer.not_after


class Signers:
    """The known signers, by the address of their certificate."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        extra_roots: Path | None = None,
        issuer_hosts: Collection[str] = ISSUER_HOSTS,
    ) -> None:
        self._session = session
        self._issuer_hosts = issuer_hosts
        self._extra_roots = extra_roots
        self._kept: dict[str, _Kept] = {}
        self._flights: dict[str, asyncio.Task[_Kept]] = {}

    async def check(self, body: bytes, claim: Claim) -> None:
        """Check that the body is signed by Microsoft.

        Raises:
            SignatureError: it is not.
            RetryableError: `certificate-unavailable`: it may be, but the certificate cannot be had now.
        """
        kept = self._kept.get(claim.certificate_url)
        if kept is None or not kept.is_fresh():
            kept = await self._look_up(claim.certificate_url)
        try:
            signature.check_signature(body, claim, kept.signer)
        except SignatureError:
            if time.monotonic() - kept.since < ROTATION_CHECK:
                raise
            kept = await self._look_up(claim.certificate_url)
            signature.check_signature(body, claim, kept.signer)

    async def _look_up(self, url: str) -> _Kept:
        """Fetch and check a certificate, once for all who wait for it."""
        if url not in self._flights:
            if len(self._flights) >= MOST_KEPT:
                raise RetryableError("certificate-unavailable", "too many certificates are being fetched")
            flight = asyncio.create_task(self._fetch_signer(url))
            flight.add_done_callback(lambda task: self._on_request_done(url, task))
            self._flights[url] = flight
        return await asyncio.shield(self._flights[url])

    def _on_request_done(self, url: str, flight: asyncio.Task[_Kept]) -> None:
        del self._flights[url]
        if not flight.cancelled() and not flight.exception():
            self._kept.pop(url, None)
            self._kept[url] = flight.result()
            if len(self._kept) > MOST_KEPT:
                del self._kept[next(iter(self._kept))]

    @functools.cached_property
    def _roots(self) -> Store:
        """Mozilla's roots, Microsoft's among them, and those added by setting: read when first needed."""
        roots = _read_roots(Path(certifi.where()))
        if self._extra_roots:
            extra = _read_roots(self._extra_roots)
            roots += extra
            log.info("webhook.roots", extra=len(extra))
        return Store(roots)

    async def _fetch_signer(self, url: str) -> _Kept:
        certificate = await self._fetch(url)
        intermediates: list[x509.Certificate] = []
        while True:
            try:
                signer = signature.check_signer(certificate, intermediates, self._roots, datetime.now(UTC))
                return _Kept(signer, time.monotonic())
            except SignatureError as error:
                issuer = self._issuer_url(intermediates[-1] if intermediates else certificate)
                if error.check != "certificate-chain" or issuer is None or len(intermediates) == _LONGEST_CHAIN:
                    raise
            intermediates.append(await self._fetch(issuer))

    def _issuer_url(self, certificate: x509.Certificate) -> str | None:
        """Where to fetch the issuer's certificate. Plain http will do: a certificate is believed by its signature."""
        for url in signature.issuer_urls(certificate):
            try:
                parts = urlsplit(url)
                plain = parts.scheme in ("http", "https") and not parts.query and not parts.fragment
            except ValueError:
                continue
            if plain and parts.netloc in self._issuer_hosts:
                return url
        return None

    async def _fetch(self, url: str) -> x509.Certificate:
        """Fetch one certificate, following no redirect.

        Raises:
            SignatureError: `certificate-fetch`, `certificate-encoding`: it is not there, or is no certificate.
            RetryableError: `certificate-unavailable`: the host is in trouble.
        """
        content = bytearray()
        try:
            async with self._session.get(url, timeout=_TIME_OUT, allow_redirects=False) as answer:
                async for chunk in answer.content.iter_any():
                    content += chunk
                    if len(content) > signature.MAX_CERTIFICATE:
                        break
        except (aiohttp.ClientError, TimeoutError) as error:
            raise RetryableError("certificate-unavailable", f"no certificate: {type(error).__name__}") from None
        if answer.status >= HTTPStatus.INTERNAL_SERVER_ERROR or answer.status == HTTPStatus.TOO_MANY_REQUESTS:
            raise RetryableError("certificate-unavailable", f"the certificate's host answered {answer.status}")
        if answer.status != HTTPStatus.OK:
            raise SignatureError("certificate-fetch", f"the certificate's host answered {answer.status}")
        return signature.read_certificate(bytes(content))


def _read_roots(file: Path) -> list[x509.Certificate]:
    """The certificates of a PEM file, one by one: a root too odd to be read must not take the others with it."""
    roots = []
    with warnings.catch_warnings(action="ignore", category=CryptographyDeprecationWarning):
        for pem in _PEM.findall(file.read_bytes()):
            try:
                roots.append(x509.load_pem_x509_certificate(pem))
            except ValueError:
                continue
    return roots
